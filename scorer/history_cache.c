/* scorer/history_cache.c - the cache's size and its metrics; the cache is kernels/kv_cache.c. */
#include "scorer/history_cache.h"

#include "ops/log.h"
#include "ops/metric.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { FROM_CACHE, FROM_LAYERS, SOURCES };
static const char *const source_names[SOURCES] = {"cache", "computed"};

METRIC_COUNTER_OF(
    rows_total, "freshet_serve_history_rows_total",
    "events and context of histories that requests were scored with, by where their K and V came "
    "from (serve.history_cache)",
    "from", source_names, SOURCES);
METRIC_COUNTER(dropped_total, "freshet_serve_history_pages_dropped_total",
               "pages of 12 events that were dropped to make room for others");
METRIC_GAUGE(pages_fit, "freshet_serve_history_pages", "pages of 12 events that fit; 0: no cache");
METRIC_GAUGE(pages_used, "freshet_serve_history_pages_used", "pages that hold something");
METRIC_GAUGE(cache_bytes, "freshet_serve_history_cache_bytes", "memory it may take, tables too");

/* The cache that /metrics tells of, and what of it was told. The lock keeps it from being closed
 * while it is looked at. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kv_cache *watched;
static struct kv_cache_stats told;

/* With the lock. Totals only grow, so what they grew by is counted. */
static void tell(void)
{
    struct kv_cache_stats now = {0};

    if (watched == NULL)
        return;
    kv_cache_stats(watched, &now);
    metric_add_of(&rows_total, FROM_CACHE, (uint64_t)(now.rows_found - told.rows_found));
    metric_add_of(&rows_total, FROM_LAYERS, (uint64_t)(now.rows_computed - told.rows_computed));
    metric_add(&dropped_total, (uint64_t)(now.pages_dropped - told.pages_dropped));
    metric_set(&pages_fit, (double)now.pages);
    metric_set(&pages_used, (double)now.pages_used);
    metric_set(&cache_bytes, (double)now.bytes);
    told = now;
}

static void look(void)
{
    (void)pthread_mutex_lock(&lock);
    tell();
    (void)pthread_mutex_unlock(&lock);
}

static void watch(struct kv_cache *cache)
{
    static bool looks;

    (void)pthread_mutex_lock(&lock);
    tell(); /* of the one before, for the last time */
    watched = cache;
    told = (struct kv_cache_stats){0};
    if (!looks)
        metric_on_render(look);
    looks = true;
    (void)pthread_mutex_unlock(&lock);
}

static void unwatch(const struct kv_cache *cache)
{
    (void)pthread_mutex_lock(&lock);
    if (watched == cache) {
        tell();
        watched = NULL;
        metric_set(&pages_fit, 0);
        metric_set(&pages_used, 0);
        metric_set(&cache_bytes, 0);
    }
    (void)pthread_mutex_unlock(&lock);
}

enum status history_cache_check(const struct config *config, struct error *err)
{
    int64_t bytes = config_size_bytes(config, "serve.history_cache");

    if (bytes == 0 || bytes >= HISTORY_CACHE_LEAST)
        return OK;
    return error_set(err, ERR_CONFIG,
                     "serve.history_cache is %" PRId64
                     " bytes, which keeps next to nothing: 1MiB or more, or 0 for no cache",
                     bytes);
}

enum status history_cache_open(struct kv_cache **cache, int64_t bytes, struct error *err)
{
    enum status status;

    *cache = NULL;
    if (bytes == 0)
        return OK;
    status = kv_cache_create(cache, bytes, err);
    if (status == OK)
        watch(*cache);
    return status;
}

void history_cache_close(struct kv_cache *cache)
{
    if (cache == NULL)
        return;
    unwatch(cache);
    kv_cache_destroy(cache);
}

bool history_cache_fit(struct kv_cache *cache, const struct model *model)
{
    struct kv_cache_stats stats;
    struct error err;
    enum status status;

    if (cache == NULL || model == NULL)
        return true;
    status = model_reserve_cache(model, cache, &err);
    if (status != OK) {
        log_event(LOG_WARN, "history_cache_off", err.text,
                  log_text("remedy", "each request computes its whole history; set "
                                     "serve.history_cache to what there is room for"));
        return status == ERR_LIMIT; /* too few bytes for this model: as they will be */
    }
    if (!model_fits_cache(model, cache))
        return false;
    kv_cache_stats(cache, &stats);
    log_event(LOG_INFO, "history_cache", "keeps K and V of histories from request to request",
              log_int("bytes", stats.bytes), log_int("events", stats.pages * KV_PAGE_ROWS));
    return true;
}

int64_t history_cache_users(int64_t bytes, const struct model_config *config, int64_t events)
{
    struct kv_shape shape = {.L = config->L, .C = config->C};
    int64_t page_bytes = kv_page_floats(shape) * (int64_t)sizeof(float);
    int64_t most = config->P - config->contexts;
    int64_t rows = (events < most ? events : most) + config->contexts;

    return rows < KV_PAGE_ROWS ? INT64_MAX : bytes / page_bytes / (rows / KV_PAGE_ROWS);
}
