/*
 * kernels/cuda/attention.cu - candidate-isolated attention over jagged histories, tile by tile.
 *
 * Flow: product [U|V|Q|K] -> [attention] -> gate
 *
 * A block has 16 rows of one request (all history, or all candidates), one head and up to 64
 * channels of the output; 8 threads a row. It walks the history in tiles of 32 keys: scores from q
 * and k in slices of 16 channels, their weights through shared memory, then 8 channels of v a
 * thread. A candidate adds itself at the end and never meets another one. V and K of a key come
 * from z, or, of the history's first rows, from the pages where earlier requests left them.
 *
 * On its walk all loads of rows are of 16 bytes, from memory and from shared memory, whose rows are
 * so far apart that the 8 threads of a row, and the 4 rows of a warp, read banks of their own.
 *
 * ptxas: 72 registers on sm_75 to sm_120, 14.6 KB shared: 7 blocks, 896 of 2048 threads a
 * multiprocessor. With its two inner loops unrolled it spills.
 *
 * Where a tile lies depends on its own request alone, and keys are added in their order: so do the
 * bits. Heads wider than 64 channels compute scores once for each 64, which no preset has.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   attention            r   2607k    305k   7468k   72 14592  43% ~0.766f   72 14592  43% ~0.223f
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
#define FOURS   (SLICE / 4) /* of a slice, in a row of shared memory of one more */
#define WIDE    64
#define SUMS    (WIDE / PARTS / 4) /* fours of channels a thread adds up: part, part + PARTS */
#define P_PITCH (KEYS + 8)         /* rows 16 bytes aligned, of a warp on banks of their own */

/* What a row has added up so far. softmax: weights are relative to top, total is their sum. */
struct progress {
    float4 sums[SUMS];
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

static __device__ __forceinline__ float4 scaled(float4 four, float factor)
{
    return make_float4(four.x * factor, four.y * factor, four.z * factor, four.w * factor);
}

/* sum += weight * four */
static __device__ __forceinline__ void add_scaled(float4 *sum, float weight, float4 four)
{
    sum->x += weight * four.x;
    sum->y += weight * four.y;
    sum->z += weight * four.z;
    sum->w += weight * four.w;
}

/* softmax: moves what was added up to a new top, which is at least highest. */
static __device__ __forceinline__ void raise_top(struct progress *now, float highest)
{
    float top = fmaxf(now->top, highest);
    float factor = top == -INFINITY ? 1.0f : expf(now->top - top);

    for (int i = 0; i < SUMS; i++)
        now->sums[i] = scaled(now->sums[i], factor);
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
    int32_t kept, base, keys;   /* of the history: rows in pages; the first row of the others in z;
                                   all that any row of the tile sees */
    int32_t token, page;        /* its first of time_ms, and of slots */
    int32_t row, position;      /* this row, of z and of the request */
    int32_t head, out,
        width; /* channels of q and k, and of v and o, among C; how many of the last */
    bool candidate, live;
    int64_t now_ms;
};

static __device__ __forceinline__ struct view look(const struct cuda_attention &a,
                                                   struct cuda_tile tile)
{
    const int32_t *rows = a.pages.at == NULL ? a.history_start : a.pages.row_start;
    int32_t D = a.C / a.H, blocks = (D + WIDE - 1) / WIDE, r = tile.request;
    int32_t from = (int32_t)blockIdx.y % blocks * WIDE, n;
    struct view it;

