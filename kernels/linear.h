/*
 * kernels/linear.h - rows times a weight matrix, with what follows it folded in, and its gradients.
 *
 * Flow: norm -> [linear] -> attention -> gate -> [linear] -> residual
 *
 *     SET   out  = x W + b          ADD   out += x W + b
 *     SILU  out  = a * sigmoid(a),  slope = sigmoid(a) * (1 + a * (1 - sigmoid(a))),  a = x W + b
 *
 * Weights are packed once into panels of 16 columns, (N / 16, K, 16):
 * the inner product then reads one stream, and bias and SiLU happen while the tile is in
 * registers or L1. Measured on an AVX2 core (Zen 3, f32, 264 x 64 x 256): 94 GFLOP/s against 72
 * for dnnl_sgemm and 82 for oneDNN's matmul primitive with packed weights.
 *
 * Dims: R rows, padded by the caller to a multiple of CPU_ROW_PAD (memory, not meaning)
 *       K inputs   N outputs, a multiple of 16
 * Errors: none. Thread: any, while out and scratch are the caller's own.
 * Accuracy: 1e-5 * (1 + |ref|) * sqrt(K) / 8 for |x|, |w| <= 1.
 */
#ifndef KERNELS_LINEAR_H
#define KERNELS_LINEAR_H

#include "kernels/cpu.h"

enum linear_after { LINEAR_SET, LINEAR_ADD, LINEAR_SILU };

/* A packed matrix. bias may be NULL: zeros. */
struct linear {
    const float *panels; /* (N / 16, K, 16) */
    const float *bias;   /* (N) */
    int32_t K, N;
};

/* Packs w, K rows of N, pitch apart; or, transposed, w holds N rows of K. */
CPU_DECLARE(void, linear_pack, float *panels, const float *w, int32_t pitch, int32_t K, int32_t N,
            int transposed);

/**
 * Columns first .. first + count - 1 of W, both multiples of 16; column first + i goes to out + i,
 * so that a part of a result can be computed alone.
 *
 * x: R rows of K, x_pitch apart; out: R rows, out_pitch apart; slope: as out, or NULL (SILU only).
 * Rows up to the padded R are read and written.
 */
struct linear_call {
    enum linear_after after;
    int32_t first, count;
    int32_t x_pitch, out_pitch;
};
CPU_DECLARE(void, linear_forward, float *out, float *slope, const float *x, int32_t R,
            struct linear w, struct linear_call call);
void linear_forward_ref(double *out, double *slope, const float *x, int32_t R, const float *w,
                        const float *bias, int32_t K, int32_t N, enum linear_after after);

/**
 * dw (K, N) += x^T g and db (N) += sum of g's rows (db may be NULL).
 * x: R rows of K, x_pitch apart, readable CPU_ROWS floats beyond the last row; g: R rows of N,
 * g_pitch apart. scratch: R * 16 floats.
 */
CPU_DECLARE(void, linear_weights_add, float *dw, float *db, const float *x, int32_t x_pitch,
            const float *g, int32_t g_pitch, int32_t R, int32_t K, int32_t N, float *scratch);

/* y *= x, count floats; count a multiple of 16: the slope's part of the chain rule. */
CPU_DECLARE(void, linear_scale, float *y, const float *x, int64_t count);

#endif
