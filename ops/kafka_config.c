/*
 * ops/kafka_config.c - the kafka.* rows of the configuration, and clients' options from them.
 *
 * Defaults are those of a production cluster but for fetch_wait: a broker answers a fetch as soon
 * as it has something, so a short wait costs requests when idle and nothing else, while the
 * embedded broker answers an empty fetch only when the wait is over.
 */
#include "ops/certificate.h"
#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_client.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"
#include "ops/levenshtein.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MECHANISM "SCRAM-SHA-512" /* unless another is chosen */

const struct config_row kafka_config_rows[] = {
    {"kafka.brokers", CONFIG_TEXT, "127.0.0.1:9092", 0, 0, NULL,
     "host:port of one or more brokers, separated by commas; the others are found through them"},
    {"kafka.group", CONFIG_TEXT, "freshet", 0, 0, NULL,
     "consumer group of ingest; give every data set its own"},
    {"kafka.instance_id", CONFIG_TEXT, "", 0, 0, NULL,
     "name of this process in the group, unique and kept over restarts, so that a restart moves "
     "no partition; empty: none"},
    {"kafka.client_id", CONFIG_TEXT, "freshet", 0, 0, NULL, "name in the broker's logs and quotas"},
    {"kafka.topics.events", CONFIG_TEXT, "events", 0, 0, NULL,
     "topic of user events, key = user; read by ingest and retrain"},
    {"kafka.topics.items", CONFIG_TEXT, "items", 0, 0, NULL,
     "compacted topic of item records, key = item; read by serve and retrain"},
    {"kafka.topics.examples", CONFIG_TEXT, "examples", 0, 0, NULL,
     "topic of training examples; written by ingest, read by retrain"},
    {"kafka.topics.dead", CONFIG_TEXT, "dead", 0, 0, NULL,
     "topic of records that could not be used, with the reason"},
    {"kafka.session_timeout", CONFIG_DURATION, "45s", 3500, 1800000, NULL,
     "how long a silent process keeps its partitions; shorter takes over sooner after a crash, "
     "longer survives longer pauses"},
    {"kafka.max_poll", CONFIG_DURATION, "5m", 10000, 86400000, NULL,
     "a process that polls less often than this loses its partitions"},
    {"kafka.fetch_wait", CONFIG_DURATION, "10ms", 0, 10000, NULL,
     "how long a broker may keep an empty fetch open; shorter is fresher on brokers that do not "
     "wake fetches"},
    {"kafka.queue", CONFIG_BYTES, "64MiB", 1048576, 2097151.0 * 1024, NULL,
     "memory for records fetched and not yet read, a consumer"},
    {"kafka.isolation", CONFIG_CHOICE, "read_committed", 0, 0, "read_committed|read_uncommitted",
     "whether records of aborted and open transactions are hidden"},
    {"kafka.linger", CONFIG_DURATION, "1ms", 1, 1000, NULL,
     "how long a producer waits for more records of a batch"},
    {"kafka.delivery_timeout", CONFIG_DURATION, "30s", 1000, 3600000, NULL,
     "when a producer gives a record up"},
    {"kafka.compression", CONFIG_CHOICE, "lz4", 0, 0, "none|gzip|snappy|lz4|zstd",
     "of batches that producers send"},
    {"kafka.security.protocol", CONFIG_CHOICE, "plaintext", 0, 0,
     "plaintext|ssl|sasl_plaintext|sasl_ssl", "how to talk to the brokers"},
    {"kafka.security.mechanism", CONFIG_CHOICE, MECHANISM, 0, 0,
     "PLAIN|SCRAM-SHA-256|SCRAM-SHA-512", "how to log in, with a sasl protocol"},
    {"kafka.security.username", CONFIG_TEXT, "", 0, 0, NULL, "for a sasl protocol"},
    {"kafka.security.password", CONFIG_SECRET, NULL, 0, 0, NULL,
     "for a sasl protocol; file:PATH or env:NAME"},
    {"kafka.security.ca", CONFIG_TEXT, "", 0, 0, NULL,
     "file of certificates to trust, PEM; empty: the system's"},
    {"kafka.security.certificate", CONFIG_TEXT, "", 0, 0, NULL,
     "file with our certificate, PEM, where brokers ask for one"},
    {"kafka.security.key", CONFIG_TEXT, "", 0, 0, NULL, "file with its private key, PEM"},
    {"kafka.security.key_password", CONFIG_SECRET, NULL, 0, 0, NULL,
     "of the private key; file:PATH or env:NAME"},
    {"kafka.properties", CONFIG_TEXTS, "", 0, 0, NULL,
     "further librdkafka properties, each name=value without a comma, for what has no row here; "
     "the "
     "value of a secret one is file:PATH or env:NAME"},
    {.key = NULL},
};

