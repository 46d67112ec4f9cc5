/* ops/demo_roles.c - start, tend, stop. */
#include "ops/demo_roles.h"

#include "ops/clock.h"
#include "ops/command.h"
#include "ops/file.h"
#include "ops/json.h"
#include "ops/kafka_admin.h"
#include "ops/log.h"
#include "ops/process.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH_BYTES      512
#define START_MS        20000
#define STOP_MS         8000
#define POLL_US         20000
#define HTTP_TIMEOUT_MS 1000
#define METRICS_MAX     (1024 * 1024)
#define ARGS_MAX        40
#define TAIL_LINES      20
#define TAIL_BYTES      8192

struct role {
    struct process process;
    bool wanted; /* it should be running */
    int admin;   /* ports, 0: not known */
    int listen;
    struct http_client *client;
    char *text; /* (METRICS_MAX) the last answer */
};

struct demo_roles {
    struct demo_roles_options options;
    char folder[PATH_BYTES / 4];
    char brokers[PATH_BYTES];
    struct kafka_broker *broker;
    struct process redis;
    struct role roles[DEMO_ROLES];
    struct json_parser *parser;
    int restarts;
    struct demo_totals before; /* what ingest's ended processes counted */
};

static const char *const role_names[DEMO_ROLES] = {"ingest", "retrain", "serve", "frozen",
                                                   "simulate"};

static const struct kafka_broker_topic topics[] = {
    {"events", 8}, {"items", 1}, {"examples", 8}, {"dead", 1}, {NULL, 0},
};

/* ---- the folder and what lies in it ---- */

static const char *path_of(const struct demo_roles *r, const char *name, char path[PATH_BYTES])
{
    (void)snprintf(path, PATH_BYTES, "%s/%s", r->folder, name);
    return path;
}

static enum status make_folder(struct demo_roles *r, struct error *err)
{
    const char *base = getenv("TMPDIR");

    (void)snprintf(r->folder, sizeof r->folder, "%s/freshet-demo-XXXXXX",
                   base == NULL || base[0] == 0 ? "/tmp" : base);
    if (mkdtemp(r->folder) == NULL) {
        r->folder[0] = 0;
        return error_set(err, ERR_IO, "could not make a temporary folder: %s", strerror(errno));
    }
    return OK;
}

/* Short windows and rounds: what takes hours in production is to be seen in two minutes. */
static enum status write_config(const struct demo_roles *r, struct error *err)
{
    char path[PATH_BYTES];
    char text[4096];
    int bytes = snprintf(
        text, sizeof text,
        "# Written by freshet demo; everything is on loopback and goes when the demo ends.\n"
        "kafka:\n"
        "  brokers: \"%s\"\n"
        "  group: freshet-demo\n"
        "  fetch_wait: 5ms\n"
        "  session_timeout: 6s\n"
        "redis:\n"
        "  url: \"unix://%s/redis.sock\"\n"
        "features:\n"
        "  join_window: 10s\n"
        "model:\n"
        "  folder: \"%s/models\"\n"
        "serve:\n"
        "  listen: \"127.0.0.1:0\"\n"
        "  admin: \"127.0.0.1:0\"\n"
        "  holdout: 0.15\n"
        "ingest:\n"
        "  admin: \"127.0.0.1:0\"\n"
        "retrain:\n"
        "  admin: \"127.0.0.1:0\"\n"
        "  folder: \"%s/retrain\"\n"
        "  every: 5s\n"
        "  holdout_min: 200\n"
        "  holdout_share: 0.05\n"
        "  items_refresh: 2s\n"
        "log:\n"
        "  format: json\n",
        r->brokers, r->folder, r->folder, r->folder);

    return file_replace(path_of(r, "freshet.yaml", path), text, (size_t)bytes, err);
}

/* ---- Redis and the broker ---- */

static bool answers(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up;

    if (strlen(socket_path) < sizeof address.sun_path)
        memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
    up = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        (void)close(fd);
    return up;
}

