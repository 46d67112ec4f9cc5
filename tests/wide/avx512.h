/*
 * tests/wide/avx512.h - the AVX-512 and AMX instructions that kernels/ uses, in plain C.
 *
 * Included in front of an x_cpu.c that is compiled for AVX2, it makes the column v4 of it: 16 lanes
 * in two registers, the same C as on a machine with AVX-512. So what a wrong index, a tile of 12
 * rows or a vector that is a whole panel breaks is seen on any machine (`make unit-wide`). What is
 * not: how fast it is, and whether the processor's instructions do what is written here.
 *
 * Source of what they do: Intel's software developer's manual, volume 2. The sums of the bf16
 * products are taken in its order, with rounding to nearest; numbers below 2^-126 are not flushed.
 */
#ifndef TESTS_WIDE_AVX512_H
#define TESTS_WIDE_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* After immintrin.h, which would take it for an option of the compiler. */
#define __AVX512F__ 1

typedef float wide_floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t wide_ints __attribute__((vector_size(64), aligned(4), may_alias));

#define WIDE static inline __attribute__((always_inline))

union wide {
    wide_floats floats;
    wide_ints ints;
    __m256 halves[2];
    __m256i half_ints[2];
};

/* Macros with the intrinsics' names: the compiler knows those as functions for AVX-512 alone. */
#define _mm512_set1_ps(x)               wide_set1_ps(x)
#define _mm512_fmadd_ps(a, b, c)        wide_fmadd_ps((wide_floats)(a), (wide_floats)(b), (wide_floats)(c))
#define _mm512_max_ps(a, b)             wide_max_ps((wide_floats)(a), (wide_floats)(b))
#define _mm512_min_ps(a, b)             wide_min_ps((wide_floats)(a), (wide_floats)(b))
#define _mm512_set1_epi32(x)            wide_set1_epi32(x)
#define _mm512_max_epi32(a, b)          wide_max_epi32((wide_ints)(a), (wide_ints)(b))
#define _mm512_min_epi32(a, b)          wide_min_epi32((wide_ints)(a), (wide_ints)(b))
#define _mm512_castps512_ps256(x)       wide_half((wide_floats)(x), 0)
#define _mm512_extractf32x8_ps(x, half) wide_half((wide_floats)(x), half)
#define _mm512_loadu_si512(from)        wide_load(from)
#define _mm512_cmp_ps_mask(a, b, how)   wide_above_ps((wide_floats)(a), (wide_floats)(b), how)
#define _mm512_dpbf16_ps(sum, a, b)                                                                \
    wide_dpbf16_ps((wide_floats)(sum), (wide_ints)(a), (wide_ints)(b))
#define __m512   wide_floats
#define __m512i  wide_ints
#define __m512bh wide_ints

