/* Tests ingest/deliveries: what a command is told of its records, and of the topic before them.
 * That a topic is not there: tests/kafka/test_reset.sh (the embedded broker makes every topic that
 * it is asked for). */
#include "ingest/deliveries.h"

#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST(deliveries_count_what_came_and_what_never_will)
{
    struct deliveries d = {0};

    deliveries_count(&d, 0, OK, 0, 17);
    deliveries_count(&d, 1, OK, 3, 0);
    deliveries_count(&d, 2, ERR_TIMEOUT, -1, -1);
    deliveries_count(&d, UINT64_MAX, ERR_LIMIT, INT32_MAX, INT64_MAX);
    CHECK_INT(2, d.delivered);
    CHECK_INT(2, d.failed);
}

static enum status check_topic(const char *brokers, struct error *err)
{
    static const struct config_row *const tables[] = {kafka_config_rows, NULL};
    char set[100], *report;
    const char *const sets[] = {set};
    struct config *config;
    enum status status;

    (void)snprintf(set, sizeof set, "kafka.brokers=%s", brokers);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, err));
    free(report);
    status = deliveries_check_topic(config, "events", err);
    config_destroy(config);
    return status;
}

TEST(deliveries_check_names_the_brokers_that_do_not_answer)
{
    static const struct kafka_broker_topic topics[] = {{"events", 1}, {NULL, 0}};
    struct kafka_broker *broker;
    enum status status;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    CHECK_STATUS(OK, check_topic(kafka_broker_address(broker), &err));
    kafka_broker_stop(broker);
    status = check_topic("127.0.0.1:1", &err);
    CHECK(status == ERR_UNAVAILABLE || status == ERR_TIMEOUT);
    CHECK(strncmp(err.text, "kafka.brokers 127.0.0.1:1", 25) == 0);
}
