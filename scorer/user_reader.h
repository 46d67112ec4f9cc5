/*
 * scorer/user_reader.h - reads users' sequences from Redis for waiting requests, many in one
 * pipeline, and knows what to do when Redis does not answer.
 *
 * Flow: request -> [read] -> sequence -> rank
 *
 * One thread owns one connection to each node of Redis that holds users. It sends the GETs of all
 * requests that wait, and hands each its sequence as its reply comes. Freshness comes first: what
 * Redis says is what is used. A request whose deadline passes first, or that comes while Redis is
 * down, gets the value from a bounded cache of what was read last, or none: never an error, and
 * never a wait beyond its deadline. Thread: user_reader_submit from any; done is called on the
 * reader's thread (or, once the reader is closing, on the submitter's) and must not block.
 */
#ifndef SCORER_USER_READER_H
#define SCORER_USER_READER_H

#include "features/redis_keys.h"
#include "features/redis_nodes.h"
#include "ops/status.h"
#include "schemas/user_value.h"

#include <stdbool.h>
#include <stdint.h>

enum user_read_outcome {
    USER_READ_FRESH,  /* Redis answered; history_count may be 0: a user never seen */
    USER_READ_CACHED, /* Redis did not: from the cache */
    USER_READ_FAILED, /* Redis did not, and the cache does not know the user */
};

/* One read; lives in the request, untouched by it between submit and done. */
struct user_read {
    struct text user;
    int64_t deadline_us; /* monotonic */
    void (*done)(struct user_read *read);
    /* The result */
    enum user_read_outcome outcome;
    uint32_t running;
    int history_count;
    struct user_entry history[SEQUENCE_MAX]; /* oldest first */
    /* Private */
    struct user_read *next;
    int64_t submitted_us;
    int slot;
    int redirects;
};

struct user_reader_options {
    struct redis_target target;
    struct redis_keys keys;
    int cache_users; /* slots of the cache; 0: none */
    int waiting_max; /* reads in flight at each node at most; 0: 4096 */
};

struct user_reader;
/* Starts the thread; Redis need not be up. */
MUST_CHECK enum status user_reader_open(struct user_reader **reader,
                                        const struct user_reader_options *options,
                                        struct error *err);
/* Every submitted read is done by the time this returns. NULL is fine. */
void user_reader_close(struct user_reader *reader);
void user_reader_submit(struct user_reader *reader, struct user_read *read);
bool user_reader_up(const struct user_reader *reader); /* Redis answers */

#endif
