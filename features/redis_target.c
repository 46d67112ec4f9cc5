/* features/redis_target.c - parses addresses of Redis. Never puts a password into a message. */
#include "features/redis_target.h"

#include "features/redis_tls.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_PORT    6379
#define SENTINEL_PORT 26379
#define DB_MAX        1024

/* Copies a part of the address, undoing %XX; a zero byte is refused. */
static bool take(char *into, size_t room, const char *from, size_t count)
{
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        char c = from[i];

        if (c == '%') {
            char hex[3] = {0};
            char *end;

            if (i + 2 >= count)
                return false;
            memcpy(hex, from + i + 1, 2);
            c = (char)strtol(hex, &end, 16);
            if (end != hex + 2)
                return false;
            i += 2;
        }
        if (c == '\0' || used + 1 >= room)
            return false;
        into[used++] = c;
    }
    into[used] = '\0';
    return true;
}

static bool take_number(const char *from, size_t count, long most, int *into)
{
    long value = 0;

    if (count == 0 || count > 6)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (from[i] < '0' || from[i] > '9')
            return false;
        value = value * 10 + (from[i] - '0');
    }
    if (value > most)
        return false;
    *into = (int)value;
    return true;
}

static enum status refuse(struct error *err, const char *why)
{
    return error_set(err, ERR_CONFIG,
                     "address of redis cannot be used: %s (want redis://[user:password@]host"
                     "[:port][/db], unix:///path, redis+sentinel://host,host/name or "
                     "redis+cluster://host,host)",
                     why);
}

static enum status parse_socket(struct redis_target *target, const char *rest, struct error *err)
{
    const char *query = strchr(rest, '?');
    size_t path = query == NULL ? strlen(rest) : (size_t)(query - rest);
    struct redis_address *address = &target->guides[0];

    address->unix_socket = true;
    target->guides_count = 1;
    if (path < 2 || rest[0] != '/')
        return refuse(err, "no absolute path");
    if (path >= 108) /* sun_path of struct sockaddr_un */
        return refuse(err, "the socket's path is longer than 107 bytes");
    if (!take(address->host, sizeof address->host, rest, path))
        return refuse(err, "unusable path");
    if (query == NULL)
        return OK;
    if (strncmp(query, "?db=", 4) != 0 ||
        !take_number(query + 4, strlen(query + 4), DB_MAX, &target->db))
        return refuse(err, "after the path only ?db=N is known");
    return OK;
}

static enum status parse_login(struct redis_target *target, const char *login, size_t count,
                               struct error *err)
{
    const char *colon = memchr(login, ':', count);
    size_t user = colon == NULL ? count : (size_t)(colon - login);

    if (!take(target->user, sizeof target->user, login, user))
        return refuse(err, "unusable user");
    if (colon != NULL &&
        !take(target->secret.password, sizeof target->secret.password, colon + 1, count - user - 1))
        return refuse(err, "unusable password");
    return OK;
}

static enum status parse_host(struct redis_address *address, const char *host, size_t count,
                              struct error *err)
{
    const char *port = NULL, *end = host + count;
    size_t name = count;

    if (count > 0 && host[0] == '[') {
        const char *close = memchr(host, ']', count);

        if (close == NULL)
            return refuse(err, "'[' without ']'");
        name = (size_t)(close - host) - 1;
        if (close + 1 < end)
            port = close + 1;
        host++;
    } else {
        port = memchr(host, ':', count);
        if (port != NULL)
            name = (size_t)(port - host);
    }
    if (name == 0 || !take(address->host, sizeof address->host, host, name))
        return refuse(err, "no host");
    if (port == NULL)
        return OK;
    if (port[0] != ':' || !take_number(port + 1, (size_t)(end - port) - 1, 65535, &address->port) ||
        address->port == 0)
        return refuse(err, "port is no number of 1..65535");
    return OK;
}

/* host[:port],host[:port]...; one alone where there is a server and no guide. */
static enum status parse_hosts(struct redis_target *target, const char *hosts, size_t count,
                               struct error *err)
{
    const char *end = hosts + count;
    enum status status = OK;

