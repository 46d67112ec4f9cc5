/*
 * ops/doctor_kafka_acl.c - the ACLs that each role needs, for whoever grants them.
 *
 * They are told, not asked: a user may not look at its own rights without one more of them. READ
 * and WRITE bring DESCRIBE with them.
 */
#include "ops/ops_main.h"

#include <string.h>

/* Whose rights these are; NULL: the brokers see no user. */
static const char *acl_user(const struct config *config, struct doctor_finding *finding)
{
    const char *protocol = config_text(config, "kafka.security.protocol");

    if (strcmp(protocol, "plaintext") == 0)
        doctor_skip(finding, "kafka.security.protocol is plaintext: brokers see no user");
    return strcmp(protocol, "plaintext") == 0  ? NULL
           : strncmp(protocol, "sasl", 4) == 0 ? config_text(config, "kafka.security.username")
                                               : "the certificate's user";
}

static void check_ingest_acl(const struct config *config, struct doctor_finding *finding)
{
    const char *user = acl_user(config, finding);

    if (user != NULL)
        doctor_note(
            finding,
            "%.40s needs READ on topic %.40s and group %.40s, WRITE on topics %.40s, %.40s", user,
            config_text(config, "kafka.topics.events"), config_text(config, "kafka.group"),
            config_text(config, "kafka.topics.examples"), config_text(config, "kafka.topics.dead"));
}

static void check_retrain_acl(const struct config *config, struct doctor_finding *finding)
{
    const char *user = acl_user(config, finding), *events, *examples;

    if (user == NULL)
        return;
    events = config_text(config, "kafka.topics.events");
    examples = config_text(config, "kafka.topics.examples");
    /* As role_look_for_items() of retrain/role_inside.h. */
    if (config_int(config, "retrain.cold_items") == 0 &&
        strcmp(config_text(config, "model.text"), "0") == 0)
        doctor_note(finding, "%.40s needs READ on topics %.60s and %.60s", user, events, examples);
    else
        doctor_note(finding, "%.40s needs READ on topics %.60s, %.60s and %.60s", user, events,
                    examples, config_text(config, "kafka.topics.items"));
}

static void check_serve_acl(const struct config *config, struct doctor_finding *finding)
{
    const char *user = acl_user(config, finding);

    if (user != NULL)
        doctor_note(finding, "%.40s needs READ on topic %.60s", user,
                    config_text(config, "kafka.topics.items"));
}

static void check_operator_acl(const struct config *config, struct doctor_finding *finding)
{
    const char *user = acl_user(config, finding);

    if (user != NULL)
        doctor_note(
            finding,
            "%.40s needs WRITE on topic %.40s for erase and dlq replay, READ on topics %.40s, "
            "%.40s "
            "and %.40s for verify and dlq, DESCRIBE on group %.40s and DESCRIBE_CONFIGS on topics "
            "for offsets and doctor",
            user, config_text(config, "kafka.topics.events"),
            config_text(config, "kafka.topics.events"),
            config_text(config, "kafka.topics.examples"), config_text(config, "kafka.topics.dead"),
            config_text(config, "kafka.group"));
}

const struct doctor_check kafka_acl_checks[] = {
    {"kafka-acl-ingest", "what brokers with ACLs must allow ingest", check_ingest_acl, NULL},
    {"kafka-acl-retrain", "... and retrain", check_retrain_acl, NULL},
    {"kafka-acl-serve", "... and serve", check_serve_acl, NULL},
    {"kafka-acl-commands", "... and operators' commands", check_operator_acl, NULL},
    {0},
};
