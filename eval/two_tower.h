/*
 * eval/two_tower.h - the plain neural baseline: a bag of the last items against each item.
 *
 * Flow: split -> [two towers] -> scores -> full ranking
 *
 *     u = sum over the last 20 items h_k, newest first, of .9^k P[h_k],   s_i = cos(u, Q[i]) / .05
 *
 * Two tables and nothing else, learnt by the same sampled softmax as the model (kernels/next.h,
 * 128 negatives for a block of positions), row-wise Adagrad, at most TWO_TOWER_POSITIONS positions.
 * What the model is better by is what its layers, actions and order are worth.
 * Thread: one to learn; scoring any.
 */
#ifndef EVAL_TWO_TOWER_H
#define EVAL_TWO_TOWER_H

#include "eval/split.h"

#include <stdint.h>

#define TWO_TOWER_POSITIONS 1000000

struct two_tower;
/* Errors: ERR_NOMEM */
MUST_CHECK enum status two_tower_create(struct two_tower **tower, const struct split *split,
                                        uint64_t seed, struct error *err);
void two_tower_destroy(struct two_tower *tower); /* NULL is fine */
/* scores (V) of a history (count), oldest first. All 0 without one. */
void two_tower_scores(const struct two_tower *tower, const int32_t *history, int64_t count,
                      float *scores);

#endif
