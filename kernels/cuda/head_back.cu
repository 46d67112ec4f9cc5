/*
 * kernels/cuda/head_back.cu - the way back through the heads, around cuBLAS's products.
 *
 * Flow: gradient of scores -> [outer -> (cross, products) x crosses -> inputs] -> gradient of x and
 * e
 *
 * All limited by memory: a thread four neighbours, each read and written once, 16 bytes at a time.
 * (F scalars a row are few, and F is any number: a thread each.)
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   head_scalars         o    3360    1720     420   20     0 100% ~0.001b   20     0 100% ~0.001b
 *   head_dot_backward    o   45696   43176    6048   22     0 100% ~0.021b   22     0 100% ~0.013b
 *   head_outer           s   44352   20349    4928   18     0 100% ~0.010b   18     0 100% ~0.006b
 *   head_cross_backward  s    169k    146k   18144   26     0 100% ~0.071b   26     0 100% ~0.044b
 *   head_inputs_backward s   64512   64512    5376   26     0 100% ~0.032b   30     0 100% ~0.019b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define THREADS 256

/* The first of a thread's four. */
static __device__ __forceinline__ int64_t own_index(void)
{
    return 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_scalars_kernel(float *f, const float *scalars, const float *mean, const float *scale,
                        int32_t N, int32_t F)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < (int64_t)N * F)
        f[i] = (scalars[i] - mean[i % F]) * scale[i % F];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_dot_backward_kernel(float *dx, float *de, const float *ds, const float *x, const float *e,
                             int32_t N, int32_t C)
{
    int64_t i = own_index();

    if (i >= (int64_t)N * C)
        return;

    float d = ds[i / C] / sqrtf((float)C);
    store4(dx + i, scale4(load4(e + i), d));
    store4(de + i, scale4(load4(x + i), d));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_outer_kernel(float *out, const float *ds, const float *w, int32_t N, int32_t K)
{
    int64_t i = own_index();

    if (i < (int64_t)N * K)
        store4(out + i, scale4(load4(w + i % K), ds[i / K]));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_cross_backward_kernel(float *dz, float *t, const float *g, const float *z,
                               const float *wide, const float *bias, int32_t N, int32_t Z)
{
    int64_t i = own_index();

    if (i >= (int64_t)N * Z)
        return;

    float4 by = load4(g + i), behind = add4(load4(wide + i), load4(bias + i % Z));
    store4(dz + i, add4(load4(dz + i), mul4(by, behind)));
    store4(t + i, mul4(by, load4(z + i)));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_inputs_backward_kernel(float *dx, float *de, const float *dz, const float *x,
                                const float *e, int32_t N, int32_t C, int32_t Z)
{
    int64_t i = own_index();

    if (i >= (int64_t)N * C)
        return;

    const float *from = dz + i / C * Z + i % C;
    float4 product = load4(from + C);
    store4(dx + i, add4(load4(from), mul4(product, load4(e + i))));
    store4(de + i, mul4(product, load4(x + i)));
}

static unsigned blocks_of(int64_t threads)
{
    return (unsigned)((threads + THREADS - 1) / THREADS);
}

enum status cuda_head_scalars(cudaStream_t stream, float *f, const float *scalars,
                              const float *mean, const float *scale, int32_t N, int32_t F,
                              struct error *err)
{
    if (N == 0 || F == 0)
        return OK;
    LAUNCH(head_scalars_kernel, blocks_of((int64_t)N * F), THREADS, 0, stream, f, scalars, mean,
           scale, N, F);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_head_dot_backward(cudaStream_t stream, float *dx, float *de, const float *ds,
                                   const float *x, const float *e, int32_t N, int32_t C,
                                   struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_dot_backward_kernel, blocks_of((int64_t)N * C / 4), THREADS, 0, stream, dx, de, ds,
           x, e, N, C);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_head_outer(cudaStream_t stream, float *out, const float *ds, const float *w,
                            int32_t N, int32_t K, struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_outer_kernel, blocks_of((int64_t)N * K / 4), THREADS, 0, stream, out, ds, w, N, K);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_head_cross_backward(cudaStream_t stream, float *dz, float *t, const float *g,
                                     const float *z, const float *wide, const float *bias,
                                     int32_t N, int32_t Z, struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_cross_backward_kernel, blocks_of((int64_t)N * Z / 4), THREADS, 0, stream, dz, t, g,
           z, wide, bias, N, Z);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_head_inputs_backward(cudaStream_t stream, float *dx, float *de, const float *dz,
                                      const float *x, const float *e, int32_t N, int32_t C,
                                      int32_t Z, struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(head_inputs_backward_kernel, blocks_of((int64_t)N * C / 4), THREADS, 0, stream, dx, de,
           dz, x, e, N, C, Z);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
