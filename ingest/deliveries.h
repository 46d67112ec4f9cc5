/*
 * ingest/deliveries.h - how many of the records that a command produced have reached their topic.
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

#endif
