/*
 * ops/kafka_admin.h - what is asked of a Kafka cluster as a whole; and an embedded broker for
 * demonstration and tests (librdkafka's mock cluster: real protocol over TCP on loopback, in
 * memory, 5 MiB or 100,000 batches a partition, no transactions, no fencing).
 * Thread: any; calls block up to timeout_ms.
 */
#ifndef OPS_KAFKA_ADMIN_H
#define OPS_KAFKA_ADMIN_H

#include "ops/config.h"
#include "ops/kafka_consumer.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

/* The kafka.security.* and kafka.properties rows as librdkafka properties, "name=value" a line, for
 * the calls below. It holds secrets: wipe it, then free() it. */
MUST_CHECK enum status kafka_properties(const struct config *config, char **lines,
                                        struct error *err);

/* Number of partitions. Errors: ERR_NOT_FOUND (no such topic), ERR_TIMEOUT, ERR_UNAVAILABLE */
MUST_CHECK enum status kafka_topic_partitions(const char *brokers, const char *properties,
                                              const char *topic, int64_t timeout_ms,
                                              int *partitions, struct error *err);

/* The same, asked as a consumer of these options would, with their security. Errors: ERR_NOMEM and
 * those of secrets, too. */
MUST_CHECK enum status kafka_topic_partitions_as(const struct kafka_consumer_options *options,
                                                 int64_t timeout_ms, int *partitions,
                                                 struct error *err);

struct kafka_topic_setting {
    const char *name, *value;
};
/* Creates a topic unless it exists. settings end with a NULL name. */
MUST_CHECK enum status kafka_topic_create(const char *brokers, const char *properties,
                                          const char *topic, int partitions, int replicas,
                                          const struct kafka_topic_setting *settings,
                                          int64_t timeout_ms, struct error *err);

struct kafka_broker; /* embedded */
struct kafka_broker_topic {
    const char *name; /* NULL ends the table */
    int partitions;
};
MUST_CHECK enum status kafka_broker_start(struct kafka_broker **broker,
                                          const struct kafka_broker_topic *topics,
                                          struct error *err);
const char *kafka_broker_address(const struct kafka_broker *broker); /* "127.0.0.1:PORT" */

/* Faults of the embedded broker, for tests. */
void kafka_broker_set_up(struct kafka_broker *broker, bool up); /* down: refuses connections */
void kafka_broker_set_delay(struct kafka_broker *broker, int delay_ms); /* of every answer */
/* The next count requests of this kind (a number of Kafka's protocol: 0 produce, 1 fetch, 8 offset
 * commit, ...) are answered by the error (Kafka's number). */
void kafka_broker_refuse(struct kafka_broker *broker, int request, int error, int count);
void kafka_broker_stop(struct kafka_broker *broker); /* NULL is fine */

#endif
