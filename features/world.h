/*
 * features/world.h - a small world whose truth is known: users with tastes, items with looks,
 * and what each user would click at each moment.
 *
 * Flow: [world] -> simulate -> Kafka, and [world] -> drift study of the backtest
 *
 * Pure and seeded: everything is a function of (options, user, item, time), so two programs that
 * are given the same options agree on the truth without talking. There is no I/O and no clock.
 *
 *     utility(u, i, t) = taste · (T_u · L_i(t)) + intent · (M_u(t) · L_i(t)) + appeal_i(t)
 *
 * T_u is the user's lasting taste (a mixture of two categories), M_u(t) what the user is after at
 * the moment (a category that changes every intent_ms, in an order of the user's own), L_i the
 * item's look (its category and something of its own) and appeal_i its popularity, which drifts
 * on a period of its own. At shift_at_ms a share of the items trade looks and appeal with each
 * other: who liked them no longer does, and what was seen together no longer is. That is a shift
 * that a model with frozen item weights cannot follow, however fresh the histories it is given.
 *
 * A click follows from the utility and from the position: chance(u, i, t) is the chance at the
 * first position, and a row at position p is looked at with probability (1 + p)^-position_bias.
 *
 * Not every choice answers a list: a share of the visits are made without one (a search, a link, a
 * shelf of a category). Of some items met at random the user takes the one that suits best, and no
 * recommender has a hand in it. Such choices are what rankers can be judged by: a choice from a
 * shown list says as much about who made the list as about the user.
 */
#ifndef FEATURES_WORLD_H
#define FEATURES_WORLD_H

#include "ops/random.h"
#include "ops/status.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stdint.h>

#define WORLD_DIMS       16
#define WORLD_USERS_MAX  (1 << 22)
#define WORLD_ITEMS_MAX  (1 << 18)
#define WORLD_ROWS_MAX   64 /* of a shown list */
#define WORLD_NAME_BYTES 16

struct world_options {
    uint64_t seed;
    int users;      /* 1..WORLD_USERS_MAX */
    int items;      /* WORLD_ROWS_MAX..WORLD_ITEMS_MAX */
    int categories; /* 2..1024 */
    double taste, intent, appeal;
    double position_bias;
    double unlisted;    /* share of visits without a shown list, 0..1 */
    double shift_share; /* of the items, 0..1 */
    int64_t begin_ms;
    int64_t shift_at_ms; /* INT64_MAX: never */
    int64_t intent_ms;
    double sessions_per_s; /* of all users together */
};
/* 2,000 users, 1,000 items, 20 categories, no shift; from 2024-01-01. */
void world_options_init(struct world_options *options);

struct world;
/* Errors: ERR_LIMIT (an option outside its range), ERR_NOMEM */
MUST_CHECK enum status world_create(struct world **world, const struct world_options *options,
                                    struct error *err);
void world_destroy(struct world *world); /* NULL is fine */

/* "u000017" and "i000004"; and back: -1 for a text that names none of ours. */
void world_user_name(int user, char name[WORLD_NAME_BYTES]);
void world_item_name(int item, char name[WORLD_NAME_BYTES]);
int world_user_of(const struct world *world, struct text name);
int world_item_of(const struct world *world, struct text name);
int world_category(const struct world *world, int item, int64_t time_ms);

/* The truth. */
double world_utility(const struct world *world, int user, int item, int64_t time_ms);
double world_chance(const struct world *world, int user, int item, int64_t time_ms);

/**
 * NDCG@k of an order of items against the truth: gains are world_chance(), the ideal order is
 * that of the same items by true gain. 1 for the best order; 0 for an empty list.
 * Shapes: order (count), the candidates from first to last; k at most WORLD_ROWS_MAX.
 */
double world_ndcg(const struct world *world, int user, int64_t time_ms, const int *order, int count,
                  int k);
/* The best k items of the whole catalogue for the user at that time, best first. */
void world_best(const struct world *world, int user, int64_t time_ms, int *items, int k);

/* ---- a walk: the events of this world in order of time ---- */

/* Chooses what a user is shown: fills at most rows_max items, returns how many (0: nobody is
 * shown anything, the session is skipped). request_id and trace may be filled (they are empty
 * before the call): texts that live until the next call. NULL as chooser: a policy that knows
 * popularity and a little of the taste, with exploration, like the system freshet replaces. */
struct world_shown {
    int rows[WORLD_ROWS_MAX];
    int rows_count;
    struct text request_id;
    struct text trace;
};
typedef void world_choose(void *context, const struct world *world, int user, int64_t time_ms,
                          int rows_max, struct world_shown *shown);

struct world_walk;
MUST_CHECK enum status world_walk_create(struct world_walk **walk, const struct world *world,
                                         uint64_t seed, int rows_max, world_choose *choose,
                                         void *context, struct error *err);
void world_walk_destroy(struct world_walk *walk);
/* Action codes to use in events (0: such events are left out). */
void world_walk_actions(struct world_walk *walk, uint8_t view, uint8_t click);

/**
 * The next event, never ending: an impression, then the session's views and clicks, each later
 * than the one before; or choices without a list, whose request_id is empty. Events of sessions do
 * not interleave, so times go back by up to a minute between sessions of different users, never
 * within one user.
 * Texts in *event live until the next call.
 */
void world_walk_next(struct world_walk *walk, struct event *event);
/* Sessions, clicks and impressions so far, and the sum of NDCG@rows of the shown lists against the
 * truth of the whole catalogue (for a mean). */
struct world_tally {
    int64_t sessions, impressions, rows, clicks;
    int64_t unlisted; /* choices without a list */
    double ndcg_sum;
};
struct world_tally world_walk_tally(const struct world_walk *walk);
/* Time of the event that world_walk_next() will give, without making it: a list is chosen only when
 * its moment has come. */
int64_t world_walk_due(struct world_walk *walk);
/* Moves the time of the next session on to at least time_ms (a live simulation keeps to the wall
 * clock with it). */
void world_walk_skip_to(struct world_walk *walk, int64_t time_ms);

#endif
