/*
 * kernels/linear_bf16_cpu.c - rounding, and the two products of pairs.
 *
 * Rows go by in blocks: rounded once into a block of pairs, then multiplied with one panel after
 * the other. The products are compiled with the column that has 16 lanes, v4; their instructions
 * beyond that are asked for function by function, so they run only where linear_bf16_best() says.
 */
#include "kernels/linear_bf16.h"

#include <assert.h>

void CPU(linear_bf16_round)(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i += CPU_LANES) {
        cpu_bits bits = (cpu_bits)cpu_load(x + i),
                 number = (cpu_bits)((cpu_ints)(bits & 0x7fffffff) <= 0x7f800000);
        cpu_bits rounded = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;

        cpu_store(x + i, (cpu_vector)((rounded & number) | (bits & ~number)));
    }
}

#if defined(__AVX512F__)
#ifndef LINEAR_BF16_TARGET /* tests have these instructions in software */
#define LINEAR_BF16_TARGET(names) __attribute__((target(names)))
#endif

#define K_MAX      2304 /* more than any layer has */
#define BLOCK_ROWS 32   /* two tiles of 16 */
_Static_assert(CPU_PANEL == CPU_LANES && BLOCK_ROWS % 2 == 0, "a vector is a row of a panel");

/* to (BLOCK_ROWS, pitch) = the rounded rows, zeros behind them and behind K. */
CPU_INLINE void round_block(uint16_t *to, int32_t pitch, const float *x, int64_t x_pitch,
                            int32_t rows, int32_t K)
{
    for (int64_t r = 0; r < BLOCK_ROWS; r++) {
        int32_t k = 0;

        for (; r < rows && k < K; k++) {
            uint32_t bits;

            memcpy(&bits, x + r * x_pitch + k, sizeof bits);
            if ((bits & 0x7fffffff) > 0x7f800000)
                bits |= 0x400000; /* NaN: its upper half must not read as infinity */
            else
                bits += 0x7fff + (bits >> 16 & 1);
            to[r * pitch + k] = (uint16_t)(bits >> 16);
        }
        for (; k < pitch; k++)
            to[r * pitch + k] = 0;
    }
}

/* What follows the product, on a row of 16 sums. bias comes scaled where SiLU follows. */
CPU_INLINE void finish(enum linear_after after, float *out, cpu_vector sum, cpu_vector bias)
{
    if (after == LINEAR_SILU) {
        sum = CPU_FMA(sum, cpu_splat(CPU_SILU_SCALE), bias);
        cpu_silu_scaled(&sum, 1);
    } else {
        sum += bias;
        if (after == LINEAR_ADD)
            sum += cpu_load(out);
    }
    cpu_store(out, sum);
}

CPU_INLINE cpu_vector bias_of(const struct linear *w, int32_t n, enum linear_after after)
{
    cpu_vector bias = {0};

    if (w->bias != NULL)
        bias = cpu_load(w->bias + n) * (after == LINEAR_SILU ? CPU_SILU_SCALE : 1);
    return bias;
}

/* acc += pairs of CPU_ROWS rows times one panel. */
LINEAR_BF16_TARGET("avx512bf16")
static inline void product_avx512(cpu_vector *acc, const uint16_t *rows, int32_t pitch,
                                  const uint16_t *panel)
{
    CPU_UNROLL
    for (int r = 0; r < CPU_ROWS; r++)
        acc[r] = (cpu_vector){0};
    for (int32_t k = 0; k < pitch; k += 2) {
        __m512i b = _mm512_loadu_si512(panel + (int64_t)k * CPU_PANEL);

        CPU_UNROLL
        for (int r = 0; r < CPU_ROWS; r++) {
            int32_t pair;

            memcpy(&pair, rows + (int64_t)r * pitch + k, sizeof pair);
            acc[r] = (cpu_vector)_mm512_dpbf16_ps((__m512)acc[r], (__m512bh)_mm512_set1_epi32(pair),
                                                  (__m512bh)b);
        }
    }
}

LINEAR_BF16_TARGET("avx512bf16")
void linear_bf16_forward_avx512(float *out, const float *x, int32_t R, struct linear_bf16 w,
                                struct linear_call call)
{
    int32_t pitch = linear_bf16_pitch(w.w.K);
    _Alignas(64) uint16_t rows[BLOCK_ROWS * K_MAX];

