/*
 * retrain/logged.h - lists that were shown, judged once more: how would another order have done,
 * and do probabilities hold?
 *
 * Flow: shown lists with their labels -> [logged: score, before anything learns from them] -> rows
 *
 * A logged list knows its history, its raw counts and who was clicked, so any ranker can order its
 * rows anew. Clicks lie, though: what stood first was looked at more. So each click counts
 * 1 / look(position) times, at most LOGGED_CLIP times (inverse propensity, clipped and
 * self-normalised): an order is not praised for repeating the one that was shown. look() is
 * estimated from the log: a click is a look and a liking, a look depends on the position, a liking
 * on the model's score. Whoever made the lists put what was liked to the top, so click rates alone
 * would say too much, and where it knew more of the user than the model does, so does the estimate:
 * then clicks further down count for more than they should. Whoever knows better, by lists that
 * were shuffled, says so. Source: Joachims, Swaminathan, Schnabel 2017 (weights); Wang et al. 2018
 * (regression-based EM).
 *
 * Probabilities are the model's score with the bias of its position, through a Platt pair that is
 * refitted as lists come in, always on earlier ones than it is used on.
 * Thread: one.
 */
#ifndef RETRAIN_LOGGED_H
#define RETRAIN_LOGGED_H

#include "eval/bootstrap.h"
#include "eval/platt.h"
#include "features/item_tables.h"
#include "kernels/model.h"
#include "retrain/lists.h"

#include <stdint.h>

#define LOGGED_K         10   /* of NDCG@K */
#define LOGGED_POSITIONS 20   /* told apart; further ones are looked at like the last */
#define LOGGED_CLIP      10.0 /* what one click counts at most */

/* clang-format off */
#define LOGGED_ARM_LIST(X)                \
    X(MODEL,        "model")              \
    X(SHOWN,        "as_shown")           \
    X(POPULARITY,   "popularity_7d")      \
    X(COVISITATION, "covisitation_only")

enum logged_arm {
#define X(id, name) LOGGED_##id,
    LOGGED_ARM_LIST(X)
#undef X
    LOGGED_ARMS
};
/* clang-format on */
extern const char *const logged_arm_names[LOGGED_ARMS];

struct logged_row {
    double ndcg;                     /* @K of the list as it was clicked */
    double ndcg_ips, reciprocal_ips; /* of a click, by inverse propensity */
    double auc;                      /* of all rows together */
    double gauc;                     /* of each user's rows, weighted by their number */
    /* Of what the model's arm has beyond this one, paired over users. */
    struct bootstrap_interval ndcg_gain, ips_gain;
};

struct logged_result {
    int64_t lists, rows, clicks;
    int64_t judged;                /* lists with rows that were clicked and rows that were not */
    int positions;                 /* that were seen, at most LOGGED_POSITIONS */
    double look[LOGGED_POSITIONS]; /* chance of a look, that of the first is 1 */
    struct logged_row arms[LOGGED_ARMS];
    /* Of the model's probabilities; NaN before the first pair was fitted. */
    double entropy, calibration_error, predicted_over_seen; /* NE, ECE, PCOC */
    int64_t predicted;                                      /* rows that had a probability */
    struct platt platt;                                     /* the newest pair */
};

struct logged;
/* Errors: ERR_NOMEM */
MUST_CHECK enum status logged_create(struct logged **logged, struct error *err);
void logged_destroy(struct logged *logged); /* NULL is fine */

/* Scores the list by every arm. model NULL: none is trained yet, and the list is left out. rows of
 * the list are of these tables. Errors: ERR_LIMIT, ERR_NOMEM, ERR_DEVICE */
MUST_CHECK enum status logged_add(struct logged *logged, const struct list *list,
                                  const struct item_tables *tables, struct model *model,
                                  struct error *err);
/* position_bias: position p (from 0) is looked at with chance (1 + p)^-position_bias; below 0 it is
 * estimated. What does not exist (no list, one kind of rows alone) is NaN. Errors: ERR_NOMEM */
MUST_CHECK enum status logged_result(const struct logged *logged, double position_bias,
                                     struct logged_result *result, struct error *err);

#endif
