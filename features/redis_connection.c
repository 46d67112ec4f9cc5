/*
 * features/redis_connection.c - a connection that formats, pipelines, heals, and never blocks.
 *
 * States: WAITING (for the next attempt) -> RESOLVING (the host's name, where it is one) ->
 * CONNECTING [-> SHAKING, with TLS] -> GREETING (authenticate, select, name, ping: a server that is
 * loading or wants a password answers here) -> READY; any failure leads back to WAITING. Where the
 * topology says that a guide must be asked first, the same states lead to the guide, whose greeting
 * ends with the question, and from its answer back to WAITING: between two descriptors lies a
 * moment without one, which redis_store's epoll set relies on.
 */
#include "features/redis_connection.h"

#include "features/redis_resolve.h"
#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/hash.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "ops/random.h"

#include <assert.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES       (16 * 1024)
#define OUTPUT_START     (16 * 1024)
#define BACKOFF_FIRST_MS 50
#define BACKOFF_ASK_MS   1000  /* at most, where asking again is cheap and finds the new primary */
#define GUIDE_MS         1000  /* for a guide to answer: there are others */
#define SHARED_WAIT_US   20000 /* while another connection asks */
#define RESOLVE_AGAIN_US 5000  /* to see whether a name was looked up */
#define REDIRECT_SPAN_US 1000000
#define WHOLE_REPLIES    6 /* times reply_ms, for the whole of one */
#define GREETINGS_MAX    6
#define LOG_EVERY_MS     60000
#define LOG_PLACES       64
#define NEVER_US         INT64_MAX

METRIC_COUNTER(connects, "freshet_redis_connects_total", "connections made to Redis");
METRIC_COUNTER(failures, "freshet_redis_failures_total", "connections to Redis that failed");
METRIC_COUNTER(questions, "freshet_redis_discoveries_total",
               "times sentinels or nodes were asked where Redis is");
METRIC_COUNTER(redirects, "freshet_redis_redirects_total",
               "connections that followed a slot to another node");

enum state { WAITING, RESOLVING, CONNECTING, SHAKING, GREETING, READY };

/* What a reply of the greeting must say. */
enum greeting {
    GREETING_OK,
    GREETING_ANY,   /* SETNAME may be forbidden; that is no reason not to work */
    GREETING_ROLE,  /* a primary: sentinels may not know yet that it is none */
    GREETING_WHERE, /* a guide's answer */
};

struct redis_connection {
    struct redis_topology *topology, *own; /* own: ours alone, or NULL */
    int slot;                              /* for the node of which */
    struct redis_route route;              /* of this attempt */
    bool guide;                            /* it leads to a guide */
    bool pinned;                           /* to route.address, whatever the topology says */
    int redirects;                         /* since redirects_us */
    int64_t redirects_us;
    struct redis_limits limits;
    char name[64];
    char where[REDIS_WHERE_MAX];

    enum state state;
    redisContext *context;             /* only for its connecting and its descriptor */
    struct redis_tls_session *session; /* NULL: plain */
    struct redis_reader *reader;
    enum greeting greetings[GREETINGS_MAX];
    int greetings_count, greeting; /* how many, and which one is owed next */
    uint64_t epoch;
    struct error why;

    char *output; /* [output_sent, output_used) is not written yet */
    size_t output_used, output_sent, output_room;
    int owed;
    bool input; /* bytes were fed since the reader last said "no more" */

    int64_t attempt_us;  /* WAITING: when to connect; RESOLVING: when to see */
    int64_t deadline_us; /* RESOLVING to GREETING */
    int64_t progress_us; /* READY: when something last arrived, or the first was asked for */
    int64_t turn_us;     /* when the oldest reply owed was the first in line */
    int64_t stepped_us;
    int64_t backoff_ms;
    struct random random; /* jitter */
    bool reported;        /* a failure was logged: its end will be */
    uint64_t written, read;
};

