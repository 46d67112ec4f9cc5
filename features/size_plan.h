/*
 * features/size_plan.h - how much memory a number of users and items will take.
 *
 * A user is one string in Redis: the value, its key, an entry in the table of keys and, for the
 * TTL, one in the table of expiries. Each is rounded up to jemalloc's size classes, which is why
 * 100 entries of 15 bytes fit 1,536 and one byte more costs 256. Items are in the memory of the
 * trainer and of each scorer, and in the bundle.
 *
 * Accuracy: within 5 % of the used_memory of Redis 7.0 (a test compares them).
 */
#ifndef FEATURES_SIZE_PLAN_H
#define FEATURES_SIZE_PLAN_H

#include <stdint.h>

struct size_plan_input {
    int64_t users, items;
    int sequence_max; /* entries of each user: the plan is for full sequences */
    int opens;        /* open lists of each user */
    int rows;         /* of a list */
    int user_bytes;   /* of a user id */
    int name_bytes;   /* of an item id */
    int neighbours;   /* of each item */
};

struct size_plan {
    int64_t value_bytes; /* of one user, as encoded */
    int64_t user_bytes;  /* of one user in Redis, all included */
    int64_t users_bytes; /* of all */
    int64_t item_bytes;  /* of one item in memory */
    int64_t items_bytes;
    int64_t item_file_bytes; /* of one item in a bundle */
    int64_t items_file_bytes;
};

/* Inputs are not negative; results that would not fit are INT64_MAX. */
struct size_plan size_plan_make(const struct size_plan_input *input);

/* Bytes that jemalloc takes for a request of this size, as Redis builds it. */
int64_t size_plan_class(int64_t bytes);

#endif
