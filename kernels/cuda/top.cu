/*
 * kernels/cuda/top.cu - the best of many scores, in two stages: of each part, then of the parts.
 *
 * Flow: (states, a slice of the table) -> product -> [parts -> merged] -> rows, scores
 *
 * A score and its row become one 64-bit word whose order is the wanted one (kernels/top.h has the
 * same), so equal scores have an order too and every run gives the same. A block sorts a part in
 * shared memory and leaves its k best; then blocks sort as many such lists as fit, until one is
 * left. Bitonic: log^2 steps of which each pairs all words, with no branch that depends on them; a
 * part is at most 4096 words, where sorting all costs less than a selection's passes would.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   top_parts            n   32632   32632   11997   32     0 100% ~0.016b   32     0 100% ~0.010b
 *   top_merge            n     800     800       0   32     0 100% ~0.000b   32     0 100% ~0.000b
 *   top_rows             n     320     320       0   16     0 100% ~0.000b   22     0 100% ~0.000b
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#include <math.h>

#define THREADS 256
#define NOTHING (~(uint64_t)0) /* behind every word: a NaN's bits, and no NaN becomes a word */

/* Ascending words are falling scores. Floats order like their bits when those of negative ones are
 * turned over and the sign of the others is set. */
static __device__ __forceinline__ uint64_t word_of(float score, int32_t row)
{
    union {
        float score;
        uint32_t bits;
    } as = {score == 0.0f ? 0.0f : score}; /* -0 is 0 */
    uint32_t rising = (as.bits & 0x80000000u) != 0 ? ~as.bits : as.bits | 0x80000000u;

    uint64_t lowest = (uint64_t)0xffffffffu << 32 | (uint32_t)row;

    return score == score ? (uint64_t)rising << 32 ^ lowest : NOTHING;
}

static __device__ __forceinline__ float score_of(uint64_t word)
{
    uint32_t rising = ~(uint32_t)(word >> 32);
    union {
        uint32_t bits;
        float score;
    } as = {(rising & 0x80000000u) != 0 ? rising & 0x7fffffffu : ~rising};

    return as.score;
}

/* Ascending; width a power of two. Every thread of the block calls, behind a barrier, and is behind
 * one again. */
static __device__ __forceinline__ void sort(uint64_t *words, int32_t width)
{
    for (int32_t run = 2; run <= width; run *= 2) {
        for (int32_t apart = run / 2; apart > 0; apart /= 2) {
            for (int32_t pair = (int32_t)threadIdx.x; pair < width / 2; pair += THREADS) {
                int32_t i = 2 * pair - (pair & (apart - 1)), other = i + apart;
                uint64_t word = words[i], next = words[other];

                if ((word > next) == ((i & run) == 0)) {
                    words[i] = next;
                    words[other] = word;
                }
            }
            __syncthreads(); /* the next step pairs others */
        }
    }
}

/* The k first words, which are fewer where the width is. */
static __device__ __forceinline__ void put_best(uint64_t *to, const uint64_t *words, int32_t k,
                                                int32_t width)
{
    for (int32_t i = (int32_t)threadIdx.x; i < k; i += THREADS)
        to[i] = i < width ? words[i] : NOTHING;
}

/* A block a part of `width` rows of one request; `sorted` is the power of two they fit in. */
extern "C" __global__ void __launch_bounds__(THREADS)
    top_parts_kernel(uint64_t *lists, const float *scores, const float *inverse_norm,
                     struct cuda_top top, int32_t parts, int32_t first, int32_t rows,
                     int32_t sorted)
{
    DYN_SHARED(uint64_t, words); /* (sorted) */
    int64_t b = blockIdx.x / (unsigned)parts, part = blockIdx.x % (unsigned)parts;
    int64_t at = part * top.width, left = rows - at;
    int32_t count = (int32_t)(left < top.width ? left : top.width);

    scores += b * rows + at;
    first += (int32_t)at; /* below V, which fits */
    for (int32_t i = (int32_t)threadIdx.x; i < sorted; i += THREADS) {
        int32_t row = first + i;

        words[i] = i < count && row != 0 ? word_of(scores[i] * inverse_norm[at + i], row) : NOTHING;
    }
    __syncthreads(); /* all words are there */
    sort(words, sorted);
    put_best(lists + (b * top.room + part) * top.k, words, top.k, sorted);
}

