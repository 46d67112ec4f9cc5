/*
 * kernels/linear_bf16.h - the products of scoring with inputs and weights rounded to bf16.
 *
 * Flow: norm -> [linear, rounded] -> attention -> gate -> [linear, rounded] -> residual
 *
 * A bf16 is the upper half of a float, rounded to nearest, ties to even: 8 bits of precision. Sums
 * stay float. Worth it where the processor multiplies pairs of them (AMX: 3 to 7 times as fast as
 * f32; AVX-512 BF16 alone: mostly not), and everywhere else an answer to the question what it
 * would cost in quality:
 *
 *     portable  both rounded, then multiplied as floats by linear_forward(): any processor
 *     avx512    vdpbf16ps, 16 pairs at a time
 *     amx       tdpbf16ps, tiles of 16 x 32 by 32 x 16
 *
 * All take the same rounded numbers, so they differ by the order of float sums alone.
 *
 * Pairs: weights as (N / 16, K / 2, 16, 2) bf16, K padded with zeros to a multiple of 32: a line of
 * 64 bytes holds rows k and k + 1 of 16 columns, which is what both instructions take.
 *
 * Errors: none. Thread: any, while out is the caller's own.
 * Accuracy: |out - exact| <= 2^-8 * 1.01 * sum over k of |x_k w_k|, and linear.h's own; a tenth of
 *           that is usual, since roundings cancel. After SILU 1.1 times as much. NaN stays NaN.
 */
#ifndef KERNELS_LINEAR_BF16_H
#define KERNELS_LINEAR_BF16_H

#include "kernels/linear.h"

#include <stdbool.h>
#include <stdint.h>

#define LINEAR_BF16_K_PAD 32

enum linear_bf16_way { LINEAR_BF16_PORTABLE, LINEAR_BF16_AVX512, LINEAR_BF16_AMX };

static inline int32_t linear_bf16_pitch(int32_t K) /* K as it is padded */
{
    return (K + LINEAR_BF16_K_PAD - 1) / LINEAR_BF16_K_PAD * LINEAR_BF16_K_PAD;
}

static inline int64_t linear_bf16_pairs_count(int32_t K, int32_t N) /* of uint16_t */
{
    return (int64_t)linear_bf16_pitch(K) * N;
}

/* A packed matrix in both forms; w.panels hold the rounded numbers as floats. */
struct linear_bf16 {
    struct linear w;
    const uint16_t *pairs;
};

/* x[i] = x[i] rounded; count a multiple of 16. */
CPU_DECLARE(void, linear_bf16_round, float *x, int64_t count);
/* pairs from panels that are rounded. */
void linear_bf16_pack(uint16_t *pairs, struct linear w);

/* As linear_forward() without slopes; K is a multiple of 16, and x_pitch at least K. */
void linear_bf16_forward_avx512(float *out, const float *x, int32_t R, struct linear_bf16 w,
                                struct linear_call call);
void linear_bf16_forward_amx(float *out, const float *x, int32_t R, struct linear_bf16 w,
                             struct linear_call call);

/* The best way of this machine, in its own opinion; the same one in a process. A column that
 * FRESHET_ISA asks for other than v4 leaves the portable one. Thread: any. */
enum linear_bf16_way linear_bf16_best(void);
const char *linear_bf16_name(enum linear_bf16_way way); /* "portable", "avx512", "amx" */

#endif
