/*
 * ingest/erase.c - `freshet erase USER`: writes the record that makes ingest forget a user.
 *
 * The record is an event like any other: ordered, durable, replayed. That is why erasing is not a
 * DEL in Redis: a replay of the topic would bring the user back.
 */
#include "ingest/ingest_main.h"
#include "ops/clock.h"
#include "ops/json_writer.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"
#include "schemas/event.h"

#include <stdio.h>
#include <string.h>

#define EVENT_ROOM  4096
#define DELIVERY_MS 10000
#define ASK_MS      5000

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
    if (status == OK)
        status = produce(config, event.user, (struct text){value, bytes}, &outcome, &err);
    event_schema_destroy(schema);
    if (status != OK)
        return command_fail(line, &err);
    if (!command_json(line)) {
        (void)printf("written to partition %d, offset %lld: everything up to %lld goes when ingest "
                     "passes it\n",
                     (int)outcome.partition, (long long)outcome.offset, (long long)event.time_ms);
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
            "  freshet erase u1234\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = erase_options,
    .run = run_erase,
};
