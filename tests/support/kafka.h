/*
 * tests/support/kafka.h - what the tests of the Kafka door share, whichever broker they talk to.
 */
#ifndef TESTS_SUPPORT_KAFKA_H
#define TESTS_SUPPORT_KAFKA_H

#include "ops/kafka_consumer.h"

#include <stdbool.h>
#include <stdint.h>

#define KAFKA_PATIENCE_US         ((int64_t)30 * 1000000) /* then a wait fails the test */
#define KAFKA_BATCH               256
#define KAFKA_TEST_PARTITIONS_MAX 8

/* Fills partition with count records whose values are their numbers, from first on. */
void kafka_fill(const char *brokers, const char *topic, int partition, int first, int count);
/* What kafka_fill() wrote into it. */
int kafka_number(const struct kafka_record *record);
/* Polls until an event of this kind comes; records on the way are released and counted. */
struct kafka_event kafka_await(struct kafka_consumer *consumer, enum kafka_event_kind kind,
                               int *records_count);
/* Reads exactly count records of partition, which must be first, first + 1, ... */
void kafka_read_in_order(struct kafka_consumer *consumer, int partition, int first, int count,
                         uint64_t epoch);
/* Waits for count partitions to be assigned; their numbers are set in owned. */
void kafka_await_assigned(struct kafka_consumer *consumer, int count, bool *owned);
/* A seeded walk over the partitions of an empty topic: whatever is assigned anew, paused and
 * resumed, the records of a partition come without gap or repetition from its newest assignment
 * on. The consumer has no group, or owns them all. */
void kafka_check_walk(const char *brokers, struct kafka_consumer *consumer, const char *topic,
                      int partitions);

#endif
