/*
 * Tests ops/doctor_kafka: what it says of topics on Apache Kafka that are set wrongly, and that it
 * names the address when nobody answers.
 */
#include "kernels/model_rows.h"
#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_producer.h"
#include "ops/ops_main.h"
#include "retrain/role.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 20000

static struct doctor_finding finding;

/* set: kafka.topics.events=... of this run */
static enum doctor_result look(const char *brokers, const char *events, const char *name)
{
    const struct config_row *tables[] = {kafka_config_rows, NULL};
    char address[160], topic[160], none[160];
    const char *sets[] = {address, topic, none};
    struct config *config;
    char *report = NULL;
    struct error err;

    (void)snprintf(address, sizeof address, "kafka.brokers=%s", brokers);
    (void)snprintf(topic, sizeof topic, "kafka.topics.events=%s", events);
    (void)snprintf(none, sizeof none, "kafka.topics.examples=%s-none", events);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 3, &report, &err));
    free(report);
    finding = (struct doctor_finding){.result = DOCTOR_SKIP};
    for (const struct doctor_check *check = kafka_doctor_checks; check->name != NULL; check++)
        if (strcmp(check->name, name) == 0)
            check->run(config, &finding);
    config_destroy(config);
    return finding.result;
}

static const char *make_topic(const char *brokers, const char *policy, const char *retention_ms)
{
    const struct kafka_topic_setting settings[] = {
        {"cleanup.policy", policy}, {"retention.ms", retention_ms}, {NULL, NULL}};
    static char name[64];
    static int count;
    struct error err;

    (void)snprintf(name, sizeof name, "doctor-%d-%lld", count++, (long long)clock_monotonic_us());
    CHECK_STATUS(OK, kafka_topic_create(brokers, NULL, name, 1, 1, settings, TIMEOUT_MS, &err));
    return name;
}

TEST(kafka_apache_doctor_sees_topics_that_are_set_wrongly)
{
    const char *brokers = getenv("FRESHET_KAFKA");
    const char *good;

    if (brokers == NULL || brokers[0] == 0)
        SKIP("no Apache Kafka (FRESHET_KAFKA is not set); tests/kafka/test_door.sh starts one");
    CHECK_INT(DOCTOR_FAIL,
              look(brokers, make_topic(brokers, "compact", "864000000"), "kafka-settings"));
    CHECK(strstr(finding.text, "cleanup.policy=compact") != NULL);
    CHECK(strstr(finding.remedy, "cleanup.policy=delete") != NULL);
    CHECK_INT(DOCTOR_WARN,
              look(brokers, make_topic(brokers, "delete", "86400000"), "kafka-settings"));
    CHECK(strstr(finding.text, "keeps 1.0 days, 7 or more") != NULL);
    good = make_topic(brokers, "delete", "864000000");
    CHECK_INT(DOCTOR_OK, look(brokers, good, "kafka-settings"));
    CHECK_INT(DOCTOR_OK, look(brokers, good, "kafka-version"));
    CHECK(strstr(finding.text, "librdkafka") != NULL);
    CHECK_INT(DOCTOR_OK, look(brokers, good, "kafka"));
    CHECK_INT(DOCTOR_FAIL, look(brokers, good, "kafka-topics")); /* the others are missing */
}

TEST(kafka_apache_doctor_sees_records_from_the_future)
{
    const char *brokers = getenv("FRESHET_KAFKA"), *topic;
    struct kafka_producer_options options = {.brokers = brokers};
    struct kafka_message message = {.value = {"x", 1}};
    struct kafka_producer *producer;
    struct error err;

    if (brokers == NULL || brokers[0] == 0)
        SKIP("no Apache Kafka (FRESHET_KAFKA is not set); tests/kafka/test_door.sh starts one");
    topic = make_topic(brokers, "delete", "864000000");
    CHECK_INT(DOCTOR_OK, look(brokers, topic, "kafka-clock"));
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    message.topic = topic;
    message.timestamp_ms = clock_wall_ms();
    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
    CHECK_STATUS(OK, kafka_producer_flush(producer, TIMEOUT_MS, &err));
    CHECK_INT(DOCTOR_OK, look(brokers, topic, "kafka-clock"));
    message.timestamp_ms = clock_wall_ms() + 1800000;
    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
    CHECK_STATUS(OK, kafka_producer_flush(producer, TIMEOUT_MS, &err));
    kafka_producer_close(producer, 0);
    CHECK_INT(DOCTOR_WARN, look(brokers, topic, "kafka-clock"));
    CHECK(strstr(finding.text, "1 of 1 partitions") != NULL);
    CHECK(strstr(finding.text, "a minute or more ahead of our clock, by its producer") != NULL);
    CHECK(strstr(finding.remedy, "producers") != NULL);
}

