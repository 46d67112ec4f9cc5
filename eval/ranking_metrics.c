/*
 * eval/ranking_metrics.c - the formulas of eval/ranking_metrics.h, in double.
 *
 * Sorting is by (score, position), so equal scores are handled as groups and the input's order
 * decides nothing.
 */
#include "eval/ranking_metrics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define PROBABILITY_MIN 1e-7

struct scored {
    double score;
    double label;
};

/* Best first. NaN is no number that a comparison could place: it goes last. */
static int by_score_descending(const void *a, const void *b)
{
    double x = ((const struct scored *)a)->score;
    double y = ((const struct scored *)b)->score;

    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    return (x < y) - (x > y);
}

/* A sorted copy, NULL when memory is out. */
static struct scored *sorted(const float *scores, const float *labels, int64_t count)
{
    struct scored *list = malloc((size_t)(count > 0 ? count : 1) * sizeof *list);

    if (list == NULL)
        return NULL;
    for (int64_t i = 0; i < count; i++)
        list[i] = (struct scored){(double)scores[i], (double)labels[i]};
    qsort(list, (size_t)count, sizeof *list, by_score_descending);
    return list;
}

/* First position past the group of scores that equal the one at from. */
static int64_t group_end(const struct scored *list, int64_t from, int64_t count)
{
    int64_t end = from + 1;

    while (end < count && by_score_descending(&list[from], &list[end]) == 0)
        end++;
    return end;
}

static double clamp_probability(double p)
{
    if (!(p >= PROBABILITY_MIN))
        return PROBABILITY_MIN;
    return p > 1 - PROBABILITY_MIN ? 1 - PROBABILITY_MIN : p;
}

double ranking_metrics_rank(int64_t better, int64_t equal)
{
    assert(better >= 0 && equal >= 1);
    return (double)better + (double)(equal - 1) / 2;
}

double ranking_metrics_hit(double rank, int k)
{
    return rank < k ? 1 : 0;
}

double ranking_metrics_ndcg(double rank, int k)
{
    return rank < k ? 1 / log2(rank + 2) : 0;
}

double ranking_metrics_reciprocal(double rank)
{
    return 1 / (rank + 1);
}

static int by_label_descending(const void *a, const void *b)
{
    double x = ((const struct scored *)a)->label;
    double y = ((const struct scored *)b)->label;

    return (x < y) - (x > y);
}

static double discounts(int64_t from, int64_t to)
{
    double sum = 0;

    for (int64_t place = from; place < to; place++)
        sum += 1 / log2((double)place + 2);
    return sum;
}

double ranking_metrics_list_ndcg(const float *scores, const float *labels, int count, int k)
{
    struct scored *list = sorted(scores, labels, count);
    double gained = 0, ideal = 0;

    if (list == NULL)
        return NAN;
    for (int64_t from = 0, end; from < count && from < k; from = end) {
        double gains = 0;

        end = group_end(list, from, count);
        for (int64_t i = from; i < end; i++)
            gains += exp2(list[i].label) - 1;
        gained += gains / (double)(end - from) * discounts(from, end < k ? end : k);
    }
    qsort(list, (size_t)count, sizeof *list, by_label_descending);
    for (int64_t i = 0; i < count && i < k; i++)
        ideal += (exp2(list[i].label) - 1) * discounts(i, i + 1);
    free(list);
    return ideal > 0 ? gained / ideal : NAN;
}

double ranking_metrics_auc(const float *scores, const float *labels, int64_t count)
{
    struct scored *list = sorted(scores, labels, count);
    double positives_above = 0, won = 0, negatives = 0;

    if (list == NULL)
        return NAN;
    for (int64_t from = 0, end; from < count; from = end) {
        double positives_here = 0, negatives_here = 0;

        end = group_end(list, from, count);
        for (int64_t i = from; i < end; i++) {
            positives_here += list[i].label > 0;
            negatives_here += !(list[i].label > 0);
        }
        won += negatives_here * (positives_above + positives_here / 2);
        positives_above += positives_here;
        negatives += negatives_here;
    }
    free(list);
    return positives_above > 0 && negatives > 0 ? won / positives_above / negatives : NAN;
}

double ranking_metrics_log_loss(double probability, double label)
{
    double p = clamp_probability(probability);

    return -label * log(p) - (1 - label) * log1p(-p);
}

double ranking_metrics_ne(const float *probabilities, const float *labels, int64_t count)
{
    double loss = 0, labels_sum = 0;

    for (int64_t i = 0; i < count; i++) {
        loss += ranking_metrics_log_loss((double)probabilities[i], (double)labels[i]);
        labels_sum += (double)labels[i];
    }
    double rate = labels_sum / (double)count;
    if (count == 0 || !(rate > 0 && rate < 1))
        return NAN;
    return loss / (double)count / ranking_metrics_log_loss(rate, rate);
}

double ranking_metrics_ece(const float *probabilities, const float *labels, int64_t count, int bins)
{
    struct scored *list;
    double error = 0;

    assert(bins > 0 && bins <= RANKING_METRICS_BINS_MAX);
    if (count == 0)
        return NAN;
    list = sorted(probabilities, labels, count);
    if (list == NULL)
        return NAN;
    for (int bin = 0; bin < bins; bin++) {
        int64_t from = count * bin / bins, to = count * (bin + 1) / bins;
        double difference = 0;

        for (int64_t i = from; i < to; i++)
            difference += list[i].score - list[i].label;
        error += fabs(difference);
    }
    free(list);
    return error / (double)count;
}

double ranking_metrics_pcoc(const float *probabilities, const float *labels, int64_t count)
{
    double predicted = 0, happened = 0;

    for (int64_t i = 0; i < count; i++) {
        predicted += (double)probabilities[i];
        happened += (double)labels[i];
    }
    return happened > 0 ? predicted / happened : NAN;
}

void ranking_metrics_quantiles(const float *values, int64_t count, int bins, double *edges)
{
    struct scored *list = sorted(values, values, count);

    assert(bins > 0 && bins <= RANKING_METRICS_BINS_MAX);
    for (int bin = 0; bin + 1 < bins; bin++) {
        /* list is descending: the last value of the lowest (bin + 1) / bins stands that far from
         * its end. */
        int64_t at = count - count * (bin + 1) / bins;

        edges[bin] = list == NULL || count == 0 ? INFINITY
                                                : list[at < count ? at : count - 1].score;
    }
    edges[bins - 1] = INFINITY;
    free(list);
}

void ranking_metrics_histogram(const float *values, int64_t count, const double *edges, int bins,
                               int64_t *counts)
{
    for (int64_t i = 0; i < count; i++) {
        int bin = 0;

        while (bin + 1 < bins && !((double)values[i] <= edges[bin]))
            bin++;
        counts[bin]++;
    }
}

double ranking_metrics_psi(const int64_t *expected, const int64_t *actual, int bins)
{
    double expected_sum = 0, actual_sum = 0, psi = 0;

    for (int bin = 0; bin < bins; bin++) {
        expected_sum += (double)expected[bin];
        actual_sum += (double)actual[bin];
    }
    if (expected_sum == 0 || actual_sum == 0)
        return 0;
    for (int bin = 0; bin < bins; bin++) {
        double e = ((double)expected[bin] + .5) / (expected_sum + .5 * bins);
        double a = ((double)actual[bin] + .5) / (actual_sum + .5 * bins);

        psi += (a - e) * log(a / e);
    }
    return psi;
}
