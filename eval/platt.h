/*
 * eval/platt.h - scores into probabilities: p = sigmoid(a * score + b).
 *
 * Flow: scores, labels -> [platt] -> model_set_platt()
 *
 * A list loss fits the order within lists and bends the scale of scores; two numbers bend it back.
 * Source: Platt 1999, with the targets of its section 2.2 so that a perfect order stays finite;
 * Newton's method as in Lin, Lin and Weng 2007.
 * Thread: any.
 */
#ifndef EVAL_PLATT_H
#define EVAL_PLATT_H

#include <stdbool.h>
#include <stdint.h>

struct platt {
    float a, b;
};

/* Shapes: scores, labels (count); a label above 0 is positive; a score that is not finite is left
 * out. False, and (1, 0), without a label of each kind. */
bool platt_fit(struct platt *platt, const float *scores, const float *labels, int64_t count);
/* The same to chances: targets (count) within 0..1, taken as they are. False, and (1, 0), when they
 * are all 0 or all 1. */
bool platt_fit_chances(struct platt *platt, const float *scores, const float *targets,
                       int64_t count);

#endif
