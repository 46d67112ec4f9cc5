/* Tests ingest/letter_box against the embedded broker: every letter is delivered and told once, the
 * box is bounded, and what is written is a dead letter with its key. */
#include "ingest/letter_box.h"

#include "ingest/dead_letter.h"
#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/metric.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS 300

struct told {
    int times[LETTERS + 1];
    int all;
};

static void delivered(void *context, uint64_t id)
{
    struct told *told = context;

    CHECK(id >= 1 && id <= LETTERS);
    told->times[id]++;
    told->all++;
}

static struct machine_letter letter_of(int number)
{
    return (struct machine_letter){.id = (uint64_t)number,
                                   .partition = number % 3,
                                   .offset = number,
                                   .timestamp_ms = 1700000000000 + number,
                                   .refusal = REFUSAL_NO_USER,
                                   .head = text_of("{\"a\":1}"),
                                   .raw_bytes = 7};
}

/* The letters as a reader finds them. */
static void check_written(const char *address)
{
    struct kafka_consumer_options options = {.brokers = address, .topic = "dead"};
    struct json_parser *parser = json_parser_create(1 << 16, 64);
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct kafka_consumer *consumer;
    struct error err;
    uint64_t epoch;
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;

    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    for (int read = 0; read < LETTERS;) {
        int events_count;
        int count = kafka_consumer_poll(consumer, 100, records, KAFKA_BATCH, events, &events_count);

        CHECK(clock_monotonic_us() < until_us);
        for (int i = 0; i < count; i++) {
            struct dead_letter letter;

            CHECK_STATUS(OK, dead_letter_parse(&letter, parser, records[i].value, &err));
            CHECK_TEXT("no_user", letter.reason);
            CHECK_TEXT("events", letter.topic);
            CHECK(letter.offset % 3 == letter.partition && letter.raw_bytes == 7);
            CHECK(records[i].key.bytes > 0);
            read++;
        }
        kafka_records_release(records, count);
    }
    kafka_consumer_close(consumer);
    json_parser_destroy(parser);
}

TEST(letter_box_delivers_every_letter_and_tells_each_once)
{
    const struct kafka_broker_topic topics[] = {{"dead", 1}, {NULL, 0}};
    struct kafka_producer_options options = {0};
    struct told told = {0};
    struct kafka_broker *broker;
    struct letter_box *box;
    struct error err;
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    options.brokers = kafka_broker_address(broker);
    CHECK_STATUS(OK, letter_box_open(&box, &options, "dead", "events", &err));
    CHECK_INT(0, letter_box_pending(box));
    for (int i = 1; i <= LETTERS; i++) {
        struct machine_letter letter = letter_of(i);

        letter_box_put(box, &letter);
    }
    CHECK_INT(LETTERS, letter_box_pending(box));
    while (letter_box_pending(box) > 0) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, letter_box_step(box, clock_monotonic_us(), delivered, &told, &err));
    }
    CHECK_INT(LETTERS, told.all);
    for (int i = 1; i <= LETTERS; i++)
        CHECK_INT(1, told.times[i]);
    CHECK_TEXT("", letter_box_why(box));
    letter_box_close(box);
    letter_box_close(NULL);
    check_written(kafka_broker_address(broker));
    kafka_broker_stop(broker);
}

/* The value of freshet_kafka_up of producers; NaN while there is none. */
static double producers_up(void)
{
    const struct metric *up = metric_find("freshet_kafka_up");

    CHECK(up != NULL && strcmp(up->label_values[1], "producer") == 0);
    return metric_value_of(up, 1);
}

TEST(letter_box_without_letters_still_says_that_its_broker_answers)
{
    const struct kafka_broker_topic topics[] = {{"dead", 1}, {NULL, 0}};
    struct kafka_producer_options options = {0};
    struct kafka_broker *broker;
    struct letter_box *box;
    struct told told = {0};
    struct error err;
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    options.brokers = kafka_broker_address(broker);
    CHECK(isnan(producers_up()));
    CHECK_STATUS(OK, letter_box_open(&box, &options, "dead", "events", &err));
    CHECK(producers_up() == 0);
    while (producers_up() != 1) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, letter_box_step(box, clock_monotonic_us(), delivered, &told, &err));
        clock_sleep_us(20000);
    }
    letter_box_close(box);
    CHECK(isnan(producers_up()));
    kafka_broker_stop(broker);
}
