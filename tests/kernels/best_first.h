/*
 * tests/kernels/best_first.h - the order of the best: larger first, of equal ones the smaller
 * number.
 *
 * A stable sort, for tests of what finds the same without one. No NaN among what is sorted.
 */
#ifndef TESTS_KERNELS_BEST_FIRST_H
#define TESTS_KERNELS_BEST_FIRST_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static const float *best_first_by;

static inline int best_first_compare(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;

    if (best_first_by[i] != best_first_by[j])
        return best_first_by[i] > best_first_by[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* Sorts numbers of by. */
static inline void best_first(int32_t *order, int32_t count, const float *by)
{
    best_first_by = by;
    qsort(order, (size_t)count, sizeof *order, best_first_compare);
}

#endif
