/*
 * retrain/examples.h - shown lists and their labels, united: whoever learns does the waiting.
 *
 * Flow: `examples` topic -> [unite, wait for the window, ripen] -> lists of the learner
 *
 * An example's labels are a set of (row, action), united in any order, also from records seen
 * before and before the example came (held one window). It ripens once the watermark has passed
 * its time plus the join window; only then an unclicked row is known to be unclicked. A label that
 * comes later still corrects the list where the pool has it.
 *
 * Watermark: the least over the partitions of events of what their marks said. A partition
 * without marks for idle_ms of the trainer's own clock holds nobody back: what the events topic
 * has shown to be now stands in for it.
 * An impression without `trace` has no counts: those noted when its event was seen are used
 * (examples_note), which are of before anyone could click; without them it is left out.
 * Thread: one.
 */
#ifndef RETRAIN_EXAMPLES_H
#define RETRAIN_EXAMPLES_H

#include "features/item_tables.h"
#include "features/rules.h"
#include "retrain/lists.h"
#include "schemas/example.h"
#include "schemas/state_file.h"

#include <stdbool.h>
#include <stdint.h>

struct examples_options {
    const struct rules *rules; /* borrowed: labels' weights, join window */
    int pending_max;           /* lists that wait; beyond it the oldest are let go, counted */
    int64_t idle_ms;
};

struct examples_counts {
    int64_t shown, labels, marks, erased;
    int64_t repeated;       /* shown before */
    int64_t ripe;           /* handed on */
    int64_t without_counts; /* no trace and no note: left out */
    int64_t overflowed;
    int64_t late_labels, lost_labels; /* after ripening: corrected, or their list is gone */
};

struct examples;
MUST_CHECK enum status examples_create(struct examples **examples,
                                       const struct examples_options *options, struct error *err);
void examples_destroy(struct examples *examples); /* NULL is fine */

/* One decoded record. pool: where late labels look for their list. Errors: ERR_NOMEM */
MUST_CHECK enum status examples_add(struct examples *examples, const struct example *example,
                                    struct lists *pool, int64_t now_us, struct error *err);
/* The counts (rows_count, RAW_COLUMNS) of an impression without trace, at its event. */
void examples_note(struct examples *examples, uint64_t user, int64_t shown_at_ms,
                   const uint64_t *rows, int rows_count, const int64_t *raw);

/**
 * Hands every ripe list to add, oldest first. now_ms: the newest event time the events topic
 * has shown. tables: for the indices of the rows.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum status examples_ripen(struct examples *examples, const struct item_tables *tables,
                                      int64_t now_ms, int64_t now_us,
                                      void (*add)(void *context, struct list *list), void *context,
                                      struct error *err);
int64_t examples_watermark(const struct examples *examples, int64_t now_ms, int64_t now_us);
bool examples_marked(const struct examples *examples); /* a partition has spoken */
/* Some of them wait for nothing but a mark: of a partition that spoke less than idle_ms ago. */
bool examples_held_back(const struct examples *examples, int64_t now_ms, int64_t now_us);
int examples_pending(const struct examples *examples);
const struct examples_counts *examples_counts(const struct examples *examples);
/* Drops what of the user is at or before time_ms. */
void examples_erase(struct examples *examples, uint64_t user, int64_t time_ms);

void examples_save(const struct examples *examples, struct state_file *state);
/* Into an empty one. Errors: ERR_MALFORMED, ERR_NOMEM */
MUST_CHECK enum status examples_load(struct examples *examples, struct state_file *state,
                                     struct error *err);

#endif
