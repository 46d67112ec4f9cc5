/* Tests ops/http_client against ops/http_server: answers of every kind, limits of time and size,
 * and nobody there. */
#include "ops/http_client.h"

#include "ops/http_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX 1000

static struct http_server *server;
static struct http_client *client;
static struct http_request *_Atomic kept; /* by the server's thread */
static struct text body;
static struct error err;
static int code;

static void echo(struct http_request *request, void *context)
{
    (void)context;
    http_answer(request, 200, "text/plain", http_request_body(request), NULL);
}

static void refuse(struct http_request *request, void *context)
{
    (void)context;
    http_answer_error(request, 422, "no");
}

static void elsewhere(struct http_request *request, void *context)
{
    (void)context;
    http_answer(request, 302, "text/plain", text_of("there"), "Location: /echo\n");
}

static void large(struct http_request *request, void *context)
{
    static char bytes[ANSWER_MAX + 1];
    struct text more = http_request_query(request, "more");

    (void)context;
    memset(bytes, 'x', sizeof bytes);
    http_answer(request, 200, NULL, (struct text){bytes, ANSWER_MAX + more.bytes}, NULL);
}

static void keep(struct http_request *request, void *context)
{
    (void)context;
    kept = request;
}

static const struct http_route routes[] = {
    {"GET", "/echo", echo},
    {"POST", "/echo", echo},
    {"GET", "/refuse", refuse},
    {"GET", "/away", elsewhere},
    {"GET", "/large", large},
    {"GET", "/keep", keep},
    {.path = NULL},
};

static const char *url(const char *path)
{
    static char text[128];

    (void)snprintf(text, sizeof text, "http://127.0.0.1:%d%s", http_server_port(server), path);
    return text;
}

static void begin(int64_t timeout_ms)
{
    struct http_server_options options = {.listen = "127.0.0.1:0", .routes = routes};

    CHECK_STATUS(OK, http_server_open(&server, &options, &err));
    CHECK_STATUS(OK, http_client_create(&client, timeout_ms, ANSWER_MAX, &err));
}

static void end(void)
{
    http_client_destroy(client);
    http_client_destroy(NULL);
    http_server_close(server, 1000);
}

TEST(http_client_hands_over_what_was_answered)
{
    begin(10000);
    CHECK_STATUS(OK,
                 http_client_post(client, url("/echo"), text_of("{\"a\":1}"), &code, &body, &err));
    CHECK(code == 200 && text_equal(body, text_of("{\"a\":1}")));
    CHECK_STATUS(OK, http_client_get(client, url("/echo"), &code, &body, &err));
    CHECK(code == 200 && body.bytes == 0); /* nothing of the post is left */
    CHECK_STATUS(OK, http_client_get(client, url("/refuse"), &code, &body, &err));
    CHECK(code == 422 && text_equal(body, text_of("{\"error\":\"no\"}")));
    CHECK_STATUS(OK, http_client_get(client, url("/nowhere"), &code, &body, &err));
    CHECK_INT(404, code);
    CHECK_STATUS(OK, http_client_get(client, url("/away"), &code, &body, &err));
    CHECK(code == 302 && text_equal(body, text_of("there"))); /* not followed */
    end();
}

TEST(http_client_bounds_the_answer)
{
    begin(10000);
    CHECK_STATUS(OK, http_client_get(client, url("/large"), &code, &body, &err));
    CHECK_INT(ANSWER_MAX, (int64_t)body.bytes);
    CHECK_STATUS(ERR_LIMIT, http_client_get(client, url("/large?more=1"), &code, &body, &err));
    CHECK_STATUS(OK, http_client_get(client, url("/echo"), &code, &body, &err));
    CHECK_INT(200, code); /* and goes on */
    end();
}

TEST(http_client_does_not_wait_for_ever_nor_for_nobody)
{
    char gone[128];

    begin(200);
    CHECK_STATUS(ERR_TIMEOUT, http_client_get(client, url("/keep"), &code, &body, &err));
    http_answer(kept, 200, NULL, text_of("late"), NULL);
    (void)snprintf(gone, sizeof gone, "%s", url("/echo"));
    http_server_close(server, 1000);
    server = NULL;
    CHECK_STATUS(ERR_UNAVAILABLE, http_client_get(client, gone, &code, &body, &err));
    end();
}
