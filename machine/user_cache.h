/*
 * machine/user_cache.h - users' values as they are in the store, so that a commit need not read
 * them.
 *
 * Flow: commit -> [cache] -> the next commit of the same user
 *
 * Holds encoded images, found by user. Whether an entry may be used is the commit's question
 * (commit.c: good): each entry names its writer's slot and the epoch of (partition, shard) at
 * which it was stored, so dropping all users of a partition or a shard is raising one number.
 * What such a drop leaves behind is evicted as everything else is: the clock algorithm, by bytes.
 */
#ifndef MACHINE_USER_CACHE_H
#define MACHINE_USER_CACHE_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHED_UNUSABLE (-1)

struct cached {
    struct cached *chain;          /* of its bucket */
    struct cached *before, *after; /* round the clock */
    uint64_t hash;
    uint8_t *image;
    uint32_t bytes, capacity; /* of the image */
    uint32_t writer;          /* tp that changed it last */
    uint32_t epoch;           /* progress.cache_epoch of the writer when it was stored */
    int slot;                 /* of the writer's partition, or CACHED_UNUSABLE */
    int pins;                 /* commits that use it: not evicted meanwhile */
    int64_t written_at_ms;    /* from the image: its TTL counts from here */
    bool used;                /* since the hand passed */
    uint16_t user_bytes;
    char user[];
};

struct user_cache {
    struct cached **buckets;
    uint64_t buckets_count; /* a power of two */
    struct cached *hand;
    int64_t users, bytes, bytes_max;
};
MUST_CHECK enum status user_cache_init(struct user_cache *cache, int64_t bytes_max,
                                       struct error *err);
void user_cache_clear(struct user_cache *cache);

struct cached *user_cache_find(struct user_cache *cache, uint64_t hash, struct text user);
/* Stores image as the user's; the caller fills writer, slot, epoch and written_at_ms. NULL without
 * memory: then nothing of the user is cached. May evict any entry that is not pinned. */
struct cached *user_cache_put(struct user_cache *cache, uint64_t hash, struct text user,
                              const uint8_t *image, size_t bytes);
void user_cache_drop(struct user_cache *cache, struct cached *cached); /* not pinned */

#endif
