/*
 * eval/ranking_metrics.h - how good a ranking is: the numbers that gates and backtests compare.
 *
 * Flow: scores, what happened -> [metrics] -> evaluate, gate, drift, backtest
 *
 * Full ranking only: a rank is among all candidates, never among a sample of them. Ranks count
 * from 0 and may be fractional, because ties are averaged:
 * rank = number better + (number equal - 1) / 2, the target among the equal ones.
 * Every function is pure; a NaN score ranks last. Where a metric is not defined (no
 * event, one class only, no probability mass) it is NaN, and a comparison with it is false.
 * Thread: any.
 */
#ifndef EVAL_RANKING_METRICS_H
#define EVAL_RANKING_METRICS_H

#include <math.h>
#include <stdint.h>

#define RANKING_METRICS_MISS      INFINITY /* the rank of a target that is no candidate */
#define RANKING_METRICS_BINS_MAX  64
#define RANKING_METRICS_ECE_BINS  15
#define RANKING_METRICS_DRIFT_PSI .25 /* act; .1 is watch */

/* ---- one target in one ranking ---- */

double ranking_metrics_rank(int64_t better, int64_t equal);
double ranking_metrics_hit(double rank, int k);  /* 1 when rank < k, else 0 */
double ranking_metrics_ndcg(double rank, int k); /* 1 / log2(rank + 2) when rank < k, else 0 */
double ranking_metrics_reciprocal(double rank);  /* 1 / (rank + 1); 0 for a miss */

/* ---- one list with graded labels ---- */

/* NDCG@k of a list: gain 2^label - 1, items of equal score share the mean gain of their places
 * (no order of the input can help). NaN when no label is positive.
 * Shapes: scores (count), labels (count). */
double ranking_metrics_list_ndcg(const float *scores, const float *labels, int count, int k);

/* ---- many scores at once ---- */

/* Area under the ROC curve, ties averaged (Mann-Whitney). A label above 0 is positive.
 * NaN when only one class is there, or when memory is out. Shapes: (count). */
double ranking_metrics_auc(const float *scores, const float *labels, int64_t count);

/* Mean log-loss over the entropy of the mean label (NE): 1 is as good as knowing the rate alone.
 * Probabilities are clamped to 1e-7 .. 1 - 1e-7. */
double ranking_metrics_ne(const float *probabilities, const float *labels, int64_t count);
double ranking_metrics_log_loss(double probability, double label);

/* Expected calibration error over bins of equal mass (the last ones are one smaller). */
double ranking_metrics_ece(const float *probabilities, const float *labels, int64_t count,
                           int bins);
/* Sum of probabilities over sum of labels: 1 is calibrated. NaN without a positive label. */
double ranking_metrics_pcoc(const float *probabilities, const float *labels, int64_t count);

/* ---- drift of a distribution ---- */

/* Upper edges of bins with equal mass in values, the last one +infinity; edges (bins). */
void ranking_metrics_quantiles(const float *values, int64_t count, int bins, double *edges);
/* Counts of values in those bins; NaN counts in the last. counts (bins), added to. */
void ranking_metrics_histogram(const float *values, int64_t count, const double *edges, int bins,
                               int64_t *counts);
/* Population stability index of two histograms, with half a count added to each bin so that
 * an empty one is finite. 0 when either is empty. */
double ranking_metrics_psi(const int64_t *expected, const int64_t *actual, int bins);

#endif
