/*
 * Tests ops/kafka_consumer, kafka_producer and kafka_admin against the embedded broker. What that
 * broker cannot do (fencing, transactions, deleted records) is in test_kafka_apache.c.
 *
 * Group tests take seconds: the embedded broker holds a first join back for three.
 */
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"

#include "ops/clock.h"
#include "ops/metric.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GROUP_SESSION   3500
#define UNREACHABLE_MAX 24

/* ---- helpers ------------------------------------------------------------------------------ */

static struct kafka_broker *start_broker(int partitions)
{
    const struct kafka_broker_topic topics[] = {{"t", partitions}, {NULL, 0}};
    struct kafka_broker *broker;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    return broker;
}

static struct kafka_consumer *open_consumer(const struct kafka_broker *broker, const char *group)
{
    struct kafka_consumer_options options = {.brokers = kafka_broker_address(broker),
                                             .topic = "t",
                                             .group = group,
                                             .client_id = "test",
                                             .session_timeout_ms = GROUP_SESSION,
                                             .fetch_wait_max_ms = 5};
    struct kafka_consumer *consumer;
    struct error err;

    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    return consumer;
}

/* An address of loopback where nobody listens. */
static void unreachable(char address[UNREACHABLE_MAX])
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(bind(fd, (struct sockaddr *)&in, sizeof in) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&in, &bytes) == 0);
    (void)snprintf(address, UNREACHABLE_MAX, "127.0.0.1:%d", ntohs(in.sin_port));
    (void)close(fd);
}

/* ---- settings ----------------------------------------------------------------------------- */

TEST(kafka_consumer_refuses_settings_it_cannot_use)
{
    static const char *const bad[] = {"enable.auto.commit=true",
                                      "auto.offset.reset=earliest",
                                      "no.such.thing=1",
                                      "socket.timeout.ms",
                                      "socket.timeout.ms=soon",
                                      "group.id=x\n",
                                      "\nsocket.timeout.ms=5000\npartition.assignment.strategy=x"};
    struct kafka_consumer_options options = {.brokers = "127.0.0.1:1", .topic = "t"};
    struct kafka_consumer *consumer;
    struct error err;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options.properties = bad[i];
        CHECK_STATUS(ERR_CONFIG, kafka_consumer_open(&consumer, &options, &err));
        CHECK(consumer == NULL);
    }
    options.properties = "";
    options.brokers = "";
    CHECK_STATUS(ERR_CONFIG, kafka_consumer_open(&consumer, &options, &err));
    kafka_consumer_close(NULL);
}

TEST(kafka_settings_never_print_a_value)
{
    struct kafka_consumer_options options = {.brokers = "127.0.0.1:1",
                                             .topic = "t",
                                             .properties = "sasl.password=hunter2\n"
                                                           "ssl.key.password=hunter2\n"
                                                           "security.protocol=hunter2"};
    struct kafka_consumer *consumer;
    struct error err;

    CHECK_STATUS(ERR_CONFIG, kafka_consumer_open(&consumer, &options, &err));
    CHECK(strstr(err.text, "hunter2") == NULL);
    CHECK(strstr(err.text, "security.protocol") != NULL);
}

/* ---- admin -------------------------------------------------------------------------------- */

TEST(kafka_topic_partitions_asks_the_broker)
{
    struct kafka_broker *broker = start_broker(6);
    const char *address = kafka_broker_address(broker);
    int partitions;
    struct error err;

    CHECK_STATUS(OK, kafka_topic_partitions(address, NULL, "t", 10000, &partitions, &err));
    CHECK_INT(6, partitions);
    CHECK_STATUS(OK, kafka_topic_create(address, NULL, "t", 6, 1, NULL, 10000, &err));
    CHECK_STATUS(ERR_CONFIG,
                 kafka_topic_partitions(address, "acks=0", "t", 10000, &partitions, &err));
    kafka_broker_stop(broker);
    kafka_broker_stop(NULL);
}

TEST(kafka_topic_partitions_says_when_nobody_answers)
{
    char address[UNREACHABLE_MAX];
    int partitions;
    struct error err;

    unreachable(address);
    enum status status = kafka_topic_partitions(address, NULL, "t", 300, &partitions, &err);
    CHECK(status == ERR_UNAVAILABLE || status == ERR_TIMEOUT);
    CHECK_STATUS(ERR_CONFIG, kafka_topic_partitions("", NULL, "t", 300, &partitions, &err));
}