/* One line of a property text; false when it is full. */
static bool put_line(char **at, const char *end, const char *name, const char *value)
{
    int bytes = snprintf(*at, (size_t)(end - *at), "%s=%s\n", name, value);

    if (bytes < 0 || bytes >= end - *at)
        return false;
    *at += bytes;
    return true;
}

static bool put_text(char **at, const char *end, const char *name, const struct config *config,
                     const char *key)
{
    const char *value = config_text(config, key);

    return value[0] == 0 || put_line(at, end, name, value);
}

static enum status put_secret(char **at, const char *end, const char *name,
                              const struct config *config, const char *key, struct error *err)
{
    char *value = NULL;
    enum status status;

    if (!config_given(config, key))
        return OK;
    status = config_secret(config, key, &value, err);
    if (status != OK)
        return status;
    if (!put_line(at, end, name, value))
        status = error_set(err, ERR_LIMIT, "%s is too long", key);
    explicit_bzero(value, strlen(value));
    free(value);
    return status;
}

/* Where a secret property has a row, or a file of its own. NULL: it has none. */
static const char *row_of_secret(struct text name)
{
    static const struct {
        const char *name, *key;
    } rows[] = {{"sasl.password", "kafka.security.password"},
                {"ssl.key.password", "kafka.security.key_password"},
                {"ssl.key.pem", "kafka.security.key"}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (text_equal(name, text_of(rows[i].name)))
            return rows[i].key;
    return NULL;
}

/* The value behind a reference. What stands in the configuration is shown to whoever asks, so a
 * secret itself is refused there. */
static enum status put_secret_property(char **at, const char *end, const char *name,
                                       const char *reference, struct error *err)
{
    const char *row = row_of_secret(text_of(name));
    char *value = NULL;
    enum status status;

    if (row != NULL)
        return error_set(err, ERR_CONFIG, "kafka.properties: %s is given as %s", name, row);
    if (strncmp(reference, "file:", 5) != 0 && strncmp(reference, "env:", 4) != 0)
        return error_set(err, ERR_CONFIG,
                         "kafka.properties: %s must be a reference, file:PATH or env:NAME, not the "
                         "secret itself",
                         name);
    status = config_secret_of("kafka.properties", reference, &value, err);
    if (status != OK)
        return status;
    if (strchr(value, '\n') != NULL)
        status = error_set(err, ERR_CONFIG, "kafka.properties: the secret of %s has several lines",
                           name);
    else if (!put_line(at, end, name, value))
        status = error_set(err, ERR_LIMIT, "kafka.properties are too long");
    explicit_bzero(value, strlen(value));
    free(value);
    return status;
}

/* One "name=value" as a line; what lacks its "=" is left to kafka_set_lines(). */
static enum status put_property(char **at, const char *end, struct text property, struct error *err)
{
    char copy[4097];
    char *value;

    (void)snprintf(copy, sizeof copy, "%.*s", TEXT_ARGS(property));
    value = strchr(copy, '=');
    if (value != NULL && config_secret_name((struct text){copy, (size_t)(value - copy)})) {
        *value = 0;
        return put_secret_property(at, end, copy, value + 1, err);
    }
    if ((size_t)(end - *at) < property.bytes + 2)
        return error_set(err, ERR_LIMIT, "kafka.properties are too long");
    *at += snprintf(*at, (size_t)(end - *at), "%s\n", copy);
    return OK;
}

/* "a=1,b=2" as lines. */
static enum status put_properties(char **at, const char *end, const char *joined, struct error *err)
{
    enum status status = OK;

    while (*joined != 0 && status == OK) {
        struct text property = {joined, strcspn(joined, ",")};

        if (property.bytes > 0)
            status = put_property(at, end, property, err);
        joined += property.bytes + (joined[property.bytes] == ',');
    }
    return status;
}

enum status kafka_properties(const struct config *config, char **lines, struct error *err)
{
    enum { ROOM = 64 * 1024 };
    const char *protocol = config_text(config, "kafka.security.protocol");
    bool sasl = strncmp(protocol, "sasl", 4) == 0;
    bool tls = strstr(protocol, "ssl") != NULL;
    enum status status = OK;
    char *text = calloc(1, ROOM);
    char *at = text;

    assert(config != NULL && lines != NULL && err != NULL);
    *lines = NULL;
    if (text == NULL)
        return error_set(err, ERR_NOMEM, "no memory for Kafka properties");
    const char *end = text + ROOM;
    bool fits = put_line(&at, end, "security.protocol", protocol);
    if (sasl) {
        fits = fits && put_text(&at, end, "sasl.mechanism", config, "kafka.security.mechanism") &&
               put_text(&at, end, "sasl.username", config, "kafka.security.username");
        status = put_secret(&at, end, "sasl.password", config, "kafka.security.password", err);
    }
    if (tls && status == OK) {
        fits = fits && put_text(&at, end, "ssl.ca.location", config, "kafka.security.ca") &&
               put_text(&at, end, "ssl.certificate.location", config,
                        "kafka.security.certificate") &&
               put_text(&at, end, "ssl.key.location", config, "kafka.security.key");
        status = put_secret(&at, end, "ssl.key.password", config, "kafka.security.key_password",
                            err);
    }
    if (status == OK && !fits)
        status = error_set(err, ERR_LIMIT, "kafka.security is too long");
    if (status == OK)
        status = put_properties(&at, end, config_text(config, "kafka.properties"), err);
    if (status != OK) {
        explicit_bzero(text, ROOM);
        free(text);
        return status;
    }
    *lines = text;
    return OK;
}

void kafka_set_security(struct kafka_settings *settings, const struct config *config)
{
    char *lines = NULL;

    if (config == NULL || settings->status != OK)
        return;
    settings->status = kafka_properties(config, &lines, settings->err);
    if (settings->status != OK)
        return;
    kafka_set_lines(settings, lines);
    explicit_bzero(lines, strlen(lines));
    free(lines);
}

/* ---- what config check asks ---------------------------------------------------------------- */

static bool uses_tls(const struct config *config)
{
    return strstr(config_text(config, "kafka.security.protocol"), "ssl") != NULL;
}

static enum status check_certificates(const struct config *config, const char *key, bool any,
                                      struct error *err)
{
    const char *path = config_text(config, key);
    struct error why;
    enum status status;

    if (!uses_tls(config) || path[0] == 0)
        return OK;
    status = certificate_check(path, any, clock_wall_ms(), &why);
    return status == OK ? OK : error_set(err, ERR_CONFIG, "%s: %s", key, why.text);
}

static enum status check_ca(const struct config *config, struct error *err)
{
    return check_certificates(config, "kafka.security.ca", true, err);
}

static enum status check_certificate(const struct config *config, struct error *err)
{
    if (uses_tls(config) && (config_text(config, "kafka.security.certificate")[0] == 0) !=
                                (config_text(config, "kafka.security.key")[0] == 0))
        return error_set(err, ERR_CONFIG,
                         "kafka.security.certificate and kafka.security.key go together");
    return check_certificates(config, "kafka.security.certificate", false, err);
}

/* Is the key one, is it the certificate's, does the password open it? librdkafka knows: it loads
 * them when a client is made, before it connects. */
static enum status check_key(const struct config *config, struct error *err)
{
    struct kafka_producer_options options = {.brokers = "127.0.0.1:1", .config = config};
    struct kafka_producer *producer;
    struct error why;
    char *secrets;

    if (!uses_tls(config) || config_text(config, "kafka.security.key")[0] == 0 ||
        check_ca(config, err) != OK || check_certificate(config, err) != OK)
        return OK; /* nothing to check, or told already */
    if (kafka_properties(config, &secrets, &why) != OK)
        return OK; /* unreadable secrets are told by themselves */
    explicit_bzero(secrets, strlen(secrets));
    free(secrets);
    if (kafka_producer_open(&producer, &options, &why) == OK) {
        kafka_producer_close(producer, 0);
        return OK;
    }
    if (!config_given(config, "kafka.security.key_password") &&
        certificate_key_is_locked(config_text(config, "kafka.security.key")))
        return error_set(err, ERR_CONFIG,
                         "kafka.security.key: \"%.80s\" is encrypted: give "
                         "kafka.security.key_password, too",
                         config_text(config, "kafka.security.key"));
    return error_set(err, ERR_CONFIG, "kafka.security.key: \"%.80s\": %.120s",
                     config_text(config, "kafka.security.key"), why.text);
}

/* The known property nearest to a name, as "; did you mean ...?"; "" when none is near. */
static void suggest_property(const char *name, char *into, size_t bytes)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    struct levenshtein_nearest nearest = {0};
    size_t count = 0;
    const char **pairs = conf == NULL ? NULL : rd_kafka_conf_dump(conf, &count);

    into[0] = 0;
    for (size_t i = 0; pairs != NULL && i + 1 < count; i += 2)
        levenshtein_offer(&nearest, name, pairs[i]);
    if (nearest.name != NULL)
        (void)snprintf(into, bytes, "; did you mean \"%s\"?", nearest.name);
    if (pairs != NULL)
        rd_kafka_conf_dump_free(pairs, count);
    if (conf != NULL)
        rd_kafka_conf_destroy(conf);
}

