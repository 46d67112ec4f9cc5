/*
 * kernels/cuda/embed.cu - token rows from tables, a warp a row.
 *
 * Flow: batch -> [embed] -> layers
 *
 * Limited by memory: rows of the item table are scattered, so the lanes of a warp walk one row
 * together and each 128-byte line is fetched once.
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

        for (int32_t c = lane; c < C; c += WARP_LANES)
            x[row * C + c] = context[c];
        return;
    }

    int32_t item = tokens.item[row], action = tokens.action[row];
    const float *emb = tables.emb + (int64_t)(item >= 0 && item < tables.V ? item : 0) * C;
    const float *gap = tables.gap + (int64_t)tokens.gap[row] * C;
    const float *hour = tables.hour + (int64_t)tokens.hour[row] * C;
    bool acts = action >= 0 && action < tables.A;
    const float *act = tables.act + (int64_t)(acts ? action : 0) * C;

    for (int32_t c = lane; c < C; c += WARP_LANES) {
        float scaled = scale * emb[c];

        if (row >= tokens.T)
            e[(row - tokens.T) * C + c] = scaled;
        x[row * C + c] = scaled + (acts ? act[c] : 0.0f) + gap[c] + hour[c];
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
