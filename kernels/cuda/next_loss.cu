/*
 * kernels/cuda/next_loss.cu - sampled softmax over unit vectors: a block a position, then a warp a
 * negative.
 *
 * Flow: last layer's history rows -> [loss -> negatives] -> their gradient, gradients of item rows
 *
 * A position's share of each negative is kept (k, K), so that the second kernel can add up a
 * negative's gradient over the positions of its set in their order. Limited by L2: positions of a
 * set read the same K rows. Item rows are brought to length 1 as they are read; keeping their
 * lengths for the whole table would read all of it every step.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   next_loss            s   2784k    122k   2605k   63    32  50% ~0.267f   64    32  50% ~0.078f
 *   next_negatives       s   1581k    185k    502k   56     0  56% ~0.091b   56     0  56% ~0.055b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS           4
#define THREADS         (WARPS * WARP_LANES)
#define PARTS_FLOATS(C) ((C) > 4 * THREADS ? (C) : 4 * THREADS)

/* Brings x to length 1 in unit, for the whole block to read, and returns 1 / |x|. */
static __device__ __forceinline__ float unit_of(float *unit, const float *x, int32_t C, float *sums)
{
    float square = 0.0f, inverse;

    for (int32_t c = 4 * (int32_t)threadIdx.x; c < C; c += 4 * THREADS)
        square += sum4(mul4(load4(x + c), load4(x + c)));
    inverse = 1.0f / sqrtf(block_sum(square, sums, WARPS) + 1e-12f);
    for (int32_t c = 4 * (int32_t)threadIdx.x; c < C; c += 4 * THREADS)
        store4(unit + c, scale4(load4(x + c), inverse));
    __syncthreads();
    return inverse;
}

/* *cosine = unit . row / |row|, *inverse = 1 / |row|; a warp's work, every lane gets both. */
static __device__ __forceinline__ void look_at(float *cosine, float *inverse, const float *unit,
                                               const float *row, int32_t C)
{
    float dot = 0.0f, square = 0.0f;

    for (int32_t c = 4 * ((int32_t)threadIdx.x % WARP_LANES); c < C; c += 4 * WARP_LANES) {
        float4 of = load4(row + c);

        dot += sum4(mul4(load4(unit + c), of));
        square += sum4(mul4(of, of));
    }
    *inverse = 1.0f / sqrtf(warp_sum(square) + 1e-12f);
    *cosine = warp_sum(dot) * *inverse;
}

/* Logits and inverse lengths of the negatives, a warp each; own: cosine and inverse length of the
 * target. A negative that is the target counts for nothing. */
static __device__ __forceinline__ void score_all(float *logit, float *inverse, float *own,
                                                 const float *unit, const int32_t *negatives,
                                                 const struct cuda_next *next, int64_t set,
                                                 int32_t target)
{
    int32_t warp = (int32_t)threadIdx.x / WARP_LANES, C = next->C, K = next->K;

    for (int32_t k = warp; k <= K; k += WARPS) {
        int32_t row = k < K ? negatives[k] : target;
        float cosine, length;

        look_at(&cosine, &length, unit, next->emb + (int64_t)row * C, C);
        if (threadIdx.x % WARP_LANES != 0)
            continue;
        if (k == K) {
            own[0] = cosine;
            own[1] = length;
        } else {
            inverse[k] = length;
            logit[k] = row == target
                           ? -INFINITY
                           : cosine * next->inverse_tau + next->negatives_bias[set * K + k];
        }
    }
}

/* At least 8 blocks a multiprocessor: without the number ptxas wants more of them on some targets,
 * and spills. */
extern "C" __global__ void __launch_bounds__(THREADS, 8)
    next_loss_kernel(float *loss, float *dx, float *d_target, float *units, float *shares,
                     struct cuda_next next)
{
    DYN_SHARED(float, unit); /* (C) unit, parts of its gradient, (K) logits, (K) inverse lengths */
    __shared__ float sums[WARPS], own[2];
    int32_t thread = (int32_t)threadIdx.x, C = next.C, K = next.K;
    int32_t run = C < 4 * THREADS ? C / 4 : THREADS, runs = THREADS / run; /* threads of a row */
    float *parts = unit + C, *logit = parts + PARTS_FLOATS(C), *inverse = logit + K;
    int64_t p = blockIdx.x, set = next.set[p];
    int32_t target = next.target[p];
    const float *x = next.x + (int64_t)next.row[p] * C, *item = next.emb + (int64_t)target * C;
    const int32_t *negatives = next.negatives + set * K;
    float inverse_x, top, total = 0.0f, dot = 0.0f, own_share;

