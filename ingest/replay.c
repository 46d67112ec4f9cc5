/*
 * ingest/replay.c - `freshet replay FILE`: a file's events into Kafka, in order per user.
 *
 * Flow: file -> [event a line -> default form, key = user] -> Kafka `events`
 *
 * The idempotent producer keeps the order within a partition, and the key keeps a user in one.
 * Records carry the time at which they are produced; the events keep their own. Where a company's
 * own mapping is configured, lines of JSON go as they stand, since ingest reads them by it.
 */
#include "ingest/deliveries.h"
#include "ingest/ingest_main.h"
#include "ops/clock.h"
#include "ops/json_writer.h"
#include "ops/kafka_producer.h"
#include "ops/progress.h"
#include "schemas/event_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_MS    60000
#define FULL_MS     50
#define POLL_EVERY  256
#define PACE_US     2000
#define RESULT_ROOM 2048

struct replay {
    struct command_line *line;
    const struct config *config;
    const char *topic;
    struct event_schema *schema;
    struct event_file *file;
    struct kafka_producer *producer;
    struct progress progress;
    char *value; /* (EVENT_BYTES_MAX) */
    bool raw;    /* lines go as they stand */
    int64_t from, limit;
    double speed; /* events a second; 0: as fast as Kafka takes them */
    int64_t begun_us;
    struct deliveries deliveries;
    int64_t sent, skipped, refusals[REFUSAL_COUNT];
};

