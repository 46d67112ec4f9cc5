/*
 * kernels/cuda/cuda.h - the one door to CUDA's headers, and the few words that kernels are written
 * in.
 *
 * Flow: [every file of this folder] -> the CUDA runtime
 *
 * A kernel is C that three compilers take: nvcc for the device, and g++ and clang++ for the
 * emulator of tests/cuemu, which brings headers of these names with its own runtime behind them.
 * Two things C cannot say alike everywhere are macros: a launch, and shared memory sized by the
 * launch.
 *
 * Rules of every kernel here: extern "C", parameters only (no __device__ variables), blocks of
 * whole warps, no lane leaves before a collective its warp takes part in, 64-bit products of
 * indices, no communication between blocks and no atomics (so the same bits every time).
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "ops/status.h"

#include <cuda_runtime.h>

#include <stdint.h>

#define WARP_LANES 32
#define FULL_WARP  0xffffffffu

#if defined(__CUDACC__)
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                     \
    kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
/* The emulator looks: what it loads float by float need not be aligned. */
#define CHECK_ALIGNED(at, bytes) ((void)0)
/* In front of a loop: unrolled, it would take more registers than the launch bounds leave. */
#define NOT_UNROLLED _Pragma("unroll 1")
#define DYN_SHARED(type, name)                                                                     \
    extern __shared__ __align__(16) unsigned char dyn_shared_[];                                   \
    type *name = reinterpret_cast<type *>(dyn_shared_)
#endif

/* In front of a loop: so many turns at a time, where all of them would take too many registers. */
#if defined(__CUDACC__)
#define UNROLL_(text) _Pragma(#text)
#define UNROLL(turns) UNROLL_(unroll turns)
#else
#define UNROLL(turns)
#endif

/* Runs one call of the runtime; on failure returns ERR_DEVICE with its text from the enclosing
 * function. Most CUDA errors are sticky, so the process is to be restarted; one that is not is told
 * once, and not by the next launch again. */
#define CUDA_TRY(err, call)                                                                        \
    do {                                                                                           \
        cudaError_t cuda_try_ = (call);                                                            \
        if (cuda_try_ != cudaSuccess) {                                                            \
            (void)cudaGetLastError();                                                              \
            return error_set(err, ERR_DEVICE, "%s: %s", #call, cudaGetErrorString(cuda_try_));     \
        }                                                                                          \
    } while (0)

#if defined(__cplusplus)
/* Every lane gets the sum; all 32 must call. */
static __device__ __forceinline__ float warp_sum(float value)
{
    for (int distance = WARP_LANES / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

/* Sum over the block of so many warps; sums: one a warp, shared. Every thread calls, every one gets
 * it. */
static __device__ __forceinline__ float block_sum(float value, float *sums, int warps)
{
    value = warp_sum(value);
    __syncthreads(); /* what was read of an earlier sum has been read */
    if (threadIdx.x % WARP_LANES == 0)
        sums[threadIdx.x / WARP_LANES] = value;
    __syncthreads();
    value = sums[0];
    for (int w = 1; w < warps; w++)
        value += sums[w];
    return value;
}

/* The same of the maximum. */
static __device__ __forceinline__ float block_max(float value, float *sums, int warps)
{
    for (int distance = WARP_LANES / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
    __syncthreads();
    if (threadIdx.x % WARP_LANES == 0)
        sums[threadIdx.x / WARP_LANES] = value;
    __syncthreads();
    value = sums[0];
    for (int w = 1; w < warps; w++)
        value = fmaxf(value, sums[w]);
    return value;
}

/* Four neighbours in one load or store of 16 bytes: at is aligned to them. */
static __device__ __forceinline__ float4 load4(const float *at)
{
    CHECK_ALIGNED(at, sizeof(float4));
    return *reinterpret_cast<const float4 *>(at);
}

static __device__ __forceinline__ void store4(float *at, float4 four)
{
    CHECK_ALIGNED(at, sizeof four);
    *reinterpret_cast<float4 *>(at) = four;
}

/* The same of the last of an array that may end sooner: left of them, at least 1, then zeros. */
static __device__ __forceinline__ float4 load4_of(const float *at, int64_t left)
{
    return left >= 4 ? load4(at)
                     : make_float4(at[0], left > 1 ? at[1] : 0.0f, left > 2 ? at[2] : 0.0f, 0.0f);
}

static __device__ __forceinline__ void store4_of(float *at, float4 four, int64_t left)
{
    if (left >= 4) {
        store4(at, four);
        return;
    }
    at[0] = four.x;
    if (left > 1)
        at[1] = four.y;
    if (left > 2)
        at[2] = four.z;
}

static __device__ __forceinline__ float4 add4(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

static __device__ __forceinline__ float4 mul4(float4 a, float4 b)
{
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

static __device__ __forceinline__ float4 scale4(float4 a, float by)
{
    return make_float4(a.x * by, a.y * by, a.z * by, a.w * by);
}

static __device__ __forceinline__ float sum4(float4 a)
{
    return a.x + a.y + a.z + a.w;
}

/* The bits of the nearest bf16, of two equally near the even one; NaN stays NaN. */
static __device__ __forceinline__ uint32_t half_bits(float x)
{
    union {
        float x;
        uint32_t bits;
    } as = {x};

    if (x != x)
        return as.bits >> 16 | 0x40u;
    return (as.bits + 0x7fffu + (as.bits >> 16 & 1u)) >> 16;
}

/* Four neighbours as bf16, in one store of 8 bytes. */
static __device__ __forceinline__ void store4_half(uint16_t *at, float4 four)
{
    CHECK_ALIGNED(at, sizeof(uint2));
    *reinterpret_cast<uint2 *>(at) = make_uint2(half_bits(four.x) | half_bits(four.y) << 16,
                                                half_bits(four.z) | half_bits(four.w) << 16);
}

static __device__ __forceinline__ float silu(float a)
{
    return a / (1.0f + expf(-a));
}

static __device__ __forceinline__ float silu_slope(float a)
{
    float s = 1.0f / (1.0f + expf(-a));

    return s * (1.0f + a * (1.0f - s));
}
#endif

#endif
