/* ops/kafka_client.c - settings, log lines and errors of librdkafka, for all that use it. */
#include "ops/kafka_client.h"

#include "ops/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_PERIOD_MS 30000

static const char *const reason_names[KAFKA_REASONS] = {
    [KAFKA_REASON_CONNECTION] = "connection",
    [KAFKA_REASON_TIMEOUT] = "timeout",
    [KAFKA_REASON_AUTHENTICATION] = "authentication",
    [KAFKA_REASON_AUTHORIZATION] = "authorization",
    [KAFKA_REASON_MISSING] = "missing",
    [KAFKA_REASON_OUT_OF_RANGE] = "out_of_range",
    [KAFKA_REASON_CORRUPT] = "corrupt",
    [KAFKA_REASON_FATAL] = "fatal",
    [KAFKA_REASON_OTHER] = "other",
};
static const char *const kind_names[KAFKA_CLIENT_KINDS] = {"consumer", "producer"};

METRIC_COUNTER_OF(errors, "freshet_kafka_errors_total", "errors of Kafka clients", "reason",
                  reason_names, KAFKA_REASONS);
METRIC_GAUGE_OPTIONAL_OF(up, "freshet_kafka_up",
                         "1 while every Kafka client of this kind is connected to a broker; absent "
                         "where there is no such client",
                         "client", kind_names, KAFKA_CLIENT_KINDS);

static atomic_int clients_open[KAFKA_CLIENT_KINDS];
static atomic_int clients_up[KAFKA_CLIENT_KINDS];

/* What freshet's promises stand on; not for configuration. */
static const char *const ours[] = {
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "transactional.id",
};

/* ---- log -------------------------------------------------------------------------------- */

/* Called from our own thread: log.queue is set, so lines wait for the next poll. */
static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *line)
{
    /* syslog's levels, whose names are also ours: 3 error, 4 warning, 5 notice. A failed
     * connection, certificate or right comes here at every attempt, and to the error callback too.
     */
    bool repeated = strcmp(facility, "FAIL") == 0 || strcmp(facility, "SSLCERTVRFY") == 0 ||
                    strcmp(facility, "FATAL") == 0;
    enum log_level as = repeated     ? LOG_DEBUG
                        : level <= 3 ? LOG_ERROR
                        : level == 4 ? LOG_WARN
                        : level == 5 ? LOG_INFO
                                     : LOG_DEBUG;

    log_event(as, "kafka_client", line, log_text("facility", facility),
              log_text("client", client == NULL ? "" : rd_kafka_name(client)));
}

/* ---- settings --------------------------------------------------------------------------- */

enum status kafka_settings_begin(struct kafka_settings *settings, struct kafka_access *access,
                                 const char *brokers, const char *client_id, struct error *err)
{
    assert(settings != NULL && err != NULL);
    *settings = (struct kafka_settings){.access = access, .status = OK, .err = err};
    settings->conf = rd_kafka_conf_new();
    if (settings->conf == NULL)
        return error_set(err, ERR_NOMEM, "no memory for Kafka settings");
    if (brokers == NULL || brokers[0] == 0) {
        settings->status = error_set(err, ERR_CONFIG, "no Kafka brokers given (kafka.brokers)");
        return OK;
    }
    rd_kafka_conf_set_log_cb(settings->conf, on_log);
    if (access != NULL)
        kafka_access_watch(settings->conf);
    kafka_set(settings, "bootstrap.servers", brokers);
    kafka_set(settings, "client.id", client_id == NULL ? "freshet" : client_id);
    kafka_set(settings, "log.queue", "true");
    kafka_set(settings, "log.connection.close", "false");
    kafka_set(settings, "socket.nagle.disable", "true"); /* false here; true elsewhere */
    kafka_set(settings, "socket.keepalive.enable", "true");
    kafka_set(settings, "reconnect.backoff.ms", "100");
    kafka_set(settings, "reconnect.backoff.max.ms", "2000");
    kafka_set(settings, "topic.metadata.refresh.interval.ms", "10000");
    return OK;
}

/* librdkafka's own words would repeat the value, which may be secret. */
void kafka_set(struct kafka_settings *settings, const char *name, const char *value)
{
    char why[160];
    rd_kafka_conf_res_t result;

    if (settings->status != OK)
        return;
    if (settings->access != NULL)
        kafka_access_note(settings->access, name, value);
    result = rd_kafka_conf_set(settings->conf, name, value, why, sizeof why);
    if (result == RD_KAFKA_CONF_UNKNOWN)
        settings->status = error_set(settings->err, ERR_CONFIG,
                                     "Kafka property \"%s\" is unknown to librdkafka %s", name,
                                     rd_kafka_version_str());
    else if (result != RD_KAFKA_CONF_OK)
        settings->status = error_set(settings->err, ERR_CONFIG,
                                     "Kafka property \"%s\" cannot have this value", name);
}

void kafka_set_int(struct kafka_settings *settings, const char *name, int64_t value)
{
    char digits[24];

    (void)snprintf(digits, sizeof digits, "%" PRId64, value);
    kafka_set(settings, name, digits);
}

static void set_line(struct kafka_settings *settings, const char *line, size_t bytes)
{
    char copy[4096];
    char *value;

    if (bytes == 0)
        return;
    if (bytes >= sizeof copy) {
        settings->status = error_set(settings->err, ERR_CONFIG, "a Kafka property of %zu bytes",
                                     bytes);
        return;
    }
    memcpy(copy, line, bytes);
    copy[bytes] = 0;
    value = strchr(copy, '=');
    if (value == NULL) {
        settings->status = error_set(settings->err, ERR_CONFIG,
                                     "a Kafka property lacks its \"=\"; write name=value");
        return;
    }
    *value++ = 0;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (strcmp(copy, ours[i]) == 0) {
            settings->status = error_set(settings->err, ERR_CONFIG,
                                         "Kafka property \"%s\" is set by freshet itself", copy);
            return;
        }
    }
    kafka_set(settings, copy, value);
}

