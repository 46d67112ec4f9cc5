/*
 * kernels/cuda/norm.cu - layer norm, and the gate that is a norm times u: a warp a row.
 *
 * Flow: token rows -> [norm] -> product;  attention -> [gate] -> product
 *
 * Limited by memory. A row has at most 4 KiB: the two passes after the first find it in L1, which
 * costs less than registers for the widest row would in occupancy.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ops_back.h"

#define WARPS 8

/* u NULL: 1. normed and rstd NULL: nobody will learn from them. */
extern "C" __global__ void __launch_bounds__(WARPS *WARP_LANES)
    norm_kernel(float *out, float *normed, float *rstd, const float *x, const float *u,
                int32_t u_pitch, int32_t R, int32_t C, float epsilon)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    float sum = 0.0f, squares = 0.0f;

    if (row >= R)
        return; /* the whole warp leaves together: the sums below stay full */

    const float *from = x + row * C;
    for (int32_t c = lane; c < C; c += WARP_LANES)
        sum += from[c];
    float mean = warp_sum(sum) / (float)C;
    for (int32_t c = lane; c < C; c += WARP_LANES) {
        float apart = from[c] - mean;

        squares += apart * apart;
    }
    float scale = 1.0f / sqrtf(warp_sum(squares) / (float)C + epsilon);
    if (rstd != NULL && lane == 0)
        rstd[row] = scale;
    for (int32_t c = lane; c < C; c += WARP_LANES) {
        float value = (from[c] - mean) * scale;

        if (normed != NULL)
            normed[row * C + c] = value;
        out[row * C + c] = value * (u != NULL ? u[row * u_pitch + c] : 1.0f);
    }
}

static enum status launch(cudaStream_t stream, float *out, float *normed, float *rstd,
                          const float *x, const float *u, int32_t u_pitch, int32_t R, int32_t C,
                          float epsilon, struct error *err)
{
    if (R == 0)
        return OK;
    LAUNCH(norm_kernel, ((unsigned)R + WARPS - 1) / WARPS, WARPS * WARP_LANES, 0, stream, out,
           normed, rstd, x, u, u_pitch, R, C, epsilon);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_norm(cudaStream_t stream, float *out, const float *x, int32_t R, int32_t C,
                      float epsilon, struct error *err)
{
    return launch(stream, out, NULL, NULL, x, NULL, 0, R, C, epsilon, err);
}

enum status cuda_gate(cudaStream_t stream, float *y, const float *o, const float *u,
                      int32_t u_pitch, int32_t R, int32_t C, float epsilon, struct error *err)
{
    return launch(stream, y, NULL, NULL, o, u, u_pitch, R, C, epsilon, err);
}

enum status cuda_norm_tape(cudaStream_t stream, float *out, float *rstd, const float *x, int32_t R,
                           int32_t C, float epsilon, struct error *err)
{
    return launch(stream, out, NULL, rstd, x, NULL, 0, R, C, epsilon, err);
}

enum status cuda_gate_tape(cudaStream_t stream, float *y, float *normed, float *rstd,
                           const float *o, const float *u, int32_t u_pitch, int32_t R, int32_t C,
                           float epsilon, struct error *err)
{
    return launch(stream, y, normed, rstd, o, u, u_pitch, R, C, epsilon, err);
}
