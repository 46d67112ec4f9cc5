/*
 * retrain/follower.h - reads all partitions of one topic from offsets of its own.
 *
 * Flow: checkpoint's offsets -> [follow] -> records, one after the other -> learner
 *
 * Partitions are merged by the records' times, so that a backlog is learnt in the order it
 * happened; a partition that gives nothing holds the others up for some seconds, once (merge.h).
 * No consumer group: the trainer's offsets stand in its checkpoint, in the same rename as what it
 * learnt from them, so a restart continues exactly there. A record counts as read when its handler
 * returned OK. Where retention has taken records that were not read the gap is counted and logged;
 * an offset beyond the log means another log, and is an error.
 * Partitions that are added later are found by follower_look(); where their logs begin is asked on
 * a thread (ops/kafka_limits.h), so that a dead leader holds up nobody who learns from the others.
 * Thread: one.
 */
#ifndef RETRAIN_FOLLOWER_H
#define RETRAIN_FOLLOWER_H

#include "ops/config.h"
#include "ops/kafka_consumer.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define FOLLOWER_PARTITIONS_MAX 1024

struct follower_offset {
    int32_t partition;
    int64_t from; /* first offset ever read */
    int64_t next;
};

struct follower;
/**
 * starts: where to go on (from a checkpoint); a partition not named begins at its low watermark.
 * Errors: ERR_NOT_FOUND no such topic yet; ERR_UNAVAILABLE, ERR_TIMEOUT; ERR_CONFLICT an offset
 *         beyond the log; ERR_LIMIT too many partitions; ERR_NOMEM
 */
MUST_CHECK enum status follower_open(struct follower **follower, const struct config *config,
                                     const char *topic_key, const struct follower_offset *starts,
                                     int starts_count, struct error *err);
void follower_close(struct follower *follower); /* NULL is fine */

typedef enum status follower_handle(void *context, const struct kafka_record *record,
                                    struct error *err);
/* Waits up to timeout_ms, hands what came to handle in order of time; a record that it refuses
 * comes again. *count: records handled. What goes
 * wrong with the brokers is logged and waited out. Errors: handle's; ERR_CONFLICT (an offset that
 * is not in the log any more, while following). */
MUST_CHECK enum status follower_poll(struct follower *follower, int64_t timeout_ms,
                                     follower_handle *handle, void *context, int *count,
                                     struct error *err);
/* Asks for partitions that were added since, and takes up those of which an answer has come: to be
 * called now and then. Errors: as open; what was not answered is asked again. */
MUST_CHECK enum status follower_look(struct follower *follower, struct error *err);

const char *follower_topic(const struct follower *follower);
const struct follower_offset *follower_offsets(const struct follower *follower, int *count);
/* Everything that was in the log when it was opened has been read. */
bool follower_caught_up(const struct follower *follower);
/* Marks where the logs end now, as far as known; reached: all of it has been read. Until the first
 * mark that is what was there when it was opened. */
void follower_mark(struct follower *follower);
bool follower_reached(const struct follower *follower);
/* Records behind, as far as known: while no broker answers, of the ends that were known before. */
int64_t follower_lag(struct follower *follower);
/* Whether a broker was connected lately, by the last poll; false until it is known. */
bool follower_up(const struct follower *follower);
int64_t follower_lost(const struct follower *follower); /* records that retention took unread */

#endif
