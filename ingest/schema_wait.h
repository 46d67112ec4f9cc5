/*
 * ingest/schema_wait.h - records that cannot be decoded yet, because the registry has not told
 * their Avro schema: kept in order, and everything of their partitions behind them.
 *
 * Flow: Kafka -> decode -(ERR_UNAVAILABLE)-> [kept, the partition paused] -> decode again ->
 * machine
 *
 * Why here, between the consumer and the machine: such a record may be as good as any, so it must
 * become neither a dead letter nor a gap; and the machine, which decides by the content of records,
 * has nothing to decide without it. So the machine does not see it, as if Kafka had not delivered
 * it yet: nothing of the partition is committed beyond it, its lag shows, other partitions go on. A
 * kill loses only what would be read again.
 *
 * Bounded: a partition is paused when its first record is kept, after which Kafka's client hands
 * out no more of it; so what is kept is at most what one poll had given. Records are taken up again
 * one by one, as the machine has room. Thread: the loop's.
 */
#ifndef INGEST_SCHEMA_WAIT_H
#define INGEST_SCHEMA_WAIT_H

#include "ops/kafka_consumer.h"

struct schema_wait;
struct schema_wait *schema_wait_create(void); /* NULL: no memory */
void schema_wait_destroy(struct schema_wait *wait);

/* Partitions with records kept, and whether this is one. */
int schema_wait_count(const struct schema_wait *wait);
bool schema_wait_holds(const struct schema_wait *wait, int32_t partition);
/* Of those, how many have waited for SCHEMA_WAIT_LONG_MS. A registry that answers takes less, so
 * that these are worth telling; and whether the partition at this place is one of them. */
#define SCHEMA_WAIT_LONG_MS 500
int schema_wait_long(const struct schema_wait *wait, int64_t now_us);
bool schema_wait_is_long(const struct schema_wait *wait, int place, int64_t now_us);
/* True once, when it has become one. */
bool schema_wait_tell(struct schema_wait *wait, int place, int64_t now_us);

/* Takes the record over: whose memory it holds is released here, not by who polled it.
 * Errors: ERR_NOMEM; then it is still the caller's */
MUST_CHECK enum status schema_wait_add(struct schema_wait *wait, struct kafka_record *record,
                                       struct error *err);
/* The oldest record of the partition at this place, 0..count - 1. */
const struct kafka_record *schema_wait_first(const struct schema_wait *wait, int place);
/* It was handed on: releases it. True when it was the last; then another partition may have the
 * place. */
bool schema_wait_pass(struct schema_wait *wait, int place);
/* The partition is not ours any more, or read anew from elsewhere: its records are forgotten. */
void schema_wait_drop(struct schema_wait *wait, int32_t partition);

#endif
