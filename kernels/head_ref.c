/* kernels/head_ref.c - the yardstick of head_cpu.c: plain loops in double. */
#include "kernels/head.h"

#include <assert.h>
#include <stdlib.h>

static double scalar_of(const struct head *head, const float *scalars, int64_t i, int32_t f)
{
    return ((double)scalars[i * head->F + f] - (double)head->mean[f]) * (double)head->scale[f];
}

static double dot_score(const struct head *head, const float *x, const float *e,
                        const float *scalars, int64_t i)
{
    double s = (double)head->b_f[0];

    for (int32_t c = 0; c < head->C; c++)
        s += (double)x[i * head->C + c] * (double)e[i * head->C + c] / sqrt(head->C);
    for (int32_t f = 0; f < head->F; f++)
        s += scalar_of(head, scalars, i, f) * (double)head->w_f[f];
    return s;
}

/* One cross layer: next (Z) from x (Z) and z (Z). */
static void cross(double *next, const double *x, const double *z, const struct head *head,
                  const struct head_plain *plain, int32_t l)
{
    double low[HEAD_RANK_MAX] = {0};
    int32_t Z = head->Z, R = head->R;

    assert(R <= HEAD_RANK_MAX);
    for (int32_t r = 0; r < R; r++)
        for (int32_t k = 0; k < Z; k++)
            low[r] += x[k] * (double)plain->down[l][(int64_t)k * R + r];
    for (int32_t i = 0; i < Z; i++) {
        double sum = (double)head->up[l].forward.bias[i];

        for (int32_t r = 0; r < R; r++)
            sum += low[r] * (double)plain->up[l][(int64_t)r * Z + i];
        next[i] = z[i] * sum + x[i];
    }
}

void head_forward_ref(double *scores, const float *x, const float *e, const float *scalars,
                      int32_t m, const struct head *head, const struct head_plain *plain)
{
    int32_t C = head->C, Z = head->Z;
    double *rows = head->crosses == 0 ? NULL : calloc((size_t)Z, 3 * sizeof *rows);
    double *z = rows, *now = rows + Z, *next = now + Z;

    assert(head->crosses == 0 || rows != NULL);
    for (int64_t i = 0; i < m; i++) {
        if (head->crosses == 0) {
            scores[i] = dot_score(head, x, e, scalars, i);
            continue;
        }
        for (int32_t c = 0; c < C; c++) {
            z[c] = (double)x[i * C + c];
            z[C + c] = (double)x[i * C + c] * (double)e[i * C + c];
        }
        for (int32_t f = 0; f < head->F; f++)
            z[2 * C + f] = scalar_of(head, scalars, i, f);
        memcpy(now, z, (size_t)Z * sizeof *z);
        for (int32_t l = 0; l < head->crosses; l++) {
            cross(next, now, z, head, plain, l);
            memcpy(now, next, (size_t)Z * sizeof *z);
        }
        scores[i] = (double)head->b[0];
        for (int32_t k = 0; k < Z; k++)
            scores[i] += z[k] * (double)head->w[k] + now[k] * (double)head->w[Z + k];
        for (int32_t k = 0; k < head->W; k++) {
            double sum = (double)head->mlp.forward.bias[k];

            for (int32_t j = 0; j < Z; j++)
                sum += z[j] * (double)plain->mlp[(int64_t)j * head->W + k];
            scores[i] += sum / (1 + exp(-sum)) * (double)head->w[2 * Z + k];
        }
    }
    free(rows);
}