WIDE wide_floats wide_set1_ps(float x)
{
    return (wide_floats){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

WIDE wide_ints wide_set1_epi32(int32_t x)
{
    return (wide_ints){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

WIDE __m256 wide_half(wide_floats x, int half)
{
    return ((union wide){.floats = x}).halves[half];
}

WIDE wide_ints wide_load(const void *from)
{
    wide_ints x;

    memcpy(&x, from, sizeof x);
    return x;
}

#define WIDE_OF_FLOATS(name, each)                                                                 \
    WIDE wide_floats name(wide_floats a, wide_floats b)                                            \
    {                                                                                              \
        union wide x = {.floats = a}, y = {.floats = b};                                           \
                                                                                                   \
        for (int half = 0; half < 2; half++)                                                       \
            x.halves[half] = each(x.halves[half], y.halves[half]);                                 \
        return x.floats;                                                                           \
    }
WIDE_OF_FLOATS(wide_max_ps, _mm256_max_ps)
WIDE_OF_FLOATS(wide_min_ps, _mm256_min_ps)

#define WIDE_OF_INTS(name, each)                                                                   \
    WIDE wide_ints name(wide_ints a, wide_ints b)                                                  \
    {                                                                                              \
        union wide x = {.ints = a}, y = {.ints = b};                                               \
                                                                                                   \
        for (int half = 0; half < 2; half++)                                                       \
            x.half_ints[half] = each(x.half_ints[half], y.half_ints[half]);                        \
        return x.ints;                                                                             \
    }
WIDE_OF_INTS(wide_max_epi32, _mm256_max_epi32)
WIDE_OF_INTS(wide_min_epi32, _mm256_min_epi32)

WIDE wide_floats wide_fmadd_ps(wide_floats a, wide_floats b, wide_floats c)
{
    union wide x = {.floats = a}, y = {.floats = b}, z = {.floats = c};

    for (int half = 0; half < 2; half++)
        x.halves[half] = _mm256_fmadd_ps(x.halves[half], y.halves[half], z.halves[half]);
    return x.floats;
}

/* how: _CMP_GT_OQ, the only comparison that is asked for. */
WIDE uint16_t wide_above_ps(wide_floats a, wide_floats b, int how)
{
    uint16_t mask = 0;

    if (how != _CMP_GT_OQ)
        abort();
    for (int lane = 0; lane < 16; lane++)
        mask = (uint16_t)(mask | (a[lane] > b[lane]) << lane);
    return mask;
}

/* ---- bf16 ---- */

static inline float wide_bf16(uint16_t upper)
{
    uint32_t bits = (uint32_t)upper << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float wide_dot(float sum, const uint16_t a[2], const uint16_t b[2])
{
    sum += wide_bf16(a[1]) * wide_bf16(b[1]);
    return sum + wide_bf16(a[0]) * wide_bf16(b[0]);
}

static inline wide_floats wide_dpbf16_ps(wide_floats sum, wide_ints a, wide_ints b)
{
    uint16_t x[32], y[32];

    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 16; i++)
        sum[i] = wide_dot(sum[i], x + 2 * i, y + 2 * i);
    return sum;
}

/* ---- tiles: as LDTILECFG of palette 1 allows, and nothing before it ---- */

#define _tile_loadconfig(config) wide_tile_config(config)
#define _tile_release()          wide_tile_release()
#undef _tile_zero
#define _tile_zero(t) wide_tile_zero(t)
#undef _tile_loadd
#define _tile_loadd(t, from, stride) wide_tile_load(t, from, stride)
#undef _tile_stored
#define _tile_stored(t, to, stride) wide_tile_store(t, to, stride)
#undef _tile_dpbf16ps
#define _tile_dpbf16ps(to, a, b) wide_tile_dot(to, a, b)
#define LINEAR_BF16_TARGET(names)

struct wide_tile {
    int rows, row_bytes; /* 0: not configured */
    uint8_t bytes[16][64];
};
static _Thread_local struct wide_tile wide_tiles[8];

static inline void wide_must(int condition)
{
    if (!condition)
        abort(); /* the processor's #UD or #GP */
}

static inline struct wide_tile *wide_tile(int t)
{
    wide_must(t >= 0 && t < 8 && wide_tiles[t].rows > 0);
    return &wide_tiles[t];
}

static inline void wide_tile_release(void)
{
    memset(wide_tiles, 0, sizeof wide_tiles);
}

static inline void wide_tile_config(const void *from)
{
    const uint8_t *config = from;

    wide_tile_release();
    wide_must(config[0] == 1 && config[1] == 0);
    for (int t = 0; t < 16; t++) {
        int row_bytes = config[16 + 2 * t] | config[17 + 2 * t] << 8, rows = config[48 + t];

        wide_must(row_bytes <= 64 && rows <= 16 && (t < 8 || (row_bytes == 0 && rows == 0)) &&
                  (row_bytes == 0) == (rows == 0));
        if (t < 8) {
            wide_tiles[t].rows = rows;
            wide_tiles[t].row_bytes = row_bytes;
        }
    }
}

static inline void wide_tile_zero(int t)
{
    memset(wide_tile(t)->bytes, 0, sizeof wide_tile(t)->bytes);
}

static inline void wide_tile_load(int t, const void *from, long stride)
{
    struct wide_tile *tile = wide_tile(t);

    wide_tile_zero(t);
    for (int r = 0; r < tile->rows; r++)
        memcpy(tile->bytes[r], (const char *)from + r * stride, (size_t)tile->row_bytes);
}

static inline void wide_tile_store(int t, void *to, long stride)
{
    const struct wide_tile *tile = wide_tile(t);

    for (int r = 0; r < tile->rows; r++)
        memcpy((char *)to + r * stride, tile->bytes[r], (size_t)tile->row_bytes);
}

static inline void wide_tile_dot(int to, int a, int b)
{
    struct wide_tile *sums = wide_tile(to), *x = wide_tile(a), *y = wide_tile(b);

    wide_must(to != a && to != b && a != b && sums->rows == x->rows &&
              sums->row_bytes == y->row_bytes && x->row_bytes == 4 * y->rows);
    for (int m = 0; m < sums->rows; m++)
        for (int k = 0; k < x->row_bytes / 4; k++)
            for (int n = 0; n < sums->row_bytes / 4; n++) {
                float sum;
                uint16_t left[2], right[2];

                memcpy(&sum, sums->bytes[m] + 4 * n, sizeof sum);
                memcpy(left, x->bytes[m] + 4 * k, sizeof left);
                memcpy(right, y->bytes[k] + 4 * n, sizeof right);
                sum = wide_dot(sum, left, right);
                memcpy(sums->bytes[m] + 4 * n, &sum, sizeof sum);
            }
}

#endif