/* A block as many of a request's lists, which lie one behind the other, as fit. */
extern "C" __global__ void __launch_bounds__(THREADS)
    top_merge_kernel(uint64_t *to, const uint64_t *from, struct cuda_top top, int32_t groups,
                     int32_t lists, int32_t sorted)
{
    DYN_SHARED(uint64_t, words); /* (sorted) */
    int64_t b = blockIdx.x / (unsigned)groups, group = blockIdx.x % (unsigned)groups;
    int64_t each = top.width / top.k, left = lists - group * each;
    int64_t count = (left < each ? left : each) * top.k;

    from += (b * top.room + group * each) * top.k;
    for (int32_t i = (int32_t)threadIdx.x; i < sorted; i += THREADS)
        words[i] = i < count ? from[i] : NOTHING;
    __syncthreads(); /* all words are there */
    sort(words, sorted);
    put_best(to + (b * top.room + group) * top.k, words, top.k, sorted);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    top_rows_kernel(int32_t *rows, float *scores, const uint64_t *lists, struct cuda_top top)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i >= (int64_t)top.B * top.k)
        return;

    uint64_t word = lists[i / top.k * top.room * top.k + i % top.k];
    rows[i] = word == NOTHING ? -1 : (int32_t)(word & 0xffffffffu);
    scores[i] = word == NOTHING ? -INFINITY : score_of(word);
}

/* The power of two that so many words fit in; 2 at least, so that there is a pair. */
static int32_t sorted_of(int32_t width, int64_t words)
{
    int32_t sorted = 2;

    while (sorted < words && sorted < width)
        sorted *= 2;
    return sorted;
}

int32_t cuda_top_width(int32_t k)
{
    int32_t width = CUDA_TOP_WIDTH / 4;

    while (width < 4 * k && width < CUDA_TOP_WIDTH)
        width *= 2;
    return width;
}

enum status cuda_top_parts(cudaStream_t stream, uint64_t *lists, const float *scores,
                           const float *inverse_norm, struct cuda_top top, int32_t first,
                           int32_t rows, struct error *err)
{
    int32_t parts = (rows + top.width - 1) / top.width, sorted = sorted_of(top.width, rows);

    if (top.B == 0 || top.k == 0 || rows == 0)
        return OK;
    LAUNCH(top_parts_kernel, (unsigned)top.B * (unsigned)parts, THREADS,
           (size_t)sorted * sizeof(uint64_t), stream, lists, scores, inverse_norm, top, parts,
           first, rows, sorted);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_top_merge(cudaStream_t stream, uint64_t **lists, uint64_t **other,
                           struct cuda_top top, int32_t count, struct error *err)
{
    int32_t each = top.k > 0 ? top.width / top.k : 0;

    if (top.B == 0 || top.k == 0)
        return OK;
    while (count > 1) {
        int32_t groups = (count + each - 1) / each;
        int32_t sorted = sorted_of(top.width, (int64_t)(count < each ? count : each) * top.k);
        uint64_t *from = *lists;

        LAUNCH(top_merge_kernel, (unsigned)top.B * (unsigned)groups, THREADS,
               (size_t)sorted * sizeof(uint64_t), stream, *other, from, top, groups, count, sorted);
        CUDA_TRY(err, cudaGetLastError());
        *lists = *other;
        *other = from;
        count = groups;
    }
    return OK;
}

enum status cuda_top_rows(cudaStream_t stream, int32_t *rows, float *scores, const uint64_t *lists,
                          struct cuda_top top, struct error *err)
{
    int64_t count = (int64_t)top.B * top.k;

    if (count == 0)
        return OK;
    LAUNCH(top_rows_kernel, (unsigned)((count + THREADS - 1) / THREADS), THREADS, 0, stream, rows,
           scores, lists, top);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
