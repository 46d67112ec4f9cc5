/* ops/kafka_ask.c - a client for one question, its answer copied out. */
#include "ops/kafka_ask.h"

#include "ops/kafka_client.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define OFFSET_NONE (-1) /* KAFKA_OFFSET_NONE */

static enum status open_client(rd_kafka_t **client, const struct config *config, struct error *err)
{
    struct kafka_settings settings;
    enum status status = kafka_settings_begin(&settings, NULL, config_text(config, "kafka.brokers"),
                                              "freshet-ask", err);

    *client = NULL;
    if (status != OK)
        return status;
    /* A consumer, because a producer that asks for a topic may create it. */
    kafka_set(&settings, "allow.auto.create.topics", "false");
    kafka_set_security(&settings, config);
    return kafka_settings_open(&settings, RD_KAFKA_CONSUMER, client, err);
}

static enum status refused(rd_kafka_resp_err_t code, const char *what, const char *name,
                           const char *why, struct error *err)
{
    enum status status = code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ||
                                 code == RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
                             ? ERR_VERSION
                             : kafka_status_of(code);

    return error_set(err, status, "%s \"%s\": %s", what, name,
                     why == NULL || why[0] == 0 ? rd_kafka_err2str(code) : why);
}

/* ---- the admin client's calls: a queue, options, one event ---- */

struct question {
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_event_t *event;
    int64_t timeout_ms;
};

static enum status question_open(struct question *q, const struct config *config,
                                 rd_kafka_admin_op_t kind, int64_t timeout_ms, struct error *err)
{
    enum status status;
    char why[128];

    *q = (struct question){.timeout_ms = timeout_ms};
    status = open_client(&q->client, config, err);
    if (status != OK)
        return status;
    q->queue = rd_kafka_queue_new(q->client);
    q->options = rd_kafka_AdminOptions_new(q->client, kind);
    (void)rd_kafka_AdminOptions_set_request_timeout(q->options, (int)timeout_ms, why, sizeof why);
    return OK;
}

static enum status question_wait(struct question *q, const char *what, const char *name,
                                 struct error *err)
{
    rd_kafka_resp_err_t code;

    q->event = rd_kafka_queue_poll(q->queue, (int)q->timeout_ms + 1000);
    if (q->event == NULL)
        return error_set(err, ERR_TIMEOUT, "%s \"%s\": no broker answered", what, name);
    code = rd_kafka_event_error(q->event);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return refused(code, what, name, rd_kafka_event_error_string(q->event), err);
    return OK;
}

static void question_close(struct question *q)
{
    if (q->event != NULL)
        rd_kafka_event_destroy(q->event);
    if (q->options != NULL)
        rd_kafka_AdminOptions_destroy(q->options);
    if (q->queue != NULL)
        rd_kafka_queue_destroy(q->queue);
    if (q->client != NULL)
        rd_kafka_destroy(q->client);
}

/* By the older call of librdkafka: after DescribeConsumerGroups, 2.0.2 never gets its client
 * destroyed when the brokers do not know the question. */
enum status kafka_group_members(const struct config *config, const char *group, int64_t timeout_ms,
                                int *members, struct error *err)
{
    const struct rd_kafka_group_list *groups = NULL;
    rd_kafka_resp_err_t code;
    rd_kafka_t *client;
    enum status status = open_client(&client, config, err);

    assert(group != NULL && members != NULL && timeout_ms > 0);
    *members = 0;
    if (status != OK)
        return status;
    code = rd_kafka_list_groups(client, group, &groups, (int)timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__PARTIAL)
        status = refused(code, "group", group, NULL, err);
    for (int i = 0; groups != NULL && status == OK && i < groups->group_cnt; i++) {
        const struct rd_kafka_group_info *info = &groups->groups[i];

        if (strcmp(info->group, group) != 0)
            continue;
        if (info->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            status = refused(info->err, "group", group, NULL, err);
        else
            *members += info->member_cnt;
    }
    /* A broker that did not answer may be the one that keeps the group. */
    if (status == OK && code == RD_KAFKA_RESP_ERR__PARTIAL && *members == 0)
        status = error_set(err, ERR_UNAVAILABLE, "group \"%s\": not every broker answered", group);
    if (groups != NULL)
        rd_kafka_group_list_destroy(groups);
    rd_kafka_destroy(client);
    return status;
}

/* ---- settings ---- */

static enum status first_broker(rd_kafka_t *client, int64_t timeout_ms, char id[16],
                                struct error *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 0, NULL, &metadata, (int)timeout_ms);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return refused(code, "settings of", "a broker", NULL, err);
    (void)snprintf(id, 16, "%d", metadata->broker_cnt > 0 ? (int)metadata->brokers[0].id : 0);
    rd_kafka_metadata_destroy(metadata);
    return OK;
}

static void take_settings(const rd_kafka_ConfigResource_t *resource, struct kafka_setting *settings,
                          int count)
{
    size_t entries_count = 0;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource,
                                                                             &entries_count);

    for (size_t e = 0; e < entries_count; e++)
        for (int i = 0; i < count; i++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[e]);

            if (value != NULL &&
                strcmp(settings[i].name, rd_kafka_ConfigEntry_name(entries[e])) == 0)
                (void)snprintf(settings[i].value, sizeof settings[i].value, "%s", value);
        }
}

