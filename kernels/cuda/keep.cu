/*
 * kernels/cuda/keep.cu - sets K and V of new history rows aside, in pages for later requests.
 *
 * Flow: norm -> cuBLAS -> after -> [keep] -> pages; a later request's attention reads them there
 *
 * Limited by memory: each element is read and written once, neighbours by neighbours.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   keep                 n    139k    123k       0   22     0 100% ~0.061b   20     0 100% ~0.037b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
    keep_kernel(struct cuda_pages pages, const float *z, int32_t R, int32_t C)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i >= (int64_t)R * 2 * C)
        return;

    int64_t row = i / (2 * (int64_t)C), c = i % (2 * (int64_t)C);
    int32_t keep = pages.keep[row];

    if (keep == CUDA_KEEP_NONE)
        return;
    float *to = pages.at + keep / CUDA_PAGE_ROWS * pages.pitch +
                (int64_t)(keep % CUDA_PAGE_ROWS) * 2 * C;
    store4(to + c, load4(z + row * 4 * C + C + (c < C ? c : c + C))); /* U | V | Q | K */
}

enum status cuda_keep(cudaStream_t stream, struct cuda_pages pages, const float *z, int32_t R,
                      int32_t C, struct error *err)
{
    int64_t count = (int64_t)R * 2 * C / 4; /* a thread four neighbours */

    if (count == 0)
        return OK;
    LAUNCH(keep_kernel, (unsigned)((count + THREADS - 1) / THREADS), THREADS, 0, stream, pages, z,
           R, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
