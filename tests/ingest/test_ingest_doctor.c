/* Tests ingest/ingest_doctor on a private redis-server: no data set, the right one, another one,
 * and another program's key in its place. A look changes nothing. */
#include "features/features_main.h"
#include "ingest/ingest_config.h"
#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/ops_main.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_server server;
static struct doctor_finding finding;

static struct config *configured(const char *shards)
{
    const struct config_row *tables[] = {ops_config_rows,
                                         redis_config_rows,
                                         events_config_rows,
                                         features_config_rows,
                                         ingest_config_rows,
                                         kafka_config_rows,
                                         NULL};
    struct config *config;
    struct error err;
    char url[200], set[64];
    const char *sets[] = {url, set, "kafka.brokers=127.0.0.1:1"};
    char *report = NULL;

    (void)snprintf(url, sizeof url, "redis.url=%s", server.url);
    (void)snprintf(set, sizeof set, "dataset.shards=%s", shards);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 3, &report, &err));
    free(report);
    return config;
}

static enum doctor_result look(const char *shards)
{
    struct config *config = configured(shards);

    ingest_doctor_checks[0].run(config, &finding);
    config_destroy(config);
    return finding.result;
}

static void create(void)
{
    struct config *config = configured("8");
    struct redis_connection *connection;
    struct redis_dataset dataset, wanted;
    struct redis_target target;
    struct redis_keys keys;
    struct event_schema *schema;
    struct error err;

    CHECK_STATUS(OK, event_schema_create(&schema, config, &err));
    CHECK_STATUS(OK, ingest_wanted_dataset(&wanted, config, schema, &err));
    CHECK_STATUS(OK, redis_target_from(&target, config, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_dataset_open(&dataset, connection, &keys, &wanted, 5000, &err));
    redis_dataset_clear(&dataset);
    redis_connection_destroy(connection);
    event_schema_destroy(schema);
    config_destroy(config);
}

TEST(ingest_doctor_says_what_becomes_of_the_data_set)
{
    redis_server_start(&server, NULL);
    CHECK_INT(DOCTOR_WARN, look("8"));
    CHECK(strstr(finding.remedy, "freshet ingest") != NULL);
    CHECK(strstr(finding.text, "Kafka does not say") != NULL);
    CHECK_TEXT("0", REDIS_COMMAND(&server, "DBSIZE"));
    create();
    CHECK_INT(DOCTOR_OK, look("8"));
    CHECK(strstr(finding.text, "8 shards") != NULL);
    CHECK_INT(DOCTOR_FAIL, look("16"));
    CHECK(strstr(finding.text, "shards") != NULL && strstr(finding.remedy, "namespace") != NULL);
    CHECK_TEXT("1", REDIS_COMMAND(&server, "DBSIZE"));
    (void)REDIS_COMMAND(&server, "SET", "fr{00}set", "text");
    CHECK_INT(DOCTOR_FAIL, look("8"));
    CHECK(finding.remedy[0] != 0);
    redis_server_stop(&server);
    CHECK_INT(DOCTOR_UNKNOWN, look("8"));
}

/* What "events-retention" says of a topic that keeps its records so long. */
static enum doctor_result look_at_log(const char *brokers, const char *retention_ms,
                                      const char *ttl)
{
    const struct kafka_topic_setting settings[] = {
        {"retention.ms", retention_ms}, {"segment.ms", "86400000"}, {NULL, NULL}};
    const struct config_row *tables[] = {ops_config_rows,
                                         kafka_config_rows,
                                         redis_config_rows,
                                         events_config_rows,
                                         features_config_rows,
                                         ingest_config_rows,
                                         NULL};
    const struct doctor_check *check = ingest_doctor_checks;
    char topic[64], sets[4][160];
    const char *set[] = {sets[0], sets[1], sets[2], "features.join_window=1h"};
    struct config *config;
    char *report = NULL;
    struct error err;

    (void)snprintf(topic, sizeof topic, "retention-%lld", (long long)clock_monotonic_us());
    if (retention_ms != NULL)
        CHECK_STATUS(OK, kafka_topic_create(brokers, NULL, topic, 1, 1, settings, 30000, &err));
    (void)snprintf(sets[0], sizeof sets[0], "kafka.brokers=%s", brokers);
    (void)snprintf(sets[1], sizeof sets[1], "kafka.topics.events=%s", topic);
    (void)snprintf(sets[2], sizeof sets[2], "features.ttl=%s", ttl);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, set, 4, &report, &err));
    free(report);
    while (strcmp(check->name, "events-retention") != 0)
        check++;
    check->run(config, &finding);
    config_destroy(config);
    return finding.result;
}

/* 7 days, a segment of one, a window of an hour: 8/7 of it are 9.19 days. */
TEST(kafka_apache_ingest_doctor_compares_the_age_of_users_and_of_the_log)
{
    const char *brokers = getenv("FRESHET_KAFKA");

    if (brokers == NULL || brokers[0] == 0)
        SKIP("no Apache Kafka (FRESHET_KAFKA is not set); tests/kafka/test_door.sh starts one");
    CHECK_INT(DOCTOR_OK, look_at_log(brokers, "604800000", "222h"));
    CHECK(strstr(finding.text, "9.2 are needed") != NULL);
    CHECK_INT(DOCTOR_FAIL, look_at_log(brokers, "604800000", "219h"));
    CHECK(strstr(finding.text, "features.ttl is 9.1 days") != NULL);
    CHECK(strstr(finding.remedy, "raise features.ttl") != NULL);
    CHECK_INT(DOCTOR_WARN, look_at_log(brokers, "-1", "219h"));
    CHECK(strstr(finding.text, "for ever") != NULL);
    CHECK_INT(DOCTOR_UNKNOWN, look_at_log(brokers, NULL, "219h"));
}

TEST(ingest_doctor_says_when_the_log_cannot_be_asked)
{
    CHECK_INT(DOCTOR_UNKNOWN, look_at_log("127.0.0.1:1", NULL, "219h"));
}
