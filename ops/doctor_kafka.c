/* ops/doctor_kafka.c - doctor's questions to Kafka: does it answer, are the topics there? */
#include "ops/kafka_admin.h"
#include "ops/ops_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS        3000
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
                    "is the cluster up, kafka.brokers right, kafka.security.* what it wants?", "%s",
                    err.text);
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
            doctor_skip(finding, "Kafka does not answer");
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

const struct doctor_check kafka_doctor_checks[] = {
    {"kafka", "the brokers answer, with the security that is configured", check_reachable},
    {"kafka-topics", "every topic of kafka.topics is there", check_topics},
    {0},
};
