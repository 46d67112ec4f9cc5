/* tests/kernels/caches.c - see caches.h. */
#include "tests/kernels/caches.h"

#include "tests/test.h"

#define PAGE_TABLES 48 /* bytes of a page in the cache's tables, nearly */

struct kv_cache *caches_make(int64_t bytes)
{
    struct kv_cache *cache;
    struct error err;

    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, kv_cache_create(&cache, bytes, &err));
    return cache;
}

struct kv_cache_stats caches_stats(const struct kv_cache *cache)
{
    struct kv_cache_stats stats;

    kv_cache_stats(cache, &stats);
    return stats;
}

int64_t caches_bytes(const struct model_config *config, int32_t pages)
{
    struct kv_shape shape = {.L = config->L, .C = config->C};

    return pages * (kv_page_floats(shape) * (int64_t)sizeof(float) + PAGE_TABLES) + PAGE_TABLES - 1;
}