TEST(kafka_topic_partitions_as_asks_with_the_security_of_the_configuration)
{
    static const struct config_row *const tables[] = {kafka_config_rows, NULL};
    struct kafka_broker *broker = start_broker(6);
    char brokers[80], *report = NULL;
    const char *sets[] = {brokers, "kafka.security.protocol=ssl"};
    struct kafka_consumer_options options = {.brokers = kafka_broker_address(broker), .topic = "t"};
    struct config *config;
    int partitions;
    struct error err;

    CHECK_STATUS(OK, kafka_topic_partitions_as(&options, 10000, &partitions, &err));
    CHECK_INT(6, partitions);
    (void)snprintf(brokers, sizeof brokers, "kafka.brokers=%s", kafka_broker_address(broker));
    for (int with = 0; with < 2; with++) { /* the broker speaks no TLS */
        CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1 + with, &report, &err));
        kafka_consumer_options_from(&options, config, "kafka.topics.events");
        options.topic = "t";
        enum status status = kafka_topic_partitions_as(&options, with ? 500 : 10000, &partitions,
                                                       &err);
        CHECK(with ? status == ERR_UNAVAILABLE || status == ERR_TIMEOUT : status == OK);
        config_destroy(config);
        free(report);
    }
    options = (struct kafka_consumer_options){
        .brokers = kafka_broker_address(broker), .topic = "t", .properties = "acks=0"};
    CHECK_STATUS(ERR_CONFIG, kafka_topic_partitions_as(&options, 10000, &partitions, &err));
    kafka_broker_stop(broker);
}

/* ---- producer ----------------------------------------------------------------------------- */

struct deliveries {
    int good, bad;
    uint64_t opaques;
    enum status last;
};

static void on_delivered(void *context, uint64_t opaque, enum status status, int32_t partition,
                         int64_t offset)
{
    struct deliveries *d = context;

    (void)partition;
    (void)offset;
    d->good += status == OK;
    d->bad += status != OK;
    d->opaques += opaque;
    d->last = status;
}

TEST(kafka_producer_reports_every_delivery)
{
    struct kafka_broker *broker = start_broker(2);
    struct deliveries d = {0};
    struct kafka_producer_options options = {
        .brokers = kafka_broker_address(broker), .delivered = on_delivered, .context = &d};
    struct kafka_producer *producer;
    struct error err;

    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (uint64_t i = 1; i <= 100; i++) {
        struct kafka_message m = {.topic = "t",
                                  .partition = KAFKA_PARTITION_ANY,
                                  .key = text_of("user"),
                                  .value = text_of("v"),
                                  .opaque = i};
        CHECK_STATUS(OK, kafka_produce(producer, &m, &err));
    }
    CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err));
    CHECK_INT(0, kafka_producer_pending(producer));
    kafka_producer_poll(producer, 0);
    CHECK_INT(100, d.good);
    CHECK_INT(0, d.bad);
    CHECK_INT(5050, d.opaques);

    struct kafka_message missing = {.topic = "t", .partition = 7, .value = text_of("v")};
    enum status status = kafka_produce(producer, &missing, &err);
    if (status == OK) { /* known only once the broker was asked */
        CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err));
        status = d.last;
    }
    CHECK_STATUS(ERR_NOT_FOUND, status);
    kafka_producer_close(producer, 0);
    kafka_broker_stop(broker);
}

TEST(kafka_producer_is_bounded_and_reports_what_it_gives_up)
{
    char address[UNREACHABLE_MAX];
    struct deliveries d = {0};
    struct kafka_producer_options options = {
        .brokers = address, .queue_messages_max = 10, .delivered = on_delivered, .context = &d};
    struct kafka_message m = {.topic = "t", .partition = 0, .value = text_of("v"), .opaque = 1};
    struct kafka_producer *producer;
    struct error err;
    static char large[2000000];

    unreachable(address);
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(OK, kafka_produce(producer, &m, &err));
    CHECK_STATUS(ERR_FULL, kafka_produce(producer, &m, &err));
    CHECK_STATUS(ERR_TIMEOUT, kafka_producer_flush(producer, 50, &err));
    CHECK_INT(10, kafka_producer_pending(producer));
    m.value = (struct text){large, sizeof large};
    CHECK_STATUS(ERR_LIMIT, kafka_produce(producer, &m, &err));
    kafka_producer_close(producer, 0);
    CHECK_INT(10, d.bad);
    CHECK_INT(10, d.opaques);
    CHECK(d.last != OK);
    kafka_producer_close(NULL, 0);
}

