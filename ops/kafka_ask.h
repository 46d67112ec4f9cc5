/*
 * ops/kafka_ask.h - questions to a Kafka cluster that only operators' commands ask: who is in a
 * group, how a topic is set, which record is the first of a time.
 *
 * Each call makes a client of its own, with the configuration's security, and asks the brokers.
 * Brokers that do not know a question (the embedded one knows none of them) answer ERR_VERSION:
 * whoever asks says what it could not see, and goes on.
 * Thread: any; calls block up to timeout_ms.
 */
#ifndef OPS_KAFKA_ASK_H
#define OPS_KAFKA_ASK_H

#include "ops/config.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define KAFKA_SETTING_BYTES 96

struct kafka_setting {
    const char *name;
    char value[KAFKA_SETTING_BYTES]; /* "" where the broker does not tell it */
};

/* How many members a consumer group has now; 0, too, for one that nobody knows.
 * Errors: ERR_VERSION, ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CONFIG (we may not ask), ERR_NOMEM */
MUST_CHECK enum status kafka_group_members(const struct config *config, const char *group,
                                           int64_t timeout_ms, int *members, struct error *err);

/* Fills the values of settings (count of them) as they are in force for topic, and with topic NULL
 * for the broker that answered first.
 * Errors: as above, and ERR_NOT_FOUND (no such topic) */
MUST_CHECK enum status kafka_settings_of(const struct config *config, const char *topic,
                                         struct kafka_setting *settings, int count,
                                         int64_t timeout_ms, struct error *err);

/* Is it the embedded broker of `freshet demo` and of tests? It has no settings to be asked for.
 * False, too, when nobody answers. */
bool kafka_is_embedded(const struct config *config, int64_t timeout_ms);

/* Copies of a topic's partitions: of the one that has the fewest; and how many brokers there are.
 * Errors: ERR_NOT_FOUND, ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CONFIG, ERR_NOMEM */
MUST_CHECK enum status kafka_replicas(const struct config *config, const char *topic,
                                      int64_t timeout_ms, int *replicas, int *brokers,
                                      struct error *err);

/* The first offset whose record has a timestamp at or after time_ms; KAFKA_OFFSET_NONE (-1): none.
 * Errors: ERR_NOT_FOUND, ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CONFIG, ERR_NOMEM */
MUST_CHECK enum status kafka_offset_at(const struct config *config, const char *topic,
                                       int32_t partition, int64_t time_ms, int64_t timeout_ms,
                                       int64_t *offset, struct error *err);

/* How many of a topic's first partitions hold a record with a timestamp at or after time_ms.
 * Errors: as above */
MUST_CHECK enum status kafka_partitions_since(const struct config *config, const char *topic,
                                              int partitions, int64_t time_ms, int64_t timeout_ms,
                                              int *count, struct error *err);

/* Version of the librdkafka that is loaded, "2.0.2". */
const char *kafka_library_version(void);

#endif
