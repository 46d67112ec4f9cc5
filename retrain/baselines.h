/*
 * retrain/baselines.h - what a model has to beat: popularity and co-visitation, by fixed rules.
 *
 * Flow: events, one after the other -> [rank, then learn] -> backtest's rows
 *
 * The anchors are simple on purpose and never tuned, so that figures stay comparable over years
 * and with other people's code:
 *     popularity         number of events of the item
 *     popularity_7d      sum over its events of exp(-age / 7 d)
 *     covisitation_only  (sum over the user's last 10 items h_k, newest first, of
 *                        0.9^k C[h_k, i]) / sqrt(1 + count_i), divided by its maximum
 *     covisitation       the same plus 0.3 * popularity_7d divided by its maximum
 * where an event of item i adds 1/d to C[b, i] and 0.5/d to C[i, b] for the d-th last b of the
 * user's 5 previous items. The fused feature of the model is another formula (`covis`,
 * features/item_tables.h) and never called by these names.
 *
 * Candidates are all items seen so far but the user's own. A repeated (user, item) is neither a
 * target nor counted: ask baselines_seen() first. Maxima are over all items seen.
 * Thread: one.
 */
#ifndef RETRAIN_BASELINES_H
#define RETRAIN_BASELINES_H

#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define BASELINE_LIST(X)                        \
    X(POPULARITY,        "popularity")          \
    X(POPULARITY_7D,     "popularity_7d")       \
    X(COVISITATION,      "covisitation")        \
    X(COVISITATION_ONLY, "covisitation_only")

enum baseline {
#define X(id, name) BASELINE_##id,
    BASELINE_LIST(X)
#undef X
    BASELINE_COUNT
};
/* clang-format on */
extern const char *const baseline_names[BASELINE_COUNT];

struct baselines;
MUST_CHECK enum status baselines_create(struct baselines **baselines, struct error *err);
void baselines_destroy(struct baselines *baselines); /* NULL is fine */

/* Users and items are small numbers from 0 that the caller gives out; any order. */
bool baselines_seen(const struct baselines *baselines, int32_t user, int32_t item);

/**
 * Ranks of item for user by each baseline, from 0, ties averaged; RANKING_METRICS_MISS for an
 * item never seen. Not to be asked for an item the user has. No time: decay is a common factor.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum status baselines_rank(struct baselines *baselines, int32_t user, int32_t item,
                                      double ranks[BASELINE_COUNT], struct error *err);

/* Counts the event; a repeated one is ignored. Errors: ERR_NOMEM. */
MUST_CHECK enum status baselines_learn(struct baselines *baselines, int32_t user, int32_t item,
                                       int64_t time_ms, struct error *err);

#endif
