/*
 * ingest/simulate.c - users with latent tastes, their lists and clicks, and a shift of taste.
 *
 * First a past: `--warmup` sessions with times before now, as fast as Kafka takes them, shown by a
 * policy that knows a little (features/world.h). Then the present: sessions at their rate, lists
 * asked from the scorer, each event sent when its time has come. Everything but the scorer's
 * answers is a function of the seed.
 */
#include "ingest/simulate.h"

#include "features/world.h"
#include "ingest/simulate_lists.h"
#include "ops/admin.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "ops/progress.h"
#include "schemas/event.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_BYTES      (TRACE_TEXT_MAX + 64 * 1024)
#define PENDING_MAX      200000
#define FLUSH_MS         30000
#define RESULT_BYTES     4096
#define WORLD_ROWS_SHOWN 10

METRIC_COUNTER(produced, "freshet_simulate_events_total", "events handed to Kafka or the file");
METRIC_COUNTER(delivered, "freshet_simulate_delivered_total", "events the broker acknowledged");
METRIC_COUNTER(undelivered, "freshet_simulate_undelivered_total", "events the broker never took");
METRIC_GAUGE(shifted, "freshet_simulate_shifted", "1 once the taste has shifted");
METRIC_GAUGE(warm, "freshet_simulate_warm", "1 once the past has been produced");

/* An event that waits for its time, encoded. */
struct pending {
    int64_t time_ms;
    uint64_t order; /* ties keep the order of the walk */
    char user[WORLD_NAME_BYTES];
    size_t bytes;
    char *json;
};

struct simulation {
    struct command_line *line;
    const struct config *config;
    struct event_schema *schema;
    struct world_options world_options;
    struct world *world;
    struct simulate_lists *lists;
    struct kafka_producer *producer;
    const char *topic;
    FILE *out; /* instead of Kafka */
    struct admin *admin;
    struct pending *heap; /* (PENDING_MAX), smallest time first */
    int heap_count;
    uint64_t order;
    char *buffer; /* (EVENT_BYTES) */
    struct error err;
};

/* ---- the heap of events that wait ---- */

static bool earlier(const struct pending *a, const struct pending *b)
{
    return a->time_ms != b->time_ms ? a->time_ms < b->time_ms : a->order < b->order;
}

