/*
 * kernels/cuda/next.cu - next-item scores around cuBLAS's product: cosines of a history's last
 * state with item rows.
 *
 * Flow: layers -> [states -> (product, scale) | listed] -> scores;  weights -> [norms]
 *
 * All limited by memory; a row of C floats is a warp's, 16 bytes a lane.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   next_norms           n   1040k   1040k    964k   34     0  75% ~0.510b   36     0  75% ~0.310b
 *   next_states          n    1024     520     336   36     0  75% ~0.000b   34     0  75% ~0.000b
 *   next_scale           n   47996   47996    3999   28     0 100% ~0.024b   28     0 100% ~0.014b
 *   next_listed          n    132k   53344   48200  128     0  25% ~0.026b  128     0  25% ~0.016b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)

/* Sum over the row of a[c] * b[c]; every lane gets it. */
static __device__ __forceinline__ float warp_dot(const float *a, const float *b, int32_t C,
                                                 int32_t lane)
{
    float sum = 0.0f;

    for (int32_t c = 4 * lane; c < C; c += 4 * WARP_LANES)
        sum += sum4(mul4(load4(a + c), load4(b + c)));
    return warp_sum(sum);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    next_norms_kernel(float *inverse_norm, const float *emb, int32_t V, int32_t C)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;

    if (row >= V)
        return; /* the whole warp leaves together */
    float square = warp_dot(emb + row * C, emb + row * C, C, lane); /* one load for both */
    if (lane == 0)
        inverse_norm[row] = 1.0f / sqrtf(square + 1e-12f);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    next_states_kernel(float *states, const float *x, const int32_t *history_start,
                       int32_t contexts, int32_t B, int32_t C, float inverse_tau)
{
    int64_t b = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;

    if (b >= B)
        return; /* the whole warp leaves together */

    int64_t end = history_start[b + 1];
    bool none = end - history_start[b] <= contexts;
    const float *last = x + (none ? 0 : end - 1) * C;
    float square = none ? 0.0f : warp_dot(last, last, C, lane);
    float scale = inverse_tau / sqrtf(square + 1e-12f);
    for (int32_t c = 4 * lane; c < C; c += 4 * WARP_LANES)
        store4(states + b * C + c,
               none ? make_float4(0.0f, 0.0f, 0.0f, 0.0f) : scale4(load4(last + c), scale));
}

static __device__ __forceinline__ float scaled(float score, const float *inverse_norm, int32_t v)
{
    return v == 0 ? -INFINITY : score * inverse_norm[v];
}

/* A row's last column is followed by the next row's first. */
static __device__ __forceinline__ int32_t next_of(int32_t v, int32_t V)
{
    return v + 1 < V ? v + 1 : 0;
}

/* A thread four neighbours, which may be of two rows: V is any number. */
extern "C" __global__ void __launch_bounds__(THREADS)
    next_scale_kernel(float *scores, const float *inverse_norm, int32_t B, int32_t V)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x), left = (int64_t)B * V - i;

    if (left <= 0)
        return;

    float4 four = load4_of(scores + i, left);
    int32_t v = (int32_t)(i % V);
    four.x = scaled(four.x, inverse_norm, v);
    four.y = scaled(four.y, inverse_norm, v = next_of(v, V));
    four.z = scaled(four.z, inverse_norm, v = next_of(v, V));
    four.w = scaled(four.w, inverse_norm, next_of(v, V));
    store4_of(scores + i, four, left);
}

/* A block a request: its warps take its candidates in turn. At least 2 blocks a multiprocessor:
 * without the number ptxas wants more of them on sm_90, and spills. */
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    next_listed_kernel(float *scores, const float *states, const float *emb,
                       const float *inverse_norm, const int32_t *candidate_start,
                       const int32_t *listed, int32_t V, int32_t C)
{
    int64_t b = blockIdx.x;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    int64_t end = candidate_start[b + 1];

    for (int64_t i = candidate_start[b] + threadIdx.x / WARP_LANES; i < end; i += WARPS) {
        int32_t item = listed[i];
        int64_t v = item >= 0 && item < V ? item : 0;
        float dot = warp_dot(states + b * C, emb + v * C, C, lane);

        if (lane == 0)
            scores[i] = dot * inverse_norm[v];
    }
}

static unsigned blocks_of(int64_t count, int64_t a_block)
{
    return (unsigned)((count + a_block - 1) / a_block);
}

enum status cuda_next_norms(cudaStream_t stream, float *inverse_norm, const float *emb, int32_t V,
                            int32_t C, struct error *err)
{
    if (V == 0)
        return OK;
    LAUNCH(next_norms_kernel, blocks_of(V, WARPS), THREADS, 0, stream, inverse_norm, emb, V, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_next_states(cudaStream_t stream, float *states, const float *x,
                             const int32_t *history_start, int32_t contexts, int32_t B, int32_t C,
                             float inverse_tau, struct error *err)
{
    if (B == 0)
        return OK;
    LAUNCH(next_states_kernel, blocks_of(B, WARPS), THREADS, 0, stream, states, x, history_start,
           contexts, B, C, inverse_tau);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_next_scale(cudaStream_t stream, float *scores, const float *inverse_norm,
                            int32_t B, int32_t V, struct error *err)
{
    if (B == 0 || V == 0)
        return OK;
    LAUNCH(next_scale_kernel, blocks_of((int64_t)B * V, 4 * (int64_t)THREADS), THREADS, 0, stream,
           scores, inverse_norm, B, V);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_next_listed(cudaStream_t stream, float *scores, const float *states,
                             const float *emb, const float *inverse_norm,
                             const int32_t *candidate_start, const int32_t *listed, int32_t B,
                             int32_t V, int32_t C, struct error *err)
{
    if (B == 0)
        return OK;
    LAUNCH(next_listed_kernel, (unsigned)B, THREADS, 0, stream, scores, states, emb, inverse_norm,
           candidate_start, listed, V, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
