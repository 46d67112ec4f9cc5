/* retrain/drift.c - windows of places, and one series of losses. */
#include "retrain/drift.h"

#include "retrain/ranking_metrics.h"

#include <math.h>
#include <string.h>

#define LEAST     30
#define DELTA     .005
#define LAMBDA    50.0
#define FORGET    .9999
#define LOSS_MEAN .99

void drift_begin(struct drift *drift)
{
    *drift = (struct drift){0};
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

static void add_place(struct drift *drift, double place)
{
    int bin = (int)(place * DRIFT_BINS);

    bin = bin < 0 ? 0 : bin >= DRIFT_BINS ? DRIFT_BINS - 1 : bin;
    if (drift->reference_count < DRIFT_WINDOW) {
        drift->reference[bin]++;
        drift->reference_count++;
        return;
    }
    drift->window[bin]++;
    if (++drift->window_count < DRIFT_WINDOW)
        return;
    drift->psi = ranking_metrics_psi(drift->reference, drift->window, DRIFT_BINS);
    memset(drift->window, 0, sizeof drift->window);
    drift->window_count = 0;
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