static void heap_push(struct simulation *s, struct pending item)
{
    int i = s->heap_count++;

    while (i > 0 && earlier(&item, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = item;
}

static struct pending heap_pop(struct simulation *s)
{
    struct pending top = s->heap[0];
    struct pending last = s->heap[--s->heap_count];
    int i = 0;

    for (;;) {
        int child = 2 * i + 1;

        if (child >= s->heap_count)
            break;
        if (child + 1 < s->heap_count && earlier(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!earlier(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* ---- out ---- */

static void on_delivered(void *context, uint64_t opaque, enum status status, int32_t partition,
                         int64_t offset)
{
    (void)context;
    (void)opaque;
    (void)partition;
    (void)offset;
    metric_add(status == OK ? &delivered : &undelivered, 1);
}

static enum status send(struct simulation *s, const char *user, const char *json, size_t bytes,
                        int64_t time_ms)
{
    struct kafka_message message = {
        .topic = s->topic,
        .partition = KAFKA_PARTITION_ANY,
        .key = text_of(user),
        .value = {json, bytes},
        .timestamp_ms = time_ms,
    };
    enum status status;

    metric_add(&produced, 1);
    if (s->out != NULL) {
        if (fwrite(json, 1, bytes, s->out) != bytes || fputc('\n', s->out) == EOF)
            return error_set(&s->err, ERR_IO, "could not write events: %s", strerror(errno));
        return OK;
    }
    do {
        status = kafka_produce(s->producer, &message, &s->err);
        if (status == ERR_FULL)
            kafka_producer_poll(s->producer, 10);
    } while (status == ERR_FULL && !command_stopping());
    return status;
}

static size_t encode(struct simulation *s, const struct event *event)
{
    return event_encode(s->schema, event, s->buffer, EVENT_BYTES);
}

/* ---- the past ---- */

static enum status produce_past(struct simulation *s, int64_t sessions, uint64_t seed)
{
    struct world_walk *walk = NULL;
    struct progress progress;
    uint64_t events = 0;
    enum status status = world_walk_create(&walk, s->world, seed, WORLD_ROWS_SHOWN, NULL, NULL,
                                           &s->err);

    if (status != OK)
        return status;
    progress_begin(&progress, "producing the past", "events");
    while (status == OK && !command_stopping() && world_walk_tally(walk).impressions < sessions) {
        struct event event;
        size_t bytes;

        world_walk_next(walk, &event);
        bytes = encode(s, &event);
        if (bytes > 0) {
            char user[WORLD_NAME_BYTES];

            (void)snprintf(user, sizeof user, "%.*s", TEXT_ARGS(event.user));
            status = send(s, user, s->buffer, bytes, event.time_ms);
        }
        if (++events % 256 == 0 && s->producer != NULL)
            kafka_producer_poll(s->producer, 0);
        progress_show(&progress,
                      (double)world_walk_tally(walk).impressions / (double)(sessions + 1), events);
    }
    progress_end(&progress, events);
    world_walk_destroy(walk);
    return status;
}

/* ---- the present ---- */

static enum status hold(struct simulation *s, const struct event *event)
{
    struct pending item = {.time_ms = event->time_ms, .order = s->order++};

    item.bytes = encode(s, event);
    if (item.bytes == 0)
        return OK;
    if (s->heap_count == PENDING_MAX)
        return error_set(&s->err, ERR_LIMIT, "%d events wait for their time: lower --rate",
                         PENDING_MAX);
    (void)snprintf(item.user, sizeof item.user, "%.*s", TEXT_ARGS(event->user));
    item.json = malloc(item.bytes);
    if (item.json == NULL)
        return error_set(&s->err, ERR_NOMEM, "no memory for events");
    memcpy(item.json, s->buffer, item.bytes);
    heap_push(s, item);
    return OK;
}

static enum status send_due(struct simulation *s, int64_t now_ms)
{
    enum status status = OK;

    while (status == OK && s->heap_count > 0 && s->heap[0].time_ms <= now_ms) {
        struct pending item = heap_pop(s);

        status = send(s, item.user, item.json, item.bytes, item.time_ms);
        free(item.json);
    }
    if (s->producer != NULL)
        kafka_producer_poll(s->producer, 0);
    return status;
}

/* The walk runs one event ahead of the clock: its next event tells when the next session is. */
static enum status live(struct simulation *s, int64_t duration_ms, uint64_t seed)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};
    struct world_walk *walk = NULL;
    int64_t end_ms = clock_wall_ms() + duration_ms;
    enum status status = world_walk_create(&walk, s->world, seed, WORLD_ROWS_SHOWN,
                                           simulate_lists_choose, s->lists, &s->err);

    if (status != OK)
        return status;
    world_walk_skip_to(walk, clock_wall_ms());
    while (status == OK && !command_stopping()) {
        struct event event;
        int64_t now_ms = clock_wall_ms();

        if (duration_ms > 0 && now_ms >= end_ms)
            break;
        world_walk_next(walk, &event);
        /* After a stall of ours the world goes on from now; it does not catch up in a burst. */
        if (event.kind == EVENT_IMPRESSION && event.time_ms < now_ms - 1000)
            world_walk_skip_to(walk, now_ms);
        status = hold(s, &event);
        while (status == OK && !command_stopping()) {
            now_ms = clock_wall_ms();
            status = send_due(s, now_ms);
            if (event.kind != EVENT_IMPRESSION || event.time_ms <= now_ms)
                break;
            (void)poll(&stop, 1, (int)(event.time_ms - now_ms < 10 ? event.time_ms - now_ms : 10));
        }
        metric_set(&shifted, now_ms >= s->world_options.shift_at_ms);
    }
    if (status == OK)
        status = send_due(s, INT64_MAX); /* what was clicked in the last lists still counts */
    world_walk_destroy(walk);
    return status;
}

/* ---- the command ---- */

static void set_up_world(struct simulation *s, const struct command_line *line, int64_t warmup)
{
    struct world_options *o = &s->world_options;
    int64_t now_ms = clock_wall_ms();

    world_options_init(o);
    o->seed = (uint64_t)command_int(line, "seed");
    o->users = (int)command_int(line, "users");
    o->items = (int)command_int(line, "items");
    o->sessions_per_s = command_real(line, "rate");
    o->begin_ms = now_ms - (int64_t)((double)warmup / o->sessions_per_s * 1000.0) - 1000;
    o->shift_share = command_real(line, "shift-share");
    o->intent_ms = command_duration_ms(line, "intent");
    if (command_given(line, "shift-after"))
        o->shift_at_ms = now_ms + command_duration_ms(line, "shift-after");
}

static enum status open_out(struct simulation *s, const struct command_line *line)
{
    const char *path = command_text(line, "out");
    struct kafka_producer_options options = {0};

    if (path != NULL) {
        s->out = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
        return s->out != NULL
                   ? OK
                   : error_set(&s->err, ERR_IO, "could not open \"%s\": %s", path, strerror(errno));
    }
    kafka_producer_options_from(&options, s->config);
    options.delivered = on_delivered;
    s->topic = config_text(s->config, "kafka.topics.events");
    return kafka_producer_open(&s->producer, &options, &s->err);
}

static enum status open_admin(struct simulation *s, const struct command_line *line)
{
    const char *ports_file = command_text(line, "ports-file");
    const char *listen = command_text(line, "admin");
    char text[64];
    int bytes;
    enum status status;

    if (listen == NULL)
        return OK;
    status = admin_open(&s->admin, "simulate", listen, NULL, NULL, &s->err);
    if (status != OK || ports_file == NULL)
        return status;
    admin_set_ready(s->admin, true, "");
    bytes = snprintf(text, sizeof text, "{\"admin\":%d}\n", admin_port(s->admin));
    return file_replace(ports_file, text, (size_t)bytes, &s->err);
}

static enum status open_all(struct simulation *s, struct command_line *line)
{
    struct simulate_lists_options lists = {
        .serve_url = command_text(line, "serve"),
        .compare_url = command_text(line, "compare"),
        .explore = command_real(line, "explore"),
        .compare = command_real(line, "compare-share"),
        .items = s->world_options.items,
        .seed = s->world_options.seed + 17,
    };
    enum status status;

    s->heap = malloc(PENDING_MAX * sizeof s->heap[0]);
    s->buffer = malloc(EVENT_BYTES);
    if (s->heap == NULL || s->buffer == NULL)
        return error_set(&s->err, ERR_NOMEM, "no memory for the simulation");
    status = hash_start(&s->err);
    if (status == OK)
        status = event_schema_create(&s->schema, s->config, &s->err);
    if (status == OK)
        status = world_create(&s->world, &s->world_options, &s->err);
    if (status == OK)
        status = simulate_lists_create(&s->lists, &lists, &s->err);
    if (status == OK)
        status = open_out(s, line);
    if (status == OK)
        status = open_admin(s, line);
    return status;
}

static void close_all(struct simulation *s)
{
    while (s->heap_count > 0)
        free(heap_pop(s).json);
    kafka_producer_close(s->producer, 1000);
    if (s->out != NULL && s->out != stdout)
        (void)fclose(s->out);
    admin_close(s->admin);
    simulate_lists_destroy(s->lists);
    world_destroy(s->world);
    event_schema_destroy(s->schema);
    free(s->heap);
    free(s->buffer);
}

static void print_json(const struct simulation *s)
{
    char text[RESULT_BYTES];
    struct json_writer w;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_int(&w, "produced", (int64_t)metric_count(&produced));
    json_int(&w, "delivered", (int64_t)metric_count(&delivered));
    json_int(&w, "undelivered", (int64_t)metric_count(&undelivered));
    json_int(&w, "failed_requests", (int64_t)simulate_lists_failed(s->lists));
    json_key(&w, "lists");
    json_object_begin(&w);
    for (int i = 0; i < LIST_SOURCES; i++) {
        struct list_quality q = simulate_lists_quality(s->lists, (enum list_source)i);

        json_key(&w, list_source_names[i]);
        json_object_begin(&w);
        json_int(&w, "count", (int64_t)q.count);
        json_real(&w, "ndcg", q.count == 0 ? 0 : q.ndcg_sum / (double)q.count);
        json_real(&w, "ndcg_recent", q.ndcg_recent);
        json_object_end(&w);
    }
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static void print_result(const struct simulation *s)
{
    FILE *to = s->out == stdout ? stderr : stdout;

    if (command_json(s->line)) {
        print_json(s);
        return;
    }
    (void)fprintf(to, "%" PRIu64 " events produced, %" PRIu64 " acknowledged\n",
                  metric_count(&produced), metric_count(&delivered));
    for (int i = 0; i < LIST_SOURCES; i++) {
        struct list_quality q = simulate_lists_quality(s->lists, (enum list_source)i);

        if (q.count > 0)
            (void)fprintf(to, "  %-10s %8" PRIu64 " lists, NDCG %.3f, of late %.3f\n",
                          list_source_names[i], q.count, q.ndcg_sum / (double)q.count,
                          q.ndcg_recent);
    }
}

static enum status run_all(struct simulation *s, const struct command_line *line, int64_t warmup)
{
    int64_t duration_ms = command_duration_ms(line, "duration");
    enum status status = produce_past(s, warmup, s->world_options.seed + 1);

    metric_set(&warm, 1);
    log_event(LOG_INFO, "warm", "the past is produced",
              log_int("events", (int64_t)metric_count(&produced)));
    if (status == OK && !command_flag(line, "past-only"))
        status = live(s, duration_ms, s->world_options.seed + 2);
    if (s->producer != NULL) {
        struct error late;

        if (kafka_producer_flush(s->producer, FLUSH_MS, &late) != OK && status == OK) {
            s->err = late;
            status = late.status;
        }
    }
    return status;
}

static int run_simulate(struct command_line *line)
{
    struct simulation *s = calloc(1, sizeof *s);
    int64_t warmup = command_int(line, "warmup");
    enum status status;
    int code;

    if (s == NULL)
        return EXIT_BUG;
    s->line = line;
    s->config = command_config(line);
    if (s->config == NULL) {
        free(s);
        return EXIT_USAGE;
    }
    set_up_world(s, line, warmup);
    status = open_all(s, line);
    if (status == OK)
        status = run_all(s, line, warmup);
    if (status == OK)
        print_result(s);
    code = status == OK ? EXIT_DONE : command_fail(line, &s->err);
    close_all(s);
    free(s);
    return code;
}

static const struct option_row simulate_options[] = {
    {"seed", OPTION_INT, "N", "1", "seed of the world and of everybody in it"},
    {"users", OPTION_INT, "N", "2000", "users"},
    {"items", OPTION_INT, "N", "1000", "items in the catalogue"},
    {"rate", OPTION_REAL, "SESSIONS/S", "20", "sessions a second, of all users together"},
    {"warmup", OPTION_INT, "SESSIONS", "0", "sessions of the past to produce first, at full speed"},
    {"past-only", OPTION_FLAG, NULL, NULL, "stop after the past"},
    {"duration", OPTION_DURATION, "TIME", "0s", "live for so long; 0s: until stopped"},
    {"shift-after", OPTION_DURATION, "TIME", NULL, "shift the taste so long after the start"},
    {"shift-share", OPTION_REAL, "SHARE", "0.9", "share of the items that trade places then"},
    {"intent", OPTION_DURATION, "TIME", "10m", "how long a user is after one category"},
    {"serve", OPTION_TEXT, "URL", NULL, "ask this scorer for the lists that are shown"},
    {"explore", OPTION_REAL, "SHARE", "0.1", "share of lists drawn at random"},
    {"compare", OPTION_TEXT, "URL", NULL, "ask this scorer too; measured, never shown"},
    {"compare-share", OPTION_REAL, "SHARE", "0.3", "share of sessions it is asked for"},
    {"out", OPTION_TEXT, "FILE", NULL,
     "write JSON lines there (- for standard output), not to Kafka"},
    {"admin", OPTION_TEXT, "ADDRESS", NULL, "serve /metrics there, as the roles do"},
    {"ports-file", OPTION_TEXT, "PATH", NULL, "write the port in use there, as JSON"},
    {0},
};

const struct command simulate_command = {
    .name = "simulate",
    .summary = "synthetic users with known tastes, into Kafka or a file",
    .arguments = "",
    .help = "Users with latent tastes look at lists and click what they like; at a chosen\n"
            "moment the taste shifts. The truth is known, so the quality of the lists is\n"
            "measured exactly: NDCG against the best list of the whole catalogue.\n"
            "\n"
            "Examples:\n"
            "  freshet simulate --warmup 20000 --past-only --out events.jsonl\n"
            "  freshet simulate --config freshet.yaml --serve http://127.0.0.1:8080 \\\n"
            "          --rate 50 --shift-after 2m --duration 5m\n",
    .options = simulate_options,
    .run = run_simulate,
};
