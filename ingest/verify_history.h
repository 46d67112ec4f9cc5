/*
 * ingest/verify_history.h - the first differences that `freshet verify` found, and the records that
 * led to each.
 *
 * Flow: verify -> [differences, those that are judged] -> the log once more -> [records of those
 * users] -> standard error
 *
 * What differs is known only when all has been compared, so the history of the few that are shown
 * is read in a second reading of the log: memory stays bounded however long the log is.
 */
#ifndef INGEST_VERIFY_HISTORY_H
#define INGEST_VERIFY_HISTORY_H

#include "ops/kafka_consumer.h"
#include "schemas/event.h"

#include <stdbool.h>

#define VERIFY_SHOWN_MAX   10 /* differences shown; the others are counted */
#define VERIFY_HISTORY_MAX 20 /* records of each, the newest */

struct verify_history;
MUST_CHECK enum status verify_history_create(struct verify_history **history, struct error *err);
void verify_history_destroy(struct verify_history *history); /* NULL is fine */

/* A difference of a user (its records are the history), or of an item (the records that name it).
 * shard: of the user; below 0: none, it is judged in any case. what is copied, cut after some
 * hundred bytes. */
void verify_history_add(struct verify_history *history, struct text name, bool item, int shard,
                        const char *what);
/* Leaves out what is not judged: differences in shards that moved (shards), see verify_work.h. Of
 * each shard the first few are kept until then, so that no shard's hide another's. */
void verify_history_judge(struct verify_history *history, const bool *moved, int shards);
/* All that were added, or were judged. */
int64_t verify_history_count(const struct verify_history *history);
/* One record of the second reading, in the order of the log. */
void verify_history_record(struct verify_history *history, const struct kafka_record *record,
                           const struct event *event);
/* Differences, each with its records, on standard error. */
void verify_history_print(const struct verify_history *history);

#endif