    inverse_x = unit_of(unit, x, C, sums);
    score_all(logit, inverse, own, unit, negatives, &next, set, target);
    __syncthreads();

    float own_logit = own[0] * next.inverse_tau + next.target_bias[p];
    top = own_logit;
    for (int32_t k = thread; k < K; k += THREADS)
        top = fmaxf(top, logit[k]);
    top = block_max(top, sums, WARPS);
    for (int32_t k = thread; k < K; k += THREADS)
        total += expf(logit[k] - top);
    total = block_sum(total, sums, WARPS) + expf(own_logit - top);
    if (thread == 0)
        loss[p] = logf(total) + top - own_logit;
    if (dx == NULL)
        return; /* the whole block leaves together */

    float step = next.scale * next.inverse_tau;
    own_share = (expf(own_logit - top) / total - 1.0f) * step;
    for (int32_t k = thread; k < K; k += THREADS) {
        logit[k] = expf(logit[k] - top) / total * step; /* its share of the gradient from here on */
        shares[p * K + k] = logit[k];
    }
    __syncthreads();
    for (int32_t c = 4 * (thread % run); c < C && thread < runs * run; c += 4 * run) {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

        for (int32_t k = thread / run; k < K; k += runs)
            sum = add4(sum, scale4(load4(next.emb + (int64_t)negatives[k] * C + c),
                                   logit[k] * inverse[k]));
        store4(parts + (int64_t)(thread / run) * C + c, sum);
    }
    __syncthreads();
    for (int32_t c = 4 * thread; c < C; c += 4 * THREADS) {
        float4 sum = scale4(load4(item + c), own_share * own[1]);

        for (int32_t r = 0; r < runs; r++)
            sum = add4(sum, load4(parts + (int64_t)r * C + c));
        store4(parts + c, sum); /* nobody else reads these channels */
        dot += sum4(mul4(sum, load4(unit + c)));
    }
    dot = block_sum(dot, sums, WARPS);
    float *to = dx + (int64_t)next.row[p] * C;
    for (int32_t c = 4 * thread; c < C; c += 4 * THREADS) {
        float4 u = load4(unit + c), of = load4(item + c);
        float4 change = add4(load4(parts + c), scale4(u, -dot));

        store4(to + c, add4(load4(to + c), scale4(change, inverse_x)));
        store4(d_target + p * C + c,
               scale4(add4(u, scale4(of, -own[0] * own[1])), own_share * own[1]));
        store4(units + p * C + c, u);
    }
}

/* A negative's gradient over the positions of its set, taken back through its length. */
extern "C" __global__ void __launch_bounds__(THREADS)
    next_negatives_kernel(float *d_negative, const float *units, const float *shares,
                          struct cuda_next next)
{
    int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES, C = next.C, K = next.K;
    int32_t first = 4 * lane;
    float4 kept = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float square = 0.0f, dot = 0.0f, inverse;

    if (i >= (int64_t)next.S * K)
        return; /* the whole warp leaves together */

    int64_t set = i / K, k = i % K;
    const float *item = next.emb + (int64_t)next.negatives[i] * C;
    float *to = d_negative + i * C;
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f), of = load4(item + c);

        for (int64_t p = next.set_start[set]; p < next.set_start[set + 1]; p++)
            sum = add4(sum, scale4(load4(units + p * C + c), shares[p * K + k]));
        if (c == first)
            kept = sum;
        else
            store4(to + c, sum);
        square += sum4(mul4(of, of));
        dot += sum4(mul4(sum, of));
    }
    inverse = 1.0f / sqrtf(warp_sum(square) + 1e-12f);
    dot = warp_sum(dot) * inverse * inverse;
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 sum = c == first ? kept : load4(to + c), of = load4(item + c);

        store4(to + c, scale4(add4(sum, scale4(of, -dot)), inverse));
    }
}

enum status cuda_next_loss(cudaStream_t stream, float *loss, float *dx, float *d_target,
                           float *unit, float *share, struct cuda_next next, struct error *err)
{
    size_t shared = ((size_t)next.C + (size_t)PARTS_FLOATS(next.C) + 2 * (size_t)next.K) *
                    sizeof(float);

    if (next.k == 0)
        return OK;
    LAUNCH(next_loss_kernel, (unsigned)next.k, THREADS, shared, stream, loss, dx, d_target, unit,
           share, next);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_next_negatives(cudaStream_t stream, float *d_negative, const float *unit,
                                const float *share, struct cuda_next next, struct error *err)
{
    int64_t count = (int64_t)next.S * next.K;

    if (count == 0)
        return OK;
    LAUNCH(next_negatives_kernel, (unsigned)((count + WARPS - 1) / WARPS), THREADS, 0, stream,
           d_negative, unit, share, next);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
