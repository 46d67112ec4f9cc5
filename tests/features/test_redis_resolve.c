/*
 * Tests features/redis_resolve with a name server of its own, which answers when it is let: nobody
 * waits, one lookup serves all who ask, and a connection to a name nobody answers for is no burden
 * on its thread.
 */
#include "features/redis_resolve.h"

#include "features/redis_call.h"
#include "ops/clock.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_US 30000000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool answers;
static atomic_int lookups, ended;

static void let(bool answer)
{
    (void)pthread_mutex_lock(&lock);
    answers = answer;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

/* Hosts that begin with "bad" are none; all others are this machine. */
static enum status slow_lookup(const char *host, char address[RESOLVE_ADDRESS_MAX],
                               struct error *err)
{
    enum status status = OK;

    atomic_fetch_add(&lookups, 1);
    (void)pthread_mutex_lock(&lock);
    while (!answers)
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
    (void)snprintf(address, RESOLVE_ADDRESS_MAX, "127.0.0.1");
    if (strncmp(host, "bad", 3) == 0)
        status = error_set(err, ERR_UNAVAILABLE, "could not look up \"%s\": no such name", host);
    atomic_fetch_add(&ended, 1);
    return status;
}

static void begin(void)
{
    let(false);
    atomic_store(&lookups, 0);
    atomic_store(&ended, 0);
    redis_resolve_by(slow_lookup);
}

/* By the real clock: another thread's work cannot be hurried by a fake one. */
static void pause_a_little(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void await_lookups(atomic_int *count, int wanted)
{
    for (int i = 0; i < 30000 && atomic_load(count) < wanted; i++)
        pause_a_little();
    CHECK_INT(wanted, atomic_load(count));
}

static enum redis_resolved resolve_to_the_end(const char *host, char address[RESOLVE_ADDRESS_MAX],
                                              struct error *err)
{
    enum redis_resolved resolved = REDIS_RESOLVING;

    for (int i = 0; i < 30000 && resolved == REDIS_RESOLVING; i++) {
        resolved = redis_resolve(host, clock_monotonic_us(), address, err);
        if (resolved == REDIS_RESOLVING)
            pause_a_little();
    }
    return resolved;
}

TEST(redis_resolve_knows_numeric_hosts_by_itself)
{
    static const char *const hosts[] = {"127.0.0.1", "255.255.255.255", "::1", "2001:db8::2:1"};
    char address[RESOLVE_ADDRESS_MAX];
    struct error err;

    begin();
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        CHECK(redis_resolve(hosts[i], clock_monotonic_us(), address, &err) == REDIS_RESOLVED);
        CHECK(strcmp(address, hosts[i]) == 0);
    }
    CHECK_INT(0, atomic_load(&lookups));
    redis_resolve_by(NULL);
}

TEST(redis_resolve_looks_a_name_up_once_for_all_and_nobody_waits)
{
    char address[RESOLVE_ADDRESS_MAX];
    struct error err;

    begin();
    for (int i = 0; i < 200; i++) /* would never return if one of them waited */
        CHECK(redis_resolve("shared", clock_monotonic_us(), address, &err) == REDIS_RESOLVING);
    await_lookups(&lookups, 1);
    let(true);
    CHECK(resolve_to_the_end("shared", address, &err) == REDIS_RESOLVED);
    CHECK(strcmp(address, "127.0.0.1") == 0);
    CHECK_INT(1, atomic_load(&lookups));
    redis_resolve_by(NULL);
}

TEST(redis_resolve_keeps_an_outcome_for_a_short_time)
{
    static const char *const hosts[] = {"good", "bad"};
    char address[RESOLVE_ADDRESS_MAX];
    struct error err;

    for (int i = 0; i < 2; i++) {
        enum redis_resolved outcome = i == 0 ? REDIS_RESOLVED : REDIS_UNRESOLVED;

        begin();
        let(true);
        clock_fake_set(1700000000000, 1000000);
        CHECK(resolve_to_the_end(hosts[i], address, &err) == outcome);
        CHECK(i == 0 || strstr(err.text, "\"bad\": no such name") != NULL);
        clock_fake_advance_us((int64_t)RESOLVE_KEEP_MS * 1000 - 1);
        CHECK(redis_resolve(hosts[i], clock_monotonic_us(), address, &err) == outcome);
        CHECK_INT(1, atomic_load(&lookups));
        clock_fake_advance_us(1);
        CHECK(redis_resolve(hosts[i], clock_monotonic_us(), address, &err) == REDIS_RESOLVING);
        CHECK(resolve_to_the_end(hosts[i], address, &err) == outcome);
        CHECK_INT(2, atomic_load(&lookups));
        clock_fake_off();
    }
    redis_resolve_by(NULL);
}

/* A name server slower than who asks: the answer is there when they come again. */
TEST(redis_resolve_keeps_an_answer_that_came_too_late)
{
    char address[RESOLVE_ADDRESS_MAX];
    struct error err;

    begin();
    clock_fake_set(1700000000000, 1000000);
    CHECK(redis_resolve("late", clock_monotonic_us(), address, &err) == REDIS_RESOLVING);
    let(true);
    await_lookups(&ended, 1);
    CHECK(resolve_to_the_end("other", address, &err) == REDIS_RESOLVED);
    clock_fake_advance_us((int64_t)RESOLVE_UNTAKEN_MS * 1000 / 2);
    CHECK(resolve_to_the_end("late", address, &err) == REDIS_RESOLVED);
    CHECK_INT(2, atomic_load(&lookups));
    clock_fake_off();
    redis_resolve_by(NULL);
}

TEST(redis_resolve_bounds_its_threads_and_names)
{
    char address[RESOLVE_ADDRESS_MAX], host[300];
    enum redis_resolved last = REDIS_RESOLVING;
    struct error err;

    begin();
    memset(host, 'x', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    CHECK(redis_resolve(host, clock_monotonic_us(), address, &err) == REDIS_UNRESOLVED);
    for (int i = 0; i < 2 * RESOLVE_NAMES_MAX; i++) {
        (void)snprintf(host, sizeof host, "many-%d", i);
        last = redis_resolve(host, clock_monotonic_us(), address, &err);
        CHECK(last != REDIS_RESOLVED);
    }
    await_lookups(&lookups, RESOLVE_THREADS_MAX);
    let(true); /* the others get their turn */
    CHECK(resolve_to_the_end("many-40", address, &err) == REDIS_RESOLVED);
    await_lookups(&ended, RESOLVE_THREADS_MAX + 1);
    redis_resolve_by(NULL);
}

/* ---- a connection ---- */

static int listen_somewhere(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 4) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &bytes) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static struct redis_connection *connect_to(const char *host, int port)
{
    static const struct redis_limits limits = {.backoff_ms = 20};
    struct redis_connection *connection;
    struct redis_target target;
    struct error err;
    char url[100];

    (void)snprintf(url, sizeof url, "redis://%s:%d", host, port);
    CHECK_STATUS(OK, redis_target_parse(&target, url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, &limits, NULL, &err));
    return connection;
}

static void step_until(struct redis_connection *connection, bool (*reached)(int), int listener)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;

    while (!reached(listener)) {
        CHECK(clock_monotonic_us() < until_us);
        redis_connection_step(connection, clock_monotonic_us());
        pause_a_little();
    }
}