static enum status start_redis(struct demo_roles *r, struct error *err)
{
    char socket_path[PATH_BYTES], log_path[PATH_BYTES];
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          path_of(r, "redis.sock", socket_path),
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          "--maxmemory-policy",
                          "noeviction",
                          "--dir",
                          r->folder,
                          NULL};
    int64_t until_us = clock_monotonic_us() + START_MS * 1000;
    enum status status = process_start(&r->redis, "redis", argv, path_of(r, "redis.log", log_path),
                                       err);

    if (status != OK)
        return error_prefix(err, "the demo needs redis-server (make deps installs it)");
    while (!answers(socket_path)) {
        if (process_ended(&r->redis) || clock_monotonic_us() > until_us || command_stopping())
            return error_set(err, ERR_UNAVAILABLE, "redis-server did not start; see %s", log_path);
        (void)usleep(POLL_US);
    }
    return OK;
}

static enum status start_broker(struct demo_roles *r, struct error *err)
{
    enum status status = OK;

    if (r->options.brokers == NULL) {
        status = kafka_broker_start(&r->broker, topics, err);
        if (status == OK)
            (void)snprintf(r->brokers, sizeof r->brokers, "%s", kafka_broker_address(r->broker));
        return status;
    }
    (void)snprintf(r->brokers, sizeof r->brokers, "%s", r->options.brokers);
    for (int i = 0; topics[i].name != NULL && status == OK; i++)
        status = kafka_topic_create(r->brokers, NULL, topics[i].name, topics[i].partitions, 1, NULL,
                                    START_MS, err);
    return status;
}

/* ---- the roles ---- */

struct arguments {
    const char *at[ARGS_MAX + 1];
    int count;
    char text[ARGS_MAX][PATH_BYTES];
};

static void add(struct arguments *a, const char *argument)
{
    assert(a->count < ARGS_MAX);
    (void)snprintf(a->text[a->count], PATH_BYTES, "%s", argument);
    a->at[a->count] = a->text[a->count];
    a->count++;
}

static void add_number(struct arguments *a, const char *option, double value, const char *unit)
{
    char text[48];

    add(a, option);
    (void)snprintf(text, sizeof text, "%.10g%s", value, unit);
    add(a, text);
}

static void add_url(struct arguments *a, const char *option, int port)
{
    char text[64];

    add(a, option);
    (void)snprintf(text, sizeof text, "http://127.0.0.1:%d", port);
    add(a, text);
}

static void arguments_of(const struct demo_roles *r, enum demo_role role, struct arguments *a)
{
    char path[PATH_BYTES];
    char name[64];

    a->count = 0;
    add(a, r->options.program);
    add(a, role == DEMO_FROZEN ? "serve" : role_names[role]);
    add(a, "--config");
    add(a, path_of(r, "freshet.yaml", path));
    add(a, "--ports-file");
    (void)snprintf(name, sizeof name, "%s.ports", role_names[role]);
    add(a, path_of(r, name, path));
    if (role == DEMO_FROZEN) {
        (void)snprintf(path, sizeof path, "model.folder=%s/frozen", r->folder);
        add(a, "--set");
        add(a, path);
        add(a, "--set");
        add(a, "serve.holdout=0");
    }
    if (role == DEMO_SERVE || role == DEMO_FROZEN) {
        /* Started again it takes the same port: simulate was told it once. 0 the first time. */
        (void)snprintf(path, sizeof path, "serve.listen=127.0.0.1:%d", r->roles[role].listen);
        add(a, "--set");
        add(a, path);
    }
    if (role != DEMO_SIMULATE)
        return;
    add(a, "--json");
    add(a, "--admin");
    add(a, "127.0.0.1:0");
    add_url(a, "--serve", r->roles[DEMO_SERVE].listen);
    add_url(a, "--compare", r->roles[DEMO_FROZEN].listen);
    add_number(a, "--seed", (double)r->options.seed, "");
    add_number(a, "--warmup", r->options.warmup, "");
    add_number(a, "--rate", r->options.rate, "");
    add_number(a, "--shift-after", floor(r->options.shift_after_s), "s");
}

