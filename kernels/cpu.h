/*
 * kernels/cpu.h - what the x_cpu.c files share: names, vectors, exp, the inner matrix product.
 *
 * Every x_cpu.c is compiled once for each instruction set (Makefile: base, x86-64-v3 with
 * AVX2, x86-64-v4 with AVX-512), the same C each time; kernels/ops.c picks a column of
 * functions at start. That is portable without intrinsics or -march=native, and unlike
 * target_clones it lets the width of a vector and the tile of the inner product differ, and
 * has no resolvers that run before a sanitizer is ready.
 *
 * Why a row's bits never depend on its neighbours: every element of a product is one chain of
 * multiply-adds over k = 0..K-1, the same chain wherever in a tile it lies, and whatever is
 * computed along a row has a length that the row's own request decides.
 */
#ifndef KERNELS_CPU_H
#define KERNELS_CPU_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef CPU_ISA
#define CPU_ISA base
#endif
#define CPU_JOIN_(name, isa) name##_##isa
#define CPU_JOIN(name, isa)  CPU_JOIN_(name, isa)
#define CPU(name)            CPU_JOIN(name, CPU_ISA) /* norm_forward -> norm_forward_v3 */

/* Declares the function once for each instruction set. */
#define CPU_DECLARE(type, name, ...)                                                               \
    type name##_base(__VA_ARGS__);                                                                 \
    type name##_v3(__VA_ARGS__);                                                                   \
    type name##_v4(__VA_ARGS__)

/* The inner product computes CPU_ROWS x CPU_PANEL elements in registers: 12 accumulators,
 * enough to hide the latency of a fused multiply-add on two ports. */
#define CPU_PANEL 16
#if defined(__AVX512F__)
#define CPU_LANES 16
#define CPU_ROWS  12
#elif defined(__AVX2__)
#define CPU_LANES 8
#define CPU_ROWS  6
#else
#define CPU_LANES 4
#define CPU_ROWS  3
#endif
#define CPU_VECTORS (CPU_PANEL / CPU_LANES)

/* Rows of every activation are padded to a multiple of this, with zeros: whole tiles on every
 * instruction set. Columns are multiples of CPU_PANEL. */
#define CPU_ROW_PAD 12

#define CPU_INLINE static inline __attribute__((always_inline))
/* For loops over a tile: with every index known, a tile lives in registers. */
#define CPU_UNROLL _Pragma("GCC unroll 16")

typedef float cpu_vector __attribute__((vector_size(CPU_LANES * 4), aligned(4), may_alias));
typedef uint32_t cpu_bits __attribute__((vector_size(CPU_LANES * 4), aligned(4), may_alias));
typedef int32_t cpu_ints __attribute__((vector_size(CPU_LANES * 4), aligned(4), may_alias));

static inline int32_t cpu_pad_rows(int32_t rows)
{
    return (rows + CPU_ROW_PAD - 1) / CPU_ROW_PAD * CPU_ROW_PAD;
}

static inline int32_t cpu_pad_columns(int32_t columns)
{
    return (columns + CPU_PANEL - 1) / CPU_PANEL * CPU_PANEL;
}

/* What C cannot say. Fused multiply-add: where the compiler is free to fuse, it fuses some rows of
 * an unrolled tile and not others, and then a row's bits depend on its place (it happened); so
 * these files are compiled with -ffp-contract=off and fuse by name. The hardware's maximum and
 * minimum: with NaN in a, the result is b; plain C takes two compares and two blends. */
#if defined(__AVX512F__)
#define CPU_SPLAT(x)     ((cpu_vector)_mm512_set1_ps(x))
#define CPU_FMA(a, b, c) ((cpu_vector)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define CPU_MAX(a, b)    ((cpu_vector)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define CPU_MIN(a, b)    ((cpu_vector)_mm512_min_ps((__m512)(a), (__m512)(b)))
#elif defined(__AVX2__)
#define CPU_SPLAT(x)     ((cpu_vector)_mm256_set1_ps(x))
#define CPU_FMA(a, b, c) ((cpu_vector)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define CPU_MAX(a, b)    ((cpu_vector)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define CPU_MIN(a, b)    ((cpu_vector)_mm256_min_ps((__m256)(a), (__m256)(b)))
#elif defined(__SSE2__)
#define CPU_SPLAT(x)     ((cpu_vector)_mm_set1_ps(x))
#define CPU_FMA(a, b, c) ((a) * (b) + (c))
#define CPU_MAX(a, b)    ((cpu_vector)_mm_max_ps((__m128)(a), (__m128)(b)))
#define CPU_MIN(a, b)    ((cpu_vector)_mm_min_ps((__m128)(a), (__m128)(b)))
#else
#define CPU_SPLAT(x)         ((cpu_vector){x, x, x, x})
#define CPU_FMA(a, b, c)     ((a) * (b) + (c))
#define CPU_PICK(a, b, mask) ((cpu_vector)(((cpu_bits)(a) & (mask)) | ((cpu_bits)(b) & ~(mask))))
#define CPU_MAX(a, b)        CPU_PICK(a, b, (a) > (b))
#define CPU_MIN(a, b)        CPU_PICK(a, b, (a) < (b))
#endif

