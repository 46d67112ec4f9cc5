/* ops/doctor_kafka.c - doctor's questions to Kafka: does it answer, are the topics there, and set
 * as they must be? */
#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_ask.h"
#include "ops/ops_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 3000
/* Where they could, but may not. The embedded broker knows no such question. */
#define ASK_REMEDY        "where brokers have ACLs, allow DESCRIBE_CONFIGS on the cluster and the topics"
#define PARTITIONS_WANTED 8 /* of events: no more ingest processes can share the work */

static enum status partitions_of(const struct config *config, const char *topic, int *partitions,
                                 struct error *err)
{
    char *properties;
    enum status status = kafka_properties(config, &properties, err);

    if (status != OK)
        return status;
    status = kafka_topic_partitions(config_text(config, "kafka.brokers"), properties, topic,
                                    TIMEOUT_MS, partitions, err);
    explicit_bzero(properties, strlen(properties));
    free(properties);
    return status;
}

static void check_reachable(const struct config *config, struct doctor_finding *finding)
{
    struct error err;
    int partitions;
    enum status status = partitions_of(config, config_text(config, "kafka.topics.events"),
                                       &partitions, &err);

    if (status == OK || status == ERR_NOT_FOUND)
        doctor_ok(finding, "%s answers", config_text(config, "kafka.brokers"));
    else
        doctor_fail(finding,
                    "is the cluster up, kafka.brokers right, kafka.security.* what it wants?",
                    "%s: %s", config_text(config, "kafka.brokers"), err.text);
}

static void check_topics(const struct config *config, struct doctor_finding *finding)
{
    static const char prefix[] = "kafka.topics.";
    char missing[160] = "";
    struct config_entry entry;
    struct error err;
    int events_partitions = 0, there = 0;

    for (int i = 0; config_entry(config, i, &entry); i++) {
        int partitions = 0;
        enum status status;

        if (strncmp(entry.key, prefix, sizeof prefix - 1) != 0)
            continue;
        status = partitions_of(config, entry.value, &partitions, &err);
        if (status != OK && status != ERR_NOT_FOUND) {
            doctor_unknown(finding, NULL, "Kafka does not answer: %s", err.text);
            return;
        }
        there += status == OK;
        if (status == ERR_NOT_FOUND)
            (void)snprintf(missing + strlen(missing), sizeof missing - strlen(missing), "%s%s",
                           missing[0] == 0 ? "" : ", ", entry.value);
        else if (strcmp(entry.key, "kafka.topics.events") == 0)
            events_partitions = partitions;
    }
    if (missing[0] != 0)
        doctor_fail(
            finding,
            "create them; docs/operating.md has the settings of each (partitions, retention)",
            "%d topics are there; missing: %s", there, missing);
    else if (events_partitions < PARTITIONS_WANTED)
        doctor_warn(finding, "choose the number before the first event: keys move when it grows",
                    "%s has %d partitions: at most as many ingest processes share the work",
                    config_text(config, "kafka.topics.events"), events_partitions);
    else
        doctor_ok(finding, "all %d are there; %s has %d partitions", there,
                  config_text(config, "kafka.topics.events"), events_partitions);
}

static void check_version(const struct config *config, struct doctor_finding *finding)
{
    struct kafka_setting protocol = {.name = "inter.broker.protocol.version"};
    struct error err;

    if (kafka_is_embedded(config, TIMEOUT_MS)) {
        doctor_skip(finding, "librdkafka %s; " DOCTOR_EMBEDDED, kafka_library_version());
        return;
    }

    /* Each broker tells its client which requests it understands; the one setting that has a number
     * in it is gone since Kafka 4. */
    if (kafka_settings_of(config, NULL, &protocol, 1, TIMEOUT_MS, &err) != OK)
        doctor_unknown(finding, ASK_REMEDY, "librdkafka %s; the brokers do not tell theirs: %s",
                       kafka_library_version(), err.text);
    else if (protocol.value[0] == '0')
        doctor_fail(finding, "upgrade the brokers: idempotent producers need 1.0 or newer",
                    "librdkafka %s; the brokers' protocol is %s", kafka_library_version(),
                    protocol.value);
    else
        doctor_ok(finding, "librdkafka %s; the brokers' protocol is %s", kafka_library_version(),
                  protocol.value[0] == 0 ? "4.0 or newer" : protocol.value);
}

/* ---- settings of topics ---- */

#define DAY_MS (INT64_C(24) * 3600 * 1000)

enum { POLICY, RETENTION, INSYNC, SETTINGS };

/* What a topic must be like: docs/operating.md. */
static const struct topic_rule {
    const char *key;
    bool compacted;
    int64_t retention_ms; /* at least; 0: any */
} topic_rules[] = {
    {"kafka.topics.events", false, 7 * DAY_MS},
    {"kafka.topics.examples", false, 14 * DAY_MS},
    {"kafka.topics.dead", false, 0},
    {"kafka.topics.items", true, 0},
};

static bool shorter(const char *value, int64_t least_ms)
{
    int64_t ms = strtoll(value, NULL, 10);

    return value[0] != 0 && ms >= 0 && ms < least_ms; /* -1: for ever */
}

/* Fills the finding when something is wrong with the topic; false then. */
static bool judge_topic(const struct config *config, const struct topic_rule *rule,
                        const struct kafka_setting settings[SETTINGS],
                        struct doctor_finding *finding)
{
    const char *topic = config_text(config, rule->key);
    bool compacted = strstr(settings[POLICY].value, "compact") != NULL;
    int insync = atoi(settings[INSYNC].value), replicas, brokers;
    struct error err;

