/*
 * machine/apply.h - the rules over one batch of one shard: user by user, on their images.
 *
 * Flow: batch, users' values -> [apply] -> writes, outbox rows, counts
 *
 * Users are independent of each other, so each is taken once with all its records of the batch:
 * its image is decoded at most once, and a user met 40 times costs two patches.
 */
#ifndef MACHINE_APPLY_H
#define MACHINE_APPLY_H

#include "machine/machine_inside.h"

/* A user in a batch. Base: the value in the store, from the cache or just read. */
struct work {
    uint64_t hash;
    struct text user; /* in the shard's arena: records may go while an EXEC is on its way */
    struct record *first, *last;
    struct cached *cached; /* pinned: the base is its image */
    bool read;             /* the base is what READ gave */
    enum store_found found;
    const uint8_t *base;
    uint32_t base_bytes;
    uint8_t *image; /* after the batch; NULL: base with the writes over it */
    uint32_t image_bytes;
    uint32_t writer; /* after the batch */
    int64_t written_at_ms;
    int first_write, writes_count; /* none: unchanged */
    bool moved;                    /* old_writer is another and must be stamped */
    uint32_t old_writer;
    bool unusable; /* the stored value is none: its events went to the dead letters */
    bool gone;     /* a patch met no value: to be written whole */
    bool erases;   /* a record of the batch erases the user, up to erased_at_ms */
    int64_t erased_at_ms;
};

/* Applies the batch's records: fills writes, emitted, parts' counts and letter of the commit.
 * Errors: ERR_NOMEM (the arena is at its limit: a smaller batch may do) */
MUST_CHECK enum status apply_batch(struct machine *machine, struct shard *shard, struct error *err);

#endif
