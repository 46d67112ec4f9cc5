/*
 * eval/full_ranking.h - every target ranked among all items, by every arm.
 *
 * Flow: split, signals, network, fusion -> [full ranking] -> ranks -> eval's rows
 *
 * Candidates are all items of the data, never a sample of them; the items of the user's training
 * events are masked (a target among them is a miss) unless seen ones are kept. Ties are averaged.
 * An item without a training event has no row that was ever trained: the network puts it last. But
 * for the arm model_cold, asked for with `cold`: there such an item may have the mean of the rows
 * of items like it; and for model_floor, the same with the last place of the top list kept for the
 * best of such items (serve.new_share .1). Where the data knows no repeats the model's arms leave
 * out the whole history, as serving does. The arm model is the network weighed against what can be
 * counted where lists are served; model_ensemble knows the learnt baselines, too, which no server
 * has.
 *
 * Each thread has a range of targets and writes each one's ranks in its place, so the result is the
 * same for any number of threads.
 * Thread: one.
 */
#ifndef EVAL_FULL_RANKING_H
#define EVAL_FULL_RANKING_H

#include "eval/ftrl.h"
#include "eval/fusion.h"
#include "eval/signals.h"
#include "eval/split.h"
#include "eval/two_tower.h"
#include "kernels/crew.h"
#include "kernels/model.h"
#include "ops/progress.h"

#include <stdbool.h>
#include <stdint.h>

#define FULL_RANKING_TOP 10 /* items of a list that exposure and stability look at */
#define FULL_RANKING_LIKELY                                                                        \
    2 /* the first arms: their scores are log-probabilities, but for a scale */

/* clang-format off */
#define FULL_RANKING_ARM_LIST(X)                    \
    X(MODEL,             "model")                   \
    X(NETWORK,           "network")                 \
    X(POPULARITY,        "popularity")              \
    X(POPULARITY_NOW,    "popularity_7d")           \
    X(COVISITATION,      "covisitation")            \
    X(COVISITATION_ONLY, "covisitation_only")       \
    X(ITEM_KNN,          "item_knn")                \
    X(FTRL,              "ftrl")                    \
    X(TWO_TOWER,         "two_tower")               \
    X(MODEL_ENSEMBLE,    "model_ensemble")          \
    X(MODEL_COLD,        "model_cold")              \
    X(MODEL_FLOOR,       "model_floor")

enum full_ranking_arm {
#define X(id, name) ARM_##id,
    FULL_RANKING_ARM_LIST(X)
#undef X
    ARM_COUNT
};
/* clang-format on */
extern const char *const full_ranking_arm_names[ARM_COUNT];

struct full_ranking_world {
    const struct split *split;
    const struct signals *signals;
    struct crew *crew;
    const struct ftrl *ftrl; /* NULL: not asked for */
    const struct two_tower *two_tower;
    const uint8_t
        *cold; /* (V) never trained, but it has a row to score with; NULL: not asked for */
    struct model *model;           /* NULL: no network, and the model's arm is fusion alone */
    const struct fusion *fusion;   /* NULL: the beginning weights */
    const struct fusion *ensemble; /* with the learnt baselines; NULL: not asked for */
    bool (*stopping)(void);        /* asked now and then; NULL: never */
    bool keep_seen;
    bool repeats; /* the data has some: history items may be chosen again */
};

/* Is a choice of what the user has had common in training? */
bool full_ranking_repeats(const struct split *split);

struct full_ranking {
    int64_t count;
    double *rank[ARM_COUNT]; /* (count) RANKING_METRICS_MISS where masked; NULL: not asked for */
    int64_t *exposed[ARM_COUNT]; /* (V) in how many top lists */
    double
        pooled_auc[ARM_COUNT]; /* eval/pooled_auc.h; NAN of model_floor, and where there is none */
    int32_t *candidates;       /* (count) items that were not masked */
    float *overlap;            /* (count) RBO of the model's top list and the network's */
    uint8_t *same_first;       /* (count) and whether they begin alike */
    /* Of the model and the network, whose scores are those of a softmax: (count, FULL_RANKING_TOP)
     * ln(p / (1 - p)) of the chance of each of the top items, NAN beyond the last of them; and
     * (count) which of them is the target, or -1. */
    float *logit[FULL_RANKING_LIKELY];
    int8_t *target_at[FULL_RANKING_LIKELY];
    double *among_new; /* (count) rank of a target without a training event among its like, by
                          model_cold; RANKING_METRICS_MISS of others */
};

/* Errors: ERR_NOMEM, ERR_CANCELLED */
MUST_CHECK enum status full_ranking_run(struct full_ranking *ranking,
                                        const struct full_ranking_world *world,
                                        const struct split_targets *targets,
                                        struct progress *progress, struct error *err);
void full_ranking_clear(struct full_ranking *ranking); /* zeroed is fine */

/* The network's ranks alone, for early stopping: ranks (targets). Errors: ERR_NOMEM */
MUST_CHECK enum status full_ranking_network(double *ranks, const struct full_ranking_world *world,
                                            const struct split_targets *targets, struct error *err);

/* What fusion learns from. Errors: ERR_NOMEM */
MUST_CHECK enum status full_ranking_lesson(struct fusion_lesson *lesson,
                                           const struct full_ranking_world *world,
                                           const struct split_targets *targets, struct error *err);
/* The same targets ranked among all items by each feature alone and by the weights of their fold:
 * contest->ndcg. Errors: ERR_NOMEM */
MUST_CHECK enum status full_ranking_contest(struct fusion_contest *contest,
                                            const struct full_ranking_world *world,
                                            const struct split_targets *targets, struct error *err);

#endif
