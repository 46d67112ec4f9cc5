/* ops/kafka_producer.c - librdkafka's producer behind ops/kafka_producer.h. */
#include "ops/kafka_producer.h"

#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/kafka_client.h"
#include "ops/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LINGER_MS           1
#define DELIVERY_TIMEOUT_MS 30000
#define QUEUE_MESSAGES_MAX  100000
#define QUEUE_KBYTES_MAX    (256 * 1024)
#define TOPICS_MAX          16
#define REOPEN_US           5000000 /* between two tries where an ACL is missing */

METRIC_COUNTER(produced, "freshet_kafka_produced_total", "records that a broker acknowledged");
METRIC_COUNTER(produced_bytes, "freshet_kafka_produced_bytes_total",
               "bytes of values that a broker acknowledged");
METRIC_COUNTER(produce_failures, "freshet_kafka_produce_failures_total",
               "records given up: not acknowledged in time, or refused");

struct kafka_producer {
    struct kafka_access access; /* first: librdkafka's opaque is the whole */
    struct kafka_producer_options options;
    bool replaced; /* once, for good: the second time is the caller's business */
    int64_t reopened_us;
    rd_kafka_t *client;
    rd_kafka_topic_t *topics[TOPICS_MAX]; /* looked up by name once, not once a record */
    int topics_count;
    void (*delivered)(void *context, uint64_t opaque, enum status status, int32_t partition,
                      int64_t offset);
    void *context;
    struct kafka_health health;
};

/* An error after which this client never sends again; and whether it is only that a right is
 * missing, which somebody may grant. */
static rd_kafka_resp_err_t fatal_error(const struct kafka_producer *p, bool *denied)
{
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(p->client, NULL, 0);

    *denied = code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
              code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    return code;
}

static void on_delivered(rd_kafka_t *client, const rd_kafka_message_t *m, void *opaque)
{
    struct kafka_producer *p = opaque;
    bool good = m->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    enum status status = kafka_status_of(m->err);
    bool denied = false;

    (void)client;
    if (status == ERR_REPLACED && fatal_error(p, &denied) != RD_KAFKA_RESP_ERR_NO_ERROR &&
        (denied || !p->replaced))
        status = ERR_UNAVAILABLE; /* a new client will be opened */
    metric_add(good ? &produced : &produce_failures, 1);
    if (good)
        kafka_health_mended(&p->health);
    if (good)
        metric_add(&produced_bytes, m->len);
    else
        kafka_health_error(&p->health, m->err, rd_kafka_err2str(m->err),
                           rd_kafka_topic_name(m->rkt));
    if (p->delivered != NULL)
        p->delivered(p->context, (uint64_t)(uintptr_t)m->_private, status, m->partition, m->offset);
}

static void on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct kafka_producer *p = opaque;
    rd_kafka_resp_err_t fatal = code == RD_KAFKA_RESP_ERR__FATAL
                                    ? rd_kafka_fatal_error(client, NULL, 0)
                                    : RD_KAFKA_RESP_ERR_NO_ERROR;

    kafka_health_error(&p->health,
                       fatal == RD_KAFKA_RESP_ERR_NO_ERROR ? (rd_kafka_resp_err_t)code : fatal,
                       reason, NULL);
}

static int on_statistics(rd_kafka_t *client, char *json, size_t bytes, void *opaque)
{
    struct kafka_producer *p = opaque;

    (void)client;
    kafka_health_statistics(&p->health, json, bytes);
    return 0; /* librdkafka frees it */
}

