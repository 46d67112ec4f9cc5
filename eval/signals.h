/*
 * eval/signals.h - what counting alone says about every item for one request.
 *
 * Flow: split -> neighbours -> [signals] -> baselines' rows, late fusion -> full ranking
 *
 *   LIFETIME   training events of the item
 *   DECAYED    of those before the request, sum of exp(-age / 7 d); without times an age is counted
 *              in events, a twentieth of them for 7 d
 *   FAST, SLOW the same with ages in events, a hundredth and an eighth of them
 *   RELATED    sum over the last 10 items h_k, newest first, .9^k C[h_k, i] / sqrt(1 + count_i)
 *   COVIS      the same with .8^k F[h_k, i] / sqrt(count_i)
 *   CHAIN      sum over the last 5 items .6^k F[h_k, i] / (total of the row + 3), an estimate of a
 *              probability
 *   KNN        sum over the last 100 items of their cosine with i
 *   REPEATS    times the item is in the history, RECENCY 1 / (events since the last of them)
 *
 * Only training events are counted, whenever they are, but for the decayed ones: there the request
 * sees those before it alone.
 * Thread: one a view; views share the counts.
 */
#ifndef EVAL_SIGNALS_H
#define EVAL_SIGNALS_H

#include "eval/split.h"
#include "kernels/crew.h"

#include <stdint.h>

enum signal {
    SIGNAL_LIFETIME,
    SIGNAL_DECAYED,
    SIGNAL_FAST,
    SIGNAL_SLOW,
    SIGNAL_RELATED,
    SIGNAL_COVIS,
    SIGNAL_CHAIN,
    SIGNAL_KNN,
    SIGNAL_REPEATS,
    SIGNAL_RECENCY,
    SIGNAL_COUNT
};

struct signals;
/* Errors: ERR_NOMEM */
MUST_CHECK enum status signals_create(struct signals **signals, const struct split *split,
                                      struct crew *crew, struct error *err);
void signals_destroy(struct signals *signals);                /* NULL is fine */
const float *signals_lifetime(const struct signals *signals); /* (V) */

struct signals_view;
MUST_CHECK enum status signals_view_create(struct signals_view **view,
                                           const struct signals *signals, struct error *err);
void signals_view_destroy(struct signals_view *view); /* NULL is fine */

/* Of the target event; targets must come in the order of time. The arrays (SIGNAL_COUNT) of (V)
 * are valid until the next call. */
void signals_view_at(struct signals_view *view, int64_t event, const float *of[SIGNAL_COUNT]);

#endif