/* Each lane of x, read as a signed number, between low and high. */
#if defined(__AVX512F__)
#define CPU_CLAMP(x, low, high)                                                                    \
    ((cpu_bits)_mm512_min_epi32(_mm512_max_epi32((__m512i)(x), _mm512_set1_epi32(low)),            \
                                _mm512_set1_epi32(high)))
#elif defined(__AVX2__)
#define CPU_CLAMP(x, low, high)                                                                    \
    ((cpu_bits)_mm256_min_epi32(_mm256_max_epi32((__m256i)(x), _mm256_set1_epi32(low)),            \
                                _mm256_set1_epi32(high)))
#else
CPU_INLINE cpu_bits cpu_clamp(cpu_bits x, int32_t low, int32_t high)
{
    cpu_bits below = (cpu_bits)((cpu_ints)x < low), above = (cpu_bits)((cpu_ints)x > high);

    x = (x & ~below) | ((uint32_t)low & below);
    return (x & ~above) | ((uint32_t)high & above);
}
#define CPU_CLAMP(x, low, high) cpu_clamp(x, low, high)
#endif

/* Sum of the lanes, pairwise, in a fixed order; in registers (through memory it takes longer than
 * the sums it ends). */
CPU_INLINE float cpu_sum(cpu_vector x)
{
#if defined(__SSE2__)
#if defined(__AVX512F__)
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)x),
                                _mm512_extractf32x8_ps((__m512)x, 1));
#elif defined(__AVX2__)
    __m256 half = (__m256)x;
#endif
#if defined(__AVX2__)
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#else
    __m128 sum = (__m128)x;
#endif
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    sum = _mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1));
    return _mm_cvtss_f32(sum);
#else
    return (x[0] + x[2]) + (x[1] + x[3]);
#endif
}

CPU_INLINE cpu_vector cpu_load(const float *from)
{
    return *(const cpu_vector *)from;
}

CPU_INLINE cpu_vector cpu_splat(float x)
{
    return CPU_SPLAT(x);
}

CPU_INLINE void cpu_store(float *to, cpu_vector x)
{
    *(cpu_vector *)to = x;
}

/**
 * 2^t for t in -125..126, wider t clamped; NaN gives a finite number (callers multiply or divide
 * their own argument, which keeps it).
 *
 * t = n + f with n the nearest integer: adding 1.5 * 2^23 leaves n in the low bits of the sum, from
 * where it is added to the exponent of 2^f. That sum is an integer one on purpose: a multiplication
 * would take a port from the products around it.
 * Accuracy: the polynomial is the weighted minimax one of degree 5 on -.5...5, relative
 * error 1.3e-7.
 */
CPU_INLINE cpu_vector cpu_exp2(cpu_vector t)
{
    const cpu_vector magic = cpu_splat(12582912.0f);
    cpu_vector shifted, f, p;

    t = CPU_MAX(t, cpu_splat(-125.0f));
    t = CPU_MIN(t, cpu_splat(126.0f));
    shifted = t + magic;
    f = t - (shifted - magic);
    p = CPU_FMA(f, cpu_splat(0.00132764666f), cpu_splat(0.00967554096f));
    p = CPU_FMA(p, f, cpu_splat(0.0555071346f));
    p = CPU_FMA(p, f, cpu_splat(0.240221202f));
    p = CPU_FMA(p, f, cpu_splat(0.693146944f));
    p = CPU_FMA(p, f, cpu_splat(1.0f));
    return (cpu_vector)((cpu_bits)p + ((cpu_bits)shifted << 23));
}

CPU_INLINE cpu_vector cpu_exp(cpu_vector x)
{
    return cpu_exp2(x * 1.44269504f);
}

/**
 * 1 + e^-x, for sigmoid and SiLU, which are most of what is not a product: as cpu_exp2() with a
 * polynomial of degree 4 and its clamp in integers, where more ports are free. NaN stays NaN;
 * beyond 10^6 the result is 1, or so large that x / it is nothing. Accuracy: 2.6e-6 of e^-x: SiLU
 * is off by less than 1e-6.
 */
