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
 * Shapes: beside each pointer; all of device memory, and none overlaps another unless it says so.
 * Rows of C, Z or W floats are read 16 bytes at a time: their pointers are aligned to them, and the
 * widths are multiples of 4; all else is 4-byte aligned unless it says so. Any count may be 0: then
 * nothing is launched. Errors: ERR_DEVICE when a launch is refused. A fault inside shows at the
 * next synchronization. Thread: any, one stream each. A launcher queues and returns; it neither
 * waits nor allocates. Accuracy: of the CPU's header, f32 throughout; tests/cuda holds each to
 * 1e-4 * (1
 * + |ref|). A row's bits depend on its own request alone.
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

#define CUDA_GAP_CONTEXT (-1) /* a token of context: it is a row of its table, which hour names */

struct cuda_tables {
    int32_t C, V, A;
    const float *emb;     /* (V, C) */
    const float *act;     /* (A, C) */
    const float *gap;     /* (BUCKET_GAPS, C) */
    const float *hour;    /* (BUCKET_HOURS, C) */
    const float *context; /* (contexts * BATCH_CONTEXT_CODES, C), or NULL for tokens without */
};

/* The rows of a table that make a token: (T + N) each. An item outside 0..V-1 is row 0, and an
 * action outside 0..A-1 adds nothing; gaps and hours come from kernels/bucket.h, and rows of
 * context from kernels/request.h, and are trusted. */
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

/* The same as bf16 (its bits), for products of bf16: bf16 is 8 bits of 24, so each number is within
 * 2^-9 of its size. out, y: C a row, 8-byte aligned. Bytes: C * 6 and C * 10 a row. */
MUST_CHECK enum status cuda_norm_half(cudaStream_t stream, uint16_t *out, const float *x, int32_t R,
                                      int32_t C, float epsilon, struct error *err);
MUST_CHECK enum status cuda_gate_half(cudaStream_t stream, uint16_t *y, const float *o,
                                      const float *u, int32_t u_pitch, int32_t R, int32_t C,
                                      float epsilon, struct error *err);

/* out (count) = in (count) as bf16; count a multiple of 4. */
MUST_CHECK enum status cuda_half(cudaStream_t stream, uint16_t *out, const float *in, int64_t count,
                                 struct error *err);

/* What follows a product: out = out + bias, or SiLU of it. out: R rows of N, pitch apart;
 * bias (N); both 16-byte aligned, pitch and N multiples of 4. Bytes: N * 8 a row. Limit: memory. */
enum cuda_after { CUDA_AFTER_BIAS, CUDA_AFTER_SILU };
MUST_CHECK enum status cuda_after(cudaStream_t stream, float *out, int32_t pitch, const float *bias,
                                  int32_t R, int32_t N, enum cuda_after after, struct error *err);

/* A block's share of attention: up to CUDA_TILE_ROWS neighbouring rows of one request, all of its
 * history or all candidates. */
#define CUDA_TILE_ROWS    16
#define CUDA_REQUEST_NONE (-1) /* a tile of nobody's rows: o is set to 0 there */
struct cuda_tile {
    int32_t request, first, count; /* first: row among the T + N */
};

enum cuda_attention_form { CUDA_ATTENTION_SILU, CUDA_ATTENTION_SOFTMAX };

/* Pages of K and V (kernels/kv_cache.h): in each page and layer, rows of V | K. */
#define CUDA_PAGE_ROWS 12
#define CUDA_KEEP_NONE (-1) /* a row that is not kept */
struct cuda_pages {
    float *at;                /* of page 0, this layer's; NULL: all K and V are in z */
    int64_t pitch;            /* floats from page to page */
    const int32_t *row_start; /* (B + 1): rows of z; a history's other tokens, in front, are kept */
    const int32_t *page_start; /* (B + 1), of slots */
    const int32_t *slots;      /* numbers of the pages that hold a history's first rows */
    const int32_t *keep; /* (T) row slot * CUDA_PAGE_ROWS + r of the pool, or CUDA_KEEP_NONE */
};

struct cuda_attention {
    enum cuda_attention_form form;
    int32_t T, C, H;                /* T: history rows in z; D = C / H a multiple of 16 */
    const float *r_pos;             /* (P + 1), P at least the longest history */
    const float *r_time;            /* (BUCKET_COUNT) */
    const int32_t *history_start;   /* (B + 1) of time_ms; without pages also of z's rows */
    const int64_t *time_ms;         /* of every token of every history */
    const int64_t *request_time_ms; /* (B) */
    float *log_total; /* softmax: (T + N, H) ln of the sum of e^S, for who will learn; or NULL */
    struct cuda_pages pages;
};

/* o (T + N, C): the rows of the tiles are set, others left. z (T + N, 4 C): U | V | Q | K. Of what
 * a history keeps, V and K come from its pages, of all else from z. Bytes: for a tile of 16 rows
 * over n keys: 16 * n / 16 * (2 D + 2 D) * 4 from L2 a head; floor the rows of z once. Limit:
 * shared memory, 5 loads of 16 bytes for 16 multiply-adds of q k, 9 for 32 of p v. */
MUST_CHECK enum status cuda_attention(cudaStream_t stream, float *o, const float *z,
                                      struct cuda_attention attention,
                                      const struct cuda_tile *tiles, int32_t tiles_count,
                                      struct error *err);

/* V and K of the R rows of z (R, 4 C) that pages.keep names, set aside for later requests; the
 * pages are nobody else's. Bytes: C * 16 a row. Limit: memory. */
