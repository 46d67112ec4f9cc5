/*
 * kernels/cuda/segments.cu - gradients of table rows: one row a token, then sums over those that
 * came from the same row of the table.
 *
 * Flow: gradient of token rows -> [embed] -> [segments of chunks -> segments] -> updates
 *
 * Which tokens used a row the host knows: it sorts their numbers, so that a sum has one order and
 * no two threads add to one float. A thread adds up four channels of a segment, so that narrow rows
 * leave no lane idle; the host cuts long ones (the target action
 * is every candidate's) into chunks, whose sums are then segments themselves. Limited by memory.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   embed_backward       s   47104   47104    8368   19     0 100% ~0.023b   18     0 100% ~0.014b
 *   segments             s   78328   60162    8168   32     0 100% ~0.030b   32     0 100% ~0.018b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
    embed_backward_kernel(float *out, const float *dx, const float *de, int32_t T, int32_t N,
                          int32_t C)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x), history = (int64_t)T * C;

    if (i >= history + (int64_t)N * C)
        return;

    float4 sum = load4(dx + i);
    if (i >= history)
        sum = add4(sum, load4(de + i - history));
    store4(out + i, scale4(sum, sqrtf((float)C)));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    segments_kernel(float *out, const float *in, const int32_t *order, const int32_t *start,
                    int32_t count, int32_t C)
{
    int64_t at = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x), s = at / C, c = at % C;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

    if (s >= count)
        return;

    int32_t first = start[s], end = start[s + 1];
    for (int32_t i = first; i < end; i++)
        sum = add4(sum, load4(in + (int64_t)(order != NULL ? order[i] : i) * C + c));
    store4(out + at, sum);
}

static unsigned blocks_of(int64_t floats)
{
    return (unsigned)((floats / 4 + THREADS - 1) / THREADS);
}

enum status cuda_embed_backward(cudaStream_t stream, float *out, const float *dx, const float *de,
                                int32_t T, int32_t N, int32_t C, struct error *err)
{
    int64_t count = ((int64_t)T + N) * C;

    if (count == 0)
        return OK;
    LAUNCH(embed_backward_kernel, blocks_of(count), THREADS, 0, stream, out, dx, de, T, N, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_segments(cudaStream_t stream, float *out, const float *in, const int32_t *order,
                          const int32_t *start, int32_t count, int32_t C, struct error *err)
{
    if (count == 0)
        return OK;
    LAUNCH(segments_kernel, blocks_of((int64_t)count * C), THREADS, 0, stream, out, in, order,
           start, count, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
