/*
 * ops/kafka_events.h - what happened to a consumer's assignment and was not told yet, in order.
 *
 * Private to ops/kafka_*. A ring would save a move; there are few.
 * Thread: its consumer's.
 */
#ifndef OPS_KAFKA_EVENTS_H
#define OPS_KAFKA_EVENTS_H

#include "ops/kafka_consumer.h"

#include <stdint.h>

/* Zeroed it is empty. */
struct kafka_events {
    struct kafka_event *rows; /* (count) */
    int count;
    int capacity;
};

/* text is cut where it has no room. Without memory the process ends: an event that is not told
 * would break the protocol. */
void kafka_events_put(struct kafka_events *events, enum kafka_event_kind kind, int32_t partition,
                      int64_t offset, const char *text);
/* Moves the oldest, at most KAFKA_EVENTS_MAX, and returns how many. */
int kafka_events_take(struct kafka_events *events, struct kafka_event *taken);
void kafka_events_clear(struct kafka_events *events);

#endif
