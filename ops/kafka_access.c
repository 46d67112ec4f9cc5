/* ops/kafka_access.c - see kafka_access.h. */
#include "ops/kafka_access.h"

#include <stdio.h>
#include <string.h>

/* OpenSSL's reasons (X509_V_ERR_*), which librdkafka hands on as numbers; those that an operator
 * meets. */
static const struct {
    int number;
    const char *text;
} refusals[] = {
    {2, "its issuer's certificate is not in the file"},
    {9, "it is not valid yet: is a clock wrong?"},
    {10, "it has expired"},
    {18, "it is signed by itself"},
    {19, "its issuer is unknown: its root is not in the file"},
    {20, "its issuer is unknown: not in the file"},
    {21, "its issuer is unknown: not in the file"},
    {23, "it was revoked"},
    {62, "it is for another host than the one in kafka.brokers"},
    {64, "it is for another address than the one in kafka.brokers"},
};

void kafka_access_note(struct kafka_access *access, const char *name, const char *value)
{
    if (strcmp(name, "sasl.username") == 0)
        (void)snprintf(access->user, sizeof access->user, "%s", value);
    else if (strcmp(name, "sasl.mechanism") == 0)
        access->scram = strncmp(value, "SCRAM", 5) == 0;
    else if (strcmp(name, "group.id") == 0)
        (void)snprintf(access->group, sizeof access->group, "%s", value);
    else if (strcmp(name, "ssl.ca.location") == 0)
        (void)snprintf(access->ca, sizeof access->ca, "%s", value);
}

static int on_certificate(rd_kafka_t *client, const char *broker, int32_t broker_id, int *error,
                          int depth, const char *certificate, size_t bytes, char *why, size_t room,
                          void *opaque)
{
    struct kafka_access *access = opaque;

    (void)client, (void)broker, (void)broker_id, (void)depth, (void)certificate, (void)bytes;
    atomic_store(&access->refusal, *error);
    if (*error == 0)
        return 1;
    (void)snprintf(why, room, "X509 error %d", *error);
    return 0;
}

void kafka_access_watch(rd_kafka_conf_t *conf)
{
    /* A librdkafka without TLS refuses this, and every TLS setting with it. */
    (void)rd_kafka_conf_set_ssl_cert_verify_cb(conf, on_certificate);
}

static const char *refusal_text(int number)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].number == number)
            return refusals[i].text;
    return NULL;
}

/* The part of librdkafka's reason that says something: behind the last of these, up to " (after".
 */
static int essence(const char *reason, const char **from)
{
    static const char *const before[] = {
        "SSL handshake failed: ", "SASL authentication error: ", "SSL routines:"};
    const char *at = reason, *end;

    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        const char *found = strstr(at, before[i]);
        if (found != NULL)
            at = found + strlen(before[i]);
    }
    at += strspn(at, ": ");
    end = strstr(at, " (after ");
    *from = at;
    return end == NULL ? (int)strlen(at) : (int)(end - at);
}

static void explain_tls(struct kafka_access *access, const char *reason,
                        char text[KAFKA_ACCESS_TEXT])
{
    int refusal = atomic_load(&access->refusal);
    const char *known = refusal_text(refusal);
    const char *from;
    int bytes = essence(reason, &from);

    if (known != NULL)
        (void)snprintf(text, KAFKA_ACCESS_TEXT,
                       "the brokers' certificate is refused: %s (kafka.security.ca: %.120s)", known,
                       access->ca[0] == '\0' ? "the system's" : access->ca);
    else if (refusal != 0)
        (void)snprintf(
            text, KAFKA_ACCESS_TEXT,
            "the brokers' certificate is refused: X509 error %d (kafka.security.ca: %.120s)",
            refusal, access->ca[0] == '\0' ? "the system's" : access->ca);
    else
        (void)snprintf(text, KAFKA_ACCESS_TEXT, "TLS with the brokers failed: %.*s", bytes, from);
}

/* Before 2.6.1 librdkafka sends a wrong nonce, to which Kafka 4 and newer listen. */
static bool scram_is_broken(const struct kafka_access *access)
{
    return access->scram && rd_kafka_version() < 0x020601ff;
}

static void explain_login(struct kafka_access *access, const char *user, const char *reason,
                          char text[KAFKA_ACCESS_TEXT])
{
    const char *from;
    int bytes = essence(reason, &from);

    if (scram_is_broken(access))
        (void)snprintf(text, KAFKA_ACCESS_TEXT,
                       "the brokers refuse the login of %.60s; is it Kafka 4? librdkafka %s cannot "
                       "log in there by SCRAM: take 2.6.1, or kafka.security.mechanism PLAIN, over "
                       "TLS",
                       user, rd_kafka_version_str());
    else
        (void)snprintf(text, KAFKA_ACCESS_TEXT,
                       "the brokers refuse the login of %.60s (kafka.security.username, password): "
                       "%.*s",
                       user, bytes, from);
}

/* A connection that ends as it begins; librdkafka takes it for an ordinary loss. */
static bool explain_hang_up(const char *reason, char text[KAFKA_ACCESS_TEXT])
{
    const char *alert = strstr(reason, " alert ");
    const char *from;
    int bytes = essence(reason, &from);

    if (alert != NULL && strstr(reason, "SSL routines") != NULL)
        (void)snprintf(text, KAFKA_ACCESS_TEXT,
                       "the brokers refuse our certificate (kafka.security.certificate): %.*s",
                       bytes, from);
    else if (strstr(reason, "security.protocol") != NULL)
        (void)snprintf(text, KAFKA_ACCESS_TEXT,
                       "the brokers hang up at once: does their listener speak what "
                       "kafka.security.protocol says?");
    else
        return false;
    return true;
}

bool kafka_access_explain(struct kafka_access *access, rd_kafka_resp_err_t code, const char *reason,
                          const char *topic, bool writes, char text[KAFKA_ACCESS_TEXT])
{
    const char *user = access->user[0] == '\0' ? "our certificate's user" : access->user;

    switch (code) {
    case RD_KAFKA_RESP_ERR__SSL:
        explain_tls(access, reason, text);
        return true;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
        return explain_hang_up(reason, text);
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        explain_login(access, user, reason, text);
        return true;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        (void)snprintf(text, KAFKA_ACCESS_TEXT, "%.60s lacks the ACL %s on topic %.120s", user,
                       writes ? "WRITE (and DESCRIBE)" : "READ (and DESCRIBE)",
                       topic == NULL ? "of kafka.topics" : topic);
        return true;
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        (void)snprintf(text, KAFKA_ACCESS_TEXT, "%.60s lacks the ACL READ on group %.120s", user,
                       access->group);
        return true;
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        (void)snprintf(
            text, KAFKA_ACCESS_TEXT,
            "%.60s lacks the ACL WRITE on the topics it writes (or IDEMPOTENT_WRITE on the "
            "cluster, before Kafka 3.0)",
            user);
        return true;
    default:
        return false;
    }
}