    assert(pitch <= K_MAX && call.first % CPU_PANEL == 0 && call.count % CPU_PANEL == 0);
    for (int32_t r0 = 0; r0 < R; r0 += 2 * CPU_ROWS) {
        int32_t count = cpu_pad_rows(R) - r0 < 2 * CPU_ROWS ? cpu_pad_rows(R) - r0 : 2 * CPU_ROWS;

        round_block(rows, pitch, x + (int64_t)r0 * call.x_pitch, call.x_pitch, count, w.w.K);
        for (int32_t n = 0; n < call.count; n += CPU_PANEL) {
            cpu_vector bias = bias_of(&w.w, call.first + n, call.after);

            for (int32_t r = 0; r < count; r += CPU_ROWS) {
                cpu_vector acc[CPU_ROWS];
                float *to = out + (int64_t)(r0 + r) * call.out_pitch + n;

                product_avx512(acc, rows + (int64_t)r * pitch, pitch,
                               w.pairs + (int64_t)(call.first + n) * pitch);
                for (int i = 0; i < CPU_ROWS; i++)
                    finish(call.after, to + (int64_t)i * call.out_pitch, acc[i], bias);
            }
        }
    }
}

/* The layout of LDTILECFG's operand. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* gcc's intrinsics say nothing of the memory that a tile is loaded from, so the compiler might
 * leave out what is written there for them. */
CPU_INLINE void written(const void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* Tiles 0 and 1 are sums of the block's halves, 2 and 3 their rows, 4 is of the panel. */
LINEAR_BF16_TARGET("amx-tile,amx-bf16")
static inline void product_amx(float *sums, const uint16_t *rows, int32_t pitch,
                               const uint16_t *panel)
{
    _tile_zero(0);
    _tile_zero(1);
    for (int32_t k = 0; k < pitch; k += LINEAR_BF16_K_PAD) {
        _tile_loadd(2, rows + k, (long)pitch * 2);
        _tile_loadd(3, rows + (int64_t)16 * pitch + k, (long)pitch * 2);
        _tile_loadd(4, panel + (int64_t)k * CPU_PANEL, 64);
        _tile_dpbf16ps(0, 2, 4);
        _tile_dpbf16ps(1, 3, 4);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + 16 * CPU_PANEL, 64);
}

LINEAR_BF16_TARGET("amx-tile,amx-bf16")
void linear_bf16_forward_amx(float *out, const float *x, int32_t R, struct linear_bf16 w,
                             struct linear_call call)
{
    struct tile_config config = {.palette = 1};
    int32_t pitch = linear_bf16_pitch(w.w.K), padded = cpu_pad_rows(R);
    _Alignas(64) uint16_t rows[BLOCK_ROWS * K_MAX];
    _Alignas(64) float sums[BLOCK_ROWS * CPU_PANEL];

    assert(pitch <= K_MAX && call.first % CPU_PANEL == 0 && call.count % CPU_PANEL == 0);
    for (int tile = 0; tile < 5; tile++) {
        config.row_bytes[tile] = 64;
        config.rows[tile] = 16;
    }
    written(&config);
    _tile_loadconfig(&config);
    for (int32_t r0 = 0; r0 < padded; r0 += BLOCK_ROWS) {
        int32_t count = padded - r0 < BLOCK_ROWS ? padded - r0 : BLOCK_ROWS;

        round_block(rows, pitch, x + (int64_t)r0 * call.x_pitch, call.x_pitch, count, w.w.K);
        written(rows);
        for (int32_t n = 0; n < call.count; n += CPU_PANEL) {
            cpu_vector bias = bias_of(&w.w, call.first + n, call.after);

            product_amx(sums, rows, pitch, w.pairs + (int64_t)(call.first + n) * pitch);
            for (int32_t r = 0; r < count; r++)
                finish(call.after, out + (int64_t)(r0 + r) * call.out_pitch + n,
                       cpu_load(sums + r * CPU_PANEL), bias);
        }
    }
    _tile_release();
}
#endif
