/*
 * kernels/kv_cache.c - pages by their keys, and who may write or drop them.
 *
 * A page is free, or being written (pinned by one request, in no list), or published: in its
 * bucket, and in the list of age while nobody pins it. What lies in the pages themselves is read
 * and written by others, outside the lock: a page is written by its one request before it is
 * published, and by nobody as long as it is.
 *
 * In the host's memory a free page holds nothing of anybody: one that was not published, or is
 * forgotten, is wiped while it is in no list, and so outside the lock.
 */
#include "kernels/kv_cache.h"

#include "kernels/backend.h"
#include "kernels/request.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NONE        KV_SLOT_NONE
#define ALIGNMENT   64
#define FORGET_STEP 256 /* pages that are looked at before others get the lock */
#define PAGES_MAX   (INT32_MAX / KV_PAGE_ROWS) /* a row of the pool has a number of 32 bits */

struct page {
    struct hash128 key;
    uint64_t version;     /* of the weights that made it; 0: not published */
    int32_t next;         /* of the bucket, or of those that are free */
    int32_t newer, older; /* published and not pinned */
    int32_t pins;
};

struct kv_cache {
    pthread_mutex_t lock;
    int64_t bytes;
    uint64_t seed;
    struct kv_shape shape; /* of the pages; L 0: of none yet */
    float *pool;
    struct page *pages;
    int32_t *buckets; /* (mask + 1) the first page of each, or NONE */
    uint32_t mask;
    int32_t free, newest, oldest;
    int32_t readers, strangers;
    bool cutting; /* one call is at it, outside the lock: there are no pages meanwhile */
    /* Written under the lock, read without. */
    _Atomic int64_t pages_count, pages_used, rows_found, rows_computed, pages_dropped;
};

enum status kv_cache_create(struct kv_cache **cache, int64_t bytes, struct error *err)
{
    struct kv_cache *made;

    *cache = NULL;
    if (bytes < 1)
        return error_set(err, ERR_LIMIT, "a cache of K and V of %lld bytes, must be 1 or more",
                         (long long)bytes);
    made = calloc(1, sizeof *made);
    if (made == NULL || pthread_mutex_init(&made->lock, NULL) != 0) {
        free(made);
        return error_set(err, ERR_NOMEM, "no memory for a cache of K and V");
    }
    made->bytes = bytes;
    made->free = made->newest = made->oldest = NONE;
    hash_random_bytes(&made->seed, sizeof made->seed);
    *cache = made;
    return OK;
}

/* A pool that nobody finds any more. */
struct old_pool {
    float *pool;
    size_t bytes;
    const struct backend *backend;
};

/* Takes the pool out; the cache is of no shape then, and has no pages. */
static struct old_pool clear(struct kv_cache *cache)
{
    struct old_pool old = {cache->pool,
                           (size_t)cache->pages_count * (size_t)kv_page_floats(cache->shape) *
                               sizeof(float),
                           cache->shape.backend};

    free(cache->pages);
    free(cache->buckets);
    cache->pool = NULL;
    cache->pages = NULL;
    cache->buckets = NULL;
    cache->free = cache->newest = cache->oldest = NONE;
    cache->shape = (struct kv_shape){0};
    atomic_fetch_add(&cache->pages_dropped, cache->pages_used);
    cache->pages_count = cache->pages_used = 0;
    return old;
}

/* Wipes it and gives it back. Large ones take seconds: not with the lock, while others want it. */
static void drop_pool(struct old_pool old)
{
    if (old.pool == NULL)
        return;
    if (old.backend != NULL) {
        old.backend->drop_pool(old.pool);
        return;
    }
    explicit_bzero(old.pool, old.bytes);
    free(old.pool);
}

void kv_cache_destroy(struct kv_cache *cache)
{
    if (cache == NULL)
        return;
    assert(cache->readers == 0 && !cache->cutting);
    drop_pool(clear(cache));
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache);
}

void kv_cache_stats(const struct kv_cache *cache, struct kv_cache_stats *stats)
{
    *stats = (struct kv_cache_stats){.bytes = cache->bytes,
                                     .pages = cache->pages_count,
                                     .pages_used = cache->pages_used,
                                     .rows_found = cache->rows_found,
                                     .rows_computed = cache->rows_computed,
                                     .pages_dropped = cache->pages_dropped};
}

/* ---- memory ---- */

