/* kernels/loss.c - losses of one list, in double. */
#include "kernels/loss.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

static double weight_of(const struct loss_list *list, int32_t i)
{
    return list->weight == NULL ? 1 : (double)list->weight[i];
}

/* ln(1 + e^x) without overflow. */
static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double sigmoid(double x)
{
    return x > 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static bool is_outlier(const struct loss_list *list, double loss)
{
    return list->clip > 0 && loss > list->clip;
}

bool loss_has_pairs(const struct loss_list *list)
{
    float seen = -1;

    for (int32_t i = 0; i < list->m; i++) {
        if (!(weight_of(list, i) > 0))
            continue;
        if (seen >= 0 && list->labels[i] != seen)
            return true;
        seen = list->labels[i];
    }
    return false;
}

bool loss_has_positive(const struct loss_list *list)
{
    for (int32_t i = 0; i < list->m; i++)
        if (list->labels[i] > 0 && weight_of(list, i) > 0)
            return true;
    return false;
}

double loss_point(float *ds, const struct loss_list *list, double scale)
{
    double loss = 0;

    for (int32_t i = 0; i < list->m; i++) {
        double s = (double)list->scores[i], w = weight_of(list, i);
        double y = list->labels[i] > 1 ? 1 : (double)list->labels[i];

        double lost = softplus(s) - y * s;
        bool outlier = is_outlier(list, lost);

        loss += w * (outlier ? list->clip : lost);
        ds[i] += outlier ? 0 : (float)(scale * w * (sigmoid(s) - y));
    }
    return loss;
}

/* Sum of the weights of all pairs, or 0 when there is none. */
static double pairs_weight(const struct loss_list *list)
{
    double total = 0;

    for (int32_t i = 0; i < list->m; i++)
        for (int32_t j = 0; j < list->m; j++)
            if (list->labels[i] > list->labels[j])
                total += weight_of(list, i) * weight_of(list, j);
    return total;
}

static double pair_loss(float *ds, const struct loss_list *list, double scale, bool hinge)
{
    double total = pairs_weight(list), loss = 0;

    if (!(total > 0))
        return 0;
    for (int32_t i = 0; i < list->m; i++) {
        for (int32_t j = 0; j < list->m; j++) {
            double margin, w, slope;

            if (!(list->labels[i] > list->labels[j]))
                continue;
            margin = (double)list->scores[i] - (double)list->scores[j];
            w = weight_of(list, i) * weight_of(list, j) / total;
            if (hinge) {
                loss += margin < 1 ? w * (1 - margin) : 0;
                slope = margin < 1 ? -1 : 0;
            } else {
                loss += w * softplus(-margin);
                slope = -sigmoid(-margin);
            }
            ds[i] += (float)(scale * w * slope);
            ds[j] -= (float)(scale * w * slope);
        }
    }
    return loss;
}

double loss_pair_logistic(float *ds, const struct loss_list *list, double scale)
{
    return pair_loss(ds, list, scale, false);
}

double loss_pair_hinge(float *ds, const struct loss_list *list, double scale)
{
    return pair_loss(ds, list, scale, true);
}

/* ln of the sum of e^s. */
static double log_total(const float *s, int32_t m)
{
    double top = -INFINITY, total = 0;

    for (int32_t i = 0; i < m; i++)
        top = (double)s[i] > top ? (double)s[i] : top;
    for (int32_t i = 0; i < m; i++)
        total += exp((double)s[i] - top);
    return top + log(total);
}

double loss_softmax(float *ds, const struct loss_list *list, double scale)
{
    double total = 0, loss = 0, norm;

    for (int32_t i = 0; i < list->m; i++)
        total += weight_of(list, i) * (double)list->labels[i];
    if (!(total > 0))
        return 0;
    norm = log_total(list->scores, list->m);
    for (int32_t i = 0; i < list->m; i++)
        loss -= weight_of(list, i) * (double)list->labels[i] / total *
                ((double)list->scores[i] - norm);
    if (is_outlier(list, loss))
        return list->clip;
    for (int32_t i = 0; i < list->m; i++) {
        double want = weight_of(list, i) * (double)list->labels[i] / total;

        ds[i] += (float)(scale * (exp((double)list->scores[i] - norm) - want));
    }
    return loss;
}

double loss_distil(float *ds, const struct loss_list *list, const float *teacher, double scale)
{
    double loss = 0, norm, teacher_norm;

    if (list->m == 0)
        return 0;
    norm = log_total(list->scores, list->m);
    teacher_norm = log_total(teacher, list->m);
    for (int32_t i = 0; i < list->m; i++) {
        double log_p = (double)list->scores[i] - norm;
        double want = exp((double)teacher[i] - teacher_norm);

        loss -= want * log_p;
        ds[i] += (float)(scale * (exp(log_p) - want));
    }
    return loss;
}

/* By descending key, then by index: a total order, so that ties are the same everywhere. */
static int by_score(const void *a, const void *b, void *context)
{
    const float *key = context;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;

    if (key[i] != key[j])
        return key[i] > key[j] ? -1 : 1;
    return i < j ? -1 : i > j;
}

static double gain(float label)
{
    return exp2((double)label) - 1;
}

double loss_lambda(float *ds, const struct loss_list *list, double scale, int32_t *order)
{
    double ideal = 0, loss = 0;

    for (int32_t i = 0; i < list->m; i++)
        order[i] = i;
    qsort_r(order, (size_t)list->m, sizeof *order, by_score, (void *)(uintptr_t)list->labels);
    for (int32_t r = 0; r < list->m; r++)
        ideal += gain(list->labels[order[r]]) / log2(r + 2.0);
    if (!(ideal > 0))
        return 0;
    qsort_r(order, (size_t)list->m, sizeof *order, by_score, (void *)(uintptr_t)list->scores);
    for (int32_t r = 0; r < list->m; r++) {
        for (int32_t q = 0; q < list->m; q++) {
            int32_t i = order[r], j = order[q];
            double margin, change;

            if (!(list->labels[i] > list->labels[j]))
                continue;
            margin = (double)list->scores[i] - (double)list->scores[j];
            change = fabs((gain(list->labels[i]) - gain(list->labels[j])) *
                          (1 / log2(r + 2.0) - 1 / log2(q + 2.0))) /
                     ideal * weight_of(list, i) * weight_of(list, j);
            loss += change * softplus(-margin);
            ds[i] -= (float)(scale * change * sigmoid(-margin));
            ds[j] += (float)(scale * change * sigmoid(-margin));
        }
    }
    return loss;
}
