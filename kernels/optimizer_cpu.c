/* kernels/optimizer_cpu.c - the updates; limited by memory, one pass over four arrays. */
#include "kernels/optimizer.h"

#include <stddef.h>

CPU_INLINE void update(int coast, float *restrict w, float *restrict m, float *restrict v,
                       const float *restrict gradient, float scale, int64_t n,
                       const struct adamw *s)
{
    float b1 = s->beta1, b2 = s->beta2, epsilon = s->epsilon;
    float keep = 1.0f - s->rate * s->decay, rate = s->rate / s->c1;
    float root = 1.0f / sqrtf(s->c2);

    for (int64_t i = 0; i < n; i++) {
        float g = coast ? 0 : gradient[i] * scale;

        m[i] = b1 * m[i] + (1.0f - b1) * g;
        v[i] = b2 * v[i] + (1.0f - b2) * g * g;
        w[i] = keep * w[i] - rate * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

void CPU(adamw_update)(float *w, float *m, float *v, const float *gradient, float scale, int64_t n,
                       const struct adamw *settings)
{
    update(0, w, m, v, gradient, scale, n, settings);
}

void CPU(adamw_coast)(float *w, float *m, float *v, int64_t n, const struct adamw *settings)
{
    update(1, w, m, v, NULL, 0, n, settings);
}

void CPU(adagrad_update)(float *w, float *accumulator, const float *gradient, float scale,
                         int32_t C, float rate, float forget, float epsilon)
{
    cpu_vector squares = {0};
    float step;

    for (int32_t c = 0; c < C; c += CPU_LANES) {
        cpu_vector g = cpu_load(gradient + c) * scale;

        squares += g * g;
    }
    *accumulator = forget * *accumulator + cpu_sum(squares) / (float)C;
    step = rate * scale / (sqrtf(*accumulator) + epsilon);
    for (int32_t c = 0; c < C; c += CPU_LANES)
        cpu_store(w + c, cpu_load(w + c) - step * cpu_load(gradient + c));
}

double CPU(squares_sum)(const float *x, int64_t n)
{
    double total = 0;

    for (int64_t start = 0; start < n; start += 1024) {
        int64_t end = start + 1024 < n ? start + 1024 : n;
        cpu_vector sum = {0};

        for (int64_t i = start; i < end; i += CPU_LANES)
            sum = CPU_FMA(cpu_load(x + i), cpu_load(x + i), sum);
        total += (double)cpu_sum(sum);
    }
    return total;
}

void CPU(gradients_add)(float *restrict a, const float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        a[i] += b[i];
}
