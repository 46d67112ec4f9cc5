/*
 * ingest/offsets.h - how far the state in Redis has come in each partition, as m says; and
 * `freshet offsets list`.
 *
 * Flow: Redis m of all shards -> [sum] -> offsets list, verify
 */
#ifndef INGEST_OFFSETS_H
#define INGEST_OFFSETS_H

#include "features/redis_dataset.h"
#include "features/store.h"
#include "ops/command.h"

struct offsets_partition {
    int32_t partition;
    uint32_t log_number;
    int64_t start;                 /* recorded when the data set first saw it */
    int64_t next;                  /* least of the shards; -1: some shard has none */
    int64_t watermark_ms;          /* of a shard that holds the least */
    int64_t counts[OUTCOME_COUNT]; /* summed over the shards */
    int shards_known;
    int damaged;      /* shards whose m is no m */
    int64_t *next_of; /* (shards) -1: absent */
};

struct offsets {
    int shards;
    int count;
    struct offsets_partition *list; /* (count), by partition */
};

/* Reads m of every shard for every partition of topic that the data set's record knows.
 * Errors: ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_NOMEM */
MUST_CHECK enum status offsets_load(struct offsets *offsets, struct redis_nodes *nodes,
                                    const struct redis_keys *keys,
                                    const struct redis_dataset *dataset, const char *topic,
                                    int64_t timeout_ms, struct error *err);
void offsets_clear(struct offsets *offsets);

#endif
