/*
 * features/batch_builder.h - from histories and candidates to the tensors of schemas/batch.h.
 *
 * Flow: user's sequence, raw counts -> [batch] -> model
 *
 * The same code serves and trains: window of history (starts at a multiple of 32 events of the
 * user's running count, MODEL.md section 1), cut at the request time, item rows by the item
 * tables, scalars by features/scalars.h.
 */
#ifndef FEATURES_BATCH_BUILDER_H
#define FEATURES_BATCH_BUILDER_H

#include "features/item_tables.h"
#include "ops/arena.h"
#include "schemas/batch.h"

struct batch_builder;
struct batch_builder_options {
    int history_max; /* N of the model */
    int rows_max;    /* V of the model: a row at or above it is unknown to it (0) */
};
MUST_CHECK enum status batch_builder_create(struct batch_builder **builder,
                                            const struct batch_builder_options *options,
                                            struct error *err);
void batch_builder_destroy(struct batch_builder *builder);
void batch_builder_reset(struct batch_builder *builder); /* begins an empty batch */

struct batch_request {
    const struct user_entry *history; /* oldest first */
    int history_count;
    uint32_t running; /* of the user's value, then */
    int64_t request_time_ms;
    const int32_t *candidates; /* (n) item indices of the tables, ITEM_NONE: unknown */
    const int64_t *raw;        /* (n, RAW_COLUMNS) */
    int candidates_count;
    /* Training only, else NULL */
    const float *labels;      /* (n) 0 or the label's weight */
    const int32_t *positions; /* (n) from 1 */
    bool next_items;          /* every history token predicts the one after it */
};
MUST_CHECK enum status batch_builder_add(struct batch_builder *builder,
                                         const struct item_tables *tables,
                                         const struct batch_request *request, struct error *err);
/* Valid until the next reset. */
const struct batch *batch_builder_batch(struct batch_builder *builder);

/* First history entry that is in the window: entries [first, count) are used. */
int batch_window_first(uint32_t running, int count, int history_max);

#endif
