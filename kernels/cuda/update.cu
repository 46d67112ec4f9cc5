/*
 * kernels/cuda/update.cu - the optimizers, and the size of the gradient they are given.
 *
 * Flow: gradients -> [squares] -> host: clip? -> [adamw, adamw of item rows, adagrad] -> weights
 *
 * Limited by memory: every array is read and written once, 16 bytes at a time. A tensor's last one
 * to three floats, where it is no multiple of four, go one by one.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   adamw                s   81884   81884   32173   40     0  75% ~0.040b   40     0  75% ~0.024b
 *   adamw_rows           s    711k    687k    274k   40     0  75% ~0.337b   40     0  75% ~0.205b
 *   adagrad              o    286k    217k    133k   40     0  75% ~0.106b   32     0 100% ~0.065b
 *   squares              s    188k    188k   67075   26    32 100% ~0.092b   26    32 100% ~0.056b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   8
#define THREADS (WARPS * WARP_LANES)

static __device__ __forceinline__ void move(float *w, float *m, float *v, float g,
                                            const struct cuda_adamw *s)
{
    float first = s->beta1 * *m + (1.0f - s->beta1) * g;
    float second = s->beta2 * *v + (1.0f - s->beta2) * g * g;

    *m = first;
    *v = second;
    *w = (1.0f - s->rate * s->decay) * *w -
         s->rate / s->c1 * first / (sqrtf(second) / sqrtf(s->c2) + s->epsilon);
}

/* Four neighbours, or the last left of them. */
static __device__ __forceinline__ void move4(float *w, float *m, float *v, float4 g, int64_t left,
                                             const struct cuda_adamw *s)
{
    float4 now = load4_of(w, left), first = load4_of(m, left), second = load4_of(v, left);

    move(&now.x, &first.x, &second.x, g.x, s);
    move(&now.y, &first.y, &second.y, g.y, s);
    move(&now.z, &first.z, &second.z, g.z, s);
    move(&now.w, &first.w, &second.w, g.w, s);
    store4_of(w, now, left);
    store4_of(m, first, left);
    store4_of(v, second, left);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_kernel(float *w, float *m, float *v, const float *gradient, int64_t n,
                 struct cuda_adamw settings)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x), left = n - i;

    if (left > 0)
        move4(w + i, m + i, v + i, scale4(load4_of(gradient + i, left), settings.scale), left,
              &settings);
}

/* Rows that a step did not touch move by their momentum. */
extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_rows_kernel(float *w, float *m, float *v, const float *slots, const int32_t *slot_of,
                      int32_t V, int32_t C, struct cuda_adamw settings)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);

    if (i >= (int64_t)V * C)
        return;

    int64_t slot = slot_of[i / C];
    float4 g = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (slot >= 0)
        g = scale4(load4(slots + slot * C + i % C), settings.scale);
    move4(w + i, m + i, v + i, g, 4, &settings);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adagrad_kernel(float *w, float *accumulator, const float *slots, const int32_t *row_of,
                   int32_t count, int32_t C, float scale, float rate, float forget, float epsilon)
{
    int64_t s = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
    int32_t lane = (int32_t)threadIdx.x % WARP_LANES;
    int32_t first = 4 * lane;
    float4 kept = make_float4(0.0f, 0.0f, 0.0f, 0.0f); /* of a row of up to 128 all is kept */
    float squares = 0.0f;

    if (s >= count)
        return; /* the whole warp leaves together */

    int64_t row = row_of[s];
    if (first < C)
        kept = load4(slots + s * C + first);
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 g = scale4(c == first ? kept : load4(slots + s * C + c), scale);

        squares += sum4(mul4(g, g));
    }
    squares = warp_sum(squares) / (float)C;
    float now = forget * accumulator[row] + squares;
    __syncwarp(); /* every lane has read it */
    if (lane == 0)
        accumulator[row] = now;
    float step = rate * scale / (sqrtf(now) + epsilon);
    for (int32_t c = first; c < C; c += 4 * WARP_LANES) {
        float4 g = c == first ? kept : load4(slots + s * C + c);

        store4(w + row * C + c, add4(load4(w + row * C + c), scale4(g, -step)));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    squares_kernel(float *sums, const float *x, int64_t n)
{
    __shared__ float of_warp[WARPS];
    int64_t first = (int64_t)blockIdx.x * CUDA_SQUARES_PART, end = first + CUDA_SQUARES_PART;
    int32_t warp = (int32_t)threadIdx.x / WARP_LANES;
    float sum = 0.0f;

    end = end < n ? end : n;
    for (int64_t i = first + 4 * (int64_t)threadIdx.x; i < end; i += 4 * (int64_t)THREADS) {
        float4 four = load4_of(x + i, end - i);

        sum += sum4(mul4(four, four));
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP_LANES == 0)
        of_warp[warp] = sum;
    __syncthreads();
    if (threadIdx.x != 0)
        return; /* behind the last barrier */
    for (int w = 1; w < WARPS; w++)
        sum += of_warp[w];
    sums[blockIdx.x] = sum;
}

static unsigned blocks_of(int64_t count, int64_t a_block)
{
    return (unsigned)((count + a_block - 1) / a_block);
}

enum status cuda_adamw(cudaStream_t stream, float *w, float *m, float *v, const float *gradient,
                       int64_t n, struct cuda_adamw settings, struct error *err)
{
    if (n == 0)
        return OK;
    LAUNCH(adamw_kernel, blocks_of(n, 4 * (int64_t)THREADS), THREADS, 0, stream, w, m, v, gradient,
           n, settings);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_adamw_rows(cudaStream_t stream, float *w, float *m, float *v, const float *slots,
                            const int32_t *slot_of, int32_t V, int32_t C,
                            struct cuda_adamw settings, struct error *err)
{
    if (V == 0)
        return OK;
    LAUNCH(adamw_rows_kernel, blocks_of((int64_t)V * C, 4 * (int64_t)THREADS), THREADS, 0, stream,
           w, m, v, slots, slot_of, V, C, settings);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_adagrad(cudaStream_t stream, float *w, float *accumulator, const float *slots,
                         const int32_t *row_of, int32_t count, int32_t C, float scale, float rate,
                         float forget, float epsilon, struct error *err)
{
    if (count == 0)
        return OK;
    LAUNCH(adagrad_kernel, blocks_of(count, WARPS), THREADS, 0, stream, w, accumulator, slots,
           row_of, count, C, scale, rate, forget, epsilon);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_squares(cudaStream_t stream, float *sums, const float *x, int64_t n,
                         struct error *err)
{
    if (n == 0)
        return OK;
    LAUNCH(squares_kernel, (unsigned)cuda_squares_count(n), THREADS, 0, stream, sums, x, n);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
