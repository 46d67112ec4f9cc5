/*
 * features/redis_target.h - where Redis is: addresses, read from text or configuration.
 *
 *     redis://[[user]:password@]host[:port][/db]                 TCP; [::1] for IPv6
 *     unix:///path/to/socket[?db=N]                              a local socket
 *     redis+sentinel://[login@]host[:port],host[:port].../name[/db]  the primary that sentinels
 *                                                                call by that name; port 26379
 *     redis+cluster://[login@]host[:port],host[:port]...         a cluster, found by any of these
 *
 * rediss:// and rediss+...:// are the same over TLS. In a build without OpenSSL they are a clear
 * error at once; there is no fallback to plain. Which node holds what is asked as the connection is
 * made: features/redis_topology.h. The password belongs into redis.password (`file:` or `env:`),
 * not into the address.
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
#define REDIS_GUIDES_MAX   8
#define REDIS_PATH_MAX     512
#define REDIS_WHERE_MAX    (REDIS_HOST_MAX + 8)

struct redis_address {
    bool unix_socket;
    int port;                  /* 6379 unless given */
    char host[REDIS_HOST_MAX]; /* or the socket's path */
};
/* Host and port or path, for messages. */
void redis_address_describe(const struct redis_address *address, char into[REDIS_WHERE_MAX]);
bool redis_address_equal(const struct redis_address *a, const struct redis_address *b);

/* Paths of PEM files; "": the system's certificates to trust, none of ours, the host's name. */
struct redis_tls_files {
    char ca[REDIS_PATH_MAX];
    char certificate[REDIS_PATH_MAX];
    char key[REDIS_PATH_MAX];
    char server_name[REDIS_HOST_MAX];
};

enum redis_kind { REDIS_STANDALONE, REDIS_SENTINEL, REDIS_CLUSTER };

/* A password, and where it is kept: file:PATH, env:NAME, or "" when it stands in the address. */
struct redis_secret {
    char reference[REDIS_SECRET_MAX];
    char password[REDIS_PASSWORD_MAX];
};

struct redis_target {
    enum redis_kind kind;
    bool tls;
    struct redis_tls_files tls_files;
    int db;
    int guides_count;
    struct redis_address guides[REDIS_GUIDES_MAX]; /* the server; the sentinels; any nodes */
    char master[128];                              /* SENTINEL: what they call the primary */
    char user[128];                                /* "": the default user */
    struct redis_secret secret;
    struct redis_secret sentinel_secret; /* of the sentinels themselves */
};
/* Errors: ERR_CONFIG (not such an address; rediss:// in a build without TLS). The text never
 * repeats the password. */
MUST_CHECK enum status redis_target_parse(struct redis_target *target, const char *url,
                                          struct error *err);
/* Reads the passwords again from where they are kept, so that rotated ones are seen; without a
 * reference they stay as they are. Errors: those of config_secret(), ERR_CONFIG (too long) */
MUST_CHECK enum status redis_target_refresh(struct redis_target *target, struct error *err);

/* redis.url, redis.password, redis.connect_timeout, redis.reply_timeout, dataset.namespace, ... */
extern const struct config_row redis_config_rows[];
extern const struct config_rule redis_config_rules[];
MUST_CHECK enum status redis_target_from(struct redis_target *target, const struct config *config,
                                         struct error *err);

#endif