static void set_options(struct kafka_settings *s, const struct kafka_producer_options *o)
{
    int64_t messages = o->queue_messages_max > 0 ? o->queue_messages_max : QUEUE_MESSAGES_MAX;

    kafka_set(s, "enable.idempotence", "true"); /* acks=all, at most 5 in flight, in order */
    kafka_set(s, "acks", "all");
    kafka_set_int(s, "linger.ms", o->linger_ms > 0 ? o->linger_ms : LINGER_MS);
    kafka_set_int(s, "delivery.timeout.ms",
                  o->delivery_timeout_ms > 0 ? o->delivery_timeout_ms : DELIVERY_TIMEOUT_MS);
    kafka_set_int(s, "queue.buffering.max.messages", messages);
    kafka_set_int(s, "queue.buffering.max.kbytes", QUEUE_KBYTES_MAX);
    kafka_set(s, "compression.type", o->compression == NULL ? "lz4" : o->compression);
    kafka_set(s, "partitioner", "murmur2_random");
    kafka_set(s, "statistics.interval.ms", "1000");
    kafka_set_security(s, o->config);
    kafka_set_lines(s, o->properties);
}

static enum status open_client(struct kafka_producer *p, rd_kafka_t **client, struct error *err)
{
    struct kafka_settings settings;
    enum status status = kafka_settings_begin(&settings, &p->access, p->options.brokers,
                                              p->options.client_id, err);

    if (status != OK)
        return status;
    set_options(&settings, &p->options);
    rd_kafka_conf_set_opaque(settings.conf, p);
    rd_kafka_conf_set_dr_msg_cb(settings.conf, on_delivered);
    rd_kafka_conf_set_error_cb(settings.conf, on_error);
    rd_kafka_conf_set_stats_cb(settings.conf, on_statistics);
    return kafka_settings_open(&settings, RD_KAFKA_PRODUCER, client, err);
}

enum status kafka_producer_open(struct kafka_producer **producer,
                                const struct kafka_producer_options *options, struct error *err)
{
    struct kafka_producer *p;
    enum status status;

    assert(producer != NULL && options != NULL && err != NULL);
    *producer = NULL;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a Kafka producer");
    kafka_health_begin(&p->health, KAFKA_CLIENT_PRODUCER, &p->access);
    p->options = *options;
    p->delivered = options->delivered;
    p->context = options->context;
    status = open_client(p, &p->client, err);
    if (status == OK)
        *producer = p;
    else
        kafka_producer_close(p, 0);
    return status;
}

/* What was not delivered is reported as failed. */
static void close_client(struct kafka_producer *p, int64_t timeout_ms)
{
    (void)rd_kafka_flush(p->client, (int)timeout_ms);
    (void)rd_kafka_purge(p->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_outq_len(p->client) > 0) /* each purged record is reported */
        (void)rd_kafka_poll(p->client, 100);
    for (int i = 0; i < p->topics_count; i++)
        rd_kafka_topic_destroy(p->topics[i]);
    p->topics_count = 0;
    rd_kafka_destroy(p->client);
}

void kafka_producer_close(struct kafka_producer *p, int64_t timeout_ms)
{
    if (p == NULL)
        return;
    if (p->client != NULL)
        close_client(p, timeout_ms);
    kafka_health_end(&p->health);
    free(p);
}

/* Takes a new client in place of one that will never send again: once, or, where it only lacks a
 * right, whenever some time has passed. False: this one stays. */
static bool reopen(struct kafka_producer *p, rd_kafka_resp_err_t why, bool denied)
{
    int64_t now_us = clock_monotonic_us();
    rd_kafka_t *client;
    struct error err;

    if (!DEFENCE(REOPEN_PRODUCER) || (!denied && p->replaced) ||
        (denied && p->reopened_us != 0 && now_us - p->reopened_us < REOPEN_US) ||
        open_client(p, &client, &err) != OK)
        return false;
    p->reopened_us = now_us;
    log_event(denied ? LOG_DEBUG : LOG_ERROR, "kafka_producer_replaced", rd_kafka_err2str(why));
    close_client(p, 0); /* its failures are still those of a client that is replaced */
    p->replaced = p->replaced || !denied;
    p->client = client;
    return true;
}

