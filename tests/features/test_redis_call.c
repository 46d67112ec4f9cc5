/*
 * Tests features/redis_call against a scripted server: what arrived before anybody waited for it,
 * silence, answers of another kind, and bounds.
 */
#include "features/redis_call.h"

#include "ops/clock.h"
#include "tests/support/redis_script.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define PATIENT_MS 60000

static struct redis_script server;
static struct redis_connection *connection;
static const struct redis_reply *reply;
static struct error err;

static void begin(const struct redis_limits *limits)
{
    struct redis_target target;
    char url[60];

    redis_script_start(&server);
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    CHECK_STATUS(OK, redis_target_parse(&target, url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, limits, NULL, &err));
}

static void end(void)
{
    redis_connection_destroy(connection);
    redis_script_stop(&server);
}

static const struct text ping[] = {{"PING", 4}};

/* The descriptor says nothing of a reply that the step which wrote has read, too: whoever waits
 * for it first waits for ever. */
TEST(redis_call_receives_what_was_read_before_it_waits)
{
    uint64_t written, before, now;

    begin(NULL);
    CHECK_STATUS(OK, redis_call_wait_ready(connection, PATIENT_MS, &err));
    redis_connection_traffic(connection, &written, &before);
    CHECK_STATUS(OK, redis_call_append(connection, ping, 1, &err));
    do {
        redis_connection_step(connection, clock_monotonic_us());
        redis_connection_traffic(connection, &written, &now);
    } while (now < before + strlen("+PONG\r\n"));
    CHECK_STATUS(OK, redis_call_receive(connection, 0, &reply, &err));
    CHECK(reply->type == REPLY_STATUS);
    CHECK_INT(0, redis_connection_owed(connection));
    end();
}

TEST(redis_call_drops_a_connection_that_does_not_answer_in_time)
{
    const struct text silent[] = {{"GET", 3}, text_of("k")};

    begin(NULL);
    redis_script_says(&server, "GET k", "%s", "");
    CHECK_STATUS(OK, redis_call_wait_ready(connection, PATIENT_MS, &err));
    CHECK_STATUS(ERR_TIMEOUT, redis_call(connection, 1, silent, 2, &reply, &err));
    CHECK(reply == NULL && !redis_connection_ready(connection));
    CHECK_INT(0, redis_connection_owed(connection)); /* its late answer finds nobody */
    CHECK_STATUS(OK, redis_call(connection, PATIENT_MS, ping, 1, &reply, &err));
    CHECK(reply->type == REPLY_STATUS);
    CHECK_INT(2, (int64_t)redis_connection_epoch(connection));
    end();
}

TEST(redis_call_tells_an_error_reply_and_keeps_the_connection)
{
    struct text value = {"x", 1};

    begin(NULL);
    redis_script_says(&server, "GET list",
                      "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    redis_script_says(&server, "GET odd", "*1\r\n:1\r\n");
    redis_script_says(&server, "GET none", "$-1\r\n");
    redis_script_says(&server, "GET empty", "$0\r\n\r\n");
    CHECK(redis_call_get(connection, PATIENT_MS, text_of("list"), &value, &err) != OK);
    CHECK(value.at == NULL && strstr(err.text, "WRONGTYPE") != NULL);
    CHECK_STATUS(ERR_MALFORMED,
                 redis_call_get(connection, PATIENT_MS, text_of("odd"), &value, &err));
    CHECK(value.at == NULL);
    CHECK_STATUS(OK, redis_call_get(connection, PATIENT_MS, text_of("none"), &value, &err));
    CHECK(value.at == NULL);
    CHECK_STATUS(OK, redis_call_get(connection, PATIENT_MS, text_of("empty"), &value, &err));
    CHECK(value.at != NULL && value.bytes == 0);
    CHECK_INT(1, (int64_t)redis_connection_epoch(connection));
    end();
}

TEST(redis_call_appends_a_command_whole_or_not_at_all)
{
    static const struct redis_limits limits = {.output_bytes = 1000};
    static char bytes[2000];
    const struct text large[] = {{"SET", 3}, text_of("k"), {bytes, sizeof bytes}};

    begin(&limits);
    CHECK_STATUS(ERR_FULL, redis_call_append(connection, ping, 1, &err)); /* not connected yet */
    CHECK_STATUS(OK, redis_call_wait_ready(connection, PATIENT_MS, &err));
    CHECK_STATUS(ERR_FULL, redis_call(connection, PATIENT_MS, large, 3, &reply, &err));
    CHECK(reply == NULL);
    CHECK_INT(0, redis_connection_owed(connection));
    CHECK_STATUS(OK, redis_call(connection, PATIENT_MS, ping, 1, &reply, &err));
    end();
}

TEST(redis_call_to_nobody_reports_within_its_deadline)
{
    struct redis_target target;
    struct text value;

    CHECK_STATUS(OK, redis_target_parse(&target, "unix:///nowhere/redis.sock", &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, "test", &err));
    CHECK_STATUS(ERR_UNAVAILABLE, redis_call_get(connection, 30, text_of("k"), &value, &err));
    CHECK(value.at == NULL && strstr(err.text, "/nowhere/redis.sock") != NULL);
    CHECK_STATUS(ERR_UNAVAILABLE, redis_call_wait_ready(connection, 0, &err)); /* asks once */
    redis_connection_destroy(connection);
}
