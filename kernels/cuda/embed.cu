/*
 * kernels/cuda/embed.cu - token rows from tables, a warp a row.
 *
 * Flow: batch -> [embed] -> layers
 *
 * Limited by memory: rows of the item table are scattered, so the lanes of a warp walk one row
 * together, 16 bytes each, and each 128-byte line is fetched once.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   embed                r    639k    218k   94464   52     0  50% ~0.107b   56     0  50% ~0.065b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define WARPS 8

/* At least 4 blocks a multiprocessor: without the number ptxas aims at 32 registers for sm_100 and
 * spills. */
extern "C" __global__ void __launch_bounds__(WARPS *WARP_LANES, 4)
    embed_kernel(float *x, float *e, struct cuda_tables tables, struct cuda_tokens tokens)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES, C = tables.C;
    float scale = sqrtf((float)C);

    if (row >= (int64_t)tokens.T + tokens.N)
        return; /* nothing below waits for other lanes */

    if (tokens.gap[row] == CUDA_GAP_CONTEXT) { /* of the whole warp, and never a candidate */
        const float *context = tables.context + (int64_t)tokens.hour[row] * C;

        for (int32_t c = 4 * lane; c < C; c += 4 * WARP_LANES)
            store4(x + row * C + c, load4(context + c));
        return;
    }

    int32_t item = tokens.item[row], action = tokens.action[row];
    const float *emb = tables.emb + (int64_t)(item >= 0 && item < tables.V ? item : 0) * C;
    const float *gap = tables.gap + (int64_t)tokens.gap[row] * C;
    const float *hour = tables.hour + (int64_t)tokens.hour[row] * C;
    bool acts = action >= 0 && action < tables.A;
    const float *act = tables.act + (int64_t)(acts ? action : 0) * C;

    for (int32_t c = 4 * lane; c < C; c += 4 * WARP_LANES) {
        float4 sum = load4(emb + c), side = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

        sum = make_float4(scale * sum.x, scale * sum.y, scale * sum.z, scale * sum.w);
        if (row >= tokens.T)
            store4(e + (row - tokens.T) * C + c, sum);
        if (acts)
            side = load4(act + c);
        float4 g = load4(gap + c), h = load4(hour + c);
        store4(x + row * C + c,
               make_float4(sum.x + side.x + g.x + h.x, sum.y + side.y + g.y + h.y,
                           sum.z + side.z + g.z + h.z, sum.w + side.w + g.w + h.w));
    }
}

enum status cuda_embed(cudaStream_t stream, float *x, float *e, struct cuda_tables tables,
                       struct cuda_tokens tokens, struct error *err)
{
    int64_t rows = (int64_t)tokens.T + tokens.N;

    if (rows == 0)
        return OK;
    LAUNCH(embed_kernel, (unsigned)((rows + WARPS - 1) / WARPS), WARPS * WARP_LANES, 0, stream, x,
           e, tables, tokens);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
