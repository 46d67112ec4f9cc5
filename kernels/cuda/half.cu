/*
 * kernels/cuda/half.cu - floats as bf16, for products of half the bytes.
 *
 * Flow: weights -> [half] -> product;  norm, gate and head write bf16 themselves
 *
 * Limited by memory: 6 bytes an element. Once for each change of the weights.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
    half_kernel(uint16_t *out, const float *in, int64_t count)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i < count)
        store4_half(out + i, load4(in + i));
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
