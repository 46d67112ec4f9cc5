/*
 * ops/kafka_producer.h - the door to librdkafka's producers: idempotent, acks=all, bounded queue.
 *
 * A key goes to the partition that Java's clients choose for it (murmur2), so that a tool of ours
 * and an app's producer put a user into the same one.
 * Thread: produce and poll from one thread; delivered is called from within poll and flush.
 */
#ifndef OPS_KAFKA_PRODUCER_H
#define OPS_KAFKA_PRODUCER_H

#include "ops/config.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

#define KAFKA_PARTITION_ANY (-1) /* by the key's hash */

struct kafka_message {
    const char *topic;
    int32_t partition;
    struct text key;      /* at == NULL: none */
    struct text value;    /* at == NULL: a tombstone */
    int64_t timestamp_ms; /* 0: now */
    struct text header;   /* written as `freshet-id` when not empty */
    bool replayed;        /* adds the header `freshet-replayed` */
    struct text origin;   /* its value, where the record was read; empty: "1" */
    uint64_t opaque;      /* given back on delivery */
};

/* Texts must live as long as the producer. */
struct kafka_producer_options {
    const char *brokers;
    const char *client_id;
    int linger_ms;               /* 0: 1. librdkafka batches badly at 0 */
    int delivery_timeout_ms;     /* 0: 30000 */
    int64_t queue_messages_max;  /* 0: 100000 */
    const char *compression;     /* NULL: "lz4" */
    const char *properties;      /* as for consumers */
    const struct config *config; /* as for consumers */
    /* status OK: the broker has it; else it never will (the caller sends again or gives up). */
    void (*delivered)(void *context, uint64_t opaque, enum status status, int32_t partition,
                      int64_t offset);
    void *context;
};

struct kafka_producer;
MUST_CHECK enum status kafka_producer_open(struct kafka_producer **producer,
                                           const struct kafka_producer_options *options,
                                           struct error *err);
/* What was not delivered by then is reported as failed. NULL is fine. */
void kafka_producer_close(struct kafka_producer *producer, int64_t timeout_ms);

/* Copies key, value and header. A client that will never send again, fenced or broken for good, is
 * replaced, once; one that lacks a right, until it is granted. Errors: ERR_FULL (poll and try
 * again), ERR_LIMIT (too large), ERR_NOT_FOUND (no such topic or partition), ERR_UNAVAILABLE (try
 * again later), ERR_REPLACED (for good, for the second time) */
MUST_CHECK enum status kafka_produce(struct kafka_producer *producer,
                                     const struct kafka_message *message, struct error *err);
void kafka_producer_poll(struct kafka_producer *producer, int64_t timeout_ms);
MUST_CHECK enum status kafka_producer_flush(struct kafka_producer *producer, int64_t timeout_ms,
                                            struct error *err);
int kafka_producer_pending(const struct kafka_producer *producer);
/* What somebody must mend before records are taken: a login, a certificate, an ACL; "" when nothing
 * of the kind is known. */
const char *kafka_producer_why(const struct kafka_producer *producer);
/* Options from the kafka.* rows; they borrow from config. */
void kafka_producer_options_from(struct kafka_producer_options *options,
                                 const struct config *config);

#endif
