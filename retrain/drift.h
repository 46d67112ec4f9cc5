/*
 * retrain/drift.h - has the world moved away from the weights that serve?
 *
 * Flow: each new choice, scored by the champion before it is learnt from -> [drift] -> a round
 *
 * Inputs of two kinds. The place of the choice among what recall offered, by the champion's scores
 * (0 first .. 1 last), is histogrammed in windows; the PSI of a window against the first one after
 * publication is shown to operators. The champion's list log-loss goes through Page-Hinkley, which
 * alone calls for retraining: a change of inputs that costs nothing is no reason.
 * Source: Page 1954 in the form of Gama et al. 2014 (delta .005, lambda 50 of standardised
 * values, forgetting .9999, at least 30).
 * Thread: one.
 */
#ifndef RETRAIN_DRIFT_H
#define RETRAIN_DRIFT_H

#include <stdbool.h>
#include <stdint.h>

#define DRIFT_BINS   10
#define DRIFT_WINDOW 200 /* choices of one window */

struct page_hinkley {
    double mean, variance, up; /* up: how far above its own mean the series has run */
    int64_t count;
};

struct drift {
    struct page_hinkley loss;
    int64_t reference[DRIFT_BINS], window[DRIFT_BINS];
    int64_t reference_count, window_count;
    double psi;         /* of the last full window */
    double recent_loss; /* moving mean */
    bool alarm;         /* until drift_begin() */
};

/* Another champion serves from here on: everything before says nothing about it. */
void drift_begin(struct drift *drift);
/* place: 0 first .. 1 last. Values that are not finite are ignored. */
void drift_add(struct drift *drift, double place, double log_loss);
/* True when the series has risen for good. */
bool page_hinkley_add(struct page_hinkley *series, double value);

#endif
