/* kernels/norm_cpu.c - layer norm; limited by memory, so one row at a time while it is in L1. */
#include "kernels/norm.h"

/* Sum of count floats, in CPU_VECTORS chains. */
CPU_INLINE float sum_of(const float *x, int32_t count)
{
    cpu_vector sums[CPU_VECTORS] = {{0}};

    for (int32_t i = 0; i < count; i += CPU_PANEL) {
        CPU_UNROLL
        for (int v = 0; v < CPU_VECTORS; v++)
            sums[v] += cpu_load(x + i + v * CPU_LANES);
    }
    CPU_UNROLL
    for (int v = 1; v < CPU_VECTORS; v++)
        sums[0] += sums[v];
    return cpu_sum(sums[0]);
}

CPU_INLINE float squares_around(const float *x, int32_t count, float mean)
{
    cpu_vector sums[CPU_VECTORS] = {{0}};

    for (int32_t i = 0; i < count; i += CPU_PANEL) {
        CPU_UNROLL
        for (int v = 0; v < CPU_VECTORS; v++) {
            cpu_vector d = cpu_load(x + i + v * CPU_LANES) - mean;

            sums[v] = CPU_FMA(d, d, sums[v]);
        }
    }
    CPU_UNROLL
    for (int v = 1; v < CPU_VECTORS; v++)
        sums[0] += sums[v];
    return cpu_sum(sums[0]);
}

void CPU(norm_forward)(float *out, float *rstd, const float *x, int32_t R, int32_t C, float epsilon)
{
    float inverse = 1.0f / (float)C;

    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * C;
        float *to = out + r * C;
        /* The second sum is taken around the mean: x^2 - mean^2 loses everything when the
         * mean is large. */
        float mean = sum_of(row, C) * inverse;
        float scale = 1.0f / sqrtf(squares_around(row, C, mean) * inverse + epsilon);

        if (rstd != NULL)
            rstd[r] = scale;
        for (int32_t c = 0; c < C; c += CPU_LANES)
            cpu_store(to + c, (cpu_load(row + c) - mean) * scale);
    }
}

void CPU(norm_backward_add)(float *dx, const float *g, const float *out, const float *rstd,
                            int32_t R, int32_t C)
{
    for (int64_t r = 0; r < R; r++) {
        const float *grow = g + r * C, *orow = out + r * C;
        cpu_vector sums = {0}, products = {0};
        float mean, product;

        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_vector gc = cpu_load(grow + c);
            sums += gc;
            products = CPU_FMA(gc, cpu_load(orow + c), products);
        }
        mean = cpu_sum(sums);
        product = cpu_sum(products);
        mean /= (float)C;
        product /= (float)C;
        for (int32_t c = 0; c < C; c += CPU_LANES)
            *(cpu_vector *)(dx + r * C + c) += rstd[r] * (cpu_load(grow + c) - mean -
                                                          cpu_load(orow + c) * product);
    }
}
