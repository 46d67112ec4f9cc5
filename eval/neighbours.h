/*
 * eval/neighbours.h - which items go with which, counted from training events.
 *
 * Flow: split -> [neighbours] -> counts -> full ranking
 *
 *   both       C[v, i] += 1/d for the d-th of the 5 events after one of v, .5/d for the 5 before
 *              (the anchor of retrain/baselines.h)
 *   forward    F[v, i] += 1/d for the d-th of the 10 events after one of v (MODEL.md section 3)
 *   users      cosine of the sets of users: n(v, i) / sqrt(n(v) n(i)), item-kNN
 *
 * A row keeps its heaviest neighbours. Rows are counted one at a time over a dense array, so the
 * memory is that of the result; each thread has a range of items, and the result is the same for
 * any number of threads.
 * Thread: read-only once made.
 */
#ifndef EVAL_NEIGHBOURS_H
#define EVAL_NEIGHBOURS_H

#include "eval/split.h"
#include "kernels/crew.h"

#include <stdint.h>

enum neighbours_form {
    NEIGHBOURS_BOTH,
    NEIGHBOURS_FORWARD,
    NEIGHBOURS_USERS,
};

struct neighbours {
    int32_t items;  /* V */
    int64_t *start; /* (V + 1) */
    int32_t *item;  /* (start[V]) by falling weight within a row */
    float *weight;
    float *total; /* (V) sum of a row, before it was cut */
};

/* Owner: the caller, neighbours_clear(). Errors: ERR_NOMEM */
MUST_CHECK enum status neighbours_make(struct neighbours *neighbours, const struct split *split,
                                       enum neighbours_form form, struct crew *crew,
                                       struct error *err);
void neighbours_clear(struct neighbours *neighbours); /* zeroed is fine */

#endif
