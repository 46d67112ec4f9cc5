/*
 * ops/kafka_stall.h - reads in librdkafka's statistics whether it fetches what it was told to.
 *
 * librdkafka 2.0.2 can lose an order (ops/kafka_consumer.c says how): a partition is assigned and
 * nothing ever comes, without an error. Only its statistics show it: the partition is in no active
 * state, or it is and stands below the end of its log. (Where its broker is away it does so, too.)
 *
 * Thread: any.
 */
#ifndef OPS_KAFKA_STALL_H
#define OPS_KAFKA_STALL_H

#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

struct kafka_fetching {
    int32_t partition; /* the caller's */
    bool reachable;    /* the broker it is fetched from is connected */
    bool active;
    int64_t next; /* the offset that is fetched next; -1: not known */
    int64_t end;  /* of what may be read (the last stable offset); -1: not known */
};

/* Fills rows (count) from statistics. A partition that they do not know is neither reachable nor
 * active. False: they cannot be read (no JSON, no topics, no memory), and the rows say nothing. */
bool kafka_stall_look(struct text statistics, const char *topic, struct kafka_fetching *rows,
                      int count);

#endif
