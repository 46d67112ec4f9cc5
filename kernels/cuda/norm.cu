/*
 * kernels/cuda/norm.cu - layer norm, and the gate that is a norm times u: a warp a row.
 *
 * Flow: token rows -> [norm] -> product;  attention -> [gate] -> product
 *
 * Limited by memory, so 16 bytes a load: C is a multiple of 16, rows are aligned. A row has at most
 * 4 KiB: the two passes after the first find it in L1, which costs less than registers for the
 * widest row would in occupancy.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   norm                 r    337k    185k    232k   46     0  62% ~0.091b   46     0  62% ~0.055b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ops_back.h"

#define WARPS 8

/* u NULL: 1. normed and rstd NULL: nobody will learn from them. out or half may be NULL. */
extern "C" __global__ void __launch_bounds__(WARPS *WARP_LANES)
    norm_kernel(float *out, uint16_t *half, float *normed, float *rstd, const float *x,
                const float *u, int32_t u_pitch, int32_t R, int32_t C, float epsilon)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t first = 4 * ((int32_t)threadIdx.x % WARP_LANES);
    float sum = 0.0f, squares = 0.0f;

    if (row >= R)
        return; /* the whole warp leaves together: the sums below stay full */

    const float *from = x + row * C;
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 four = load4(from + c);

        sum += four.x + four.y + four.z + four.w;
    }
    float mean = warp_sum(sum) / (float)C;
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 four = load4(from + c);

        four = make_float4(four.x - mean, four.y - mean, four.z - mean, four.w - mean);
        squares += four.x * four.x + four.y * four.y + four.z * four.z + four.w * four.w;
    }
    float scale = 1.0f / sqrtf(warp_sum(squares) / (float)C + epsilon);
    if (rstd != NULL && first == 0)
        rstd[row] = scale;
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 four = load4(from + c);
        float4 by = make_float4(1.0f, 1.0f, 1.0f, 1.0f);

        four = make_float4((four.x - mean) * scale, (four.y - mean) * scale,
                           (four.z - mean) * scale, (four.w - mean) * scale);
        if (normed != NULL)
            store4(normed + row * C + c, four);
        if (u != NULL)
            by = load4(u + row * u_pitch + c);
        four = make_float4(four.x * by.x, four.y * by.y, four.z * by.z, four.w * by.w);
        if (half != NULL)
            store4_half(half + row * C + c, four);
        if (out != NULL)
            store4(out + row * C + c, four);
    }
}

static enum status launch(cudaStream_t stream, float *out, uint16_t *half, float *normed,
                          float *rstd, const float *x, const float *u, int32_t u_pitch, int32_t R,
                          int32_t C, float epsilon, struct error *err)
{
    if (R == 0)
        return OK;
    LAUNCH(norm_kernel, ((unsigned)R + WARPS - 1) / WARPS, WARPS * WARP_LANES, 0, stream, out, half,
           normed, rstd, x, u, u_pitch, R, C, epsilon);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_norm(cudaStream_t stream, float *out, const float *x, int32_t R, int32_t C,
                      float epsilon, struct error *err)
{
    return launch(stream, out, NULL, NULL, NULL, x, NULL, 0, R, C, epsilon, err);
}

enum status cuda_gate(cudaStream_t stream, float *y, const float *o, const float *u,
                      int32_t u_pitch, int32_t R, int32_t C, float epsilon, struct error *err)
{
    return launch(stream, y, NULL, NULL, NULL, o, u, u_pitch, R, C, epsilon, err);
}

enum status cuda_norm_tape(cudaStream_t stream, float *out, uint16_t *half, float *rstd,
                           const float *x, int32_t R, int32_t C, float epsilon, struct error *err)
{
    return launch(stream, out, half, NULL, rstd, x, NULL, 0, R, C, epsilon, err);
}

enum status cuda_gate_tape(cudaStream_t stream, float *y, uint16_t *half, float *normed,
                           float *rstd, const float *o, const float *u, int32_t u_pitch, int32_t R,
                           int32_t C, float epsilon, struct error *err)
{
    return launch(stream, y, half, normed, rstd, o, u, u_pitch, R, C, epsilon, err);
}

enum status cuda_norm_half(cudaStream_t stream, uint16_t *out, const float *x, int32_t R, int32_t C,
                           float epsilon, struct error *err)
{
    return launch(stream, NULL, out, NULL, NULL, x, NULL, 0, R, C, epsilon, err);
}

enum status cuda_gate_half(cudaStream_t stream, uint16_t *y, const float *o, const float *u,
                           int32_t u_pitch, int32_t R, int32_t C, float epsilon, struct error *err)
{
    return launch(stream, NULL, y, NULL, NULL, o, u, u_pitch, R, C, epsilon, err);
}
