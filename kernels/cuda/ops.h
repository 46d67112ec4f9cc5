/*
 * kernels/cuda/ops.h - the forward pass's ops on the device, each over all requests of a batch.
 *
 * Flow: batch -> [embed -> (norm, product, attention, gate, product) x L -> head] -> scores
 *
 * What each computes stands in the header of the CPU's op (kernels/embed.h, norm.h, gate.h,
 * linear.h, attention.h, head.h). Differences: one call is for all requests at once, there is no
 * padding, and matrix products are cuBLAS's (kernels/cuda/blas.h).
 *
 * Dims beside those of schemas/batch.h: C channels   H heads   D = C / H   Z, R, W of the head
 * Rows: the T history tokens of all requests, then the N candidates of all requests.
 * Shapes: beside each pointer; all of device memory, 4-byte aligned, and none overlaps another
 * unless it says so. Any count may be 0: then nothing is launched.
 * Errors: ERR_DEVICE when a launch is refused. A fault inside shows at the next synchronization.
 * Thread: any, one stream each. A launcher queues and returns; it neither waits nor allocates.
 * Accuracy: of the CPU's header, f32 throughout; tests/cuemu holds each to 1e-4 * (1 + |ref|).
 * A row's bits depend on its own request alone.
 */
#ifndef KERNELS_CUDA_OPS_H
#define KERNELS_CUDA_OPS_H

#include "ops/status.h"

#include <cuda_runtime.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA_ACTION_NONE (-1) /* a token whose action adds nothing */

struct cuda_tables {
    int32_t C, V, A;
    const float *emb;  /* (V, C) */
    const float *act;  /* (A, C) */
    const float *gap;  /* (BUCKET_GAPS, C) */
    const float *hour; /* (BUCKET_HOURS, C) */
};

/* The rows of a table that make a token: (T + N) each. An item outside 0..V-1 is row 0, and an
 * action outside 0..A-1 adds nothing; gaps and hours come from kernels/bucket.h and are trusted. */
struct cuda_tokens {
    int32_t T, N;
    const int32_t *item, *action, *gap, *hour;
};

/* x (T + N, C); e (N, C): sqrt(C) * emb of the candidates.
 * Bytes: C * 4 * (4 read + 1 written) a row, + C * 4 for e. Limit: memory; a warp walks one row. */
MUST_CHECK enum status cuda_embed(cudaStream_t stream, float *x, float *e,
                                  struct cuda_tables tables, struct cuda_tokens tokens,
                                  struct error *err);

/* out, x (R, C): layer norm without gain; out may be x.
 * Bytes: C * 8 a row (the second and third reading hit L1). Limit: memory. */
MUST_CHECK enum status cuda_norm(cudaStream_t stream, float *out, const float *x, int32_t R,
                                 int32_t C, float epsilon, struct error *err);

/* y (R, C) = u * norm(o); o (R, C); u: R rows of C, u_pitch apart. y may be o.
 * Bytes: C * 12 a row. Limit: memory. */
MUST_CHECK enum status cuda_gate(cudaStream_t stream, float *y, const float *o, const float *u,
                                 int32_t u_pitch, int32_t R, int32_t C, float epsilon,
                                 struct error *err);

/* What follows a product: out = out + bias, or SiLU of it. out: R rows of N, pitch apart;
 * bias (N). Bytes: N * 8 a row. Limit: memory. */
enum cuda_after { CUDA_AFTER_BIAS, CUDA_AFTER_SILU };
MUST_CHECK enum status cuda_after(cudaStream_t stream, float *out, int32_t pitch, const float *bias,
                                  int32_t R, int32_t N, enum cuda_after after, struct error *err);

/* A block's share of attention: up to CUDA_TILE_ROWS neighbouring rows of one request, all of its
 * history or all candidates. */
#define CUDA_TILE_ROWS 16
struct cuda_tile {
    int32_t request, first, count; /* first: row among the T + N */
};

enum cuda_attention_form { CUDA_ATTENTION_SILU, CUDA_ATTENTION_SOFTMAX };

struct cuda_attention {
    enum cuda_attention_form form;
    int32_t T, C, H;                /* D = C / H a multiple of 16 */
    const float *r_pos;             /* (P + 1), P at least the longest history */
    const float *r_time;            /* (BUCKET_COUNT) */
    const int32_t *history_start;   /* (B + 1) */
    const int64_t *time_ms;         /* (T) */
    const int64_t *request_time_ms; /* (B) */
};

/* o (T + N, C): the rows of the tiles are set, others left. z (T + N, 4 C): U | V | Q | K; of
 * history rows that no tile holds only V and K are read. K and V of a history lie in z once and
 * every tile of its request reads them there.
 * Bytes: for a tile of 16 rows over n keys: 16 * n / 16 * (2 D + 2 D) * 4 from L2 a head; floor
 * the rows of z once. Limit: shared memory's bandwidth, 5 loads for 4 multiply-adds. */
MUST_CHECK enum status cuda_attention(cudaStream_t stream, float *o, const float *z,
                                      struct cuda_attention attention,
                                      const struct cuda_tile *tiles, int32_t tiles_count,
                                      struct error *err);

/* ---- head; N candidates ---- */

/* z (N, Z) = [x | x * e | (scalars - mean) * scale | 0]; x, e (N, C); scalars (N, F).
 * Limit: memory. */
MUST_CHECK enum status cuda_head_inputs(cudaStream_t stream, float *z, const float *x,
                                        const float *e, const float *scalars, const float *mean,
                                        const float *scale, int32_t N, int32_t C, int32_t F,
                                        int32_t Z, struct error *err);

/* now (N, Z) = z * (wide + bias) + now; bias (Z): the end of a cross layer. Limit: memory. */
MUST_CHECK enum status cuda_head_cross(cudaStream_t stream, float *now, const float *z,
                                       const float *wide, const float *bias, int32_t N, int32_t Z,
                                       struct error *err);

/* scores (N) = w . [z | now | SiLU(hidden + bias)] + b; hidden (N, W), bias (W), w (2 Z + W), b
 * (1). Limit: memory; a warp a row. */
MUST_CHECK enum status cuda_head_scores(cudaStream_t stream, float *scores, const float *z,
                                        const float *now, const float *hidden, const float *bias,
                                        const float *w, const float *b, int32_t N, int32_t Z,
                                        int32_t W, struct error *err);

/* The dot head: scores (N) = x . e / sqrt(C) + w . (scalars - mean) * scale + b; w (F), b (1). */
MUST_CHECK enum status cuda_head_dot(cudaStream_t stream, float *scores, const float *x,
                                     const float *e, const float *scalars, const float *mean,
                                     const float *scale, const float *w, const float *b, int32_t N,
                                     int32_t C, int32_t F, struct error *err);

#ifdef __cplusplus
}
#endif
#endif