static bool same_shape(struct kv_shape a, struct kv_shape b)
{
    return a.L == b.L && a.C == b.C && a.backend == b.backend;
}

static enum status take_pool(struct kv_cache *cache, size_t bytes, struct error *err)
{
    if (cache->shape.backend != NULL)
        return cache->shape.backend->make_pool(&cache->pool, bytes, err);
    cache->pool = aligned_alloc(ALIGNMENT, bytes);
    if (cache->pool == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %zu bytes of K and V", bytes);
    return OK;
}

static void link_free(struct kv_cache *cache, int32_t count)
{
    memset(cache->buckets, 0xff, ((size_t)cache->mask + 1) * sizeof *cache->buckets);
    for (int32_t i = 0; i < count; i++)
        cache->pages[i] = (struct page){.next = i + 1 < count ? i + 1 : NONE};
    cache->free = 0;
    cache->newest = cache->oldest = NONE;
    cache->pages_count = count;
}

/* All memory anew, in pages of this shape; without any after an error. Nobody reads or cuts. The
 * old pages are wiped outside the lock: others go without the cache meanwhile. */
static enum status cut(struct kv_cache *cache, struct kv_shape shape, struct error *err)
{
    int64_t page_bytes = kv_page_floats(shape) * (int64_t)sizeof(float), count;
    int64_t tables = (int64_t)sizeof *cache->pages + 2 * (int64_t)sizeof *cache->buckets;
    size_t buckets = 1;
    struct old_pool old;
    enum status status;

    assert(shape.L > 0 && shape.C > 0 && cache->readers == 0 && !cache->cutting);
    old = clear(cache);
    cache->cutting = true;
    (void)pthread_mutex_unlock(&cache->lock);
    drop_pool(old);
    (void)pthread_mutex_lock(&cache->lock);
    cache->cutting = false;
    cache->shape = shape;
    cache->strangers = 0;
    count = cache->bytes / (page_bytes + tables);
    count = count < PAGES_MAX ? count : PAGES_MAX;
    if (count == 0)
        return error_set(err, ERR_LIMIT,
                         "a cache of K and V of %lld bytes is less than a page of %lld",
                         (long long)cache->bytes, (long long)(page_bytes + tables));
    while (buckets < (size_t)count)
        buckets *= 2;
    cache->mask = (uint32_t)(buckets - 1);
    cache->pages = calloc((size_t)count, sizeof *cache->pages);
    cache->buckets = calloc(buckets, sizeof *cache->buckets);
    status = cache->pages == NULL || cache->buckets == NULL
                 ? error_set(err, ERR_NOMEM, "no memory for %lld pages of K and V",
                             (long long)count)
                 : take_pool(cache, (size_t)(count * page_bytes), err);
    if (status != OK) {
        (void)clear(cache);   /* of no pool */
        cache->shape = shape; /* not to be tried by every request */
        return status;
    }
    link_free(cache, (int32_t)count);
    return OK;
}

enum status kv_cache_reserve(struct kv_cache *cache, struct kv_shape shape, struct error *err)
{
    enum status status = OK;

