/* kernels/attention_ref.c - the yardstick of attention_cpu.c: plain loops in double. */
#include "kernels/attention.h"

/* Score of query row i for key row j (rows of z), at this distance and bucket. */
static double score(const struct attention *a, const float *z, int64_t i, int64_t j, int32_t h,
                    int32_t distance, int32_t bucket)
{
    int32_t D = a->C / a->H;
    const float *q = z + i * 4 * a->C + 2 * a->C + h * D;
    const float *k = z + j * 4 * a->C + 3 * a->C + h * D;
    double sum = 0;

    for (int32_t d = 0; d < D; d++)
        sum += (double)q[d] * (double)k[d];
    return sum / sqrt(D) + (double)a->r_pos[distance] + (double)a->r_time[bucket];
}

/* Weighs row j of V into o, or with o NULL only says what it weighs. */
static double weigh(const struct attention *a, const float *z, double *o, int64_t j, int32_t h,
                    double s, double top, double total)
{
    int32_t D = a->C / a->H;
    const float *v = z + j * 4 * a->C + a->C + h * D;
    double weight = a->form == ATTENTION_SILU ? s / (1 + exp(-s))
                                              : exp(s - top) / (o == NULL ? 1 : total);

    if (o != NULL)
        for (int32_t d = 0; d < D; d++)
            o[d] += weight * (double)v[d];
    return weight;
}

/* Row i of z, of keys 0..keys-1 of the history and, for a candidate, itself. */
static void attend(double *o, const struct attention *a, const float *z, int64_t i, int32_t h,
                   int32_t keys, int32_t position, const uint8_t *buckets, int candidate)
{
    double top = -1e300, total = 0;

    for (int pass = 0; pass < 3; pass++) {
        for (int32_t j = 0; j < keys + candidate; j++) {
            int self = j == keys;
            int64_t key = self ? i : j;
            double s = score(a, z, i, key, h, self ? 0 : position - j, self ? 0 : buckets[j]);

            if (pass == 0)
                top = s > top ? s : top;
            else if (pass == 1)
                total += weigh(a, z, NULL, key, h, s, top, 0);
            else
                (void)weigh(a, z, o, key, h, s, top, total);
        }
    }
}

void attention_forward_ref(double *o, const struct attention *a, const float *z, int32_t m)
{
    int32_t rows = cpu_pad_rows(a->n) + m, D = a->C / a->H;
    int64_t pitch = attention_pitch(a->n);

    for (int64_t i = 0; i < rows; i++) {
        int candidate = i >= cpu_pad_rows(a->n);

        if (!candidate && i >= a->n)
            continue;
        for (int32_t h = 0; h < a->H; h++) {
            double *to = o + i * a->C + h * D;

            for (int32_t d = 0; d < D; d++)
                to[d] = 0;
            attend(to, a, z, i, h, candidate ? a->n : (int32_t)i + 1, candidate ? a->n : (int32_t)i,
                   a->buckets + (candidate ? cpu_pad_rows(a->n) : i) * pitch, candidate);
        }
    }
}
