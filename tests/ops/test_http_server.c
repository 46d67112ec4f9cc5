/*
 * Tests ops/http_server with raw sockets: what is malformed, ambiguous, too large or too slow is
 * refused and the connection closed; late answers arrive, also when client or server left first.
 */
#include "ops/http_server.h"

#include "ops/clock.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BODY_MAX      1000
#define KEPT_MAX      64
#define REQUEST_MS    10000
#define FIRST_LINE_MS 3000
#define REPLY_BYTES   (1 << 20)
#define PATIENCE_SEC  10

/* ---- the handlers under test ---------------------------------------------------------------- */

struct fixture {
    struct http_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_request *kept[KEPT_MAX];
    int kept_count;
};

/* Says back what it was given. */
static void echo(struct http_request *request, void *context)
{
    char text[4096];
    struct text body = http_request_body(request);
    struct text header = http_request_header(request, "x-test");
    struct text query = http_request_query(request, "q");
    struct text path = http_request_path(request);

    (void)context;
    int bytes = snprintf(text, sizeof text, "path=%.*s header=%.*s q=%.*s body=%zu:%.*s%s",
                         TEXT_ARGS(path), TEXT_ARGS(header), TEXT_ARGS(query), body.bytes,
                         TEXT_ARGS(body),
                         http_request_arrived_us(request) > clock_monotonic_us() ? "early" : "");
    http_answer(request, 200, "text/plain", (struct text){text, (size_t)bytes},
                "X-One: 1\nX-Two: two words\nno header\n");
}

static void fail_with_text(struct http_request *request, void *context)
{
    (void)context;
    http_answer_error(request, 422, "it \"cannot\" be");
}

static void large(struct http_request *request, void *context)
{
    char *bytes = malloc(REPLY_BYTES / 2);

    (void)context;
    memset(bytes, 'x', REPLY_BYTES / 2);
    http_answer(request, 200, NULL, (struct text){bytes, REPLY_BYTES / 2}, NULL);
    free(bytes);
}

static void keep(struct http_request *request, void *context)
{
    struct fixture *f = context;

    (void)pthread_mutex_lock(&f->lock);
    f->kept[f->kept_count++] = request;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
}

static const struct http_route routes[] = {
    {"GET", "/echo", echo},           {"POST", "/echo", echo},  {"GET", "/tree/*", echo},
    {"GET", "/fail", fail_with_text}, {"GET", "/large", large}, {"POST", "/keep", keep},
    {"GET", "/keep", keep},           {.path = NULL},
};

static void open_fixture(struct fixture *f, int threads)
{
    struct http_server_options options = {.listen = "127.0.0.1:0",
                                          .routes = routes,
                                          .context = f,
                                          .threads = threads,
                                          .body_bytes_max = BODY_MAX,
                                          .request_ms_max = REQUEST_MS};
    struct error err;

    *f = (struct fixture){.kept_count = 0};
    CHECK(pthread_mutex_init(&f->lock, NULL) == 0 && pthread_cond_init(&f->changed, NULL) == 0);
    CHECK_STATUS(OK, http_server_open(&f->server, &options, &err));
}

static void close_fixture(struct fixture *f)
{
    http_server_close(f->server, 0);
    (void)pthread_cond_destroy(&f->changed);
    (void)pthread_mutex_destroy(&f->lock);
}

static void await_kept(struct fixture *f, int count)
{
    (void)pthread_mutex_lock(&f->lock);
    while (f->kept_count < count)
        (void)pthread_cond_wait(&f->changed, &f->lock);
    (void)pthread_mutex_unlock(&f->lock);
}

/* ---- a client made of sockets --------------------------------------------------------------- */

static int dial(const struct fixture *f)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)http_server_port(f->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_SEC};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

/* What the server has closed meanwhile is no failure of the client. */
static void say_bytes(int fd, const void *bytes, size_t count)
{
    for (const char *at = bytes; count > 0;) {
        ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);
        if (sent < 0)
            return;
        at += sent;
        count -= (size_t)sent;
    }
}

