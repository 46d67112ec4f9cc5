/*
 * kernels/cuda/dropout.cu - drops what kernels/dropout.h says, a warp a row.
 *
 * Flow: embed -> [dropout] -> layers;  gate -> [dropout] -> product;  the same on the way back
 *
 * Limited by memory: the mask is computed anew each time, 9 operations for an element, so nothing
 * is kept for the way back but a seed a row.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   dropout              o   54528   37204    4544   27     0 100% ~0.018b   29     0 100% ~0.011b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)

extern "C" __global__ void __launch_bounds__(THREADS)
    dropout_kernel(float *x, const struct cuda_dropped *rows, int32_t R, int32_t C,
                   struct dropout how, uint64_t site, bool last)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;

    if (row >= R)
        return; /* nothing below waits for other lanes */

    uint64_t seed = rows[row].seed + site;
    uint32_t first = (last ? rows[row].last_row : rows[row].row) * (uint32_t)C;
    for (int32_t c = 4 * lane; c < C; c += 4 * WARP_LANES) {
        float4 four = load4(x + row * C + c);
        uint32_t place = first + (uint32_t)c;

        four.x *= dropout_factor(how, seed, place);
        four.y *= dropout_factor(how, seed, place + 1);
        four.z *= dropout_factor(how, seed, place + 2);
        four.w *= dropout_factor(how, seed, place + 3);
        store4(x + row * C + c, four);
    }
}

enum status cuda_dropout(cudaStream_t stream, float *x, const struct cuda_dropped *rows, int32_t R,
                         int32_t C, float p, uint64_t site, bool last, struct error *err)
{
    if (R == 0)
        return OK;
    LAUNCH(dropout_kernel, ((unsigned)R + WARPS - 1) / WARPS, THREADS, 0, stream, x, rows, R, C,
           dropout_of(p), site, last);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
