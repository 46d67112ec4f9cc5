/*
 * ingest/relay.h - carries outbox rows from Redis to the `examples` topic, on a thread of its own.
 *
 * Flow: EXEC appends rows -> [relay: read from the start, produce, wait] -> machine trims them
 *
 * One stream a (partition, shard). A stream is read from its start, at most RELAY_ROWS_MAX rows at
 * a time; they are produced into partition `shard mod partitions` of examples, so one stream stays
 * in order; when the broker has acknowledged all of them the protocol thread is handed exactly
 * their ids to delete, and only when they are gone is the stream read again. A lost row is
 * therefore read again, from its start, and a row that was sent twice carries the same id
 * (`freshet-id`: data set, partition, log number, shard, id): at least once, with deterministic
 * ids.
 *
 * A MARK says that everything of a partition below an offset is out. It is sent to every partition
 * of examples once no stream holds a row of a record below it.
 *
 * Between the threads lie one lock, a dirty bit a stream and a bounded list of trims: nothing grows
 * with traffic. Thread: every function here is for the protocol thread.
 */
#ifndef INGEST_RELAY_H
#define INGEST_RELAY_H

#include "features/redis_keys.h"
#include "features/redis_nodes.h"
#include "features/store.h"
#include "ops/kafka_producer.h"

#include <stdbool.h>
#include <stdint.h>

#define RELAY_ROWS_MAX 256

struct relay_options {
    const struct redis_target *target;
    const struct redis_keys *keys;
    const char *dataset_id;
    const char *events_topic;
    const char *examples_topic;
    int shards;
    int examples_partitions;
    const struct kafka_producer_options *producer; /* delivered and context are the relay's */
};

struct relay;
/* Errors: ERR_NOMEM, ERR_IO, those of kafka_producer_open */
MUST_CHECK enum status relay_start(struct relay **relay, const struct relay_options *options,
                                   struct error *err);
/* Ends the thread; rows that are still there are the next owner's. A caller that drains goes on
 * handing trims over until relay_idle() first. NULL is fine. */
void relay_stop(struct relay *relay);

/* We own the partition: its streams are looked through once. */
void relay_partition(struct relay *relay, int32_t partition, uint32_t log_number);
void relay_forget(struct relay *relay, int32_t partition);
void relay_rows(struct relay *relay, int32_t partition, int shard);
/* Its node may be another one now, with rows that were deleted on the one before: the shard's
 * streams are looked through once more. */
void relay_reconnected(struct relay *relay, int shard);
void relay_mark(struct relay *relay, int32_t partition, int64_t offset, int64_t watermark_ms);

/* Rows to delete; false when there are none. Hand back with relay_trimmed() once deleted. */
struct relay_trim {
    int32_t partition;
    int shard;
    int count;
    struct store_id ids[RELAY_ROWS_MAX];
};
bool relay_take_trim(struct relay *relay, struct relay_trim *trim);
void relay_trimmed(struct relay *relay, int32_t partition, int shard);

/* Readable when a trim waits. */
int relay_descriptor(const struct relay *relay);
bool relay_idle(struct relay *relay);
/* OK while it gets on. Errors: ERR_UNAVAILABLE and whatever else holds it up, with the reason;
 * ERR_REPLACED once its producer was fenced and another one too. */
MUST_CHECK enum status relay_health(struct relay *relay, struct error *err);

#endif
