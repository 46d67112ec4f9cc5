/*
 * scorer/history_cache.h - serve's one cache of histories' K and V: its size, and what operators
 * see.
 *
 * Flow: serve.history_cache -> [open] -> the model that serves [fit] -> scorer threads (rank.h) ->
 * [/metrics]
 *
 * What is kept, and how it is found, says kernels/kv_cache.h: a request finds the pages that any
 * request before it left, by whichever thread, for the same weights, context and first tokens, so
 * nothing here knows users or versions, and scores do not change.
 */
#ifndef SCORER_HISTORY_CACHE_H
#define SCORER_HISTORY_CACHE_H

#include "kernels/kv_cache.h"
#include "kernels/model.h"
#include "ops/config.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HISTORY_CACHE_LEAST                                                                        \
    (1 << 20) /* below it some users' histories are all there is room for                          \
               */

/* serve.history_cache is 0 or at least HISTORY_CACHE_LEAST. Errors: ERR_CONFIG */
MUST_CHECK enum status history_cache_check(const struct config *config, struct error *err);

/**
 * A cache of so many bytes, told on /metrics from here on (of several, the newest is); 0: *cache
 * is NULL, which all that takes a cache takes. It takes its memory with the first model.
 * Owner: the caller, until history_cache_close(), when nobody scores with it any more.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum status history_cache_open(struct kv_cache **cache, int64_t bytes,
                                          struct error *err);
void history_cache_close(struct kv_cache *cache); /* NULL is fine */

/* Once this model serves: takes the memory in place of its requests, and logs how much of histories
 * it keeps. False: there is no memory, so that requests are scored without, which is logged, or
 * answers of a model of another shape still read what is there; ask again later. NULL is fine. */
bool history_cache_fit(struct kv_cache *cache, const struct model *model);

/* Users whose last `events` of the history this many bytes keep, context tokens of the model
 * included; INT64_MAX when they are too few for a page, which nothing keeps. */
int64_t history_cache_users(int64_t bytes, const struct model_config *config, int64_t events);

#endif
