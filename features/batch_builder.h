/*
 * features/batch_builder.h - from histories and candidates to the tensors of schemas/batch.h.
 *
 * Flow: user's sequence, raw counts -> [batch] -> model
 *
 * The same code serves and trains: history cut at the request time, its window, item rows by the
 * item tables, scalars by features/scalars.h.
 *
 * The window of a history that does not fit, or that has lost its oldest entries, starts at a
 * multiple of BATCH_WINDOW_STEP of the user's running count. If it started with the oldest entry
 * there is, every new event of a full history would change the first token, and through the layers
 * all that was computed from it; so it changes once in 32 events, and a history of 100 is used as
 * 69 to 100 tokens.
 *
 * Thread: one at a time for each builder.
 */
#ifndef FEATURES_BATCH_BUILDER_H
#define FEATURES_BATCH_BUILDER_H

#include "features/item_tables.h"
#include "ops/arena.h"
#include "schemas/batch.h"

#define BATCH_WINDOW_STEP 32 /* smaller for a history_max below 64: half of it, a power of two */

struct batch_builder;
struct batch_builder_options {
    int history_max; /* P of the model, 1..BATCH_HISTORY_MAX */
    int rows_max;    /* V of the model: a row at or above it is unknown to it (0) */
};
/* Errors: ERR_LIMIT, ERR_NOMEM. Owner: the caller, batch_builder_destroy(). */
MUST_CHECK enum status batch_builder_create(struct batch_builder **builder,
                                            const struct batch_builder_options *options,
                                            struct error *err);
void batch_builder_destroy(struct batch_builder *builder); /* NULL is fine */
void batch_builder_reset(struct batch_builder *builder);   /* begins an empty batch */

struct batch_request {
    const struct user_entry *history; /* oldest first; entries after the request time are cut */
    int history_count;
    uint32_t running; /* of the user's value with this history: the count at its newest entry */
    int64_t request_time_ms;
    const uint8_t *context;    /* (BATCH_CONTEXTS) codes, or NULL: not said */
    const int32_t *candidates; /* (n) item indices of the tables, ITEM_NONE: unknown */
    const int64_t *raw;        /* (n, RAW_COLUMNS); NULL: all scalars 0 */
    int candidates_count;
    /* Training only, else NULL */
    const float *labels;      /* (n) 0 or the label's weight; NULL: not learned from */
    const int32_t *positions; /* (n) from 1 */
    bool next_items;          /* every history token predicts the one after it */
};
/**
 * Adds one request. The batch has training arrays as soon as one request brings them: the others
 * then have weight 0, position 0 and no next items. An item that the tables or the model do not
 * know is row 0; as a next item it is none.
 * Errors: ERR_LIMIT (the batch or the list is longer than schemas/batch.h allows), ERR_NOMEM; the
 *         batch is as it was then.
 */
MUST_CHECK enum status batch_builder_add(struct batch_builder *builder,
                                         const struct item_tables *tables,
                                         const struct batch_request *request, struct error *err);
/* Valid until the next add or reset. */
const struct batch *batch_builder_batch(struct batch_builder *builder);

/* First history entry that is in the window: entries [first, count) are used, at most history_max
 * of them. */
int batch_window_first(uint32_t running, int count, int history_max);

#endif
