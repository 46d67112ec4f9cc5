/*
 * kernels/rows.h - gradients of table rows, kept for the rows that were touched only.
 *
 * A step touches a few thousand of maybe millions of item rows. Each touched row gets a slot of
 * C floats, in the order of first touch, so that adding up and clearing cost what was touched.
 * Thread: one at a time; each trainer thread has its own and they are added in thread order.
 */
#ifndef KERNELS_ROWS_H
#define KERNELS_ROWS_H

#include "ops/status.h"

#include <stdint.h>

struct rows {
    int32_t C, V;
    int32_t count;    /* rows touched */
    int32_t capacity; /* slots */
    int32_t *slot_of; /* (V) slot + 1, 0 = not touched */
    int32_t *row_of;  /* (capacity) */
    float *slots;     /* (capacity, C) */
};

/* Makes room for a table of V rows and up to touched_max touched ones. Keeps nothing: call it
 * between steps. A zeroed struct is fine. Errors: ERR_NOMEM. */
MUST_CHECK enum status rows_reserve(struct rows *rows, int32_t V, int32_t C, int64_t touched_max,
                                    struct error *err);
void rows_clear(struct rows *rows);   /* forgets what was touched, keeps the memory */
void rows_release(struct rows *rows); /* frees the memory and zeroes the struct */

/* The gradient (C) of a row, 0 <= row < V; zero at its first touch. Cannot fail after a reserve
 * that was large enough (assert). */
float *rows_slot(struct rows *rows, int32_t row);

/* a += b, row by row in b's order. */
void rows_add(struct rows *a, const struct rows *b);

#endif
