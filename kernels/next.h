/*
 * kernels/next.h - next-item learning: sampled softmax over unit vectors, corrected by log-Q.
 *
 * Flow: last layer's history rows -> [next] -> their gradient, gradients of item rows
 *
 *     l_j = cos(x, emb_j) / tau - ln Q_j,    loss = -l_y + ln(e^l_y + sum over negatives e^l_j)
 *
 * Negatives of a set are shared by the positions it is used for; one that is a position's target
 * is left out there. With a uniform Q the correction cancels. A length is sqrt(|x|^2 + 1e-12).
 *
 * Dims: K negatives   C channels   k positions of one call, at most NEXT_POSITIONS_MAX
 * Errors: none. Thread: any; the set is the caller's own.
 * Accuracy: loss 1e-5 * (1 + |ref|); gradients 1e-4 of their norm.
 * Source: MODEL.md section 4; log-Q: Bengio and Senecal 2008; unit vectors and tau: measured there.
 */
#ifndef KERNELS_NEXT_H
#define KERNELS_NEXT_H

#include "kernels/cpu.h"
#include "kernels/rows.h"

#define NEXT_POSITIONS_MAX 48
#define NEXT_GROUP         CPU_PANEL /* positions that are computed together */

struct next_set {
    int32_t K, C, V;
    float tau;
    const float *emb;         /* (V, C) */
    const int32_t *negatives; /* (K) rows, 0 <= row < V */
    const float *log_q;       /* (V) or NULL: uniform */
    float *memory;            /* next_set_floats(K, C) */
};

static inline int64_t next_set_floats(int32_t K, int32_t C)
{
    int64_t rows = cpu_pad_rows(K), turned = C + CPU_ROW_PAD;

    return rows * (2 * (int64_t)C + 2 + NEXT_GROUP) + CPU_ROW_PAD +
           NEXT_GROUP * (3 * (int64_t)C + turned);
}

struct next_positions {
    const float *x;         /* rows of C */
    const int32_t *rows;    /* (k) which of them */
    const int32_t *targets; /* (k) item rows, 0 < target < V */
    int32_t count;          /* k */
};

/* begin reads the negatives; loss adds scale * gradient to dx (rows as x) and to the targets' rows
 * and returns the sum of the losses; end adds the negatives' part. dx NULL: the loss alone. */
CPU_DECLARE(void, next_begin, const struct next_set *set);
CPU_DECLARE(double, next_loss, float *dx, struct rows *demb, const struct next_set *set,
            const struct next_positions *positions, float scale);
CPU_DECLARE(void, next_end, struct rows *demb, const struct next_set *set);

double next_loss_ref(const struct next_set *set, const struct next_positions *positions);

/* scores (V) = cos(x, emb_v) * inverse_tau, with inverse_norm (V) from next_norms(). x: (C). */
CPU_DECLARE(void, next_norms, float *inverse_norm, const float *emb, int32_t V, int32_t C);
CPU_DECLARE(void, next_scores, float *scores, const float *x, const float *emb,
            const float *inverse_norm, int32_t V, int32_t C, float inverse_tau);
/* The same for listed rows only: scores (m), items (m); a row outside the table is row 0. */
CPU_DECLARE(void, next_scores_of, float *scores, const float *x, const float *emb,
            const float *inverse_norm, const int32_t *items, int32_t m, int32_t V, int32_t C,
            float inverse_tau);

#endif
