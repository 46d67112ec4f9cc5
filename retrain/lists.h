/*
 * retrain/lists.h - the lists a model learns to order, and the pool they wait and stay in.
 *
 * Flow: examples (shown lists), events (recalled lists) -> [pool: fresh -> kept] -> batches
 *
 * A list is one moment of one user: the history then, rows that were or could have been shown,
 * their raw counts then, and which of them were chosen. Fresh lists wait in the order they came
 * until they are taken for training; what was taken is kept for replay against forgetting. When
 * the kept ones are full a random one makes room, so their ages are spread exponentially.
 * Thread: one.
 */
#ifndef RETRAIN_LISTS_H
#define RETRAIN_LISTS_H

#include "features/batch_builder.h"
#include "ops/random.h"
#include "ops/status.h"
#include "schemas/batch.h"
#include "schemas/raw.h"
#include "schemas/state_file.h"
#include "schemas/user_value.h"

#include <stdbool.h>
#include <stdint.h>

#define LIST_ROWS_MAX 1024

/* One allocation; list_destroy() is free(). */
struct list {
    uint64_t id;   /* of the example; 0: made from an event by recall */
    uint64_t user; /* hash */
    int64_t time_ms;
    uint32_t running;                /* of the user's sequence then */
    uint8_t context[BATCH_CONTEXTS]; /* codes of where it was asked from */
    int history_count, rows_count;
    struct user_entry *history; /* (history_count) oldest first */
    int32_t *rows;              /* (rows_count) item indices of the tables */
    int64_t *raw;               /* (rows_count, RAW_COLUMNS) */
    float *labels;              /* (rows_count) 0 or the label's weight */
};

/* Zeroed but for the counts. NULL: no memory, or rows_count outside 1..LIST_ROWS_MAX or
 * history_count outside 0..SEQUENCE_MAX. */
struct list *list_create(int history_count, int rows_count);
void list_destroy(struct list *list); /* NULL is fine */
bool list_has_label(const struct list *list);
/* As it is scored: without labels and positions. It points into the list. */
struct batch_request list_request(const struct list *list);
void list_save(const struct list *list, struct state_file *state);
/* NULL: it contradicts itself (an item index at or above items), or no memory; state has failed. */
struct list *list_load(struct state_file *state, int items);

struct lists;
struct lists_options {
    int fresh_max; /* waiting; beyond it the oldest are kept untrained */
    int kept_max;  /* may be 0 */
    uint64_t seed;
};
MUST_CHECK enum status lists_create(struct lists **lists, const struct lists_options *options,
                                    struct error *err);
void lists_destroy(struct lists *lists); /* NULL is fine */

/* Takes ownership. */
void lists_add(struct lists *lists, struct list *list);
/* The oldest fresh list, when its time is before until_ms; else NULL. It moves to the kept ones
 * with the next call of this function or of lists_add(), until then it is the pool's. */
const struct list *lists_take(struct lists *lists, int64_t until_ms);
/* A random kept one, or NULL when there is none. */
const struct list *lists_replay(struct lists *lists);
int lists_fresh(const struct lists *lists);
int lists_kept(const struct lists *lists);
/* The i-th fresh list in the order they came. */
const struct list *lists_fresh_at(const struct lists *lists, int i);
/* All of them, kept ones first, in no order. */
int lists_held(const struct lists *lists);
const struct list *lists_held_at(const struct lists *lists, int i);

/* A label that came after its list: set where the list still is. False: nowhere. */
bool lists_correct(struct lists *lists, uint64_t id, int row, float label);
/* Drops the user's lists at or before time_ms; returns how many. */
int lists_erase(struct lists *lists, uint64_t user, int64_t time_ms);

void lists_save(const struct lists *lists, struct state_file *state);
/* Into an empty pool. items: indices at or above it contradict the tables.
 * Errors: ERR_MALFORMED, ERR_NOMEM */
MUST_CHECK enum status lists_load(struct lists *lists, struct state_file *state, int items,
                                  struct error *err);

#endif
