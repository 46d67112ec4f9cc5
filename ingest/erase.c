/*
 * ingest/erase.c - `freshet erase USER`: writes the record that makes ingest forget a user.
 *
 * The record is an event like any other: ordered, durable, replayed. That is why erasing is not a
 * DEL in Redis: a replay of the topic would bring the user back.
 *
 * Redis is only looked at, for --dry-run and for the warning that nobody knows such a user: an id
 * that was mistyped erases somebody else, or nobody. A Redis that is away hinders no erasure.
 */
#include "features/redis_dataset.h"
#include "features/redis_nodes.h"
#include "features/user_print.h"
#include "ingest/ingest_main.h"
#include "ops/arena.h"
#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"
#include "schemas/event.h"
#include "schemas/user_value.h"

#include <stdio.h>
#include <string.h>

#define EVENT_ROOM  4096
#define DELIVERY_MS 10000
#define ASK_MS      5000
#define ARENA_BLOCK ((size_t)64 * 1024)
#define ARENA_LIMIT ((size_t)16 * 1024 * 1024)

struct outcome_of {
    enum status status;
    int32_t partition;
    int64_t offset;
};

static void delivered(void *context, uint64_t opaque, enum status status, int32_t partition,
                      int64_t offset)
{
    struct outcome_of *outcome = context;

    (void)opaque;
    *outcome = (struct outcome_of){status, partition, offset};
}

static enum status produce(const struct config *config, struct text user, struct text value,
                           struct outcome_of *outcome, struct error *err)
{
    struct kafka_producer_options options = {0};
    struct kafka_message message = {.topic = config_text(config, "kafka.topics.events"),
                                    .partition = KAFKA_PARTITION_ANY,
                                    .key = user,
                                    .value = value};
    struct kafka_consumer_options topic = {0};
    struct kafka_producer *producer;
    enum status status;
    int partitions;

    kafka_producer_options_from(&options, config);
    options.delivered = delivered;
    options.context = outcome;
    options.delivery_timeout_ms = DELIVERY_MS; /* somebody sits and waits */
    /* Asked first: a producer waits for brokers that are away without a word. */
    (void)fprintf(stderr, "asking Kafka at %s\n", options.brokers);
    kafka_consumer_options_from(&topic, config, "kafka.topics.events");
    status = kafka_topic_partitions_as(&topic, ASK_MS, &partitions, err);
    if (status != OK) {
        (void)error_prefix(err, "nothing was erased: Kafka at %s", options.brokers);
        return status;
    }
    status = kafka_producer_open(&producer, &options, err);
    if (status != OK)
        return status;
    status = kafka_produce(producer, &message, err);
    if (status == OK)
        status = kafka_producer_flush(producer, DELIVERY_MS, err);
    if (status == OK && outcome->status != OK)
        status = error_set(err, ERR_UNAVAILABLE, "kafka did not take the record: %s",
                           status_text(outcome->status));
    kafka_producer_close(producer, 0);
    return status;
}

/* Would ingest take it? A dead letter erases nobody. */
static enum status check(const struct event_schema *schema, struct text user, struct text value,
                         struct error *err)
{
    struct event_decoder *decoder;
    struct event event;
    enum refusal why;
    enum status status = event_decoder_create(&decoder, schema, err);

    if (status != OK)
        return status;
    status = event_decode_record(decoder, user, value, clock_wall_ms(), &event, &why, err);
    event_decoder_destroy(decoder);
    if (status == OK)
        return OK;
    (void)error_prefix(err, "nothing was written: ingest would refuse the record");
    return err->status = ERR_CONFIG;
}

/* ---- what is kept ---- */

struct kept {
    bool known;
    int shard, shards;
    int32_t partition;        /* of the events topic, whose records wrote it last */
    int events, events_up_to; /* in the sequence; of them those that the erasure takes */
    int lists;                /* shown ones that may still get labels */
    int64_t erased_at_ms;     /* 0: never */
};

