/*
 * features/redis_target.h - where Redis is: an address, read from text or configuration.
 *
 *     redis://[[user]:password@]host[:port][/db]     TCP; [::1] for IPv6
 *     unix:///path/to/socket[?db=N]                  a local socket
 *
 * Without hiredis_ssl a rediss:// address is a clear error at once; there is no fallback to plain.
 * The password belongs into redis.password (`file:` or `env:`), not into the address.
 */
#ifndef FEATURES_REDIS_TARGET_H
#define FEATURES_REDIS_TARGET_H

#include "ops/config.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stddef.h>

#define REDIS_HOST_MAX     256
#define REDIS_PASSWORD_MAX 512
#define REDIS_SECRET_MAX   512

struct redis_target {
    bool unix_socket;
    char host[REDIS_HOST_MAX]; /* or the socket's path */
    int port;                  /* 6379 unless given */
    int db;
    char user[128]; /* "": the default user */
    char password[REDIS_PASSWORD_MAX];
    char secret[REDIS_SECRET_MAX]; /* redis.password as configured: file:PATH, env:NAME or "" */
};
/* Errors: ERR_CONFIG (not such an address; rediss:// in a build without TLS). The text never
 * repeats the password. */
MUST_CHECK enum status redis_target_parse(struct redis_target *target, const char *url,
                                          struct error *err);
/* Reads the password again from where it is kept, so that a rotated one is seen; without a secret
 * it stays as it is. Errors: those of config_secret(), ERR_CONFIG (too long): it stays as it was */
MUST_CHECK enum status redis_target_refresh(struct redis_target *target, struct error *err);
/* Host and port or path, for messages: without the password. */
void redis_target_describe(const struct redis_target *target, char *into, size_t bytes);

/* redis.url, redis.password, redis.connect_timeout, redis.reply_timeout, dataset.namespace, ... */
extern const struct config_row redis_config_rows[];
extern const struct config_rule redis_config_rules[];
MUST_CHECK enum status redis_target_from(struct redis_target *target, const struct config *config,
                                         struct error *err);

#endif