    while (status == OK) {
        const char *comma = memchr(hosts, ',', (size_t)(end - hosts));
        const char *stop = comma == NULL ? end : comma;

        if (target->guides_count == (target->kind == REDIS_STANDALONE ? 1 : REDIS_GUIDES_MAX))
            return refuse(err, target->kind == REDIS_STANDALONE
                                   ? "one host, unless it is redis+sentinel or redis+cluster"
                                   : "more than 8 hosts");
        struct redis_address *address = &target->guides[target->guides_count++];

        address->port = target->kind == REDIS_SENTINEL ? SENTINEL_PORT : REDIS_PORT;
        status = parse_host(address, hosts, (size_t)(stop - hosts), err);
        if (comma == NULL)
            break;
        hosts = comma + 1;
    }
    return status;
}

/* What follows the hosts: [/name][/db]. */
static enum status parse_path(struct redis_target *target, const char *path, struct error *err)
{
    if (target->kind == REDIS_SENTINEL) {
        size_t name = path[0] == '/' ? strcspn(path + 1, "/") : 0;

        if (name == 0 || !take(target->master, sizeof target->master, path + 1, name))
            return refuse(err, "after the sentinels comes /NAME, what they call the primary");
        path += 1 + name;
    }
    if (path[0] == '\0' || path[1] == '\0')
        return OK;
    if (target->kind == REDIS_CLUSTER)
        return refuse(err, "a cluster has one data base");
    if (!take_number(path + 1, strlen(path + 1), DB_MAX, &target->db))
        return refuse(err, "the data base after '/' is no number");
    return OK;
}

/* Sets kind and tls; what follows the scheme, NULL when it is none of ours. */
static const char *parse_scheme(struct redis_target *target, const char *url)
{
    static const struct {
        const char *scheme;
        enum redis_kind kind;
        bool tls;
    } schemes[] = {
        {"redis://", REDIS_STANDALONE, false},        {"rediss://", REDIS_STANDALONE, true},
        {"redis+sentinel://", REDIS_SENTINEL, false}, {"rediss+sentinel://", REDIS_SENTINEL, true},
        {"redis+cluster://", REDIS_CLUSTER, false},   {"rediss+cluster://", REDIS_CLUSTER, true},
    };

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t bytes = strlen(schemes[i].scheme);

        if (strncmp(url, schemes[i].scheme, bytes) != 0)
            continue;
        target->kind = schemes[i].kind;
        target->tls = schemes[i].tls;
        return url + bytes;
    }
    return NULL;
}

enum status redis_target_parse(struct redis_target *target, const char *url, struct error *err)
{
    struct redis_target parsed = {0};
    enum status status = OK;
    const char *rest, *at;
    size_t authority;

    assert(target != NULL && url != NULL && err != NULL);
    *target = parsed;
    if (strncmp(url, "unix://", 7) == 0) {
        status = parse_socket(&parsed, url + 7, err);
        if (status == OK)
            *target = parsed;
        return status;
    }
    rest = parse_scheme(&parsed, url);
    if (rest == NULL)
        return refuse(err, "unknown scheme");
    if (parsed.tls && !redis_tls_built())
        return error_set(err, ERR_CONFIG,
                         "address of redis asks for TLS (rediss), which this build cannot do: "
                         "OpenSSL was not there; use redis:// through a local TLS proxy");
    authority = strcspn(rest, "/");
    at = memrchr(rest, '@', authority);
    if (at != NULL) {
        status = parse_login(&parsed, rest, (size_t)(at - rest), err);
        authority -= (size_t)(at + 1 - rest);
        rest = at + 1;
    }
    if (status == OK)
        status = parse_hosts(&parsed, rest, authority, err);
    if (status == OK)
        status = parse_path(&parsed, rest + authority, err);
    if (status == OK)
        *target = parsed;
    explicit_bzero(&parsed.secret, sizeof parsed.secret);
    return status;
}

void redis_address_describe(const struct redis_address *address, char into[REDIS_WHERE_MAX])
{
    if (address->unix_socket)
        (void)snprintf(into, REDIS_WHERE_MAX, "%s", address->host);
    else
        (void)snprintf(into, REDIS_WHERE_MAX, "%s:%d", address->host, address->port);
}

bool redis_address_equal(const struct redis_address *a, const struct redis_address *b)
{
    return a->unix_socket == b->unix_socket && a->port == b->port && strcmp(a->host, b->host) == 0;
}