static enum status read_kept(struct kept *kept, const struct redis_dataset *dataset,
                             struct redis_nodes *nodes, const struct redis_keys *keys,
                             const struct event *event, struct error *err)
{
    static struct user_value value;
    char key[REDIS_KEY_BYTES_MAX];
    struct arena *arena;
    struct text bytes;
    size_t key_bytes;
    enum status status;

    kept->shards = dataset->shards;
    kept->shard = rules_shard(&dataset->rules, event->user, dataset->shards);
    key_bytes = redis_key_user(keys, kept->shard, event->user, key);
    status = redis_nodes_get(nodes, ASK_MS, (struct text){key, key_bytes}, &bytes, err);
    if (status != OK || bytes.at == NULL)
        return status;
    arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    if (arena == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a user's value");
    status = user_value_decode(&value, (const uint8_t *)bytes.at, bytes.bytes, arena, err);
    if (status == OK) {
        kept->known = true;
        kept->partition = (int32_t)(value.writer & 0xfffffu);
        kept->events = value.count;
        for (int i = 0; i < value.count; i++)
            kept->events_up_to += value.entries[i].time_ms <= event->time_ms;
        kept->lists = value.opens_count;
        kept->erased_at_ms = value.erased_at_ms;
    }
    arena_destroy(arena);
    return status;
}

static enum status look(struct kept *kept, const struct config *config, const struct event *event,
                        struct error *err)
{
    struct redis_dataset dataset = {0};
    struct redis_nodes *nodes = NULL;
    struct redis_keys keys;
    enum status status = hash_start(err);

    *kept = (struct kept){0};
    if (status == OK)
        status = redis_dataset_connect_nodes(&dataset, &nodes, &keys, config, ASK_MS, err);
    if (status == OK)
        status = read_kept(kept, &dataset, nodes, &keys, event, err);
    redis_nodes_destroy(nodes);
    redis_dataset_clear(&dataset);
    return status;
}

static int print_kept(const struct command_line *line, const struct kept *kept,
                      const struct event *event)
{
    char text[512], at[USER_PRINT_TIME_BYTES], before[USER_PRINT_TIME_BYTES];
    struct json_writer w;

    if (command_json(line)) {
        json_writer_init(&w, text, sizeof text);
        json_object_begin(&w);
        json_bool(&w, "written", false);
        json_bool(&w, "found", kept->known);
        json_int(&w, "shard", kept->shard);
        json_int(&w, "shards", kept->shards);
        if (kept->known) {
            json_int(&w, "partition", kept->partition);
            json_int(&w, "events", kept->events);
            json_int(&w, "events_up_to", kept->events_up_to);
            json_int(&w, "lists", kept->lists);
            json_int(&w, "erased_at_ms", kept->erased_at_ms);
        }
        json_int(&w, "erase_at_ms", event->time_ms);
        json_object_end(&w);
        (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
        return kept->known ? EXIT_DONE : EXIT_NO;
    }
    user_print_time(at, event->time_ms);
    user_print_time(before, kept->erased_at_ms);
    if (kept->known)
        (void)printf("shard     %d of %d\n"
                     "partition %d of the events topic\n"
                     "events    %d in the sequence, %d of them up to %s\n"
                     "lists     %d that may still get labels\n"
                     "erased    %s\n"
                     "nothing was written: without --dry-run a record would be, and everything up "
                     "to %s would go\n",
                     kept->shard, kept->shards, (int)kept->partition, kept->events,
                     kept->events_up_to, at, kept->lists, before, at);
    else
        (void)fprintf(stderr,
                      "nothing is kept of this user (shard %d of %d); nothing was written\n",
                      kept->shard, kept->shards);
    return kept->known ? EXIT_DONE : EXIT_NO;
}

/* The record is written all the same: the trainer may hold what Redis has forgotten, and the log
 * what Redis is to be made from anew. */
static void warn_of_unknown(const struct config *config, const struct event *event)
{
    struct kept kept;
    struct error err;

    if (look(&kept, config, event, &err) != OK)
        (void)fprintf(stderr, "could not see whether anything is kept of this user: %s\n",
                      err.text);
    else if (!kept.known)
        (void)fprintf(stderr,
                      "warning: nothing is kept of this user in Redis (shard %d of %d): is the id "
                      "right? An unknown user is erased, too\n",
                      kept.shard, kept.shards);
}

static int run_erase(struct command_line *line)
{
    const struct config *config = command_config(line);
    struct event event = {.kind = EVENT_ERASE, .time_ms = clock_wall_ms()};
    struct outcome_of outcome = {ERR_TIMEOUT, -1, -1};
    struct event_schema *schema = NULL;
    char value[EVENT_ROOM], text[512];
    struct json_writer w;
    struct error err;
    enum status status;
    size_t bytes = 0;

    if (config == NULL)
        return EXIT_USAGE;
    event.user = text_of(command_argument(line, 0));
    if (event.user.bytes < 1 || event.user.bytes > USER_ID_MAX)
        return command_misused(line, "a user id has 1 to %d bytes", USER_ID_MAX);
    if (command_given(line, "at"))
        event.time_ms = command_int(line, "at");
    status = event_schema_create(&schema, config, &err);
    if (status == OK)
        status = event_schema_check_written(schema, &err);
    if (status == OK) {
        bytes = event_encode(schema, &event, value, sizeof value);
        if (bytes == 0)
            status = error_set(&err, ERR_MALFORMED, "the user id cannot be written as an event");
    }
    if (status == OK)
        status = check(schema, event.user, (struct text){value, bytes}, &err);
    if (status == OK && command_flag(line, "dry-run")) {
        struct kept kept;

        status = look(&kept, config, &event, &err);
        event_schema_destroy(schema);
        return status == OK ? print_kept(line, &kept, &event) : command_fail(line, &err);
    }
    if (status == OK)
        warn_of_unknown(config, &event);
    if (status == OK)
        status = produce(config, event.user, (struct text){value, bytes}, &outcome, &err);
    event_schema_destroy(schema);
    if (status != OK)
        return command_fail(line, &err);
    if (!command_json(line)) {
        char at[USER_PRINT_TIME_BYTES];

        user_print_time(at, event.time_ms);
        (void)printf("written to partition %d, offset %lld: everything up to %s goes when ingest "
                     "passes it\n",
                     (int)outcome.partition, (long long)outcome.offset, at);
        return EXIT_DONE;
    }
    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_int(&w, "partition", outcome.partition);
    json_int(&w, "offset", outcome.offset);
    json_int(&w, "erased_at_ms", event.time_ms);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
    return EXIT_DONE;
}

static const struct option_row erase_options[] = {
    {"dry-run", OPTION_FLAG, NULL, NULL,
     "write nothing; say what is kept of the user. Exit code 1 when nothing is"},
    {"at", OPTION_INT, "MS", NULL, "erase up to this time, Unix milliseconds; default: now"},
    {0},
};

const struct command erase_command = {
    .name = "erase",
    .summary = "make every role forget a user",
    .arguments = "USER",
    .help = "Writes an erase record to the events topic. Ingest then removes what it holds of the "
            "user up to that time and tells the trainer; events that come later count again. "
            "Topics themselves forget by retention only.\n"
            "\n"
            "The record is written as events.mapping reads it. events.tombstone: erase takes "
            "records without a value as erasures, too, for producers of your own.\n"
            "\n"
            "Examples:\n"
            "  freshet erase u1234 --dry-run\n"
            "  freshet erase u1234\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = erase_options,
    .run = run_erase,
};