enum status kafka_settings_of(const struct config *config, const char *topic,
                              struct kafka_setting *settings, int count, int64_t timeout_ms,
                              struct error *err)
{
    const char *what = topic == NULL ? "settings of broker" : "settings of topic";
    rd_kafka_ConfigResource_t *asked = NULL;
    char id[16] = "";
    struct question q;
    enum status status = question_open(&q, config, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms,
                                       err);

    for (int i = 0; i < count; i++)
        settings[i].value[0] = 0;
    if (status == OK && topic == NULL)
        status = first_broker(q.client, timeout_ms, id, err);
    if (status == OK) {
        asked = rd_kafka_ConfigResource_new(topic == NULL ? RD_KAFKA_RESOURCE_BROKER
                                                          : RD_KAFKA_RESOURCE_TOPIC,
                                            topic == NULL ? id : topic);
        rd_kafka_DescribeConfigs(q.client, &asked, 1, q.options, q.queue);
        status = question_wait(&q, what, topic == NULL ? id : topic, err);
    }
    if (status == OK) {
        size_t answers = 0;
        const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(q.event), &answers);
        rd_kafka_resp_err_t code = answers == 1 ? rd_kafka_ConfigResource_error(resources[0])
                                                : RD_KAFKA_RESP_ERR__FAIL;

        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            status = refused(
                code, what, topic == NULL ? id : topic,
                answers == 1 ? rd_kafka_ConfigResource_error_string(resources[0]) : NULL, err);
        else
            take_settings(resources[0], settings, count);
    }
    if (asked != NULL)
        rd_kafka_ConfigResource_destroy(asked);
    question_close(&q);
    return status;
}

/* ---- what every client can ask ---- */

enum status kafka_replicas(const struct config *config, const char *topic, int64_t timeout_ms,
                           int *replicas, int *brokers, struct error *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = NULL;
    rd_kafka_t *client;
    rd_kafka_resp_err_t code;
    enum status status = open_client(&client, config, err);

    *replicas = *brokers = 0;
    if (status != OK)
        return status;
    handle = rd_kafka_topic_new(client, topic, NULL);
    code = handle == NULL ? rd_kafka_last_error()
                          : rd_kafka_metadata(client, 0, handle, &metadata, (int)timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL && metadata->topic_cnt == 1) {
        code = metadata->topics[0].err;
        *brokers = metadata->broker_cnt;
        for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
            if (i == 0 || metadata->topics[0].partitions[i].replica_cnt < *replicas)
                *replicas = metadata->topics[0].partitions[i].replica_cnt;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        status = refused(code, "topic", topic, NULL, err);
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (handle != NULL)
        rd_kafka_topic_destroy(handle);
    rd_kafka_destroy(client);
    return status;
}

bool kafka_is_embedded(const struct config *config, int64_t timeout_ms)
{
    static const char prefix[] = "mockCluster"; /* librdkafka names its mocks so */
    struct error ignored;
    rd_kafka_t *client;
    bool embedded;
    char *id;

    if (open_client(&client, config, &ignored) != OK)
        return false;
    id = rd_kafka_clusterid(client, (int)timeout_ms);
    embedded = id != NULL && strncmp(id, prefix, sizeof prefix - 1) == 0;
    if (id != NULL)
        rd_kafka_mem_free(client, id);
    rd_kafka_destroy(client);
    return embedded;
}

/* Replaces the times in a list by the first offsets that have them; -1: none. */
static enum status ask_times(const struct config *config, const char *topic,
                             rd_kafka_topic_partition_list_t *list, int64_t timeout_ms,
                             struct error *err)
{
    rd_kafka_resp_err_t code;
    rd_kafka_t *client;
    enum status status = open_client(&client, config, err);

    if (status != OK)
        return status;
    code = rd_kafka_offsets_for_times(client, list, (int)timeout_ms);
    for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        code = list->elems[i].err;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        status = refused(code, "first record of a time in topic", topic, NULL, err);
    rd_kafka_destroy(client);
    return status;
}

enum status kafka_offset_at(const struct config *config, const char *topic, int32_t partition,
                            int64_t time_ms, int64_t timeout_ms, int64_t *offset, struct error *err)
{
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    enum status status;

    *offset = OFFSET_NONE;
    rd_kafka_topic_partition_list_add(one, topic, partition)->offset = time_ms;
    status = ask_times(config, topic, one, timeout_ms, err);
    if (status == OK && one->elems[0].offset >= 0)
        *offset = one->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(one);
    return status;
}

enum status kafka_partitions_since(const struct config *config, const char *topic, int partitions,
                                   int64_t time_ms, int64_t timeout_ms, int *count,
                                   struct error *err)
{
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
    enum status status;

    *count = 0;
    for (int p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(all, topic, p)->offset = time_ms;
    status = ask_times(config, topic, all, timeout_ms, err);
    for (int p = 0; p < partitions && status == OK; p++)
        *count += all->elems[p].offset >= 0;
    rd_kafka_topic_partition_list_destroy(all);
    return status;
}

const char *kafka_library_version(void)
{
    return rd_kafka_version_str();
}