CPU_INLINE cpu_vector cpu_one_and_exp(cpu_vector x)
{
    const cpu_vector magic = cpu_splat(12582912.0f), log2_e = cpu_splat(-1.44269504f);
    cpu_vector shifted = CPU_FMA(x, log2_e, magic), f, p;
    cpu_bits exponent = CPU_CLAMP((cpu_bits)shifted, 0x4b400000 - 125, 0x4b400000 + 126) << 23;

    f = CPU_FMA(x, log2_e, magic - shifted);
    p = CPU_FMA(f, cpu_splat(0.00957010210f), cpu_splat(0.0559178591f));
    p = CPU_FMA(p, f, cpu_splat(0.240247443f));
    p = CPU_FMA(p, f, cpu_splat(0.693121791f));
    p = CPU_FMA(p, f, cpu_splat(0.999999285f));
    return 1.0f + (cpu_vector)((cpu_bits)p + exponent);
}

CPU_INLINE cpu_vector cpu_sigmoid(cpu_vector x)
{
    return 1.0f / cpu_one_and_exp(x);
}

/* x * sigmoid(x). */
CPU_INLINE cpu_vector cpu_silu(cpu_vector x)
{
    return x / cpu_one_and_exp(x);
}

/**
 * SiLU of count vectors, count a constant, in place: t = CPU_SILU_SCALE * x comes in, SiLU(x) goes
 * out. Callers have a multiplication to put the scale into; the rest then needs two products less
 * than cpu_silu(). Step by step over all vectors: one after the other, the chains fill the
 * processor's queue and wait (6 at a time 1.65 ns a vector behind a product, cpu_silu() 2.0).
 * With c = -log2 e, x / (1 + 2^t) = t / (c + c 2^t): c is in the coefficients.
 * Accuracy: as cpu_silu(), and half a unit of t's last place.
 */
#define CPU_SILU_SCALE (-1.44269504f)
#define CPU_SILU_COUNT 6 /* at most; half a tile of the inner product */
CPU_INLINE void cpu_silu_scaled(cpu_vector *t, int count)
{
    const cpu_vector magic = cpu_splat(12582912.0f);
    cpu_vector shifted[CPU_SILU_COUNT], p[CPU_SILU_COUNT];
    cpu_bits exponent[CPU_SILU_COUNT];

#define EACH                                                                                       \
    CPU_UNROLL                                                                                     \
    for (int v = 0; v < count; v++)
    EACH shifted[v] = t[v] + magic;
    EACH exponent[v] = CPU_CLAMP((cpu_bits)shifted[v], 0x4b400000 - 125, 0x4b400000 + 125) << 23;
    EACH shifted[v] -= magic;
    EACH shifted[v] = t[v] - shifted[v];
    EACH p[v] = CPU_FMA(shifted[v], cpu_splat(CPU_SILU_SCALE * 0.00957010210f),
                        cpu_splat(CPU_SILU_SCALE * 0.0559178591f));
    EACH p[v] = CPU_FMA(p[v], shifted[v], cpu_splat(CPU_SILU_SCALE * 0.240247443f));
    EACH p[v] = CPU_FMA(p[v], shifted[v], cpu_splat(CPU_SILU_SCALE * 0.693121791f));
    EACH p[v] = CPU_FMA(p[v], shifted[v], cpu_splat(CPU_SILU_SCALE * 0.999999285f));
    EACH p[v] = CPU_SILU_SCALE + (cpu_vector)((cpu_bits)p[v] + exponent[v]);
    EACH t[v] /= p[v];
#undef EACH
}

/* The same, and its slope. */
CPU_INLINE cpu_vector cpu_silu_slope(cpu_vector x, cpu_vector *slope)
{
    cpu_vector sigmoid = cpu_sigmoid(x), silu = x * sigmoid;

    *slope = CPU_FMA(silu, 1.0f - sigmoid, sigmoid);
    return silu;
}

CPU_INLINE float cpu_dot(const float *x, const float *y, int32_t count)
{
    cpu_vector sum = {0};

    for (int32_t i = 0; i < count; i += CPU_LANES)
        sum = CPU_FMA(cpu_load(x + i), cpu_load(y + i), sum);
    return cpu_sum(sum);
}

