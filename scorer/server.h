/*
 * scorer/server.h - requests in, ranked lists out: POST /v1/rerank and POST /v1/recommend.
 *
 * Flow: HTTP -> parse -> [read the sequence] -> queue -> [scorer thread: rank, encode] -> HTTP
 *
 * A fixed pool of jobs bounds everything: a request that finds none free is told to come back
 * (503, Retry-After) within microseconds. A job whose deadline has passed is answered 504 and not
 * scored. Every answer names one model version, the arm, and how degraded it is.
 * Thread: handlers run on HTTP threads, the reading on the reader's, ranking on scorer threads.
 */
#ifndef SCORER_SERVER_H
#define SCORER_SERVER_H

#include "ops/http_server.h"
#include "ops/status.h"
#include "schemas/context.h"
#include "schemas/event.h"
#include "scorer/rank.h"
#include "scorer/served.h"
#include "scorer/user_reader.h"

#include <stdbool.h>
#include <stdint.h>

struct server_options {
    struct served_slot *slot;
    struct user_reader *reader;
    const struct event_schema *schema; /* for negative actions */
    int threads;                       /* scorer threads; 0: cores - 1, at least 1 */
    int waiting_max;                   /* requests at work; 0: 256 */
    int64_t budget_ms;             /* of a request from arrival, unless it names its own; 0: 200 */
    int64_t redis_budget_ms;       /* of reading the sequence; 0: 15 */
    double holdout;                /* share of users that get popularity, 0..1 */
    struct context_names contexts; /* members of a request's context that the model reads */
    int recall_next;               /* of rank_request */
    struct rank_floor floor;       /* places of every list that are for new items */
    struct kv_cache *histories;    /* borrowed (history_cache.h); NULL: none */
    const struct backend *backend; /* that scores; NULL: the CPU */
    bool stream_clock;             /* now = newest event time the tables know, not the wall clock */
};

struct server;
MUST_CHECK enum status server_create(struct server **server, const struct server_options *options,
                                     struct error *err);
/* New requests are answered 503 from here on; returns when those at work are answered, at most
 * after timeout_ms. */
void server_drain(struct server *server, int64_t timeout_ms);
void server_destroy(struct server *server); /* NULL is fine */

/* Asks the backend whether it still works when it failed a request since the last call, or the
 * caller (suspected). For requests it asks at once, then after 1 s, 2 s .. 10 s while they go on
 * failing. OK: it does, there was no memory to ask (it will again), or nobody suspects it; else
 * ERR_DEVICE and why: the process is to end and be started anew, when it looks at the GPU again.
 * Thread: one. */
MUST_CHECK enum status server_check(struct server *server, bool suspected, struct error *err);

/* For http_server_options.routes, with the server as context. */
extern const struct http_route server_routes[];

/* The newest answers, as a JSON array of {at_ms, endpoint, degraded, version, items: [...]}: the
 * live feed of the admin page. Users are hashed. Returns the bytes, 0 when they do not fit. */
size_t server_recent(struct server *server, char *into, size_t bytes);

#endif
