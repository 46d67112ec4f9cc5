/*
 * kernels/kv_cache.h - K and V of histories, kept from request to request: one cache for all users.
 *
 * Flow: request -> keys of its pages -> [pages that are there | places for the others] -> layers ->
 * [published] -> the next request with these tokens in front
 *
 * A page holds V | K of KV_PAGE_ROWS neighbouring history rows in every layer, as (L, KV_PAGE_ROWS,
 * 2 C) floats, in memory of whatever scores (host or GPU). It is found by what made it: a hash of
 * 128 bits, chained over the weights' version (none twice in a process), the request's context
 * codes, and (item, action, time) of every token up to the page's end. So
 *     no user's name is needed, and a user's erased or corrected event is simply other pages;
 *     nothing can go stale: other weights, another window, another context ask for other pages;
 *     pieces of one request, and whoever asks with the same tokens in front, share pages.
 * Whole pages alone are kept, from the front; what follows them is computed again. A published
 * page never changes. Pages that a request reads or writes are pinned; of the others the one
 * that was not used for longest goes first, the end of a history before its beginning. When all are
 * pinned a request keeps less. Pages of older weights are never found again and go by age.
 *
 * The hash is seeded with random bits of this cache, so that nobody who names items can aim at
 * another's page; two of 10^12 pages would be taken for each other with a probability of 10^-15.
 *
 * Memory: at most `bytes`, tables included, taken at once when the first model asks (or
 * model_reserve_cache() does) and cut into that model's pages. A model of another shape (L, C, CPU
 * or GPU) goes without, until KV_STRANGERS of its calls came in a row: then all is cut anew as soon
 * as nobody reads. Of one shape, any number of models share it. Where `bytes` are less than a page,
 * or cannot be had, requests are scored without (stats: pages 0). Pages of the host are wiped
 * before their memory is given back.
 *
 * Thread: any number at once, but for create and destroy.
 */
#ifndef KERNELS_KV_CACHE_H
#define KERNELS_KV_CACHE_H

#include "ops/hash.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define KV_PAGE_ROWS 12 /* CPU_ROW_PAD (kernels/cpu.h): rows are computed in such blocks */
#define KV_STRANGERS 32

struct kv_cache;
struct backend; /* kernels/backend.h */
struct request; /* kernels/request.h */

/**
 * An empty cache; it takes its memory later (above). hash_start() has been called.
 * Owner: the caller, until kv_cache_destroy(), when nobody scores with it any more.
 * Errors: ERR_LIMIT bytes below 1; ERR_NOMEM.
 */
MUST_CHECK enum status kv_cache_create(struct kv_cache **cache, int64_t bytes, struct error *err);
void kv_cache_destroy(struct kv_cache *cache); /* NULL is fine */

/* rows: of histories, context tokens included; those of a request that was scored without the cache
 * (no room, another shape, an error) count nowhere. The last three only grow. */
struct kv_cache_stats {
    int64_t bytes;         /* what it may take */
    int64_t pages;         /* that fit; 0 before the memory was taken, or where none could be */
    int64_t pages_used;    /* published */
    int64_t rows_found;    /* whose K and V were there */
    int64_t rows_computed; /* the others */
    int64_t pages_dropped; /* to make room, or because all was cut anew */
};
void kv_cache_stats(const struct kv_cache *cache, struct kv_cache_stats *stats);

/* Drops the pages of these weights (never 0) that no request has at the moment, and wipes those
 * that lie in the host's memory: for when the weights are gone and nobody can find their pages
 * again. On a GPU they are overwritten by what comes next. Not counted as dropped. NULL is fine. It
 * looks at all pages, and takes as long as it takes to write those; no request waits for more than
 * 256 of them to be looked at. */
void kv_cache_forget(struct kv_cache *cache, uint64_t version);

/* ---- for model.c, and its tests ---- */

struct kv_shape {
    int32_t L, C;
    const struct backend *backend; /* whose GPU holds the pages; NULL: the host */
};

static inline int64_t kv_page_floats(struct kv_shape shape)
{
    return (int64_t)shape.L * KV_PAGE_ROWS * 2 * shape.C;
}

/* Takes the memory for this shape now. OK, and no change, while others read pages of another.
 * Errors: ERR_LIMIT bytes are less than a page; ERR_NOMEM; ERR_DEVICE. */
MUST_CHECK enum status kv_cache_reserve(struct kv_cache *cache, struct kv_shape shape,
                                        struct error *err);

/* Whether it has pages of this shape. */
bool kv_cache_fits(struct kv_cache *cache, struct kv_shape shape);

/* The pages, from page 0 on, for a call that goes with the cache: kv_cache_leave() follows. NULL
 * for one that goes without. */
float *kv_cache_enter(struct kv_cache *cache, struct kv_shape shape);
void kv_cache_leave(struct kv_cache *cache);

/* What one request has of the cache. Page p holds its rows p * KV_PAGE_ROWS on. */
#define KV_SLOT_NONE (-1)
struct kv_lease {
    uint64_t version;     /* of the weights; not 0 */
    int32_t rows;         /* of the request's history */
    int32_t pages;        /* whole ones: rows / KV_PAGE_ROWS */
    int32_t found;        /* the first of them are there, pinned: not to be written */
    struct hash128 *keys; /* (pages) */
    int32_t *slots; /* (pages) number of the page in the pool: it is there, or has a place that
                       this request alone may write; or KV_SLOT_NONE, and so all behind it */
};

/* Fills version, rows, pages and keys; lease->keys: room for kv_pages_of(request->n). */
void kv_cache_keys(const struct kv_cache *cache, struct kv_lease *lease, uint64_t version,
                   const struct request *request);
static inline int32_t kv_pages_of(int32_t rows)
{
    return rows / KV_PAGE_ROWS;
}

/* Between enter and leave: fills found and slots; give ends it. written: all places that were not
 * found hold what their keys say, and are published; else they are free again. In the host's
 * memory what is not published (of two that were computed at once, one) is wiped. */
void kv_cache_take(struct kv_cache *cache, struct kv_lease *lease);
void kv_cache_give(struct kv_cache *cache, struct kv_lease *lease, bool written);

#endif