/* librdkafka 2.0.2 frees headers twice there when they are given one by one. */
TEST(kafka_producer_refuses_a_partition_that_is_not_there_headers_and_all)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_producer_options options = {.brokers = kafka_broker_address(broker)};
    struct kafka_message message = {.topic = "t", .value = text_of("v")};
    struct kafka_producer *producer;
    struct error err;

    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
    CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err)); /* the topic is known now */
    message.partition = 7;
    message.header = text_of("id");
    message.replayed = true;
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(ERR_NOT_FOUND, kafka_produce(producer, &message, &err));
    message.partition = 0;
    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
    CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err));
    kafka_producer_close(producer, 0);
    kafka_broker_stop(broker);
}

/* What a producer says of a record: a flush that comes back tells of its queue alone. */
static void note_arrival(void *context, uint64_t opaque, enum status status, int32_t partition,
                         int64_t offset)
{
    (void)opaque;
    (void)partition;
    (void)offset;
    *(bool *)context |= status == OK;
}

/* Sends until a record has arrived, as a caller that tries again. */
static enum status deliver(struct kafka_producer *producer, const bool *arrived, struct error *err)
{
    const struct kafka_message message = {
        .topic = "t", .partition = 0, .value = text_of("v"), .opaque = 1};
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    enum status status = ERR_UNAVAILABLE;

    while (clock_monotonic_us() < until_us && !*arrived && status != ERR_REPLACED) {
        status = kafka_produce(producer, &message, err);
        if (status == OK)
            status = kafka_producer_flush(producer, 500, err);
        kafka_producer_poll(producer, 10);
    }
    return *arrived ? OK : ERR_TIMEOUT;
}

/* FAULTS 21: a client that got no producer id never sends again. */
TEST(kafka_producer_that_broke_for_good_is_replaced)
{
    enum { INIT_PRODUCER_ID = 22, CLUSTER_AUTHORIZATION_FAILED = 31 };
    struct kafka_broker *broker = start_broker(1);
    bool arrived = false;
    struct kafka_producer_options options = {
        .brokers = kafka_broker_address(broker), .delivered = note_arrival, .context = &arrived};
    struct kafka_producer *producer;
    struct error err;

    kafka_broker_refuse(broker, INIT_PRODUCER_ID, CLUSTER_AUTHORIZATION_FAILED, 1);
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    CHECK_STATUS(OK, deliver(producer, &arrived, &err));
    kafka_producer_close(producer, 0);
    kafka_broker_stop(broker);
}

TEST(kafka_producer_knows_so_many_topics_and_no_more)
{
    char address[UNREACHABLE_MAX];
    struct kafka_producer_options options = {.brokers = address};
    struct kafka_producer *producer;
    struct error err;

    unreachable(address);
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (int i = 0; i <= 16; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%d", i);
        struct kafka_message m = {.topic = name, .partition = 0, .value = text_of("v")};
        CHECK_STATUS(i < 16 ? OK : ERR_LIMIT, kafka_produce(producer, &m, &err));
        CHECK_STATUS(i < 16 ? OK : ERR_LIMIT, kafka_produce(producer, &m, &err));
    }
    kafka_producer_close(producer, 0);
}

/* ---- consumer without a group --------------------------------------------------------------- */

TEST(kafka_records_carry_what_was_produced)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_producer_options options = {.brokers = kafka_broker_address(broker),
                                             .compression = "none"};
    const struct kafka_message sent[] = {
        {.topic = "t", .key = text_of("k\0x"), .value = text_of("v"), .timestamp_ms = 1234567},
        {.topic = "t", .key = text_of("k"), .value = {NULL, 0}, .timestamp_ms = 5},
        {.topic = "t", .key = {NULL, 0}, .value = {"", 0}, .timestamp_ms = 6},
        {.topic = "t", .key = {"", 0}, .value = {"a\0b", 3}, .replayed = true},
        {.topic = "t", .value = text_of("v"), .header = {"id\0\1", 4}},
        {.topic = "t", .value = text_of("v"), .header = text_of("x"), .replayed = true},
    };
    enum { SENT = sizeof sent / sizeof sent[0] };
    struct kafka_record records[SENT];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct kafka_producer *producer;
    int got = 0, events_count;
    uint64_t epoch;
    struct error err;

    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (int i = 0; i < SENT; i++)
        CHECK_STATUS(OK, kafka_produce(producer, &sent[i], &err));
    CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err));
    kafka_producer_close(producer, 0);

    struct kafka_consumer *consumer = open_consumer(broker, NULL);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    for (int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
         got < SENT && clock_monotonic_us() < until_us;)
        got += kafka_consumer_poll(consumer, 50, records + got, SENT - got, events, &events_count);
    CHECK_INT(SENT, got); /* all held at once: earlier records outlive later polls */
    for (int i = 0; i < SENT; i++) {
        CHECK_INT(i, records[i].offset);
        CHECK(records[i].epoch == epoch && records[i].partition == 0);
        CHECK((records[i].key.at == NULL) == (sent[i].key.at == NULL));
        CHECK((records[i].value.at == NULL) == (sent[i].value.at == NULL));
        CHECK(text_equal(records[i].key, sent[i].key));
        CHECK(text_equal(records[i].value, sent[i].value));
        CHECK(text_equal(records[i].header, sent[i].header));
        CHECK(records[i].replayed == sent[i].replayed);
        if (sent[i].timestamp_ms != 0)
            CHECK_INT(sent[i].timestamp_ms, records[i].timestamp_ms);
        else
            CHECK(records[i].timestamp_ms > INT64_C(1600000000000));
    }
    kafka_records_release(records, got);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