static rd_kafka_topic_t *find_topic(struct kafka_producer *p, const char *name, struct error *err)
{
    rd_kafka_topic_t *topic;

    for (int i = 0; i < p->topics_count; i++)
        if (strcmp(rd_kafka_topic_name(p->topics[i]), name) == 0)
            return p->topics[i];
    if (p->topics_count == TOPICS_MAX) {
        (void)error_set(err, ERR_LIMIT, "a producer writes to at most %d topics", TOPICS_MAX);
        return NULL;
    }
    topic = rd_kafka_topic_new(p->client, name, NULL);
    if (topic == NULL) {
        (void)error_set(err, ERR_NOT_FOUND, "topic \"%s\": %s", name,
                        rd_kafka_err2str(rd_kafka_last_error()));
        return NULL;
    }
    p->topics[p->topics_count++] = topic;
    return topic;
}

static enum status refuse(struct kafka_producer *p, const char *topic, rd_kafka_resp_err_t code,
                          struct error *err)
{
    bool denied;
    rd_kafka_resp_err_t fatal = fatal_error(p, &denied);

    if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR && reopen(p, fatal, denied))
        return error_set(err, ERR_UNAVAILABLE, "a new producer takes over: %s",
                         p->health.why[0] == '\0' ? rd_kafka_err2str(fatal) : p->health.why);
    if (denied)
        return error_set(err, ERR_UNAVAILABLE, "%s",
                         p->health.why[0] == '\0' ? rd_kafka_err2str(fatal) : p->health.why);
    if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR)
        code = RD_KAFKA_RESP_ERR__FATAL;
    return error_set(err, kafka_status_of(code), "could not produce to \"%s\": %s", topic,
                     rd_kafka_err2str(code));
}

/* NULL when there are none. Headers that are given one by one are freed twice by librdkafka 2.0.2
 * when it knows the partition or topic to be unusable; a list of ours is left to us. */
static rd_kafka_headers_t *headers_of(const struct kafka_message *m)
{
    rd_kafka_headers_t *headers;

    if (m->header.bytes == 0 && !m->replayed)
        return NULL;
    headers = rd_kafka_headers_new(2);
    if (m->header.bytes > 0)
        (void)rd_kafka_header_add(headers, "freshet-id", -1, m->header.at,
                                  (ssize_t)m->header.bytes);
    if (m->replayed)
        (void)rd_kafka_header_add(headers, "freshet-replayed", -1,
                                  m->origin.bytes > 0 ? m->origin.at : "1",
                                  m->origin.bytes > 0 ? (ssize_t)m->origin.bytes : 1);
    return headers;
}

enum status kafka_produce(struct kafka_producer *p, const struct kafka_message *m,
                          struct error *err)
{
    rd_kafka_topic_t *topic = find_topic(p, m->topic, err);
    rd_kafka_headers_t *headers;
    rd_kafka_error_t *error;
    rd_kafka_vu_t fields[9];
    size_t count = 0;

    if (topic == NULL)
        return err->status;
    fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic};
    fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = m->partition};
    fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY};
    fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY,
                                      .u.mem = {(void *)(uintptr_t)m->key.at, m->key.bytes}};
    fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE,
                                      .u.mem = {(void *)(uintptr_t)m->value.at, m->value.bytes}};
    fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE,
                                      .u.ptr = (void *)(uintptr_t)m->opaque};
    if (m->timestamp_ms != 0)
        fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP,
                                          .u.i64 = m->timestamp_ms};
    headers = headers_of(m);
    if (headers != NULL)
        fields[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers};
    error = rd_kafka_produceva(p->client, fields, count);
    if (error == NULL)
        return OK;
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    if (headers != NULL)
        rd_kafka_headers_destroy(headers); /* it was not taken */
    return refuse(p, m->topic, code, err);
}

void kafka_producer_poll(struct kafka_producer *p, int64_t timeout_ms)
{
    (void)rd_kafka_poll(p->client, (int)timeout_ms);
}

enum status kafka_producer_flush(struct kafka_producer *p, int64_t timeout_ms, struct error *err)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(p->client, (int)timeout_ms);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OK;
    return error_set(err, kafka_status_of(code), "%d Kafka records are not acknowledged yet",
                     rd_kafka_outq_len(p->client));
}

const char *kafka_producer_why(const struct kafka_producer *p)
{
    return p->health.why;
}

int kafka_producer_pending(const struct kafka_producer *p)
{
    return rd_kafka_outq_len(p->client);
}
