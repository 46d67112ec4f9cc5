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
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   4
#define THREADS (WARPS * WARP_LANES)

/* Brings x to length 1 in unit, for the whole block to read, and returns 1 / |x|. */
static __device__ __forceinline__ float unit_of(float *unit, const float *x, int32_t C, float *sums)
{
    float square = 0.0f, inverse;

    for (int32_t c = (int32_t)threadIdx.x; c < C; c += THREADS)
        square += x[c] * x[c];
    inverse = 1.0f / sqrtf(block_sum(square, sums, WARPS) + 1e-12f);
    for (int32_t c = (int32_t)threadIdx.x; c < C; c += THREADS)
        unit[c] = x[c] * inverse;
    __syncthreads();
    return inverse;
}

/* *cosine = unit . row / |row|, *inverse = 1 / |row|; a warp's work, every lane gets both. */
static __device__ __forceinline__ void look_at(float *cosine, float *inverse, const float *unit,
                                               const float *row, int32_t C)
{
    float dot = 0.0f, square = 0.0f;

    for (int32_t c = (int32_t)threadIdx.x % WARP_LANES; c < C; c += WARP_LANES) {
        dot += unit[c] * row[c];
        square += row[c] * row[c];
    }
    *inverse = 1.0f / sqrtf(warp_sum(square) + 1e-12f);
    *cosine = warp_sum(dot) * *inverse;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    next_loss_kernel(float *loss, float *dx, float *d_target, float *units, float *shares,
                     struct cuda_next next)
{
    DYN_SHARED(float, unit); /* (C) unit, (C) its gradient, (K) logits, (K) inverse lengths */
    __shared__ float sums[WARPS], own[2];
    float *d_unit = unit + next.C, *logit = d_unit + next.C, *inverse = logit + next.K;
    int32_t thread = (int32_t)threadIdx.x, warp = thread / WARP_LANES, C = next.C, K = next.K;
    int64_t p = blockIdx.x, set = next.set[p];
    int32_t target = next.target[p];
    const float *x = next.x + (int64_t)next.row[p] * C, *item = next.emb + (int64_t)target * C;
    const int32_t *negatives = next.negatives + set * K;
    float inverse_x, top, total = 0.0f, dot = 0.0f, own_share;

    inverse_x = unit_of(unit, x, C, sums);
    for (int32_t k = warp; k <= K; k += WARPS) {
        int32_t row = k < K ? negatives[k] : target;
        float cosine, length;

        look_at(&cosine, &length, unit, next.emb + (int64_t)row * C, C);
        if (thread % WARP_LANES != 0)
            continue;
        if (k == K) {
            own[0] = cosine;
            own[1] = length;
        } else {
            inverse[k] = length;
            logit[k] = row == target ? -INFINITY
                                     : cosine * next.inverse_tau + next.negatives_bias[set * K + k];
        }
    }
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
    for (int32_t c = thread; c < C; c += THREADS) {
        float sum = own_share * own[1] * item[c];

        for (int32_t k = 0; k < K; k++)
            sum += logit[k] * inverse[k] * next.emb[(int64_t)negatives[k] * C + c];
        d_unit[c] = sum;
        dot += sum * unit[c];
    }
    dot = block_sum(dot, sums, WARPS);
    for (int32_t c = thread; c < C; c += THREADS) {
        dx[(int64_t)next.row[p] * C + c] += inverse_x * (d_unit[c] - unit[c] * dot);
        d_target[p * C + c] = own_share * own[1] * (unit[c] - own[0] * own[1] * item[c]);
        units[p * C + c] = unit[c];
    }
}

/* A negative's gradient over the positions of its set, taken back through its length. */
extern "C" __global__ void __launch_bounds__(THREADS)
    next_negatives_kernel(float *d_negative, const float *units, const float *shares,
                          struct cuda_next next)
{
    int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES, C = next.C, K = next.K;
    float square = 0.0f, dot = 0.0f, inverse;

    if (i >= (int64_t)next.S * K)
        return; /* the whole warp leaves together */

    int64_t set = i / K, k = i % K;
    const float *item = next.emb + (int64_t)next.negatives[i] * C;
    float *to = d_negative + i * C;
    for (int32_t c = lane; c < C; c += WARP_LANES) {
        float sum = 0.0f;

        for (int64_t p = next.set_start[set]; p < next.set_start[set + 1]; p++)
            sum += shares[p * K + k] * units[p * C + c];
        to[c] = sum;
        square += item[c] * item[c];
        dot += sum * item[c];
    }
    inverse = 1.0f / sqrtf(warp_sum(square) + 1e-12f);
    dot = warp_sum(dot) * inverse * inverse;
    for (int32_t c = lane; c < C; c += WARP_LANES)
        to[c] = inverse * (to[c] - dot * item[c]);
}

enum status cuda_next_loss(cudaStream_t stream, float *loss, float *dx, float *d_target,
                           float *unit, float *share, struct cuda_next next, struct error *err)
{
    size_t shared = 2 * ((size_t)next.C + (size_t)next.K) * sizeof(float);

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
