/*
 * kernels/attention.h - candidate-isolated attention of one request, and its gradient.
 *
 * Flow: norm -> linear [U|V|Q|K] -> [attention] -> gate
 *
 *     S_ij = q_i . k_j / sqrt(D) + r_pos[i - j] + r_time[bucket(t_i - t_j)]
 *     silu:     o_i = sum_j SiLU(S_ij) v_j            (the division by P is in the gate's norm)
 *     softmax:  o_i = sum_j softmax_j(S_i) v_j
 *     j <= i for a history row i; all of the history, and itself, for a candidate.
 *
 * Every candidate stands at position n with the request's time, so all candidates of a request
 * share one row of biases; its own term has position 0 and bucket 0.
 * Gradients: MODEL.md section 2. S is computed again in the backward pass: cheaper than the
 * memory it would take.
 *
 * Dims: n history rows   m candidates   C channels   H heads   D = C / H, a multiple of 16
 *       P positions; n <= P
 * Rows of every matrix: history first, padded to cpu_pad_rows(n), then candidates, padded
 * likewise. Padding rows of z must be finite; what comes out in them is finite and has no
 * meaning, and padding rows of gradients that go in must be 0.
 * Errors: none. Thread: any; scratch is the caller's own. n and m may be 0.
 * Accuracy: 2e-5 * (1 + |ref|) * sqrt(n) for |z| <= 1.
 * Source: the form of HSTU, arXiv 2402.17152.
 */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernels/bucket.h"
#include "kernels/cpu.h"

enum attention_form { ATTENTION_SILU, ATTENTION_SOFTMAX };

struct attention {
    enum attention_form form;
    int32_t n, m, C, H, P;
    int32_t history_rows;   /* 1: history rows attend too; 0: they are read as K and V only */
    const float *z;         /* (rows, 4 C): U | V | Q | K, heads contiguous in each */
    const float *r_pos;     /* (P + 1) */
    const float *r_time;    /* (BUCKET_COUNT) */
    const uint8_t *buckets; /* from attention_buckets(), the same for every layer */
    float *scratch;         /* attention_scratch_floats() */
};

/* Keys of a row of scores or buckets: n, padded for panels and tiles of keys. */
static inline int64_t attention_pitch(int32_t n)
{
    return cpu_pad_columns(cpu_pad_rows(n));
}

/* Bytes of the bucket table: a row for each history row, and one for all candidates. */
static inline int64_t attention_buckets_bytes(int32_t n)
{
    return ((int64_t)cpu_pad_rows(n) + 1) * attention_pitch(n);
}

static inline int64_t attention_scratch_floats(int32_t n, int32_t m, int32_t C, int with_gradient)
{
    int64_t rows = (int64_t)cpu_pad_rows(n) + cpu_pad_rows(m), pitch = attention_pitch(n);
    int64_t common = cpu_pad_rows(n) + pitch + CPU_ROW_PAD * pitch;

    if (!with_gradient)
        return common + CPU_ROW_PAD * pitch + 2 * C * pitch;
    return common + 3 * rows * pitch + 3 * C * pitch + 2 * rows * C + cpu_pad_rows(n) + pitch;
}

/* buckets: (cpu_pad_rows(n) + 1, attention_pitch(n)), the candidates' row last; 0 where no key
 * is. time_ms: (n). */
CPU_DECLARE(void, attention_buckets, uint8_t *buckets, const int64_t *time_ms, int32_t n,
            int64_t request_time_ms);

/* o: (rows, C). With history_rows 0 its history part is not touched. */
CPU_DECLARE(void, attention_forward, float *o, const struct attention *a);
void attention_forward_ref(double *o, const struct attention *a);

/**
 * dz: (rows, 4 C), its V, Q and K parts are set, padding rows to 0. history_rows must be 1, or
 * history rows of d_o all zero (their Q part is then set to 0).
 * dr_pos (P + 1) and dr_time (BUCKET_COUNT) are added to. d_o: (rows, C).
 */
CPU_DECLARE(void, attention_backward, float *dz, float *dr_pos, float *dr_time, const float *d_o,
            const struct attention *a);

#endif