/* Is some part of the mapping not the default? */
static bool mapped(const struct config *config)
{
    static const char *const keys[] = {"events.mapping.user", "events.mapping.item",
                                       "events.mapping.time.path", "events.mapping.time.unit",
                                       "events.mapping.action.path"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (config_given(config, keys[i]))
            return true;
    return false;
}

static void keep_pace(struct replay *r)
{
    int64_t due_us;

    if (r->speed <= 0)
        return;
    due_us = r->begun_us + (int64_t)((double)r->sent / r->speed * 1e6);
    while (clock_monotonic_us() < due_us && !command_stopping()) {
        int64_t wait_us = due_us - clock_monotonic_us();

        kafka_producer_poll(r->producer, 0);
        if (wait_us > 0)
            clock_sleep_us(wait_us < PACE_US ? wait_us : PACE_US);
    }
}

static enum status send_event(struct replay *r, const struct event *event, struct error *err)
{
    struct kafka_message message = {
        .topic = r->topic, .partition = KAFKA_PARTITION_ANY, .key = event->user};
    enum status status;

    if (r->raw)
        message.value = event_file_text(r->file);
    else
        message.value = (struct text){r->value,
                                      event_encode(r->schema, event, r->value, EVENT_BYTES_MAX)};
    if (message.value.bytes == 0)
        return error_set(err, ERR_LIMIT, "line %" PRIu64 " is too large for an event",
                         event_file_line(r->file));
    keep_pace(r);
    status = kafka_produce(r->producer, &message, err);
    while (status == ERR_FULL && !command_stopping()) {
        kafka_producer_poll(r->producer, FULL_MS);
        status = kafka_produce(r->producer, &message, err);
    }
    if (status == OK && ++r->sent % POLL_EVERY == 0)
        kafka_producer_poll(r->producer, 0);
    return status;
}

static enum status run(struct replay *r, struct error *err)
{
    enum status status = OK;
    bool more = true;

    r->begun_us = clock_monotonic_us();
    while (status == OK && !command_stopping() && (r->limit == 0 || r->sent < r->limit)) {
        enum refusal why = REFUSAL_NONE;
        struct event event;

        status = event_file_next(r->file, &event, &more, &why, err);
        if (status != OK && why != REFUSAL_NONE) {
            r->refusals[why]++;
            status = OK;
            continue;
        }
        if (status != OK || !more)
            break;
        if ((int64_t)event_file_line(r->file) < r->from) {
            r->skipped++;
            continue;
        }
        status = send_event(r, &event, err);
        progress_show(&r->progress, event_file_fraction(r->file), (uint64_t)r->sent);
    }
    return status == ERR_FULL ? OK : status; /* full because we were told to stop */
}

static enum status open_all(struct replay *r, struct error *err)
{
    struct event_file_options file = {.form = event_file_form_of(command_text(r->line, "format")),
                                      .map = command_text(r->line, "map"),
                                      .unit = command_text(r->line, "unit"),
                                      .action = command_text(r->line, "action")};
    struct kafka_producer_options producer = {0};
    enum status status = event_schema_create(&r->schema, r->config, err);

    r->value = malloc(EVENT_BYTES_MAX);
    if (r->value == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a replay");
    if (status == OK)
        status = event_schema_check_written(r->schema, err);
    if (status == OK)
        status = event_file_open(&r->file, command_argument(r->line, 0), r->schema, &file, err);
    if (status != OK)
        return status;
    r->raw = mapped(r->config);
    if (r->raw && event_file_form(r->file) != EVENT_FILE_JSONL)
        return error_set(err, ERR_CONFIG,
                         "events.mapping is configured, so ingest would not understand what a %s "
                         "file is turned into: replay it with a configuration without it",
                         event_file_form_names[event_file_form(r->file)]);
    status = deliveries_check_topic(r->config, r->topic, err);
    if (status != OK)
        return status;
    kafka_producer_options_from(&producer, r->config);
    producer.delivered = deliveries_count;
    producer.context = &r->deliveries;
    return kafka_producer_open(&r->producer, &producer, err);
}

static int64_t refused_lines(const struct replay *r)
{
    int64_t refused = 0;

    for (int i = 0; i < REFUSAL_COUNT; i++)
        refused += r->refusals[i];
    return refused;
}

static void print_result(const struct replay *r)
{
    double seconds = (double)(clock_monotonic_us() - r->begun_us) / 1e6;
    int64_t refused = refused_lines(r);
    char text[RESULT_ROOM];
    struct json_writer w;

    if (!command_json(r->line)) {
        (void)printf("%" PRId64 " events delivered to \"%s\" in %.1f s, %" PRId64
                     " not delivered, %" PRId64 " lines refused; the last line was %" PRIu64 "\n",
                     r->deliveries.delivered, r->topic, seconds, r->deliveries.failed, refused,
                     event_file_line(r->file));
        for (int i = 1; i < REFUSAL_COUNT; i++)
            if (r->refusals[i] > 0)
                (void)printf("  %-16s %10" PRId64 "  %s\n", refusal_names[i], r->refusals[i],
                             refusal_text((enum refusal)i));
        return;
    }
    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_int(&w, "delivered", r->deliveries.delivered);
    json_int(&w, "failed", r->deliveries.failed);
    json_int(&w, "skipped", r->skipped);
    json_int(&w, "refused", refused);
    json_int(&w, "line", (int64_t)event_file_line(r->file));
    json_real(&w, "seconds", seconds);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static bool read_speed(struct replay *r)
{
    const char *text = command_text(r->line, "speed");
    char *end;

    if (strcmp(text, "max") == 0)
        return true;
    r->speed = strtod(text, &end);
    return end != text && (*end == '\0' || strcmp(end, "/s") == 0) && r->speed > 0;
}

static int run_replay(struct command_line *line)
{
    struct replay r = {.line = line, .config = command_config(line)};
    struct error err;
    enum status status;
    int code;

    if (r.config == NULL)
        return EXIT_USAGE;
    if (!read_speed(&r))
        return command_misused(line, "--speed takes events a second, like 5000/s, or max");
    r.from = command_int(line, "from");
    r.limit = command_int(line, "limit");
    if (r.from < 0 || r.limit < 0)
        return command_misused(line, "--from and --limit are at least 0");
    r.topic = command_given(line, "topic") ? command_text(line, "topic")
                                           : config_text(r.config, "kafka.topics.events");
    status = open_all(&r, &err);
    if (status == OK) {
        progress_begin(&r.progress, "replaying", "events");
        status = run(&r, &err);
        if (status == OK)
            status = kafka_producer_flush(r.producer, FLUSH_MS, &err);
        progress_finish(&r.progress, status == OK && r.deliveries.failed == 0, (uint64_t)r.sent);
        print_result(&r);
    }
    if (status == OK && r.deliveries.failed > 0)
        status = error_set(&err, ERR_UNAVAILABLE, "%" PRId64 " events were not delivered",
                           r.deliveries.failed);
    if (status == OK && r.deliveries.delivered == 0 && refused_lines(&r) > 0)
        status = error_set(&err, ERR_MALFORMED,
                           "no line of %s is an event: see `freshet ingest "
                           "--dry-run`",
                           command_argument(line, 0));
    code = status == OK ? EXIT_DONE : command_fail(line, &err);
    kafka_producer_close(r.producer, 0);
    event_file_close(r.file);
    event_schema_destroy(r.schema);
    free(r.value);
    return code;
}

static const struct option_row replay_options[] = {
    {"speed", OPTION_TEXT, "N/s|max", "max", "events a second"},
    {"format", OPTION_CHOICE, EVENT_FILE_FORM_CHOICES, "detect", "of the file"},
    {"map", OPTION_TEXT, "NAMES", NULL, "csv: your column names, like ts=timestamp,user=userId"},
    {"unit", OPTION_TEXT, "UNIT", NULL, "csv: unit of times: s (default), ms, us or iso"},
    {"action", OPTION_TEXT, "NAME", NULL, "of lines that name none"},
    {"from", OPTION_INT, "LINE", "0", "begin at this line: goes on where a replay was stopped"},
    {"limit", OPTION_INT, "N", "0", "stop after N events; 0: at the end"},
    {"topic", OPTION_TEXT, "TOPIC", NULL, "another topic than kafka.topics.events"},
    {0},
};

const struct command replay_command = {
    .name = "replay",
    .summary = "produce a file's events into Kafka, in order per user",
    .arguments = "FILE",
    .help = "Reads JSON lines, CSV (columns ts, user, item, and if there are action, request_id, "
            "rating) or pairs of user and item, plain or gzip.\n"
            "\n"
            "Examples:\n"
            "  freshet replay clicks.jsonl.gz --speed 5000/s\n"
            "  freshet replay clicks.csv --map ts=timestamp,user=userId,item=sku --unit ms\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = replay_options,
    .run = run_replay,
};
