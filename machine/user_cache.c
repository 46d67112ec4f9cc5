/* machine/user_cache.c - see user_cache.h. */
#include "machine/user_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 64
#define IMAGE_STEP    128 /* images grow by an entry an event: not every one may reallocate */

enum status user_cache_init(struct user_cache *cache, int64_t bytes_max, struct error *err)
{
    *cache = (struct user_cache){.buckets_count = BUCKETS_FIRST, .bytes_max = bytes_max};
    cache->buckets = calloc(BUCKETS_FIRST, sizeof cache->buckets[0]);
    if (cache->buckets == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the cache of users");
    return OK;
}

static void free_entry(struct cached *cached)
{
    free(cached->image);
    free(cached);
}

void user_cache_clear(struct user_cache *cache)
{
    for (uint64_t i = 0; i < cache->buckets_count && cache->buckets != NULL; i++) {
        struct cached *cached = cache->buckets[i];
        while (cached != NULL) {
            struct cached *next = cached->chain;
            free_entry(cached);
            cached = next;
        }
    }
    free(cache->buckets);
    *cache = (struct user_cache){0};
}

/* The high bits: the low ones chose the shard. */
static struct cached **bucket_of(const struct user_cache *cache, uint64_t hash)
{
    return &cache->buckets[(hash >> 20) & (cache->buckets_count - 1)];
}

static bool is_user(const struct cached *cached, uint64_t hash, struct text user)
{
    return cached->hash == hash && cached->user_bytes == user.bytes &&
           memcmp(cached->user, user.at, user.bytes) == 0;
}

struct cached *user_cache_find(struct user_cache *cache, uint64_t hash, struct text user)
{
    struct cached *cached = *bucket_of(cache, hash);

    while (cached != NULL && !is_user(cached, hash, user))
        cached = cached->chain;
    if (cached != NULL)
        cached->used = true;
    return cached;
}

static int64_t entry_bytes(const struct cached *cached)
{
    return (int64_t)(sizeof *cached + cached->user_bytes + cached->capacity);
}

void user_cache_drop(struct user_cache *cache, struct cached *cached)
{
    struct cached **link = bucket_of(cache, cached->hash);

    assert(cached->pins == 0);
    while (*link != cached)
        link = &(*link)->chain;
    *link = cached->chain;
    if (cache->hand == cached)
        cache->hand = cached->after == cached ? NULL : cached->after;
    cached->before->after = cached->after;
    cached->after->before = cached->before;
    cache->users--;
    cache->bytes -= entry_bytes(cached);
    free_entry(cached);
}

/* Two rounds at most: the first may only clear marks. */
static void evict(struct user_cache *cache)
{
    int64_t steps = 2 * cache->users;

    while (cache->bytes > cache->bytes_max && cache->hand != NULL && steps-- > 0) {
        struct cached *cached = cache->hand;

        cache->hand = cached->after;
        if (cached->pins > 0 || cached->used)
            cached->used = false;
        else
            user_cache_drop(cache, cached);
    }
}

/* More buckets than users, so that a chain is one entry. Without memory it stays as it is. */
static void grow(struct user_cache *cache)
{
    struct user_cache larger = *cache;

    larger.buckets_count *= 2;
    larger.buckets = calloc((size_t)larger.buckets_count, sizeof larger.buckets[0]);
    if (larger.buckets == NULL)
        return;
    for (uint64_t i = 0; i < cache->buckets_count; i++) {
        struct cached *cached = cache->buckets[i];
        while (cached != NULL) {
            struct cached *next = cached->chain;
            struct cached **bucket = bucket_of(&larger, cached->hash);
            cached->chain = *bucket;
            *bucket = cached;
            cached = next;
        }
    }
    free(cache->buckets);
    *cache = larger;
}

static struct cached *add(struct user_cache *cache, uint64_t hash, struct text user)
{
    struct cached *cached = malloc(sizeof *cached + user.bytes);
    struct cached **bucket;

    if (cached == NULL)
        return NULL;
    if ((uint64_t)cache->users >= cache->buckets_count)
        grow(cache);
    bucket = bucket_of(cache, hash);
    *cached = (struct cached){.hash = hash, .user_bytes = (uint16_t)user.bytes, .chain = *bucket};
    memcpy(cached->user, user.at, user.bytes);
    *bucket = cached;
    if (cache->hand == NULL) {
        cached->before = cached->after = cache->hand = cached;
    } else { /* just behind the hand: the last it comes to */
        cached->after = cache->hand;
        cached->before = cache->hand->before;
        cached->before->after = cached->after->before = cached;
    }
    cache->users++;
    cache->bytes += entry_bytes(cached);
    return cached;
}

struct cached *user_cache_put(struct user_cache *cache, uint64_t hash, struct text user,
                              const uint8_t *image, size_t bytes)
{
    struct cached *cached = user_cache_find(cache, hash, user);

    if (cached == NULL)
        cached = add(cache, hash, user);
    if (cached == NULL)
        return NULL;
    if (cached->image == NULL || cached->capacity < bytes ||
        cached->capacity > 2 * bytes + IMAGE_STEP) {
        size_t capacity = bytes / IMAGE_STEP * IMAGE_STEP + IMAGE_STEP;
        uint8_t *room = malloc(capacity);
        if (room == NULL) {
            cached->slot = CACHED_UNUSABLE; /* it may be pinned, so it cannot go */
            return NULL;
        }
        free(cached->image);
        cache->bytes += (int64_t)capacity - (int64_t)cached->capacity;
        cached->image = room;
        cached->capacity = (uint32_t)capacity;
    }
    memcpy(cached->image, image, bytes);
    cached->bytes = (uint32_t)bytes;
    cached->used = true;
    cached->pins++;
    evict(cache);
    cached->pins--;
    return cached;
}