    if (kafka_replicas(config, topic, TIMEOUT_MS, &replicas, &brokers, &err) != OK)
        replicas = brokers = 0;
    if (settings[POLICY].value[0] == 0 || settings[RETENTION].value[0] == 0) {
        doctor_unknown(finding, ASK_REMEDY, "the brokers do not tell how %s is set", topic);
        return false;
    }
    if (compacted && !rule->compacted)
        doctor_fail(finding, "set cleanup.policy=delete: compaction takes records that are needed",
                    "%s has cleanup.policy=%s", topic, settings[POLICY].value);
    else if (replicas > 0 && insync > replicas)
        doctor_fail(finding, "lower min.insync.replicas, or add copies: nobody can write to it now",
                    "%s has %d copies, min.insync.replicas is %d", topic, replicas, insync);
    else if (rule->compacted && !compacted)
        doctor_warn(finding, "set cleanup.policy=compact: retention would take items",
                    "%s has cleanup.policy=%s", topic, settings[POLICY].value);
    else if (shorter(settings[RETENTION].value, rule->retention_ms))
        doctor_warn(finding, "raise retention.ms: what is older cannot be read again",
                    "%s keeps %.1f days, %.0f or more are meant", topic,
                    (double)strtoll(settings[RETENTION].value, NULL, 10) / (double)DAY_MS,
                    (double)rule->retention_ms / (double)DAY_MS);
    else if (replicas > 1 && insync == replicas)
        doctor_warn(finding, "min.insync.replicas one less than the copies",
                    "%s: with one of %d brokers down nobody can write to it", topic, replicas);
    else if (brokers > 1 && (replicas == 1 || insync < 2))
        doctor_warn(finding, "three copies, and min.insync.replicas=2",
                    "%s has %d copies, min.insync.replicas is %d: one broker's disk may lose what "
                    "was acknowledged",
                    topic, replicas, insync);
    else if (replicas == 0)
        doctor_unknown(finding, NULL, "how many copies %s has is not known: %s", topic, err.text);
    else
        return true;
    return false;
}

static void check_settings(const struct config *config, struct doctor_finding *finding)
{
    int seen = 0;

    if (kafka_is_embedded(config, TIMEOUT_MS)) {
        doctor_skip(finding, DOCTOR_EMBEDDED);
        return;
    }
    for (size_t i = 0; i < sizeof topic_rules / sizeof *topic_rules; i++) {
        struct kafka_setting settings[SETTINGS] = {
            {.name = "cleanup.policy"}, {.name = "retention.ms"}, {.name = "min.insync.replicas"}};
        struct error err;
        enum status status = kafka_settings_of(config, config_text(config, topic_rules[i].key),
                                               settings, SETTINGS, TIMEOUT_MS, &err);

        if (status == ERR_NOT_FOUND)
            continue; /* "kafka-topics" says so */
        if (status != OK) {
            doctor_unknown(finding, ASK_REMEDY, "the brokers do not tell: %s", err.text);
            return;
        }
        if (!judge_topic(config, &topic_rules[i], settings, finding))
            return;
        seen++;
    }
    if (seen == 0)
        doctor_unknown(finding, NULL, "none of the topics is there yet");
    else
        doctor_ok(finding, "%d topics: retention, compaction and copies are as they should be",
                  seen);
}

/* ---- clocks ---- */

/* No answer of a broker carries its clock. What a clock that is ahead leaves behind are records
 * from the future: the broker's where it stamps them (LogAppendTime), else a producer's. One that
 * is behind looks like a topic that is quiet. */
static void check_times(const struct config *config, struct doctor_finding *finding)
{
    static const struct {
        int64_t ahead_ms;
        const char *text;
    } steps[] = {{5000, "5 s"}, {60000, "a minute"}, {3600000, "an hour"}, {DAY_MS, "a day"}};
    const char *topic = config_text(config, "kafka.topics.events"), *ahead = NULL;
    struct kafka_setting stamps = {.name = "message.timestamp.type"};
    int64_t now_ms = clock_wall_ms();
    int partitions, later = 0, seen = 0;
    bool brokers;
    struct error err;
    enum status status = partitions_of(config, topic, &partitions, &err);

    for (size_t i = 0; i < sizeof steps / sizeof *steps && status == OK; i++) {
        status = kafka_partitions_since(config, topic, partitions, now_ms + steps[i].ahead_ms,
                                        TIMEOUT_MS, &later, &err);
        if (status != OK || later == 0)
            break;
        ahead = steps[i].text;
        seen = later;
    }
    if (status != OK) {
        doctor_unknown(finding, NULL, "the brokers do not tell: %s", err.text);
        return;
    }
    if (ahead == NULL) {
        doctor_ok(finding, "no record of %s is stamped later than now", topic);
        return;
    }
    brokers = kafka_settings_of(config, topic, &stamps, 1, TIMEOUT_MS, &err) == OK &&
              strcmp(stamps.value, "LogAppendTime") == 0;
    doctor_warn(finding,
                brokers ? "run an NTP service on the brokers and here"
                        : "run an NTP service where producers run, and here",
                "%d of %d partitions of %s hold a record that is stamped %s or more ahead of our "
                "clock, by %s",
                seen, partitions, topic, ahead,
                brokers ? "a broker (LogAppendTime)" : "its producer");
}

const struct doctor_check kafka_doctor_checks[] = {
    {"kafka", "the brokers answer, with the security that is configured", check_reachable, NULL},
    {"kafka-version", "librdkafka and the brokers understand what is needed", check_version,
     "kafka"},
    {"kafka-topics", "every topic of kafka.topics is there", check_topics, "kafka"},
    {"kafka-settings", "retention, compaction and copies of the topics", check_settings, "kafka"},
    {"kafka-clock", "no record is stamped later than now", check_times, "kafka"},
    {0},
};
