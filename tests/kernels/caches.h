/* tests/kernels/caches.h - caches of K and V for tests: made without an error, asked in one line.
 */
#ifndef TESTS_KERNELS_CACHES_H
#define TESTS_KERNELS_CACHES_H

#include "kernels/kv_cache.h"
#include "kernels/model.h"

/* Owner: the test, until kv_cache_destroy(). */
struct kv_cache *caches_make(int64_t bytes);
struct kv_cache_stats caches_stats(const struct kv_cache *cache);
/* Of a cache that has room for so many pages of a model of this config, and no more. */
int64_t caches_bytes(const struct model_config *config, int32_t pages);

#endif