/* Whether the rendered metrics hold this. */
static bool metrics_say(const char *what)
{
    static char text[1 << 20];

    CHECK(metric_render(text, sizeof text) < sizeof text);
    return strstr(text, what) != NULL;
}

TEST(kafka_metrics_say_whether_brokers_are_reached)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_consumer *consumer = open_consumer(broker, NULL);
    struct kafka_record records[1];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    int events_count;

    CHECK(metrics_say("\nfreshet_kafka_up{client=\"consumer\"} 0\n"));
    while (!metrics_say("\nfreshet_kafka_up{client=\"consumer\"} 1\n")) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_INT(0, kafka_consumer_poll(consumer, 50, records, 1, events, &events_count));
    }
    kafka_broker_stop(broker);
    (void)kafka_await(consumer, KAFKA_DOWN, NULL);
    CHECK(metrics_say("\nfreshet_kafka_up{client=\"consumer\"} 0\n"));
    kafka_consumer_close(consumer);
    CHECK(!metrics_say("\nfreshet_kafka_up{")); /* nor of producers, of which there was none */
}

TEST(kafka_consumer_reads_from_where_it_is_told_and_rewinds)
{
    struct kafka_broker *broker = start_broker(2);
    struct kafka_consumer *consumer = open_consumer(broker, NULL);
    uint64_t first, second;
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 1, 0, 2000);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 100, &first, &err));
    kafka_read_in_order(consumer, 1, 100, 1000, first);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 500, &second, &err));
    CHECK(second > first);
    kafka_read_in_order(consumer, 1, 500, 1500, second);
    CHECK_INT(2000, kafka_consumer_high(consumer, 1));
    CHECK_INT(KAFKA_OFFSET_NONE, kafka_consumer_high(consumer, 0));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 1999, &first, &err));
    kafka_read_in_order(consumer, 1, 1999, 1, first);
    CHECK_STATUS(ERR_NOT_FOUND, kafka_consumer_assign(consumer, -1, 0, &first, &err));
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

TEST(kafka_consumer_tells_limits_ends_and_offsets_out_of_range)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_consumer_options options = {
        .brokers = kafka_broker_address(broker), .topic = "t", .end_events = true};
    struct kafka_consumer *consumer;
    int64_t low, high;
    int records = 0;
    uint64_t epoch;
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 10);
    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    CHECK_STATUS(OK, kafka_consumer_limits(consumer, 0, 10000, &low, &high, &err));
    CHECK(low == 0 && high == 10);
    enum status missing = kafka_consumer_limits(consumer, 9, 500, &low, &high, &err);
    CHECK(missing != OK && low == KAFKA_OFFSET_NONE && high == KAFKA_OFFSET_NONE);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 4, &epoch, &err));
    struct kafka_event end = kafka_await(consumer, KAFKA_END, &records);
    CHECK_INT(6, records);
    CHECK(end.partition == 0 && end.offset == 10);

    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 1000, &epoch, &err));
    struct kafka_event range = kafka_await(consumer, KAFKA_OUT_OF_RANGE, NULL);
    CHECK(range.partition == 0 && range.offset == 1000);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 9, &epoch, &err));
    kafka_read_in_order(consumer, 0, 9, 1, epoch);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

