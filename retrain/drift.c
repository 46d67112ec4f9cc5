/* retrain/drift.c - a reference and a sliding window of places, and one series of losses. */
#include "retrain/drift.h"

#include "eval/ranking_metrics.h"

#include <math.h>

#define LEAST     30
#define DELTA     .005
#define LAMBDA    50.0
#define FORGET    .9999
#define LOSS_MEAN .99

/* counts scaled to a sum of `to`, when theirs is larger; the new sum. */
static int64_t shrink(int64_t *counts, int64_t sum, int64_t to)
{
    int64_t left = 0;

    if (sum <= to)
        return sum;
    for (int i = 0; i < DRIFT_PLACES; i++) {
        counts[i] = (counts[i] * to + sum / 2) / sum;
        left += counts[i];
    }
    return left;
}

void drift_begin(struct drift *drift)
{
    int64_t served = shrink(drift->served, drift->served_count, DRIFT_REFERENCE / 2);
    int64_t before = shrink(drift->reference, drift->reference_count, DRIFT_REFERENCE - served);
    /* What was seen last stays in sight: a 0 would say that all is well. */
    struct drift next = {.psi = drift->psi, .reference_count = before + served};

    for (int i = 0; i < DRIFT_PLACES; i++)
        next.reference[i] = drift->reference[i] + drift->served[i];
    *drift = next;
}

bool page_hinkley_add(struct page_hinkley *s, double value)
{
    double step, deviation;

    if (!isfinite(value))
        return false;
    s->count++;
    step = value - s->mean;
    s->mean += step / (double)s->count;
    s->variance += (step * (value - s->mean) - s->variance) / (double)s->count;
    deviation = sqrt(s->variance);
    /* In deviations, so that lambda means the same for every loss. */
    s->up = FORGET * s->up + (deviation > 0 ? (value - s->mean) / deviation : 0) - DELTA;
    if (s->up < 0)
        s->up = 0;
    return s->count >= LEAST && s->up > LAMBDA;
}

/* Neighbouring places make a bin as soon as they hold their share of the reference. */
static double psi(const struct drift *drift)
{
    int64_t expected[DRIFT_BINS] = {0}, actual[DRIFT_BINS] = {0};
    int bin = 0;

    for (int i = 0; i < DRIFT_PLACES; i++) {
        expected[bin] += drift->reference[i];
        actual[bin] += drift->newest[i];
        if (bin + 1 < DRIFT_BINS && expected[bin] * DRIFT_BINS >= drift->reference_count)
            bin++;
    }
    return ranking_metrics_psi(expected, actual, bin + 1);
}

static void add_place(struct drift *drift, double place)
{
    int at = (int)(place * DRIFT_PLACES);
    uint8_t *slot = &drift->window[drift->served_count % DRIFT_WINDOW];

    at = at < 0 ? 0 : at >= DRIFT_PLACES ? DRIFT_PLACES - 1 : at;
    if (drift->reference_count < DRIFT_WINDOW) {
        drift->reference[at]++;
        drift->reference_count++;
        return;
    }
    if (drift->served_count >= DRIFT_WINDOW)
        drift->newest[*slot]--;
    *slot = (uint8_t)at;
    drift->newest[at]++;
    drift->served[at]++;
    if (++drift->served_count >= DRIFT_WINDOW)
        drift->psi = psi(drift);
}

void drift_add(struct drift *drift, double place, double log_loss)
{
    if (!isfinite(place) || !isfinite(log_loss))
        return;
    add_place(drift, place);
    drift->recent_loss = drift->recent_loss == 0
                             ? log_loss
                             : LOSS_MEAN * drift->recent_loss + (1 - LOSS_MEAN) * log_loss;
    drift->alarm |= page_hinkley_add(&drift->loss, log_loss);
}
