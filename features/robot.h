/*
 * features/robot.h - how much may one user weigh in what all users are served?
 *
 * Flow: a user's history before a choice -> [robot_chose] -> counts of the item tables, or not
 *
 * What is beyond a limit is part of its user's history, and teaches nothing. Three limits, for
 * three ways to push items: faster than a hand, the same item day and night, and one item after
 * the other day and night. Who is beyond the first is masked for as long as it goes on; the other
 * two cap what a user weighs in a day, and count the first choices of each: nobody is taken for
 * anything, and who listens to one song all day is heard like who likes it. The trainer
 * masks by them, and whoever checks the trainer (`freshet verify`) must mask the same. Pure, but
 * for where the limits are read.
 *
 * What shares its time, or is a millisecond later, came at once, as the lines of an invoice or an
 * import do: one moment, for ROBOT_AT_ONCE_MS. The times are the client's, so whoever goes on like
 * that for longer has times of his own.
 *
 * Judged by the entries before a choice alone, so that the order in which events come, a restart
 * and a replay change nothing. So no limit reaches further back than a sequence does
 * (features.sequence_max): one that is not below it never holds.
 */
#ifndef FEATURES_ROBOT_H
#define FEATURES_ROBOT_H

#include "ops/config.h"
#include "schemas/user_value.h"

#include <stdint.h>

#define ROBOT_MINUTE_MS INT64_C(60000)
#define ROBOT_DAY_MS    INT64_C(86400000)

#define ROBOT_AT_ONCE_MS 64 /* lines of a file with one user and time, a millisecond apart */

/* 0: no limit. */
struct robot_limits {
    int minute_max; /* choices within a minute. What came at once says nothing of a hand's speed:
                       more than half of them must have times of their own */
    int item_max;   /* choices of one item by one action in a day (UTC): who looks at a thing again
                       and again has not bought it yet */
    int day_max;    /* moments of choice in a day (UTC); what came at once is one */
};
/* Of retrain.user_choices_max, .user_item_max and .user_day_max. */
struct robot_limits robot_limits_of(const struct config *config);
extern const struct config_rule robot_config_rules[];

/* clang-format off */
#define ROBOT_LIST(X)        \
    X(NONE,   "none")        \
    X(MINUTE, "minute")      \
    X(ITEM,   "item")        \
    X(DAY,    "day")

/* Which limit; the first in this order. */
enum robot {
#define X(id, name) ROBOT_##id,
    ROBOT_LIST(X)
#undef X
    ROBOT_COUNT
};
/* clang-format on */
extern const char *const robot_names[ROBOT_COUNT];

/* A choice (of item 0: of none in particular, its action says nothing) with `before` in front of it
 * in the user's order: beyond which limit is it? */
enum robot robot_chose(const struct user_entry *before, int count, const struct user_entry *choice,
                       const struct robot_limits *limits);

/* The entries that are beyond none, into `into` (count); returns how many. Of the oldest ones less
 * is known than when they came. */
int robot_without(const struct user_entry *entries, int count, const struct robot_limits *limits,
                  struct user_entry *into);

#endif
