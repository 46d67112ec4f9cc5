/*
 * ingest/verify_work.h - was somebody at work while verify looked, and which differences may be
 * what was written meanwhile?
 *
 * Flow: m of all shards, before and after -> [compare] -> what can be judged
 *
 * Whoever writes a user, or an example of it into an outbox, moves the `next` of the user's shard
 * by the same transaction. So what differs of a user whose shard's `next` is what it was before
 * really differs, whoever is in the group; in a shard that has moved it may have been written
 * between the two readings.
 * Thread: one.
 */
#ifndef INGEST_VERIFY_WORK_H
#define INGEST_VERIFY_WORK_H

#include "ingest/offsets.h"

struct verify_work {
    int shards;
    int members; /* of the consumer group when it began; -1: the brokers do not say */
    int shards_moved;
    int64_t records; /* by which the furthest shards went on */
    bool *moved;     /* (shards) */
    int64_t *found;  /* (shards) users and examples that differ */
};

/* Errors: ERR_NOMEM. Clear it in any case; zeroed is fine. */
MUST_CHECK enum status verify_work_init(struct verify_work *work, int shards, struct error *err);
void verify_work_clear(struct verify_work *work);

/* Asks who is in the group, which stays unknown where brokers do not say, and tells it on standard
 * error when somebody is. */
void verify_work_ask(struct verify_work *work, const struct config *config);
void verify_work_differs(struct verify_work *work, int shard); /* a user or an example */
/* Both of work->shards. What was reset or begun meanwhile has moved as a whole. */
void verify_work_compare(struct verify_work *work, const struct offsets *before,
                         const struct offsets *after);
/* Of the users and examples that differ: those in shards that have moved. */
int64_t verify_work_unjudged(const struct verify_work *work);

#endif
