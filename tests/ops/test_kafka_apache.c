/*
 * Tests the Kafka door against Apache Kafka: what the embedded broker cannot show. tests/kafka/
 * test_door.sh starts the broker and says where it is (FRESHET_KAFKA, FRESHET_KAFKA_DIR).
 *
 * librdkafka itself is included for one thing the door has no use for: a transactional producer.
 */
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"

#include "ops/clock.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 20000

/* The address of the broker; ends the test as skipped where there is none. */
static const char *brokers(void)
{
    const char *address = getenv("FRESHET_KAFKA");

    if (address == NULL || address[0] == 0)
        SKIP("no Apache Kafka (FRESHET_KAFKA is not set); tests/kafka/test_door.sh starts one");
    return address;
}

/* A topic of its own for every test: names do not repeat within a run. */
static const char *fresh_topic(int partitions)
{
    static char name[64];
    static int count;
    const struct kafka_topic_setting settings[] = {{"retention.ms", "86400000"}, {NULL, NULL}};
    struct error err;

    (void)snprintf(name, sizeof name, "door-%d-%lld", count++, (long long)clock_monotonic_us());
    CHECK_STATUS(
        OK, kafka_topic_create(brokers(), NULL, name, partitions, 1, settings, TIMEOUT_MS, &err));
    return name;
}

static struct kafka_consumer *open_consumer(const char *topic, const char *group,
                                            const char *instance_id)
{
    struct kafka_consumer_options options = {.brokers = brokers(),
                                             .topic = topic,
                                             .group = group,
                                             .instance_id = instance_id,
                                             .session_timeout_ms = 6000};
    struct kafka_consumer *consumer;
    struct error err;

    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    return consumer;
}

/* Runs tests/kafka/kafka.sh COMMAND DIR ARGUMENTS. */
static void kafka_script(const char *command, const char *arguments)
{
    const char *dir = getenv("FRESHET_KAFKA_DIR");
    char line[512];

    if (dir == NULL)
        SKIP("FRESHET_KAFKA_DIR is not set: this broker is not ours to change");
    (void)snprintf(line, sizeof line, "tests/kafka/kafka.sh %s '%s' %s", command, dir, arguments);
    CHECK_INT(0, system(line));
}

/* ---- topics ------------------------------------------------------------------------------- */

TEST(kafka_apache_topics_are_created_once_with_their_settings)
{
    const struct kafka_topic_setting bad[] = {{"retention.ms", "soon"}, {NULL, NULL}};
    const char *topic = fresh_topic(5);
    int partitions;
    struct error err;

    CHECK_STATUS(OK, kafka_topic_partitions(brokers(), NULL, topic, TIMEOUT_MS, &partitions, &err));
    CHECK_INT(5, partitions);
    CHECK_STATUS(OK, kafka_topic_create(brokers(), NULL, topic, 9, 1, NULL, TIMEOUT_MS, &err));
    CHECK_STATUS(OK, kafka_topic_partitions(brokers(), NULL, topic, TIMEOUT_MS, &partitions, &err));
    CHECK_INT(5, partitions);
    CHECK_STATUS(ERR_CONFIG,
                 kafka_topic_create(brokers(), NULL, "door-bad", 1, 1, bad, TIMEOUT_MS, &err));
    CHECK_STATUS(ERR_CONFIG,
                 kafka_topic_create(brokers(), NULL, "door-bad", 1, 99, NULL, TIMEOUT_MS, &err));
    CHECK_STATUS(ERR_CONFIG,
                 kafka_topic_create(brokers(), NULL, "no/such", 1, 1, NULL, TIMEOUT_MS, &err));
    CHECK_STATUS(ERR_NOT_FOUND, kafka_topic_partitions(brokers(), NULL, "door-missing", TIMEOUT_MS,
                                                       &partitions, &err));
}

TEST(kafka_apache_consumer_loses_nothing_over_random_assigns_and_pauses)
{
    const char *topic = fresh_topic(3);
    struct kafka_consumer *consumer = open_consumer(topic, NULL, NULL);

    kafka_check_walk(brokers(), consumer, topic, 3);
    kafka_consumer_close(consumer);
}

/* ---- offsets ------------------------------------------------------------------------------ */

