/*
 * eval/bootstrap.h - is the difference between two rankers more than luck?
 *
 * Flow: a metric of both on the same events -> [paired bootstrap] -> interval -> gate, backtest
 *
 * Paired: both were judged on the same events, so their difference an event is what is
 * resampled, by groups (the user: one's events resemble each other), with replacement.
 * Source: Efron and Tibshirani, An Introduction to the Bootstrap, percentile interval.
 */
#ifndef EVAL_BOOTSTRAP_H
#define EVAL_BOOTSTRAP_H

#include "ops/status.h"

#include <stdint.h>

#define BOOTSTRAP_ROUNDS 1000

struct bootstrap_interval {
    double difference; /* mean over all events: a better than b when above 0 */
    double low, high;  /* 95 % */
    int64_t groups;
};

/**
 * Interval of mean(a) - mean(b).
 *
 * Shapes: a, b (count) the metric of each event; group (count) its user's number, any values, or
 * NULL: every event stands for itself. Without events all is 0.
 * The same seed gives the same bits.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum status bootstrap_paired(const float *a, const float *b, const uint64_t *group,
                                        int64_t count, int rounds, uint64_t seed,
                                        struct bootstrap_interval *interval, struct error *err);

#endif
