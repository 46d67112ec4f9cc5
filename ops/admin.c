/* ops/admin.c - four routes of our own before those of the role. */
#include "ops/admin.h"

#include "ops/json_writer.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "ops/version.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUTES_MAX    24
#define REASON_MAX    200
#define METRICS_BYTES (64 * 1024)
#define ANSWER_BYTES  512

static const char *const device_names[] = {"cpu", "cuda"};
#define DEVICES ((int)(sizeof device_names / sizeof device_names[0]))

METRIC_GAUGE(ready_now, "freshet_ready", "1 while /readyz is 200");
METRIC_GAUGE_OF(device_now, "freshet_device",
                "1 for what this role scores or learns on; 0 for both where it does neither",
                "device", device_names, DEVICES);

struct admin {
    struct http_server *http;
    const char *role;
    const struct http_route *extra;
    void *extra_context;
    struct http_route routes[ROUTES_MAX + 1];
    pthread_mutex_t lock; /* guards what follows */
    const char *device;   /* of device_names; NULL: none */
    bool ready;
    char reason[REASON_MAX];
};

static void answer_json(struct http_request *request, int code, const struct json_writer *w)
{
    http_answer(request, code, "application/json", json_writer_text(w),
                "Cache-Control: no-store\n");
}

static void handle_live(struct http_request *request, void *context)
{
    (void)context;
    http_answer(request, 200, "application/json", text_of("{\"live\":true}"),
                "Cache-Control: no-store\n");
}

static void handle_ready(struct http_request *request, void *context)
{
    struct admin *admin = context;
    char text[ANSWER_BYTES];
    struct json_writer w;
    bool ready;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    (void)pthread_mutex_lock(&admin->lock);
    ready = admin->ready;
    json_bool(&w, "ready", ready);
    if (!ready || admin->reason[0] != 0)
        json_text(&w, ready ? "degraded" : "reason", text_of(admin->reason));
    if (admin->device != NULL)
        json_text(&w, "device", text_of(admin->device));
    (void)pthread_mutex_unlock(&admin->lock);
    json_object_end(&w);
    answer_json(request, ready ? 200 : 503, &w);
}

/* The text grows with the number of metrics, which is fixed at build time. */
static void handle_metrics(struct http_request *request, void *context)
{
    size_t room = METRICS_BYTES;
    char *text = malloc(room);
    size_t bytes = text == NULL ? 0 : metric_render(text, room);

    (void)context;
    while (text != NULL && bytes >= room) {
        free(text);
        room = bytes + bytes / 4 + 1;
        text = malloc(room);
        bytes = text == NULL ? 0 : metric_render(text, room);
    }
    if (text == NULL)
        http_answer_error(request, 500, "out of memory");
    else
        http_answer(request, 200, "text/plain; version=0.0.4; charset=utf-8",
                    (struct text){text, bytes}, NULL);
    free(text);
}

static void handle_version(struct http_request *request, void *context)
{
    struct admin *admin = context;
    char text[ANSWER_BYTES];
    struct json_writer w;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_text(&w, "version", text_of(version_text()));
    json_text(&w, "role", text_of(admin->role));
    json_object_end(&w);
    answer_json(request, 200, &w);
}

/* One server has one context; the role's routes get their own through this table. */
static void handle_extra(struct http_request *request, void *context)
{
    struct admin *admin = context;
    struct text path = http_request_path(request);

    for (const struct http_route *route = admin->extra; route->path != NULL; route++)
        if (text_equal(path, text_of(route->path))) {
            route->handle(request, admin->extra_context);
            return;
        }
    http_answer_error(request, 404, "no such page");
}

static const struct http_route own_routes[] = {
    {"GET", "/livez", handle_live},
    {"GET", "/readyz", handle_ready},
    {"GET", "/metrics", handle_metrics},
    {"GET", "/version", handle_version},
};

static enum status make_routes(struct admin *admin, struct error *err)
{
    int count = (int)(sizeof own_routes / sizeof own_routes[0]);

    memcpy(admin->routes, own_routes, sizeof own_routes);
    for (const struct http_route *route = admin->extra; route != NULL && route->path != NULL;
         route++) {
        if (count == ROUTES_MAX)
            return error_set(err, ERR_LIMIT, "more than %d admin routes", ROUTES_MAX);
        admin->routes[count] = *route;
        admin->routes[count++].handle = handle_extra;
    }
    return OK;
}

enum status admin_open(struct admin **admin, const char *role, const char *listen,
                       const struct http_route *extra, void *context, struct error *err)
{
    struct admin *made = calloc(1, sizeof *made);
    struct http_server_options options = {.listen = listen, .connections_max = 64};
    enum status status;

    *admin = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the admin port");
    made->role = role;
    metric_of_role(role);
    made->extra = extra;
    made->extra_context = context;
    (void)snprintf(made->reason, sizeof made->reason, "starting");
    (void)pthread_mutex_init(&made->lock, NULL);
    status = make_routes(made, err);
    options.routes = made->routes;
    options.context = made;
    if (status == OK)
        status = http_server_open(&made->http, &options, err);
    if (status != OK) {
        admin_close(made);
        return status;
    }
    *admin = made;
    return OK;
}

int admin_port(const struct admin *admin)
{
    return http_server_port(admin->http);
}

void admin_close(struct admin *admin)
{
    if (admin == NULL)
        return;
    http_server_close(admin->http, 1000);
    (void)pthread_mutex_destroy(&admin->lock);
    free(admin);
}

void admin_set_ready(struct admin *admin, bool ready, const char *reason)
{
    bool changed;

    (void)pthread_mutex_lock(&admin->lock);
    changed = admin->ready != ready;
    admin->ready = ready;
    (void)snprintf(admin->reason, sizeof admin->reason, "%s", reason);
    (void)pthread_mutex_unlock(&admin->lock);
    metric_set(&ready_now, ready ? 1 : 0);
    if (changed)
        log_event(LOG_INFO, ready ? "ready" : "not_ready", reason);
}

void admin_set_device(struct admin *admin, const char *device)
{
    for (int i = 0; i < DEVICES; i++) {
        bool is = strcmp(device, device_names[i]) == 0;

        metric_set_of(&device_now, i, is ? 1 : 0);
        if (!is)
            continue;
        (void)pthread_mutex_lock(&admin->lock);
        admin->device = device_names[i];
        (void)pthread_mutex_unlock(&admin->lock);
    }
}