    it.thread = (int32_t)threadIdx.x;
    it.mine = it.thread / PARTS;
    it.part = it.thread % PARTS;
    it.first = tile.first;
    it.count = tile.count;
    it.token = a.history_start[r];
    n = a.history_start[r + 1] - it.token;
    it.base = rows[r];
    it.kept = n - (rows[r + 1] - it.base);
    it.page = it.kept > 0 ? a.pages.page_start[r] : 0;
    it.candidate = tile.first >= a.T;
    it.live = it.mine < tile.count;
    it.row = tile.first + (it.live ? it.mine : 0); /* idle threads look at the first row */
    it.keys = it.candidate ? n : it.kept + tile.first - it.base + tile.count;
    it.position = it.candidate ? n : it.kept + it.row - it.base;
    it.now_ms = it.candidate ? a.request_time_ms[r] : a.time_ms[it.token + it.position];
    it.width = D - from < WIDE ? D - from : WIDE;
    it.head = (int32_t)blockIdx.y / blocks * D;
    it.out = it.head + from;
    return it;
}

/* U of a row of z, before its V, Q and K. */
static __device__ __forceinline__ const float *row_of(const float *z,
                                                      const struct cuda_attention *a, int32_t row)
{
    return z + (int64_t)row * 4 * a->C;
}

/* V of key j, from channel 0 on; K is one block of C behind it in a page, and two in z. */
static __device__ __forceinline__ const float *value_at(const float *z, const struct view *it,
                                                        const struct cuda_attention *a, int32_t j,
                                                        int32_t *k_blocks)
{
    if (j >= it->kept) {
        *k_blocks = 2;
        return row_of(z, a, it->base + (j - it->kept)) + a->C;
    }
    *k_blocks = 1;
    return a->pages.at + (int64_t)a->pages.slots[it->page + j / CUDA_PAGE_ROWS] * a->pages.pitch +
           (int64_t)(j % CUDA_PAGE_ROWS) * 2 * a->C;
}

/* v of the tile of keys, 0 where nobody sees one. */
static __device__ __forceinline__ void load_values(float4 (*v)[WIDE / 4], const float *z,
                                                   const struct view *it,
                                                   const struct cuda_attention *a, int32_t key)
{
    int32_t c = it->thread % (WIDE / 4), blocks;

    for (int32_t j = it->thread / (WIDE / 4); j < KEYS; j += THREADS / (WIDE / 4)) {
        float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

        if (key + j < it->keys && 4 * c < it->width)
            four = load4(value_at(z, it, a, key + j, &blocks) + it->out + 4 * (int64_t)c);
        v[j][c] = four;
    }
}

/* scores += q . k over D channels, for keys key + part, + PARTS, ... Ends behind a barrier. */
static __device__ __forceinline__ void
score_keys(float scores[OWN], float4 (*q)[FOURS + 1], float4 (*k)[FOURS + 1], const float *z,
           const struct view *it, const struct cuda_attention *a, int32_t key, int32_t D)
{
    int32_t r = it->thread / FOURS, c = it->thread % FOURS, blocks = 0; /* a four of k each */
    const float *from = key + r < it->keys ? value_at(z, it, a, key + r, &blocks) : NULL;
    float4 none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

    if (from != NULL)
        from += blocks * a->C + it->head + 4 * c;
    for (int32_t d = 0; d < D; d += SLICE) {
        if (r < ROWS)
            q[r][c] = r < it->count ? load4(row_of(z, a, it->first + r) + 2 * (int64_t)a->C +
                                            it->head + d + 4 * (int64_t)c)
                                    : none;
        k[r][c] = from != NULL ? load4(from + d) : none;
        __syncthreads();
        NOT_UNROLLED
        for (int i = 0; i < FOURS; i++) {
            float4 own = q[it->mine][i];

            for (int j = 0; j < OWN; j++) {
                float4 other = k[it->part + j * PARTS][i];

                scores[j] += own.x * other.x;
                scores[j] += own.y * other.y;
                scores[j] += own.z * other.z;
                scores[j] += own.w * other.w;
            }
        }
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
           a->r_time[bucket_of(it->now_ms, a->time_ms[it->token + j])];
}

/* What a candidate sees beside the history: itself, at distance 0. */
static __device__ __forceinline__ void add_self(struct progress *now, const float *z,
                                                const struct view *it,
                                                const struct cuda_attention *a, int32_t D,
                                                float scale)
{
    const float *own = row_of(z, a, it->row);
    float score = 0.0f, weight;

    for (int32_t d = it->part; d < D; d += PARTS)
        score += own[2 * a->C + it->head + d] * own[3 * a->C + it->head + d];
    score = row_sum(score) * scale + a->r_pos[0] + a->r_time[0];
    if (a->form == CUDA_ATTENTION_SOFTMAX)
        raise_top(now, score);
    weight = weight_of(a->form, score, now->top);
    now->total += weight;
    for (int i = 0; i < SUMS; i++) {
        int32_t c = 4 * (it->part + i * PARTS);

        if (c < it->width)
            add_scaled(&now->sums[i], weight, load4(own + a->C + it->out + c));
    }
}

/* Rows of nobody, which a request was padded with (kernels/cuda/graphs.h): by the first head's
 * block, so that what follows reads numbers there. */
static __device__ __forceinline__ void clear(float *o, const struct cuda_attention &a,
                                             struct cuda_tile tile)
{
    int32_t count = blockIdx.y == 0 ? tile.count * a.C : 0;

    for (int32_t i = 4 * (int32_t)threadIdx.x; i < count; i += 4 * THREADS)
        store4(o + (int64_t)tile.first * a.C + i, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
}

/* What a row has added up, divided for softmax. */
static __device__ __forceinline__ void put_row(float *o, const struct progress *now,
                                               const struct view *it,
                                               const struct cuda_attention *a, int32_t D)
{
    if (a->log_total != NULL && it->part == 0 &&
        it->out == it->head) /* a wide head's first block */
        a->log_total[(int64_t)it->row * a->H + it->head / D] = now->top + logf(now->total);
    for (int i = 0; i < SUMS; i++) {
        int32_t c = 4 * (it->part + i * PARTS);
        float4 four = now->sums[i];

        if (a->form == CUDA_ATTENTION_SOFTMAX)
            four = make_float4(four.x / now->total, four.y / now->total, four.z / now->total,
                               four.w / now->total);
        if (c < it->width)
            store4(o + (int64_t)it->row * a->C + it->out + c, four);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 7)
    attention_kernel(float *o, const float *z, struct cuda_attention a,
                     const struct cuda_tile *tiles)
{
    __shared__ float4 q[ROWS][FOURS + 1], k[KEYS][FOURS + 1], v[KEYS][WIDE / 4];
    __shared__ float4 p[ROWS][P_PITCH / 4];
    struct cuda_tile tile = tiles[blockIdx.x];
    int32_t D = a.C / a.H;
    float scale = 1.0f / sqrtf((float)D);
    struct progress now;

    if (tile.request == CUDA_REQUEST_NONE) { /* the whole block leaves together */
        clear(o, a, tile);
        return;
    }

    struct view it = look(a, tile);
    float *weights = &p[it.mine][0].x;
    for (int i = 0; i < SUMS; i++)
        now.sums[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    now.top = -INFINITY;
    now.total = 0.0f;
    for (int32_t key = 0; key < it.keys; key += KEYS) {
        float scores[OWN], highest = -INFINITY;

        for (int i = 0; i < OWN; i++)
            scores[i] = 0.0f;
        __syncthreads(); /* v of the tile before has been read */
        load_values(v, z, &it, &a, key);
        score_keys(scores, q, k, z, &it, &a, key, D);
        for (int i = 0; i < OWN; i++) {
            scores[i] = biased(scores[i], &it, &a, key + it.part + i * PARTS, scale);
            highest = fmaxf(highest, scores[i]);
        }
        if (a.form == CUDA_ATTENTION_SOFTMAX)
            raise_top(&now, row_max(highest));
        for (int i = 0; i < OWN; i++)
            weights[it.part + i * PARTS] = weight_of(a.form, scores[i], now.top);
        __syncwarp(); /* the threads of a row are of one warp */
        NOT_UNROLLED
        for (int j = 0; j < KEYS; j += 4) {
            float4 four = p[it.mine][j / 4];
            float weight[4] = {four.x, four.y, four.z, four.w};

            for (int jj = 0; jj < 4; jj++) {
                now.total += weight[jj];
                for (int i = 0; i < SUMS; i++)
                    add_scaled(&now.sums[i], weight[jj], v[j + jj][it.part + i * PARTS]);
            }
        }
    }
    if (it.candidate)
        add_self(&now, z, &it, &a, D, scale);
    if (it.live) /* behind every collective */
        put_row(o, &now, &it, &a, D);
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
