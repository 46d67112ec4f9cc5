/*
 * kernels/cuda/rows_back.cu - the way back through norm and gate, a warp a row, and sums of
 * columns.
 *
 * Flow: gradient behind -> [norm, gate, slopes] -> gradient in front;  gradient -> [sums] -> biases
 *
 * Limited by memory. What a row's second pass reads the first has left in L1.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_backward_kernel(float *dx, const float *g, const float *normed, const float *rstd,
                         int32_t R, int32_t C)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    float sum = 0.0f, product = 0.0f;

    if (row >= R)
        return; /* the whole warp leaves together */
    for (int32_t c = lane; c < C; c += WARP_LANES) {
        sum += g[row * C + c];
        product += g[row * C + c] * normed[row * C + c];
    }
    sum = warp_sum(sum) / (float)C;
    product = warp_sum(product) / (float)C;
    for (int32_t c = lane; c < C; c += WARP_LANES)
        dx[row * C + c] += rstd[row] * (g[row * C + c] - sum - normed[row * C + c] * product);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gate_backward_kernel(float *du, float *d_o, const float *dy, const float *normed,
                         const float *rstd, const float *u, int32_t u_pitch, int32_t R, int32_t C)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    float sum = 0.0f, product = 0.0f;

    if (row >= R)
        return; /* the whole warp leaves together */
    for (int32_t c = lane; c < C; c += WARP_LANES) {
        float d = dy[row * C + c], g = d * u[row * u_pitch + c];

        du[row * u_pitch + c] = d * normed[row * C + c];
        sum += g;
        product += g * normed[row * C + c];
    }
    sum = warp_sum(sum) / (float)C;
    product = warp_sum(product) / (float)C;
    for (int32_t c = lane; c < C; c += WARP_LANES)
        d_o[row * C + c] = rstd[row] * (dy[row * C + c] * u[row * u_pitch + c] - sum -
                                        normed[row * C + c] * product);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    multiply_kernel(float *y, const float *x, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < count)
        y[i] *= x[i];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    add_kernel(float *y, const float *x, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < count)
        y[i] += x[i];
}

/* A block adds `rows` rows of 32 columns; its warps every eighth, then theirs in order. */
extern "C" __global__ void __launch_bounds__(THREADS)
    column_sums_kernel(float *out, const float *x, int32_t pitch, int32_t R, int32_t N,
                       int32_t rows)
{
    __shared__ float sums[WARPS][WARP_LANES];
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES, warp = (int32_t)threadIdx.x / WARP_LANES;
    int64_t column = (int64_t)blockIdx.x * WARP_LANES + lane;
    int64_t first = (int64_t)blockIdx.y * rows, end = first + rows < R ? first + rows : R;
    float sum = 0.0f;

    for (int64_t r = first + warp; r < end && column < N; r += WARPS)
        sum += x[r * pitch + column];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || column >= N)
        return; /* behind the last barrier */
    for (int w = 1; w < WARPS; w++)
        sum += sums[w][lane];
    out[blockIdx.y * (int64_t)N + column] = sum;
}

static unsigned blocks_of(int64_t count, int64_t a_block)
{
    return (unsigned)((count + a_block - 1) / a_block);
}

enum status cuda_norm_backward(cudaStream_t stream, float *dx, const float *g, const float *normed,
                               const float *rstd, int32_t R, int32_t C, struct error *err)
{
    if (R == 0)
        return OK;
    LAUNCH(norm_backward_kernel, blocks_of(R, WARPS), THREADS, 0, stream, dx, g, normed, rstd, R,
           C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_gate_backward(cudaStream_t stream, float *du, float *d_o, const float *dy,
                               const float *normed, const float *rstd, const float *u,
                               int32_t u_pitch, int32_t R, int32_t C, struct error *err)
{
    if (R == 0)
        return OK;
    LAUNCH(gate_backward_kernel, blocks_of(R, WARPS), THREADS, 0, stream, du, d_o, dy, normed, rstd,
           u, u_pitch, R, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_multiply(cudaStream_t stream, float *y, const float *x, int64_t count,
                          struct error *err)
{
    if (count == 0)
        return OK;
    LAUNCH(multiply_kernel, blocks_of(count, THREADS), THREADS, 0, stream, y, x, count);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_add(cudaStream_t stream, float *y, const float *x, int64_t count,
                     struct error *err)
{
    if (count == 0)
        return OK;
    LAUNCH(add_kernel, blocks_of(count, THREADS), THREADS, 0, stream, y, x, count);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

/* Many rows: each block's sums first, then those. R 0 gives zeros. */
enum status cuda_column_sums(cudaStream_t stream, float *out, const float *x, int32_t pitch,
                             int32_t R, int32_t N, float *scratch, struct error *err)
{
    unsigned parts = blocks_of(R, CUDA_SUMS_ROWS);
    dim3 grid(blocks_of(N, WARP_LANES), parts > 0 ? parts : 1, 1);

    if (N == 0)
        return OK;
    LAUNCH(column_sums_kernel, grid, THREADS, 0, stream, parts > 1 ? scratch : out, x, pitch, R, N,
           CUDA_SUMS_ROWS);
    CUDA_TRY(err, cudaGetLastError());
    if (parts <= 1)
        return OK;
    grid.y = 1;
    LAUNCH(column_sums_kernel, grid, THREADS, 0, stream, out, scratch, N, (int32_t)parts, N,
           (int32_t)parts);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
