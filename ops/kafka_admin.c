/* ops/kafka_admin.c - topics through librdkafka's admin client, and its mock cluster as a broker.
 */
#include "ops/kafka_admin.h"

#include "ops/clock.h"
#include "ops/kafka_client.h"

#include <librdkafka/rdkafka_mock.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VISIBLE_WAIT_US 20000 /* between two looks for a topic that was just created */

struct admin {
    struct kafka_access access; /* first: librdkafka's opaque is the whole */
    rd_kafka_t *client;
    char why[KAFKA_ACCESS_TEXT]; /* what somebody must mend, "" when nothing */
};

static void on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct admin *admin = opaque;

    (void)client;
    kafka_error_count((rd_kafka_resp_err_t)code);
    (void)kafka_access_explain(&admin->access, (rd_kafka_resp_err_t)code, reason, NULL, false,
                               admin->why);
}

static enum status open_client(struct admin *admin, const char *brokers, const char *properties,
                               struct error *err)
{
    struct kafka_settings settings;
    enum status status;

    *admin = (struct admin){0};
    status = kafka_settings_begin(&settings, &admin->access, brokers, "freshet-admin", err);
    if (status != OK)
        return status;
    /* A consumer, because a producer that asks for a topic may create it. */
    kafka_set(&settings, "allow.auto.create.topics", "false");
    kafka_set_lines(&settings, properties);
    rd_kafka_conf_set_opaque(settings.conf, admin);
    rd_kafka_conf_set_error_cb(settings.conf, on_error);
    return kafka_settings_open(&settings, RD_KAFKA_CONSUMER, &admin->client, err);
}

static enum status ask_partitions(struct admin *admin, const char *topic, int64_t timeout_ms,
                                  int *partitions, struct error *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(admin->client, topic, NULL);
    rd_kafka_resp_err_t code;

    *partitions = 0;
    if (handle == NULL)
        return error_set(err, ERR_CONFIG, "topic \"%s\": %s", topic,
                         rd_kafka_err2str(rd_kafka_last_error()));
    code = rd_kafka_metadata(admin->client, 0, handle, &metadata, (int)timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata->topic_cnt == 1) {
        code = metadata->topics[0].err;
        *partitions = metadata->topics[0].partition_cnt;
    }
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)rd_kafka_poll(admin->client, 0); /* what went wrong is told by on_error() */
    if (kafka_access_explain(&admin->access, code, "", topic, false, admin->why) ||
        (code != RD_KAFKA_RESP_ERR_NO_ERROR && admin->why[0] != '\0'))
        return error_set(err, kafka_status_of(code), "%s", admin->why);
    if (code == RD_KAFKA_RESP_ERR__TRANSPORT)
        return error_set(err, ERR_UNAVAILABLE, "topic \"%s\": no broker could be reached", topic);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return error_set(err, kafka_status_of(code), "topic \"%s\": %s", topic,
                         rd_kafka_err2str(code));
    if (*partitions == 0)
        return error_set(err, ERR_NOT_FOUND, "topic \"%s\" does not exist", topic);
    return OK;
}

enum status kafka_topic_partitions(const char *brokers, const char *properties, const char *topic,
                                   int64_t timeout_ms, int *partitions, struct error *err)
{
    struct admin admin;
    enum status status = open_client(&admin, brokers, properties, err);

    assert(topic != NULL && partitions != NULL);
    if (status != OK)
        return status;
    status = ask_partitions(&admin, topic, timeout_ms, partitions, err);
    rd_kafka_destroy(admin.client);
    return status;
}

enum status kafka_topic_partitions_as(const struct kafka_consumer_options *options,
                                      int64_t timeout_ms, int *partitions, struct error *err)
{
    const char *own = options->properties == NULL ? "" : options->properties;
    char *of_config = NULL, *lines = NULL;
    enum status status = OK;

    if (options->config != NULL)
        status = kafka_properties(options->config, &of_config, err);
    if (status == OK && asprintf(&lines, "%s\n%s", of_config == NULL ? "" : of_config, own) < 0) {
        lines = NULL;
        status = error_set(err, ERR_NOMEM, "no memory for Kafka properties");
    }
    if (status == OK)
        status = kafka_topic_partitions(options->brokers, lines, options->topic, timeout_ms,
                                        partitions, err);
    if (of_config != NULL)
        explicit_bzero(of_config, strlen(of_config));
    if (lines != NULL)
        explicit_bzero(lines, strlen(lines));
    free(of_config);
    free(lines);
    return status;
}

/* ---- creating ----------------------------------------------------------------------------- */

static enum status read_created(rd_kafka_event_t *event, const char *topic, struct error *err)
{
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    const rd_kafka_topic_result_t **topics;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *why = rd_kafka_event_error_string(event);
    size_t count = 0;

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && result != NULL) {
        topics = rd_kafka_CreateTopics_result_topics(result, &count);
        if (count > 0) {
            code = rd_kafka_topic_result_error(topics[0]);
            why = rd_kafka_topic_result_error_string(topics[0]);
        }
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return OK;
    return error_set(err, kafka_status_of(code), "could not create topic \"%s\": %s", topic,
                     why == NULL ? rd_kafka_err2str(code) : why);
}