/* to[c][r] = from[r][c] of 8 x 8 floats. */
CPU_INLINE void cpu_turn(float *to, int64_t to_pitch, const float *from, int64_t from_pitch)
{
#if defined(__AVX2__)
    __m256 a[8], b[8];

    CPU_UNROLL
    for (int r = 0; r < 4; r++) { /* halves of rows r and r + 4 side by side */
        const float *top = from + r * from_pitch, *low = from + (r + 4) * from_pitch;

        a[r] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(top)), _mm_loadu_ps(low),
                                    1);
        a[r + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(top + 4)),
                                        _mm_loadu_ps(low + 4), 1);
    }
    CPU_UNROLL
    for (int h = 0; h < 8; h += 4) { /* 4 x 4 in each half */
        b[h] = _mm256_unpacklo_ps(a[h], a[h + 1]);
        b[h + 1] = _mm256_unpackhi_ps(a[h], a[h + 1]);
        b[h + 2] = _mm256_unpacklo_ps(a[h + 2], a[h + 3]);
        b[h + 3] = _mm256_unpackhi_ps(a[h + 2], a[h + 3]);
        _mm256_storeu_ps(to + h * to_pitch, _mm256_shuffle_ps(b[h], b[h + 2], 0x44));
        _mm256_storeu_ps(to + (h + 1) * to_pitch, _mm256_shuffle_ps(b[h], b[h + 2], 0xee));
        _mm256_storeu_ps(to + (h + 2) * to_pitch, _mm256_shuffle_ps(b[h + 1], b[h + 3], 0x44));
        _mm256_storeu_ps(to + (h + 3) * to_pitch, _mm256_shuffle_ps(b[h + 1], b[h + 3], 0xee));
    }
#else
    for (int c = 0; c < 8; c++)
        for (int r = 0; r < 8; r++)
            to[c * to_pitch + r] = from[r * from_pitch + c];
#endif
}

/* 1 / deviation of count floats, a multiple of CPU_PANEL, and their mean; in CPU_VECTORS chains.
 * The second sum is taken around the mean: x^2 - mean^2 loses everything when the mean is large. */
CPU_INLINE float cpu_norm(const float *x, int32_t count, float epsilon, float *mean)
{
    cpu_vector sums[CPU_VECTORS] = {{0}}, squares[CPU_VECTORS] = {{0}};
    float inverse = 1.0f / (float)count;

    for (int32_t i = 0; i < count; i += CPU_PANEL) {
        CPU_UNROLL
        for (int v = 0; v < CPU_VECTORS; v++)
            sums[v] += cpu_load(x + i + v * CPU_LANES);
    }
    CPU_UNROLL
    for (int v = 1; v < CPU_VECTORS; v++)
        sums[0] += sums[v];
    *mean = cpu_sum(sums[0]) * inverse;
    for (int32_t i = 0; i < count; i += CPU_PANEL) {
        CPU_UNROLL
        for (int v = 0; v < CPU_VECTORS; v++) {
            cpu_vector d = cpu_load(x + i + v * CPU_LANES) - *mean;

            squares[v] = CPU_FMA(d, d, squares[v]);
        }
    }
    CPU_UNROLL
    for (int v = 1; v < CPU_VECTORS; v++)
        squares[0] += squares[v];
    return 1.0f / sqrtf(cpu_sum(squares[0]) * inverse + epsilon);
}

/**
 * The inner matrix product: acc[r][:] = sum over k of a[r * row_stride + k * step] * panel[k].
 *
 * panel is CPU_PANEL columns wide, (K, CPU_PANEL) without gaps. acc lives in registers: call it
 * with constants where they are constant and use acc at once. vectors: the first so many of a row
 * of the tile, a constant; the others are not set.
 */
CPU_INLINE void cpu_product_part(int vectors, cpu_vector (*acc)[CPU_VECTORS], const float *a,
                                 int64_t row_stride, int64_t step, const float *panel, int32_t K)
{
    CPU_UNROLL
    for (int r = 0; r < CPU_ROWS; r++) {
        CPU_UNROLL
        for (int v = 0; v < vectors; v++)
            acc[r][v] = (cpu_vector){0};
    }
    for (int32_t k = 0; k < K; k++) {
        cpu_vector b[CPU_VECTORS];

        CPU_UNROLL
        for (int v = 0; v < vectors; v++)
            b[v] = cpu_load(panel + (int64_t)k * CPU_PANEL + v * CPU_LANES);
        CPU_UNROLL
        for (int r = 0; r < CPU_ROWS; r++) {
            cpu_vector x = cpu_splat(a[r * row_stride + k * step]);

            CPU_UNROLL
            for (int v = 0; v < vectors; v++)
                acc[r][v] = CPU_FMA(x, b[v], acc[r][v]);
        }
    }
}

CPU_INLINE void cpu_product(cpu_vector (*acc)[CPU_VECTORS], const float *a, int64_t row_stride,
                            int64_t step, const float *panel, int32_t K)
{
    cpu_product_part(CPU_VECTORS, acc, a, row_stride, step, panel, K);
}

#endif
