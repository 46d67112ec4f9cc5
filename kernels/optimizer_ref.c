/* kernels/optimizer_ref.c - the yardstick of optimizer_cpu.c: plain loops in double. */
#include "kernels/optimizer.h"

void adamw_update_ref(double *w, double *m, double *v, const float *gradient, float scale,
                      int64_t n, const struct adamw *s)
{
    for (int64_t i = 0; i < n; i++) {
        double g = (double)gradient[i] * (double)scale;

        m[i] = (double)s->beta1 * m[i] + (1 - (double)s->beta1) * g;
        v[i] = (double)s->beta2 * v[i] + (1 - (double)s->beta2) * g * g;
        w[i] -= (double)s->rate *
                (m[i] / (double)s->c1 / (sqrt(v[i] / (double)s->c2) + (double)s->epsilon) +
                 (double)s->decay * w[i]);
    }
}

void adagrad_update_ref(double *w, double *accumulator, const float *gradient, float scale,
                        int32_t C, float rate, float forget, float epsilon)
{
    double squares = 0;

    for (int32_t c = 0; c < C; c++)
        squares += (double)gradient[c] * (double)gradient[c] * (double)scale * (double)scale;
    *accumulator = (double)forget * *accumulator + squares / C;
    for (int32_t c = 0; c < C; c++)
        w[c] -= (double)rate * (double)gradient[c] * (double)scale /
                (sqrt(*accumulator) + (double)epsilon);
}
