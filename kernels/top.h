/*
 * kernels/top.h - the best of many scores that come piece by piece: nobody keeps them all.
 *
 * Flow: a request's state -> [scores of a block of item rows -> top] -> its best rows
 *
 * A score and its row are one key (kernels/top_key.h). Keys gather until there are twice as many as
 * wanted; the worse half is then dropped, and from there on a score has to beat the worst that was
 * kept, which most do not: they cost a comparison of a vector of them. NaN never takes part.
 *
 * Errors: none. Thread: a top is of one.
 */
#ifndef KERNELS_TOP_H
#define KERNELS_TOP_H

#include "kernels/cpu.h"
#include "kernels/top_key.h"

#include <stdbool.h>
#include <stdint.h>

struct top {
    uint64_t *keys; /* (2 k), the caller's */
    int32_t k, count;
    bool limited; /* k better ones than limit, or as good, are there */
    float limit;
};

/* Nothing was offered yet; keys (2 k). k 0 takes nothing. */
void top_begin(struct top *top, uint64_t *keys, int32_t k);
/* Drops all but the k best: what top_offer() does when keys are full. */
void top_keep(struct top *top);
/* Scores (count) of rows first, first + 1, ...: later offers are of later rows. */
CPU_DECLARE(void, top_offer, struct top *top, const float *scores, int32_t first, int32_t count);
/* rows (k), scores (k): the best first; where there were fewer, -1 and -INFINITY. */
void top_end(struct top *top, int32_t *rows, float *scores);

#endif