static bool knocked(int listener)
{
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (peer >= 0)
        (void)close(peer);
    return peer >= 0;
}

TEST(redis_connection_does_not_wait_for_a_name)
{
    struct redis_connection *connections[64];
    int port, listener = listen_somewhere(&port);

    CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
    begin();
    for (int i = 0; i < 64; i++)
        connections[i] = connect_to("slow.test", port);
    for (int round = 0; round < 10; round++)
        for (int i = 0; i < 64; i++) { /* would never return if one of them waited */
            redis_connection_step(connections[i], clock_monotonic_us());
            CHECK_INT(-1, redis_connection_descriptor(connections[i]));
            CHECK_INT(0, redis_connection_wants(connections[i]));
            CHECK(redis_connection_due_us(connections[i]) < clock_monotonic_us() + 1000000);
        }
    await_lookups(&lookups, 1);
    for (int i = 1; i < 64; i++)
        redis_connection_destroy(connections[i]); /* nor does this */
    let(true);
    step_until(connections[0], knocked, listener);
    CHECK_INT(1, atomic_load(&lookups));
    redis_connection_destroy(connections[0]);
    (void)close(listener);
    redis_resolve_by(NULL);
}

TEST(redis_connection_gives_up_on_a_name_that_nobody_answers_for)
{
    struct redis_connection *connection;

    begin();
    clock_fake_set(1700000000000, 1000000);
    connection = connect_to("silent.test", 6379);
    redis_connection_step(connection, clock_monotonic_us());
    clock_fake_advance_us(2999999);
    redis_connection_step(connection, clock_monotonic_us());
    CHECK_STATUS(ERR_UNAVAILABLE, redis_connection_why(connection)->status);
    clock_fake_advance_us(1);
    redis_connection_step(connection, clock_monotonic_us());
    CHECK_STATUS(ERR_TIMEOUT, redis_connection_why(connection)->status);
    CHECK(strstr(redis_connection_why(connection)->text, "silent.test:6379: looking up its name") !=
          NULL);
    redis_connection_destroy(connection);
    clock_fake_off();
    let(true);
    await_lookups(&ended, 1);
    redis_resolve_by(NULL);
}

TEST(redis_connection_says_that_a_name_is_none)
{
    struct redis_connection *connection = connect_to("bad.test", 6379);
    struct error err;

    begin();
    let(true);
    for (int tries = 0; tries < 600; tries++) {
        CHECK_STATUS(ERR_UNAVAILABLE, redis_call_wait_ready(connection, 50, &err));
        if (strstr(err.text, "could not look up \"bad.test\"") != NULL)
            break;
    }
    CHECK(strstr(err.text, "could not look up \"bad.test\"") != NULL);
    redis_connection_destroy(connection);
    redis_resolve_by(NULL);
}
