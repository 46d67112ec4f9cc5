/*
 * Tests features/redis_connection against a private redis-server, and against a scripted server
 * that says what no honest one would.
 */
#include "features/redis_connection.h"

#include "features/redis_call.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct redis_connection *connect_to(const char *url, const struct redis_limits *limits)
{
    struct redis_target target;
    struct redis_connection *connection;
    struct error err;

    CHECK_STATUS(OK, redis_target_parse(&target, url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, limits, "test", &err));
    return connection;
}

TEST(redis_connection_pipelines_and_answers_in_order)
{
    struct redis_server server;
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct error err;
    char big[100000];

    redis_server_start(&server, NULL);
    connection = connect_to(server.url, NULL);
    CHECK_STATUS(OK, redis_call_wait_ready(connection, 5000, &err));
    CHECK_INT(1, (int64_t)redis_connection_epoch(connection));
    memset(big, 'x', sizeof big);
    for (int i = 0; i < 300; i++) {
        CHECK(redis_begin(connection, 3, sizeof big));
        redis_argument_text(connection, "SET");
        redis_argument_int(connection, i - 150);
        redis_argument(connection, big, (size_t)i * 300);
        CHECK(redis_begin(connection, 2, 32));
        redis_argument_text(connection, "GET");
        redis_argument_int(connection, i - 150);
    }
    CHECK_INT(600, redis_connection_owed(connection));
    for (int i = 0; i < 300; i++) {
        CHECK_STATUS(OK, redis_call_receive(connection, 5000, &reply, &err));
        CHECK(reply->type == REPLY_STATUS);
        CHECK_STATUS(OK, redis_call_receive(connection, 5000, &reply, &err));
        CHECK(reply->type == REPLY_STRING && reply->text.bytes == (size_t)i * 300);
    }
    CHECK_INT(0, redis_connection_owed(connection));
    redis_connection_destroy(connection);
    redis_server_stop(&server);
}

TEST(redis_connection_heals_and_says_so_by_its_epoch)
{
    static const struct redis_limits limits = {.backoff_ms = 20};
    struct redis_server server;
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct text value;
    struct error err;

    redis_server_start(&server, NULL);
    connection = connect_to(server.url, &limits);
    CHECK_STATUS(OK, redis_call_get(connection, 5000, text_of("none"), &value, &err));
    CHECK(value.at == NULL);
    redis_server_kill(&server);
    CHECK(redis_begin(connection, 1, 8));
    redis_argument_text(connection, "PING");
    CHECK_STATUS(ERR_UNAVAILABLE, redis_call_receive(connection, 5000, &reply, &err));
    CHECK_INT(0, redis_connection_owed(connection));
    CHECK(!redis_begin(connection, 1, 8));
    redis_server_restart(&server, NULL);
    CHECK_STATUS(OK, redis_call_wait_ready(connection, 5000, &err));
    CHECK_INT(2, (int64_t)redis_connection_epoch(connection));
    redis_connection_destroy(connection);
    redis_server_stop(&server);
}

/* Lines in `told` that say that a server is down. */
static int lines_of(const char *told)
{
    int lines = 0;

    for (const char *at = told; (at = strstr(at, "\"redis_down\"")) != NULL; at++)
        lines++;
    return lines;
}

