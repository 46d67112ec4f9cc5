/*
 * eval/eval.h - how well does the model rank on a data set, beside what counting can do?
 *
 * Flow: file -> interactions -> split -> [fit with early stopping -> fusion -> full ranking] ->
 *       rows, slices, curve -> report
 *
 * What the protocols mean is in eval/split.h, what is ranked in eval/full_ranking.h. Early
 * stopping and the weights of the fusion look at validation targets; the test is looked at once.
 * The same file, options, seed and thread count give the same bits; a run that was interrupted and
 * went on from its checkpoint too.
 * Thread: one.
 */
#ifndef EVAL_H
#define EVAL_H

#include "eval/bootstrap.h"
#include "eval/fit.h"
#include "eval/full_ranking.h"
#include "eval/fusion.h"
#include "eval/interactions.h"
#include "eval/platt.h"
#include "eval/split.h"

#include <stdbool.h>
#include <stdint.h>

#define EVAL_CUTS       5
#define EVAL_CUT_MAIN   2 /* of them: 10 */
#define EVAL_EPOCHS_MAX 1000
#define EVAL_SLICES     8
#define EVAL_SLICE_NEW  (EVAL_SLICES - 1) /* of slices: targets without a training event */
#define EVAL_TEXT_WIDTH 128
#define EVAL_CLIP       10.0           /* what a target counts at most by propensity */
extern const int eval_cuts[EVAL_CUTS]; /* 1, 5, 10, 20, 50 */

struct eval_options {
    struct interactions_options data;
    enum split_protocol protocol;
    struct fit_options fit; /* epochs 0: as many as its size allows, up to 60 */
    int patience;           /* epochs without a better validation; 0: a fourth of the planned */
    bool keep_seen;
    bool baselines;         /* only those */
    const char *items;      /* file that says what items are (eval/item_texts.h); NULL: none */
    bool text;              /* the network reads it, too */
    const char *checkpoint; /* file to go on from and to save to after each epoch; NULL: none */
};
void eval_options_init(struct eval_options *options, const char *preset);

struct eval_row {
    const char *name;
    double hit_rate[EVAL_CUTS], ndcg[EVAL_CUTS];
    double reciprocal; /* MRR */
    double auc;        /* over the candidates of all targets together; NAN where there is none */
    double auc_users;  /* share of candidates ranked below the target: the mean of users' AUC,
                          weighted by their targets (GAUC) */
    /* Clicks by inverse propensity: a target counts (most / count)^.5 times, count being that of
     * its item in training, at most EVAL_CLIP times. What is popular is met more often, and choices
     * of what is rare say more than their number. Source: Yang et al. 2018. */
    double hit_rate_ips, ndcg_ips; /* @10, self-normalised */
    /* Of the chance that each of the top 10 is the one, by a softmax over all candidates and a
     * Platt pair fitted on validation; over targets that are candidates with a training event. NAN
     * where scores are no log-probabilities. NE, ECE, PCOC. */
    double entropy, calibration_error, predicted_over_seen;
    double average_precision;                           /* MAP@10 */
    double precision, f1;                               /* @10 */
    double coverage, gini, novelty;                     /* of the top 10 */
    struct bootstrap_interval hit_rate_self, ndcg_self; /* @10, over users */
    struct bootstrap_interval hit_rate_gain, ndcg_gain; /* the model's over this row, @10 */
};

/* Targets that have something in common. */
struct eval_slice {
    const char *name;
    int64_t targets;
    double hit_rate[ARM_COUNT], ndcg[ARM_COUNT]; /* @10 */
};

struct eval_epoch {
    double loss;
    double ndcg, hit_rate; /* @10 of the network on validation */
    double seconds;        /* of training, since the begin */
};

struct eval_result {
    int64_t events, refused, ignored, train_events, targets, validation_targets, short_users;
    int64_t masked;  /* test targets among the user's training items: missed by every row */
    int64_t unknown; /* test targets without a training event */
    int32_t users, items;
    bool timed, repeats;
    struct eval_row rows[ARM_COUNT];
    int rows_count;
    struct eval_slice slices[EVAL_SLICES];
    int slices_count;
    /* Of test targets without a training event that a row was made for: ranked among all such items
     * by model_cold, @10, and what chance would give. items 0: not asked for. */
    struct eval_new {
        int64_t targets;
        int32_t items, described;
        double hit_rate, ndcg, chance;
    } among_new;
    double fairness_gap; /* NDCG@10 of the model, over slices of history of at least 200 users */
    double stability, same_first; /* RBO.9 and equal first items, model against network */
    struct eval_epoch curve[EVAL_EPOCHS_MAX];
    int epochs, best_epoch, epochs_planned; /* best_epoch counts from 1 */
    struct fit_options fit;
    bool bf16;              /* steps were of bf16 */
    const char *products;   /* that in words, or why not; NULL without a network */
    struct fusion fusion;   /* the model's */
    struct fusion ensemble; /* model_ensemble's: with the learnt baselines */
    struct fusion_report fusion_report;
    struct platt platt[FULL_RANKING_LIKELY]; /* of the model's and the network's logits */
    double reading_s, counting_s, training_s, validating_s, ranking_s;
    int64_t rejected_steps;
    bool resumed;
};

/* Errors: as interactions_load(), split_make(), fit_create(); ERR_CANCELLED: interrupted, the text
 * says how to go on; ERR_CONFLICT: the checkpoint is of other data or options. */
MUST_CHECK enum status eval_run(struct eval_result *result, const char *path,
                                const struct eval_options *options, struct error *err);

#endif