/* Reads {"admin":N,"listen":N} once the role has written it. */
static bool read_ports(struct demo_roles *r, enum demo_role role)
{
    char path[PATH_BYTES], name[64];
    const struct json_node *root;
    struct error err;
    char *text;
    size_t bytes;

    (void)snprintf(name, sizeof name, "%s.ports", role_names[role]);
    if (file_read(path_of(r, name, path), 4096, &text, &bytes, &err) != OK)
        return false;
    if (json_parse(r->parser, (struct text){text, bytes}, &root, &err) == OK) {
        r->roles[role].admin = (int)json_int_or(json_member(root, "admin"), 0);
        r->roles[role].listen = (int)json_int_or(json_member(root, "listen"), 0);
    }
    free(text);
    return r->roles[role].admin > 0;
}

static void print_log_end(const struct process *process)
{
    static char tail[TAIL_BYTES];

    process_log_tail(process, TAIL_LINES, tail, sizeof tail);
    (void)fprintf(stderr, "\nthe last lines of %s:\n%s\n", process->name, tail);
}

static enum status spawn(struct demo_roles *r, enum demo_role role, struct error *err)
{
    static struct arguments a;
    char path[PATH_BYTES], name[64];

    (void)snprintf(name, sizeof name, "%s.ports", role_names[role]);
    (void)unlink(path_of(r, name, path));
    r->roles[role].admin = 0;
    arguments_of(r, role, &a);
    a.at[a.count] = NULL;
    (void)snprintf(name, sizeof name, "%s.log", role_names[role]);
    r->roles[role].wanted = true;
    return process_start(&r->roles[role].process, role_names[role], a.at, path_of(r, name, path),
                         err);
}

static enum status did_not_come_up(const struct demo_roles *r, enum demo_role role,
                                   struct error *err)
{
    const struct process *process = &r->roles[role].process;
    const char *name = role_names[role];

    if (!process->ended)
        return error_set(err, ERR_UNAVAILABLE, "%s did not come up in %d s", name,
                         (int)(START_MS / 1000));
    if (process->exit_code > 128)
        return error_set(err, ERR_UNAVAILABLE, "%s was killed by signal %d before it was up", name,
                         process->exit_code - 128);
    return error_set(err, ERR_UNAVAILABLE, "%s ended with exit code %d before it was up", name,
                     process->exit_code);
}

static enum status start_role(struct demo_roles *r, enum demo_role role, struct error *err)
{
    struct role *self = &r->roles[role];
    int64_t until_us = clock_monotonic_us() + START_MS * 1000;
    enum status status;

    self->text = malloc(METRICS_MAX);
    if (self->text == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the demo");
    status = http_client_create(&self->client, HTTP_TIMEOUT_MS, METRICS_MAX, err);
    if (status == OK)
        status = spawn(r, role, err);
    while (status == OK && !read_ports(r, role)) {
        if (command_stopping())
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (process_ended(&self->process) || clock_monotonic_us() > until_us) {
            print_log_end(&self->process);
            return did_not_come_up(r, role, err);
        }
        (void)usleep(POLL_US);
    }
    return status;
}

enum status demo_roles_start(struct demo_roles **roles, const struct demo_roles_options *options,
                             struct error *err)
{
    struct demo_roles *r = calloc(1, sizeof *r);
    enum status status;

