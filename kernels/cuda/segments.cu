/*
 * kernels/cuda/segments.cu - gradients of table rows: one row a token, then sums over those that
 * came from the same row of the table.
 *
 * Flow: gradient of token rows -> [embed] -> [segments of chunks -> segments] -> updates
 *
 * Which tokens used a row the host knows: it sorts their numbers, so that a sum has one order and
 * no two warps add to one row. A warp adds up a segment; the host cuts long ones (the target action
 * is every candidate's) into chunks, whose sums are then segments themselves. Limited by memory.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)

extern "C" __global__ void __launch_bounds__(THREADS)
    embed_backward_kernel(float *out, const float *dx, const float *de, int32_t T, int32_t N,
                          int32_t C)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, history = (int64_t)T * C;

    if (i >= history + (int64_t)N * C)
        return;
    out[i] = sqrtf((float)C) * (i >= history ? dx[i] + de[i - history] : dx[i]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    segments_kernel(float *out, const float *in, const int32_t *order, const int32_t *start,
                    int32_t count, int32_t C)
{
    int64_t s = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;

    if (s >= count)
        return; /* nothing below waits for other lanes */

    int32_t first = start[s], end = start[s + 1];
    for (int32_t c = lane; c < C; c += WARP_LANES) {
        float sum = 0.0f;

        for (int32_t i = first; i < end; i++)
            sum += in[(int64_t)(order != NULL ? order[i] : i) * C + c];
        out[s * C + c] = sum;
    }
}

enum status cuda_embed_backward(cudaStream_t stream, float *out, const float *dx, const float *de,
                                int32_t T, int32_t N, int32_t C, struct error *err)
{
    int64_t count = ((int64_t)T + N) * C;

    if (count == 0)
        return OK;
    LAUNCH(embed_backward_kernel, (unsigned)((count + THREADS - 1) / THREADS), THREADS, 0, stream,
           out, dx, de, T, N, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_segments(cudaStream_t stream, float *out, const float *in, const int32_t *order,
                          const int32_t *start, int32_t count, int32_t C, struct error *err)
{
    if (count == 0)
        return OK;
    LAUNCH(segments_kernel, ((unsigned)count + WARPS - 1) / WARPS, THREADS, 0, stream, out, in,
           order, start, count, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
