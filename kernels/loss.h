/*
 * kernels/loss.h - what is lost on one list of scored candidates, and the gradient of its scores.
 *
 * Flow: scores, labels -> [loss] -> gradient of the scores -> head
 *
 *     point    -[y ln p + (1 - y) ln(1 - p)],  p = sigmoid(s), y the label clamped to 0..1
 *     pair     logistic: ln(1 + e^-(s_i - s_j)); hinge: max(0, 1 - (s_i - s_j));
 *              mean over pairs with y_i > y_j, weighted by both rows' weights
 *     softmax  -sum_i p_i ln softmax(s)_i,  p = weight * label / their sum
 *     lambda   sum over pairs with y_i > y_j of |change of NDCG if they swapped| * logistic
 *     distil   -sum_i softmax(teacher)_i ln softmax(s)_i
 *
 * Lists are short and this is a thousandth of a step, so it is plain C in double, the same on
 * every instruction set, and its own reference; its gradients are tested against differences.
 *
 * Dims: m candidates of the list
 * An outlier is a row (point) or a list (softmax) of which more is lost than list->clip: it counts
 * as lost clip and adds no gradient. Robots and misclicks are what a model that has learnt a little
 * is most surprised by, and would learn most from. Source: Wang et al. 2021 (truncated cross
 * entropy); the slopes of pairs are bounded by themselves.
 *
 * Each function adds scale * gradient to ds (m) and returns the loss, not scaled; scale is any
 * number. Scores, labels, weights and the teacher's scores are finite, labels and weights at least
 * 0; weight may be NULL: all 1. A list that cannot teach (no candidate, no pair, no positive label,
 * no weight) returns 0 and adds nothing. Rows of one label are no pair; a hinge at its margin has
 * no slope; of equal scores the first stands before the others (lambda). distil reads scores alone.
 * Errors: none. Thread: any. Accuracy: the formulas in double, gradients rounded to float.
 * Source: MODEL.md section 4; LambdaRank: Burges, MSR-TR-2010-82, gain 2^y - 1.
 */
#ifndef KERNELS_LOSS_H
#define KERNELS_LOSS_H

#include <stdbool.h>
#include <stdint.h>

struct loss_list {
    const float *scores; /* (m) */
    const float *labels; /* (m); not read by distil */
    const float *weight; /* (m) or NULL */
    int32_t m;
    double clip; /* largest loss that teaches; 0: any */
};

/* Does the list hold two labels that differ, or any positive one, among rows with weight? */
bool loss_has_pairs(const struct loss_list *list);
bool loss_has_positive(const struct loss_list *list);

double loss_point(float *ds, const struct loss_list *list, double scale); /* sum over rows */
double loss_pair_logistic(float *ds, const struct loss_list *list, double scale);
double loss_pair_hinge(float *ds, const struct loss_list *list, double scale);
double loss_softmax(float *ds, const struct loss_list *list, double scale);
/* order: (m) scratch */
double loss_lambda(float *ds, const struct loss_list *list, double scale, int32_t *order);
double loss_distil(float *ds, const struct loss_list *list, const float *teacher, double scale);

#endif