    (void)pthread_mutex_lock(&cache->lock);
    if (cache->readers == 0 && !cache->cutting &&
        (!same_shape(cache->shape, shape) || cache->pages_count == 0))
        status = cut(cache, shape, err);
    (void)pthread_mutex_unlock(&cache->lock);
    return status;
}

bool kv_cache_fits(struct kv_cache *cache, struct kv_shape shape)
{
    bool fits;

    (void)pthread_mutex_lock(&cache->lock);
    fits = same_shape(cache->shape, shape) && cache->pages_count > 0;
    (void)pthread_mutex_unlock(&cache->lock);
    return fits;
}

float *kv_cache_enter(struct kv_cache *cache, struct kv_shape shape)
{
    struct error without;
    float *pool = NULL;

    (void)pthread_mutex_lock(&cache->lock);
    if (same_shape(cache->shape, shape))
        cache->strangers = 0;
    else if (cache->strangers < KV_STRANGERS)
        cache->strangers++;
    /* An error is said by kv_cache_reserve(), and by stats: no pages. */
    if (cache->readers == 0 && !cache->cutting &&
        (cache->shape.L == 0 || cache->strangers == KV_STRANGERS))
        (void)(cut(cache, shape, &without) == OK);
    if (same_shape(cache->shape, shape) && cache->pages_count > 0) {
        pool = cache->pool;
        cache->readers++;
    }
    (void)pthread_mutex_unlock(&cache->lock);
    return pool;
}

void kv_cache_leave(struct kv_cache *cache)
{
    (void)pthread_mutex_lock(&cache->lock);
    assert(cache->readers > 0);
    cache->readers--;
    (void)pthread_mutex_unlock(&cache->lock);
}

/* ---- keys ---- */

/* No padding between members: all bytes are hashed. */
struct beginning {
    uint64_t version;
    int32_t contexts, codes[BATCH_CONTEXTS], zero;
};
struct step {
    struct hash128 before;
    int64_t time_ms[KV_PAGE_ROWS];
    int32_t item[KV_PAGE_ROWS], action[KV_PAGE_ROWS];
};
_Static_assert(sizeof(struct beginning) == 8 + 4 + 4 * BATCH_CONTEXTS + 4, "no padding");
_Static_assert(sizeof(struct step) == 16 + 16 * KV_PAGE_ROWS, "no padding");

/* Rows of context are 0 in their page: what they are stands at the beginning. */
void kv_cache_keys(const struct kv_cache *cache, struct kv_lease *lease, uint64_t version,
                   const struct request *request)
{
    const struct batch *batch = request->batch;
    struct beginning beginning = {.version = version, .contexts = request->contexts};
    struct hash128 before;

    for (int32_t j = 0; j < request->contexts; j++)
        beginning.codes[j] = request_context(request, j);
    before = hash128(&beginning, sizeof beginning, cache->seed);
    lease->version = version;
    lease->rows = request->n;
    lease->pages = kv_pages_of(request->n);
    for (int32_t p = 0; p < lease->pages; p++) {
        struct step step = {.before = before};

        for (int32_t r = 0; r < KV_PAGE_ROWS; r++) {
            int32_t j = p * KV_PAGE_ROWS + r, t = request->token + j;

            if (j < request->contexts)
                continue;
            step.time_ms[r] = batch->time_ms[t];
            step.item[r] = batch->item[t];
            step.action[r] = batch->action[t];
        }
        lease->keys[p] = before = hash128(&step, sizeof step, cache->seed);
    }
}

/* ---- pages; all under the lock ---- */

static int32_t *bucket_of(struct kv_cache *cache, struct hash128 key)
{
    return &cache->buckets[key.low & cache->mask];
}

static int32_t find(struct kv_cache *cache, struct hash128 key)
{
    int32_t i = *bucket_of(cache, key);

    while (i != NONE &&
           (cache->pages[i].key.low != key.low || cache->pages[i].key.high != key.high))
        i = cache->pages[i].next;
    return i;
}

/* Out of the list of age. */
static void unlist(struct kv_cache *cache, int32_t i)
{
    struct page *page = &cache->pages[i];

    *(page->newer == NONE ? &cache->newest : &cache->pages[page->newer].older) = page->older;
    *(page->older == NONE ? &cache->oldest : &cache->pages[page->older].newer) = page->newer;
}

static void list_newest(struct kv_cache *cache, int32_t i)
{
    struct page *page = &cache->pages[i];

    page->newer = NONE;
    page->older = cache->newest;
    *(cache->newest == NONE ? &cache->oldest : &cache->pages[cache->newest].newer) = i;
    cache->newest = i;
}

static void pin(struct kv_cache *cache, int32_t i)
{
    if (cache->pages[i].pins++ == 0)
        unlist(cache, i);
}

static void link_as_free(struct kv_cache *cache, int32_t i)
{
    cache->pages[i].next = cache->free;
    cache->free = i;
}

/* A published page that nobody pins: in no list afterwards. */
static void withdraw(struct kv_cache *cache, int32_t i)
{
    int32_t *at = bucket_of(cache, cache->pages[i].key);

    while (*at != i)
        at = &cache->pages[*at].next;
    *at = cache->pages[i].next;
    unlist(cache, i);
    cache->pages[i].version = 0;
    cache->pages_used--;
}

/* Outside the lock: of a page that is in no list, while the caller counts as a reader. */
static void wipe(const struct kv_cache *cache, int32_t i)
{
    int64_t floats = kv_page_floats(cache->shape);

    if (cache->shape.backend == NULL)
        memset(cache->pool + i * floats, 0, (size_t)floats * sizeof(float));
}

/* A page to write, or NONE when all are pinned. */
static int32_t take_free(struct kv_cache *cache)
{
    int32_t i;

    if (cache->free == NONE && cache->oldest != NONE) {
        i = cache->oldest;
        withdraw(cache, i);
        link_as_free(cache, i);
        cache->pages_dropped++;
    }
    i = cache->free;
    if (i != NONE) {
        cache->free = cache->pages[i].next;
        cache->pages[i].pins = 1;
    }
    return i;
}

/* Under the lock: withdraws the next page of that version, from *at on; or NONE, when the lock was
 * held for long enough. */
static int32_t withdraw_next(struct kv_cache *cache, uint64_t version, int64_t *at)
{
    int64_t until = *at + FORGET_STEP;

    for (; *at < cache->pages_count && *at < until; ++*at) {
        int32_t i = (int32_t)*at;

        if (cache->pages[i].version == version && cache->pages[i].pins == 0) {
            withdraw(cache, i);
            return i;
        }
    }
    return NONE;
}

/* Page by page, so that no request waits for long. A page that is wiped is this call's alone; as a
 * reader it keeps the pool from being cut anew. */
void kv_cache_forget(struct kv_cache *cache, uint64_t version)
{
    int64_t at = 0, count = 0;

    assert(version != 0);
    do {
        int32_t i;

        if (cache == NULL)
            return;
        (void)pthread_mutex_lock(&cache->lock);
        i = withdraw_next(cache, version, &at);
        count = cache->pages_count;
        cache->readers += i != NONE;
        (void)pthread_mutex_unlock(&cache->lock);
        if (i == NONE)
            continue;
        wipe(cache, i);
        (void)pthread_mutex_lock(&cache->lock);
        link_as_free(cache, i);
        cache->readers--;
        (void)pthread_mutex_unlock(&cache->lock);
    } while (at < count);
}

void kv_cache_take(struct kv_cache *cache, struct kv_lease *lease)
{
    int32_t p = 0, slot = 0;

    (void)pthread_mutex_lock(&cache->lock);
    for (; p < lease->pages && (slot = find(cache, lease->keys[p])) != NONE; p++) {
        pin(cache, slot);
        lease->slots[p] = slot;
    }
    lease->found = p;
    for (slot = 0; p < lease->pages; p++) {
        slot = slot == NONE ? NONE : take_free(cache);
        lease->slots[p] = slot;
    }
    (void)pthread_mutex_unlock(&cache->lock);
}

/* Another request may have published the same page meanwhile: one is enough. */
static bool publish(struct kv_cache *cache, int32_t i, struct hash128 key, uint64_t version)
{
    int32_t *bucket = bucket_of(cache, key);

    if (find(cache, key) != NONE)
        return false;
    assert(version != 0);
    cache->pages[i].key = key;
    cache->pages[i].version = version;
    cache->pages[i].next = *bucket;
    *bucket = i;
    cache->pages_used++;
    return true;
}

/* Frees pages that are in no list but this one, which begins with page i. */
static void wipe_and_free(struct kv_cache *cache, int32_t i)
{
    int32_t last = NONE;

    if (i == NONE)
        return;
    for (int32_t at = i; at != NONE; at = cache->pages[at].next) {
        wipe(cache, at);
        last = at;
    }
    (void)pthread_mutex_lock(&cache->lock);
    cache->pages[last].next = cache->free;
    cache->free = i;
    (void)pthread_mutex_unlock(&cache->lock);
}

void kv_cache_give(struct kv_cache *cache, struct kv_lease *lease, bool written)
{
    int64_t found = (int64_t)lease->found * KV_PAGE_ROWS;
    int32_t refused = NONE;

    (void)pthread_mutex_lock(&cache->lock);
    for (int32_t p = lease->pages - 1; p >= 0; p--) { /* the beginning is the newest in the end */
        int32_t i = lease->slots[p];

        if (i == NONE)
            continue;
        assert(cache->pages[i].pins > 0);
        cache->pages[i].pins--;
        if (p >= lease->found && (!written || !publish(cache, i, lease->keys[p], lease->version))) {
            cache->pages[i].next = refused;
            refused = i;
        } else if (cache->pages[i].pins == 0) {
            list_newest(cache, i);
        }
    }
    if (written) {
        cache->rows_found += found;
        cache->rows_computed += lease->rows - found;
    }
    (void)pthread_mutex_unlock(&cache->lock);
    wipe_and_free(cache, refused);
}
