/*
 * kernels/cuda/attention.cu - candidate-isolated attention over jagged histories, tile by tile.
 *
 * Flow: product [U|V|Q|K] -> [attention] -> gate
 *
 * A block has 16 rows of one request (all history, or all candidates), one head and up to 64
 * channels of the output; 8 threads a row. It walks the history in tiles of 32 keys: scores from q
 * and k in slices of 16 channels, their weights through shared memory, then 8 channels of v a
 * thread. A candidate adds itself at the end and never meets another one.
 *
 * ptxas: 72 registers, 13.6 KB shared: 7 blocks, 896 of 2048 threads a multiprocessor. Without the
 * bound it takes 128 of them on sm_80, and with one of 8 blocks it spills.
 *
 * Where a tile lies depends on its own request alone, and keys are added in their order: so do the
 * bits. Heads wider than 64 channels compute scores once for each 64, which no preset has.
 */
#include "kernels/bucket.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define ROWS    CUDA_TILE_ROWS
#define PARTS   8 /* threads a row: neighbours in a warp */
#define THREADS (ROWS * PARTS)
#define KEYS    32
#define OWN     (KEYS / PARTS) /* keys a thread scores */
#define SLICE   16
#define WIDE    64
#define SUMS    (WIDE / PARTS) /* channels a thread adds up */

/* What a row has added up so far. softmax: weights are relative to top, total is their sum. */
struct progress {
    float sums[SUMS];
    float top, total;
};

