/* kernels/gate_cpu.c - the gate; a row is normed, kept where asked, and gated while in L1. */
#include "kernels/gate.h"

void CPU(gate_forward)(float *y, float *on, float *rstd, const float *o, const float *u,
                       int32_t u_pitch, int32_t R, int32_t C, float epsilon)
{
    for (int64_t r = 0; r < R; r++) {
        const float *from = o + r * C, *gate = u + r * u_pitch;
        float *to = y + r * C, mean, scale = cpu_norm(from, C, epsilon, &mean);

        if (on != NULL)
            rstd[r] = scale;
        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_vector normed = (cpu_load(from + c) - mean) * scale;

            if (on != NULL)
                cpu_store(on + r * C + c, normed);
            cpu_store(to + c, normed * cpu_load(gate + c));
        }
    }
}

void CPU(gate_backward)(float *du, int32_t du_pitch, float *d_o, const float *dy, const float *on,
                        const float *rstd, const float *u, int32_t u_pitch, int32_t R, int32_t C)
{
    for (int64_t r = 0; r < R; r++) {
        const float *dyr = dy + r * C, *onr = on + r * C, *ur = u + r * u_pitch;
        float *dur = du + r * du_pitch, *dor = d_o + r * C;
        cpu_vector sums = {0}, products = {0};
        float mean, product;

        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_vector d = cpu_load(dyr + c);
            cpu_vector normed = cpu_load(onr + c);
            cpu_vector g = d * cpu_load(ur + c);

            *(cpu_vector *)(dur + c) = d * normed;
            *(cpu_vector *)(dor + c) = g;
            sums += g;
            products = CPU_FMA(g, normed, products);
        }
        mean = cpu_sum(sums);
        product = cpu_sum(products);
        mean /= (float)C;
        product /= (float)C;
        for (int32_t c = 0; c < C; c += CPU_LANES)
            *(cpu_vector *)(dor + c) = rstd[r] *
                                       (cpu_load(dor + c) - mean - cpu_load(onr + c) * product);
    }
}