static enum status send_create(rd_kafka_t *client, rd_kafka_NewTopic_t *wanted, const char *topic,
                               int64_t timeout_ms, struct error *err)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client,
                                                                 RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_event_t *event;
    char why[128];
    enum status status;

    (void)rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, why, sizeof why);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, (int)timeout_ms, why, sizeof why);
    rd_kafka_CreateTopics(client, &wanted, 1, options, queue);
    event = rd_kafka_queue_poll(queue, (int)timeout_ms + 1000);
    if (event == NULL)
        status = error_set(err, ERR_TIMEOUT, "creating topic \"%s\" took too long", topic);
    else
        status = read_created(event, topic, err);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return status;
}

/* The controller has answered; until the other brokers know, a client may be told "unknown". */
static enum status wait_visible(struct admin *admin, const char *topic, int64_t until_us,
                                struct error *err)
{
    int partitions;
    enum status status;

    for (;;) {
        int64_t left_us = until_us - clock_monotonic_us();
        status = ask_partitions(admin, topic, left_us > 1000000 ? left_us / 1000 : 1000,
                                &partitions, err);
        if (status != ERR_NOT_FOUND || left_us <= 0)
            return status;
        clock_sleep_us(VISIBLE_WAIT_US);
    }
}

enum status kafka_topic_create(const char *brokers, const char *properties, const char *topic,
                               int partitions, int replicas,
                               const struct kafka_topic_setting *settings, int64_t timeout_ms,
                               struct error *err)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;
    rd_kafka_NewTopic_t *wanted = NULL;
    struct admin admin;
    char why[128];
    int present;
    enum status status;

    assert(topic != NULL && partitions > 0 && replicas != 0 && timeout_ms > 0);
    status = open_client(&admin, brokers, properties, err);
    if (status != OK)
        return status;
    status = ask_partitions(&admin, topic, timeout_ms, &present, err);
    if (status != ERR_NOT_FOUND)
        goto done;
    wanted = rd_kafka_NewTopic_new(topic, partitions, replicas, why, sizeof why);
    if (wanted == NULL) {
        status = error_set(err, ERR_CONFIG, "topic \"%s\": %s", topic, why);
        goto done;
    }
    for (; settings != NULL && settings->name != NULL; settings++)
        (void)rd_kafka_NewTopic_set_config(wanted, settings->name, settings->value);
    status = send_create(admin.client, wanted, topic, timeout_ms, err);
    if (status == OK)
        status = wait_visible(&admin, topic, until_us, err);
done:
    if (wanted != NULL)
        rd_kafka_NewTopic_destroy(wanted);
    rd_kafka_destroy(admin.client);
    return status;
}

/* ---- the embedded broker -------------------------------------------------------------------- */

struct kafka_broker {
    rd_kafka_t *client; /* the mock cluster lives inside a client */
    rd_kafka_mock_cluster_t *cluster;
};

enum status kafka_broker_start(struct kafka_broker **broker,
                               const struct kafka_broker_topic *topics, struct error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    struct kafka_broker *b = calloc(1, sizeof *b);
    enum status status = OK;
    char why[200];

    assert(broker != NULL && err != NULL);
    *broker = NULL;
    if (b == NULL) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, ERR_NOMEM, "no memory for a Kafka broker");
    }
    (void)rd_kafka_conf_set(conf, "client.id", "freshet-broker", NULL, 0);
    (void)rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
    b->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (b->client == NULL) {
        rd_kafka_conf_destroy(conf);
        status = error_set(err, ERR_IO, "embedded Kafka broker: %s", why);
        goto done;
    }
    b->cluster = rd_kafka_mock_cluster_new(b->client, 1);
    if (b->cluster == NULL) {
        status = error_set(err, ERR_IO, "the embedded Kafka broker could not listen on loopback");
        goto done;
    }
    for (; topics != NULL && topics->name != NULL; topics++) {
        rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(b->cluster, topics->name,
                                                              topics->partitions, 1);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            status = error_set(err, ERR_CONFIG, "topic \"%s\" of the embedded broker: %s",
                               topics->name, rd_kafka_err2str(code));
            goto done;
        }
    }
    *broker = b;
    b = NULL;
done:
    kafka_broker_stop(b);
    return status;
}

const char *kafka_broker_address(const struct kafka_broker *broker)
{
    return rd_kafka_mock_cluster_bootstraps(broker->cluster);
}

void kafka_broker_set_up(struct kafka_broker *broker, bool up)
{
    if (up)
        (void)rd_kafka_mock_broker_set_up(broker->cluster, -1);
    else
        (void)rd_kafka_mock_broker_set_down(broker->cluster, -1);
}

void kafka_broker_set_delay(struct kafka_broker *broker, int delay_ms)
{
    (void)rd_kafka_mock_broker_set_rtt(broker->cluster, -1, delay_ms);
}

void kafka_broker_refuse(struct kafka_broker *broker, int request, int error, int count)
{
    for (int i = 0; i < count; i++)
        rd_kafka_mock_push_request_errors(broker->cluster, (int16_t)request, 1,
                                          (rd_kafka_resp_err_t)error);
}

void kafka_broker_stop(struct kafka_broker *broker)
{
    if (broker == NULL)
        return;
    if (broker->cluster != NULL)
        rd_kafka_mock_cluster_destroy(broker->cluster);
    if (broker->client != NULL)
        rd_kafka_destroy(broker->client);
    free(broker);
}
