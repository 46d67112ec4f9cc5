/* kernels/norm_cpu.c - layer norm; limited by memory, so one row at a time while it is in L1. */
#include "kernels/norm.h"

void CPU(norm_forward)(float *out, float *rstd, const float *x, int32_t R, int32_t C, float epsilon)
{
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * C;
        float *to = out + r * C;
        cpu_vector sums[2] = {{0}}, squares[2] = {{0}};
        float mean, square, scale;

        /* The second sum is taken around the mean: x^2 - mean^2 loses everything when the
         * mean is large. */
        for (int32_t c = 0; c < C; c += CPU_LANES)
            sums[c / CPU_LANES & 1] += cpu_load(row + c);
        sums[0] += sums[1];
        mean = cpu_sum(sums[0]);
        mean /= (float)C;
        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_vector d = cpu_load(row + c) - mean;
            squares[c / CPU_LANES & 1] = CPU_FMA(d, d, squares[c / CPU_LANES & 1]);
        }
        squares[0] += squares[1];
        square = cpu_sum(squares[0]);
        scale = 1.0f / sqrtf(square / (float)C + epsilon);
        if (rstd != NULL)
            rstd[r] = scale;
        for (int32_t c = 0; c < C; c += CPU_LANES)
            *(cpu_vector *)(to + c) = (cpu_load(row + c) - mean) * scale;
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
