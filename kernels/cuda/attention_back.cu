/*
 * kernels/cuda/attention_back.cu - the gradient of attention, in two kernels that both compute the
 * scores again: one walks the keys of a tile of rows, the other the rows that saw a tile of keys.
 *
 * Flow: gate's gradient -> [delta -> rows: dQ, biases -> keys: dV, dK] -> product's gradient
 *
 *     S = q . k / sqrt(D) + r_pos + r_time,   w = SiLU(S) or e^(S - log_total),   o = sum of w v
 *     dw = d_o . v,   dS = dw * SiLU'(S) or w * (dw - d_o . o)
 *     dq = sum of dS k / sqrt(D),   dk = sum of dS q / sqrt(D),   dv = sum of w d_o
 *
 * Every sum has one thread that adds it up in the order of rows or keys: no atomics, the same bits
 * every time. Keeping the scores instead would cost rows * history floats a head; computing them
 * costs two products of five. Tiles, slices and wide heads are as in attention.cu. The biases'
 * gradients are added up in shared memory over all tiles of a block.
 *
 * Global and shared memory are read 16 bytes at a time: 5 shared loads for 16 multiply-adds of a
 * score, 3 for 8 of a sum.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   attention_delta      o   36920   36920    9136   38     0  75% ~0.018b   38     0  75% ~0.011b
 *   attention_rows       s    302k    121k    966k  124 18496  25% ~0.099f  124 18496  25% ~0.036b
 *   attention_keys       s    176k   66504    882k  120 16448  25% ~0.090f  123 16448  25% ~0.026f
 */
#include "kernels/bucket.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define OWN_ROWS CUDA_TILE_ROWS
#define PARTS    8 /* threads of an own row: neighbours in a warp */
#define THREADS  (OWN_ROWS * PARTS)
#define OTHERS   32
#define EACH     (OTHERS / PARTS) /* of the others, that a thread looks at */
#define SLICE    16
#define WIDE     64
#define SUMS     (WIDE / PARTS)

/* What a block shares. A row number below 0 is of nothing: zeros. */
struct alignas(16) workshop {
    float a[OWN_ROWS][SLICE + 4], b[OTHERS][SLICE + 4]; /* 8 lanes' fours lie in all 32 banks */
    float wide[OTHERS][WIDE];
    float weight[OWN_ROWS][OTHERS + 1], slope[OWN_ROWS][OTHERS + 1];
    int32_t own[OWN_ROWS], other[OTHERS]; /* rows of z */
};

/* Head, channels and request of a block. */
struct part_of {
    int32_t head, from, width, D;
    int32_t base, n, request;
    int64_t pitch;
};

static __device__ __forceinline__ struct part_of part_of_block(const struct cuda_attention *a,
                                                               int32_t request)
{
    struct part_of it;
    int32_t blocks;

    it.D = a->C / a->H;
    blocks = (it.D + WIDE - 1) / WIDE;
    it.head = (int32_t)blockIdx.y / blocks;
    it.from = (int32_t)blockIdx.y % blocks * WIDE;
    it.width = it.D - it.from < WIDE ? it.D - it.from : WIDE;
    it.request = request;
    it.base = a->history_start[request];
    it.n = a->history_start[request + 1] - it.base;
    it.pitch = 4 * (int64_t)a->C;
    return it;
}

/* Where sum i of a thread stands among WIDE channels; i a multiple of 4. */
static __device__ __forceinline__ int32_t own_channel(int i)
{
    return i * PARTS + 4 * ((int32_t)threadIdx.x % PARTS);
}

/* Four of that row of x, or zeros. */
static __device__ __forceinline__ void fetch4(float *to, const float *x, int32_t row, int64_t pitch)
{
    store4(to, row >= 0 ? load4(x + row * pitch) : make_float4(0.0f, 0.0f, 0.0f, 0.0f));
}

/* sums[i] = row own[mine] of x . row other[part + i * PARTS] of y, over D channels. Begins behind a
 * barrier that has shown own and other; ends behind one. */
