/*
 * kernels/dropout.h - which numbers a training step drops, and by what the others are multiplied.
 *
 * Flow: trainer_step() -> [mask of rows] -> layers
 *
 * A mask is a hash of a seed and a place, 0 with probability p and else 1 / (1 - p): no order of
 * computation matters, nothing needs to be kept, and the CPU and a GPU drop the same. A place is
 * row * C + channel of the request's rows as the CPU lays them out: history padded to
 * cpu_pad_rows(n), then candidates. In a last layer that computes candidates alone, rows are
 * counted from the first of them.
 *
 * Source of the mix: the finaliser of MurmurHash3.
 */
#ifndef KERNELS_DROPOUT_H
#define KERNELS_DROPOUT_H

#include <stdint.h>

/* A kernel of kernels/cuda/ asks, too. */
#if defined(__CUDACC__)
#define DROPOUT_INLINE static __host__ __device__ __forceinline__
#else
#define DROPOUT_INLINE static inline
#endif

struct dropout {
    uint32_t limit; /* what hashes below it is dropped */
    float keep;     /* the factor of all else */
};

/* 0 <= p < 1 */
static inline struct dropout dropout_of(float p)
{
    struct dropout made;

    made.limit = (uint32_t)((double)p * 4294967296.0);
    made.keep = 1.0f / (1.0f - p);
    return made;
}

/* The seed of request b of a step, that of its token rows; and of the gated output of layer l. */
static inline uint64_t dropout_request_seed(uint64_t step_seed, int32_t b)
{
    return step_seed + 0xd1b54a32d192ed03u * ((uint64_t)b + 1);
}

static inline uint64_t dropout_layer_seed(uint64_t request_seed, int32_t l)
{
    return request_seed + 0x9e3779b97f4a7c15u * ((uint64_t)l + 1);
}

DROPOUT_INLINE float dropout_factor(struct dropout how, uint64_t seed, uint32_t place)
{
    uint32_t h = place * 0x9e3779b9u + (uint32_t)seed;

    h = (h ^ (h >> 16)) * 0x85ebca6bu + (uint32_t)(seed >> 32);
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    h ^= h >> 16;
    return h < how.limit ? 0.0f : how.keep;
}

#endif
