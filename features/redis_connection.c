/*
 * features/redis_connection.c - a connection that formats, pipelines, heals, and never blocks.
 *
 * States: WAITING (for the next attempt) -> CONNECTING -> GREETING (authenticate, select, name,
 * ping: a server that is loading or wants a password answers here) -> READY; any failure leads
 * back to WAITING.
 */
#include "features/redis_connection.h"

#include "ops/clock.h"
#include "ops/defence.h"
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
#define LOG_EVERY_MS     30000
#define NEVER_US         INT64_MAX

METRIC_COUNTER(connects, "freshet_redis_connects_total", "connections made to Redis");
METRIC_COUNTER(failures, "freshet_redis_failures_total", "connections to Redis that failed");

enum state { WAITING, CONNECTING, GREETING, READY };

struct redis_connection {
    struct redis_target target;
    struct redis_limits limits;
    char name[64];
    char where[REDIS_HOST_MAX + 8];

    enum state state;
    redisContext *context; /* only for its connecting and its descriptor */
    struct redis_reader *reader;
    int greetings; /* replies of the greeting still to come */
    uint64_t epoch;
    struct error why;

    char *output; /* [output_sent, output_used) is not written yet */
    size_t output_used, output_sent, output_room;
    int owed;
    bool input; /* bytes were fed since the reader last said "no more" */

    int64_t attempt_us;  /* WAITING: when to connect */
    int64_t deadline_us; /* CONNECTING, GREETING */
    int64_t progress_us; /* READY: when something last arrived, or the first was asked for */
    int64_t backoff_ms;
    struct random random; /* jitter */
    struct log_limit log_limit;
    bool reported; /* a failure was logged: its end will be */
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

enum status redis_connection_create(struct redis_connection **connection,
                                    const struct redis_target *target,
                                    const struct redis_limits *limits, const char *name,
                                    struct error *err)
{
    struct redis_connection *c = calloc(1, sizeof *c);

