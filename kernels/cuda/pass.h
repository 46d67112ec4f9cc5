/*
 * kernels/cuda/pass.h - a thread's stream and memory on the device, and the batch that lies there.
 *
 * Flow: batch -> [rows and tiles, in pinned memory; room for what is computed] -> forward.c
 *
 * A batch is counted, padded to the shape of a graph where it may be one's, laid out in one block
 * of device memory (what goes in at its start, then all that kernels write) and staged in pinned
 * memory with the same layout. Nothing is queued here.
 *
 * Owner: whoever created the pass. Thread: one at a time.
 */
#ifndef KERNELS_CUDA_PASS_H
#define KERNELS_CUDA_PASS_H

#include "kernels/cuda/blas.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/graphs.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/stage.h"
#include "kernels/cuda/weights.h"
#include "kernels/kv_cache.h"

/* What is asked of a batch. */
struct pass_call {
    const struct batch *batch;
    bool graphs;                   /* may be a graph's: padded to its shape */
    float *pool;                   /* NULL, or pages of K and V */
    const struct kv_lease *leases; /* (B), with a pool: what of it is there, and what is to be */
    bool next, whole; /* next-item scores: of the batch's candidates, or of the whole table */
    int32_t k, V;     /* of so many rows of the table the k best alone; k 0: all scores */
};

/* Of a batch; pointers that kernels read are of the device. */
struct pass_arrays {
    struct cuda_tokens tokens;
    struct stage_rows rows;             /* (rows) */
    int32_t *history_start;             /* (B + 1) */
    int64_t *time_ms, *request_time_ms; /* (tokens), (B) */
    int32_t *row_start, *page_start;    /* (B + 1) each, with a pool; so are the next two */
    int32_t *slots, *keep;              /* (tokens / KV_PAGE_ROWS), (T) */
    int32_t *candidate_start, *listed;  /* (B + 1), (batch N): for next-item scores */
    float *scalars;                     /* (N, F) */
    struct cuda_tile *tiles;            /* history tiles, then candidate tiles */
};

struct device_pass {
    cudaStream_t stream;
    cublasHandle_t blas;
    struct device_bytes memory, staging; /* on the device; of the host, pinned */
    struct device_bytes workspace;       /* of cuBLAS: a capture must not have it allocate */
    struct graphs graphs;

    /* Of the batch at hand. */
    const struct device_model *model;
    struct pass_call call;
    bool padded;     /* to the shape of a graph; the rest of its rows are of nobody */
    int32_t B, T, N; /* requests; rows: of histories, less what pages hold, of candidates */
    int32_t tokens;  /* of histories, all */
    int32_t history_tiles, tiles_count;
    size_t in_bytes;
    struct pass_arrays in;
    struct cuda_top top;      /* of the best next items */
    uint64_t *lists, *others; /* (B, top.room, k) */
    int32_t *best;            /* (B, k) rows, then (B, k) scores */
    float *x, *normed, *z, *o, *e, *head_z, *head_now, *head_wide, *low, *hidden, *states, *scores;
    float *head_half;      /* room for bf16 of head_now, in a model of bf16 */
    uint16_t *states_half; /* states as bf16, where next-item scores are of those */
};

/* Errors: ERR_DEVICE, ERR_NOMEM; *pass is then left as it was. */
MUST_CHECK enum status pass_create(struct device_pass **pass, struct error *err);
void pass_destroy(struct device_pass *pass); /* NULL is fine */

/* Makes room for the batch of the call, and stages what the kernels read. Errors: ERR_NOMEM. */
MUST_CHECK enum status pass_begin(struct device_pass *pass, const struct device_model *model,
                                  struct pass_call call, struct error *err);

/* Of the batch that was begun. */
int32_t pass_contexts(const struct device_pass *pass); /* tokens of context a request */
/* Item rows whose scores are there at a time, when the best are looked for. */
int32_t pass_slice(const struct device_pass *pass);
/* How many scores are computed; unless the best are looked for, as many come out. */
int64_t pass_scores_count(const struct device_pass *pass);
/* What comes back through pinned memory; scores of a whole table go to the caller's. */
size_t pass_out_bytes(const struct device_pass *pass);

#endif