static __device__ __forceinline__ void dots(float sums[EACH], struct workshop *s, const float *x,
                                            int64_t x_pitch, const float *y, int64_t y_pitch,
                                            int32_t D)
{
    int32_t thread = (int32_t)threadIdx.x, mine = thread / PARTS, part = thread % PARTS;

    for (int i = 0; i < EACH; i++)
        sums[i] = 0.0f;
    for (int32_t d = 0; d < D; d += SLICE) {
        for (int32_t i = 4 * thread; i < OWN_ROWS * SLICE; i += 4 * THREADS)
            fetch4(&s->a[i / SLICE][i % SLICE], x + d + i % SLICE, s->own[i / SLICE], x_pitch);
        for (int32_t i = 4 * thread; i < OTHERS * SLICE; i += 4 * THREADS)
            fetch4(&s->b[i / SLICE][i % SLICE], y + d + i % SLICE, s->other[i / SLICE], y_pitch);
        __syncthreads();
        UNROLL(1)
        for (int c = 0; c < SLICE; c += 4) {
            float4 a = load4(&s->a[mine][c]);

            for (int i = 0; i < EACH; i++)
                sums[i] += sum4(mul4(a, load4(&s->b[part + i * PARTS][c])));
        }
        __syncthreads(); /* before the next slice is written */
    }
}

/* width channels of the other rows of x. The caller's barriers stand around it. */
static __device__ __forceinline__ void fetch(struct workshop *s, const float *x, int64_t pitch,
                                             int32_t width)
{
    for (int32_t i = 4 * (int32_t)threadIdx.x; i < OTHERS * WIDE; i += 4 * THREADS) {
        int32_t c = i % WIDE;

        fetch4(&s->wide[i / WIDE][c], x + c, c < width ? s->other[i / WIDE] : -1, pitch);
    }
}

/* sums += by * the row's channels of this thread: fours, PARTS of them apart. */
static __device__ __forceinline__ void add_row(float sums[SUMS], float by, const float *row)
{
    for (int i = 0; i < SUMS; i += 4) {
        float4 four = load4(row + own_channel(i));

        sums[i] += by * four.x;
        sums[i + 1] += by * four.y;
        sums[i + 2] += by * four.z;
        sums[i + 3] += by * four.w;
    }
}

static __device__ __forceinline__ void store_sums(float *to, const float sums[SUMS], float scale,
                                                  int32_t width)
{
    for (int i = 0; i < SUMS; i += 4)
        if (own_channel(i) < width)
            store4(to + own_channel(i),
                   scale4(make_float4(sums[i], sums[i + 1], sums[i + 2], sums[i + 3]), scale));
}

/* A pair's weight and dS; both 0 where the score is -INFINITY: not seen. */
static __device__ __forceinline__ void pair(float *weight, float *slope,
                                            enum cuda_attention_form form, float score, float dw,
                                            float log_total, float delta)
{
    if (score == -INFINITY) {
        *weight = *slope = 0.0f;
    } else if (form == CUDA_ATTENTION_SILU) {
        *weight = silu(score);
        *slope = dw * silu_slope(score);
    } else {
        *weight = expf(score - log_total);
        *slope = *weight * (dw - delta);
    }
}