/* Does librdkafka take it? Asked with settings that no client is made from. */
static enum status try_property(struct text property, struct error *err)
{
    char lines[8192], name[128], near[160] = "";
    char *at = lines;
    struct kafka_settings settings;
    struct error why;
    enum status status;

    lines[0] = 0;
    status = put_property(&at, lines + sizeof lines, property, err);
    if (status != OK)
        return status;
    status = kafka_settings_begin(&settings, NULL, "127.0.0.1:1", NULL, &why);
    if (status == OK)
        kafka_set_lines(&settings, lines);
    explicit_bzero(lines, sizeof lines);
    rd_kafka_conf_destroy(settings.conf);
    if (settings.status == OK)
        return OK;
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(property.at, "=,"), property.at);
    if (strstr(why.text, "is unknown") != NULL)
        suggest_property(name, near, sizeof near);
    return error_set(err, ERR_CONFIG, "kafka.properties: %.150s%s", why.text, near);
}

static void check_properties(const struct config *config, config_tell *tell, void *context)
{
    const char *at = config_text(config, "kafka.properties");

    while (*at != 0) {
        struct text property = {at, strcspn(at, ",")};
        struct error why;

        at += property.bytes + (at[property.bytes] == ',');
        if (property.bytes > 0 && try_property(property, &why) != OK)
            tell(context, "kafka.properties", why.text);
    }
}