/* Over the threads of one row; all lanes call. */
static __device__ __forceinline__ float row_sum(float value)
{
    for (int distance = PARTS / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

static __device__ __forceinline__ float row_max(float value)
{
    for (int distance = PARTS / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
    return value;
}

/* softmax: moves what was added up to a new top, which is at least highest. */
static __device__ __forceinline__ void raise_top(struct progress *now, float highest)
{
    float top = fmaxf(now->top, highest);
    float factor = top == -INFINITY ? 1.0f : expf(now->top - top);

    for (int i = 0; i < SUMS; i++)
        now->sums[i] *= factor;
    now->total *= factor;
    now->top = top;
}

static __device__ __forceinline__ float weight_of(enum cuda_attention_form form, float score,
                                                  float top)
{
    if (score == -INFINITY)
        return 0.0f; /* not seen by this row */
    return form == CUDA_ATTENTION_SILU ? silu(score) : expf(score - top);
}

/* One thread's view: its row, and what its block computes. */
struct view {
    int32_t thread, mine, part; /* row of the tile, and which of its PARTS threads */
    int32_t first, count;       /* the tile */
    int32_t base, keys;         /* the request's first token; keys that any row of the tile sees */
    int32_t position, width;    /* of the row; channels of v in this block */
    bool candidate, live;
    int64_t row, pitch, keys_pitch, time_ms;
    const float *q, *own_v; /* of the first row of z, at this head (and for v at these channels) */
    const float *k, *v;     /* of the history's first row */
    int64_t out;            /* these channels, among C */
};

static __device__ __forceinline__ struct view look(const float *z, struct cuda_attention a,
                                                   struct cuda_tile tile)
{
    int32_t D = a.C / a.H, blocks = (D + WIDE - 1) / WIDE;
    int32_t head = (int32_t)blockIdx.y / blocks, from = (int32_t)blockIdx.y % blocks * WIDE;
    int32_t base = a.history_start[tile.request];
    int32_t n = a.history_start[tile.request + 1] - base, row;
    struct view it;

    it.thread = (int32_t)threadIdx.x;
    it.mine = it.thread / PARTS;
    it.part = it.thread % PARTS;
    it.first = tile.first;
    it.count = tile.count;
    it.base = base;
    it.candidate = tile.first >= a.T;
    it.live = it.mine < tile.count;
    row = tile.first + (it.live ? it.mine : 0); /* idle threads look at the first row */
    it.row = row;
    it.keys = it.candidate ? n : a.kept + tile.first - base + tile.count;
    it.position = it.candidate ? n : a.kept + row - base;
    it.time_ms = it.candidate ? a.request_time_ms[tile.request] : a.time_ms[base + it.position];
    it.width = D - from < WIDE ? D - from : WIDE;
    it.pitch = 4 * (int64_t)a.C;
    it.out = (int64_t)head * D + from;
    it.own_v = z + a.C + it.out;
    it.q = z + 2 * (int64_t)a.C + (int64_t)head * D;
    it.keys_pitch = a.keys_pitch;
    it.k = a.k + (int64_t)head * D;
    it.v = a.v + it.out;
    return it;
}

/* scores += q . k over D channels, for keys key + part, + PARTS, ... Ends behind a barrier. */
static __device__ __forceinline__ void score_keys(float scores[OWN], float (*q)[SLICE + 1],
                                                  float (*k)[SLICE + 1], const struct view *it,
                                                  int32_t key, int32_t D)
{
    for (int32_t d = 0; d < D; d += SLICE) {
        for (int32_t i = it->thread; i < ROWS * SLICE; i += THREADS) {
            int32_t r = i / SLICE, c = i % SLICE;

            q[r][c] = r < it->count ? it->q[((int64_t)it->first + r) * it->pitch + d + c] : 0.0f;
        }
        for (int32_t i = it->thread; i < KEYS * SLICE; i += THREADS) {
            int32_t j = key + i / SLICE, c = i % SLICE;

            k[i / SLICE][c] = j < it->keys ? it->k[((int64_t)it->base + j) * it->keys_pitch + d + c]
                                           : 0.0f;
        }
        __syncthreads();
        for (int c = 0; c < SLICE; c++)
            for (int i = 0; i < OWN; i++)
                scores[i] += q[it->mine][c] * k[it->part + i * PARTS][c];
        __syncthreads(); /* before the next slice, or tile, is written */
    }
}

/* A key's score with its biases; -INFINITY where this row does not see it. */
static __device__ __forceinline__ float
biased(float score, const struct view *it, const struct cuda_attention *a, int32_t j, float scale)
{
    if (!it->live || j >= it->keys || (!it->candidate && j > it->position))
        return -INFINITY;
    return score * scale + a->r_pos[it->position - j] +
           a->r_time[bucket_of(it->time_ms, a->time_ms[it->base + j])];
}

/* What a candidate sees beside the history: itself, at distance 0. */
static __device__ __forceinline__ void add_self(struct progress *now, const struct view *it,
                                                const struct cuda_attention *a, int32_t D,
                                                float scale)
{
    float score = 0.0f, weight;

    for (int32_t d = it->part; d < D; d += PARTS)
        score += it->q[it->row * it->pitch + d] * it->q[it->row * it->pitch + a->C + d];
    score = row_sum(score) * scale + a->r_pos[0] + a->r_time[0];
    if (a->form == CUDA_ATTENTION_SOFTMAX)
        raise_top(now, score);
    weight = weight_of(a->form, score, now->top);
    now->total += weight;
    for (int i = 0; i < SUMS; i++)
        if (it->part + i * PARTS < it->width)
            now->sums[i] += weight * it->own_v[it->row * it->pitch + it->part + i * PARTS];
}

/* Rows of nobody, which a request was padded with (kernels/cuda/graphs.h): by the first head's
 * block, so that what follows reads numbers there. */
static __device__ __forceinline__ void clear(float *o, const struct cuda_attention &a,
                                             struct cuda_tile tile)
{
    int32_t count = blockIdx.y == 0 ? tile.count * a.C : 0;

    for (int32_t i = (int32_t)threadIdx.x; i < count; i += THREADS)
        o[(int64_t)tile.first * a.C + i] = 0.0f;
}

extern "C" __global__ void __launch_bounds__(THREADS, 7)
    attention_kernel(float *o, const float *z, struct cuda_attention a,
                     const struct cuda_tile *tiles)
{
    __shared__ float q[ROWS][SLICE + 1], k[KEYS][SLICE + 1], v[KEYS][WIDE], p[ROWS][KEYS + 1];
    struct cuda_tile tile = tiles[blockIdx.x];
    int32_t D = a.C / a.H;
    float scale = 1.0f / sqrtf((float)D);
    struct progress now;

    if (tile.request == CUDA_REQUEST_NONE) { /* the whole block leaves together */
        clear(o, a, tile);
        return;
    }

    struct view it = look(z, a, tile);
    for (int i = 0; i < SUMS; i++)
        now.sums[i] = 0.0f;
    now.top = -INFINITY;
    now.total = 0.0f;
    for (int32_t key = 0; key < it.keys; key += KEYS) {
        float scores[OWN], highest = -INFINITY;

        for (int i = 0; i < OWN; i++)
            scores[i] = 0.0f;
        __syncthreads(); /* v of the tile before has been read */
        for (int32_t i = it.thread; i < KEYS * WIDE; i += THREADS) {
            int32_t j = key + i / WIDE, c = i % WIDE;

            v[i / WIDE][c] = j < it.keys && c < it.width
                                 ? it.v[((int64_t)it.base + j) * it.keys_pitch + c]
                                 : 0.0f;
        }
        score_keys(scores, q, k, &it, key, D);
        for (int i = 0; i < OWN; i++) {
            scores[i] = biased(scores[i], &it, &a, key + it.part + i * PARTS, scale);
            highest = fmaxf(highest, scores[i]);
        }
        if (a.form == CUDA_ATTENTION_SOFTMAX)
            raise_top(&now, row_max(highest));
        for (int i = 0; i < OWN; i++)
            p[it.mine][it.part + i * PARTS] = weight_of(a.form, scores[i], now.top);
        __syncwarp(); /* the threads of a row are of one warp */
        for (int j = 0; j < KEYS; j++) {
            float weight = p[it.mine][j];

            now.total += weight;
            for (int i = 0; i < SUMS; i++)
                now.sums[i] += weight * v[j][it.part + i * PARTS];
        }
    }
    if (it.candidate)
        add_self(&now, &it, &a, D, scale);
    if (!it.live)
        return; /* behind every collective */
    float *to = o + it.row * a.C + it.out;
    if (a.log_total != NULL && it.part == 0 && it.out % D == 0) /* the first block of a wide head */
        a.log_total[it.row * a.H + it.out / D] = now.top + logf(now.total);
    for (int i = 0; i < SUMS; i++)
        if (it.part + i * PARTS < it.width)
            to[it.part + i * PARTS] = a.form == CUDA_ATTENTION_SILU ? now.sums[i]
                                                                    : now.sums[i] / now.total;
}

enum status cuda_attention(cudaStream_t stream, float *o, const float *z,
                           struct cuda_attention attention, const struct cuda_tile *tiles,
                           int32_t tiles_count, struct error *err)
{
    int32_t D = attention.C / attention.H;
    dim3 grid((unsigned)tiles_count, (unsigned)(attention.H * ((D + WIDE - 1) / WIDE)), 1);

    if (tiles_count == 0)
        return OK;
    LAUNCH(attention_kernel, grid, THREADS, 0, stream, o, z, attention, tiles);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
