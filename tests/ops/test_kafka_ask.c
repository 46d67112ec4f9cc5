/*
 * Tests ops/kafka_ask: against Apache Kafka what the questions answer, against the embedded broker
 * that one which is not understood is answered, and soon.
 */
#include "ops/kafka_ask.h"

#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 20000

static struct config *configure(const char *brokers)
{
    const struct config_row *tables[] = {kafka_config_rows, NULL};
    struct config *config;
    struct error err;
    char set[200];
    const char *sets[] = {set};
    char *report = NULL;

    (void)snprintf(set, sizeof set, "kafka.brokers=%s", brokers);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, &err));
    free(report);
    return config;
}

static const char *apache(void)
{
    const char *address = getenv("FRESHET_KAFKA");

    if (address == NULL || address[0] == 0)
        SKIP("no Apache Kafka (FRESHET_KAFKA is not set); tests/kafka/test_door.sh starts one");
    return address;
}

/* Records with the timestamps 1000, 2000, 3000 above base. */
static void produce_three(const char *brokers, const char *topic, int64_t base_ms)
{
    struct kafka_producer_options options = {.brokers = brokers};
    struct kafka_producer *producer;
    struct error err;

    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (int i = 1; i <= 3; i++) {
        struct kafka_message message = {
            .topic = topic, .partition = 0, .value = {"x", 1}, .timestamp_ms = base_ms + 1000 * i};

        CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
    }
    CHECK_STATUS(OK, kafka_producer_flush(producer, TIMEOUT_MS, &err));
    kafka_producer_close(producer, 0);
}

TEST(kafka_apache_ask_tells_settings_times_and_copies)
{
    const char *brokers = apache();
    const struct kafka_topic_setting given[] = {{"retention.ms", "86400000"}, {NULL, NULL}};
    struct kafka_setting settings[] = {
        {.name = "retention.ms"}, {.name = "cleanup.policy"}, {.name = "no.such.setting"}};
    struct config *config = configure(brokers);
    int64_t base_ms = clock_wall_ms() - 60000, offset;
    int replicas, count;
    struct error err;
    char topic[64];

    (void)snprintf(topic, sizeof topic, "ask-%lld", (long long)clock_monotonic_us());
    CHECK_STATUS(OK, kafka_topic_create(brokers, NULL, topic, 1, 1, given, TIMEOUT_MS, &err));
    CHECK_STATUS(OK, kafka_settings_of(config, topic, settings, 3, TIMEOUT_MS, &err));
    CHECK_TEXT("86400000", settings[0].value);
    CHECK_TEXT("delete", settings[1].value);
    CHECK_TEXT("", settings[2].value);
    settings[1].name = "min.insync.replicas";
    CHECK_STATUS(OK, kafka_settings_of(config, NULL, settings, 2, TIMEOUT_MS, &err));
    CHECK_TEXT("1", settings[1].value);
    CHECK_STATUS(OK, kafka_replicas(config, topic, TIMEOUT_MS, &replicas, &count, &err));
    CHECK(replicas == 1 && count >= 1);

    produce_three(brokers, topic, base_ms);
    CHECK_STATUS(OK, kafka_offset_at(config, topic, 0, base_ms + 1500, TIMEOUT_MS, &offset, &err));
    CHECK_INT(1, offset);
    CHECK_STATUS(OK, kafka_offset_at(config, topic, 0, base_ms + 9000, TIMEOUT_MS, &offset, &err));
    CHECK_INT(KAFKA_OFFSET_NONE, offset);
    CHECK_STATUS(
        OK, kafka_partitions_since(config, topic, 1, base_ms + 1500, TIMEOUT_MS, &count, &err));
    CHECK_INT(1, count);
    CHECK_STATUS(
        OK, kafka_partitions_since(config, topic, 1, base_ms + 9000, TIMEOUT_MS, &count, &err));
    CHECK_INT(0, count);
    CHECK_STATUS(ERR_NOT_FOUND,
                 kafka_settings_of(config, "not-there", settings, 1, TIMEOUT_MS, &err));
    config_destroy(config);
}

TEST(kafka_apache_ask_counts_the_members_of_a_group)
{
    const char *brokers = apache();
    struct config *config = configure(brokers);
    struct kafka_consumer_options options = {.brokers = brokers, .session_timeout_ms = 6000};
    int64_t until_us = clock_monotonic_us() + INT64_C(60000000);
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct kafka_consumer *consumer;
    struct kafka_record record;
    char topic[64], group[96];
    int members = 0, count;
    struct error err;

    (void)snprintf(topic, sizeof topic, "ask-members-%lld", (long long)clock_monotonic_us());
    (void)snprintf(group, sizeof group, "%s-group", topic);
    CHECK_STATUS(OK, kafka_topic_create(brokers, NULL, topic, 1, 1, NULL, TIMEOUT_MS, &err));
    CHECK_STATUS(OK, kafka_group_members(config, group, TIMEOUT_MS, &members, &err));
    CHECK_INT(0, members);
    options.topic = topic;
    options.group = group;
    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    while (members == 0 && clock_monotonic_us() < until_us) {
        int got = kafka_consumer_poll(consumer, 100, &record, 1, events, &count);

        kafka_records_release(&record, got);
        CHECK_STATUS(OK, kafka_group_members(config, group, TIMEOUT_MS, &members, &err));
    }
    CHECK_INT(1, members);
    kafka_consumer_close(consumer);
    config_destroy(config);
}

TEST(kafka_ask_says_what_the_embedded_broker_does_not_know)
{
    const struct kafka_broker_topic topics[] = {{"events", 1}, {NULL, 0}};
    struct kafka_broker *broker;
    struct config *config;
    int members, replicas, count;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    config = configure(kafka_broker_address(broker));
    CHECK_STATUS(ERR_VERSION, kafka_group_members(config, "g", TIMEOUT_MS, &members, &err));
    CHECK_STATUS(OK, kafka_replicas(config, "events", TIMEOUT_MS, &replicas, &count, &err));
    CHECK_INT(1, replicas);
    CHECK(kafka_is_embedded(config, TIMEOUT_MS));
    config_destroy(config);
    kafka_broker_stop(broker);
    config = configure("127.0.0.1:1");
    CHECK(!kafka_is_embedded(config, 200));
    config_destroy(config);
}

TEST(kafka_ask_gives_up_when_nobody_answers)
{
    struct config *config = configure("127.0.0.1:1");
    struct kafka_setting setting = {.name = "retention.ms"};
    int64_t offset;
    int members;
    struct error err;
    enum status status = kafka_group_members(config, "g", 500, &members, &err);

    CHECK(status == ERR_TIMEOUT || status == ERR_UNAVAILABLE);
    status = kafka_settings_of(config, "events", &setting, 1, 500, &err);
    CHECK(status == ERR_TIMEOUT || status == ERR_UNAVAILABLE);
    status = kafka_offset_at(config, "events", 0, 1, 500, &offset, &err);
    CHECK(status == ERR_TIMEOUT || status == ERR_UNAVAILABLE);
    status = kafka_partitions_since(config, "events", 4, 1, 500, &members, &err);
    CHECK(status == ERR_TIMEOUT || status == ERR_UNAVAILABLE);
    CHECK(kafka_library_version()[0] != 0);
    config_destroy(config);
}
