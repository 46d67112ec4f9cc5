/*
 * retrain/evaluate.h - would these weights have ranked the newest choices better?
 *
 * Flow: challenger, champion, held-out events -> [walk: rank, then count] -> evaluation -> gate
 *
 * Each held-out choice of an item that is new to its user and that no shown list prompted (all
 * choices, where those are too few: holdout.h) is ranked by four arms through
 * scorer/rank.h, the very code that will serve: the challenger, the champion, co-visitation (what
 * serves without a model) and decayed popularity. Full ranking over recall; what recall does not
 * find is a miss for all. Differences are bootstrapped over users.
 * Beside it each scalar is asked what it says of the choice in the list that training would learn
 * it from, and what serving's counts say of the same rows: a feature that holds its own example, or
 * knows the answer in any other way, knows it in training alone.
 * Thread: one.
 */
#ifndef RETRAIN_EVALUATE_H
#define RETRAIN_EVALUATE_H

#include "eval/bootstrap.h"
#include "features/rules.h"
#include "kernels/model.h"
#include "retrain/holdout.h"
#include "retrain/lists.h"
#include "schemas/batch.h"

#include <stdbool.h>
#include <stdint.h>

#define EVALUATE_K 10

/* clang-format off */
#define EVALUATE_ARM_LIST(X)         \
    X(CHALLENGER,   "challenger")    \
    X(CHAMPION,     "champion")      \
    X(COVISITATION, "covisitation")  \
    X(POPULARITY,   "popularity")

enum evaluate_arm {
#define X(id, name) EVALUATE_##id,
    EVALUATE_ARM_LIST(X)
#undef X
    EVALUATE_ARMS
};
/* clang-format on */
extern const char *const evaluate_arm_names[EVALUATE_ARMS];

struct evaluation {
    int64_t events, users;
    bool answers; /* judged by choices from shown lists too */
    int64_t from_ms, to_ms;
    bool has_champion; /* else its numbers are zero */
    struct {
        double ndcg, hit_rate;          /* at EVALUATE_K */
        struct bootstrap_interval gain; /* of the challenger's NDCG over this arm's */
    } arms[EVALUATE_ARMS];
    /* The challenger with its products rounded to bf16, where that was asked for. */
    struct {
        bool measured;
        double ndcg;                    /* at EVALUATE_K */
        struct bootstrap_interval loss; /* of the challenger's NDCG over it */
        double most; /* end of that interval that is farther from 0, without its sign */
    } rounded;
    int64_t compared; /* choices whose list was there: what the scalars below are means of */
    /* In the order of scalar_rows: share of the other rows that it puts below the choice. */
    struct {
        double trained, served;
        double error; /* standard error of their difference */
    } scalars[BATCH_SCALARS_MAX];
};

/* One evaluation that is walked piece by piece, so that a trainer on one thread goes on following.
 */
struct evaluator;
struct evaluator_options {
    const struct holdout *holdout; /* borrowed, and must not change until it is done */
    const struct sequences *sequences;
    const struct rules *rules;
    const struct model *challenger;
    const struct model *champion; /* NULL: none yet */
    const struct model *rounded;  /* model_copy_rounded() of the challenger; NULL: not asked */
    struct holdout_window window; /* its from_ms: earlier choices may have been trained on */
    const struct lists *pool; /* recalled lists not yet learnt from, borrowed and not changed; or
                                 NULL: scalars are not compared */
    const struct item_tables *tables; /* that the pool's rows are indices of; with a pool */
    int recall_next;                  /* of rank_request: as serve has it */
    uint64_t seed;
};
MUST_CHECK enum status evaluator_create(struct evaluator **evaluator,
                                        const struct evaluator_options *options, struct error *err);
void evaluator_destroy(struct evaluator *evaluator); /* NULL is fine */
/* Walks at most `most` choices on; *done when there are none left. Errors: ERR_NOMEM, ERR_LIMIT */
MUST_CHECK enum status evaluator_walk(struct evaluator *evaluator, int most, bool *done,
                                      struct error *err);
/* Errors: ERR_NOMEM */
MUST_CHECK enum status evaluator_result(struct evaluator *evaluator, struct evaluation *evaluation,
                                        struct error *err);

#endif
