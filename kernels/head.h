/*
 * kernels/head.h - from a candidate's last row to its score, late-fusing the scalars.
 *
 * Flow: layers -> [head] -> scores
 *
 *     dot    s = x . e / sqrt(C) + w_f . f + b                e = sqrt(C) * emb of the candidate
 *     cross  z = [x | x * e | f],   x_0 = z,   x_{l+1} = x_0 * (x_l Down_l Up_l + b_l) + x_l
 *            s = w . [z | x_crosses | SiLU(z M + b_m)] + b
 *     f = (scalars - mean) * scale, both of the data learnt from, set by the learner
 *
 * The cross layers are the low-rank form of DCN v2 (arXiv 2008.13535, equation 3).
 *
 * Dims: m candidates   C channels   F scalars   Z = 2 C + F, padded with zeros to a multiple of 16
 *       R rank of a cross layer   W width of the MLP; both multiples of 16
 * Rows: candidates padded to cpu_pad_rows(m), padding 0.
 * Errors: none. Thread: any; the tape is the caller's own.
 * Accuracy: 1e-5 * (1 + |ref|) * sqrt(Z) for rows of norm up to sqrt(Z).
 */
#ifndef KERNELS_HEAD_H
#define KERNELS_HEAD_H

#include "kernels/cpu.h"
#include "kernels/linear.h"

#define HEAD_CROSSES_MAX 4
#define HEAD_RANK_MAX    256

/* A weight in the three forms the passes need. */
struct head_linear {
    struct linear forward;
    struct linear transposed; /* for the gradient of the input; panels NULL when never trained */
};

struct head {
    int32_t C, F, Z, R, W, crosses; /* crosses 0: the dot head; Z, R, W are then not used */
    const float *mean, *scale;      /* (F) */
    const float *w_f, *b_f;         /* (F), (1): dot */
    struct head_linear down[HEAD_CROSSES_MAX]; /* (Z, R), no bias */
    struct head_linear up[HEAD_CROSSES_MAX];   /* (R, Z), bias (Z) */
    struct head_linear mlp;                    /* (Z, W), bias (W) */
    const float *w, *b;                        /* (2 Z + W), (1) */
    struct linear joined;                      /* head_join(): (2 C + F, 2 R + W) for scoring */
    const float *direct;                       /* (Z) */
};

/* Where gradients are added to; shapes as the weights. */
struct head_gradient {
    float *w_f, *b_f;
    float *down[HEAD_CROSSES_MAX], *up[HEAD_CROSSES_MAX], *up_bias[HEAD_CROSSES_MAX];
    float *mlp, *mlp_bias;
    float *w, *b;
};

/* The tape: what the forward pass leaves for the backward pass, and its scratch. */
static inline int64_t head_tape_floats(int32_t m, int32_t C, int32_t Z, int32_t R, int32_t W,
                                       int32_t crosses)
{
    int64_t rows = cpu_pad_rows(m), wide = Z > W ? Z : W;

    if (crosses == 0)
        return 0;
    return rows * (Z + (int64_t)crosses * (2 * Z + R) + 2 * W + 3 * wide + R + C + CPU_PANEL) +
           2 * CPU_PANEL;
}

/* scores (m); x, e (rows, C); scalars (m, F). tape: head_tape_floats(). */
CPU_DECLARE(void, head_forward, float *scores, const float *x, const float *e, const float *scalars,
            int32_t m, const struct head *head, float *tape);

/* The head as a matrix form the reference can read: w matrices unpacked, row-major. */
struct head_plain {
    const float *down[HEAD_CROSSES_MAX], *up[HEAD_CROSSES_MAX], *mlp;
};
void head_forward_ref(double *scores, const float *x, const float *e, const float *scalars,
                      int32_t m, const struct head *head, const struct head_plain *plain);

/**
 * Scores alone, without a tape: one product takes z to the first cross layer, the last one and the
 * MLP. The last layer is never made: with w its part of the head's weights,
 *
 *     w . x_L = w . x_{L-1} + (w * b) . z + (x_{L-1} Down) . (z (w * Up)^T)
 *
 * head_join fills head->joined and head->direct from the rest and plain; memory: head_join_floats()
 * that live as long. head_score: arguments as head_forward's.
 */
static inline int64_t head_join_floats(int32_t Z, int32_t R, int32_t W)
{
    int64_t N = 2 * (int64_t)R + W;

    return N + Z + 2 * Z * N;
}
CPU_DECLARE(void, head_join, struct head *head, const struct head_plain *plain, float *memory);
CPU_DECLARE(void, head_score, float *scores, const float *x, const float *e, const float *scalars,
            int32_t m, const struct head *head, float *tape);

/* dx, de (rows, C) are set from ds (m), the gradient of the scores. tape: as the forward pass of
 * the same rows left it. */
CPU_DECLARE(void, head_backward, struct head_gradient *gradient, float *dx, float *de,
            const float *ds, const float *x, const float *e, const float *scalars, int32_t m,
            const struct head *head, float *tape);

#endif
