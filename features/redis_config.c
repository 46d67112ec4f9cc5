/* features/redis_config.c - the configuration of Redis and of the data set's keys. */
#include "features/redis_keys.h"
#include "features/redis_target.h"
#include "features/redis_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct config_row redis_config_rows[] = {
    {.key = "redis.url",
     .type = CONFIG_TEXT,
     .fallback = "redis://127.0.0.1:6379",
     .help = "Where Redis is: redis://host[:port][/db], unix:///path/to/socket, "
             "redis+sentinel://host,host,host/NAME (the primary that these sentinels call so) or "
             "redis+cluster://host:port,host:port (any of its nodes); rediss... for TLS."},
    {.key = "redis.username",
     .type = CONFIG_TEXT,
     .fallback = "",
     .help = "User of Redis' access lists (ACL), with redis.password; empty: the default user, or "
             "the one in redis.url. `freshet doctor` prints what it must be allowed to."},
    {.key = "redis.password",
     .type = CONFIG_SECRET,
     .help = "Password of Redis, as file:PATH or env:NAME; wins over one in redis.url."},
    {.key = "redis.sentinel_password",
     .type = CONFIG_SECRET,
     .help =
         "Password of the sentinels themselves, as file:PATH or env:NAME, where they want one."},
    {.key = "redis.tls.ca",
     .type = CONFIG_TEXT,
     .fallback = "",
     .help = "File of certificates to trust, PEM, where redis.url says rediss; empty: the "
             "system's."},
    {.key = "redis.tls.certificate",
     .type = CONFIG_TEXT,
     .fallback = "",
     .help = "File with our certificate, PEM, where Redis asks for one (tls-auth-clients)."},
    {.key = "redis.tls.key",
     .type = CONFIG_TEXT,
     .fallback = "",
     .help = "File with its private key, PEM."},
    {.key = "redis.tls.server_name",
     .type = CONFIG_TEXT,
     .fallback = "",
     .help = "Name that the certificates of all servers must be of; empty: the host that is "
             "connected to. A cluster gives addresses, its certificates often have one name."},
    {.key = "redis.connect_timeout",
     .type = CONFIG_DURATION,
     .fallback = "3s",
     .min = 10,
     .max = 60000,
     .help = "How long connecting and authenticating may take before it is tried again."},
    {.key = "redis.reply_timeout",
     .type = CONFIG_DURATION,
     .fallback = "10s",
     .min = 10,
     .max = 600000,
     .help = "How long an answer may take before the connection counts as broken."},
    {.key = "dataset.namespace",
     .type = CONFIG_TEXT,
     .fallback = REDIS_NAMESPACE,
     .help = "First bytes of all keys, at most 8; two data sets can share one Redis by it."},
    {.key = "dataset.shards",
     .type = CONFIG_INT,
     .fallback = "64",
     .min = 1,
     .max = REDIS_SHARDS_MAX,
     .help = "Virtual shards; chosen when the data set is created, fixed from then on."},
    {.key = "dataset.examples_partitions",
     .type = CONFIG_INT,
     .fallback = "4",
     .min = 1,
     .max = 4096,
     .help = "Partitions of the examples topic; fixed when the data set is created."},
    {.key = NULL},
};

static enum status refresh(struct redis_secret *kept, const char *key, struct error *err)
{
    char *secret = NULL;
    enum status status;

    if (kept->reference[0] == '\0')
        return OK;
    status = config_secret_of(key, kept->reference, &secret, err);
    if (status != OK)
        return status;
    if (strlen(secret) >= sizeof kept->password)
        status = error_set(err, ERR_CONFIG, "%s is longer than %zu bytes", key,
                           sizeof kept->password - 1);
    else
        (void)snprintf(kept->password, sizeof kept->password, "%s", secret);
    explicit_bzero(secret, strlen(secret));
    free(secret);
    return status;
}

enum status redis_target_refresh(struct redis_target *target, struct error *err)
{
    enum status status = refresh(&target->secret, "redis.password", err);

    return status == OK ? refresh(&target->sentinel_secret, "redis.sentinel_password", err)
                        : status;
}

/* Copies what is configured for a key, if it fits. */
static enum status keep(const char *key, const char *value, char *into, size_t room,
                        struct error *err)
{
    if (strlen(value) >= room)
        return error_set(err, ERR_CONFIG, "%s is longer than %zu bytes", key, room - 1);
    if (value[0] != '\0')
        (void)snprintf(into, room, "%s", value);
    return OK;
}

static enum status keep_tls(const struct config *config, struct redis_tls_files *files,
                            struct error *err)
{
    const struct {
        const char *key;
        char *into;
        size_t room;
    } rows[] = {
        {"redis.tls.ca", files->ca, sizeof files->ca},
        {"redis.tls.certificate", files->certificate, sizeof files->certificate},
        {"redis.tls.key", files->key, sizeof files->key},
        {"redis.tls.server_name", files->server_name, sizeof files->server_name},
    };
    enum status status = OK;

    for (size_t i = 0; i < sizeof rows / sizeof *rows && status == OK; i++)
        status = keep(rows[i].key, config_text(config, rows[i].key), rows[i].into, rows[i].room,
                      err);
    return status;
}

enum status redis_target_from(struct redis_target *target, const struct config *config,
                              struct error *err)
{
    enum status status = redis_target_parse(target, config_text(config, "redis.url"), err);

    if (status != OK)
        return error_prefix(err, "redis.url");
    status = keep("redis.username", config_text(config, "redis.username"), target->user,
                  sizeof target->user, err);
    if (status == OK)
        status = keep("redis.password", config_secret_reference(config, "redis.password"),
                      target->secret.reference, sizeof target->secret.reference, err);
    if (status == OK)
        status = keep(
            "redis.sentinel_password", config_secret_reference(config, "redis.sentinel_password"),
            target->sentinel_secret.reference, sizeof target->sentinel_secret.reference, err);
    if (status == OK)
        status = keep_tls(config, &target->tls_files, err);
    return status == OK ? redis_target_refresh(target, err) : status;
}

static enum status check_url(const struct config *config, struct error *err)
{
    struct redis_target target;
    enum status status = redis_target_parse(&target, config_text(config, "redis.url"), err);

    explicit_bzero(&target, sizeof target);
    return status == OK ? OK : error_prefix(err, "redis.url");
}

/* Bad certificates are found before a role starts with them. */
static enum status check_tls(const struct config *config, struct error *err)
{
    struct redis_target target;
    struct redis_tls *tls = NULL;
    enum status status = redis_target_parse(&target, config_text(config, "redis.url"), err);

    if (status != OK || !target.tls)
        return OK; /* the address has a rule of its own */
    status = keep_tls(config, &target.tls_files, err);
    if (status == OK)
        status = redis_tls_create(&tls, &target.tls_files, err);
    redis_tls_destroy(tls);
    explicit_bzero(&target, sizeof target);
    return status;
}

const struct config_rule redis_config_rules[] = {
    {.key = "redis.url", .check = check_url},
    {.key = "redis.tls.certificate", .check = check_tls},
    {.key = NULL},
};
