/* ingest/ingest_doctor.c - doctor's question to the data set: is it there, and is it the one that
 * the configuration asks for? */
#include "ingest/ingest_config.h"
#include "ingest/lost_state.h"
#include "ops/kafka_ask.h"

#include <stdlib.h>
#include <string.h>

#define ASK_MS 3000

static void compare(const struct config *config, const struct redis_keys *keys,
                    struct redis_connection *connection, const struct redis_dataset *stored,
                    struct doctor_finding *finding)
{
    struct redis_dataset wanted, opened = {0};
    struct event_schema *schema = NULL;
    struct error err;
    enum status status = event_schema_create(&schema, config, &err);

    if (status == OK)
        status = ingest_wanted_dataset(&wanted, config, schema, &err);
    if (status == OK && !config_given(config, "dataset.examples_partitions"))
        wanted.examples_partitions = stored->examples_partitions;
    if (status == OK) /* it is there, so nothing is created */
        status = redis_dataset_open(&opened, connection, keys, &wanted, ASK_MS, &err);
    redis_dataset_clear(&opened);
    event_schema_destroy(schema);
    if (status == OK)
        doctor_ok(finding, "\"%s\", %d shards, %d partitions recorded", keys->ns, stored->shards,
                  stored->partitions_count);
    else if (status == ERR_CONFLICT)
        doctor_fail(finding,
                    "put the configuration back, or choose another dataset.namespace and rebuild",
                    "%s", err.text);
    else
        doctor_fail(finding, "mend what it names", "%s", err.text);
}

/* Nothing is there: before the first start, or after a loss? */
static void find_absent(const struct config *config, struct doctor_finding *finding)
{
    const char *ns = config_text(config, "dataset.namespace");
    struct error err;
    enum status status = lost_state_check(config, ns, ASK_MS, &err);

    if (status == ERR_CONFLICT)
        doctor_fail(
            finding, LOST_STATE_REMEDY,
            "redis holds no data set under \"%s\", but group \"%s\" has read the topic: the "
            "state is lost, and ingest will not start on it",
            ns, config_text(config, "kafka.group"));
    else if (status == OK)
        doctor_warn(finding, "start `freshet ingest`, which creates it",
                    "redis holds no data set under \"%s\" yet, and group \"%s\" has read nothing",
                    ns, config_text(config, "kafka.group"));
    else
        doctor_warn(
            finding,
            "start `freshet ingest`, which creates it; if it was there before, `freshet "
            "runbook state-lost`",
            "redis holds no data set under \"%s\"; Kafka does not say whether there was one", ns);
}

static void check_dataset(const struct config *config, struct doctor_finding *finding)
{
    struct redis_connection *connection;
    struct redis_dataset stored;
    struct redis_keys keys;
    struct error err;
    enum status status = redis_dataset_connect(&stored, &connection, &keys, config, ASK_MS, &err);

    if (status == OK)
        compare(config, &keys, connection, &stored, finding);
    else if (status == ERR_NOT_FOUND)
        find_absent(config, finding);
    else if (status == ERR_UNAVAILABLE || status == ERR_TIMEOUT)
        doctor_unknown(finding, NULL, "Redis does not answer: %s", err.text);
    else
        doctor_fail(finding, "another program's key under our name? see dataset.namespace", "%s",
                    err.text);
    redis_dataset_clear(&stored);
    redis_connection_destroy(connection);
}

/* A user's key must outlive the log: else a replay would meet users who have expired since, and
 * make them anew from what is left of the log. */
static void check_ttl(const struct config *config, struct doctor_finding *finding)
{
    const char *topic = config_text(config, "kafka.topics.events");
    struct kafka_setting settings[] = {{.name = "retention.ms"}, {.name = "segment.ms"}};
    int64_t ttl_ms = config_duration_ms(config, "features.ttl"), log_ms, least_ms;
    struct error err;

    if (kafka_is_embedded(config, ASK_MS)) {
        doctor_skip(finding, DOCTOR_EMBEDDED);
        return;
    }
    if (kafka_settings_of(config, topic, settings, 2, ASK_MS, &err) != OK) {
        doctor_unknown(finding,
                       "see to it that features.ttl is at least 8/7 of the topic's retention.ms, "
                       "segment.ms and features.join_window",
                       "the brokers do not tell how long \"%s\" keeps its records: %s", topic,
                       err.text);
        return;
    }
    if (settings[0].value[0] == 0) {
        doctor_unknown(finding, NULL, "the brokers do not tell how long \"%s\" keeps its records",
                       topic);
        return;
    }
    log_ms = strtoll(settings[0].value, NULL, 10);
    if (log_ms < 0) {
        doctor_warn(finding,
                    "give the topic a retention.ms, or know that replays of what is older "
                    "than features.ttl make users anew",
                    "\"%s\" keeps its records for ever", topic);
        return;
    }
    log_ms += strtoll(settings[1].value, NULL, 10) +
              config_duration_ms(config, "features.join_window");
    least_ms = log_ms + log_ms / 7;
    if (ttl_ms < least_ms)
        doctor_fail(finding, "raise features.ttl, or lower retention.ms or segment.ms of the topic",
                    "features.ttl is %.1f days; 8/7 of the log's retention.ms, segment.ms and "
                    "features.join_window are %.1f",
                    (double)ttl_ms / 86400e3, (double)least_ms / 86400e3);
    else
        doctor_ok(finding, "users outlive the log: %.1f days, %.1f are needed",
                  (double)ttl_ms / 86400e3, (double)least_ms / 86400e3);
}

static void check_schemas(const struct config *config, struct doctor_finding *finding)
{
    struct event_schema *schema = NULL;
    struct event_decoder *decoder = NULL;
    bool asked = false;
    struct error err;
    enum status status = event_schema_create(&schema, config, &err);

    if (status == OK)
        status = event_decoder_create(&decoder, schema, &err);
    if (status == OK)
        status = event_decoder_ask_registry(decoder, &asked, &err);
    if (status != OK)
        doctor_fail(finding, "`freshet runbook avro-schemas`", "%s", err.text);
    else if (asked)
        doctor_ok(finding, "%s answers", config_text(config, "events.registry"));
    else
        doctor_skip(finding, "no registry of Avro schemas is configured");
    event_decoder_destroy(decoder);
    event_schema_destroy(schema);
}

const struct doctor_check ingest_doctor_checks[] = {
    {"dataset", "the data set's record is there and agrees with the configuration", check_dataset,
     "redis"},
    {"events-retention", "users live longer than the log that makes them anew", check_ttl, "kafka"},
    {"schemas", "the registry of Avro schemas answers", check_schemas, NULL},
    {0},
};