TEST(kafka_apache_deleted_records_are_out_of_range)
{
    const char *topic = fresh_topic(1);
    struct kafka_consumer *consumer = open_consumer(topic, NULL, NULL);
    char arguments[128];
    int64_t low, high;
    uint64_t epoch;
    struct error err;

    kafka_fill(brokers(), topic, 0, 0, 100);
    (void)snprintf(arguments, sizeof arguments, "%s 0 60", topic);
    kafka_script("delete-records", arguments);
    CHECK_STATUS(OK, kafka_consumer_limits(consumer, 0, TIMEOUT_MS, &low, &high, &err));
    CHECK(low == 60 && high == 100);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 59, &epoch, &err));
    CHECK_INT(59, kafka_await(consumer, KAFKA_OUT_OF_RANGE, NULL).offset);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 101, &epoch, &err));
    CHECK_INT(101, kafka_await(consumer, KAFKA_OUT_OF_RANGE, NULL).offset);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 60, &epoch, &err));
    kafka_read_in_order(consumer, 0, 60, 40, epoch);
    CHECK_INT(100, kafka_consumer_high(consumer, 0));
    kafka_consumer_close(consumer);
}

/* One transaction of five records on partition 0, committed or aborted. */
static void transact(rd_kafka_t *producer, const char *topic, bool commit)
{
    rd_kafka_error_t *error = rd_kafka_begin_transaction(producer);

    CHECK(error == NULL);
    for (int i = 0; i < 5; i++)
        CHECK_INT(0, rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_VALUE((void *)(commit ? "good" : "bad"), 4),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END));
    CHECK_INT(0, rd_kafka_flush(producer, TIMEOUT_MS));
    error = commit ? rd_kafka_commit_transaction(producer, TIMEOUT_MS)
                   : rd_kafka_abort_transaction(producer, TIMEOUT_MS);
    CHECK(error == NULL);
}

TEST(kafka_apache_aborted_records_are_not_seen_and_markers_are_gaps)
{
    const char *topic = fresh_topic(1);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    struct kafka_consumer *consumer = open_consumer(topic, NULL, NULL);
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    int64_t low, high;
    int got = 0, events_count;
    uint64_t epoch;
    struct error err;

    CHECK_INT(0, rd_kafka_conf_set(conf, "bootstrap.servers", brokers(), NULL, 0));
    CHECK_INT(0, rd_kafka_conf_set(conf, "transactional.id", topic, NULL, 0));
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
    CHECK(producer != NULL && rd_kafka_init_transactions(producer, TIMEOUT_MS) == NULL);
    transact(producer, topic, false); /* 0..4, marker 5 */
    transact(producer, topic, true);  /* 6..10, marker 11 */
    rd_kafka_destroy(producer);

    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    while (got < 5 && clock_monotonic_us() < until_us)
        got += kafka_consumer_poll(consumer, 50, records + got, KAFKA_BATCH - got, events,
                                   &events_count);
    CHECK_INT(5, got);
    for (int i = 0; i < got; i++) {
        CHECK_INT(6 + i, records[i].offset);
        CHECK(text_equal(text_of("good"), records[i].value));
    }
    kafka_records_release(records, got);
    CHECK_STATUS(OK, kafka_consumer_limits(consumer, 0, TIMEOUT_MS, &low, &high, &err));
    CHECK(low == 0 && high == 12); /* no record will ever have the last offset */
    kafka_consumer_close(consumer);
}

TEST(kafka_apache_commits_outlive_the_consumer)
{
    const char *topic = fresh_topic(2);
    struct kafka_consumer *consumer = open_consumer(topic, topic, NULL);
    bool owned[KAFKA_TEST_PARTITIONS_MAX] = {false};
    int64_t offset = 0;
    struct error err;

    kafka_await_assigned(consumer, 2, owned);
    kafka_consumer_commit(consumer, 1, 42);
    for (int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
         offset != 42 && clock_monotonic_us() < until_us;)
        CHECK_STATUS(OK, kafka_consumer_committed(consumer, 1, TIMEOUT_MS, &offset, &err));
    kafka_consumer_close(consumer);
    consumer = open_consumer(topic, topic, NULL);
    CHECK_STATUS(OK, kafka_consumer_committed(consumer, 1, TIMEOUT_MS, &offset, &err));
    CHECK_INT(42, offset);
    CHECK_STATUS(OK, kafka_consumer_committed(consumer, 0, TIMEOUT_MS, &offset, &err));
    CHECK_INT(KAFKA_OFFSET_NONE, offset);
    kafka_consumer_close(consumer);
}

/* ---- static members ------------------------------------------------------------------------- */

