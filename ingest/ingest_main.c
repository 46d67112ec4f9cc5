/*
 * ingest/ingest_main.c - `freshet ingest`: opens what it needs, runs the loop, says how it ended.
 *
 * Redis or Kafka being down is no reason to exit: the process starts, says on /readyz what it waits
 * for, and goes on when it is there. A server that cannot carry the protocol, or a data set that
 * was made with other settings, is: nothing that waits would mend it.
 */
#include "ingest/ingest_main.h"

#include "features/redis_dataset.h"
#include "ingest/dry_run.h"
#include "ingest/first_start.h"
#include "ingest/ingest_config.h"
#include "ingest/loop.h"
#include "ingest/lost_state.h"
#include "ingest/simulate.h"
#include "ops/admin.h"
#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/log.h"
#include "schemas/event_file.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_WAIT_MS 2000
#define KAFKA_WAIT_MS 2000
#define WAIT_FIRST_MS 200
#define WAIT_MAX_MS   10000
#define LOG_EVERY_MS  30000
#define RESULT_BYTES  4096
#define PORTS_BYTES   128

static const struct option_row options[] = {
    {"dry-run", OPTION_TEXT, "FILE|TOPIC", NULL,
     "say what would be applied and what rejected, with examples; writes nothing"},
    {"format", OPTION_CHOICE, EVENT_FILE_FORM_CHOICES, "detect", "of a dry run's file"},
    {"limit", OPTION_INT, "N", "0", "stop a dry run after N records; 0: at the end"},
    {"rebuild", OPTION_FLAG, NULL, NULL,
     "Redis has lost its state: begin at the start of the log, whatever the group has read"},
    {"until-end", OPTION_FLAG, NULL, NULL, "end once everything in the log is applied"},
    {"ports-file", OPTION_TEXT, "PATH", NULL, "write the admin port there, as JSON"},
    {0},
};

struct ingest {
    struct command_line *line;
    const struct config *config;
    struct event_schema *schema;
    struct redis_target target;
    struct redis_keys keys;
    struct redis_connection *connection;
    struct redis_dataset dataset;
    struct admin *admin;
    struct loop *loop;
    int64_t begun_us;
};

/* Sleeps, but wakes at once when asked to stop; false then. */
static bool pause_for(int64_t wait_ms)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};

    (void)poll(&stop, 1, (int)wait_ms);
    return !command_stopping();
}

static enum status check_never_read(void *context, struct error *err)
{
    const struct ingest *in = context;

    return lost_state_check(in->config, in->keys.ns, KAFKA_WAIT_MS, err);
}

static enum status ask_partitions(void *context, int *partitions, struct error *err)
{
    const struct ingest *in = context;
    struct kafka_consumer_options kafka = {0};
    enum status status;

    kafka_consumer_options_from(&kafka, in->config, "kafka.topics.examples");
    status = kafka_topic_partitions_as(&kafka, KAFKA_WAIT_MS, partitions, err);
    if (status == ERR_NOT_FOUND)
        return error_set(err, ERR_UNAVAILABLE, "topic \"%s\" does not exist yet: create it",
                         kafka.topic);
    return status;
}

static enum status try_dataset(struct ingest *in, struct error *err)
{
    struct first_start how = {
        .connection = in->connection,
        .keys = &in->keys,
        .timeout_ms = REDIS_WAIT_MS,
        .rebuild = command_flag(in->line, "rebuild"),
        .partitions_given = config_given(in->config, "dataset.examples_partitions"),
        .never_read = check_never_read,
        .ask_partitions = ask_partitions,
        .context = in,
    };
    struct redis_dataset wanted;
    enum status status = ingest_wanted_dataset(&wanted, in->config, in->schema, err);

    if (status == OK)
        status = redis_dataset_check_server(&in->target, &in->keys, REDIS_WAIT_MS, err);
    if (status == OK)
        status = first_start(&in->dataset, &how, &wanted, err);
    return status;
}

/* Waits for Redis and Kafka as long as it takes; what no waiting mends is returned. */
static enum status open_dataset(struct ingest *in, struct error *err)
{
    struct log_limit limit = {0};
    int64_t wait_ms = WAIT_FIRST_MS;
    enum status status;

    for (;;) {
        status = try_dataset(in, err);
        if (!DEFENCE(WAIT_FOR_SERVERS) || (status != ERR_UNAVAILABLE && status != ERR_TIMEOUT))
            return status;
        admin_set_ready(in->admin, false, err->text);
        if (log_every(&limit, LOG_EVERY_MS))
            log_event(LOG_WARN, "waiting", err->text);
        if (!pause_for(wait_ms))
            return error_set(err, ERR_CANCELLED, "interrupted while waiting");
        wait_ms = wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : wait_ms * 2;
    }
}

static enum status write_ports(const struct ingest *in, struct error *err)
{
    const char *path = command_text(in->line, "ports-file");
    char text[PORTS_BYTES];
    int bytes = snprintf(text, sizeof text, "{\"admin\":%d}\n", admin_port(in->admin));

    return path == NULL ? OK : file_replace(path, text, (size_t)bytes, err);
}

