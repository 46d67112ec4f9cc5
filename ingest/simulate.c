/*
 * ingest/simulate.c - users with latent tastes, their lists and clicks, and a shift of taste.
 *
 * First a past: `--warmup` sessions with times before now, as fast as Kafka takes them, shown by a
 * policy that knows a little (features/world.h). Then the present: sessions at their rate, lists
 * asked from the scorer at the moment they are shown. Everything but the scorer's
 * answers is a function of the seed.
 */
#include "ingest/simulate.h"

#include "features/world.h"
#include "ingest/deliveries.h"
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
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_BYTES      (TRACE_TEXT_MAX + 64 * 1024)
#define VISITOR_S        20.0 /* a session lasts about half of it */
#define VISITORS_MAX     4096
#define LATE_MS          1000
#define PAST_END_MS      60000 /* the last visits of the past go on for less */
#define WAIT_MS          10
#define FLUSH_MS         30000
#define RESULT_BYTES     4096
#define WORLD_ROWS_SHOWN 10
#define PAST_VISIT_S     400.0 /* of each user in the past, on average */

METRIC_COUNTER(produced, "freshet_simulate_events_total", "events handed to Kafka or the file");
METRIC_COUNTER(delivered, "freshet_simulate_delivered_total", "events the broker acknowledged");
METRIC_COUNTER(undelivered, "freshet_simulate_undelivered_total", "events the broker never took");
METRIC_GAUGE(shifted, "freshet_simulate_shifted", "1 once the taste has shifted");
METRIC_GAUGE(warm, "freshet_simulate_warm", "1 once the past has been produced");

/* Sessions overlap: each visitor walks through one after the other, at a share of the rate. */
struct visitor {
    struct world_walk *walk;
    int64_t due_ms; /* of its next event */
};

struct simulation {
    struct command_line *line;
    const struct config *config;
    struct event_schema *schema;
    struct world_options world_options;
    double past_per_s; /* sessions */
    struct world *world;
    struct simulate_lists *lists;
    struct kafka_producer *producer;
    const char *topic;
    FILE *out; /* instead of Kafka */
    struct admin *admin;
    struct visitor *heap; /* (visitors_count), earliest due first */
    int visitors_count;
    struct world *live_world; /* the same world, walked by each visitor at a share of the rate */
    char *buffer;             /* (EVENT_BYTES) */
    struct error err;
};

/* ---- the heap of visitors ---- */

/* The first visitor's next event is another one: sinks it to its place. */
static void sink_first(struct simulation *s)
{
    struct visitor moved = s->heap[0];
    int i = 0;

    for (;;) {
        int child = 2 * i + 1;

        if (child >= s->visitors_count)
            break;
        if (child + 1 < s->visitors_count && s->heap[child + 1].due_ms < s->heap[child].due_ms)
            child++;
        if (s->heap[child].due_ms >= moved.due_ms)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = moved;
}

static int by_due(const void *a, const void *b)
{
    int64_t x = ((const struct visitor *)a)->due_ms;
    int64_t y = ((const struct visitor *)b)->due_ms;

    return (x > y) - (x < y);
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
    while (status == OK && !command_stopping() && world_walk_tally(walk).sessions < sessions) {
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
        progress_show(&progress, (double)world_walk_tally(walk).sessions / (double)(sessions + 1),
                      events);
    }
    progress_end(&progress, events);
    world_walk_destroy(walk);
    return status;
}

/* ---- the present ---- */

static enum status open_visitors(struct simulation *s, uint64_t seed)
{
    struct world_options options = s->world_options;
    double count = ceil(options.sessions_per_s * VISITOR_S);
    enum status status;

    s->visitors_count = count < 1 ? 1 : count > VISITORS_MAX ? VISITORS_MAX : (int)count;
    options.sessions_per_s /= s->visitors_count;
    status = world_create(&s->live_world, &options, &s->err);
    s->heap = calloc((size_t)s->visitors_count, sizeof s->heap[0]);
    if (status == OK && s->heap == NULL)
        status = error_set(&s->err, ERR_NOMEM, "no memory for %d visitors", s->visitors_count);
    for (int i = 0; i < s->visitors_count && status == OK; i++) {
        status = world_walk_create(&s->heap[i].walk, s->live_world, seed + (uint64_t)i,
                                   WORLD_ROWS_SHOWN, simulate_lists_choose, s->lists, &s->err);
        if (status != OK)
            break;
        world_walk_skip_to(s->heap[i].walk, clock_wall_ms());
        s->heap[i].due_ms = world_walk_due(s->heap[i].walk);
    }
    if (status == OK) /* a sorted array is a heap */
        qsort(s->heap, (size_t)s->visitors_count, sizeof s->heap[0], by_due);
    return status;
}

static void close_visitors(struct simulation *s)
{
    for (int i = 0; s->heap != NULL && i < s->visitors_count; i++)
        world_walk_destroy(s->heap[i].walk);
    free(s->heap);
    world_destroy(s->live_world);
}

static enum status step_first(struct simulation *s, int64_t now_ms)
{
    struct visitor *first = &s->heap[0];
    struct event event;
    char user[WORLD_NAME_BYTES];
    size_t bytes;
    enum status status = OK;

    /* After a stall of ours the world goes on from now; it does not catch up in a burst. */
    if (first->due_ms < now_ms - LATE_MS)
        world_walk_skip_to(first->walk, now_ms);
    world_walk_next(first->walk, &event);
    bytes = encode(s, &event);
    (void)snprintf(user, sizeof user, "%.*s", TEXT_ARGS(event.user));
    if (bytes > 0)
        status = send(s, user, s->buffer, bytes, event.time_ms);
    first->due_ms = world_walk_due(first->walk);
    sink_first(s);
    return status;
}

static enum status live(struct simulation *s, int64_t duration_ms, uint64_t seed)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};
    int64_t end_ms = clock_wall_ms() + duration_ms;
    enum status status = open_visitors(s, seed);

    while (status == OK && !command_stopping()) {
        int64_t now_ms = clock_wall_ms();
        int64_t wait_ms = s->heap[0].due_ms - now_ms;

        if (duration_ms > 0 && now_ms >= end_ms)
            break;
        metric_set(&shifted, now_ms >= s->world_options.shift_at_ms);
        if (s->producer != NULL)
            kafka_producer_poll(s->producer, 0);
        if (wait_ms > 0)
            (void)poll(&stop, 1, (int)(wait_ms < WAIT_MS ? wait_ms : WAIT_MS));
        else
            status = step_first(s, now_ms);
    }
    return status;
}

