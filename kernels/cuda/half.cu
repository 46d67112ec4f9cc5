/*
 * kernels/cuda/half.cu - floats as bf16, for products of half the bytes; next-item scores of those.
 *
 * Flow: weights, last states, gradients -> [half] -> product | [listed];  norm, gate and head write
 * bf16 themselves
 *
 * Limited by memory: 6 bytes an element, of weights once for each change of them; 14 where a
 * gradient is multiplied by a slope on the way. A listed candidate is
 * a scattered row of 2 C bytes, which a warp reads 8 bytes a lane: half of what next.cu reads.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   half                 n    457k    457k   76144   16     0 100% ~0.224b   17     0 100% ~0.136b
 *   multiply_half        h    182k    182k   26026   19     0 100% ~0.089b   20     0 100% ~0.054b
 *   next_listed_half     b   80448   27872   48200   55     0  50% ~0.014b   57     0  50% ~0.008b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)

extern "C" __global__ void __launch_bounds__(THREADS)
    half_kernel(uint16_t *out, const float *in, int64_t count)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i < count)
        store4_half(out + i, load4(in + i));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    multiply_half_kernel(uint16_t *half, float *y, const float *x, int64_t count)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i >= count)
        return;

    float4 a = load4(y + i), b = load4(x + i);
    a = make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
    store4(y + i, a);
    store4_half(half + i, a);
}

/* Four neighbours, in one load of 8 bytes. */
static __device__ __forceinline__ float4 load4_half(const uint16_t *at)
{
    union {
        uint32_t bits[4];
        float4 four;
    } as;

    CHECK_ALIGNED(at, sizeof(uint2));
    uint2 two = *reinterpret_cast<const uint2 *>(at);
    as.bits[0] = two.x << 16;
    as.bits[1] = two.x & 0xffff0000u;
    as.bits[2] = two.y << 16;
    as.bits[3] = two.y & 0xffff0000u;
    return as.four;
}

/* A block a request: its warps take its candidates in turn. */
extern "C" __global__ void __launch_bounds__(THREADS)
    next_listed_half_kernel(float *scores, const uint16_t *states, const uint16_t *emb,
                            const float *inverse_norm, const int32_t *candidate_start,
                            const int32_t *listed, int32_t V, int32_t C)
{
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    const uint16_t *state = states + (int64_t)blockIdx.x * C;
    int64_t end = candidate_start[blockIdx.x + 1];

    for (int64_t i = candidate_start[blockIdx.x] + threadIdx.x / WARP_LANES; i < end; i += WARPS) {
        int32_t item = listed[i];
        int64_t v = item >= 0 && item < V ? item : 0;
        float dot = 0.0f;

        for (int32_t c = 4 * lane; c < C; c += 4 * WARP_LANES) {
            float4 a = load4_half(state + c), b = load4_half(emb + v * C + c);

            dot += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
        }
        dot = warp_sum(dot);
        if (lane == 0)
            scores[i] = dot * inverse_norm[v];
    }
}

enum status cuda_half(cudaStream_t stream, uint16_t *out, const float *in, int64_t count,
                      struct error *err)
{
    int64_t fours = count / 4;

    if (count == 0)
        return OK;
    LAUNCH(half_kernel, (unsigned)((fours + THREADS - 1) / THREADS), THREADS, 0, stream, out, in,
           count);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_multiply_half(cudaStream_t stream, uint16_t *half, float *y, const float *x,
                               int64_t count, struct error *err)
{
    int64_t fours = count / 4;

    if (count == 0)
        return OK;
    LAUNCH(multiply_half_kernel, (unsigned)((fours + THREADS - 1) / THREADS), THREADS, 0, stream,
           half, y, x, count);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_next_listed_half(cudaStream_t stream, float *scores, const uint16_t *states,
                                  const uint16_t *emb, const float *inverse_norm,
                                  const int32_t *candidate_start, const int32_t *listed, int32_t B,
                                  int32_t V, int32_t C, struct error *err)
{
    if (B == 0)
        return OK;
    LAUNCH(next_listed_half_kernel, (unsigned)B, THREADS, 0, stream, scores, states, emb,
           inverse_norm, candidate_start, listed, V, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