static void set_ready(void *context, bool ready, const char *reason)
{
    admin_set_ready(context, ready, reason);
}

static enum status open_all(struct ingest *in, struct error *err)
{
    struct loop_options loop;
    enum status status = hash_start(err);

    if (status == OK)
        status = ingest_config_check(in->config, err);
    if (status == OK)
        status = event_schema_create(&in->schema, in->config, err);
    if (status == OK)
        status = redis_keys_init(&in->keys, config_text(in->config, "dataset.namespace"), err);
    if (status == OK)
        status = redis_target_from(&in->target, in->config, err);
    if (status == OK)
        status = admin_open(&in->admin, "ingest", config_text(in->config, "ingest.admin"), NULL,
                            NULL, err);
    if (status == OK)
        status = write_ports(in, err);
    if (status == OK)
        status = redis_connection_create(&in->connection, &in->target, NULL, "freshet-ingest", err);
    if (status == OK)
        status = open_dataset(in, err);
    if (status != OK)
        return status;
    redis_connection_destroy(in->connection);
    in->connection = NULL;
    loop = (struct loop_options){
        .config = in->config,
        .target = &in->target,
        .keys = &in->keys,
        .dataset = &in->dataset,
        .schema = in->schema,
        .set_ready = set_ready,
        .context = in->admin,
        .stopping = command_stopping,
        .stop_descriptor = command_stop_descriptor(),
        .rebuild = command_flag(in->line, "rebuild"),
        .until_end = command_flag(in->line, "until-end"),
        .drain_ms = config_duration_ms(in->config, "ingest.drain"),
    };
    return loop_open(&in->loop, &loop, err);
}

static void close_all(struct ingest *in)
{
    loop_close(in->loop);
    redis_connection_destroy(in->connection);
    redis_dataset_clear(&in->dataset);
    admin_close(in->admin);
    event_schema_destroy(in->schema);
    explicit_bzero(&in->target, sizeof in->target);
}

static void print_result(const struct ingest *in)
{
    const struct machine_stats *stats = loop_stats(in->loop);
    double seconds = (double)(clock_monotonic_us() - in->begun_us) / 1e6;
    char text[RESULT_BYTES];
    struct json_writer w;

    if (!command_json(in->line))
        return;
    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_int(&w, "records", (int64_t)stats->records);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        json_int(&w, outcome_names[i], (int64_t)stats->outcomes[i]);
    json_int(&w, "commits", (int64_t)stats->commits);
    json_int(&w, "fenced", (int64_t)stats->fenced);
    json_int(&w, "rewinds", (int64_t)stats->behind);
    json_text(&w, "stopped", text_of(loop_stopped(in->loop)));
    json_real(&w, "seconds", seconds);
    json_real(&w, "busy_seconds", loop_busy_seconds(in->loop));
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static int run_ingest(struct command_line *line)
{
    struct ingest in = {.line = line, .config = command_config(line)};
    struct error err;
    enum status status;
    int code;

    if (in.config == NULL)
        return EXIT_USAGE;
    if (command_given(line, "dry-run") &&
        (command_flag(line, "rebuild") || command_flag(line, "until-end")))
        return command_misused(line, "--dry-run writes nothing: without --rebuild and --until-end");
    if (command_int(line, "limit") < 0)
        return command_misused(line, "--limit is at least 0");
    if (command_given(line, "dry-run"))
        return dry_run(line, in.config);
    if (command_given(line, "format") || command_given(line, "limit"))
        return command_misused(line, "--format and --limit are of --dry-run");
    in.begun_us = clock_monotonic_us();
    status = open_all(&in, &err);
    if (status == OK)
        status = loop_run(in.loop, &err);
    if (in.loop != NULL)
        print_result(&in);
    if (status == ERR_CANCELLED)
        code = EXIT_DONE; /* asked to stop before anything was there to drain */
    else if (status != OK)
        code = command_fail(line, &err);
    else
        code = loop_stopped(in.loop)[0] == '\0' ? EXIT_DONE : EXIT_NO;
    close_all(&in);
    return code;
}

const struct command ingest_command = {
    .name = "ingest",
    .summary = "apply events from Kafka to user state in Redis, exactly once in effect",
    .arguments = "",
    .help = "Reads the events topic as a member of the consumer group, keeps every user's state in "
            "Redis, sends examples to the trainer and unusable records to the dead letters.\n"
            "\n"
            "Start as many as there are partitions; SIGTERM drains and ends. Exit code 75 says "
            "that another instance with the same kafka.instance_id has taken over.\n"
            "\n"
            "Examples:\n"
            "  freshet ingest --config freshet.yaml\n"
            "  freshet ingest --dry-run yesterday.jsonl\n"
            "  freshet ingest --dry-run events --limit 100000 --json    (a topic: Avro, too)\n",
    .options = options,
    .run = run_ingest,
};

const struct command *const ingest_commands[] = {
    &ingest_command,       &replay_command,        &simulate_command, &offsets_list_command,
    &offsets_diff_command, &offsets_reset_command, &dlq_list_command, &dlq_show_command,
    &dlq_replay_command,   &verify_command,        &erase_command,    NULL,
};
