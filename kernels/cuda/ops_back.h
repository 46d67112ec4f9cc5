/*
 * kernels/cuda/ops_back.h - what learning needs on the device beside kernels/cuda/ops.h: tapes,
 * gradients, losses, updates.
 *
 * Flow: rows -> [forward with a tape] -> losses -> [gradients of rows and weights] -> [updates]
 *
 * What each computes stands in the header of the CPU's op (kernels/norm.h, gate.h, attention.h,
 * head.h, next.h, loss.h, optimizer.h). Dims, shapes, errors, threads: as kernels/cuda/ops.h. Sums
 * over rows go in a fixed order, in two launches where they are long, and nothing is added by two
 * threads: the same batch gives the same bits.
 * Accuracy: f32 throughout; tests/cuda holds each to 2e-4 * (1 + |ref|) of formulas in double,
 * rows, heads and updates to 1e-5 * (1 + |ref|) and less. Numbers of rows (order, slot_of, row_of)
 * come from the host, which has checked them, and are trusted.
 */
#ifndef KERNELS_CUDA_OPS_BACK_H
#define KERNELS_CUDA_OPS_BACK_H

#include "kernels/cuda/ops.h"
#include "kernels/dropout.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- forward, with what the way back needs ---- */

/* cuda_norm() with rstd (R); cuda_gate() with normed (R, C) and rstd (R) of o; half: the result as
 * bf16, beside it or, for the gate where y is NULL, alone, or NULL; cuda_after() with SiLU and its
 * slope, shaped and aligned as out. A row of equal numbers has rstd 1 / sqrt(epsilon); SiLU and
 * slope are numbers wherever out + bias is one. Between rows that lie apart (u, out, slope; below
 * du) nothing is read or written. */
MUST_CHECK enum status cuda_norm_tape(cudaStream_t stream, float *out, uint16_t *half, float *rstd,
                                      const float *x, int32_t R, int32_t C, float epsilon,
                                      struct error *err);
MUST_CHECK enum status cuda_gate_tape(cudaStream_t stream, float *y, uint16_t *half, float *normed,
                                      float *rstd, const float *o, const float *u, int32_t u_pitch,
                                      int32_t R, int32_t C, float epsilon, struct error *err);
MUST_CHECK enum status cuda_silu_tape(cudaStream_t stream, float *out, float *slope, int32_t pitch,
                                      const float *bias, int32_t R, int32_t N, struct error *err);

/* x (R, C) *= the mask of kernels/dropout.h; site: what a layer adds to a request's seed, last: by
 * last_row. Bytes: C * 8 + 16 a row. Limit: memory; a warp a row. */
struct cuda_dropped {
    uint64_t seed;          /* of its request */
    uint32_t row, last_row; /* as kernels/dropout.h counts them: the latter in the last layer */
};
MUST_CHECK enum status cuda_dropout(cudaStream_t stream, float *x, const struct cuda_dropped *rows,
                                    int32_t R, int32_t C, float p, uint64_t site, bool last,
                                    struct error *err);

/* ---- gradients of rows ---- */

/* dx (R, C) += gradient of the norm's input, from g (R, C), that of its output.
 * Bytes: C * 20 a row. Limit: memory; a warp a row. */
MUST_CHECK enum status cuda_norm_backward(cudaStream_t stream, float *dx, const float *g,
                                          const float *normed, const float *rstd, int32_t R,
                                          int32_t C, struct error *err);

/* du (R rows, u_pitch apart) and d_o (R, C) are set from dy (R, C). u: pitch as du.
 * Bytes: C * 20 a row. Limit: memory; a warp a row. */
MUST_CHECK enum status cuda_gate_backward(cudaStream_t stream, float *du, float *d_o,
                                          const float *dy, const float *normed, const float *rstd,
                                          const float *u, int32_t u_pitch, int32_t R, int32_t C,
                                          struct error *err);

/* y *= x, y += x; count floats, any number of them; x and y 16-byte aligned. Bytes: 12 each. Limit:
 * memory. */
MUST_CHECK enum status cuda_multiply(cudaStream_t stream, float *y, const float *x, int64_t count,
                                     struct error *err);

/* y *= x with the result as bf16 beside it; count a multiple of 4. Bytes: 14 each. Limit: memory.
 */
MUST_CHECK enum status cuda_multiply_half(cudaStream_t stream, uint16_t *half, float *y,
                                          const float *x, int64_t count, struct error *err);

MUST_CHECK enum status cuda_add(cudaStream_t stream, float *y, const float *x, int64_t count,
                                struct error *err);

/* out (N) = sums of the columns of x (R rows of N, pitch apart; 16 bytes at a time where x and
 * pitch allow it); R 0: zeros. scratch: cuda_sums_floats(R, N), or NULL for up to CUDA_SUMS_ROWS
 * rows. Bytes: 4 an element. Limit: memory. */
#define CUDA_SUMS_ROWS 512
static inline int64_t cuda_sums_floats(int64_t R, int64_t N)
{
    return (R + CUDA_SUMS_ROWS - 1) / CUDA_SUMS_ROWS * N;
}
MUST_CHECK enum status cuda_column_sums(cudaStream_t stream, float *out, const float *x,
                                        int32_t pitch, int32_t R, int32_t N, float *scratch,
                                        struct error *err);

