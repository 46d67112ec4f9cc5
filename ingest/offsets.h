/*
 * ingest/offsets.h - how far the state in Redis has come in each partition, as m says.
 *
 * Flow: Redis m of all shards -> [sum] -> offsets list, diff and reset, verify
 *
 * A shard's m is one field, so its `next` and its counts are of one moment. Shards are read one
 * after the other while ingest goes on; so the counts are of the records below each shard's own
 * next, and their sum is at most next_max - start.
 */
#ifndef INGEST_OFFSETS_H
#define INGEST_OFFSETS_H

#include "features/redis_dataset.h"
#include "features/store.h"
#include "ops/command.h"

struct offsets_partition {
    int32_t partition;
    uint32_t log_number;
    bool recorded;                 /* in the data set's record: nobody has read it otherwise */
    int64_t start;                 /* recorded when the data set first saw it */
    int64_t skipped;               /* records that resets have left out */
    int64_t next;                  /* least of the shards; -1: some shard has none */
    int64_t next_least, next_max;  /* of the shards that have one; -1: none has */
    int64_t watermark_ms;          /* of a shard that holds the least */
    int64_t last_offset;           /* of the record that ingest checks first; -1: none */
    uint64_t last_hash;            /* store_record_hash() of it */
    int64_t counts[OUTCOME_COUNT]; /* summed over the shards */
    int shards_known;
    int damaged;          /* shards whose m is no m */
    int closed;           /* shards that a reset has closed, without finishing */
    int64_t *next_of;     /* (shards) -1: absent */
    int64_t outbox_rows;  /* waiting for the trainer; offsets_load_outboxes() */
    int outboxes_damaged; /* of a wrong type, or further than `next` of their shard */
};

struct offsets {
    int shards;
    int count;
    struct offsets_partition *list; /* (count), by partition */
};

/* What a shard's state reads after a reset has closed it; what it was stands in the field
 * `closed`. A process that still reads the partition under the old log number finds its keys
 * unusable and stops it: it must not go on beside its successor. */
#define OFFSETS_CLOSED "closed"

/* Reads m of every shard for every partition of topic that the data set's record knows.
 * Errors: ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_NOMEM */
MUST_CHECK enum status offsets_load(struct offsets *offsets, struct redis_nodes *nodes,
                                    const struct redis_keys *keys,
                                    const struct redis_dataset *dataset, const char *topic,
                                    int64_t timeout_ms, struct error *err);
/* Reads one of them, p->partition, log_number, start and skipped given. Free p->next_of. */
MUST_CHECK enum status offsets_load_partition(struct offsets_partition *p,
                                              struct redis_nodes *nodes,
                                              const struct redis_keys *keys, const char *topic,
                                              int shards, int64_t timeout_ms, struct error *err);
/* Fills outbox_rows and outboxes_damaged of one. Errors: ERR_UNAVAILABLE, ERR_TIMEOUT */
MUST_CHECK enum status offsets_load_outboxes(struct offsets_partition *p, struct redis_nodes *nodes,
                                             const struct redis_keys *keys, const char *topic,
                                             int shards, int64_t timeout_ms, struct error *err);
void offsets_clear(struct offsets *offsets);
/* Index into the list; -1: it is not in it. */
int offsets_place(const struct offsets *offsets, int32_t partition);
/* What is applied by all of so many shards: those without an m begin where the record says. -1:
 * nobody has read it, or every shard is damaged. */
int64_t offsets_position(const struct offsets_partition *p, int shards);

#endif
