/*
 * features/redis_connection.h - the door to hiredis: one connection to one Redis server.
 *
 * Two ways to use it. A poll loop over many connections (ingest: one a shard) appends commands,
 * steps each connection when its descriptor is ready or its time has come, and takes replies as
 * they arrive. A program that wants one answer calls the blocking functions at the end.
 *
 * Commands are formatted here by hand into one output buffer: hiredis' own formatting costs
 * 0.7-1.5 us a command, this 0.1-0.2 (LIMITS.md 2a). Replies are parsed by hiredis' reader with our
 * own object functions, which build them in an arena and refuse what is too deep, too long or
 * too wide: a hostile or broken server costs bounded memory and the connection (FAULTS 57).
 *
 * A connection heals itself: after a failure it waits (jittered, doubling, at most 10 s), then
 * connects, authenticates and selects its database again. What was in flight is lost and the
 * caller sees it by the epoch, which counts the times the connection became ready: replies belong
 * to commands of the same epoch only, and nothing is sent twice.
 *
 * Without hiredis_ssl a rediss:// address is a clear error at once; there is no fallback to plain.
 * Thread: one at a time for each connection.
 */
#ifndef FEATURES_REDIS_CONNECTION_H
#define FEATURES_REDIS_CONNECTION_H

#include "ops/config.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- where ---- */

#define REDIS_HOST_MAX     256
#define REDIS_PASSWORD_MAX 512

/* redis://[[user]:password@]host[:port][/db]  or  unix:///path/to/socket[?db=N] */
struct redis_target {
    bool unix_socket;
    char host[REDIS_HOST_MAX]; /* or the socket's path */
    int port;                  /* 6379 unless given */
    int db;
    char user[128]; /* "": the default user */
    char password[REDIS_PASSWORD_MAX];
};
/* Errors: ERR_CONFIG (not such an address; rediss:// in a build without TLS). The text never
 * repeats the password. */
MUST_CHECK enum status redis_target_parse(struct redis_target *target, const char *url,
                                          struct error *err);
/* Host and port or path, for messages: without the password. */
void redis_target_describe(const struct redis_target *target, char *into, size_t bytes);

/* redis.url, redis.password, redis.connect_timeout, redis.reply_timeout, dataset.namespace, ... */
extern const struct config_row redis_config_rows[];
MUST_CHECK enum status redis_target_from(struct redis_target *target, const struct config *config,
                                         struct error *err);

/* ---- what came back ---- */

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

/* ---- a connection in a poll loop ---- */

struct redis_limits {
    int64_t connect_ms;  /* connect, authenticate, select; 0: 3000 */
    int64_t reply_ms;    /* the oldest reply owed; 0: 10000. A server that hangs is down. */
    size_t output_bytes; /* commands not yet written; 0: 64 MiB */
    size_t reply_bytes;  /* one reply with all it holds; 0: 64 MiB */
    int reply_elements;  /* of one array; 0: 1,048,576 */
    int64_t backoff_ms;  /* the longest wait between attempts; 0: 10000 */
};

struct redis_connection;
/* Starts connecting at the first step. name: CLIENT SETNAME, may be NULL. */
MUST_CHECK enum status redis_connection_create(struct redis_connection **connection,
                                               const struct redis_target *target,
                                               const struct redis_limits *limits, const char *name,
                                               struct error *err);
void redis_connection_destroy(struct redis_connection *connection); /* NULL is fine */

/* What poll() is to wait for: the descriptor (-1 while there is none), POLLIN and POLLOUT, and
 * the moment by which step must be called even so. */
int redis_connection_descriptor(const struct redis_connection *connection);
short redis_connection_wants(const struct redis_connection *connection);
int64_t redis_connection_due_us(const struct redis_connection *connection);
/* Connects, writes, reads, notices deadlines. Never blocks (but for looking up a host's name). */
void redis_connection_step(struct redis_connection *connection, int64_t now_us);

bool redis_connection_ready(const struct redis_connection *connection);
/* 0 before it was ever ready; changes each time it becomes ready anew. */
uint64_t redis_connection_epoch(const struct redis_connection *connection);
/* Replies still owed for what was appended in this epoch. */
int redis_connection_owed(const struct redis_connection *connection);
/* Why it is not ready, or was not the last time. */
const struct error *redis_connection_why(const struct redis_connection *connection);
/* Drops the connection now (an answer made no sense); it heals like after any failure. */
void redis_connection_fail(struct redis_connection *connection, enum status status,
                           const char *why);

/* One command: begin with the number of arguments, then exactly that many. Only when ready;
 * false once the output limit is reached (nothing was appended then: begin refuses). */
bool redis_begin(struct redis_connection *connection, int arguments, size_t bytes_about);
void redis_argument(struct redis_connection *connection, const void *bytes, size_t count);
void redis_argument_text(struct redis_connection *connection, const char *zero_ended);
void redis_argument_int(struct redis_connection *connection, int64_t value);
/* The next reply, NULL when none has fully arrived. Valid until the next call on it. */
const struct redis_reply *redis_connection_reply(struct redis_connection *connection);
/* Bytes written and read since creation, for metrics. */
void redis_connection_traffic(const struct redis_connection *connection, uint64_t *written,
                              uint64_t *read);

/* ---- the same, blocking ---- */

/* Steps until it is ready. Errors: ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_CONFIG (wrong password) */
MUST_CHECK enum status redis_connection_wait_ready(struct redis_connection *connection,
                                                   int64_t timeout_ms, struct error *err);
/**
 * Writes what was appended and waits for the next reply. An ERROR reply is OK here (see
 * redis_reply_status): the call worked.
 * Errors: ERR_UNAVAILABLE (the connection failed: replies still owed never come), ERR_TIMEOUT
 *         (it was dropped for it)
 */
MUST_CHECK enum status redis_connection_receive(struct redis_connection *connection,
                                                int64_t timeout_ms,
                                                const struct redis_reply **reply,
                                                struct error *err);
/* Connects if need be, sends one command, waits for its reply; an ERROR reply is its status. */
MUST_CHECK enum status redis_call(struct redis_connection *connection, int64_t timeout_ms,
                                  const struct text *arguments, int arguments_count,
                                  const struct redis_reply **reply, struct error *err);
/* GET. value->at == NULL: no such key. Valid until the next call. */
MUST_CHECK enum status redis_get(struct redis_connection *connection, int64_t timeout_ms,
                                 struct text key, struct text *value, struct error *err);

#endif
