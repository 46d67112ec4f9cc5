/*
 * retrain/backtest.h - the whole loop in one process: would this have helped on your data?
 *
 * Flow: events of a file, in order -> [score, then learn] -> rows of metrics
 *
 * Test-then-train on a virtual clock: each evaluated event is first ranked for its user by every
 * arm with what was known before it, then applied to the in-memory store, the item tables and the
 * learner. The model's arm is what `freshet serve` would answer: recall by popularity,
 * co-visitation and (recall_next) next-item scores, the model's head over it (scorer/rank.h),
 * everything not recalled a miss. Candidates are all items seen so far without the user's own; a
 * repeated (user, item) is neither target nor counted by the baselines; a brand-new item is a miss
 * for all. Shown lists are learnt from when their labels are complete, as `freshet retrain` does
 * it, and before that judged as logged lists (retrain/logged.h). Deterministic for a seed: no clock
 * decides anything. Thread: one.
 */
#ifndef RETRAIN_BACKTEST_H
#define RETRAIN_BACKTEST_H

#include "eval/bootstrap.h"
#include "features/rules.h"
#include "retrain/learner.h"
#include "retrain/logged.h"

#include <stdbool.h>
#include <stdint.h>

#define BACKTEST_ROWS_MAX 8
#define BACKTEST_SPANS    20   /* of evaluated events, in which a study is followed */
#define BACKTEST_LISTED   1100 /* places of the model's arm that are looked at: all of recall's */

struct backtest_options {
    struct learner_options learner; /* rules set by the caller */
    int k;                          /* of HR@k and NDCG@k */
    int recall_next;                /* of rank_request */
    bool model;                     /* false: the baselines alone */
    int train_every;                /* events between two trainings; as many lists a step */
    /* 0: the model scores with its newest weights. Else with a copy taken that often: how fresh
     * must it be? Histories and item tables stay fresh. */
    int64_t cadence_ms;
    /* Also scores with weights frozen at the first evaluated event, and renewed every day and every
     * hour: what is freshness worth here? */
    bool study;
    /* From the first evaluated event on nothing is learnt and nothing counted: what is worth that
     * which was known then? */
    bool frozen;
    double position_bias; /* of logged lists, see logged_result(); below 0: estimated */
};
void backtest_options_init(struct backtest_options *options, const struct rules *rules);

/* Progressive figures of a row: over one part of the evaluated events. */
struct backtest_span {
    double hit_rate, ndcg, auc, entropy;
};

struct backtest_row {
    char name[32];
    double hit_rate, ndcg, reciprocal; /* means over the evaluated events */
    /* Of the model's rows: share of the ranked items below the target, a miss counting as half; and
     * log-loss of the target by a softmax over what was ranked, over that of knowing nothing, where
     * the target was among them. NaN of other rows. */
    double auc, entropy;
    struct backtest_span spans[BACKTEST_SPANS]; /* in the order of the stream */
    /* The model against this row, paired over users. Zero on the model's own row. */
    struct bootstrap_interval hit_rate_gain, ndcg_gain;
};

struct backtest_result {
    struct backtest_row rows[BACKTEST_ROWS_MAX];
    int rows_count;
    int model_row; /* -1: none */
    int k;
    int64_t events, evaluated, brand_new, repeated;
    int64_t users, items;
    int spans_count;              /* 0: fewer events than spans */
    double recalled_share;        /* evaluated targets among what the model ranked */
    double scoring_s, learning_s; /* of the model's arm */
    struct logged_result logged;  /* of the lists shown since the first evaluated event */
    int64_t waiting;              /* shown lists whose labels might still have come at the end */
    struct learner_progress learning;
};

struct backtest;
/* Errors: as learner_create() */
MUST_CHECK enum status backtest_create(struct backtest **backtest,
                                       const struct backtest_options *options, struct error *err);
void backtest_destroy(struct backtest *backtest); /* NULL is fine */

/* What is said of an item, before the events. Errors: ERR_NOMEM */
MUST_CHECK enum status backtest_item(struct backtest *backtest, const struct item *item,
                                     struct error *err);

/* The next event: ranked first when it is to be evaluated (and can be), then learnt from.
 * Errors: ERR_NOMEM, ERR_LIMIT */
MUST_CHECK enum status backtest_event(struct backtest *backtest, const struct event *event,
                                      bool evaluate, struct error *err);
/* Errors: ERR_NOMEM */
MUST_CHECK enum status backtest_result(struct backtest *backtest, struct backtest_result *result,
                                       struct error *err);

#endif
