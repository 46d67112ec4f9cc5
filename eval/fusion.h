/*
 * eval/fusion.h - the network's word and what counting says, weighed against each other.
 *
 * Flow: network, signals -> [fusion: weights learnt on validation] -> the model's row
 *
 * Late fusion as MODEL.md section 3 has it: score = sum of weight_k * feature_k, features being the
 * network's next-item score and logarithms of counts. The weights are learnt on validation targets,
 * which no count holds: a weight learnt where the counts hold their own example leans on them.
 * First by maximum likelihood (a softmax over all items, convex, few weights, a prior at the
 * beginning ones), then each in turn by NDCG@10 on the same targets, where that is better by more
 * than luck could make it.
 *
 * A lesson holds a target's best rivals by the beginning weights and a draw from the rest. That is
 * enough to learn weights near those from, not to say how well a feature unlike them orders: its
 * best rivals are in the draw. So whether one feature alone orders better than all together is
 * decided by a contest in which every feature, and all together by weights learnt from the other
 * targets, rank each validation target among all items. The best feature is taken alone where it is
 * ahead by more than FUSION_SURE standard errors of the paired difference; where luck may have made
 * the difference, all together stay. A feature that stands far above the others is then the model;
 * below a baseline that is a feature the model is not expected to be, but for noise.
 * Thread: one; scoring any.
 */
#ifndef EVAL_FUSION_H
#define EVAL_FUSION_H

#include "eval/signals.h"

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define FUSION_FEATURE_LIST(X)            \
    X(NETWORK,   "network",       1)      \
    X(LIFETIME,  "popularity",    0)      \
    X(FAST,      "popular_now",   .1f)    \
    X(DECAYED,   "popular_week",  .1f)    \
    X(SLOW,      "popular_lately", 0)     \
    X(COVIS,     "covis",         .3f)    \
    X(CHAIN,     "chain",         .3f)    \
    X(KNN,       "item_knn",      .1f)    \
    X(RELATED,   "covisitation",  0)      \
    X(FTRL,      "ftrl",          0)      \
    X(TWO_TOWER, "two_tower",     0)      \
    X(REPEATS,   "repeats",       0)      \
    X(RECENCY,   "recency",       0)

enum fusion_feature {
#define X(id, name, begin) FUSION_##id,
    FUSION_FEATURE_LIST(X)
#undef X
    FUSION_FEATURES
};
/* clang-format on */
extern const char *const fusion_feature_names[FUSION_FEATURES];

/* FTRL and the two-tower are baselines that no scorer has: a model that is to be served does
 * without. */
enum fusion_members { FUSION_SERVED, FUSION_EVERYTHING };
bool fusion_is_served(int feature);

struct fusion {
    float weight[FUSION_FEATURES];
};

void fusion_begin(struct fusion *fusion); /* weights before anything is known */

/* What features are made with. */
struct fusion_world {
    int32_t items;         /* V */
    int64_t events;        /* of training */
    const float *lifetime; /* (V) */
    bool repeats;          /* features of repeats are used: a chosen item may be chosen again */
};

/* features (FUSION_FEATURES) arrays of (V), from the network's scores (V) and the signals. FTRL and
 * TWO_TOWER are the caller's: the scores as they are, 0 where there are none. */
void fusion_features(float *const features[FUSION_FEATURES], const struct fusion_world *world,
                     const float *network, const float *const of[SIGNAL_COUNT]);
/* scores (V) = weights over features. */
void fusion_score(float *scores, const struct fusion *fusion, const float *const features[],
                  int32_t items);

/* Validation targets: of each the features of its best rivals by the beginning weights, and of some
 * of the rest, drawn evenly, that stand for all of it. Rivals chosen for a feature alone would have
 * more of it than the target by the choice itself, and its weight would come out too low. */
struct fusion_lesson;
#define FUSION_CANDIDATES 500
#define FUSION_STRIDE     (FUSION_FEATURES + 1) /* the last: ln of how many items a row stands for */
MUST_CHECK enum status fusion_lesson_create(struct fusion_lesson **lesson, int64_t targets_max,
                                            struct error *err);
void fusion_lesson_destroy(struct fusion_lesson *lesson); /* NULL is fine */
/* Room of target number at, 0 <= at < targets_max, filled by any thread: rows (FUSION_CANDIDATES,
 * FUSION_STRIDE), the target's own first, and how many there are; 0: none, not to be learnt. */
float *fusion_lesson_rows(struct fusion_lesson *lesson, int64_t at);
void fusion_lesson_set(struct fusion_lesson *lesson, int64_t at, int32_t rows);

struct fusion_report {
    int64_t targets;
    double likelihood_before, likelihood_after; /* mean log-probability */
    double ndcg_before, ndcg_after;             /* among the candidates */
    /* By fusion_choose(): among all items, of what was not learnt from; of the best feature alone
     * where one was taken, else of all together. */
    double ndcg_contest;
    int alone; /* the feature that was taken alone; FUSION_FEATURES: none */
};
/* ln(p / (1 - p)), p = e^score / total, kept finite. */
float fusion_logit(double score, double total);
/* Of each target of the lesson the `top` best rows by these weights: the logit of the chance that
 * it is the one by the softmax of the lesson, and whether it was. logits, labels (targets_max *
 * top). Returns how many. */
int64_t fusion_logits(const struct fusion *fusion, const struct fusion_lesson *lesson, int top,
                      float *logits, float *labels);
/* From the weights in *fusion, which are the beginning ones; those that are no members stay. */
void fusion_learn(struct fusion *fusion, const struct fusion_lesson *lesson,
                  enum fusion_members members, struct fusion_report *report);

/* NDCG@10 of validation targets by weights that were learnt without them, and by each feature
 * alone. Weights fold[t % folds] were learnt without target number t. */
#define FUSION_FOLDS       5
#define FUSION_SURE        2.                    /* standard errors */
#define FUSION_CONTESTANTS (FUSION_FEATURES + 1) /* the last: all together */
struct fusion_contest {
    int folds;
    struct fusion fold[FUSION_FOLDS];
    float *ndcg; /* (targets_max, FUSION_CONTESTANTS) the caller's; 0 of a miss */
};
/* Learns the weights of each fold from those in *begin; ndcg is left alone. */
void fusion_learn_folds(struct fusion_contest *contest, const struct fusion *begin,
                        const struct fusion_lesson *lesson, enum fusion_members members);
/* After fusion_learn(): the best served feature alone instead, where the contest says so. */
void fusion_choose(struct fusion *fusion, const struct fusion_lesson *lesson,
                   const struct fusion_contest *contest, struct fusion_report *report);

#endif