/* More of them than would fall into places of their own by chance. */
TEST(redis_connection_tells_of_each_server_that_is_down)
{
    static const struct redis_limits limits = {.backoff_ms = 10};
    struct error err;
    char url[300], told[32768];
    int ends[2], servers = 24;
    ssize_t bytes;

    CHECK_INT(0, pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    log_set_descriptor(ends[1]);
    for (int i = 0; i < servers; i++) {
        struct redis_connection *connection;

        (void)snprintf(url, sizeof url, "unix://%s/nobody%d.sock", test_folder(), i);
        connection = connect_to(url, &limits);
        CHECK(redis_call_wait_ready(connection, 50, &err) != OK);
        redis_connection_destroy(connection);
    }
    log_set_descriptor(STDERR_FILENO);
    bytes = read(ends[0], told, sizeof told - 1);
    told[bytes > 0 ? bytes : 0] = '\0';
    CHECK_INT(servers, lines_of(told));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* A process has a connection a shard: what they all meet is told once a minute, and with the count
 * later. */
TEST(redis_connection_tells_once_that_a_server_is_down)
{
    static const struct redis_limits limits = {.backoff_ms = 10};
    struct redis_connection *connections[20];
    struct error err;
    char url[300], told[4096];
    int64_t begun_us = clock_monotonic_us(), minutes;
    int ends[2], failed = 0;
    ssize_t bytes;

    (void)snprintf(url, sizeof url, "unix://%s/nobody.sock", test_folder());
    CHECK_INT(0, pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    log_set_descriptor(ends[1]);
    for (int i = 0; i < 20; i++) {
        connections[i] = connect_to(url, &limits);
        for (int again = 0; again < 3; again++)
            failed += redis_call_wait_ready(connections[i], 50, &err) != OK;
    }
    log_set_descriptor(STDERR_FILENO);
    bytes = read(ends[0], told, sizeof told - 1);
    told[bytes > 0 ? bytes : 0] = '\0';
    minutes = (clock_monotonic_us() - begun_us) / 60000000;
    CHECK_INT(60, failed);
    CHECK(lines_of(told) >= 1 && lines_of(told) <= 1 + minutes);
    CHECK(strstr(told, "nobody.sock") != NULL);
    for (int i = 0; i < 20; i++)
        redis_connection_destroy(connections[i]);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST(redis_connection_authenticates_and_a_wrong_password_is_said_at_once)
{
    static const char *const locked[] = {"--requirepass", "right", NULL};
    struct redis_server server;
    struct redis_connection *connection;
    struct redis_target target;
    struct text value;
    struct error err;
    int64_t begun_us = clock_monotonic_us();

    redis_server_start(&server, locked);
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    for (int round = 0; round < 3; round++) {
        (void)snprintf(target.secret.password, sizeof target.secret.password, "%s",
                       round == 0   ? ""
                       : round == 1 ? "wrong"
                                    : "right");
        CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, "t", &err));
        CHECK_STATUS(round == 2 ? OK : ERR_CONFIG,
                     redis_call_get(connection, 60000, text_of("k"), &value, &err));
        CHECK(strstr(err.text, "wrong\"") == NULL);
        redis_connection_destroy(connection);
    }
    CHECK(clock_monotonic_us() - begun_us < 30000000);
    redis_server_stop(&server);
}

static void write_secret(struct redis_target *target, const char *secret)
{
    char path[128];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/secret", test_folder());
    (void)snprintf(target->secret.reference, sizeof target->secret.reference, "file:%s", path);
    file = fopen(path, "w");
    CHECK(file != NULL && fputs(secret, file) >= 0 && fclose(file) == 0);
}

/* FAULTS 56: the next connection uses the secret of now; those that stand live on. */
TEST(redis_connection_sees_a_rotated_password)
{
    static const char *const locked[] = {"--requirepass", "old", NULL};
    static const struct redis_limits limits = {.backoff_ms = 50};
    const struct text rotate[] = {{"CONFIG", 6}, {"SET", 3}, {"requirepass", 11}, text_of("new")};
    struct redis_server server;
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct redis_target target;
    struct text value;
    struct error err;

    redis_server_start(&server, locked);
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    write_secret(&target, "old\n");
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, &limits, "t", &err));
    CHECK_STATUS(OK, redis_call(connection, 5000, rotate, 4, &reply, &err));
    CHECK_STATUS(OK, redis_call_get(connection, 5000, text_of("k"), &value, &err));
    redis_connection_fail(connection, ERR_UNAVAILABLE, "test");
    CHECK_STATUS(ERR_CONFIG, redis_call_wait_ready(connection, 5000, &err) == OK
                                 ? OK
                                 : redis_connection_why(connection)->status);
    write_secret(&target, "new\n");
    for (int tries = 0; tries < 6000 && !redis_connection_ready(connection); tries++) {
        if (redis_call_wait_ready(connection, 5000, &err) != OK)
            clock_sleep_us(5000);
    }
    CHECK_STATUS(OK, redis_call_get(connection, 5000, text_of("k"), &value, &err));
    write_secret(&target, "");
    redis_connection_fail(connection, ERR_UNAVAILABLE, "test");
    CHECK(redis_call_wait_ready(connection, 5000, &err) != OK);
    redis_connection_destroy(connection);
    redis_server_stop(&server);
}

/* A server that greets rightly and then says one thing. */
struct liar {
    int listener;
    char url[160];
};

static void liar_open(struct liar *liar)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/liar", test_folder());
    (void)snprintf(liar->url, sizeof liar->url, "unix://%s", address.sun_path);
    liar->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(liar->listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(liar->listener, 4) == 0);
}

/* Steps the connection until it has connected; returns the server's end. */
static int liar_greet(struct liar *liar, struct redis_connection *connection)
{
    char bytes[512];
    int peer;

    redis_connection_step(connection, clock_monotonic_us());
    redis_connection_step(connection, clock_monotonic_us());
    peer = accept(liar->listener, NULL, NULL);
    CHECK(peer >= 0);
    redis_connection_step(connection, clock_monotonic_us());
    CHECK(read(peer, bytes, sizeof bytes) > 0);
    CHECK(write(peer, "+OK\r\n+PONG\r\n", 12) == 12);
    redis_connection_step(connection, clock_monotonic_us());
    CHECK(redis_connection_ready(connection));
    return peer;
}

