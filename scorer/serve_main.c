/* scorer/serve_main.c - puts the parts of the serving role together, and takes them apart again. */
#include "scorer/serve_main.h"

#include "features/redis_connection.h"
#include "features/redis_keys.h"
#include "kernels/backend.h"
#include "ops/admin.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/http_server.h"
#include "ops/kafka_consumer.h"
#include "ops/log.h"
#include "schemas/event.h"
#include "scorer/catalogue.h"
#include "scorer/history_cache.h"
#include "scorer/served.h"
#include "scorer/server.h"
#include "scorer/user_reader.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define DRAIN_MS     5000
#define RECENT_BYTES (64 * 1024)

const struct config_row serve_config_rows[] = {
    {.key = "serve.listen",
     .type = CONFIG_TEXT,
     .fallback = "127.0.0.1:8080",
     .help = "Address and port of the HTTP API; loopback unless you mean to open it."},
    {.key = "serve.admin",
     .type = CONFIG_TEXT,
     .fallback = "127.0.0.1:9090",
     .help = "Address and port of /livez, /readyz, /metrics and /version."},
    {.key = "serve.threads",
     .type = CONFIG_INT,
     .fallback = "0",
     .max = 64,
     .help = "Scorer threads; 0: one less than there are cores."},
    {.key = "serve.waiting_max",
     .type = CONFIG_INT,
     .fallback = "256",
     .min = 1,
     .max = 65536,
     .help = "Requests at work at once; one more is answered 503 with Retry-After."},
    {.key = "serve.budget",
     .type = CONFIG_DURATION,
     .fallback = "200ms",
     .min = 1,
     .max = 60000,
     .help = "Time a request may take unless it brings deadline_ms; later it is answered 504."},
    {.key = "serve.redis_budget",
     .type = CONFIG_DURATION,
     .fallback = "15ms",
     .min = 1,
     .max = 60000,
     .help = "Time to read a user's sequence; after it the list is made from the cache, or "
             "without."},
    {.key = "serve.cache_users",
     .type = CONFIG_INT,
     .fallback = "50000",
     .max = 100000000,
     .help = "Sequences kept for when Redis does not answer (about 1.6 KB each); 0: none."},
    {.key = "serve.history_cache",
     .type = CONFIG_BYTES,
     .fallback = "64MiB",
     .max = 1e12,
     .help = "Memory for what the model makes of users' histories (K and V), kept from request to "
             "request, so that a user who comes back costs less; scores do not change. A user of "
             "100 events takes 96KiB of it (model.preset small; medium 384KiB, large 3MiB): 64MiB "
             "keep 682 users. 0: none."},
    {.key = "serve.bf16",
     .type = CONFIG_CHOICE,
     .fallback = "auto",
     .choices = "auto|on|off",
     .help = "Score with products of numbers rounded to bf16: auto where this processor is faster "
             "with them (AMX, AVX-512 BF16), they come out right in a trial, and the bundle says "
             "that they change its held-out NDCG@10 by at most .001."},
    {.key = "serve.recall_next",
     .type = CONFIG_INT,
     .fallback = "0",
     .min = -1,
     .max = 500,
     .help = "Items that the model's next-item scores bring to a list nobody gave candidates for, "
             "beside 300 popular and 300 co-visited ones. The model looks at every item for it: "
             "on a core some 2 ms for 100,000 items of 64 channels, and its candidates are "
             "scored like the others. retrain makes and judges lists in the same way, which "
             "costs it a request's time an event. -1: 200, or 0 above 50,000 items."},
    {.key = "serve.holdout",
     .type = CONFIG_REAL,
     .fallback = "0.01",
     .max = 1,
     .help = "Share of users that get popularity in place of the model, to know what it is worth."},
    {.key = "serve.new_share",
     .type = CONFIG_REAL,
     .fallback = "0",
     .max = 0.5,
     .help = "Share of every list's places, rounded down, that is kept for new items, so that "
             "somebody gets to see them: .1 is one of ten; 0: none."},
    {.key = "serve.new_until",
     .type = CONFIG_INT,
     .fallback = "100",
     .min = 1,
     .max = 1000000000,
     .help = "An item is new until it was shown and chosen so often."},
    {.key = "serve.refresh",
     .type = CONFIG_DURATION,
     .fallback = "200ms",
     .min = 10,
     .max = 60000,
     .help = "How often `current` and items.delta are looked at."},
    {.key = "serve.body_max",
     .type = CONFIG_BYTES,
     .fallback = "4MiB",
     .min = 1024,
     .max = 1 << 28,
     .help = "Longest request body; a longer one is answered 413."},
    {.key = "serve.connections_max",
     .type = CONFIG_INT,
     .fallback = "1024",
     .min = 1,
     .max = 100000,
     .help = "Open HTTP connections. Beyond it the longest idle are closed."},
    {.key = "serve.connections_per_ip",
     .type = CONFIG_INT,
     .fallback = "0",
     .min = 0,
     .max = 100000,
     .help = "Open HTTP connections of one address; more are closed. 0: no such limit, as behind a "
             "proxy, whose clients all have its address."},
    {0},
};