/* Polls two members until each partition has one owner; agrees to what is revoked. */
static void settle(struct kafka_consumer *members[2], int partitions, bool owned[2][8])
{
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    int counts[2] = {0};

    while (counts[0] + counts[1] < partitions || counts[0] == 0 || counts[1] == 0) {
        CHECK(clock_monotonic_us() < until_us);
        for (int m = 0; m < 2; m++) {
            struct kafka_record records[1];
            struct kafka_event events[KAFKA_EVENTS_MAX];
            int events_count;
            CHECK_INT(0, kafka_consumer_poll(members[m], 20, records, 1, events, &events_count));
            for (int e = 0; e < events_count; e++) {
                bool mine = events[e].kind == KAFKA_ASSIGNED;
                CHECK(mine || events[e].kind == KAFKA_REVOKED);
                owned[m][events[e].partition] = mine;
                counts[m] += mine ? 1 : -1;
                if (!mine)
                    kafka_consumer_revoke(members[m], events[e].partition);
            }
        }
    }
}

TEST(kafka_apache_a_restarted_static_member_moves_no_partition)
{
    enum { PARTITIONS = 4 };
    const char *topic = fresh_topic(PARTITIONS);
    struct kafka_consumer *members[2] = {open_consumer(topic, topic, "one"),
                                         open_consumer(topic, topic, "two")};
    bool owned[2][KAFKA_TEST_PARTITIONS_MAX] = {{false}};
    bool again[KAFKA_TEST_PARTITIONS_MAX] = {false};
    struct kafka_record records[1];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int events_count;

    settle(members, PARTITIONS, owned);
    kafka_consumer_close(members[0]);
    members[0] = open_consumer(topic, topic, "one");
    kafka_await_assigned(members[0], PARTITIONS / 2, again);
    for (int p = 0; p < PARTITIONS; p++)
        CHECK(again[p] == owned[0][p]);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(0, kafka_consumer_poll(members[1], 50, records, 1, events, &events_count));
        CHECK_INT(0, events_count); /* the other has not noticed */
    }
    kafka_consumer_close(members[0]);
    kafka_consumer_close(members[1]);
}

TEST(kafka_apache_a_second_instance_of_one_name_fences_the_first)
{
    const char *topic = fresh_topic(2);
    struct kafka_consumer *first = open_consumer(topic, topic, "one");
    struct kafka_consumer *second;
    bool owned[KAFKA_TEST_PARTITIONS_MAX] = {false};
    bool taken[KAFKA_TEST_PARTITIONS_MAX] = {false};

    kafka_await_assigned(first, 2, owned);
    second = open_consumer(topic, topic, "one");
    struct kafka_event fenced = kafka_await(first, KAFKA_FENCED, NULL);
    CHECK(fenced.text[0] != 0);
    kafka_consumer_close(first);
    kafka_await_assigned(second, 2, taken);
    kafka_consumer_close(second);
}

TEST(kafka_apache_added_partitions_are_assigned)
{
    const char *topic = fresh_topic(2);
    struct kafka_consumer *consumer = open_consumer(topic, topic, "one");
    bool owned[KAFKA_TEST_PARTITIONS_MAX] = {false};
    bool again[KAFKA_TEST_PARTITIONS_MAX] = {false};
    char arguments[192];
    uint64_t epoch;
    struct error err;

    kafka_await_assigned(consumer, 2, owned);
    (void)snprintf(arguments, sizeof arguments,
                   "org.apache.kafka.tools.TopicCommand --alter --partitions 4 --topic %s", topic);
    kafka_script("tool", arguments);
    (void)kafka_await(consumer, KAFKA_REVOKED, NULL); /* an eager group takes back all at once */
    kafka_consumer_revoke(consumer, 0);
    kafka_consumer_revoke(consumer, 1);
    kafka_await_assigned(consumer, 4, again);
    kafka_fill(brokers(), topic, 3, 0, 5);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 3, 0, &epoch, &err));
    kafka_read_in_order(consumer, 3, 0, 5, epoch);
    kafka_consumer_close(consumer);
}

/* ---- a broker that dies --------------------------------------------------------------------- */

TEST(kafka_apache_reading_goes_on_after_the_broker_was_killed)
{
    const char *topic = fresh_topic(1);
    struct kafka_consumer *consumer = open_consumer(topic, NULL, NULL);
    uint64_t epoch;
    struct error err;

    kafka_fill(brokers(), topic, 0, 0, 50);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    kafka_read_in_order(consumer, 0, 0, 50, epoch);
    kafka_script("kill", "1");
    (void)kafka_await(consumer, KAFKA_DOWN, NULL);
    kafka_script("restart", "1");
    kafka_fill(brokers(), topic, 0, 50, 50);
    kafka_read_in_order(consumer, 0, 50, 50, epoch);
    kafka_consumer_close(consumer);
}
