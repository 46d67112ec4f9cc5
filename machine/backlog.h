/*
 * machine/backlog.h - records that wait for their shard's commit.
 *
 * Flow: reading -> [backlog] -> commit
 *
 * A record is copied once, with what its commit will need: the event, the watermark before it,
 * the record before it. Memory comes in blocks of one shard, bump-allocated and counted: a block
 * is free when all its records are, so a shard that hangs pins its own records and no others.
 */
#ifndef MACHINE_BACKLOG_H
#define MACHINE_BACKLOG_H

#include "machine/machine.h"

struct backlog_block;

struct record {
    struct record *next;    /* in the queue of (partition, shard) */
    struct record *sibling; /* next of the same user, within a batch */
    struct backlog_block *block;
    uint64_t user_hash;
    int64_t offset;
    int64_t timestamp_ms;
    int64_t watermark_ms; /* of the partition before this record */
    int64_t last_offset;  /* the record seen before it, for a commit that ends here */
    uint64_t last_hash;
    uint64_t letter; /* id of its dead letter, 0: none */
    enum refusal refusal;
    int part;             /* within a batch: which partition's */
    enum outcome outcome; /* of its last application */
    bool replayed;
    struct event event; /* texts lie behind this struct */
    struct text head;   /* of the raw record */
    size_t raw_bytes;
    size_t bytes; /* that it takes here */
};

/* First in, first out. */
struct record_queue {
    struct record *first, *last;
    int count;
};
void record_queue_add(struct record_queue *queue, struct record *record);
struct record *record_queue_take(struct record_queue *queue); /* NULL: empty */

struct backlog {
    struct backlog_block **filling; /* (shards) the block that records of a shard go into */
    struct backlog_block *all;      /* every block there is */
    struct backlog_block *free;
    int free_count;
    int shards;
    size_t block_bytes;
    int64_t records, bytes; /* waiting now */
};
MUST_CHECK enum status backlog_init(struct backlog *backlog, int shards, size_t block_bytes,
                                    struct error *err);
void backlog_clear(struct backlog *backlog); /* frees every record too; zeroed is fine */

/* A copy of *from, or NULL without memory. Links and letter are empty. */
struct record *backlog_add(struct backlog *backlog, int shard, const struct machine_record *from);
void backlog_drop(struct backlog *backlog, struct record *record);

#endif
