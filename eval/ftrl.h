/*
 * eval/ftrl.h - the linear baseline of online advertising: logistic on hashed crosses.
 *
 * Flow: split -> [FTRL-proximal] -> scores -> full ranking
 *
 * Of a candidate and a history: the candidate; the candidate with each of the last 4 items, by
 * place; with the length of the history (its bit length). Each is hashed into 2^20 weights. Learnt
 * in the order of time, once: each training event against 4 items drawn in proportion to counts,
 * whose logarithm is added again when items are scored.
 * Source: McMahan et al. 2013, Ad Click Prediction: a View from the Trenches, algorithm 1.
 * Thread: one to learn; scoring any.
 */
#ifndef EVAL_FTRL_H
#define EVAL_FTRL_H

#include "eval/split.h"

#include <stdint.h>

struct ftrl;
/* Errors: ERR_NOMEM */
MUST_CHECK enum status ftrl_create(struct ftrl **ftrl, const struct split *split, uint64_t seed,
                                   struct error *err);
void ftrl_destroy(struct ftrl *ftrl); /* NULL is fine */
/* scores (V), logits, of a history (count), oldest first. */
void ftrl_scores(const struct ftrl *ftrl, const int32_t *history, int64_t count, float *scores);

#endif