/* Two assigns follow each other closely, so that the second waits: what comes meanwhile, the end
 * too, is of a fetch that was given up. The records behind which it stood will come. */
TEST(kafka_consumer_tells_no_end_of_a_reading_that_was_given_up)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_consumer_options options = {
        .brokers = kafka_broker_address(broker), .topic = "t", .end_events = true};
    struct kafka_consumer *consumer;
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct kafka_record record;
    int records = 0, count;
    uint64_t epoch;
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 10);
    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 9, &epoch, &err));
    (void)kafka_await(consumer, KAFKA_END, NULL); /* connected by now */
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 10, &epoch, &err));
    while (kafka_consumer_due_us(consumer) != INT64_MAX) /* until it is carried out */
        CHECK_INT(0, kafka_consumer_poll(consumer, 0, &record, 1, events, &count));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    (void)kafka_await(consumer, KAFKA_END, &records);
    CHECK_INT(10, records);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

/* Waits until something lies in the consumer's queue and, with carried, until the next assign can
 * be carried out at once. Nothing is taken from the queue. */
static void await_news(struct kafka_consumer *consumer, bool carried)
{
    struct pollfd news = {.fd = kafka_consumer_descriptor(consumer), .events = POLLIN};
    uint64_t epoch;
    struct error err;

    CHECK_INT(1, poll(&news, 1, (int)(KAFKA_PATIENCE_US / 1000)));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 4, &epoch, &err));
    while (carried && clock_monotonic_us() < kafka_consumer_due_us(consumer))
        (void)poll(NULL, 0, 1);
}

/* An offset that is out of range is told by an error that carries no version of its assignment: it
 * comes out behind a newer one, before that was carried out and after. On a busy machine there may
 * be two for one offset, too. */
TEST(kafka_consumer_does_not_take_an_offset_out_of_range_for_the_one_it_asks_for_now)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_consumer *consumer = open_consumer(broker, NULL);
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    uint64_t epoch;
    struct error err;

    CHECK(kafka_consumer_descriptor(consumer) >= 0); /* it rings from now on */
    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 10);
    for (int carried = 0; carried < 2; carried++) {
        int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
        int count, got = 0, events_count;

        CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
        kafka_read_in_order(consumer, 0, 0, 10, epoch); /* connected by now */
        CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 1000, &epoch, &err));
        while (kafka_consumer_due_us(consumer) != INT64_MAX) /* until it is carried out */
            CHECK_INT(0, kafka_consumer_poll(consumer, 0, records, 1, events, &events_count));
        await_news(consumer, carried);
        for (; got < 6 && clock_monotonic_us() < until_us; got += count) {
            count = kafka_consumer_poll(consumer, 50, records, KAFKA_BATCH, events, &events_count);
            CHECK_INT(0, events_count);
            for (int i = 0; i < count; i++)
                CHECK_INT(4 + got + i, records[i].offset);
            kafka_records_release(records, count);
        }
        CHECK_INT(6, got);
    }
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

TEST(kafka_consumer_without_brokers_says_so_once)
{
    char address[UNREACHABLE_MAX];
    struct kafka_consumer_options options = {.brokers = address, .topic = "t"};
    struct kafka_consumer *consumer;
    struct kafka_record records[1];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int events_count;
    int64_t low, high;
    struct error err;

    unreachable(address);
    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    (void)kafka_await(consumer, KAFKA_DOWN, NULL);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(0, kafka_consumer_poll(consumer, 50, records, 1, events, &events_count));
        CHECK_INT(0, events_count);
    }
    enum status status = kafka_consumer_limits(consumer, 0, 200, &low, &high, &err);
    CHECK(status == ERR_TIMEOUT || status == ERR_UNAVAILABLE);
    kafka_consumer_close(consumer);
}