MUST_CHECK enum status cuda_keep(cudaStream_t stream, struct cuda_pages pages, const float *z,
                                 int32_t R, int32_t C, struct error *err);

/* ---- head; N candidates ---- */

/* z (N, Z) = [x | x * e | (scalars - mean) * scale | 0]; x, e (N, C); scalars (N, F); half (N, Z)
 * the same as bf16, or NULL; here and below. Limit: memory. */
MUST_CHECK enum status cuda_head_inputs(cudaStream_t stream, float *z, uint16_t *half,
                                        const float *x, const float *e, const float *scalars,
                                        const float *mean, const float *scale, int32_t N, int32_t C,
                                        int32_t F, int32_t Z, struct error *err);

/* now (N, Z) = z * (wide + bias) + now; bias (Z): the end of a cross layer. Limit: memory. */
MUST_CHECK enum status cuda_head_cross(cudaStream_t stream, float *now, uint16_t *half,
                                       const float *z, const float *wide, const float *bias,
                                       int32_t N, int32_t Z, struct error *err);

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

/* ---- next-item scores (kernels/next.h); B requests, V item rows ---- */

/* inverse_norm (V) = 1 / |row of emb|; emb (V, C). Bytes: C * 4 a row. Limit: memory. */
MUST_CHECK enum status cuda_next_norms(cudaStream_t stream, float *inverse_norm, const float *emb,
                                       int32_t V, int32_t C, struct error *err);

/* states (B, C) = the last row of each history in x, of length 1, times inverse_tau; 0 where a
 * history has no more rows than those of context. history_start (B + 1). Limit: memory. */
MUST_CHECK enum status cuda_next_states(cudaStream_t stream, float *states, const float *x,
                                        const int32_t *history_start, int32_t contexts, int32_t B,
                                        int32_t C, float inverse_tau, struct error *err);

/* scores (B, V), products of states and emb, times inverse_norm (V); column 0, the unknown item, is
 * -INFINITY. scores: 16-byte aligned; V any. Bytes: 8 a score. Limit: memory. */
MUST_CHECK enum status cuda_next_scale(cudaStream_t stream, float *scores,
                                       const float *inverse_norm, int32_t B, int32_t V,
                                       struct error *err);

/* scores (candidate_start[B]) of listed rows; one outside 0..V-1 is row 0. candidate_start (B + 1).
 * Bytes: C * 8 a candidate. Limit: memory, scattered rows; a warp each. */
MUST_CHECK enum status cuda_next_listed(cudaStream_t stream, float *scores, const float *states,
                                        const float *emb, const float *inverse_norm,
                                        const int32_t *candidate_start, const int32_t *listed,
                                        int32_t B, int32_t V, int32_t C, struct error *err);

/* The same of bf16 states and rows, added up in f32; C a multiple of 4, both 8-byte aligned. Bytes:
 * C * 4 a candidate. Limit: memory, scattered rows; a warp each. */
MUST_CHECK enum status cuda_next_listed_half(cudaStream_t stream, float *scores,
                                             const uint16_t *states, const uint16_t *emb,
                                             const float *inverse_norm,
                                             const int32_t *candidate_start, const int32_t *listed,
                                             int32_t B, int32_t V, int32_t C, struct error *err);

/* ---- the best of each request's scores (kernels/top.h): of parts, then of those ---- */

#define CUDA_TOP_WIDTH 4096 /* words that a block sorts at most: 32 KB of shared memory */
#define CUDA_TOP_K_MAX 1024
struct cuda_top {
    int32_t B, k;  /* requests; how many of each are wanted, 0..CUDA_TOP_K_MAX */
    int32_t width; /* words that a block sorts: cuda_top_width(k), or another power of two, at least
                      2 k and 2, at most CUDA_TOP_WIDTH */
    int32_t room;  /* lists of k words that there is memory for, a request */
};
int32_t cuda_top_width(int32_t k); /* at least 4 k: four lists become one, or more */

/* lists (B, room, k): from list 0 on the k best of each `width` of the scores (B, rows), times
 * inverse_norm (rows), which are those of item rows first, first + 1, ...; for lists that are not
 * the first of a request, the caller's pointer is k words a list further. Row 0 of the items and
 * NaN are nothing, which is behind all.
 * Bytes: 4 read a score and 4 an inverse norm, 8 k written a part. Limit: shared memory, log2(w)
 * (log2(w) + 1) / 2 steps over w words of 8 bytes: 27 pairs a score for w = 1024, 39 for 4096. */
MUST_CHECK enum status cuda_top_parts(cudaStream_t stream, uint64_t *lists, const float *scores,
                                      const float *inverse_norm, struct cuda_top top, int32_t first,
                                      int32_t rows, struct error *err);

/* The best of `count` lists of each request: then list 0 of *lists, which has changed places with
 * *other, both (B, room, k), as often as there were rounds. Bytes: 8 read a word, 8 k written a
 * group of width / k lists. Limit: as cuda_top_parts(). */
MUST_CHECK enum status cuda_top_merge(cudaStream_t stream, uint64_t **lists, uint64_t **other,
                                      struct cuda_top top, int32_t count, struct error *err);

/* rows (B, k), scores (B, k) of list 0 of each request; -1 and -INFINITY of nothing. */
MUST_CHECK enum status cuda_top_rows(cudaStream_t stream, int32_t *rows, float *scores,
                                     const uint64_t *lists, struct cuda_top top, struct error *err);

#ifdef __cplusplus
}
#endif
#endif