static void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* Reads until the server closes; fails when it does not. Static storage. */
static const char *hear_all(int fd)
{
    static char reply[REPLY_BYTES];
    size_t used = 0;

    reply[0] = 0;
    for (;;) {
        ssize_t got = recv(fd, reply + used, sizeof reply - 1 - used, 0);
        if (got < 0 && errno != ECONNRESET)
            test_fail(__FILE__, __LINE__, "%s after \"%.80s\"", strerror(errno), reply);
        if (got <= 0)
            break;
        used += (size_t)got;
        reply[used] = 0;
    }
    (void)close(fd);
    return reply;
}

/* Reads until the text holds this. */
static const char *hear(int fd, const char *until)
{
    static char reply[8192];
    size_t used = 0;

    reply[0] = 0;
    while (strstr(reply, until) == NULL) {
        ssize_t got = recv(fd, reply + used, sizeof reply - 1 - used, 0);
        CHECK(got > 0);
        used += (size_t)got;
        reply[used] = 0;
    }
    return reply;
}

/* Whether the server closes within a few of its sweeps. */
static bool is_closed_soon(int fd)
{
    struct timeval soon = {.tv_usec = 200000};
    char byte;

    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon) == 0);
    return recv(fd, &byte, 1, 0) == 0;
}

static const char *ask(const struct fixture *f, const char *text)
{
    int fd = dial(f);

    say(fd, text);
    return hear_all(fd);
}

static int status_of(const char *reply)
{
    return strncmp(reply, "HTTP/1.", 7) == 0 ? atoi(reply + 9) : 0;
}

/* ---- requests that are fine ----------------------------------------------------------------- */

TEST(http_server_gives_the_handler_what_was_sent)
{
    struct fixture f;

    open_fixture(&f, 1);
    const char *reply = ask(&f, "GET /echo?q=a%20b&r=&s HTTP/1.1\r\nHost: h\r\nX-TEST: one\r\n"
                                "Connection: close\r\n\r\n");
    CHECK_INT(200, status_of(reply));
    CHECK(strstr(reply, "path=/echo header=one q=a b body=0:") != NULL);
    CHECK(strstr(reply, "X-One: 1\r\n") != NULL && strstr(reply, "X-Two: two words\r\n") != NULL);
    CHECK(strstr(reply, "Content-Type: text/plain\r\n") != NULL);
    reply = ask(&f, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n"
                    "\r\nhello");
    CHECK(strstr(reply, "body=5:hello") != NULL);
    reply = ask(&f, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                    "Connection: close\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n");
    CHECK(strstr(reply, "body=5:hello") != NULL);
    reply = ask(&f, "GET /tree/of/life HTTP/1.0\r\n\r\n");
    CHECK(strstr(reply, "path=/tree/of/life ") != NULL);
    reply = ask(&f, "HEAD /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(status_of(reply) == 200 && strstr(reply, "path=") == NULL);
    reply = ask(&f, "GET /fail HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(status_of(reply) == 422 && strstr(reply, "{\"error\":\"it \\\"cannot\\\" be\"}") != NULL);
    close_fixture(&f);
}

TEST(http_server_reads_a_request_that_comes_byte_by_byte)
{
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: h\r\nX-Test: slow\r\n"
                                  "Content-Length: 3\r\nConnection: close\r\n\r\nabc";
    struct fixture f;

    open_fixture(&f, 1);
    int fd = dial(&f);
    for (size_t i = 0; i < sizeof request - 1; i++)
        say_bytes(fd, request + i, 1);
    const char *reply = hear_all(fd);
    CHECK(status_of(reply) == 200 && strstr(reply, "header=slow q= body=3:abc") != NULL);
    close_fixture(&f);
}

TEST(http_server_answers_pipelined_requests_in_order)
{
    struct fixture f;
    char text[64 * 128] = "";
    int found = 0;

    open_fixture(&f, 2);
    for (int i = 0; i < 64; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text),
                       "GET /echo?q=%d HTTP/1.1\r\nHost: h\r\n%s\r\n", i,
                       i == 63 ? "Connection: close\r\n" : "");
    const char *reply = ask(&f, text);
    for (int i = 0; i < 64; i++) {
        char want[16];
        (void)snprintf(want, sizeof want, " q=%d ", i);
        const char *at = strstr(reply, want);
        CHECK(at != NULL);
        reply = at;
        found++;
    }
    CHECK_INT(64, found);
    close_fixture(&f);
}

