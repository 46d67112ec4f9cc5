/*
 * kernels/cuda/top.cu - the best of each list: a block sorts a list in shared memory.
 *
 * Flow: head -> [top] -> ranked
 *
 * A score and its place become one 64-bit word whose order is the wanted one, so equal scores have
 * an order too and every run gives the same. Bitonic: log^2 steps of which each pairs all words,
 * with no branch that depends on them; lists end at 4096, where sorting all costs less than a
 * selection's passes would.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define THREADS 256

/* Ascending words are falling scores. Floats order like their bits when those of negative ones are
 * turned over and the sign of the others is set; NaN becomes the last. */
static __device__ __forceinline__ uint64_t word_of(float score, int32_t place)
{
    union {
        float score;
        uint32_t bits;
    } as = {score == 0.0f ? 0.0f : score}; /* -0 is 0 */
    uint32_t rising = (as.bits & 0x80000000u) != 0 ? ~as.bits : as.bits | 0x80000000u;

    return (uint64_t)(score == score ? ~rising : 0xffffffffu) << 32 | (uint32_t)place;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    top_kernel(int32_t *best, const float *scores, const int32_t *start, int32_t k, int32_t width)
{
    DYN_SHARED(uint64_t, words); /* (width), a power of two */
    int64_t first = start[blockIdx.x], count = start[blockIdx.x + 1] - first;

    for (int32_t i = (int32_t)threadIdx.x; i < width; i += THREADS)
        words[i] = i < count ? word_of(scores[first + i], i) : ~(uint64_t)0;
    __syncthreads();
    for (int32_t run = 2; run <= width; run *= 2) {
        for (int32_t apart = run / 2; apart > 0; apart /= 2) {
            for (int32_t i = (int32_t)threadIdx.x; i < width; i += THREADS) {
                int32_t other = i ^ apart;

                if (other > i && (words[i] > words[other]) == ((i & run) == 0)) {
                    uint64_t word = words[i];

                    words[i] = words[other];
                    words[other] = word;
                }
            }
            __syncthreads(); /* the next step pairs others */
        }
    }
    for (int32_t i = (int32_t)threadIdx.x; i < k; i += THREADS)
        best[(int64_t)blockIdx.x * k + i] = i < count ? (int32_t)(words[i] & 0xffffffffu) : -1;
}

enum status cuda_top(cudaStream_t stream, int32_t *best, const float *scores, const int32_t *start,
                     int32_t B, int32_t k, int32_t longest, struct error *err)
{
    int32_t width = 2;

    if (B == 0 || k == 0)
        return OK;
    while (width < longest)
        width *= 2;
    LAUNCH(top_kernel, (unsigned)B, THREADS, (size_t)width * sizeof(uint64_t), stream, best, scores,
           start, k, width);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
