/*
 * ops/kafka_stall.h - reads in librdkafka's statistics whether it fetches what it was told to.
 *
 * librdkafka 2.0.2 can lose an order (ops/kafka_consumer.c says how): a partition is assigned and
 * nothing ever comes, without an error. Only its statistics show it: the partition is in no active
 * state, or it is and stands below the end of its log. It does so, too, where its broker is away,
 * and behind a slow line while an answer comes in, which holds back all partitions of that broker,
 * for a minute perhaps. Neither is mended by fetching anew: what came already would be thrown away.
 *
 * Such an answer is known by its broker: it owes one, and has finished none between two looks. The
 * bytes received say nothing: librdkafka counts them with the whole answer, and those of other
 * partitions grow all the time.
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
    bool waiting;      /* for an answer of that broker */
    int64_t answers;   /* that came from it so far; -1: not known */
    bool active;
    int64_t next; /* the offset that is fetched next; -1: not known */
    int64_t end;  /* of what may be read (the last stable offset); -1: not known */
};

/* Fills rows (count) from statistics. A partition that they do not know is neither reachable nor
 * active. False: they cannot be read (no JSON, no topics, no memory), and the rows say nothing. */
bool kafka_stall_look(struct text statistics, const char *topic, struct kafka_fetching *rows,
                      int count);

/* The silence of one partition. Zeroed, then begun. */
struct kafka_stall {
    int64_t heard_us; /* when it was assigned, gave a record or was last known to be fetched */
    int64_t stood_at; /* the offset it stood at by the statistics before; -1: it did not */
    int64_t answers;  /* of its broker, by the same */
    int times;        /* it was found standing since it gave a record */
};

/* It is assigned, or anew. */
void kafka_stall_begin(struct kafka_stall *stall, int64_t now_us);
/* It gave a record. */
void kafka_stall_hear(struct kafka_stall *stall, int64_t now_us);
/* For longer than patience_us, which doubles each time it is found standing, five times at most:
 * who mends in vain must not be in the way of what comes slowly. */
bool kafka_stall_is_silent(const struct kafka_stall *stall, int64_t now_us, int64_t patience_us);
/* Of a silent partition that waits for offset. True: it stands still, and did at the look before;
 * one look alone may see a fetch on its way. */
bool kafka_stall_judge(struct kafka_stall *stall, const struct kafka_fetching *row, int64_t offset,
                       int64_t now_us);

#endif
