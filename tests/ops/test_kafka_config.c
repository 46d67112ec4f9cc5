/* Tests ops/kafka_config: options come from the kafka.* rows, and secrets reach librdkafka only. */
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"

#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config *load(const char *const *sets, int count)
{
    static const struct config_row *const tables[] = {kafka_config_rows, NULL};
    struct config *config;
    char *report;
    struct error err;

    if (config_load(&config, tables, NULL, sets, count, &report, &err) != OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    free(report);
    return config;
}

TEST(kafka_options_come_from_the_configuration)
{
    static const char *const sets[] = {
        "kafka.brokers=a:1,b:2",     "kafka.group=g",
        "kafka.instance_id=one",     "kafka.topics.events=clicks",
        "kafka.session_timeout=10s", "kafka.isolation=read_uncommitted",
        "kafka.queue=16MiB",         "kafka.delivery_timeout=5s",
    };
    struct config *config = load(sets, sizeof sets / sizeof sets[0]);
    struct kafka_consumer_options consumer;
    struct kafka_producer_options producer;

    kafka_consumer_options_from(&consumer, config, "kafka.topics.events");
    CHECK_TEXT("a:1,b:2", consumer.brokers);
    CHECK_TEXT("g", consumer.group);
    CHECK_TEXT("one", consumer.instance_id);
    CHECK_TEXT("clicks", consumer.topic);
    CHECK_INT(10000, consumer.session_timeout_ms);
    CHECK_INT(300000, consumer.max_poll_ms);
    CHECK_INT(10, consumer.fetch_wait_max_ms);
    CHECK_INT(16 << 20, consumer.queue_bytes_max);
    CHECK(consumer.read_uncommitted && !consumer.end_events);
    kafka_producer_options_from(&producer, config);
    CHECK_TEXT("a:1,b:2", producer.brokers);
    CHECK_INT(5000, producer.delivery_timeout_ms);
    CHECK_TEXT("lz4", producer.compression);
    config_destroy(config);
}

TEST(kafka_defaults_open_clients)
{
    struct config *config = load(NULL, 0);
    struct kafka_consumer_options options;
    struct kafka_producer_options producer_options;
    struct kafka_consumer *consumer;
    struct kafka_producer *producer;
    struct error err;

    kafka_consumer_options_from(&options, config, "kafka.topics.items");
    CHECK_TEXT("items", options.topic);
    CHECK(options.instance_id == NULL);
    options.brokers = "127.0.0.1:1";
    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    kafka_consumer_close(consumer);
    kafka_producer_options_from(&producer_options, config);
    producer_options.brokers = "127.0.0.1:1";
    CHECK_STATUS(OK, kafka_producer_open(&producer, &producer_options, &err));
    kafka_producer_close(producer, 0);
    config_destroy(config);
}

TEST(kafka_properties_hold_security_and_what_has_no_row)
{
    static const char *const sets[] = {
        "kafka.security.protocol=sasl_ssl",
        "kafka.security.username=app",
        "kafka.security.password=env:FRESHET_TEST_PASSWORD",
        "kafka.security.ca=/ca.pem",
        "kafka.properties=socket.timeout.ms=5000,retry.backoff.ms=50",
    };
    char *lines;
    struct error err;

    CHECK(setenv("FRESHET_TEST_PASSWORD", "se=cret", 1) == 0);
    struct config *config = load(sets, sizeof sets / sizeof sets[0]);
    CHECK_STATUS(OK, kafka_properties(config, &lines, &err));
    CHECK_TEXT("security.protocol=sasl_ssl\nsasl.mechanism=SCRAM-SHA-512\nsasl.username=app\n"
               "sasl.password=se=cret\nssl.ca.location=/ca.pem\nsocket.timeout.ms=5000\n"
               "retry.backoff.ms=50\n",
               lines);
    free(lines);
    CHECK(unsetenv("FRESHET_TEST_PASSWORD") == 0);
    CHECK(kafka_properties(config, &lines, &err) != OK);
    CHECK(lines == NULL);
    config_destroy(config);
}

TEST(kafka_plaintext_sends_no_password)
{
    static const char *const sets[] = {"kafka.security.password=env:FRESHET_TEST_ABSENT"};
    struct config *config = load(sets, 1);
    char *lines;
    struct error err;

    CHECK_STATUS(OK, kafka_properties(config, &lines, &err));
    CHECK_TEXT("security.protocol=plaintext\n", lines);
    free(lines);
    config_destroy(config);
}

TEST(kafka_tls_files_that_are_not_there_are_named)
{
    static const char *const sets[] = {"kafka.security.protocol=ssl",
                                       "kafka.security.ca=/nowhere/ca.pem"};
    struct config *config = load(sets, 2);
    struct kafka_consumer_options options;
    struct kafka_consumer *consumer;
    struct error err;

    kafka_consumer_options_from(&options, config, "kafka.topics.events");
    CHECK_STATUS(ERR_CONFIG, kafka_consumer_open(&consumer, &options, &err));
    CHECK(strstr(err.text, "ssl.ca.location") != NULL);
    config_destroy(config);
}

struct told {
    int count;
    char text[2000]; /* each ends with a semicolon */
};

static void tell(void *context, const char *key, const char *text)
{
    struct told *told = context;
    size_t used = strlen(told->text);

    CHECK(strstr(text, key) != NULL);
    told->count++;
    (void)snprintf(told->text + used, sizeof told->text - used, "%s;", text);
}

static enum status check_rules(struct config *config, struct error *err)
{
    for (const struct config_rule *rule = kafka_config_rules; rule->key != NULL; rule++) {
        struct told told = {0};
        enum status status = OK;

        if (rule->check != NULL)
            status = rule->check(config, err);
        else
            rule->check_each(config, tell, &told);
        if (told.count > 0)
            status = error_set(err, ERR_CONFIG, "%.200s", told.text);
        if (status != OK)
            return status;
    }
    return OK;
}

/* librdkafka is asked, and what freshet sets itself, or shows to everybody, is refused. */
TEST(kafka_config_rules_ask_librdkafka_for_each_property)
{
    static const char *const cases[][2] = {
        {"socket.timeout.sm=5", "\"socket.timeout.sm\" is unknown"},
        {"socket.timeout.sm=5", "did you mean \"socket.timeout.ms\"?"},
        {"socket.timeout.ms=soon", "cannot have this value"},
        {"socket.timeout.ms", "lacks its \"=\""},
        {"acks=0", "set by freshet itself"},
        {"sasl.password=x", "is given as kafka.security.password"},
        {"ssl.key.password=file:x", "is given as kafka.security.key_password"},
        {"ssl.key.pem=x", "is given as kafka.security.key"},
        {"ssl.keystore.password=x", "file:PATH or env:NAME, not the secret itself"},
        {"ssl.keystore.password=env:FRESHET_TEST_NO_SUCH", "no environment variable"},
    };
    static const char good[] = "kafka.properties=socket.timeout.ms=5000,,"
                               "ssl.keystore.password=env:FRESHET_TEST_KEYSTORE";
    const char *const sets[] = {good};
    struct config *config;
    char *lines;
    struct error err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char set[200];
        const char *const one[] = {set};

        (void)snprintf(set, sizeof set, "kafka.properties=%s", cases[i][0]);
        config = load(one, 1);
        CHECK_STATUS(ERR_CONFIG, check_rules(config, &err));
        if (strstr(err.text, cases[i][1]) == NULL)
            test_fail(__FILE__, __LINE__, "%s: %s", cases[i][0], err.text);
        config_destroy(config);
    }
    CHECK_INT(0, setenv("FRESHET_TEST_KEYSTORE", "hunter2", 1));
    config = load(sets, 1);
    CHECK_STATUS(OK, check_rules(config, &err));
    CHECK_STATUS(OK, kafka_properties(config, &lines, &err));
    CHECK(strstr(lines, "ssl.keystore.password=hunter2\n") != NULL);
    free(lines);
    config_destroy(config);
    CHECK_INT(0, unsetenv("FRESHET_TEST_KEYSTORE"));
}

TEST(kafka_config_rules_name_the_certificate_that_cannot_be_used)
{
    static const char *const cases[][2] = {
        {"kafka.security.ca=/nowhere/ca.pem", "kafka.security.ca: "},
        {"kafka.security.ca=Makefile", "holds no certificate"},
        {"kafka.security.certificate=/nowhere/c.pem", "go together"},
        {"kafka.security.key=/nowhere/c.key", "go together"},
    };
    struct error err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const tls[] = {"kafka.security.protocol=ssl", cases[i][0]};
        const char *const plain[] = {cases[i][0]};
        struct config *config = load(tls, 2);

        CHECK_STATUS(ERR_CONFIG, check_rules(config, &err));
        CHECK(strstr(err.text, cases[i][1]) != NULL);
        config_destroy(config);
        config = load(plain, 1);
        CHECK_STATUS(OK, check_rules(config, &err)); /* no TLS: nobody reads them */
        config_destroy(config);
    }
}