static size_t or_size(size_t value, size_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static void set_limits(struct redis_limits *limits)
{
    limits->connect_ms = limits->connect_ms == 0 ? 3000 : limits->connect_ms;
    limits->reply_ms = limits->reply_ms == 0 ? 10000 : limits->reply_ms;
    limits->backoff_ms = limits->backoff_ms == 0 ? 10000 : limits->backoff_ms;
    limits->output_bytes = or_size(limits->output_bytes, 64 * 1024 * 1024);
    limits->reply_bytes = or_size(limits->reply_bytes, 64 * 1024 * 1024);
    limits->reply_elements = limits->reply_elements == 0 ? 1024 * 1024 : limits->reply_elements;
}

static enum status create(struct redis_connection **connection, struct redis_topology *topology,
                          struct redis_topology *own, int slot, const struct redis_limits *limits,
                          const char *name, struct error *err)
{
    struct redis_connection *c = calloc(1, sizeof *c);

    *connection = NULL;
    if (c == NULL) {
        redis_topology_destroy(own);
        return error_set(err, ERR_NOMEM, "no memory for a connection to redis");
    }
    c->topology = topology;
    c->own = own;
    c->slot = slot;
    if (limits != NULL)
        c->limits = *limits;
    set_limits(&c->limits);
    if (redis_topology_target(topology)->kind != REDIS_STANDALONE &&
        c->limits.backoff_ms > BACKOFF_ASK_MS)
        c->limits.backoff_ms = BACKOFF_ASK_MS;
    if (name != NULL)
        (void)snprintf(c->name, sizeof c->name, "%s", name);
    redis_address_describe(&redis_topology_target(topology)->guides[0], c->where);
    (void)error_set(&c->why, ERR_UNAVAILABLE, "not connected to redis at %s yet", c->where);
    random_seed(&c->random, (uint64_t)clock_monotonic_us() ^ (uintptr_t)c);
    c->backoff_ms = BACKOFF_FIRST_MS;
    c->reader = redis_reader_create(c->limits.reply_bytes, c->limits.reply_elements);
    c->output = malloc(OUTPUT_START);
    c->output_room = OUTPUT_START;
    if (c->reader == NULL || c->output == NULL) {
        redis_connection_destroy(c);
        return error_set(err, ERR_NOMEM, "no memory for a connection to redis");
    }
    *connection = c;
    return OK;
}

enum status redis_connection_create(struct redis_connection **connection,
                                    const struct redis_target *target,
                                    const struct redis_limits *limits, const char *name,
                                    struct error *err)
{
    struct redis_topology *own;
    enum status status;

    assert(connection != NULL && target != NULL && err != NULL);
    *connection = NULL;
    status = redis_topology_create(&own, target, err);
    if (status != OK)
        return status;
    return create(connection, own, own, redis_slot_of_shard(0), limits, name, err);
}

enum status redis_connection_create_in(struct redis_connection **connection,
                                       struct redis_topology *topology, int slot,
                                       const struct redis_limits *limits, const char *name,
                                       struct error *err)
{
    return create(connection, topology, NULL, slot, limits, name, err);
}

static void hang_up(struct redis_connection *c)
{
    redis_tls_end(c->session);
    c->session = NULL;
    if (c->context != NULL)
        redisFree(c->context);
    c->context = NULL;
    c->output_used = c->output_sent = 0;
    c->owed = 0;
    c->greetings_count = c->greeting = 0;
    c->input = false;
}

void redis_connection_destroy(struct redis_connection *connection)
{
    if (connection == NULL)
        return;
    hang_up(connection);
    redis_reader_destroy(connection->reader);
    free(connection->output);
    redis_topology_destroy(connection->own);
    free(connection);
}

/* The next attempt goes elsewhere: another guide, or wherever a new answer leads. True when that
 * may be tried at once. */
static bool look_elsewhere(struct redis_connection *c)
{
    bool at_once = c->guide && redis_topology_silent(c->topology);

    if (!c->guide)
        redis_topology_doubt(c->topology, c->route.version);
    c->guide = c->pinned = false;
    return at_once;
}

/* Of one server all the connections of a process fail: 64 shards would say so twice a second. The
 * first says it, then one a minute with how many did not. Servers beyond LOG_PLACES share limits.
 */
static struct log_limit *limit_of(const char *where)
{
    static struct {
        uint64_t server; /* hash; 0: free, and then it is one server's for good */
        struct log_limit limit;
    } places[LOG_PLACES];
    uint64_t server = hash64_text(text_of(where), 0) | 1;

    for (uint64_t i = 0; i < LOG_PLACES; i++) {
        uint64_t at = (server / 2 + i) % LOG_PLACES, free = 0;

        if (__atomic_compare_exchange_n(&places[at].server, &free, server, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED) ||
            free == server)
            return &places[at].limit;
    }
    return &places[server / 2 % LOG_PLACES].limit;
}

/* Full jitter on the upper half: processes that lost one server do not come back as one. */
static void fail(struct redis_connection *c, enum status status, const char *why)
{
    int64_t wait_us = c->backoff_ms * 500 +
                      (int64_t)random_below(&c->random, (uint64_t)c->backoff_ms * 500 + 1);

    metric_add(&failures, 1);
    (void)error_set(&c->why, status, "%s at %s: %s",
                    c->guide && redis_topology_target(c->topology)->kind == REDIS_SENTINEL
                        ? "sentinel"
                        : "redis",
                    c->where, why);
    hang_up(c);
    c->state = WAITING;
    if (look_elsewhere(c)) {
        c->attempt_us = clock_monotonic_us();
        c->why.status = ERR_UNAVAILABLE; /* another guide may do where this one's password fails */
        return;
    }
    c->attempt_us = clock_monotonic_us() + wait_us;
    c->backoff_ms = c->backoff_ms * 2 > c->limits.backoff_ms ? c->limits.backoff_ms
                                                             : c->backoff_ms * 2;
    struct log_limit *limit = limit_of(c->where);

    if (log_every(limit, LOG_EVERY_MS)) {
        uint64_t held_back = __atomic_exchange_n(&limit->held_back, 0, __ATOMIC_RELAXED);

        log_event(LOG_WARN, "redis_down", c->why.text, log_int("retry_ms", wait_us / 1000),
                  log_int("held_back", (int64_t)held_back));
        c->reported = true;
    }
}

void redis_connection_fail(struct redis_connection *connection, enum status status, const char *why)
{
    if (connection->state != WAITING)
        fail(connection, status, why);
}

/* Leaves for where the topology now says, at once: there is no failure to wait for. */
static void go_on(struct redis_connection *c)
{
    hang_up(c);
    c->state = WAITING;
    c->guide = c->pinned = false;
    c->attempt_us = clock_monotonic_us();
}

/* The slot is at another node, by what this one says. Two nodes that name each other are asked no
 * more than so often. */
static void follow(struct redis_connection *c, struct text message)
{
    int64_t now_us = clock_monotonic_us();

    if (now_us - c->redirects_us > REDIRECT_SPAN_US) {
        c->redirects_us = now_us;
        c->redirects = 0;
    }
    (void)error_set(&c->why, ERR_UNAVAILABLE, "redis at %s: %.*s", c->where,
                    (int)(message.bytes > 120 ? 120 : message.bytes), message.at);
    if (++c->redirects > REDIS_REDIRECTS_MAX) {
        fail(c, ERR_UNAVAILABLE, "nodes send each other a slot");
        return;
    }
    metric_add(&redirects, 1);
    go_on(c);
}

bool redis_connection_heed(struct redis_connection *connection, const struct redis_reply *reply)
{
    struct redis_connection *c = connection;
    enum redis_error error = reply->type == REPLY_ERROR ? redis_error_of(reply->text)
                                                        : REDIS_ERROR_OTHER;
    bool cluster = redis_topology_target(c->topology)->kind == REDIS_CLUSTER;
    struct redis_moved moved;

    if (error == REDIS_ERROR_MOVED && !cluster)
        redis_connection_fail(c, ERR_CONFIG,
                              "it is a node of a cluster: redis.url must say so, "
                              "redis+cluster://host");
    else if (error == REDIS_ERROR_MOVED && DEFENCE(FOLLOW_MOVED) &&
             redis_moved_parse(&moved, reply->text, &c->route.address)) {
        redis_topology_moved(c->topology, &moved);
        if (moved.slot != c->slot)
            return false;
        follow(c, reply->text);
    } else if ((error == REDIS_ERROR_READONLY && DEFENCE(FOLLOW_READONLY)) ||
               error == REDIS_ERROR_CLUSTERDOWN) {
        redis_connection_fail(c, ERR_UNAVAILABLE, reply->text.at);
    } else {
        return false;
    }
    return true;
}

const struct redis_address *redis_connection_address(const struct redis_connection *connection)
{
    return &connection->route.address;
}

void redis_connection_pin(struct redis_connection *connection, int slot,
                          const struct redis_address *address)
{
    go_on(connection);
    connection->slot = slot;
    connection->pinned = true;
    connection->route = (struct redis_route){.address = *address};
}

/* ---- commands ---- */

static bool make_room(struct redis_connection *c, size_t more)
{
    size_t unsent = c->output_used - c->output_sent;
    size_t room = c->output_room;
    char *grown;

    if (c->output_room - c->output_used >= more)
        return true;
    if (c->output_sent > 0 && c->output_room - unsent >= more && c->output_sent >= unsent) {
        memcpy(c->output, c->output + c->output_sent, unsent); /* the halves do not overlap */
        c->output_used = unsent;
        c->output_sent = 0;
        return true;
    }
    while (room - c->output_used < more)
        room *= 2;
    grown = realloc(c->output, room);
    if (grown == NULL)
        return false;
    c->output = grown;
    c->output_room = room;
    return true;
}

static size_t put_decimal(char *into, uint64_t value)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < count; i++)
        into[i] = digits[count - 1 - i];
    return count;
}

