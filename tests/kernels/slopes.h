/*
 * tests/kernels/slopes.h - random arrays, and gradients checked against central differences of a
 * reference in double.
 */
#ifndef TESTS_KERNELS_SLOPES_H
#define TESTS_KERNELS_SLOPES_H

#include <stddef.h>
#include <stdint.h>

/* count floats of this deviation, 64-byte aligned, with room to read beyond; freed by free(). */
float *slopes_random(size_t count, double deviation, uint64_t seed);
float *slopes_zeros(size_t count);

/* f: the reference's output times a fixed gradient, summed. */
typedef double slopes_function(void *context);

/* got[i] must be df / dx[i] for each of count floats of x, which f reads. */
void slopes_check(slopes_function *f, void *context, float *x, const float *got, size_t count,
                  double tolerance);

/* sum of out[i] * weight[i]. */
double slopes_dot(const double *out, const float *weight, size_t count);

#endif