static bool has_property(const struct config *config, const char *name)
{
    size_t bytes = strlen(name);

    for (const char *at = config_text(config, "kafka.properties"); *at != 0;) {
        if (strncmp(at, name, bytes) == 0 && at[bytes] == '=')
            return true;
        at += strcspn(at, ",");
        at += *at == ',';
    }
    return false;
}

/* Half a login, which librdkafka refuses only when a role starts, and one that the protocol never
 * uses. Told at a key that the operator has written. */
static void check_login(const struct config *config, config_tell *tell, void *context)
{
    static const char username[] = "kafka.security.username",
                      password[] = "kafka.security.password",
                      mechanism[] = "kafka.security.mechanism";
    const char *protocol = config_text(config, "kafka.security.protocol");
    bool sasl = strncmp(protocol, "sasl", 4) == 0;
    bool named = config_text(config, username)[0] != 0;
    bool secret = config_secret_reference(config, password)[0] != 0;
    bool chosen = strcmp(config_text(config, mechanism), MECHANISM) != 0;
    char text[300];

    if (sasl && (has_property(config, "sasl.mechanism") || has_property(config, "sasl.mechanisms")))
        return; /* a login of another kind */
    if (sasl && !named && !has_property(config, "sasl.username")) {
        (void)snprintf(text, sizeof text,
                       "kafka.security.username is missing: %s logs in by %s; give it, and %s as "
                       "file:PATH or env:NAME",
                       protocol, config_text(config, mechanism), password);
        tell(context,
             config_given(config, username)    ? username
             : config_given(config, mechanism) ? mechanism
                                               : "kafka.security.protocol",
             text);
    } else if (sasl && !secret) {
        (void)snprintf(text, sizeof text,
                       "kafka.security.password is missing: %s logs in with one; give it as "
                       "file:PATH or env:NAME",
                       protocol);
        tell(context, config_given(config, username) ? username : "kafka.security.protocol", text);
    } else if (!sasl && (named || secret || chosen)) {
        const char *key = named ? username : secret ? password : mechanism;

        (void)snprintf(text, sizeof text,
                       "%s is not used: kafka.security.protocol is %s, which has no login; make it "
                       "sasl_ssl, or sasl_plaintext",
                       key, protocol);
        tell(context, key, text);
    }
}