static void put_header(struct redis_connection *c, char kind, uint64_t value)
{
    char *at = c->output + c->output_used;
    size_t count = 1 + put_decimal(at + 1, value);

    at[0] = kind;
    at[count] = '\r';
    at[count + 1] = '\n';
    c->output_used += count + 2;
}

static bool begin(struct redis_connection *c, int arguments, size_t bytes_about)
{
    if (c->output_used - c->output_sent + bytes_about > c->limits.output_bytes ||
        !make_room(c, bytes_about + 32 + 32 * (size_t)arguments))
        return false;
    if (c->owed == 0)
        c->progress_us = c->turn_us = clock_monotonic_us();
    c->owed++;
    put_header(c, '*', (uint64_t)arguments);
    return true;
}

bool redis_begin(struct redis_connection *connection, int arguments, size_t bytes_about)
{
    assert(arguments > 0);
    return connection->state == READY && begin(connection, arguments, bytes_about);
}

void redis_argument(struct redis_connection *connection, const void *bytes, size_t count)
{
    /* begin() made room for what the caller announced; more than that may come. */
    if (!make_room(connection, count + 32)) {
        fail(connection, ERR_NOMEM, "no memory for a command");
        return;
    }
    put_header(connection, '$', count);
    if (count > 0)
        memcpy(connection->output + connection->output_used, bytes, count);
    memcpy(connection->output + connection->output_used + count, "\r\n", 2);
    connection->output_used += count + 2;
}

