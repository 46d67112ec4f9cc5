/*
 * kernels/norm.h - layer norm without gain or shift, and its gradient.
 *
 * Flow: token rows -> [norm] -> linear
 *
 *     out = (x - mean) * rstd,   rstd = 1 / sqrt(mean of (x - mean)^2 + epsilon)
 *     dx  = rstd * (g - mean g - out * mean(g * out))                (MODEL.md section 2, LN^b)
 *
 * Dims: R rows (any number, 0 too)   C channels, a multiple of 16
 * Errors: none. Thread: any; rows are independent.
 * Accuracy: 1e-5 * (1 + |ref|) while |x| <= 100 and the row's deviation >= 1e-2.
 */
#ifndef KERNELS_NORM_H
#define KERNELS_NORM_H

#include "kernels/cpu.h"

/* out, x: (R, C); rstd: (R) or NULL. out may be x. */
CPU_DECLARE(void, norm_forward, float *out, float *rstd, const float *x, int32_t R, int32_t C,
            float epsilon);
void norm_forward_ref(double *out, double *rstd, const float *x, int32_t R, int32_t C,
                      float epsilon);

/* dx (R, C) += gradient, from g (R, C), the gradient of out. */
CPU_DECLARE(void, norm_backward_add, float *dx, const float *g, const float *out, const float *rstd,
            int32_t R, int32_t C);

#endif
