/* Tests ingest/lost_state against the embedded broker: a topic that nobody has read, one that the
 * group has, one that is not there, and no broker at all. */
#include "ingest/lost_state.h"

#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config *configured(const char *brokers, const char *topic)
{
    static const struct config_row *const tables[] = {kafka_config_rows, NULL};
    char brokers_set[128], topic_set[64];
    const char *sets[] = {brokers_set, topic_set, "kafka.group=g"};
    struct config *config;
    char *report;
    struct error err;

    (void)snprintf(brokers_set, sizeof brokers_set, "kafka.brokers=%s", brokers);
    (void)snprintf(topic_set, sizeof topic_set, "kafka.topics.events=%s", topic);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 3, &report, &err));
    free(report);
    return config;
}

static enum status check(const char *brokers, const char *topic, int64_t timeout_ms,
                         struct error *err)
{
    struct config *config = configured(brokers, topic);
    enum status status = lost_state_check(config, "fr", timeout_ms, err);

    config_destroy(config);
    return status;
}

/* Joins the group, as ingest does, and commits an offset of partition 0. */
static void commit(const char *brokers)
{
    struct config *config = configured(brokers, "events");
    struct kafka_consumer_options options;
    struct kafka_consumer *consumer;
    bool owned[2] = {false, false};
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    uint64_t epochs[2];
    struct error err;

    kafka_consumer_options_from(&options, config, "kafka.topics.events");
    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    kafka_await_assigned(consumer, 2, owned);
    for (int p = 0; p < 2; p++)
        CHECK_STATUS(OK, kafka_consumer_assign(consumer, p, 0, &epochs[p], &err));
    kafka_read_in_order(consumer, 0, 0, 3, epochs[0]);
    kafka_consumer_commit(consumer, 0, 3);
    while (check(brokers, "events", 5000, &err) == OK)
        CHECK(clock_monotonic_us() < until_us);
    kafka_consumer_close(consumer);
    config_destroy(config);
}

TEST(lost_state_is_what_a_group_has_read_and_redis_does_not_know)
{
    static const struct kafka_broker_topic topics[] = {{"events", 2}, {NULL, 0}};
    struct kafka_broker *broker;
    const char *address;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    address = kafka_broker_address(broker);
    CHECK_STATUS(OK, check(address, "nowhere", 5000, &err));
    CHECK_STATUS(OK, check(address, "events", 5000, &err));
    kafka_fill(address, "events", 0, 0, 3);
    CHECK_STATUS(OK, check(address, "events", 5000, &err));
    commit(address);
    CHECK_STATUS(ERR_CONFLICT, check(address, "events", 5000, &err));
    CHECK(strstr(err.text, "\"fr\"") != NULL && strstr(err.text, "--rebuild") != NULL);
    CHECK(strstr(err.text, "state-lost` says what else can be done") != NULL); /* not cut */
    kafka_broker_stop(broker);
    CHECK(check("127.0.0.1:1", "events", 200, &err) != OK);
    CHECK(status_action(err.status) == ACTION_RETRY);
}
