/* Tests ops/admin and ops/http_client against each other: the operator's port as a client sees it.
 */
#include "ops/admin.h"

#include "ops/http_client.h"
#include "ops/metric.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>

METRIC_COUNTER(things, "freshet_test_admin_things_total", "things");

static void handle_hello(struct http_request *request, void *context)
{
    http_answer(request, 200, "text/plain", text_of(context), NULL);
}

static const struct http_route extra[] = {{"GET", "/hello", handle_hello}, {0}};

struct fixture {
    struct admin *admin;
    struct http_client *client;
    int code;
    struct text body;
};

static char greeting[] = "hello from the role";

static void setup(struct fixture *f, size_t answer_bytes_max)
{
    struct error err;

    CHECK_STATUS(OK, admin_open(&f->admin, "test", "127.0.0.1:0", extra, greeting, &err));
    CHECK_STATUS(OK, http_client_create(&f->client, 5000, answer_bytes_max, &err));
}

static void teardown(struct fixture *f)
{
    http_client_destroy(f->client);
    admin_close(f->admin);
}

static enum status get(struct fixture *f, const char *path)
{
    struct error err;
    char url[128];

    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", admin_port(f->admin), path);
    return http_client_get(f->client, url, &f->code, &f->body, &err);
}

static bool says(const struct fixture *f, const char *what)
{
    return memmem(f->body.at, f->body.bytes, what, strlen(what)) != NULL;
}

TEST(admin_tells_live_and_ready_apart_and_says_why_not)
{
    struct fixture f;

    setup(&f, 1 << 20);
    CHECK_STATUS(OK, get(&f, "/livez"));
    CHECK_INT(200, f.code);
    CHECK_STATUS(OK, get(&f, "/readyz"));
    CHECK_INT(503, f.code);
    CHECK(says(&f, "starting"));
    admin_set_ready(f.admin, false, "no \"model\" yet");
    CHECK_STATUS(OK, get(&f, "/readyz"));
    CHECK(says(&f, "no \\\"model\\\" yet"));
    admin_set_ready(f.admin, true, "");
    CHECK_STATUS(OK, get(&f, "/readyz"));
    CHECK_INT(200, f.code);
    CHECK(!says(&f, "device"));
    admin_set_device(f.admin, "cuda");
    CHECK_STATUS(OK, get(&f, "/readyz"));
    CHECK(says(&f, "{\"ready\":true,\"device\":\"cuda\"}"));
    CHECK_STATUS(OK, get(&f, "/metrics"));
    CHECK(says(&f, "freshet_device{device=\"cuda\"} 1"));
    CHECK(says(&f, "freshet_device{device=\"cpu\"} 0"));
    teardown(&f);
}

TEST(admin_serves_metrics_version_and_the_routes_of_the_role)
{
    struct fixture f;

    setup(&f, 1 << 20);
    metric_add(&things, 3);
    CHECK_STATUS(OK, get(&f, "/metrics"));
    CHECK(says(&f, "\nfreshet_test_admin_things_total 3\n"));
    CHECK_STATUS(OK, get(&f, "/version"));
    CHECK(says(&f, "\"role\":\"test\""));
    CHECK_STATUS(OK, get(&f, "/hello"));
    CHECK_INT(200, f.code);
    CHECK(text_equal(f.body, text_of(greeting)));
    CHECK_STATUS(OK, get(&f, "/nothing"));
    CHECK_INT(404, f.code);
    teardown(&f);
}

TEST(http_client_has_limits_and_names_who_did_not_answer)
{
    struct fixture f;
    struct error err;

    setup(&f, 8);
    CHECK_STATUS(ERR_LIMIT, get(&f, "/hello"));
    CHECK_STATUS(ERR_UNAVAILABLE,
                 http_client_get(f.client, "http://127.0.0.1:1/x", &f.code, &f.body, &err));
    CHECK(strstr(err.text, "127.0.0.1:1") != NULL);
    CHECK_STATUS(ERR_UNAVAILABLE,
                 http_client_get(f.client, "file:///etc/passwd", &f.code, &f.body, &err));
    teardown(&f);
}
