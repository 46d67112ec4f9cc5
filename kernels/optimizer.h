/*
 * kernels/optimizer.h - the updates: AdamW for dense weights, row-wise Adagrad for item rows.
 *
 * Flow: gradients -> [optimizer] -> weights
 *
 *     AdamW    m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
 *              w -= rate * (m / c1 / (sqrt(v / c2) + epsilon) + decay * w),  c = 1 - b^steps
 *     Adagrad  a = forget * a + mean of g^2 over the row,  w -= rate * g / (sqrt(a) + epsilon)
 *
 * g is scale * gradient: clipping and means cost no pass of their own.
 *
 * Dims: n floats   C channels of a row; both multiples of 16
 * Errors: none. Thread: any, on parts of the arrays that do not overlap.
 * Accuracy: 1e-6 * (1 + |ref|).
 * Source: AdamW arXiv 1711.05101; Adagrad, Duchi 2011, one accumulator a row as in arXiv
 * 1906.00091, section 4; forgetting keeps the rate from vanishing on an endless stream.
 */
#ifndef KERNELS_OPTIMIZER_H
#define KERNELS_OPTIMIZER_H

#include "kernels/cpu.h"

struct adamw {
    float rate, beta1, beta2, epsilon, decay;
    float c1, c2; /* 1 - beta^steps */
};

CPU_DECLARE(void, adamw_update, float *w, float *m, float *v, const float *gradient, float scale,
            int64_t n, const struct adamw *settings);
/* As if gradient were 0: for item rows that a step did not touch. */
CPU_DECLARE(void, adamw_coast, float *w, float *m, float *v, int64_t n,
            const struct adamw *settings);
void adamw_update_ref(double *w, double *m, double *v, const float *gradient, float scale,
                      int64_t n, const struct adamw *settings);

/* accumulator: one float of the row. */
CPU_DECLARE(void, adagrad_update, float *w, float *accumulator, const float *gradient, float scale,
            int32_t C, float rate, float forget, float epsilon);
void adagrad_update_ref(double *w, double *accumulator, const float *gradient, float scale,
                        int32_t C, float rate, float forget, float epsilon);

/* Sum of squares, in double, in a fixed order; NaN and infinity show in it. */
CPU_DECLARE(double, squares_sum, const float *x, int64_t n);

/* a += b, n floats. */
CPU_DECLARE(void, gradients_add, float *a, const float *b, int64_t n);

#endif
