/*
 * ingest/verify_items.h - do the trainer's item tables count what the log says?
 *
 * Flow: tables of a bundle or a checkpoint, and the log up to the offsets in them -> [compare]
 *
 * One thread counts for each item the choices that entered a sequence and the times it was shown,
 * by the same rules as the trainer, and compares both with the tables; choices beyond what a user
 * may weigh (features/robot.h) count in neither. Sums that decay and
 * co-visitation depend on the order in which partitions were merged and are not compared.
 *
 * Bounded: users are taken in so many passes over the log as the caller says.
 */
#ifndef INGEST_VERIFY_ITEMS_H
#define INGEST_VERIFY_ITEMS_H

#include "features/robot.h"
#include "ingest/offsets.h"
#include "ingest/verify_history.h"
#include "ops/config.h"

struct verify_items;

struct verify_items_counts {
    int64_t items;     /* of the tables */
    int64_t equal;     /* clicks and times shown */
    int64_t different; /* also those that are in the log alone */
    int64_t unjudged;  /* touched by users whom two partitions feed */
    int64_t masked;    /* choices beyond a limit */
    int64_t by_limits; /* of different: equal but for choices beyond a limit, some or all of which
                          the tables count: made before there were limits, or under others */
    int64_t records;
};

/**
 * path: the folder of a bundle or of a checkpoint, or the file of the tables in it. topic: of the
 * events.
 * A bundle says where its counts begin; for a checkpoint it is where the data set began.
 * Errors: those of item_tables_load; ERR_CONFLICT (tables of another data set)
 */
MUST_CHECK enum status verify_items_open(struct verify_items **items, const char *path,
                                         const char *topic, const struct redis_dataset *dataset,
                                         const struct offsets *offsets, struct error *err);
void verify_items_close(struct verify_items *items); /* NULL is fine */
/* What of a partition is in the tables; false: nothing. */
bool verify_items_range(const struct verify_items *items, int32_t partition, int64_t *from,
                        int64_t *to);
/* Reads the log `passes` times and compares. robots: the trainer's limits.
 * Errors: ERR_CONFLICT (the log does not begin early
 * enough any more), those of topic_reader_read, ERR_NOMEM */
MUST_CHECK enum status verify_items_run(struct verify_items *items, const struct config *config,
                                        const struct event_schema *schema, int passes,
                                        const struct robot_limits *robots,
                                        struct verify_history *history,
                                        struct verify_items_counts *counts, struct error *err);
/* Hands out each item with its counts, for an outside judge. Names of items nobody named are
 * empty. */
MUST_CHECK enum status verify_items_each(const struct verify_items *items,
                                         enum status (*visit)(void *context, struct text name,
                                                              int64_t clicks, int64_t shown,
                                                              struct error *err),
                                         void *context, struct error *err);

#endif
