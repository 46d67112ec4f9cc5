/* features/redis_call.c - see redis_call.h: steps a connection until it has what is waited for. */
#include "features/redis_call.h"

#include "ops/clock.h"

#include <assert.h>
#include <poll.h>

#define WAIT_MAX_US INT64_C(3600000000) /* poll takes an int of milliseconds */

/* Between two attempts to connect. */
static bool is_waiting(const struct redis_connection *connection)
{
    return redis_connection_descriptor(connection) < 0;
}

static enum status why(const struct redis_connection *connection, struct error *err)
{
    *err = *redis_connection_why(connection);
    return err->status;
}

/* Waits for the connection's descriptor, its next deadline or until_us, then steps it. */
static void wait_and_step(struct redis_connection *connection, int64_t until_us)
{
    struct pollfd ready = {.fd = redis_connection_descriptor(connection),
                           .events = redis_connection_wants(connection)};
    int64_t due_us = redis_connection_due_us(connection);
    int64_t wait_us = (due_us < until_us ? due_us : until_us) - clock_monotonic_us();

    if (wait_us > WAIT_MAX_US)
        wait_us = WAIT_MAX_US;
    if (wait_us > 0)
        (void)poll(&ready, 1, (int)((wait_us + 999) / 1000));
    redis_connection_step(connection, clock_monotonic_us());
}

enum status redis_call(struct redis_connection *connection, int64_t timeout_ms,
                       const struct text *arguments, int arguments_count,
                       const struct redis_reply **reply, struct error *err)
{
    enum status status = redis_call_wait_ready(connection, timeout_ms, err);

    *reply = NULL;
    if (status == OK)
        status = redis_call_append(connection, arguments, arguments_count, err);
    if (status == OK)
        status = redis_call_receive(connection, timeout_ms, reply, err);
    if (status != OK)
        return status;
    assert(*reply != NULL);
    status = redis_reply_status(*reply, err);
    (void)redis_connection_heed(connection, *reply);
    return status;
}

enum status redis_call_get(struct redis_connection *connection, int64_t timeout_ms, struct text key,
                           struct text *value, struct error *err)
{
    const struct text arguments[] = {{"GET", 3}, key};
    const struct redis_reply *reply;
    enum status status = redis_call(connection, timeout_ms, arguments, 2, &reply, err);

    *value = (struct text){0};
    return status == OK ? redis_call_value(reply, value, err) : status;
}

enum status redis_call_wait_ready(struct redis_connection *connection, int64_t timeout_ms,
                                  struct error *err)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;

    redis_connection_step(connection, clock_monotonic_us());
    while (!redis_connection_ready(connection)) {
        /* A wrong password stays wrong; all else may pass. */
        if (is_waiting(connection) && redis_connection_why(connection)->status == ERR_CONFIG)
            break;
        if (clock_monotonic_us() >= until_us)
            break;
        wait_and_step(connection, until_us);
    }
    return redis_connection_ready(connection) ? OK : why(connection, err);
}

enum status redis_call_append(struct redis_connection *connection, const struct text *arguments,
                              int arguments_count, struct error *err)
{
    size_t bytes = 0;

    for (int i = 0; i < arguments_count; i++)
        bytes += arguments[i].bytes;
    if (!redis_begin(connection, arguments_count, bytes))
        return error_set(err, ERR_FULL, "too much is waiting to be sent to redis");
    for (int i = 0; i < arguments_count; i++)
        redis_argument(connection, arguments[i].at, arguments[i].bytes);
    return OK;
}

enum status redis_call_receive(struct redis_connection *connection, int64_t timeout_ms,
                               const struct redis_reply **reply, struct error *err)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;
    uint64_t epoch = redis_connection_epoch(connection);

    *reply = NULL;
    if (redis_connection_ready(connection))
        redis_connection_step(connection, clock_monotonic_us());
    while (redis_connection_ready(connection) && redis_connection_epoch(connection) == epoch) {
        *reply = redis_connection_reply(connection);
        if (*reply != NULL)
            return OK;
        if (!redis_connection_ready(connection))
            break;
        if (clock_monotonic_us() >= until_us) {
            redis_connection_fail(connection, ERR_TIMEOUT, "no answer in time");
            break;
        }
        wait_and_step(connection, until_us);
    }
    return why(connection, err);
}

enum status redis_call_value(const struct redis_reply *reply, struct text *value, struct error *err)
{
    *value = (struct text){0};
    if (reply->type == REPLY_STRING)
        *value = reply->text;
    else if (reply->type != REPLY_NIL)
        return error_set(err, ERR_MALFORMED, "redis answered GET with another type");
    return OK;
}
