/*
 * ingest/deliveries.h - how many of the records that a command produced have reached their topic,
 * and whether there is one.
 */
#ifndef INGEST_DELIVERIES_H
#define INGEST_DELIVERIES_H

#include "ops/kafka_producer.h"

struct deliveries {
    int64_t delivered;
    int64_t failed; /* never will: the broker refused them, or was away for too long */
};

/* For kafka_producer_options: context is a struct deliveries. */
void deliveries_count(void *context, uint64_t opaque, enum status status, int32_t partition,
                      int64_t offset);

/**
 * Before a command produces anything: a producer would wait for a topic or a broker that is not
 * there until each of its records is given up. Errors: ERR_NOT_FOUND (no such topic; it is not
 * created by this), ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CONFIG, ERR_NOMEM; the text names topic or
 * brokers
 */
MUST_CHECK enum status deliveries_check_topic(const struct config *config, const char *topic,
                                              struct error *err);

#endif