    assert(connection != NULL && target != NULL && err != NULL);
    *connection = NULL;
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a connection to redis");
    c->target = *target;
    if (limits != NULL)
        c->limits = *limits;
    set_limits(&c->limits);
    if (name != NULL)
        (void)snprintf(c->name, sizeof c->name, "%s", name);
    redis_target_describe(target, c->where, sizeof c->where);
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

static void hang_up(struct redis_connection *c)
{
    if (c->context != NULL)
        redisFree(c->context);
    c->context = NULL;
    c->output_used = c->output_sent = 0;
    c->owed = 0;
    c->greetings = 0;
    c->input = false;
}

void redis_connection_destroy(struct redis_connection *connection)
{
    if (connection == NULL)
        return;
    hang_up(connection);
    redis_reader_destroy(connection->reader);
    free(connection->output);
    explicit_bzero(&connection->target, sizeof connection->target);
    free(connection);
}

/* Full jitter on the upper half: processes that lost one server do not come back as one. */
static void fail(struct redis_connection *c, enum status status, const char *why)
{
    int64_t wait_us = c->backoff_ms * 500 +
                      (int64_t)random_below(&c->random, (uint64_t)c->backoff_ms * 500 + 1);

    metric_add(&failures, 1);
    (void)error_set(&c->why, status, "redis at %s: %s", c->where, why);
    hang_up(c);
    c->state = WAITING;
    c->attempt_us = clock_monotonic_us() + wait_us;
    c->backoff_ms = c->backoff_ms * 2 > c->limits.backoff_ms ? c->limits.backoff_ms
                                                             : c->backoff_ms * 2;
    if (log_every(&c->log_limit, LOG_EVERY_MS)) {
        log_event(LOG_WARN, "redis_down", c->why.text, log_int("retry_ms", wait_us / 1000),
                  log_int("held_back", (int64_t)c->log_limit.held_back));
        c->reported = true;
    }
}

void redis_connection_fail(struct redis_connection *connection, enum status status, const char *why)
{
    if (connection->state != WAITING)
        fail(connection, status, why);
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
        c->progress_us = clock_monotonic_us();
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

static void start_connecting(struct redis_connection *c, int64_t now_us)
{
    struct error err;

    hang_up(c); /* a command that was being appended when it failed leaves its rest behind */
    if (!redis_reader_restart(c->reader)) {
        fail(c, ERR_NOMEM, "no memory for a reader");
        return;
    }
    if (DEFENCE(SECRET_AGAIN) && redis_target_refresh(&c->target, &err) != OK) {
        fail(c, ERR_CONFIG, err.text);
        return;
    }
    c->context = c->target.unix_socket ? redisConnectUnixNonBlock(c->target.host)
                                       : redisConnectNonBlock(c->target.host, c->target.port);
    if (c->context == NULL || c->context->err != 0) {
        char why[160];

        (void)snprintf(why, sizeof why, "%s",
                       c->context == NULL ? "no memory" : c->context->errstr);
        fail(c, ERR_UNAVAILABLE, why);
        return;
    }
    if (!c->target.unix_socket)
        (void)redisEnableKeepAlive(c->context);
    c->state = CONNECTING;
    c->deadline_us = now_us + c->limits.connect_ms * 1000;
}

static void greet(struct redis_connection *c)
{
    char number[16];

    c->state = GREETING;
    if (c->target.password[0] != '\0') {
        bool user = c->target.user[0] != '\0';

        (void)begin(c, user ? 3 : 2, REDIS_PASSWORD_MAX);
        redis_argument_text(c, "AUTH");
        if (user)
            redis_argument_text(c, c->target.user);
        redis_argument_text(c, c->target.password);
        c->greetings++;
    }
    if (c->target.db != 0) {
        (void)snprintf(number, sizeof number, "%d", c->target.db);
        (void)begin(c, 2, 32);
        redis_argument_text(c, "SELECT");
        redis_argument_text(c, number);
        c->greetings++;
    }
    if (c->name[0] != '\0') {
        (void)begin(c, 3, 128);
        redis_argument_text(c, "CLIENT");
        redis_argument_text(c, "SETNAME");
        redis_argument_text(c, c->name);
        c->greetings++;
    }
    (void)begin(c, 1, 16);
    redis_argument_text(c, "PING");
    c->greetings++;
}

static void step_connecting(struct redis_connection *c)
{
    struct pollfd ready = {.fd = c->context->fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;

    if (poll(&ready, 1, 0) <= 0)
        return;
    if (getsockopt(c->context->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error != 0)
        fail(c, ERR_UNAVAILABLE, strerror(error));
    else
        greet(c);
}

static void write_out(struct redis_connection *c)
{
    while (c->state >= GREETING && c->output_sent < c->output_used) {
        ssize_t count = send(c->context->fd, c->output + c->output_sent,
                             c->output_used - c->output_sent, MSG_NOSIGNAL);

        if (count >= 0) {
            c->output_sent += (size_t)count;
            c->written += (uint64_t)count;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            fail(c, ERR_UNAVAILABLE, strerror(errno));
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
        ssize_t count = recv(c->context->fd, bytes, sizeof bytes, 0);

        if (count > 0) {
            c->read += (uint64_t)count;
            c->progress_us = now_us;
            c->input = true;
            if (redis_reader_feed(c->reader, bytes, (size_t)count, &err) != OK) {
                fail(c, err.status, err.text);
                return;
            }
            if ((size_t)count < sizeof bytes)
                return;
            continue;
        }
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        fail(c, ERR_UNAVAILABLE, count == 0 ? "it closed the connection" : strerror(errno));
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
    return reply;
}

static void step_greeting(struct redis_connection *c)
{
    const struct redis_reply *reply;
    struct error err;

    while (c->state == GREETING && (reply = next_reply(c)) != NULL) {
        c->greetings--;
        /* SETNAME may be forbidden; that is no reason not to work. */
        bool naming = c->greetings == 1 && c->name[0] != '\0';

        if (!naming && redis_reply_status(reply, &err) != OK) {
            fail(c, err.status, err.text);
            return;
        }
        if (c->greetings > 0)
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

void redis_connection_step(struct redis_connection *connection, int64_t now_us)
{
    struct redis_connection *c = connection;

    if (c->state == WAITING && now_us >= c->attempt_us)
        start_connecting(c, now_us);
    if (c->state == CONNECTING)
        step_connecting(c);
    if (c->state >= GREETING)
        write_out(c);
    if (c->state >= GREETING)
        read_in(c, now_us);
    if (c->state == GREETING)
        step_greeting(c);
    if ((c->state == CONNECTING || c->state == GREETING) && now_us >= c->deadline_us)
        fail(c, ERR_TIMEOUT, "connecting took too long");
    if (c->state == READY && c->owed > 0 && now_us - c->progress_us >= c->limits.reply_ms * 1000)
        fail(c, ERR_TIMEOUT, "no answer in time");
}

int redis_connection_descriptor(const struct redis_connection *connection)
{
    return connection->context == NULL ? -1 : connection->context->fd;
}

short redis_connection_wants(const struct redis_connection *connection)
{
    const struct redis_connection *c = connection;

    if (c->state == WAITING)
        return 0;
    if (c->state == CONNECTING)
        return POLLOUT;
    return (short)(POLLIN | (c->output_sent < c->output_used ? POLLOUT : 0));
}

int64_t redis_connection_due_us(const struct redis_connection *connection)
{
    const struct redis_connection *c = connection;

    if (c->state == WAITING)
        return c->attempt_us;
    if (c->state != READY)
        return c->deadline_us;
    return c->owed > 0 ? c->progress_us + c->limits.reply_ms * 1000 : NEVER_US;
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

/* ---- blocking ---- */

/* Waits for the connection's descriptor, its next deadline or until_us, then steps it. */
static void wait_and_step(struct redis_connection *c, int64_t until_us)
{
    struct pollfd ready = {.fd = redis_connection_descriptor(c),
                           .events = redis_connection_wants(c)};
    int64_t due_us = redis_connection_due_us(c);
    int64_t now_us = clock_monotonic_us();
    int64_t wait_us = (due_us < until_us ? due_us : until_us) - now_us;

    if (wait_us > 0)
        (void)poll(&ready, 1, (int)((wait_us > 3600000000 ? 3600000000 : wait_us + 999) / 1000));
    redis_connection_step(c, clock_monotonic_us());
}

enum status redis_connection_wait_ready(struct redis_connection *connection, int64_t timeout_ms,
                                        struct error *err)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;

    redis_connection_step(connection, clock_monotonic_us());
    while (connection->state != READY) {
        /* A wrong password stays wrong; all else may pass. */
        if (connection->state == WAITING && connection->why.status == ERR_CONFIG)
            break;
        if (clock_monotonic_us() >= until_us)
            break;
        wait_and_step(connection, until_us);
    }
    if (connection->state == READY)
        return OK;
    *err = connection->why;
    return err->status;
}

enum status redis_connection_receive(struct redis_connection *connection, int64_t timeout_ms,
                                     const struct redis_reply **reply, struct error *err)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;
    uint64_t epoch = connection->epoch;

    *reply = NULL;
    if (connection->state == READY)
        redis_connection_step(connection, clock_monotonic_us());
    while (connection->state == READY && connection->epoch == epoch) {
        *reply = redis_connection_reply(connection);
        if (*reply != NULL)
            return OK;
        if (connection->state != READY)
            break;
        if (clock_monotonic_us() >= until_us) {
            fail(connection, ERR_TIMEOUT, "no answer in time");
            break;
        }
        wait_and_step(connection, until_us);
    }
    *err = connection->why;
    return err->status;
}

enum status redis_call(struct redis_connection *connection, int64_t timeout_ms,
                       const struct text *arguments, int arguments_count,
                       const struct redis_reply **reply, struct error *err)
{
    enum status status = redis_connection_wait_ready(connection, timeout_ms, err);
    size_t bytes = 0;

    *reply = NULL;
    if (status != OK)
        return status;
    for (int i = 0; i < arguments_count; i++)
        bytes += arguments[i].bytes;
    if (!redis_begin(connection, arguments_count, bytes))
        return error_set(err, ERR_FULL, "too much is waiting to be sent to redis");
    for (int i = 0; i < arguments_count; i++)
        redis_argument(connection, arguments[i].at, arguments[i].bytes);
    status = redis_connection_receive(connection, timeout_ms, reply, err);
    if (status != OK)
        return status;
    assert(*reply != NULL);
    return redis_reply_status(*reply, err);
}

enum status redis_get(struct redis_connection *connection, int64_t timeout_ms, struct text key,
                      struct text *value, struct error *err)
{
    const struct text arguments[] = {{"GET", 3}, key};
    const struct redis_reply *reply;
    enum status status = redis_call(connection, timeout_ms, arguments, 2, &reply, err);

    *value = (struct text){0};
    if (status != OK)
        return status;
    assert(reply != NULL);
    if (reply->type == REPLY_STRING)
        *value = reply->text;
    else if (reply->type != REPLY_NIL)
        return error_set(err, ERR_MALFORMED, "redis answered GET with another type");
    return OK;
}
