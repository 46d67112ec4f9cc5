/*
 * kernels/linear_cpu.c - packed products. Limited by multiply-adds: a panel of weights
 * (K * 64 bytes) stays in L1 while all rows pass by it, strip by strip.
 */
#include "kernels/linear.h"

#include <assert.h>

#define BLOCK_FLOATS 12288 /* of x: 48 KB */

void CPU(linear_pack)(float *panels, const float *w, int32_t pitch, int32_t K, int32_t N,
                      int transposed)
{
    for (int32_t n = 0; n < N; n += CPU_PANEL) {
        float *panel = panels + (int64_t)n * K;

        for (int32_t k = 0; k < K; k++)
            for (int32_t i = 0; i < CPU_PANEL; i++)
                panel[k * CPU_PANEL + i] = transposed ? w[(int64_t)(n + i) * pitch + k]
                                                      : w[(int64_t)k * pitch + n + i];
    }
}

/* out = SiLU(acc + bias) of a tile; bias comes scaled. */
CPU_INLINE void store_silu(float *out, int64_t pitch, cpu_vector (*acc)[CPU_VECTORS],
                           const cpu_vector *bias)
{
    CPU_UNROLL
    for (int half = 0; half < CPU_ROWS * CPU_VECTORS; half += CPU_SILU_COUNT) {
        cpu_vector t[CPU_SILU_COUNT];

        CPU_UNROLL
        for (int i = 0; i < CPU_SILU_COUNT; i++) {
            int r = (half + i) / CPU_VECTORS, v = (half + i) % CPU_VECTORS;

            t[i] = CPU_FMA(acc[r][v], cpu_splat(CPU_SILU_SCALE), bias[v]);
        }
        cpu_silu_scaled(t, CPU_SILU_COUNT);
        CPU_UNROLL
        for (int i = 0; i < CPU_SILU_COUNT; i++)
            cpu_store(out + (half + i) / CPU_VECTORS * pitch + (half + i) % CPU_VECTORS * CPU_LANES,
                      t[i]);
    }
}

/* after and with_slope are constants where this is inlined: no branch is left in the tile, and
 * with the loops unrolled the sums never leave the registers. */
CPU_INLINE void forward(enum linear_after after, int with_slope, float *out, float *slope,
                        const float *x, int32_t R, struct linear w, struct linear_call call)
{
    for (int32_t n = 0; n < call.count; n += CPU_PANEL) {
        const float *panel = w.panels + (int64_t)(call.first + n) * w.K;
        cpu_vector bias[CPU_VECTORS] = {{0}};

        for (int v = 0; v < CPU_VECTORS && w.bias != NULL; v++)
            bias[v] = cpu_load(w.bias + call.first + n + v * CPU_LANES) *
                      (after == LINEAR_SILU && !with_slope ? CPU_SILU_SCALE : 1);
        for (int64_t r0 = 0; r0 < R; r0 += CPU_ROWS) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, x + r0 * call.x_pitch, call.x_pitch, 1, panel, w.K);
            if (after == LINEAR_SILU && !with_slope) {
                store_silu(out + r0 * call.out_pitch + n, call.out_pitch, acc, bias);
                continue;
            }
            CPU_UNROLL
            for (int r = 0; r < CPU_ROWS; r++) {
                CPU_UNROLL
                for (int v = 0; v < CPU_VECTORS; v++) {
                    int64_t at = (r0 + r) * call.out_pitch + n + v * CPU_LANES;
                    cpu_vector sum = acc[r][v] + bias[v];

                    if (after == LINEAR_SILU) {
                        cpu_vector slopes;

                        sum = cpu_silu_slope(sum, &slopes);
                        cpu_store(slope + at, slopes);
                    } else if (after == LINEAR_ADD)
                        sum += cpu_load(out + at);
                    cpu_store(out + at, sum);
                }
            }
        }
    }
}

static void forward_block(float *out, float *slope, const float *x, int32_t R, struct linear w,
                          struct linear_call call)
{
    switch (call.after) {
    case LINEAR_SET:
        forward(LINEAR_SET, 0, out, NULL, x, R, w, call);
        break;
    case LINEAR_ADD:
        forward(LINEAR_ADD, 0, out, NULL, x, R, w, call);
        break;
    case LINEAR_SILU:
        if (slope != NULL)
            forward(LINEAR_SILU, 1, out, slope, x, R, w, call);
        else
            forward(LINEAR_SILU, 0, out, NULL, x, R, w, call);
        break;
    }
}

void CPU(linear_forward)(float *out, float *slope, const float *x, int32_t R, struct linear w,
                         struct linear_call call)
{
    int32_t rows = cpu_pad_rows(BLOCK_FLOATS / w.K);

    assert(w.N % CPU_PANEL == 0 && call.first % CPU_PANEL == 0 && call.count % CPU_PANEL == 0);
    assert(call.first >= 0 && call.first + call.count <= w.N);
    /* Rows in blocks that stay in L2 while the panels pass by. */
    for (int32_t r = 0; r < R; r += rows) {
        int32_t count = R - r < rows ? R - r : rows;
        int64_t at = (int64_t)r * call.out_pitch;

        forward_block(out + at, slope != NULL ? slope + at : NULL, x + (int64_t)r * call.x_pitch,
                      count, w, call);
    }
}

void CPU(linear_weights_add)(float *dw, float *db, const float *x, int32_t x_pitch, const float *g,
                             int32_t g_pitch, int32_t R, int32_t K, int32_t N, float *scratch)
{
    assert(N % CPU_PANEL == 0);
    for (int32_t n = 0; n < N; n += CPU_PANEL) {
        cpu_vector sums[CPU_VECTORS] = {{0}};

        /* Rows of g lie far apart, often a power of two: read each once, into one stream. Not by
         * memcpy(): its stores are narrower than a vector, and a wider load behind them waits. */
        for (int64_t r = 0; r < R; r++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++) {
                cpu_vector one = cpu_load(g + r * g_pitch + n + v * CPU_LANES);

                cpu_store(scratch + r * CPU_PANEL + v * CPU_LANES, one);
                sums[v] += one;
            }
        }
        if (db != NULL)
            for (int v = 0; v < CPU_VECTORS; v++)
                *(cpu_vector *)(db + n + v * CPU_LANES) += sums[v];
        for (int32_t k = 0; k < K; k += CPU_ROWS) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, x + k, 1, x_pitch, scratch, R);
            CPU_UNROLL
            for (int r = 0; r < CPU_ROWS; r++) {
                if (k + r >= K)
                    break;
                CPU_UNROLL
                for (int v = 0; v < CPU_VECTORS; v++)
                    *(cpu_vector *)(dw + (int64_t)(k + r) * N + n + v * CPU_LANES) += acc[r][v];
            }
        }
    }
}

void CPU(linear_scale)(float *y, const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i += CPU_LANES)
        *(cpu_vector *)(y + i) *= cpu_load(x + i);
}