    *roles = NULL;
    if (r == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the demo");
    r->options = *options;
    r->parser = json_parser_create(64 * 1024, 1024);
    status = r->parser == NULL ? error_set(err, ERR_NOMEM, "no memory for the demo") : OK;
    if (status == OK)
        status = make_folder(r, err);
    if (status == OK)
        status = start_redis(r, err);
    if (status == OK)
        status = start_broker(r, err);
    if (status == OK)
        status = write_config(r, err);
    for (int role = 0; role < DEMO_ROLES && status == OK; role++)
        status = start_role(r, (enum demo_role)role, err);
    if (status != OK) {
        demo_roles_stop(r);
        return status;
    }
    *roles = r;
    return OK;
}

void demo_roles_stop(struct demo_roles *r)
{
    struct error err;

    if (r == NULL)
        return;
    /* The source first, then who reads, the stores last: everybody can finish what it holds. */
    for (int role = DEMO_ROLES - 1; role >= 0; role--)
        process_signal(&r->roles[role].process, SIGTERM);
    for (int role = DEMO_ROLES - 1; role >= 0; role--) {
        if (r->roles[role].process.pid > 0)
            process_stop(&r->roles[role].process, STOP_MS);
        http_client_destroy(r->roles[role].client);
        free(r->roles[role].text);
    }
    kafka_broker_stop(r->broker);
    if (r->redis.pid > 0)
        process_stop(&r->redis, STOP_MS);
    json_parser_destroy(r->parser);
    if (r->folder[0] != 0 && file_remove_tree(r->folder, &err) != OK)
        (void)fprintf(stderr, "could not remove %s: %s\n", r->folder, err.text);
    free(r);
}

/* What an ended ingest had counted since it was last asked is gone with it; Redis knows it, and
 * nothing changes there until the next one runs. */
static void keep_totals(struct demo_roles *r)
{
    struct demo_totals totals;
    struct error err;

    if (demo_roles_totals(r, &totals, &err) == OK)
        r->before = totals;
    else
        log_event(LOG_WARN, "totals_unknown", err.text);
}

enum status demo_roles_tend(struct demo_roles *r, struct error *err)
{
    if (process_ended(&r->redis)) {
        print_log_end(&r->redis);
        return error_set(err, ERR_UNAVAILABLE, "redis-server ended");
    }
    for (int i = 0; i < DEMO_ROLES; i++) {
        struct role *role = &r->roles[i];
        int pid = (int)role->process.pid; /* 0 once it has ended */

        if (role->wanted && role->admin == 0)
            (void)read_ports(r, (enum demo_role)i);
        if (!role->wanted || !process_ended(&role->process))
            continue;
        if (role->process.exit_code == 128 + SIGKILL && i != DEMO_SIMULATE) {
            enum status status;

            r->restarts++;
            if (i == DEMO_INGEST)
                keep_totals(r);
            status = spawn(r, (enum demo_role)i, err);
            if (status != OK)
                return status;
            log_event(LOG_WARN, "restarted", "a role was killed and is started again",
                      log_text("killed", role_names[i]), log_int("killed_pid", pid),
                      log_int("new_pid", demo_roles_pid(r, (enum demo_role)i)));
            continue;
        }
        print_log_end(&role->process);
        return error_set(err, ERR_UNAVAILABLE, "%s ended with exit code %d", role_names[i],
                         role->process.exit_code);
    }
    return OK;
}

const struct demo_totals *demo_roles_before(const struct demo_roles *r)
{
    return &r->before;
}

int demo_roles_restarts(const struct demo_roles *r)
{
    return r->restarts;
}

struct text demo_roles_get(struct demo_roles *r, enum demo_role role, const char *path)
{
    struct role *self = &r->roles[role];
    char url[PATH_BYTES];
    struct text body;
    struct error err;
    int code;

    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", self->admin, path);
    if (self->admin == 0 || http_client_get(self->client, url, &code, &body, &err) != OK ||
        code != 200 || body.bytes > METRICS_MAX)
        return (struct text){0};
    memcpy(self->text, body.at, body.bytes);
    return (struct text){self->text, body.bytes};
}

struct text demo_roles_metrics(struct demo_roles *r, enum demo_role role)
{
    return demo_roles_get(r, role, "/metrics");
}

/* Copied under another name and renamed, so that the scorer sees all of it or nothing. */
enum status demo_roles_freeze(struct demo_roles *r, struct error *err)
{
    char from[PATH_BYTES], beside[PATH_BYTES], to[PATH_BYTES], log_path[PATH_BYTES];
    const char *argv[] = {"cp", "-r", path_of(r, "models", from), path_of(r, "frozen.new", beside),
                          NULL};
    struct process copy;
    enum status status = process_start(&copy, "cp", argv, path_of(r, "cp.log", log_path), err);

    if (status != OK)
        return status;
    for (int64_t until_us = clock_monotonic_us() + START_MS * 1000; !process_ended(&copy);) {
        if (clock_monotonic_us() > until_us)
            process_stop(&copy, 0);
        (void)usleep(POLL_US);
    }
    if (copy.exit_code != 0 || rename(beside, path_of(r, "frozen", to)) != 0)
        return error_set(err, ERR_IO, "could not copy the models of %s", from);
    return OK;
}

/* The result is the last line of its output. */
static enum status read_delivered(struct demo_roles *r, int64_t *delivered, struct error *err)
{
    static char tail[TAIL_BYTES];
    const struct json_node *root;

