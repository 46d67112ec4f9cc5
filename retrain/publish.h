/*
 * retrain/publish.h - puts what was learnt where the scorer finds it.
 *
 * Flow: gate -> [bundle: write beside, read back, rename, `current` last] -> scorer
 *       item tables -> [items.delta beside the bundle] -> scorer
 *
 * A bundle is written completely before anything names it; its weights are read back from the
 * files and must score as those in memory (the parity gate) before it is published.
 */
#ifndef RETRAIN_PUBLISH_H
#define RETRAIN_PUBLISH_H

#include "features/item_tables.h"
#include "kernels/model.h"
#include "retrain/evaluate.h"
#include "retrain/follower.h"
#include "retrain/gate.h"
#include "retrain/lists.h"
#include "schemas/bundle.h"

#include <stdint.h>

struct publish_topic {
    const char *name;
    const struct follower_offset *offsets;
    int count;
};

struct publish_request {
    const char *root;   /* model.folder */
    const char *preset; /* NULL with model NULL: tables only */
    struct model *model;
    struct item_tables *tables;
    struct lists *pool;                  /* of golden lists */
    const struct evaluation *evaluation; /* NULL: none was made */
    uint64_t item_seed, seed;
    int64_t created_at_ms, trained_until_ms;
    struct publish_topic topics[2];
    int topics_count;
    int keep; /* bundles that stay */
};

/**
 * Publishes, unless the parity gate refuses. version: of the new bundle; "" when it was refused.
 * The tables are then marked as saved: the next delta is against this bundle.
 * Errors: ERR_IO, ERR_NOMEM, ERR_LIMIT, and what reading the files back can meet; what was current
 * stays. Old bundles that could not be removed are logged and left for the next time.
 */
MUST_CHECK enum status publish_bundle(const struct publish_request *request, struct gate *gate,
                                      char version[MODEL_VERSION_MAX], struct error *err);
/* Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum status publish_delta(const char *root, const struct item_tables *tables,
                                     const char *version, uint64_t sequence, struct error *err);

#endif