static __device__ __forceinline__ float row_sum(float value)
{
    for (int distance = PARTS / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

/* delta (rows, H) = d_o . o of each head; PARTS threads a row and head. */
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_delta_kernel(float *delta, const float *d_o, const float *o, int64_t count, int32_t D)
{
    int64_t at = (int64_t)blockIdx.x * OWN_ROWS + threadIdx.x / PARTS;
    int32_t part = (int32_t)threadIdx.x % PARTS;
    float sum = 0.0f;

    for (int32_t d = 4 * part; d < D && at < count; d += 4 * PARTS)
        sum += sum4(mul4(load4(d_o + at * D + d), load4(o + at * D + d)));
    sum = row_sum(sum); /* of all lanes */
    if (part == 0 && at < count)
        delta[at] = sum;
}

/* ---- rows: dQ, a candidate's own K and V, biases ---- */

/* One thread's row. */
struct row {
    int32_t number, position; /* among the T + N; in the request */
    int32_t count;            /* rows of its tile */
    bool live, candidate;
    int64_t time_ms;
    float log_total, delta;
};

static __device__ __forceinline__ struct row row_of(const struct cuda_attention_back *back,
                                                    const struct part_of *it, struct cuda_tile tile,
                                                    int32_t mine)
{
    const struct cuda_attention *a = &back->attention;
    bool soft = a->form == CUDA_ATTENTION_SOFTMAX;
    struct row row;

    row.live = mine < tile.count;
    row.count = tile.count;
    row.number = tile.first + (row.live ? mine : 0);
    row.candidate = tile.first >= a->T;
    row.position = row.candidate ? it->n : row.number - it->base;
    row.time_ms = row.candidate ? a->request_time_ms[tile.request] : a->time_ms[row.number];
    row.log_total = soft ? a->log_total[(int64_t)row.number * a->H + it->head] : 0.0f;
    row.delta = soft ? back->delta[(int64_t)row.number * a->H + it->head] : 0.0f;
    return row;
}

/* Adds the dS of a tile of keys to the sums of distances and of buckets: a thread a diagonal, then
 * the threads of a row one after the other. buckets: of this thread's keys. */
static __device__ __forceinline__ void add_biases(float *pos, float (*times)[BUCKET_COUNT],
                                                  const struct workshop *s, const struct row *row,
                                                  int32_t first_position, int32_t key, int32_t keys,
                                                  const int32_t buckets[EACH])
{
    int32_t thread = (int32_t)threadIdx.x, mine = thread / PARTS, part = thread % PARTS;

    if (row->candidate && thread < OTHERS && key + thread < keys) {
        float sum = 0.0f;

        for (int r = 0; r < OWN_ROWS; r++)
            sum += s->slope[r][thread];
        pos[first_position - key - thread] += sum;
    }
    /* Rows and keys of history are neighbours: thread t has those t - (OTHERS - 1) apart. */
    int32_t apart = thread - (OTHERS - 1), distance = first_position - key + apart;
    if (!row->candidate && apart < OWN_ROWS && distance >= 0) {
        float sum = 0.0f;
        bool any = false;

        for (int r = 0; r < row->count; r++) {
            int32_t j = r - apart;

            if (j >= 0 && j < OTHERS && key + j < keys) {
                sum += s->slope[r][j];
                any = true;
            }
        }
        if (any)
            pos[distance] += sum;
    }
    for (int turn = 0; turn < PARTS; turn++) {
        for (int i = 0; i < EACH && part == turn; i++)
            times[mine][buckets[i]] += s->slope[mine][part + i * PARTS];
        __syncwarp(); /* the threads of a row are of one warp */
    }
}

/* The tile's gradients of Q, and of a candidate's own K and V; times and pos are added to. */
static __device__ __forceinline__ void rows_of_tile(const struct cuda_attention_back *back,
                                                    struct workshop *s, float *pos,
                                                    float (*times)[BUCKET_COUNT],
                                                    struct cuda_tile tile, float scale)
{
    const struct cuda_attention *a = &back->attention;
    struct part_of it = part_of_block(a, tile.request);
    int32_t thread = (int32_t)threadIdx.x, mine = thread / PARTS, part = thread % PARTS;
    struct row row = row_of(back, &it, tile, mine);
    int32_t keys = row.candidate ? it.n : tile.first - it.base + tile.count;
    int32_t first_position = row.candidate ? it.n : tile.first - it.base;
    const float *z = back->z + (int64_t)it.head * it.D;
    const float *q = z + 2 * (int64_t)a->C, *k = z + 3 * (int64_t)a->C, *v = z + a->C;
    const float *d_o = back->d_o + (int64_t)it.head * it.D;
    float dq[SUMS], scores[EACH], dw[EACH];

    for (int i = 0; i < SUMS; i++)
        dq[i] = 0.0f;
    if (part == 0)
        s->own[mine] = row.live ? row.number : -1;
    for (int32_t key = 0; key < keys; key += OTHERS) {
        int32_t buckets[EACH];

        if (thread < OTHERS)
            s->other[thread] = key + thread < keys ? it.base + key + thread : -1;
        __syncthreads();
        dots(scores, s, q, it.pitch, k, it.pitch, it.D);
        dots(dw, s, d_o, a->C, v, it.pitch, it.D);
        fetch(s, k + it.from, it.pitch, it.width);
        for (int i = 0; i < EACH; i++) {
            int32_t j = key + part + i * PARTS;
            bool seen = row.live && j < keys && (row.candidate || j <= row.position);
            float score = -INFINITY, weight;

            buckets[i] = seen ? bucket_of(row.time_ms, a->time_ms[it.base + j]) : 0;
            if (seen)
                score = scores[i] * scale + a->r_pos[row.position - j] + a->r_time[buckets[i]];
            pair(&weight, &s->slope[mine][part + i * PARTS], a->form, score, dw[i], row.log_total,
                 row.delta);
        }
        __syncthreads(); /* wide and slope are there */
        UNROLL(4)
        for (int j = 0; j < OTHERS; j++)
            add_row(dq, s->slope[mine][j], s->wide[j]);
        if (it.from == 0)
            add_biases(pos, times, s, &row, first_position, key, keys, buckets);
        __syncthreads(); /* slope has been read */
    }
    if (row.candidate) {
        const float *own = back->z + row.number * it.pitch + (int64_t)it.head * it.D;
        const float *own_d = d_o + (int64_t)row.number * a->C;
        float score = 0.0f, own_dw = 0.0f, weight, slope;

        UNROLL(1)
        for (int32_t d = 4 * part; d < it.D; d += 4 * PARTS) {
            score += sum4(
                mul4(load4(own + 2 * (int64_t)a->C + d), load4(own + 3 * (int64_t)a->C + d)));
            own_dw += sum4(mul4(load4(own_d + d), load4(own + a->C + d)));
        }
        score = row_sum(score) * scale + a->r_pos[0] + a->r_time[0];
        pair(&weight, &slope, a->form, row.live ? score : -INFINITY, row_sum(own_dw), row.log_total,
             row.delta);
        for (int i = 0; i < SUMS; i += 4) {
            int32_t c = it.from + own_channel(i);
            float *to = back->dz + row.number * it.pitch + (int64_t)it.head * it.D + c;

            if (!row.live || own_channel(i) >= it.width)
                continue;
            float4 own_k = load4(own + 3 * (int64_t)a->C + c);
            dq[i] += slope * own_k.x;
            dq[i + 1] += slope * own_k.y;
            dq[i + 2] += slope * own_k.z;
            dq[i + 3] += slope * own_k.w;
            store4(to + 3 * (int64_t)a->C,
                   scale4(load4(own + 2 * (int64_t)a->C + c), slope * scale));
            store4(to + a->C, scale4(load4(own_d + c), weight));
        }
        if (it.from == 0 && part == 0)
            times[mine][0] += slope; /* and of distance 0, once they are added up below */
        if (it.from == 0 && part == 0)
            s->slope[mine][0] = slope;
        __syncthreads();
        if (it.from == 0 && thread == 0)
            for (int r = 0; r < OWN_ROWS; r++)
                pos[0] += s->slope[r][0];
    }
    if (row.live)
        store_sums(back->dz + row.number * it.pitch + 2 * (int64_t)a->C + (int64_t)it.head * it.D +
                       it.from,
                   dq, scale, it.width);
    __syncthreads(); /* before the next tile's rows are written */
}

/* At least 4 blocks a multiprocessor, here and below: without the number ptxas wants more of them
 * on some targets, and spills. */
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    attention_rows_kernel(struct cuda_attention_back back)
{
    DYN_SHARED(float, pos); /* (P + 1) */
    __shared__ struct workshop s;
    __shared__ float times[OWN_ROWS][BUCKET_COUNT];
    int32_t thread = (int32_t)threadIdx.x, D = back.attention.C / back.attention.H;
    int32_t blocks = (D + WIDE - 1) / WIDE, head = (int32_t)blockIdx.y / blocks;
    float scale = 1.0f / sqrtf((float)D);

    for (int32_t i = thread; i <= back.P; i += THREADS)
        pos[i] = 0.0f;
    for (int32_t i = thread; i < OWN_ROWS * BUCKET_COUNT; i += THREADS)
        times[i / BUCKET_COUNT][i % BUCKET_COUNT] = 0.0f;
    __syncthreads();
    for (int32_t t = (int32_t)blockIdx.x; t < back.tiles_count; t += (int32_t)gridDim.x)
        rows_of_tile(&back, &s, pos, times, back.tiles[t], scale);
    if ((int32_t)blockIdx.y % blocks != 0)
        return; /* the biases are of a head's first block; behind the last barrier */

    float *to = back.bias +
                (blockIdx.x * (int64_t)back.attention.H + head) * (back.P + 1 + BUCKET_COUNT);
    for (int32_t i = thread; i <= back.P; i += THREADS)
        to[i] = pos[i];
    if (thread < BUCKET_COUNT) {
        float sum = 0.0f;

        for (int r = 0; r < OWN_ROWS; r++)
            sum += times[r][thread];
        to[back.P + 1 + thread] = sum;
    }
}

/* ---- keys: dV and dK of histories ---- */

/* The u-th row that may see a key from number first on: history from there, then candidates. */
static __device__ __forceinline__ int32_t viewer(const struct cuda_attention_back *back,
                                                 const struct part_of *it, int32_t first, int32_t u)
{
    int32_t later = it->n - first;
    int32_t candidates = back->candidate_start[it->request];

    return u < later ? it->base + first + u : back->attention.T + candidates + u - later;
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
    attention_keys_kernel(struct cuda_attention_back back)
{
    __shared__ struct workshop s;
    const struct cuda_attention *a = &back.attention;
    struct cuda_tile tile = back.tiles[blockIdx.x];
    struct part_of it = part_of_block(a, tile.request);
    int32_t thread = (int32_t)threadIdx.x, mine = thread / PARTS, part = thread % PARTS;
    bool live = mine < tile.count, soft = a->form == CUDA_ATTENTION_SOFTMAX;
    int32_t first = tile.first - it.base, key = first + mine;
    int32_t candidates = back.candidate_start[tile.request + 1] -
                         back.candidate_start[tile.request];
    int32_t viewers = it.n - first + candidates;
    int64_t key_time = a->time_ms[tile.first + (live ? mine : 0)];
    const float *z = back.z + (int64_t)it.head * it.D;
    const float *q = z + 2 * (int64_t)a->C, *k = z + 3 * (int64_t)a->C, *v = z + a->C;
    const float *d_o = back.d_o + (int64_t)it.head * it.D;
    float dk[SUMS], dv[SUMS], scores[EACH], dw[EACH], scale = 1.0f / sqrtf((float)it.D);

    for (int i = 0; i < SUMS; i++)
        dk[i] = dv[i] = 0.0f;
    if (part == 0)
        s.own[mine] = live ? tile.first + mine : -1;
    for (int32_t u = 0; u < viewers; u += OTHERS) {
        if (thread < OTHERS)
            s.other[thread] = u + thread < viewers ? viewer(&back, &it, first, u + thread) : -1;
        __syncthreads();
        dots(scores, &s, k, it.pitch, q, it.pitch, it.D);
        dots(dw, &s, v, it.pitch, d_o, a->C, it.D);
        fetch(&s, d_o + it.from, a->C, it.width);
        for (int i = 0; i < EACH; i++) {
            int32_t row = s.other[part + i * PARTS];
            bool candidate = row >= a->T;
            int32_t position = candidate ? it.n : row - it.base;
            float score = -INFINITY, log_total = 0.0f, delta = 0.0f;

            if (live && row >= 0 && key <= position) {
                int64_t time = candidate ? a->request_time_ms[tile.request] : a->time_ms[row];

                score = scores[i] * scale + a->r_pos[position - key] +
                        a->r_time[bucket_of(time, key_time)];
                log_total = soft ? a->log_total[(int64_t)row * a->H + it.head] : 0.0f;
                delta = soft ? back.delta[(int64_t)row * a->H + it.head] : 0.0f;
            }
            pair(&s.weight[mine][part + i * PARTS], &s.slope[mine][part + i * PARTS], a->form,
                 score, dw[i], log_total, delta);
        }
        __syncthreads(); /* wide and the pairs are there */
        UNROLL(4)
        for (int j = 0; j < OTHERS; j++)
            add_row(dv, s.weight[mine][j], s.wide[j]);
        __syncthreads(); /* wide has been read */
        fetch(&s, q + it.from, it.pitch, it.width);
        __syncthreads();
        UNROLL(4)
        for (int j = 0; j < OTHERS; j++)
            add_row(dk, s.slope[mine][j], s.wide[j]);
    }
    if (!live)
        return; /* behind the last barrier */
    float *to = back.dz + ((int64_t)tile.first + mine) * it.pitch + (int64_t)it.head * it.D +
                it.from;
    store_sums(to + a->C, dv, 1.0f, it.width);
    store_sums(to + 3 * (int64_t)a->C, dk, scale, it.width);
}

enum status cuda_attention_backward(cudaStream_t stream, struct cuda_attention_back back, int32_t T,
                                    int32_t N, struct error *err)
{
    int32_t H = back.attention.H, D = back.attention.C / H;
    int64_t pairs = ((int64_t)T + N) * H;
    unsigned heads = (unsigned)(H * ((D + WIDE - 1) / WIDE));
    dim3 rows((unsigned)(cuda_attention_bias_rows(back.tiles_count, back.blocks, H) / H), heads, 1);
    dim3 keys((unsigned)back.history_tiles, heads, 1);

    if (back.tiles_count == 0)
        return OK;
    if (back.attention.form == CUDA_ATTENTION_SOFTMAX) {
        LAUNCH(attention_delta_kernel, (unsigned)((pairs + OWN_ROWS - 1) / OWN_ROWS), THREADS, 0,
               stream, back.delta, back.d_o, back.o, pairs, D);
        CUDA_TRY(err, cudaGetLastError());
    }
    LAUNCH(attention_rows_kernel, rows, THREADS, ((size_t)back.P + 1) * sizeof(float), stream,
           back);
    CUDA_TRY(err, cudaGetLastError());
    if (back.history_tiles == 0)
        return OK;
    LAUNCH(attention_keys_kernel, keys, THREADS, 0, stream, back);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
