/*
 * kernels/cuda/head.cu - from a candidate's last row to its score, around cuBLAS's products.
 *
 * Flow: layers -> [inputs -> (product, product, cross) x crosses -> product -> scores] -> rank
 *
 * All limited by memory: elements are read and written once, 16 bytes at a time; a score is a
 * warp's sum over a row, and the weights of the sum are every row's, from L1.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   head_inputs          r    281k    222k   14800   22     0 100% ~0.109b   22     0 100% ~0.066b
 *   head_cross           r    576k    461k   57600   30     0 100% ~0.226b   30     0 100% ~0.138b
 *   head_scores          r    616k    284k    248k   48     0  62% ~0.139b   54     0  50% ~0.085b
 *   head_dot             o   25200   22576   13440   82     0  25% ~0.011b   76     0  37% ~0.007b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)

static __device__ __forceinline__ float scaled(const float *scalars, const float *mean,
                                               const float *scale, int32_t f, int32_t F)
{
    return f < F ? (scalars[f] - mean[f]) * scale[f] : 0.0f;
}

/* A thread four neighbours: C and Z are multiples of 16. half NULL: no bf16 beside z. */
extern "C" __global__ void __launch_bounds__(THREADS)
    head_inputs_kernel(float *z, uint16_t *half, const float *x, const float *e,
                       const float *scalars, const float *mean, const float *scale, int32_t N,
                       int32_t C, int32_t F, int32_t Z)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i >= (int64_t)N * Z)
        return;

    int64_t row = i / Z;
    int32_t k = (int32_t)(i % Z), f = k - 2 * C;
    float4 value = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (f < 0) {
        int64_t at = row * C + (k < C ? k : k - C);

        value = load4(x + at);
        if (k >= C) {
            float4 by = load4(e + at);

            value = make_float4(value.x * by.x, value.y * by.y, value.z * by.z, value.w * by.w);
        }
    } else {
        const float *own = scalars + row * F;

        value = make_float4(scaled(own, mean, scale, f, F), scaled(own, mean, scale, f + 1, F),
                            scaled(own, mean, scale, f + 2, F), scaled(own, mean, scale, f + 3, F));
    }
    store4(z + i, value);
    if (half != NULL)
        store4_half(half + i, value);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_cross_kernel(float *now, uint16_t *half, const float *z, const float *wide,
                      const float *bias, int32_t N, int32_t Z)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i >= (int64_t)N * Z)
        return;

    float4 value = load4(now + i), by = load4(z + i), a = load4(wide + i), b = load4(bias + i % Z);
    value = make_float4(value.x + by.x * (a.x + b.x), value.y + by.y * (a.y + b.y),
                        value.z + by.z * (a.z + b.z), value.w + by.w * (a.w + b.w));
    store4(now + i, value);
    if (half != NULL)
        store4_half(half + i, value);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_scores_kernel(float *scores, const float *z, const float *now, const float *hidden,
                       const float *bias, const float *w, const float *b, int32_t N, int32_t Z,
                       int32_t W)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    float sum = 0.0f;

    if (row >= N)
        return; /* the whole warp leaves together */
    for (int32_t k = 4 * lane; k < Z; k += 4 * WARP_LANES)
        sum += sum4(mul4(load4(z + row * Z + k), load4(w + k))) +
               sum4(mul4(load4(now + row * Z + k), load4(w + Z + k)));
    for (int32_t k = 4 * lane; k < W; k += 4 * WARP_LANES) {
        float4 a = add4(load4(hidden + row * W + k), load4(bias + k));

        sum += sum4(mul4(make_float4(silu(a.x), silu(a.y), silu(a.z), silu(a.w)),
                         load4(w + 2 * (int64_t)Z + k)));
    }
    sum = warp_sum(sum);
    if (lane == 0)
        scores[row] = sum + b[0];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_dot_kernel(float *scores, const float *x, const float *e, const float *scalars,
                    const float *mean, const float *scale, const float *w, const float *b,
                    int32_t N, int32_t C, int32_t F)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    float dot = 0.0f, sum = 0.0f;

    if (row >= N)
        return; /* the whole warp leaves together */
    for (int32_t c = 4 * lane; c < C; c += 4 * WARP_LANES)
        dot += sum4(mul4(load4(x + row * C + c), load4(e + row * C + c)));
    for (int32_t f = lane; f < F; f += WARP_LANES)
        sum += (scalars[row * F + f] - mean[f]) * scale[f] * w[f];
    sum = warp_sum(dot / sqrtf((float)C) + sum);
    if (lane == 0)
        scores[row] = sum + b[0];
}

static unsigned blocks_of(int64_t count, int64_t a_block)
{
    return (unsigned)((count + a_block - 1) / a_block);
}

enum status cuda_head_inputs(cudaStream_t stream, float *z, uint16_t *half, const float *x,
                             const float *e, const float *scalars, const float *mean,
                             const float *scale, int32_t N, int32_t C, int32_t F, int32_t Z,
                             struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_inputs_kernel, blocks_of((int64_t)N * Z / 4, THREADS), THREADS, 0, stream, z, half,
           x, e, scalars, mean, scale, N, C, F, Z);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_head_cross(cudaStream_t stream, float *now, uint16_t *half, const float *z,
                            const float *wide, const float *bias, int32_t N, int32_t Z,
                            struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_cross_kernel, blocks_of((int64_t)N * Z / 4, THREADS), THREADS, 0, stream, now, half,
           z, wide, bias, N, Z);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_head_scores(cudaStream_t stream, float *scores, const float *z, const float *now,
                             const float *hidden, const float *bias, const float *w, const float *b,
                             int32_t N, int32_t Z, int32_t W, struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_scores_kernel, blocks_of(N, WARPS), THREADS, 0, stream, scores, z, now, hidden,
           bias, w, b, N, Z, W);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_head_dot(cudaStream_t stream, float *scores, const float *x, const float *e,
                          const float *scalars, const float *mean, const float *scale,
                          const float *w, const float *b, int32_t N, int32_t C, int32_t F,
                          struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_dot_kernel, blocks_of(N, WARPS), THREADS, 0, stream, scores, x, e, scalars, mean,
           scale, w, b, N, C, F);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