TEST(redis_connection_drops_a_server_that_lies)
{
    static const char *const lies[] = {
        "+nobody asked\r\n", "*2147483647\r\n", "$-5\r\n", "garbage\r\n", "*9999999\r\n",
    };
    static const struct redis_limits limits = {.reply_bytes = 1000, .reply_elements = 100};
    struct redis_connection *connection;
    struct liar liar;

    liar_open(&liar);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        connection = connect_to(liar.url, &limits);
        int peer = liar_greet(&liar, connection);

        if (i > 0) {
            CHECK(redis_begin(connection, 1, 8));
            redis_argument_text(connection, "PING");
        }
        CHECK(write(peer, lies[i], strlen(lies[i])) > 0);
        redis_connection_step(connection, clock_monotonic_us());
        CHECK(redis_connection_reply(connection) == NULL);
        CHECK(!redis_connection_ready(connection));
        CHECK_INT(-1, redis_connection_descriptor(connection));
        close(peer);
        redis_connection_destroy(connection);
    }
    close(liar.listener);
}

TEST(redis_connection_gives_up_on_a_server_that_hangs)
{
    struct redis_connection *connection;
    struct liar liar;
    int peer;

    clock_fake_set(1700000000000, 1000000);
    liar_open(&liar);
    connection = connect_to(liar.url, NULL);
    peer = liar_greet(&liar, connection);
    CHECK_INT(INT64_MAX, redis_connection_due_us(connection));
    CHECK(redis_begin(connection, 1, 8));
    redis_argument_text(connection, "PING");
    CHECK_INT(clock_monotonic_us() + 10000000, redis_connection_due_us(connection));
    redis_connection_step(connection, clock_monotonic_us());
    clock_fake_advance_us(9999999);
    redis_connection_step(connection, clock_monotonic_us());
    CHECK(redis_connection_ready(connection));
    clock_fake_advance_us(1);
    redis_connection_step(connection, clock_monotonic_us());
    CHECK(!redis_connection_ready(connection));
    CHECK_STATUS(ERR_TIMEOUT, redis_connection_why(connection)->status);
    close(peer);
    close(liar.listener);
    redis_connection_destroy(connection);
    clock_fake_off();
}

/* One byte is not an answer: a reply that drips keeps nobody for ever, many that come do. */
TEST(redis_connection_gives_up_on_a_server_that_drips)
{
    struct redis_connection *connection;
    struct liar liar;
    int peer;

    clock_fake_set(1700000000000, 1000000);
    liar_open(&liar);
    connection = connect_to(liar.url, NULL);
    peer = liar_greet(&liar, connection);
    for (int i = 0; i < 20; i++) {
        CHECK(redis_begin(connection, 1, 8));
        redis_argument_text(connection, "PING");
    }
    for (int i = 0; i < 18; i++) { /* slow, but each has its time */
        clock_fake_advance_us(9000000);
        CHECK(write(peer, "+PONG\r\n", 7) == 7);
        redis_connection_step(connection, clock_monotonic_us());
        CHECK(redis_connection_reply(connection) != NULL);
        CHECK(redis_connection_reply(connection) == NULL);
    }
    CHECK(write(peer, "$1000\r\n", 7) == 7);
    for (int i = 0; i < 11; i++) {
        clock_fake_advance_us(5000000);
        CHECK(write(peer, "x", 1) == 1);
        redis_connection_step(connection, clock_monotonic_us());
        CHECK(redis_connection_reply(connection) == NULL);
        CHECK(redis_connection_ready(connection));
    }
    CHECK_INT(clock_monotonic_us() + 5000000, redis_connection_due_us(connection));
    clock_fake_advance_us(5000000);
    CHECK(write(peer, "x", 1) == 1);
    redis_connection_step(connection, clock_monotonic_us());
    CHECK(!redis_connection_ready(connection));
    CHECK_STATUS(ERR_TIMEOUT, redis_connection_why(connection)->status);
    close(peer);
    close(liar.listener);
    redis_connection_destroy(connection);
    clock_fake_off();
}

TEST(redis_connection_refuses_to_buffer_without_bound)
{
    static const struct redis_limits limits = {.output_bytes = 10000};
    struct redis_connection *connection;
    struct liar liar;
    char bytes[1000] = {0};
    int peer, taken = 0;

    liar_open(&liar);
    connection = connect_to(liar.url, &limits);
    peer = liar_greet(&liar, connection);
    while (redis_begin(connection, 2, sizeof bytes + 3)) {
        redis_argument_text(connection, "SET");
        redis_argument(connection, bytes, sizeof bytes);
        taken++;
        CHECK(taken < 20);
    }
    CHECK(taken >= 9);
    close(peer);
    close(liar.listener);
    redis_connection_destroy(connection);
}
