/* features/redis_config.c - the configuration of Redis and of the data set's keys. */
#include "features/redis_keys.h"
#include "features/redis_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct config_row redis_config_rows[] = {
    {.key = "redis.url",
     .type = CONFIG_TEXT,
     .fallback = "redis://127.0.0.1:6379",
     .help = "Where Redis is: redis://[user@]host[:port][/db] or unix:///path/to/socket."},
    {.key = "redis.password",
     .type = CONFIG_SECRET,
     .help = "Password of Redis, as file:PATH or env:NAME; wins over one in redis.url."},
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

enum status redis_target_refresh(struct redis_target *target, struct error *err)
{
    char *secret = NULL;
    enum status status;

    if (target->secret[0] == '\0')
        return OK;
    status = config_secret_of("redis.password", target->secret, &secret, err);
    if (status != OK)
        return status;
    if (strlen(secret) >= sizeof target->password)
        status = error_set(err, ERR_CONFIG, "redis.password is longer than %zu bytes",
                           sizeof target->password - 1);
    else
        (void)snprintf(target->password, sizeof target->password, "%s", secret);
    explicit_bzero(secret, strlen(secret));
    free(secret);
    return status;
}

enum status redis_target_from(struct redis_target *target, const struct config *config,
                              struct error *err)
{
    const char *secret = config_secret_reference(config, "redis.password");
    enum status status = redis_target_parse(target, config_text(config, "redis.url"), err);

    if (status != OK)
        return error_prefix(err, "redis.url");
    if (strlen(secret) >= sizeof target->secret)
        return error_set(err, ERR_CONFIG, "redis.password is longer than %zu bytes",
                         sizeof target->secret - 1);
    (void)snprintf(target->secret, sizeof target->secret, "%s", secret);
    return redis_target_refresh(target, err);
}

static enum status check_url(const struct config *config, struct error *err)
{
    struct redis_target target;
    enum status status = redis_target_parse(&target, config_text(config, "redis.url"), err);

    explicit_bzero(&target, sizeof target);
    return status == OK ? OK : error_prefix(err, "redis.url");
}

const struct config_rule redis_config_rules[] = {{"redis.url", check_url}, {NULL, NULL}};
