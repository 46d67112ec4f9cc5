/*
 * retrain/drift.h - has the world moved away from the weights that serve?
 *
 * Flow: each new choice, scored by the champion before it is learnt from -> [drift] -> a round
 *
 * Inputs of two kinds. The place of the choice among what recall offered, by the champion's scores
 * (0 first .. 1 last), is shown to operators as PSI: the newest DRIFT_WINDOW places against those
 * under the champions before, each with half the weight of its successor. Like is compared with
 * like: what a champion serves decides what can be chosen, so choices of before its publication
 * stand elsewhere in its order although nobody's taste has changed (the demo: PSI around .7,
 * always), and a reference of its own first choices never gets done where champions serve for
 * seconds (the demo: PSI 0, always). Only the first champion has to do with that. The champion's
 * list log-loss goes through Page-Hinkley, which alone calls for retraining: a change of inputs
 * that costs nothing is no reason. Source: Page 1954 in the form of Gama et al. 2014 (delta .005,
 * lambda 50 of standardised values, forgetting .9999, at least 30). Thread: one.
 */
#ifndef RETRAIN_DRIFT_H
#define RETRAIN_DRIFT_H

#include <stdbool.h>
#include <stdint.h>

/* Equal distributions give about (bins - 1) * (1/window + 1/reference) = .05: half of "watch". */
#define DRIFT_BINS      10 /* of equal mass of the reference, made of places */
#define DRIFT_PLACES    64
#define DRIFT_WINDOW    200
#define DRIFT_REFERENCE 1000 /* choices it weighs at most; at least a window before it is used */

struct page_hinkley {
    double mean, variance, up; /* up: how far above its own mean the series has run */
    int64_t count;
};

struct drift {
    struct page_hinkley loss;
    int64_t reference[DRIFT_PLACES]; /* of champions before */
    int64_t served[DRIFT_PLACES];    /* of this one, all its time */
    int64_t newest[DRIFT_PLACES];    /* the window's */
    uint8_t window[DRIFT_WINDOW];    /* places as numbers of these, a ring */
    int64_t reference_count, served_count;
    double psi;         /* once the window is full; until then that of the champion before */
    double recent_loss; /* moving mean */
    bool alarm;         /* until drift_begin() */
};

/* Another champion serves from here on. A zeroed struct has begun. */
void drift_begin(struct drift *drift);
/* place: 0 first .. 1 last. Values that are not finite are ignored. */
void drift_add(struct drift *drift, double place, double log_loss);
/* True when the series has risen for good. */
bool page_hinkley_add(struct page_hinkley *series, double value);

#endif
