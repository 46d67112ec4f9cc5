/*
 * kernels/top_key.h - a score and its row as one number, so that the best of many are the smallest.
 *
 * Flow: scores -> [keys -> select -> sort] -> the best rows
 *
 * Ascending keys are falling scores, and equal scores by row: there is one order and no choice in
 * it. -0 is 0. Thread: any.
 */
#ifndef KERNELS_TOP_KEY_H
#define KERNELS_TOP_KEY_H

#include <stdint.h>

/* Keys of NaN are not asked for. row: at least 0. */
uint64_t top_key(float score, int32_t row);
int32_t top_key_row(uint64_t key);
float top_key_score(uint64_t key); /* 0 for -0 */
/* Behind every key of a score, and among each other by row. */
uint64_t top_key_last(int32_t row);

/* Of keys (count), no two equal: brings the k smallest to the front, in any order; k 0 to count. */
void top_key_select(uint64_t *keys, int32_t count, int32_t k);
void top_key_sort(uint64_t *keys, int32_t count);

#endif