/* ---- the command ---- */

static void set_up_world(struct simulation *s, const struct command_line *line, int64_t warmup)
{
    struct world_options *o = &s->world_options;
    int64_t now_ms = command_given(line, "now") ? command_int(line, "now") : clock_wall_ms();

    world_options_init(o);
    o->seed = (uint64_t)command_int(line, "seed");
    o->users = (int)command_int(line, "users");
    o->items = (int)command_int(line, "items");
    o->sessions_per_s = command_real(line, "rate");
    /* The past had the time it needs, however busy the present is to be. */
    s->past_per_s = fmin(o->sessions_per_s, o->users / PAST_VISIT_S);
    o->begin_ms = now_ms - (int64_t)((double)warmup / s->past_per_s * 1000.0) - PAST_END_MS;
    o->shift_share = command_real(line, "shift-share");
    o->unlisted = command_real(line, "unlisted");
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
    if (event_schema_check_written(s->schema, &s->err) != OK)
        return s->err.status;
    kafka_producer_options_from(&options, s->config);
    options.delivered = on_delivered;
    s->topic = config_text(s->config, "kafka.topics.events");
    if (deliveries_check_topic(s->config, s->topic, &s->err) != OK)
        return s->err.status;
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

static enum status create_past_world(struct simulation *s)
{
    struct world_options past = s->world_options;

    past.sessions_per_s = s->past_per_s;
    return world_create(&s->world, &past, &s->err);
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

    s->buffer = malloc(EVENT_BYTES);
    if (s->buffer == NULL)
        return error_set(&s->err, ERR_NOMEM, "no memory for the simulation");
    status = hash_start(&s->err);
    if (status == OK)
        status = event_schema_create(&s->schema, s->config, &s->err);
    if (status == OK)
        status = create_past_world(s);
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
    close_visitors(s);
    kafka_producer_close(s->producer, 1000);
    if (s->out != NULL && s->out != stdout)
        (void)fclose(s->out);
    admin_close(s->admin);
    simulate_lists_destroy(s->lists);
    world_destroy(s->world);
    event_schema_destroy(s->schema);
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
    if (s->out != NULL)
        (void)fprintf(to, "%" PRIu64 " events written\n", metric_count(&produced));
    else
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

/* What the world would refuse, by the name that was typed. */
static const char *misused(const struct command_line *line)
{
    static const char *const shares[] = {"unlisted", "shift-share", "explore", "compare-share"};
    static char text[80];

    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double share = command_real(line, shares[i]);

        if (!(share >= 0 && share <= 1)) {
            (void)snprintf(text, sizeof text, "--%s is a share, 0 to 1, not %g", shares[i], share);
            return text;
        }
    }
    if (!(command_real(line, "rate") > 0))
        return "--rate is more than 0 sessions a second";
    if (command_int(line, "warmup") < 0)
        return "--warmup is 0 sessions or more";
    if (command_given(line, "now") && !command_flag(line, "past-only"))
        return "--now goes with --past-only: the present has a clock of its own";
    return NULL;
}

static int run_simulate(struct command_line *line)
{
    struct simulation *s = calloc(1, sizeof *s);
    int64_t warmup = command_int(line, "warmup");
    enum status status;
    int code;

    if (misused(line) != NULL) {
        free(s);
        return command_misused(line, "%s", misused(line));
    }
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
    {"now", OPTION_INT, "MS", NULL,
     "with --past-only: when the past ends, Unix milliseconds. With it the same seed writes the "
     "same "
     "bytes; default: the clock"},
    {"duration", OPTION_DURATION, "TIME", "0s", "live for so long; 0s: until stopped"},
    {"shift-after", OPTION_DURATION, "TIME", NULL, "shift the taste so long after the start"},
    {"shift-share", OPTION_REAL, "SHARE", "0.9", "share of the items that trade places then"},
    {"unlisted", OPTION_REAL, "SHARE", "0.5", "share of visits that choose without a shown list"},
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
    .help = "Users with latent tastes look at lists and click what they like; at a chosen "
            "moment the taste shifts. The truth is known, so the quality of the lists is "
            "measured exactly: NDCG against the best list of the whole catalogue.\n"
            "\n"
            "Examples:\n"
            "  freshet simulate --warmup 20000 --past-only --out events.jsonl\n"
            "  freshet simulate --warmup 2000 --past-only --now 1767225600000 --out same.jsonl\n"
            "  freshet simulate --config freshet.yaml --serve http://127.0.0.1:8080 \\\n"
            "          --rate 50 --shift-after 2m --duration 5m\n",
    .options = simulate_options,
    .run = run_simulate,
};