TEST(kafka_consumer_loses_nothing_over_random_assigns_and_pauses)
{
    struct kafka_broker *broker = start_broker(3);
    struct kafka_consumer *consumer = open_consumer(broker, NULL);

    kafka_check_walk(kafka_broker_address(broker), consumer, "t", 3);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

/* ---- groups ------------------------------------------------------------------------------- */

TEST(kafka_group_reads_nothing_before_it_is_told_where)
{
    struct kafka_broker *broker = start_broker(2);
    struct kafka_consumer *consumer = open_consumer(broker, "g");
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    bool owned[KAFKA_TEST_PARTITIONS_MAX] = {false};
    int64_t offset;
    int events_count;
    uint64_t epoch;
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 10);
    kafka_fill(kafka_broker_address(broker), "t", 1, 0, 10);
    CHECK_STATUS(ERR_NOT_FOUND, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    kafka_await_assigned(consumer, 2, owned);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(0,
                  kafka_consumer_poll(consumer, 20, records, KAFKA_BATCH, events, &events_count));
        CHECK_INT(0, events_count);
    }
    CHECK_STATUS(ERR_NOT_FOUND, kafka_consumer_assign(consumer, 2, 0, &epoch, &err));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 3, &epoch, &err));
    kafka_read_in_order(consumer, 1, 3, 7, epoch); /* and nothing of partition 0 */

    CHECK_STATUS(OK, kafka_consumer_committed(consumer, 1, 10000, &offset, &err));
    CHECK_INT(KAFKA_OFFSET_NONE, offset);
    kafka_consumer_commit(consumer, 1, 10);
    for (int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
         offset != 10 && clock_monotonic_us() < until_us;)
        CHECK_STATUS(OK, kafka_consumer_committed(consumer, 1, 10000, &offset, &err));
    CHECK_INT(10, offset);

    kafka_consumer_revoke(consumer, 1); /* ours still, but not read any more */
    kafka_fill(kafka_broker_address(broker), "t", 1, 10, 10);
    for (int i = 0; i < 10; i++)
        CHECK_INT(0,
                  kafka_consumer_poll(consumer, 20, records, KAFKA_BATCH, events, &events_count));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 10, &epoch, &err));
    kafka_read_in_order(consumer, 1, 10, 10, epoch);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

/* One member joins, then another: a partition is given back before the other has it, and in the
 * end each has one owner. On a busy machine the broker may rebalance more than once meanwhile.
 * Then one leaves without a word of its own. */
TEST(kafka_group_hands_partitions_over)
{
    enum { PARTITIONS = 4 };
    struct kafka_broker *broker = start_broker(PARTITIONS);
    struct kafka_consumer *members[2] = {open_consumer(broker, "g"), NULL};
    bool owned[2][KAFKA_TEST_PARTITIONS_MAX] = {{false}};
    int counts[2] = {PARTITIONS, 0};
    bool any_revoked = false;
    uint64_t epoch;
    struct error err;

    for (int p = 0; p < PARTITIONS; p++)
        kafka_fill(kafka_broker_address(broker), "t", p, 0, 100);
    kafka_await_assigned(members[0], PARTITIONS, owned[0]);
    for (int p = 0; p < PARTITIONS; p++)
        CHECK_STATUS(OK, kafka_consumer_assign(members[0], p, 50, &epoch, &err));
    members[1] = open_consumer(broker, "g");

    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    while ((counts[0] != PARTITIONS / 2 || counts[1] != PARTITIONS / 2) &&
           clock_monotonic_us() < until_us) {
        for (int m = 0; m < 2; m++) {
            struct kafka_record records[KAFKA_BATCH];
            struct kafka_event events[KAFKA_EVENTS_MAX];
            int events_count;
            int n = kafka_consumer_poll(members[m], 20, records, KAFKA_BATCH, events,
                                        &events_count);
            CHECK(n == 0 || (m == 0 && !any_revoked));
            kafka_records_release(records, n);
            for (int e = 0; e < events_count; e++) {
                int p = events[e].partition;
                if (events[e].kind == KAFKA_REVOKED) {
                    CHECK(owned[m][p]);
                    CHECK_STATUS(ERR_NOT_FOUND,
                                 kafka_consumer_assign(members[m], p, 0, &epoch, &err));
                    kafka_consumer_revoke(members[m], p);
                    any_revoked = true;
                    owned[m][p] = false;
                    counts[m]--;
                } else {
                    CHECK_INT(KAFKA_ASSIGNED, events[e].kind);
                    CHECK(!owned[0][p] && !owned[1][p]);
                    owned[m][p] = true;
                    counts[m]++;
                }
            }
        }
    }
    CHECK(counts[0] == PARTITIONS / 2 && counts[1] == PARTITIONS / 2);

    /* The second asks to leave while the first is still reading; a revocation that the first
     * never answers must not keep it from closing. */
    for (int p = 0; p < PARTITIONS; p++)
        if (owned[0][p])
            CHECK_STATUS(OK, kafka_consumer_assign(members[0], p, 0, &epoch, &err));
    kafka_consumer_close(members[1]);
    (void)kafka_await(members[0], KAFKA_REVOKED, NULL);
    kafka_consumer_close(members[0]);
    kafka_broker_stop(broker);
}