void redis_argument_text(struct redis_connection *connection, const char *zero_ended)
{
    redis_argument(connection, zero_ended, strlen(zero_ended));
}

void redis_argument_int(struct redis_connection *connection, int64_t value)
{
    char digits[24];
    size_t count = 0;

    if (value < 0)
        digits[count++] = '-';
    count += put_decimal(digits + count, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    redis_argument(connection, digits, count);
}

/* ---- states ---- */

/* False: somebody else asks where to; come again. */
static bool find_way(struct redis_connection *c, int64_t now_us)
{
    struct redis_route route;

    c->guide = false;
    if (c->pinned)
        return true;
    switch (redis_topology_way(c->topology, c->slot, now_us, &route)) {
    case REDIS_WAY_WAIT:
        c->attempt_us = now_us + SHARED_WAIT_US;
        return false;
    case REDIS_WAY_GUIDE:
        c->guide = true;
        metric_add(&questions, 1);
        break;
    case REDIS_WAY_NODE:
        break;
    }
    c->route = route;
    return true;
}

static void start_connecting(struct redis_connection *c, int64_t now_us)
{
    const struct redis_address *address = &c->route.address;
    struct error err;

    hang_up(c); /* a command that was being appended when it failed leaves its rest behind */
    if (!find_way(c, now_us))
        return;
    redis_address_describe(address, c->where);
    if (!redis_reader_restart(c->reader)) {
        fail(c, ERR_NOMEM, "no memory for a reader");
        return;
    }
    if (DEFENCE(SECRET_AGAIN) && redis_topology_refresh(c->topology, &err) != OK) {
        fail(c, ERR_CONFIG, err.text);
        return;
    }
    c->state = RESOLVING;
    c->deadline_us = now_us + 1000 * (c->guide && c->limits.connect_ms > GUIDE_MS
                                          ? GUIDE_MS
                                          : c->limits.connect_ms);
}

/* To a socket's path, or to a numeric address: hiredis would wait for a name's. */
static void dial(struct redis_connection *c, const char *numeric)
{
    const struct redis_address *address = &c->route.address;

    c->context = address->unix_socket ? redisConnectUnixNonBlock(address->host)
                                      : redisConnectNonBlock(numeric, address->port);
    if (c->context == NULL || c->context->err != 0) {
        char why[160];

        (void)snprintf(why, sizeof why, "%s",
                       c->context == NULL ? "no memory" : c->context->errstr);
        fail(c, ERR_UNAVAILABLE, why);
        return;
    }
    if (!address->unix_socket)
        (void)redisEnableKeepAlive(c->context);
    c->state = CONNECTING;
}

static void step_resolving(struct redis_connection *c, int64_t now_us)
{
    char numeric[RESOLVE_ADDRESS_MAX] = "";
    struct error err;

    switch (c->route.address.unix_socket
                ? REDIS_RESOLVED
                : redis_resolve(c->route.address.host, now_us, numeric, &err)) {
    case REDIS_RESOLVED:
        dial(c, numeric);
        break;
    case REDIS_RESOLVING:
        c->attempt_us = now_us + RESOLVE_AGAIN_US;
        if (c->why.status == ERR_CONFIG)
            c->why.status = ERR_UNAVAILABLE; /* that was the last attempt; this one may do */
        if (now_us >= c->deadline_us)
            fail(c, ERR_TIMEOUT, "looking up its name took too long");
        break;
    case REDIS_UNRESOLVED:
        fail(c, err.status, err.text);
        break;
    }
}

/* One command of the greeting. Words end with NULL. */
static void say(struct redis_connection *c, enum greeting greeting, const char *const *words)
{
    int count = 0;

    while (words[count] != NULL)
        count++;
    assert(c->greetings_count < GREETINGS_MAX);
    (void)begin(c, count, REDIS_PASSWORD_MAX);
    for (int i = 0; i < count; i++)
        redis_argument_text(c, words[i]);
    c->greetings[c->greetings_count++] = greeting;
}
#define SAY(c, greeting, ...) say(c, greeting, (const char *const[]){__VA_ARGS__, NULL})

static void ask_where(struct redis_connection *c)
{
    struct text words[3];
    int count = redis_topology_question(c->topology, words);

    SAY(c, GREETING_WHERE, words[0].at, words[1].at, count == 3 ? words[2].at : NULL);
}

static void greet(struct redis_connection *c)
{
    const struct redis_target *target = redis_topology_target(c->topology);
    bool sentinel = c->guide && target->kind == REDIS_SENTINEL;
    const char *password = sentinel ? target->sentinel_secret.password : target->secret.password;
    char number[16];

    c->state = GREETING;
    if (password[0] != '\0' && (sentinel || target->user[0] == '\0'))
        SAY(c, GREETING_OK, "AUTH", password);
    else if (password[0] != '\0')
        SAY(c, GREETING_OK, "AUTH", target->user, password);
    if (c->guide) {
        ask_where(c);
        return;
    }
    if (target->db != 0) {
        (void)snprintf(number, sizeof number, "%d", target->db);
        SAY(c, GREETING_OK, "SELECT", number);
    }
    if (c->name[0] != '\0')
        SAY(c, GREETING_ANY, "CLIENT", "SETNAME", c->name);
    if (target->kind == REDIS_SENTINEL)
        SAY(c, GREETING_ROLE, "ROLE");
    SAY(c, GREETING_OK, "PING");
}

static void step_connecting(struct redis_connection *c)
{
    struct pollfd ready = {.fd = c->context->fd, .events = POLLOUT};
    struct redis_tls *tls = redis_topology_tls(c->topology);
    struct error err;
    int error = 0;
    socklen_t size = sizeof error;

    if (poll(&ready, 1, 0) <= 0)
        return;
    if (getsockopt(c->context->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error != 0)
        fail(c, ERR_UNAVAILABLE, strerror(error));
    else if (tls == NULL)
        greet(c);
    else if (redis_tls_begin(&c->session, tls, c->route.address.host, c->context->fd, &err) == OK)
        c->state = SHAKING;
    else
        fail(c, err.status, err.text);
}

static void step_shaking(struct redis_connection *c)
{
    struct error err;
    bool done;

    if (redis_tls_shake(c->session, &done, &err) != OK)
        fail(c, err.status, err.text);
    else if (done)
        greet(c);
}

/* Reading or writing failed: errno says why, or the session. */
static void broken(struct redis_connection *c)
{
    struct error err;

    if (errno == EPROTO && c->session != NULL)
        (void)redis_tls_why(c->session, &err);
    else
        (void)error_set(&err, ERR_UNAVAILABLE, "%s", strerror(errno));
    fail(c, err.status, err.text);
}

static ssize_t put_bytes(struct redis_connection *c, const void *bytes, size_t count)
{
    return c->session == NULL ? send(c->context->fd, bytes, count, MSG_NOSIGNAL)
                              : redis_tls_send(c->session, bytes, count);
}

static ssize_t get_bytes(struct redis_connection *c, void *into, size_t room)
{
    return c->session == NULL ? recv(c->context->fd, into, room, 0)
                              : redis_tls_receive(c->session, into, room);
}

static void write_out(struct redis_connection *c)
{
    while (c->state >= GREETING && c->output_sent < c->output_used) {
        ssize_t count = put_bytes(c, c->output + c->output_sent, c->output_used - c->output_sent);

        if (count >= 0) {
            c->output_sent += (size_t)count;
            c->written += (uint64_t)count;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            broken(c);
        return;
    }
    if (c->output_sent == c->output_used)
        c->output_sent = c->output_used = 0;
}

static void read_in(struct redis_connection *c, int64_t now_us)
{
    char bytes[READ_BYTES];
    struct error err;

    while (c->state >= GREETING) {
        ssize_t count = get_bytes(c, bytes, sizeof bytes);

        if (count > 0) {
            c->read += (uint64_t)count;
            c->progress_us = now_us;
            c->input = true;
            if (redis_reader_feed(c->reader, bytes, (size_t)count, &err) != OK) {
                fail(c, err.status, err.text);
                return;
            }
            /* A session may hold more, which no poll would tell. */
            if ((size_t)count < sizeof bytes && c->session == NULL)
                return;
            continue;
        }
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (count == 0)
            fail(c, ERR_UNAVAILABLE, "it closed the connection");
        else
            broken(c);
    }
}

static const struct redis_reply *next_reply(struct redis_connection *c)
{
    const struct redis_reply *reply;
    struct error err;

    if (!c->input)
        return NULL;
    if (redis_reader_next(c->reader, &reply, &err) != OK) {
        fail(c, err.status, err.text);
        return NULL;
    }
    if (reply == NULL) {
        c->input = false;
        return NULL;
    }
    if (c->owed == 0) {
        fail(c, ERR_MALFORMED, "it sent a reply nobody asked for");
        return NULL;
    }
    c->owed--;
    if (c->stepped_us > c->turn_us)
        c->turn_us = c->stepped_us; /* about when it came, for no look at the clock */
    return reply;
}

/* A guide's answer leads to the node, by way of WAITING. */
static void take_where(struct redis_connection *c, const struct redis_reply *reply)
{
    struct redis_address ignored;
    struct error err;

    if (redis_topology_answer(c->topology, &c->route.address, reply, &err) != OK) {
        fail(c, err.status, err.text);
        return;
    }
    c->guide = false; /* it has answered */
    c->route.version = 0;
    if (redis_topology_where(c->topology, c->slot, &ignored)) {
        go_on(c);
        return;
    }
    (void)error_set(&err, ERR_UNAVAILABLE, "no node of the cluster has slot %d", c->slot);
    fail(c, err.status, err.text);
}

/* False: it failed, or was a guide and is done. */
static bool take_greeting(struct redis_connection *c, enum greeting greeting,
                          const struct redis_reply *reply)
{
    struct error err;

    if (greeting == GREETING_WHERE) {
        take_where(c, reply);
        return false;
    }
    if (greeting == GREETING_ANY)
        return true;
    if (redis_reply_status(reply, &err) != OK) {
        fail(c, err.status, err.text);
        return false;
    }
    if (DEFENCE(SENTINEL_ROLE) && greeting == GREETING_ROLE &&
        (reply->type != REPLY_ARRAY || reply->count < 1 ||
         !text_equal(reply->elements[0]->text, text_of("master")))) {
        fail(c, ERR_UNAVAILABLE, "the sentinel calls it the primary, but it is a replica");
        return false;
    }
    return true;
}

static void step_greeting(struct redis_connection *c)
{
    const struct redis_reply *reply;

    while (c->state == GREETING && (reply = next_reply(c)) != NULL) {
        if (!take_greeting(c, c->greetings[c->greeting], reply))
            return;
        if (++c->greeting < c->greetings_count)
            continue;
        c->state = READY;
        c->epoch++;
        c->backoff_ms = BACKOFF_FIRST_MS;
        metric_add(&connects, 1);
        if (c->reported)
            log_event(LOG_INFO, "redis_up", "connected to redis again", log_text("at", c->where));
        c->reported = false;
    }
}

/* When the reply that is owed for longest is late: nothing has come for reply_ms, or it has come a
 * little at a time for WHOLE_REPLIES of those. */
static int64_t late_us(const struct redis_connection *c)
{
    int64_t silent_us = c->progress_us + c->limits.reply_ms * 1000;
    int64_t slow_us = c->turn_us + WHOLE_REPLIES * c->limits.reply_ms * 1000;

    return silent_us < slow_us ? silent_us : slow_us;
}

void redis_connection_step(struct redis_connection *connection, int64_t now_us)
{
    struct redis_connection *c = connection;

    c->stepped_us = now_us;
    if (c->state == WAITING && now_us >= c->attempt_us)
        start_connecting(c, now_us);
    if (c->state == RESOLVING)
        step_resolving(c, now_us);
    if (c->state == CONNECTING)
        step_connecting(c);
    if (c->state == SHAKING)
        step_shaking(c);
    if (c->state >= GREETING)
        write_out(c);
    if (c->state >= GREETING)
        read_in(c, now_us);
    if (c->state == GREETING)
        step_greeting(c);
    if (c->state > WAITING && c->state < READY && now_us >= c->deadline_us)
        fail(c, ERR_TIMEOUT, "connecting took too long");
    if (DEFENCE(REPLY_DEADLINE) && c->state == READY && c->owed > 0 && now_us >= late_us(c))
        fail(c, ERR_TIMEOUT, "no answer in time");
}

int redis_connection_descriptor(const struct redis_connection *connection)
{
    return connection->context == NULL ? -1 : connection->context->fd;
}

short redis_connection_wants(const struct redis_connection *connection)
{
    const struct redis_connection *c = connection;

    if (c->state <= RESOLVING)
        return 0;
    if (c->state == CONNECTING)
        return POLLOUT;
    if (c->state == SHAKING)
        return redis_tls_wants(c->session);
    return (short)(POLLIN | (c->output_sent < c->output_used ? POLLOUT : 0) |
                   (c->session == NULL ? 0 : redis_tls_wants(c->session)));
}

int64_t redis_connection_due_us(const struct redis_connection *connection)
{
    const struct redis_connection *c = connection;

    if (c->state <= RESOLVING)
        return c->attempt_us;
    if (c->state != READY)
        return c->deadline_us;
    return c->owed > 0 ? late_us(c) : NEVER_US;
}

bool redis_connection_ready(const struct redis_connection *connection)
{
    return connection->state == READY;
}

uint64_t redis_connection_epoch(const struct redis_connection *connection)
{
    return connection->epoch;
}

int redis_connection_owed(const struct redis_connection *connection)
{
    return connection->owed;
}

const struct error *redis_connection_why(const struct redis_connection *connection)
{
    return &connection->why;
}

const struct redis_reply *redis_connection_reply(struct redis_connection *connection)
{
    return connection->state == READY ? next_reply(connection) : NULL;
}

void redis_connection_traffic(const struct redis_connection *connection, uint64_t *written,
                              uint64_t *read)
{
    *written = connection->written;
    *read = connection->read;
}