    process_log_tail(&r->roles[DEMO_SIMULATE].process, 1, tail, sizeof tail);
    if (json_parse(r->parser, text_of(tail), &root, err) != OK ||
        json_member(root, "delivered") == NULL)
        return error_set(err, ERR_MALFORMED, "simulate printed no result");
    *delivered = json_int_or(json_member(root, "delivered"), 0);
    return OK;
}

enum status demo_roles_end_stream(struct demo_roles *r, int64_t timeout_ms, int64_t *delivered,
                                  struct error *err)
{
    struct role *simulate = &r->roles[DEMO_SIMULATE];
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;

    simulate->wanted = false;
    process_signal(&simulate->process, SIGTERM);
    while (!process_ended(&simulate->process)) {
        if (clock_monotonic_us() > until_us)
            return error_set(err, ERR_TIMEOUT, "simulate did not stop in %lld ms",
                             (long long)timeout_ms);
        (void)usleep(POLL_US);
    }
    return read_delivered(r, delivered, err);
}

/* Of all partitions, from where each began. */
static double logged_of(const struct json_node *partitions)
{
    double logged = 0;

    for (const struct json_node *p = partitions == NULL ? NULL : partitions->child; p != NULL;
         p = p->next) {
        int64_t high = json_int_or(json_member(p, "high"), -1);

        if (high < 0)
            return -1;
        logged += (double)(high - json_int_or(json_member(p, "start"), 0));
    }
    return logged;
}

static enum status parse_totals(struct demo_roles *r, const char *text, struct demo_totals *totals,
                                struct error *err)
{
    const struct json_node *root, *t;

    if (json_parse(r->parser, text_of(text), &root, err) != OK ||
        json_member(root, "totals") == NULL)
        return error_set(err, ERR_MALFORMED, "`freshet offsets list --json` printed no totals");
    t = json_member(root, "totals");
    *totals = (struct demo_totals){
        .logged = logged_of(json_member(root, "partitions")),
        .applied = (double)json_int_or(json_member(t, "applied"), 0),
        .duplicates = (double)json_int_or(json_member(t, "duplicate"), 0),
        .late = (double)json_int_or(json_member(t, "late"), 0),
        .dropped = (double)json_int_or(json_member(t, "dropped"), 0),
        .erased = (double)json_int_or(json_member(t, "erased"), 0),
        .dead = (double)json_int_or(json_member(t, "dead"), 0),
    };
    return OK;
}

enum status demo_roles_totals(struct demo_roles *r, struct demo_totals *totals, struct error *err)
{
    static char tail[TAIL_BYTES];
    char config[PATH_BYTES], log_path[PATH_BYTES];
    const char *argv[] = {r->options.program,
                          "offsets",
                          "list",
                          "--quiet",
                          "--json",
                          "--config",
                          path_of(r, "freshet.yaml", config),
                          NULL};
    int64_t until_us = clock_monotonic_us() + START_MS * 1000;
    struct process list;
    enum status status;

    (void)unlink(path_of(r, "offsets.log", log_path));
    status = process_start(&list, "offsets", argv, log_path, err);
    while (status == OK && !process_ended(&list)) {
        if (clock_monotonic_us() > until_us)
            process_stop(&list, 0);
        (void)usleep(POLL_US);
    }
    if (status == OK && list.exit_code != 0) {
        print_log_end(&list);
        status = error_set(err, ERR_UNAVAILABLE, "`freshet offsets list` ended with exit code %d",
                           list.exit_code);
    }
    if (status != OK)
        return status;
    process_log_tail(&list, 1, tail, sizeof tail);
    return parse_totals(r, tail, totals, err);
}

int demo_roles_admin_port(const struct demo_roles *r, enum demo_role role)
{
    return r->roles[role].admin;
}

int demo_roles_listen_port(const struct demo_roles *r, enum demo_role role)
{
    return r->roles[role].listen;
}

int demo_roles_pid(const struct demo_roles *r, enum demo_role role)
{
    return (int)r->roles[role].process.pid;
}

const char *demo_roles_folder(const struct demo_roles *r)
{
    return r->folder;
}

const char *demo_roles_brokers(const struct demo_roles *r)
{
    return r->brokers;
}
