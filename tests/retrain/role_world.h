/*
 * tests/retrain/role_world.h - what a retrain role needs around it: an embedded broker, a private
 * redis-server with a data set, a configuration, and events of the small world.
 */
#ifndef TESTS_RETRAIN_ROLE_WORLD_H
#define TESTS_RETRAIN_ROLE_WORLD_H

#include "retrain/role_inside.h"

#define ROLE_WORLD_PARTITIONS  2
#define ROLE_WORLD_PATIENCE_US ((int64_t)60 * 1000000)

/* Of the test at hand. catalogue and settings are read by role_world_begin(). */
struct role_world {
    struct config *config;
    struct rules rules;      /* of the data set */
    bool catalogue;          /* there is an items topic */
    const char *settings[2]; /* "KEY=VALUE"; NULL from the first that is not needed */
};
extern struct role_world role_world;

void role_world_begin(void);
/* judged_min: held-out choices below which every challenger is refused. */
void role_world_begin_judging(int judged_min);
void role_world_end(void);

/* A path in the test's folder; valid for the next three calls. */
const char *role_world_inside(const char *name);

void role_world_send(const char *topic, int partition, const char *key, const void *bytes,
                     size_t count, int64_t at_ms);
void role_world_send_text(int partition, const char *user, const char *text, int64_t at_ms);
/* Events [from, to) of the small world, a user always into the same partition. */
void role_world_send_events(int from, int to);
void role_world_flush(void);
void role_world_set_broker_up(bool up);

struct role *role_world_open(void);
/* Records of both topics that it has read. */
int64_t role_world_read(const struct role *role);
/* Until both topics hold `records` read ones. */
void role_world_follow(struct role *role, int64_t records);

#endif
