/*
 * features/redis_reply.h - what Redis answers: replies built in an arena by hiredis' reader, and
 * what its errors mean.
 *
 * hiredis' reader parses; our object functions build, and refuse what is too wide or too long
 * before memory is taken for it. Deeper than 7 is refused by hiredis. What a hostile or broken
 * server can cost is therefore bounded by the limits given (FAULTS 57; hiredis' own functions
 * multiply the element count of an array unchecked, CVE-2021-32765).
 */
#ifndef FEATURES_REDIS_REPLY_H
#define FEATURES_REDIS_REPLY_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum redis_reply_type {
    REPLY_NIL,
    REPLY_STATUS,
    REPLY_ERROR,
    REPLY_INTEGER,
    REPLY_STRING,
    REPLY_ARRAY
};

struct redis_reply {
    enum redis_reply_type type;
    int64_t integer;
    struct text text; /* STATUS, ERROR, STRING; followed by a zero that is not counted */
    int count;        /* ARRAY */
    const struct redis_reply *const *elements; /* (count) */
};

/* What an error reply means. Label values of freshet_redis_errors_total{code}. */
/* clang-format off */
#define REDIS_ERROR_LIST(X)                                                                        \
    X(OTHER,       "other",       ERR_CONFLICT,    "an error we do not know")                      \
    X(ERR,         "err",         ERR_CONFLICT,    "the command was refused")                      \
    X(OOM,         "oom",         ERR_UNAVAILABLE, "maxmemory is reached")                         \
    X(READONLY,    "readonly",    ERR_UNAVAILABLE, "it is a replica now")                          \
    X(LOADING,     "loading",     ERR_UNAVAILABLE, "it is loading its data")                       \
    X(MASTERDOWN,  "masterdown",  ERR_UNAVAILABLE, "its master is down")                           \
    X(CLUSTERDOWN, "clusterdown", ERR_UNAVAILABLE, "the cluster is down")                          \
    X(TRYAGAIN,    "tryagain",    ERR_UNAVAILABLE, "a slot is moving")                             \
    X(MOVED,       "moved",       ERR_UNAVAILABLE, "the slot is at another node")                  \
    X(ASK,         "ask",         ERR_UNAVAILABLE, "the slot is moving to another node")           \
    X(NOREPLICAS,  "noreplicas",  ERR_UNAVAILABLE, "too few replicas")                             \
    X(BUSY,        "busy",        ERR_UNAVAILABLE, "a script is running")                          \
    X(MISCONF,     "misconf",     ERR_UNAVAILABLE, "it cannot save to its disk")                   \
    X(EXECABORT,   "execabort",   ERR_UNAVAILABLE, "the transaction was refused while queueing")   \
    X(WRONGTYPE,   "wrongtype",   ERR_CORRUPT,     "the key holds another type")                   \
    X(NOAUTH,      "noauth",      ERR_CONFIG,      "a password is needed")                         \
    X(WRONGPASS,   "wrongpass",   ERR_CONFIG,      "wrong user or password")                       \
    X(NOPERM,      "noperm",      ERR_CONFIG,      "the user may not do this")

enum redis_error {
#define X(id, name, status, text) REDIS_ERROR_##id,
    REDIS_ERROR_LIST(X)
#undef X
    REDIS_ERROR_COUNT
};
/* clang-format on */
extern const char *const redis_error_names[REDIS_ERROR_COUNT];

enum redis_error redis_error_of(struct text message);
/* Fills *err from an ERROR reply and counts it; OK for every other type. */
MUST_CHECK enum status redis_reply_status(const struct redis_reply *reply, struct error *err);

/* The value of "name:value\r\n" in what INFO answers, cut to room; false when it is not there. */
bool redis_info_line(struct text info, const char *name, char *into, size_t room);

/* Bytes in, replies out. Thread: one. */
struct redis_reader;
struct redis_reader *redis_reader_create(size_t reply_bytes, int reply_elements); /* NULL: memory */
void redis_reader_destroy(struct redis_reader *reader);                           /* NULL is fine */
/* Forgets half a reply (the connection is another one now). */
MUST_CHECK bool redis_reader_restart(struct redis_reader *reader);
/* Errors: ERR_LIMIT (more unparsed bytes than a reply may have), ERR_NOMEM */
MUST_CHECK enum status redis_reader_feed(struct redis_reader *reader, const char *bytes,
                                         size_t count, struct error *err);
/* OK with NULL when no reply is complete yet; *reply is valid until the next call.
 * Errors: ERR_MALFORMED (not the protocol), ERR_LIMIT */
MUST_CHECK enum status redis_reader_next(struct redis_reader *reader,
                                         const struct redis_reply **reply, struct error *err);

#endif