TEST(doctor_kafka_does_not_guess_at_clocks_that_it_cannot_see)
{
    CHECK_INT(DOCTOR_UNKNOWN, look("127.0.0.1:1", "events", "kafka-clock"));
}

/* The embedded broker knows neither its version nor how a topic is set. */
TEST(doctor_kafka_does_not_call_right_what_the_brokers_do_not_tell)
{
    const struct kafka_broker_topic topics[] = {{"events", 1}, {NULL, 0}};
    struct kafka_broker *broker;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    CHECK_INT(DOCTOR_OK, look(kafka_broker_address(broker), "events", "kafka"));
    CHECK_INT(DOCTOR_SKIP, look(kafka_broker_address(broker), "events", "kafka-version"));
    CHECK(strstr(finding.text, "; this is the embedded broker") != NULL);
    CHECK_INT(DOCTOR_SKIP, look(kafka_broker_address(broker), "events", "kafka-settings"));
    kafka_broker_stop(broker);
    /* One that does not answer is no embedded one. */
    CHECK_INT(DOCTOR_UNKNOWN, look("127.0.0.1:1", "events", "kafka-version"));
    CHECK(strstr(finding.text, "the brokers do not tell theirs: ") != NULL);
    CHECK(strstr(finding.remedy, "DESCRIBE_CONFIGS") != NULL);
}

TEST(doctor_kafka_names_the_address_that_does_not_answer)
{
    CHECK_INT(DOCTOR_FAIL, look("127.0.0.1:1", "events", "kafka"));
    CHECK(strstr(finding.text, "127.0.0.1:1") != NULL);
    CHECK(strstr(finding.remedy, "kafka.brokers") != NULL);
}

TEST(doctor_kafka_lists_the_rights_that_operators_commands_need)
{
    const struct config_row *tables[] = {kafka_config_rows, NULL};
    const char *sets[] = {"kafka.security.protocol=sasl_ssl", "kafka.security.username=app"};
    const struct doctor_check *check = kafka_acl_checks;
    struct config *config;
    char *report = NULL;
    struct error err;

    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 2, &report, &err));
    free(report);
    while (check->name != NULL && strcmp(check->name, "kafka-acl-commands") != 0)
        check++;
    CHECK(check->name != NULL);
    check->run(config, &finding);
    CHECK_INT(DOCTOR_NOTE, finding.result); /* nothing was asked */
    CHECK(strstr(finding.text, "app needs WRITE on topic events") != NULL);
    CHECK(strstr(finding.text, "READ on topics events, examples and dead for verify") != NULL);
    config_destroy(config);
}

static void check_retrain_needs(const char *set, const char *needs)
{
    const struct config_row *tables[] = {kafka_config_rows, model_config_rows, retrain_config_rows,
                                         NULL};
    const char *sets[] = {"kafka.security.protocol=sasl_ssl", "kafka.security.username=app", set};
    const struct doctor_check *check = kafka_acl_checks;
    struct config *config;
    char *report = NULL;
    struct error err;

    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, set == NULL ? 2 : 3, &report, &err));
    free(report);
    while (check->name != NULL && strcmp(check->name, "kafka-acl-retrain") != 0)
        check++;
    CHECK(check->name != NULL);
    check->run(config, &finding);
    CHECK_TEXT(needs, finding.text);
    config_destroy(config);
}

TEST(kafka_doctor_asks_for_the_items_topic_where_retrain_reads_it)
{
    check_retrain_needs(NULL, "app needs READ on topics events and examples");
    check_retrain_needs("retrain.cold_items=5",
                        "app needs READ on topics events, examples and items");
    check_retrain_needs("model.text=32", "app needs READ on topics events, examples and items");
}
