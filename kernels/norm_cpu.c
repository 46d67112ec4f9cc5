/* kernels/norm_cpu.c - layer norm; limited by memory, so one row at a time while it is in L1. */
#include "kernels/norm.h"

void CPU(norm_forward)(float *out, float *rstd, const float *x, int32_t R, int32_t C, float epsilon)
{
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * C;
        float *to = out + r * C;
        float mean, scale = cpu_norm(row, C, epsilon, &mean);

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
