/*
 * retrain/checkpoint.h - everything the trainer knows, in one rename.
 *
 * Flow: learner, examples, offsets -> [checkpoint] -> after a restart, the same bits again
 *
 *   <folder>/checkpoint          a line: the name of the folder that counts
 *   <folder>/checkpoint-<n>/     items, base (item tables), state (schemas/state_file.h)
 *
 * The offsets lie beside what was learnt from them and move with the same rename: the checkpoint
 * *is* the version of the data. A crash at any point leaves the old one or the new one.
 */
#ifndef RETRAIN_CHECKPOINT_H
#define RETRAIN_CHECKPOINT_H

#include "ops/status.h"
#include "retrain/examples.h"
#include "retrain/follower.h"
#include "retrain/learner.h"

#include <stdint.h>

struct checkpoint_offsets {
    struct follower_offset offsets[FOLLOWER_PARTITIONS_MAX];
    int64_t watermarks_ms[FOLLOWER_PARTITIONS_MAX]; /* of events, by position in offsets */
    int count;
};

/* What the role itself has to know again. */
struct checkpoint_role {
    struct checkpoint_offsets events, examples;
    int64_t rounds; /* made so far */
};

/* Errors: ERR_IO, ERR_NOMEM; the old checkpoint stays. */
MUST_CHECK enum status checkpoint_save(const char *folder, const struct checkpoint_role *role,
                                       struct learner *learner, const struct examples *examples,
                                       struct error *err);
/* Into new ones. Errors: ERR_NOT_FOUND there is none; ERR_IO, ERR_MALFORMED, ERR_CORRUPT,
 *         ERR_VERSION, ERR_CONFLICT (of other settings), ERR_NOMEM: they are half filled and good
 *         for destroying only. */
MUST_CHECK enum status checkpoint_load(const char *folder, struct checkpoint_role *role,
                                       struct learner *learner, struct examples *examples,
                                       struct error *err);

#endif