const struct config_rule serve_config_rules[] = {
    {.key = "serve.history_cache", .check = history_cache_check},
    {0},
};

/* Everything the role is made of, so that one function can take it apart. */
struct role {
    const struct backend *backend;
    struct event_schema *schema;
    struct catalogue *catalogue;
    struct kv_cache *histories;
    struct served_slot *slot;
    struct user_reader *reader;
    struct server *server;
    struct http_server *http;
    struct admin *admin;
};

static void handle_recent(struct http_request *request, void *context)
{
    static _Thread_local char text[RECENT_BYTES];
    struct role *role = context;
    size_t bytes = role->server == NULL ? 0 : server_recent(role->server, text, sizeof text);

    http_answer(request, 200, "application/json",
                bytes == 0 ? text_of("[]") : (struct text){text, bytes}, NULL);
}

static const struct http_route admin_routes[] = {{"GET", "/recent", handle_recent}, {0}};

static enum status open_reader(struct role *role, const struct config *config, struct error *err)
{
    struct user_reader_options options = {
        .cache_users = (int)config_int(config, "serve.cache_users"),
    };
    enum status status = redis_target_from(&options.target, config, err);

    if (status == OK)
        status = redis_keys_init(&options.keys, config_text(config, "dataset.namespace"), err);
    if (status == OK)
        status = user_reader_open(&role->reader, &options, err);
    return status;
}

static enum status open_server(struct role *role, const struct config *config, struct error *err)
{
    struct server_options options = {
        .slot = role->slot,
        .reader = role->reader,
        .schema = role->schema,
        .threads = (int)config_int(config, "serve.threads"),
        .waiting_max = (int)config_int(config, "serve.waiting_max"),
        .budget_ms = config_duration_ms(config, "serve.budget"),
        .redis_budget_ms = config_duration_ms(config, "serve.redis_budget"),
        .holdout = config_real(config, "serve.holdout"),
        .recall_next = (int)config_int(config, "serve.recall_next"),
        .floor = {config_real(config, "serve.new_share"), config_int(config, "serve.new_until")},
        .histories = role->histories,
        .backend = role->backend,
        .stream_clock = strcmp(config_text(config, "clock"), "stream") == 0,
    };
    struct http_server_options http = {
        .listen = config_text(config, "serve.listen"),
        .routes = server_routes,
        .body_bytes_max = (size_t)config_size_bytes(config, "serve.body_max"),
        .connections_max = (int)config_int(config, "serve.connections_max"),
        .connections_per_ip_max = (int)config_int(config, "serve.connections_per_ip"),
    };
    enum status status = context_names_parse(&options.contexts,
                                             config_text(config, "model.contexts"), err);

    if (status == OK) {
        served_slot_contexts(role->slot, &options.contexts);
        status = server_create(&role->server, &options, err);
    }

    if (status != OK)
        return status;
    http.context = role->server;
    return http_server_open(&role->http, &http, err);
}

static enum status open_catalogue(struct role *role, const struct config *config, struct error *err)
{
    struct kafka_consumer_options options = {0};

    kafka_consumer_options_from(&options, config, "kafka.topics.items");
    return catalogue_open(&role->catalogue, &options, err);
}

static enum served_bf16 bf16_of(const struct config *config)
{
    const char *said = config_text(config, "serve.bf16");

    return strcmp(said, "on") == 0    ? SERVED_BF16_ON
           : strcmp(said, "off") == 0 ? SERVED_BF16_OFF
                                      : SERVED_BF16_AUTO;
}

static enum status open_slot(struct role *role, const struct config *config, struct error *err)
{
    enum status status = history_cache_check(config, err);

    if (status == OK)
        status = history_cache_open(&role->histories,
                                    config_size_bytes(config, "serve.history_cache"), err);
    if (status == OK)
        status = served_slot_create(&role->slot, config_text(config, "model.folder"),
                                    role->catalogue, err);
    if (status != OK)
        return status;
    served_slot_bf16(role->slot, bf16_of(config));
    served_slot_recalls(role->slot, config_int(config, "serve.recall_next") != 0);
    served_slot_histories(role->slot, role->histories);
    return OK;
}

static enum status open_role(struct role *role, const struct config *config, struct error *err)
{
    enum status status = event_schema_create(&role->schema, config, err);

    if (status == OK)
        status = open_catalogue(role, config, err);
    if (status == OK)
        status = open_slot(role, config, err);
    if (status == OK)
        status = open_reader(role, config, err);
    if (status == OK)
        status = open_server(role, config, err);
    if (status == OK)
        status = admin_open(&role->admin, "serve", config_text(config, "serve.admin"), admin_routes,
                            role, err);
    if (status == OK)
        admin_set_device(role->admin, role->backend->name);
    return status;
}

