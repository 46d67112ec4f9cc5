/*
 * kernels/bucket.h - the time rules, the one place where times become table rows.
 *
 * A difference in whole seconds, at least 0, falls into bucket min(bit length, 31): bucket 0 is
 * no time at all, bucket k is 2^(k-1) .. 2^k - 1 seconds. The hour of the week counts from
 * Thursday 00 UTC, when Unix time began.
 */
#ifndef KERNELS_BUCKET_H
#define KERNELS_BUCKET_H

#include <stdint.h>

#define BUCKET_COUNT    32
#define BUCKET_GAP_NONE 32 /* row of the gap table for a token without one before it */
#define BUCKET_GAPS     33
#define BUCKET_HOURS    168

/* The attention kernel of kernels/cuda/ asks for buckets too. */
#if defined(__CUDACC__)
#define BUCKET_INLINE static __host__ __device__ __forceinline__
#else
#define BUCKET_INLINE static inline
#endif

/* x > 0 */
BUCKET_INLINE int32_t bucket_bit_length(uint64_t x)
{
#if defined(__CUDA_ARCH__)
    return 64 - __clzll((long long)x);
#else
    return 64 - __builtin_clzll(x);
#endif
}

/* Bucket of later_ms - earlier_ms; 0 when earlier is the later one. Any input is fine. */
BUCKET_INLINE int32_t bucket_of(int64_t later_ms, int64_t earlier_ms)
{
    uint64_t seconds;

    if (later_ms <= earlier_ms)
        return 0;
    seconds = ((uint64_t)later_ms - (uint64_t)earlier_ms) / 1000;
    if (seconds >= (uint64_t)1 << (BUCKET_COUNT - 2))
        return BUCKET_COUNT - 1;
    return seconds == 0 ? 0 : bucket_bit_length(seconds);
}

/* 0..167; times before 1970 count on backwards. */
BUCKET_INLINE int32_t bucket_hour(int64_t time_ms)
{
    int64_t hour = time_ms / 3600000 - (time_ms % 3600000 < 0);
    int64_t of_week = hour % BUCKET_HOURS;

    return (int32_t)(of_week < 0 ? of_week + BUCKET_HOURS : of_week);
}

#endif
