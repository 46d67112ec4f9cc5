/*
 * scorer/served.h - the model version that answers right now, and how it is changed under load.
 *
 * Flow: bundle folder, items.delta -> [load, verify, swap] -> rank
 *
 * A served version is complete and read-only: weights, item tables with the newest delta applied,
 * and its name, "<bundle>+<delta sequence>". A request acquires one and releases it when it has
 * answered, so an answer names exactly one version, and the old one goes when its last request
 * is done. Loading happens on the refresher's thread; the swap is one pointer under a lock,
 * and weights are freed by the refresher, too.
 *
 * A bundle that cannot be used is refused, and one that there is no memory for is tried again; each
 * try that fails is counted, and what serves goes on.
 * Thread: acquire and release from any; refresh from one.
 */
#ifndef SCORER_SERVED_H
#define SCORER_SERVED_H

#include "features/item_tables.h"
#include "kernels/model.h"
#include "ops/status.h"
#include "schemas/bundle.h"
#include "schemas/context.h"

#include <stdbool.h>
#include <stdint.h>

struct served {
    char version[MODEL_VERSION_MAX + 24]; /* "v000012+17" */
    char bundle[MODEL_VERSION_MAX];       /* "v000012" */
    uint64_t delta;                       /* sequence, 0: none applied */
    int64_t created_at_ms;                /* of the bundle; wall clock */
    uint64_t item_seed;                   /* of item hashes: the data set's */
    const struct model *model;            /* NULL: tables only */
    const struct item_tables *tables;
    int trained_rows; /* model rows given out by the bundle's own tables: see struct ranker */
};

struct served_slot;
struct catalogue; /* scorer/catalogue.h */

/* root: the bundles' folder (it may not exist yet). Nothing is loaded until the first refresh.
 * catalogue: which items are gone; borrowed, may be NULL. */
MUST_CHECK enum status served_slot_create(struct served_slot **slot, const char *root,
                                          struct catalogue *catalogue, struct error *err);
/* Bundles whose model reads contexts are refused (ERR_CONFLICT) unless they are of these names;
 * without this call any is. Before the first refresh. */
void served_slot_contexts(struct served_slot *slot, const struct context_names *names);
/* Whether scores are computed with bf16 products (kernels/linear_bf16.h): on, off (without this
 * call), or auto: where this processor is faster with them, they come out right in a trial, and the
 * bundle says that they change its NDCG@10 by at most BUNDLE_BF16_CHANGE_MAX, a 95 % interval and
 * all. On a GPU auto is off. A trial that goes wrong means f32, told to or not. Which, and why, is
 * logged. Before the first refresh.
 */
enum served_bf16 { SERVED_BF16_OFF, SERVED_BF16_ON, SERVED_BF16_AUTO };
void served_slot_bf16(struct served_slot *slot, enum served_bf16 bf16);

/* Requests will ask models for their best next items (rank_request.recall_next): where a GPU scores
 * with bf16 products, those are too, for which the item table lies there once more. Without this
 * call none ask. Before the first refresh. */
void served_slot_recalls(struct served_slot *slot, bool recalls);
/* The cache that requests will be scored with: it is made ready for each bundle's model as soon as
 * that serves, and forgets what was made with a model at the refresh after the last answer with it:
 * so nothing of an erased user outlives the weights of its time by long. No request pays for
 * either. Borrowed until the slot is destroyed; without this call, or NULL: none. */
void served_slot_histories(struct served_slot *slot, struct kv_cache *histories);
void served_slot_destroy(struct served_slot *slot); /* NULL is fine; all must be released */

/* The version that answers now, or NULL while there is none. Release it. */
const struct served *served_acquire(struct served_slot *slot);
void served_release(struct served_slot *slot, const struct served *served); /* NULL is fine */

/**
 * Looks at `current` and `items.delta`, loads what is new and swaps it in. *changed: whether it
 * did.
 *
 * Errors: ERR_NOT_FOUND no bundle has been published yet (not worth a warning); else why the newest
 *         one does not serve: ERR_CORRUPT, ERR_MALFORMED, ERR_VERSION, ERR_CONFLICT (its scalars
 *         are not those of this build) and ERR_LIMIT are for good: it is not read again until
 *         `current` names another. ERR_IO: it is tried at each call. ERR_NOMEM, ERR_DEVICE: it is
 *         tried again after a second, then after twice as long each time, up to a minute.
 *         ERR_REJECTED: not tried this time; refused before, or its wait is not over. What serves
 *         follows its delta and the catalogue whatever became of the newest.
 */
MUST_CHECK enum status served_refresh(struct served_slot *slot, bool *changed, struct error *err);

#endif