/* ---- attention ---- */

/**
 * dz (T + N, 4 C): its V, Q and K parts are set. history_tiles (of tiles_count) come first in
 * tiles. bias (cuda_attention_bias_rows() rows of P + 1 + BUCKET_COUNT): parts of the gradients of
 * r_pos and r_time, to be added up. softmax: delta (T + N, H) scratch; o (T + N, C) and log_total
 * of the forward pass. attention: as it was for the forward pass, kept 0, k and v in z. Bytes: as
 * forward, twice, with d_o beside z. Limit: shared memory's bandwidth.
 */
struct cuda_attention_back {
    struct cuda_attention attention;
    int32_t P, history_tiles, tiles_count;
    int32_t blocks; /* at most so many share the tiles of a head, and make a row of bias each */
    const struct cuda_tile *tiles;
    const int32_t *candidate_start; /* (B + 1) */
    const float *z, *o, *d_o;
    float *dz, *bias, *delta;
};
static inline int64_t cuda_attention_bias_rows(int32_t tiles_count, int32_t blocks, int32_t H)
{
    return (int64_t)(tiles_count < blocks ? tiles_count : blocks) * H;
}
MUST_CHECK enum status cuda_attention_backward(cudaStream_t stream, struct cuda_attention_back back,
                                               int32_t T, int32_t N, struct error *err);

/* ---- embed, segments ---- */

/* out (T + N, C) = sqrt(C) * (dx + de of candidate rows): gradients of item rows, one a token. de:
 * not read where N is 0. Limit: memory. */
MUST_CHECK enum status cuda_embed_backward(cudaStream_t stream, float *out, const float *dx,
                                           const float *de, int32_t T, int32_t N, int32_t C,
                                           struct error *err);

/* out (count, C): row s is the sum of rows order[start[s] .. start[s + 1] - 1] of in, in that
 * order; order NULL: of those rows themselves. A segment of none is 0; a row may be of many
 * segments, and of one more than once; start[0] need not be 0. Bytes: C * 4 a row that is read.
 * Limit: memory; a thread four channels of a segment. */
MUST_CHECK enum status cuda_segments(cudaStream_t stream, float *out, const float *in,
                                     const int32_t *order, const int32_t *start, int32_t count,
                                     int32_t C, struct error *err);

/* ---- head ---- */

/* f (N, F) = (scalars - mean) * scale; F any number, none too. */
MUST_CHECK enum status cuda_head_scalars(cudaStream_t stream, float *f, const float *scalars,
                                         const float *mean, const float *scale, int32_t N,
                                         int32_t F, struct error *err);
/* dx = ds * e / sqrt(C), de = ds * x / sqrt(C); all (N, C), ds (N). */
MUST_CHECK enum status cuda_head_dot_backward(cudaStream_t stream, float *dx, float *de,
                                              const float *ds, const float *x, const float *e,
                                              int32_t N, int32_t C, struct error *err);
/* out (N, K) = ds * w; w (K), K a multiple of 4. */
MUST_CHECK enum status cuda_head_outer(cudaStream_t stream, float *out, const float *ds,
                                       const float *w, int32_t N, int32_t K, struct error *err);
/* dz += g * (wide + bias), t = g * z; all (N, Z), bias (Z). */
MUST_CHECK enum status cuda_head_cross_backward(cudaStream_t stream, float *dz, float *t,
                                                const float *g, const float *z, const float *wide,
                                                const float *bias, int32_t N, int32_t Z,
                                                struct error *err);
/* dx = dz's first C + its second * e, de = its second * x. dz (N, Z), of which what is behind 2 C
 * is not read; the others (N, C). */
MUST_CHECK enum status cuda_head_inputs_backward(cudaStream_t stream, float *dx, float *de,
                                                 const float *dz, const float *x, const float *e,
                                                 int32_t N, int32_t C, int32_t Z,
                                                 struct error *err);

/* ---- losses of lists (kernels/loss.h) ---- */

struct cuda_lists {
    int32_t B;
    const int32_t *start;          /* (B + 1), of lists of any length, 0 too */
    const float *scores, *label;   /* (N) */
    const float *weight, *teacher; /* (N) or NULL; DISTIL has a teacher, the others read none */
    float clip;                    /* of POINT and SOFTMAX, as struct loss_list; 0: none */
};
enum cuda_loss {
    CUDA_LOSS_POINT,
    CUDA_LOSS_LOGISTIC,
    CUDA_LOSS_HINGE,
    CUDA_LOSS_SOFTMAX,
    CUDA_LOSS_LAMBDA,
    CUDA_LOSS_DISTIL
};
/* loss (B) is set, not scaled; ds (N) += scale * gradient. discount (N): scratch of LAMBDA, else
 * not looked at. tests/cuda holds POINT and pairs to 3e-6 * (1 + |ref|), SOFTMAX and DISTIL to 1e-4
 * of it, which is what scores of 100 cost.
 * A block a list. Limit: POINT, SOFTMAX and DISTIL memory; the others pairs of a list. */
