/*
 * kernels/cuda/rows_back.cu - the way back through norm and gate, a warp a row, and sums of
 * columns.
 *
 * Flow: gradient behind -> [norm, gate, slopes] -> gradient in front;  gradient -> [sums] -> biases
 *
 * Limited by memory: 16 bytes at a time. A row's second pass finds the first 128 channels in
 * registers, and what is behind them in L1.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   norm_backward        s   81792   72988   53392   64     0  50% ~0.036b   64     0  50% ~0.022b
 *   gate_backward        s   99968   91164   62480   88     0  25% ~0.045b   86     0  25% ~0.027b
 *   multiply             s    156k    156k   13013   20     0 100% ~0.077b   20     0 100% ~0.047b
 *   add                  s   72576   72576    6048   20     0 100% ~0.036b   20     0 100% ~0.022b
 *   column_sums          s   21815   21815    8867   28  4096 100% ~0.011b   28  4096 100% ~0.007b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)
#define COLUMNS 32            /* of a block's sums: a line of 128 bytes */
#define FOURS   (COLUMNS / 4) /* threads of a row */
#define RUNS    (THREADS / FOURS)

/* Four of the gradient of a norm's input. */
static __device__ __forceinline__ float4 through_norm(float4 g, float4 normed, float scale,
                                                      float sum, float product)
{
    return make_float4(
        scale * (g.x - sum - normed.x * product), scale * (g.y - sum - normed.y * product),
        scale * (g.z - sum - normed.z * product), scale * (g.w - sum - normed.w * product));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_backward_kernel(float *dx, const float *g, const float *normed, const float *rstd,
                         int32_t R, int32_t C)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t first = 4 * ((int32_t)threadIdx.x % WARP_LANES);
    float4 kept_g = make_float4(0.0f, 0.0f, 0.0f, 0.0f), kept = kept_g;
    float sum = 0.0f, product = 0.0f;

    if (row >= R)
        return; /* the whole warp leaves together */

    int64_t at = row * C;
    if (first < C) {
        kept_g = load4(g + at + first);
        kept = load4(normed + at + first);
    }
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 of = c == first ? kept_g : load4(g + at + c);

        sum += sum4(of);
        product += sum4(mul4(of, c == first ? kept : load4(normed + at + c)));
    }
    sum = warp_sum(sum) / (float)C;
    product = warp_sum(product) / (float)C;
    float scale = rstd[row];
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 of = c == first ? kept_g : load4(g + at + c);
        float4 n = c == first ? kept : load4(normed + at + c);

        store4(dx + at + c, add4(load4(dx + at + c), through_norm(of, n, scale, sum, product)));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gate_backward_kernel(float *du, float *d_o, const float *dy, const float *normed,
                         const float *rstd, const float *u, int32_t u_pitch, int32_t R, int32_t C)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t first = 4 * ((int32_t)threadIdx.x % WARP_LANES);
    float4 kept_g = make_float4(0.0f, 0.0f, 0.0f, 0.0f), kept = kept_g;
    float sum = 0.0f, product = 0.0f;

    if (row >= R)
        return; /* the whole warp leaves together */

    int64_t at = row * C, at_u = row * u_pitch;
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 d = load4(dy + at + c), n = load4(normed + at + c);
        float4 of = mul4(d, load4(u + at_u + c));

        store4(du + at_u + c, mul4(d, n));
        sum += sum4(of);
        product += sum4(mul4(of, n));
        kept_g = c == first ? of : kept_g;
        kept = c == first ? n : kept;
    }
    sum = warp_sum(sum) / (float)C;
    product = warp_sum(product) / (float)C;
    float scale = rstd[row];
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 n = c == first ? kept : load4(normed + at + c);
        float4 of = c == first ? kept_g : mul4(load4(dy + at + c), load4(u + at_u + c));

        store4(d_o + at + c, through_norm(of, n, scale, sum, product));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    multiply_kernel(float *y, const float *x, int64_t count)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x), left = count - i;

    if (left > 0)
        store4_of(y + i, mul4(load4_of(y + i, left), load4_of(x + i, left)), left);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    add_kernel(float *y, const float *x, int64_t count)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x), left = count - i;

    if (left > 0)
        store4_of(y + i, add4(load4_of(y + i, left), load4_of(x + i, left)), left);
}

/* A block adds `rows` rows of COLUMNS columns, a thread four of them in every RUNS-th row, then a
 * thread a column the runs in order. fours: every row of x is aligned to 16 bytes. */
extern "C" __global__ void __launch_bounds__(THREADS)
    column_sums_kernel(float *out, const float *x, int32_t pitch, int32_t R, int32_t N,
                       int32_t rows, bool fours)
{
    __shared__ float sums[RUNS][COLUMNS];
    int32_t own = (int32_t)threadIdx.x % FOURS * 4, run = (int32_t)threadIdx.x / FOURS;
    int64_t column = (int64_t)blockIdx.x * COLUMNS + own, left = N - column;
    int64_t first = (int64_t)blockIdx.y * rows, end = first + rows < R ? first + rows : R;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

    for (int64_t r = first + run; r < end && left > 0; r += RUNS) {
        const float *at = x + r * pitch + column;

        if (fours && left >= 4)
            sum = add4(sum, load4(at));
        else
            sum = add4(sum, make_float4(at[0], left > 1 ? at[1] : 0.0f, left > 2 ? at[2] : 0.0f,
                                        left > 3 ? at[3] : 0.0f));
    }
    sums[run][own] = sum.x;
    sums[run][own + 1] = sum.y;
    sums[run][own + 2] = sum.z;
    sums[run][own + 3] = sum.w;
    __syncthreads();

    int32_t mine = (int32_t)threadIdx.x;
    column = (int64_t)blockIdx.x * COLUMNS + mine;
    if (mine >= COLUMNS || column >= N)
        return; /* behind the last barrier */
    float total = 0.0f;
    for (int r = 0; r < RUNS; r++)
        total += sums[r][mine];
    out[blockIdx.y * (int64_t)N + column] = total;
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
    LAUNCH(multiply_kernel, blocks_of(count, 4 * (int64_t)THREADS), THREADS, 0, stream, y, x,
           count);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_add(cudaStream_t stream, float *y, const float *x, int64_t count,
                     struct error *err)
{
    if (count == 0)
        return OK;
    LAUNCH(add_kernel, blocks_of(count, 4 * (int64_t)THREADS), THREADS, 0, stream, y, x, count);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

static bool in_fours(const float *x, int32_t pitch)
{
    return (uintptr_t)x % (4 * sizeof *x) == 0 && pitch % 4 == 0;
}

/* Many rows: each block's sums first, then those. R 0 gives zeros. */
enum status cuda_column_sums(cudaStream_t stream, float *out, const float *x, int32_t pitch,
                             int32_t R, int32_t N, float *scratch, struct error *err)
{
    unsigned parts = blocks_of(R, CUDA_SUMS_ROWS);
    dim3 grid(blocks_of(N, COLUMNS), parts > 0 ? parts : 1, 1);

    if (N == 0)
        return OK;
    LAUNCH(column_sums_kernel, grid, THREADS, 0, stream, parts > 1 ? scratch : out, x, pitch, R, N,
           CUDA_SUMS_ROWS, in_fours(x, pitch));
    CUDA_TRY(err, cudaGetLastError());
    if (parts <= 1)
        return OK;
    grid.y = 1;
    LAUNCH(column_sums_kernel, grid, THREADS, 0, stream, out, scratch, N, (int32_t)parts, N,
           (int32_t)parts, in_fours(scratch, N));
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