/* Order matters: no new requests, then those at work, then what they need. */
static void close_role(struct role *role)
{
    if (role->admin != NULL)
        admin_set_ready(role->admin, false, "shutting down");
    if (role->server != NULL)
        server_drain(role->server, DRAIN_MS);
    http_server_close(role->http, DRAIN_MS);
    user_reader_close(role->reader);
    server_destroy(role->server);
    served_slot_destroy(role->slot);
    history_cache_close(role->histories);
    catalogue_close(role->catalogue);
    admin_close(role->admin);
    event_schema_destroy(role->schema);
}

/* Ready is about us alone, never about Redis or Kafka: a list can be made without them. */
static void tell_ready(struct role *role, enum status status, const struct error *err)
{
    const struct served *served = served_acquire(role->slot);

    if (served != NULL)
        admin_set_ready(role->admin, true, "");
    else if (status == ERR_NOT_FOUND)
        admin_set_ready(
            role->admin, false,
            "no bundle published yet: start `freshet retrain` on the same model.folder");
    else
        admin_set_ready(role->admin, false, err->text);
    served_release(role->slot, served);
}

/* Until a signal (OK), or until the device that scores works no more (ERR_DEVICE). */
static enum status refresh_until_stopped(struct role *role, int64_t period_ms, struct error *why)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};
    struct log_limit limit = {0};

    while (!command_stopping()) {
        struct error err;
        bool changed;
        enum status status = served_refresh(role->slot, &changed, &err);

        if (server_check(role->server, status == ERR_DEVICE, why) != OK)
            return why->status;
        if (status != OK && status != ERR_NOT_FOUND && log_every(&limit, 30000))
            log_event(LOG_WARN, "bundle_refused", err.text,
                      log_text("remedy", "`freshet model list` shows the versions; the old one "
                                         "goes on serving"));
        tell_ready(role, status, &err);
        (void)poll(&stop, 1, (int)period_ms);
    }
    return OK;
}

/* Where the demo and tests find ports that the system chose. */
static enum status write_ports(const struct command_line *line, const struct role *role,
                               struct error *err)
{
    const char *path = command_text(line, "ports-file");
    char text[96];
    int bytes;

    if (path == NULL)
        return OK;
    bytes = snprintf(text, sizeof text, "{\"listen\":%d,\"admin\":%d}\n",
                     http_server_port(role->http), admin_port(role->admin));
    return file_replace(path, text, (size_t)bytes, err);
}

static int run_serve(struct command_line *line)
{
    const struct config *config = command_config(line);
    struct role role = {0};
    struct error err;
    enum status status;

    if (config == NULL)
        return EXIT_USAGE;
    status = hash_start(&err);
    if (status == OK)
        status = backend_choose(&role.backend, &err);
    if (status == OK) {
        log_event(LOG_INFO, "backend", "scores on", log_text("device", role.backend->name),
                  log_text("why", role.backend->why));
        status = open_role(&role, config, &err);
    }
    if (status == OK)
        status = write_ports(line, &role, &err);
    if (status != OK) {
        close_role(&role);
        return command_fail(line, &err);
    }
    log_event(LOG_INFO, "serving", "answers requests", log_int("port", http_server_port(role.http)),
              log_int("admin_port", admin_port(role.admin)));
    status = refresh_until_stopped(&role, config_duration_ms(config, "serve.refresh"), &err);
    log_event(LOG_INFO, "stopping", "drains and exits");
    close_role(&role);
    return status == OK ? EXIT_DONE : command_fail(line, &err);
}

static const struct option_row serve_options[] = {
    {.name = "ports-file",
     .type = OPTION_TEXT,
     .value_name = "PATH",
     .help = "write the ports in use there, as JSON (useful with port 0)"},
    {0},
};

static const struct command serve_command = {
    .name = "serve",
    .summary = "rerank and recommend over HTTP",
    .arguments = "",
    .help = "Answers POST /v1/rerank and POST /v1/recommend with the newest published model, "
            "the user's sequence from Redis, and item tables that are refreshed every few "
            "seconds. Without a model it ranks by co-visitation and popularity; without Redis "
            "from what it read last; every answer says which.\n"
            "\n"
            "Examples:\n"
            "  freshet serve --config freshet.yaml\n"
            "  curl -s localhost:8080/v1/recommend -d '{\"user\":\"u1\",\"k\":10}'\n"
            "  curl -s localhost:8080/v1/rerank \\\n"
            "       -d '{\"user\":\"u1\",\"candidates\":[\"i1\",\"i2\",\"i3\"]}'\n"
            "  curl -s localhost:9090/readyz\n",
    .options = serve_options,
    .run = run_serve,
};

const struct command *const scorer_commands[] = {&serve_command, NULL};
