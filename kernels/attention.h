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
 * Rows of matrices: history padded to cpu_pad_rows(n); candidates padded likewise. Padding rows of
 * z must be finite; what comes out in them is finite and has no meaning, and padding rows of
 * gradients that go in must be 0.
 * Errors: none. Thread: any; scratch is the caller's own. n and m may be 0.
 * Accuracy: 2e-5 * (1 + |ref|) * sqrt(n) for |z| <= 1.
 * Source: the form of HSTU, arXiv 2402.17152.
 */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernels/bucket.h"
#include "kernels/cpu.h"

enum attention_form { ATTENTION_SILU, ATTENTION_SOFTMAX };

/* What all rows of a request share in one layer. */
struct attention {
    enum attention_form form;
    int32_t n, C, H, P;
    const float *r_pos;     /* (P + 1) */
    const float *r_time;    /* (BUCKET_COUNT) */
    const uint8_t *buckets; /* from attention_buckets(), the same for every layer */
    float *packed;          /* attention_packed_floats(): K and V of the history, ready to use */
    float *scratch;         /* attention_scratch_floats(), or _gradient_ */
};

#define ATTENTION_CANDIDATES (-1) /* in place of the first history row's number */

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

static inline int64_t attention_packed_floats(int32_t n, int32_t C)
{
    return 2 * (int64_t)C * attention_pitch(n);
}

static inline int64_t attention_scratch_floats(int32_t n)
{
    return cpu_pad_rows(n) + (1 + 2 * CPU_ROW_PAD) * attention_pitch(n);
}

static inline int64_t attention_gradient_floats(int32_t n, int32_t m, int32_t C)
{
    int64_t rows = (int64_t)cpu_pad_rows(n) + cpu_pad_rows(m), pitch = attention_pitch(n);

    return attention_scratch_floats(n) + 3 * rows * pitch + 3 * C * pitch + 2 * rows * C +
           cpu_pad_rows(n) + pitch;
}

/* buckets: (cpu_pad_rows(n) + 1, attention_pitch(n)), the candidates' row last; 0 where no key
 * is. time_ms: (n). */
CPU_DECLARE(void, attention_buckets, uint8_t *buckets, const int64_t *time_ms, int32_t n,
            int64_t request_time_ms);

/* Fills a->packed from the history's rows of z, (history rows, 4 C): U | V | Q | K, heads
 * contiguous in each. Only V and K are read. */
CPU_DECLARE(void, attention_pack, const struct attention *a, const float *z);

/* o (rows, C) of rows of z (rows, 4 C), both padded in memory: history rows from number first on
 * (a multiple of CPU_ROW_PAD), or candidates with ATTENTION_CANDIDATES. After attention_pack(). */
CPU_DECLARE(void, attention_forward, float *o, const struct attention *a, const float *z,
            int32_t rows, int32_t first);

/* All rows, unpadded numbers: o (cpu_pad_rows(n) + m, C), z likewise. */
void attention_forward_ref(double *o, const struct attention *a, const float *z, int32_t m);

/**
 * z, d_o, dz: history rows, then candidates, both padded. With history_rows 0 the history was read
 * as K and V alone: its rows of d_o are not read and its Q part of dz is 0.
 *
 * dz (rows, 4 C): its V, Q and K parts are set, padding rows to 0. dr_pos (P + 1) and dr_time
 * (BUCKET_COUNT) are added to. d_o: (rows, C). a->packed is not used.
 */
struct attention_gradient {
    float *dz, *dr_pos, *dr_time;
};
CPU_DECLARE(void, attention_backward, const struct attention_gradient *gradient, const float *d_o,
            const struct attention *a, const float *z, int32_t m, int32_t history_rows);

#endif
