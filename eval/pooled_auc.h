/*
 * eval/pooled_auc.h - the area under the ROC curve over the candidates of all targets together.
 *
 * Flow: scores of a target's candidates -> [pooled AUC] -> eval's rows
 *
 * How likely a target scores higher than a candidate of any request that was not chosen. Beside the
 * mean of users' AUC (GAUC) it asks whether scores mean the same from user to user. Candidates are
 * targets times items, far too many to sort, so others are counted in bins by the upper bits of
 * their scores: what falls into one bin counts as tied.
 *
 * Owner: create/destroy; one a thread, merged at the end, in any order with the same result.
 * Accuracy: neighbouring bins differ by 1 part in 128, so 1e-3 of ranking_metrics_auc() on scores
 * that are spread.
 */
#ifndef EVAL_POOLED_AUC_H
#define EVAL_POOLED_AUC_H

#include <stdint.h>

struct pooled_auc;
struct pooled_auc *pooled_auc_create(void);         /* NULL: out of memory */
void pooled_auc_destroy(struct pooled_auc *pooled); /* NULL is fine */

/* Scores (count) of one request; -INFINITY and NaN are no candidates. A target that is none, or
 * outside the scores, adds nothing of the request. */
void pooled_auc_add(struct pooled_auc *pooled, const float *scores, int32_t count, int32_t target);
/* Adds all that the other was told. */
void pooled_auc_merge(struct pooled_auc *pooled, const struct pooled_auc *other);
/* Ties averaged; NaN without a target, or without others. */
double pooled_auc_value(const struct pooled_auc *pooled);

#endif