TEST(http_server_body_may_have_its_full_size_and_an_answer_may_be_large)
{
    struct fixture f;
    char request[BODY_MAX + 200];

    open_fixture(&f, 1);
    int bytes = snprintf(request, sizeof request,
                         "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n"
                         "Connection: close\r\n\r\n",
                         BODY_MAX);
    memset(request + bytes, 'y', BODY_MAX);
    int fd = dial(&f);
    say_bytes(fd, request, (size_t)bytes + BODY_MAX);
    CHECK(strstr(hear_all(fd), "body=1000:yyy") != NULL);
    const char *reply = ask(&f, "GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(strlen(reply) > REPLY_BYTES / 2);
    close_fixture(&f);
}

/* ---- requests that are not ------------------------------------------------------------------ */

TEST(http_server_refuses_with_the_right_status_and_closes)
{
    static const struct {
        int code;
        const char *request;
    } rows[] = {
        {404, "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"},
        {404, "GET /echo/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {404, "GET /../echo HTTP/1.1\r\nHost: h\r\n\r\n"},
        {405, "DELETE /echo HTTP/1.1\r\nHost: h\r\n\r\n"},
        {405, "BREW /echo HTTP/1.1\r\nHost: h\r\n\r\n"},
        {413, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n"},
        {413, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\nxxxx"},
        {413, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000000000000000\r\n\r\n"},
        {413, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
              "Content-Length: 5000\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
              "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
              "Content-Length: 3\r\n\r\nabc"},
        {400,
         "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"},
        {400, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n\r\n"},
    };
    struct fixture f;

    open_fixture(&f, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *reply = ask(&f, rows[i].request);
        if (status_of(reply) != rows[i].code)
            test_fail(__FILE__, __LINE__, "want %d: %s gives %s", rows[i].code, rows[i].request,
                      reply);
    }
    const char *reply = ask(&f, "PUT /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(strstr(reply, "Allow: GET, POST\r\n") != NULL);
    close_fixture(&f);
}

/* Whatever it is: an error or a closed connection, never 200, and the server lives on. */
TEST(http_server_survives_garbage)
{
    static const char *const garbage[] = {
        "\r\n\r\n\r\nx\r\n\r\n",
        "GET\r\n\r\n",
        "GET /echo\r\n\r\n",
        "GET /echo HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\x01\x01\xfc\x03\x03\r\n\r\n",
        ": : :\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5x\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        "ffffffffffffffffffff\r\nx",
        "GET /echo HTTP/1.1\r\nHost: h\r\nno colon here\r\n\r\n",
    };
    struct fixture f;
    uint64_t state = test_seed();

    open_fixture(&f, 1);
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        int fd = dial(&f);
        say(fd, garbage[i]);
        CHECK(status_of(hear_all(fd)) != 200);
    }
    for (int round = 0; round < 200; round++) {
        char noise[300];
        for (size_t i = 0; i < sizeof noise; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            noise[i] = (char)(state >> 56);
        }
        int fd = dial(&f);
        memcpy(noise + sizeof noise - 8, "\r\n\r\n\r\n\r\n", 8);
        say_bytes(fd, noise, sizeof noise);
        CHECK(status_of(hear_all(fd)) != 200);
    }
    CHECK_INT(200,
              status_of(ask(&f, "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")));
    close_fixture(&f);
}

TEST(http_server_bounds_headers_in_bytes_and_number)
{
    struct fixture f;

    open_fixture(&f, 1);
    int fd = dial(&f);
    say(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 1024; i++) {
        char kilobyte[1025];
        memset(kilobyte, 'x', 1024);
        memcpy(kilobyte, "X-Long: ", 8);
        memcpy(kilobyte + 1022, "\r\n", 3);
        say(fd, kilobyte);
    }
    const char *reply = hear_all(fd);
    CHECK(status_of(reply) == 431 || status_of(reply) == 413 || status_of(reply) == 0);

    fd = dial(&f);
    say(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 200; i++)
        say(fd, "A: b\r\n");
    say(fd, "\r\n");
    CHECK_INT(431, status_of(hear_all(fd)));
    close_fixture(&f);
}

TEST(http_server_cuts_an_endless_chunked_body)
{
    struct fixture f;
    char chunk[112];

    open_fixture(&f, 1);
    int fd = dial(&f);
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    (void)snprintf(chunk, sizeof chunk, "64\r\n%0100d\r\n", 0);
    for (int i = 0; i < 100000; i++)
        if (send(fd, chunk, strlen(chunk), MSG_NOSIGNAL) < 0)
            break;
    CHECK_INT(0, status_of(hear_all(fd)));

    fd = dial(&f); /* too long, but it ends: there is an answer */
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 11; i++)
        say(fd, chunk);
    say(fd, "0\r\n\r\n");
    CHECK_INT(413, status_of(hear_all(fd)));
    close_fixture(&f);
}

/* ---- time ----------------------------------------------------------------------------------- */

/* The clock is set, so nothing here waits longer than a sweep. */
TEST(http_server_closes_what_takes_too_long_to_arrive)
{
    static const char *const begun[] = {
        "",
        "GET /ec",
        "GET /echo HTTP/1.1\r\nHost: h\r\nX-Drip: ",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc",
    };
    enum { BEGUN = sizeof begun / sizeof begun[0] };
    struct fixture f;
    int slow[BEGUN];
    char byte;

    clock_fake_set(INT64_C(1700000000000), 1000000);
    open_fixture(&f, 1);
    for (int i = 0; i < BEGUN; i++) {
        slow[i] = dial(&f);
        say(slow[i], begun[i]);
    }
    int patient = dial(&f);
    say(patient, "POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
    await_kept(&f, 1);
    int idle = dial(&f);
    say(idle, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)hear(idle, "body=0:");

    clock_fake_advance_us((int64_t)FIRST_LINE_MS * 1000 + 1000);
    for (int i = 0; i < 2; i++) /* these have not even said what they want */
        CHECK_INT(0, status_of(hear_all(slow[i])));
    for (int i = 2; i < BEGUN; i++)
        CHECK(recv(slow[i], &byte, 1, MSG_DONTWAIT) < 0);
    clock_fake_advance_us((int64_t)(REQUEST_MS - FIRST_LINE_MS - 2) * 1000);
    say(slow[2], "x"); /* a drip does not help */
    clock_fake_advance_us(2000);
    for (int i = 2; i < BEGUN; i++)
        CHECK_INT(0, status_of(hear_all(slow[i])));

    say(idle, "GET /echo?q=again HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)hear(idle, "q=again"); /* a quiet connection may wait longer */
    /* We may have heard the answer before the server has noticed that it is sent. */
    do
        clock_fake_advance_us((int64_t)76000 * 1000);
    while (!is_closed_soon(idle));
    (void)close(idle);
    http_answer(f.kept[0], 200, NULL, text_of("late"), NULL);
    CHECK(strstr(hear(patient, "late"), "200 OK") != NULL); /* handlers have all their time */
    (void)close(patient);
    close_fixture(&f);
    clock_fake_off();
}

/* ---- room ----------------------------------------------------------------------------------- */

#define ROOM 16

static void open_small(struct fixture *f)
{
    struct http_server_options options = {
        .listen = "127.0.0.1:0", .routes = routes, .context = f, .connections_max = ROOM};
    struct error err;

    *f = (struct fixture){.kept_count = 0};
    CHECK(pthread_mutex_init(&f->lock, NULL) == 0 && pthread_cond_init(&f->changed, NULL) == 0);
    CHECK_STATUS(OK, http_server_open(&f->server, &options, &err));
}

static void say_and_hear(int fd)
{
    say(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)hear(fd, "body=0:");
}

/* All from one address, as behind a proxy; the clock stands still, so that no deadline helps. */
TEST(http_server_serves_whoever_comes_while_others_are_idle)
{
    enum { IDLE = 8 * ROOM };
    int idle[IDLE], at_work[ROOM / 2], closed = 0;
    struct fixture f;
    char byte;

    clock_fake_set(INT64_C(1700000000000), 1000000);
    open_small(&f);
    for (int i = 0; i < ROOM / 2; i++) {
        at_work[i] = dial(&f);
        say(at_work[i], "GET /keep HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    await_kept(&f, ROOM / 2);
    for (int i = 0; i < IDLE; i++) {
        clock_fake_advance_us(1);
        idle[i] = dial(&f);
        if (i % 2 == 0)
            say_and_hear(idle[i]); /* also while the others say nothing */
    }
    for (int i = 0; i < 2 * ROOM; i++) {
        int fd = dial(&f);

        clock_fake_advance_us(1);
        say_and_hear(fd);
        (void)close(fd);
    }
    for (int i = 0; i < ROOM / 2; i++) { /* who is at work was left alone */
        http_answer(f.kept[i], 200, NULL, text_of("in the end"), NULL);
        CHECK(strstr(hear(at_work[i], "in the end"), "200 OK") != NULL);
        (void)close(at_work[i]);
    }
    for (int i = 0; i < IDLE; i++) {
        closed += recv(idle[i], &byte, 1, MSG_DONTWAIT) == 0;
        (void)close(idle[i]);
    }
    CHECK(closed >= IDLE - 3 * ROOM);
    close_fixture(&f);
    clock_fake_off();
}

/* Clients that drip their headers, more of them than there is room for, keep nobody out: a request
 * may take a second to arrive before it makes room, not the whole deadline. */
TEST(http_server_serves_whoever_comes_while_others_drip_headers)
{
    static const char begun[] = "GET /echo HTTP/1.1\r\nHost: h\r\nX-Drip: ";
    enum { CROWD = ROOM + ROOM / 8 + 8 };
    struct fixture f;
    int drips[CROWD], late, idle;
    char byte;

    clock_fake_set(INT64_C(1700000000000), 1000000);
    open_small(&f);
    for (int i = 0; i < CROWD; i++) {
        int probe = -1;

        drips[i] = dial(&f);
        say(drips[i], begun);
        if (i == CROWD - 1)
            break; /* there is room for no other now */
        /* Until the server has read it, a connection is a new one, which makes room for the next.
         */
        for (; probe < 0 || recv(drips[i], &byte, 1, MSG_DONTWAIT) == 0; (void)close(probe)) {
            if (probe >= 0) {
                (void)close(drips[i]);
                drips[i] = dial(&f);
                say(drips[i], begun);
            }
            probe = dial(&f);
            say_and_hear(probe);
        }
    }
    late = dial(&f);
    say(late, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i < CROWD - 1; i++)
        CHECK(recv(drips[i], &byte, 1, MSG_DONTWAIT) < 0); /* they have just come */
    clock_fake_advance_us(INT64_C(1100) * 1000);
    for (int i = 0; i < CROWD; i++)
        (void)send(drips[i], "x", 1, MSG_NOSIGNAL); /* a drip does not help */
    (void)hear(late, "body=0:");
    for (int i = 0; i < CROWD; i++)
        (void)close(drips[i]);
    idle = dial(&f); /* and afterwards all is as it was */
    say_and_hear(idle);
    (void)close(idle);
    (void)close(late);
    close_fixture(&f);
    clock_fake_off();
}

TEST(http_server_closes_the_longest_idle_first)
{
    int fds[ROOM];
    struct fixture f;
    char byte;

    clock_fake_set(INT64_C(1700000000000), 1000000);
    open_small(&f);
    fds[ROOM - 1] = dial(&f);
    for (int i = 0; i < ROOM; i++) { /* the first one twice */
        if (i < ROOM - 1)
            fds[i] = dial(&f);
        say_and_hear(fds[i % (ROOM - 1)]);
        say_and_hear(fds[ROOM - 1]); /* the server is done with the one before */
        clock_fake_advance_us(1000);
    }
    int more = dial(&f);
    say_and_hear(more);
    CHECK(recv(fds[1], &byte, 1, 0) == 0);
    for (int i = 2; i < ROOM; i++)
        say_and_hear(fds[i]);
    say_and_hear(fds[0]);
    for (int i = 0; i < ROOM; i++)
        (void)close(fds[i]);
    (void)close(more);
    close_fixture(&f);
    clock_fake_off();
}

TEST(http_server_bounds_connections_by_address_where_told_to)
{
    struct http_server_options options = {
        .listen = "127.0.0.1:0", .routes = routes, .connections_per_ip_max = 2};
    struct fixture f = {.kept_count = 0};
    struct error err;
    char byte;

    options.context = &f;
    CHECK_STATUS(OK, http_server_open(&f.server, &options, &err));
    int one = dial(&f), two = dial(&f);
    say_and_hear(one);
    say_and_hear(two);
    int three = dial(&f);
    CHECK(recv(three, &byte, 1, 0) <= 0);
    say_and_hear(one);
    (void)close(one);
    (void)close(two);
    (void)close(three);
    http_server_close(f.server, 0);
}

/* ---- late answers --------------------------------------------------------------------------- */

TEST(http_server_answers_late_from_another_thread)
{
    struct fixture f;
    int clients[KEPT_MAX];

    open_fixture(&f, 2);
    for (int i = 0; i < KEPT_MAX; i++) {
        char request[128];
        (void)snprintf(request, sizeof request,
                       "POST /keep?q=%d HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n%04d", i,
                       i);
        clients[i] = dial(&f);
        say(clients[i], request);
    }
    await_kept(&f, KEPT_MAX);
    for (int i = KEPT_MAX - 1; i >= 0; i--) { /* in an order of our own */
        struct text body = http_request_body(f.kept[i]);
        struct text query = http_request_query(f.kept[i], "q");
        char text[32], number[5] = "";
        memcpy(number, body.at, 4);
        CHECK_INT(atoi(number), atoi(query.at));
        (void)snprintf(text, sizeof text, "answer %s.", number);
        http_answer(f.kept[i], 200, NULL, text_of(text), NULL);
    }
    for (int i = 0; i < KEPT_MAX; i++) {
        char want[32];
        (void)snprintf(want, sizeof want, "answer %04d.", i);
        (void)hear(clients[i], want);
        say(clients[i], "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"); /* the connection is good yet */
        (void)hear(clients[i], "body=0:");
        (void)close(clients[i]);
    }
    close_fixture(&f);
}

TEST(http_server_does_not_mind_clients_that_leave_while_suspended)
{
    struct fixture f;

    open_fixture(&f, 1);
    for (int i = 0; i < 8; i++) {
        struct linger reset = {.l_onoff = i % 2, .l_linger = 0};
        int fd = dial(&f);
        say(fd, "GET /keep HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
        await_kept(&f, i + 1);
        CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
        (void)close(fd);
    }
    for (int i = 0; i < 8; i++)
        http_answer(f.kept[i], 200, NULL, text_of("to nobody"), NULL);
    CHECK_INT(200,
              status_of(ask(&f, "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")));
    close_fixture(&f);
}

/* ---- closing -------------------------------------------------------------------------------- */

static void *close_patiently(void *context)
{
    http_server_close(context, 10000);
    return NULL;
}

TEST(http_server_drains_before_it_closes)
{
    struct fixture f;
    pthread_t closer;

    open_fixture(&f, 1);
    int fd = dial(&f);
    say(fd, "GET /keep HTTP/1.1\r\nHost: h\r\n\r\n");
    await_kept(&f, 1);
    CHECK(pthread_create(&closer, NULL, close_patiently, f.server) == 0);
    http_answer(f.kept[0], 200, NULL, text_of("just in time"), NULL);
    CHECK(strstr(hear_all(fd), "just in time") != NULL);
    CHECK(pthread_join(closer, NULL) == 0);
    (void)pthread_cond_destroy(&f.changed);
    (void)pthread_mutex_destroy(&f.lock);
}

/* Eight clients have connected when the server begins to close, and ask then. How many of them are
 * answered. */
static int answered_while_closing(int threads)
{
    struct fixture f;
    pthread_t closer;
    int fds[8], answered = 0;

    open_fixture(&f, threads);
    for (int i = 0; i < 8; i++)
        fds[i] = dial(&f); /* some of them wait to be accepted */
    CHECK(pthread_create(&closer, NULL, close_patiently, f.server) == 0);
    (void)poll(NULL, 0, 50); /* it is closing, or has closed: as a client on a slow line */
    for (int i = 0; i < 8; i++)
        say(fds[i], "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i < 8; i++) {
        int status = status_of(hear_all(fds[i]));

        answered += status == 503 || status == 200;
    }
    CHECK(pthread_join(closer, NULL) == 0);
    (void)pthread_cond_destroy(&f.changed);
    (void)pthread_mutex_destroy(&f.lock);
    return answered;
}

/* A client that is connected has a request on its way: it is refused, not cut. On a machine that
 * stands still for a second they may come too late; a server that cuts them does so every time. */
TEST(http_server_answers_who_connected_before_it_closes)
{
    for (int threads = 1; threads <= 2; threads++) {
        int answered = 0;

        for (int i = 0; i < 5 && answered < 8; i++)
            answered = answered_while_closing(threads);
        CHECK_INT(8, answered);
    }
}

/* One who never says a word does not keep it from closing. */
TEST(http_server_does_not_wait_for_a_silent_client)
{
    struct fixture f;

    open_fixture(&f, 1);
    int fd = dial(&f);
    int64_t since_us = clock_monotonic_us();
    http_server_close(f.server, 60000);
    CHECK(clock_monotonic_us() - since_us < 30000000);
    CHECK(is_closed_soon(fd));
    (void)close(fd);
    (void)pthread_cond_destroy(&f.changed);
    (void)pthread_mutex_destroy(&f.lock);
}

TEST(http_server_gives_up_on_handlers_and_they_may_still_answer)
{
    struct fixture f;
    int clients[4];

    open_fixture(&f, 2);
    for (int i = 0; i < 4; i++) {
        clients[i] = dial(&f);
        say(clients[i], "POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    }
    await_kept(&f, 4);
    close_fixture(&f);
    for (int i = 0; i < 4; i++) {
        int code = status_of(hear_all(clients[i]));
        CHECK(code == 503 || code == 0);
        CHECK(text_equal(text_of("abc"), http_request_body(f.kept[i])));
        http_answer(f.kept[i], 200, NULL, text_of("too late"), NULL);
    }
}

/* ---- opening -------------------------------------------------------------------------------- */

TEST(http_server_refuses_addresses_it_cannot_listen_on)
{
    static const char *const bad[] = {
        "",     "127.0.0.1", "127.0.0.1:",      ":80",          "127.0.0.1:x",
        "h:-1", "[::1]",     "127.0.0.1:65536", "300.1.1.1:80", "203.0.113.1:8080"};
    struct http_server_options options = {.routes = routes};
    struct http_server *server;
    struct fixture f;
    struct error err;
    char taken[32];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options.listen = bad[i];
        CHECK_STATUS(ERR_CONFIG, http_server_open(&server, &options, &err));
        CHECK(server == NULL);
    }
    open_fixture(&f, 1);
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%d", http_server_port(f.server));
    options.listen = taken;
    CHECK_STATUS(ERR_IN_USE, http_server_open(&server, &options, &err));
    close_fixture(&f);
    http_server_close(NULL, 0);
}

TEST(http_address_is_valid_when_it_names_a_host_and_a_port)
{
    CHECK(http_address_valid("127.0.0.1:80"));
    CHECK(http_address_valid("[::1]:0"));
    CHECK(!http_address_valid("x"));
    CHECK(!http_address_valid("0.0.0.0:99999"));
    CHECK(!http_address_valid(":80"));
    CHECK(!http_address_valid(""));
}
