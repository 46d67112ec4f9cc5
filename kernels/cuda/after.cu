/*
 * kernels/cuda/after.cu - what follows a matrix product: bias, and SiLU where it is wanted.
 *
 * Flow: norm -> cuBLAS -> [after] -> attention;  gate -> cuBLAS -> [after] -> residual
 *
 * Limited by memory: each element is read and written once, 16 bytes at a time; the bias is every
 * row's, from L1. (cublasLt could do it in the product;
 * that ties us to a second library and its search for an algorithm.)
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   after                r    371k    248k    258k   26     0 100% ~0.121b   26     0 100% ~0.074b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ops_back.h"

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
    after_kernel(float *out, float *slope, int32_t pitch, const float *bias, int32_t R, int32_t N,
                 enum cuda_after after)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i >= (int64_t)R * N)
        return;

    int64_t column = i % N, at = i / N * pitch + column;
    float4 v = add4(load4(out + at), load4(bias + column));
    store4(out + at,
           after == CUDA_AFTER_SILU ? make_float4(silu(v.x), silu(v.y), silu(v.z), silu(v.w)) : v);
    if (slope != NULL)
        store4(slope + at,
               make_float4(silu_slope(v.x), silu_slope(v.y), silu_slope(v.z), silu_slope(v.w)));
}

static enum status launch(cudaStream_t stream, float *out, float *slope, int32_t pitch,
                          const float *bias, int32_t R, int32_t N, enum cuda_after after,
                          struct error *err)
{
    int64_t count = (int64_t)R * N / 4; /* a thread four neighbours */

    if (count == 0)
        return OK;
    LAUNCH(after_kernel, (unsigned)((count + THREADS - 1) / THREADS), THREADS, 0, stream, out,
           slope, pitch, bias, R, N, after);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_after(cudaStream_t stream, float *out, int32_t pitch, const float *bias, int32_t R,
                       int32_t N, enum cuda_after after, struct error *err)
{
    return launch(stream, out, NULL, pitch, bias, R, N, after, err);
}

enum status cuda_silu_tape(cudaStream_t stream, float *out, float *slope, int32_t pitch,
                           const float *bias, int32_t R, int32_t N, struct error *err)
{
    return launch(stream, out, slope, pitch, bias, R, N, CUDA_AFTER_SILU, err);
}
