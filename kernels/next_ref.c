/* kernels/next_ref.c - the yardstick of next_cpu.c: plain loops in double. */
#include "kernels/next.h"

static double cosine(const float *x, const float *y, int32_t C)
{
    double xy = 0, xx = 0, yy = 0;

    for (int32_t c = 0; c < C; c++) {
        xy += (double)x[c] * (double)y[c];
        xx += (double)x[c] * (double)x[c];
        yy += (double)y[c] * (double)y[c];
    }
    return xy / sqrt(xx + 1e-12) / sqrt(yy + 1e-12);
}

static double logit(const struct next_set *set, const float *x, int32_t item)
{
    double q = set->log_q != NULL ? (double)set->log_q[item] : 0;

    return cosine(x, set->emb + (int64_t)item * set->C, set->C) / (double)set->tau - q;
}

double next_loss_ref(const struct next_set *set, const struct next_positions *positions)
{
    double loss = 0;

    for (int32_t i = 0; i < positions->count; i++) {
        const float *x = positions->x + (int64_t)positions->rows[i] * set->C;
        double own = logit(set, x, positions->targets[i]), total = 1;

        for (int32_t k = 0; k < set->K; k++)
            if (set->negatives[k] != positions->targets[i])
                total += exp(logit(set, x, set->negatives[k]) - own);
        loss += log(total);
    }
    return loss;
}