void kafka_set_lines(struct kafka_settings *settings, const char *lines)
{
    while (lines != NULL && *lines != 0 && settings->status == OK) {
        size_t bytes = strcspn(lines, "\n");
        set_line(settings, lines, bytes);
        lines += bytes + (lines[bytes] == '\n');
    }
}

enum status kafka_settings_open(struct kafka_settings *settings, rd_kafka_type_t type,
                                rd_kafka_t **client, struct error *err)
{
    char why[200] = "";

    *client = NULL;
    if (settings->status == OK) {
        *client = rd_kafka_new(type, settings->conf, why, sizeof why);
        if (*client != NULL) {
            settings->conf = NULL; /* the client owns it */
            (void)rd_kafka_set_log_queue(*client, NULL);
            return OK;
        }
        settings->status = error_set(err, ERR_CONFIG, "Kafka client: %s", why);
    }
    rd_kafka_conf_destroy(settings->conf);
    settings->conf = NULL;
    return settings->status;
}

/* ---- errors ----------------------------------------------------------------------------- */

enum status kafka_status_of(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return OK;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        return ERR_TIMEOUT;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return ERR_NOT_FOUND;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
        return ERR_LIMIT;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return ERR_FULL;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
        return ERR_CORRUPT;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
        return ERR_REPLACED;
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return ERR_CONFIG;
    default: /* logins and ACLs too: somebody grants them while we wait */
        return ERR_UNAVAILABLE;
    }
}

static enum kafka_reason reason_of(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        return KAFKA_REASON_AUTHENTICATION;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return KAFKA_REASON_AUTHORIZATION;
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        return KAFKA_REASON_OUT_OF_RANGE;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return KAFKA_REASON_CONNECTION;
    default:
        break;
    }
    switch (kafka_status_of(code)) {
    case ERR_TIMEOUT:
        return KAFKA_REASON_TIMEOUT;
    case ERR_NOT_FOUND:
        return KAFKA_REASON_MISSING;
    case ERR_CORRUPT:
        return KAFKA_REASON_CORRUPT;
    case ERR_REPLACED:
        return KAFKA_REASON_FATAL;
    default:
        return KAFKA_REASON_OTHER;
    }
}

/* ---- health ----------------------------------------------------------------------------- */

static void show_kind(enum kafka_client_kind kind)
{
    metric_set_of(&up, (int)kind,
                  atomic_load(&clients_up[kind]) == atomic_load(&clients_open[kind]));
}

static void show_up(struct kafka_health *health, bool is_up)
{
    if (is_up != health->up)
        atomic_fetch_add(&clients_up[health->kind], is_up ? 1 : -1);
    health->up = is_up;
    show_kind(health->kind);
}

void kafka_health_begin(struct kafka_health *health, enum kafka_client_kind kind,
                        struct kafka_access *access)
{
    *health = (struct kafka_health){.kind = kind, .access = access};
    atomic_fetch_add(&clients_open[kind], 1);
    show_up(health, false);
}

void kafka_health_end(struct kafka_health *health)
{
    if (health->up)
        atomic_fetch_sub(&clients_up[health->kind], 1);
    if (atomic_fetch_sub(&clients_open[health->kind], 1) == 1)
        metric_unset_of(&up, (int)health->kind);
    else
        show_kind(health->kind);
}

void kafka_error_count(rd_kafka_resp_err_t code)
{
    metric_add_of(&errors, (int)reason_of(code), 1);
}

void kafka_health_error(struct kafka_health *health, rd_kafka_resp_err_t code, const char *text,
                        const char *topic)
{
    enum kafka_reason reason = reason_of(code);
    char explained[KAFKA_ACCESS_TEXT];

    kafka_error_count(code);
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        show_up(health, false);
    if (kafka_access_explain(health->access, code, text, topic,
                             health->kind == KAFKA_CLIENT_PRODUCER, explained)) {
        kafka_health_trouble(
            health, reason == KAFKA_REASON_AUTHORIZATION ? reason : KAFKA_REASON_AUTHENTICATION,
            explained);
        text = explained;
    }
    if (log_every(&health->limits[reason], LOG_PERIOD_MS))
        log_event(LOG_WARN, "kafka_error", text, log_text("client", kind_names[health->kind]),
                  log_text("name", rd_kafka_err2name(code)),
                  log_text("topic", topic == NULL ? "" : topic));
}

void kafka_health_trouble(struct kafka_health *health, enum kafka_reason reason, const char *text)
{
    health->why_reason = reason;
    health->why_us = clock_monotonic_us();
    (void)snprintf(health->why, sizeof health->why, "%s", text);
}

void kafka_health_mended(struct kafka_health *health)
{
    health->why[0] = '\0';
}

void kafka_health_statistics(struct kafka_health *health, const char *json, size_t bytes)
{
    static const char connected[] = "\"state\":\"UP\"";

    /* A document of many KiB, of which one thing matters: is a broker's state UP? In 2.0.2 only
     * brokers have a state that may be "UP" (a consumer group's is lower case). */
    show_up(health, memmem(json, bytes, connected, sizeof connected - 1) != NULL);
    if (health->up && health->why_reason == KAFKA_REASON_AUTHENTICATION)
        kafka_health_mended(health);
}