static enum status check_group(const struct config *config, struct error *err)
{
    return config_text(config, "kafka.group")[0] != 0
               ? OK
               : error_set(err, ERR_CONFIG,
                           "kafka.group is empty: name the consumer group of this data set");
}

/* Each topic has a name, and is none of the others. */
static void check_topics(const struct config *config, config_tell *tell, void *context)
{
    static const char prefix[] = "kafka.topics.";
    struct config_entry entry, before;
    char text[400];

    for (int i = 0; config_entry(config, i, &entry); i++) {
        if (strncmp(entry.key, prefix, sizeof prefix - 1) != 0)
            continue;
        if (entry.value[0] == 0) {
            (void)snprintf(text, sizeof text, "%s is empty: name the topic", entry.key);
            tell(context, entry.key, text);
        }
        for (int j = 0; j < i && entry.value[0] != 0 && config_entry(config, j, &before); j++) {
            if (strncmp(before.key, prefix, sizeof prefix - 1) != 0 ||
                strcmp(before.value, entry.value) != 0)
                continue;
            (void)snprintf(text, sizeof text,
                           "%s and %s are both \"%.100s\": each is a topic of "
                           "its own",
                           before.key, entry.key, entry.value);
            tell(context, entry.given ? entry.key : before.key, text);
        }
    }
}

const struct config_rule kafka_config_rules[] = {
    {.key = "kafka.group", .check = check_group},
    {.key = "kafka.topics", .check_each = check_topics},
    {.key = "kafka.security.username", .check_each = check_login},
    {.key = "kafka.security.ca", .check = check_ca},
    {.key = "kafka.security.certificate", .check = check_certificate},
    {.key = "kafka.security.key", .check = check_key},
    {.key = "kafka.properties", .check_each = check_properties},
    {.key = NULL},
};

void kafka_consumer_options_from(struct kafka_consumer_options *options,
                                 const struct config *config, const char *topic_key)
{
    const char *instance_id = config_text(config, "kafka.instance_id");

    *options = (struct kafka_consumer_options){
        .brokers = config_text(config, "kafka.brokers"),
        .topic = config_text(config, topic_key),
        .group = config_text(config, "kafka.group"),
        .instance_id = instance_id[0] == 0 ? NULL : instance_id,
        .client_id = config_text(config, "kafka.client_id"),
        .session_timeout_ms = (int)config_duration_ms(config, "kafka.session_timeout"),
        .max_poll_ms = (int)config_duration_ms(config, "kafka.max_poll"),
        .fetch_wait_max_ms = (int)config_duration_ms(config, "kafka.fetch_wait"),
        .queue_bytes_max = config_size_bytes(config, "kafka.queue"),
        .read_uncommitted = strcmp(config_text(config, "kafka.isolation"), "read_uncommitted") == 0,
        .config = config,
    };
}

void kafka_producer_options_from(struct kafka_producer_options *options,
                                 const struct config *config)
{
    *options = (struct kafka_producer_options){
        .brokers = config_text(config, "kafka.brokers"),
        .client_id = config_text(config, "kafka.client_id"),
        .linger_ms = (int)config_duration_ms(config, "kafka.linger"),
        .delivery_timeout_ms = (int)config_duration_ms(config, "kafka.delivery_timeout"),
        .compression = config_text(config, "kafka.compression"),
        .config = config,
    };
}
