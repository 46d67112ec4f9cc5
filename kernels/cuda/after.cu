/*
 * kernels/cuda/after.cu - what follows a matrix product: bias, and SiLU where it is wanted.
 *
 * Flow: norm -> cuBLAS -> [after] -> attention;  gate -> cuBLAS -> [after] -> residual
 *
 * Limited by memory: each element is read and written once. (cublasLt could do it in the product;
 * that ties us to a second library and its search for an algorithm.)
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ops_back.h"

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
    after_kernel(float *out, float *slope, int32_t pitch, const float *bias, int32_t R, int32_t N,
                 enum cuda_after after)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i >= (int64_t)R * N)
        return;

    int64_t row = i / N, column = i % N;
    float value = out[row * pitch + column] + bias[column];
    out[row * pitch + column] = after == CUDA_AFTER_SILU ? silu(value) : value;
    if (slope != NULL)
        slope[row * pitch + column] = silu_slope(value);
}

static enum status launch(cudaStream_t stream, float *out, float *slope, int32_t pitch,
                          const float *bias, int32_t R, int32_t N, enum cuda_after after,
                          struct error *err)
{
    int64_t count = (int64_t)R * N;

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