MUST_CHECK enum status cuda_loss(cudaStream_t stream, enum cuda_loss kind, float *loss, float *ds,
                                 struct cuda_lists lists, float scale, float *discount,
                                 struct error *err);
/* scores (N) += bias[position]; position (N), each a row of bias. */
MUST_CHECK enum status cuda_position_add(cudaStream_t stream, float *scores, const float *bias,
                                         const int32_t *position, int32_t N, struct error *err);
/* dbias[p] for p in 2..count - 1 = sum of ds over candidates shown there, 0 where none was; the
 * first two are 0. */
MUST_CHECK enum status cuda_position_backward(cudaStream_t stream, float *dbias, const float *ds,
                                              const int32_t *position, int32_t N, int32_t count,
                                              struct error *err);

/* ---- next-item loss (kernels/next.h) ---- */

/* k positions in S sets of K negatives: set s has positions set_start[s] .. set_start[s + 1] - 1,
 * or none: then its negatives' gradients are 0. K may be 0: then there is nothing to tell a target
 * from, and nothing is lost. Items may be drawn twice, each for itself. A block of the loss has
 * (C + max(C, 512) + 2 K) * 4 bytes of shared memory, of which a launch gives 48 KiB.
 */
struct cuda_next {
    int32_t k, S, K, C;
    float inverse_tau, scale;
    const float *emb;               /* (V, C) */
    const float *x;                 /* rows of C */
    const int32_t *row, *target;    /* (k) row of x, where learning each once at most; item row */
    const int32_t *set, *set_start; /* (k), (S + 1) */
    const int32_t *negatives;       /* (S, K) item rows */
    const float *target_bias;       /* (k) - ln Q */
    const float *negatives_bias;    /* (S, K) - ln Q */
};
/* loss (k); where learning (dx not NULL): dx rows += gradient, d_target (k, C) gradients of the
 * targets' item rows, unit (k, C) the states at length 1 and share (k, K) what a negative's cosine
 * has of the gradient, both for the next. dx NULL: the loss alone, and the others may be NULL. A
 * row's length is sqrt(|x|^2 + 1e-12): one of zeros has a cosine of 0, and slopes as large as
 * 1e6 * scale / tau. tests/cuda holds losses and shares to 2e-5 * (1 + |ref|), and gradients to
 * 2e-5 * (1 + scale / tau / length).
 * Bytes: K * C * 8 a position, from L2. Limit: L2. */
MUST_CHECK enum status cuda_next_loss(cudaStream_t stream, float *loss, float *dx, float *d_target,
                                      float *unit, float *share, struct cuda_next next,
                                      struct error *err);
/* d_negative (S * K, C): gradients of the negatives' item rows. Limit: memory; a warp each. */
MUST_CHECK enum status cuda_next_negatives(cudaStream_t stream, float *d_negative,
                                           const float *unit, const float *share,
                                           struct cuda_next next, struct error *err);

/* ---- updates (kernels/optimizer.h) ---- */

struct cuda_adamw {
    float rate, beta1, beta2, epsilon, decay;
    float c1, c2; /* 1 - beta^steps */
    float scale;  /* of the gradient */
};
/* n floats, any number of them; all four 16-byte aligned. epsilon > 0, here and below: then where
 * moments and gradient are 0, w decays, and that is all. Bytes: 28 each. Limit: memory. */
MUST_CHECK enum status cuda_adamw(cudaStream_t stream, float *w, float *m, float *v,
                                  const float *gradient, int64_t n, struct cuda_adamw settings,
                                  struct error *err);
/* w, m, v (V, C): row r has gradient slots[slot_of[r]], or 0 where slot_of[r] is negative: it moves
 * by its momentum. Rows may share a slot. */
MUST_CHECK enum status cuda_adamw_rows(cudaStream_t stream, float *w, float *m, float *v,
                                       const float *slots, const int32_t *slot_of, int32_t V,
                                       int32_t C, struct cuda_adamw settings, struct error *err);
/* Rows row_of (count) of w (V, C) with accumulators (V); a warp a row, each row once. Other rows
 * stay as they are, and so does one whose gradient and accumulator are 0. */
MUST_CHECK enum status cuda_adagrad(cudaStream_t stream, float *w, float *accumulator,
                                    const float *slots, const int32_t *row_of, int32_t count,
                                    int32_t C, float scale, float rate, float forget, float epsilon,
                                    struct error *err);
/* sums (cuda_squares_count(n)): of squares of parts of x, to be added by the host in double.
 * x 16-byte aligned; n any. What is no finite number shows in the sum of its part. */
#define CUDA_SQUARES_PART 8192
static inline int64_t cuda_squares_count(int64_t n)
{
    return (n + CUDA_SQUARES_PART - 1) / CUDA_SQUARES_PART;
}
MUST_CHECK enum status cuda_squares(cudaStream_t stream, float *sums, const float *x, int64_t n,
                                    struct error *err);

#ifdef __cplusplus
}
#endif
#endif
