/* features/redis_target.c - parses addresses of Redis. Never puts a password into a message. */
#include "features/redis_target.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT 6379
#define DB_MAX       1024

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
                     "[:port][/db] or unix:///path)",
                     why);
}

static enum status parse_socket(struct redis_target *target, const char *rest, struct error *err)
{
    const char *query = strchr(rest, '?');
    size_t path = query == NULL ? strlen(rest) : (size_t)(query - rest);

    target->unix_socket = true;
    if (path < 2 || rest[0] != '/')
        return refuse(err, "no absolute path");
    if (path >= 108) /* sun_path of struct sockaddr_un */
        return refuse(err, "the socket's path is longer than 107 bytes");
    if (!take(target->host, sizeof target->host, rest, path))
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
        !take(target->password, sizeof target->password, colon + 1, count - user - 1))
        return refuse(err, "unusable password");
    return OK;
}

static enum status parse_host(struct redis_target *target, const char *host, size_t count,
                              struct error *err)
{
    const char *port = NULL;
    size_t name = count;

    if (count > 0 && host[0] == '[') {
        const char *close = memchr(host, ']', count);

        if (close == NULL)
            return refuse(err, "'[' without ']'");
        name = (size_t)(close - host) - 1;
        if (close + 1 < host + count)
            port = close + 1;
        host++;
    } else {
        port = memchr(host, ':', count);
        if (port != NULL)
            name = (size_t)(port - host);
    }
    if (name == 0 || !take(target->host, sizeof target->host, host, name))
        return refuse(err, "no host");
    if (port == NULL)
        return OK;
    if (port[0] != ':' || !take_number(port + 1, strcspn(port + 1, "/"), 65535, &target->port) ||
        target->port == 0)
        return refuse(err, "port is no number of 1..65535");
    return OK;
}

enum status redis_target_parse(struct redis_target *target, const char *url, struct error *err)
{
    struct redis_target parsed = {.port = DEFAULT_PORT};
    const char *rest, *at;
    enum status status;
    size_t authority;

    assert(target != NULL && url != NULL && err != NULL);
    *target = parsed;
    if (strncmp(url, "rediss://", 9) == 0)
        return error_set(err, ERR_CONFIG,
                         "address of redis asks for TLS (rediss://), which this build cannot do: "
                         "hiredis_ssl was not there; use redis:// through a local TLS proxy");
    if (strncmp(url, "unix://", 7) == 0) {
        status = parse_socket(&parsed, url + 7, err);
        if (status == OK)
            *target = parsed;
        return status;
    }
    if (strncmp(url, "redis://", 8) != 0)
        return refuse(err, "unknown scheme");
    rest = url + 8;
    authority = strcspn(rest, "/");
    at = memrchr(rest, '@', authority);
    if (at != NULL) {
        status = parse_login(&parsed, rest, (size_t)(at - rest), err);
        if (status != OK)
            return status;
        authority -= (size_t)(at + 1 - rest);
        rest = at + 1;
    }
    status = parse_host(&parsed, rest, authority, err);
    if (status != OK)
        return status;
    rest += authority;
    if (rest[0] == '/' && rest[1] != '\0' &&
        !take_number(rest + 1, strlen(rest + 1), DB_MAX, &parsed.db))
        return refuse(err, "the data base after '/' is no number");
    *target = parsed;
    return OK;
}

void redis_target_describe(const struct redis_target *target, char *into, size_t bytes)
{
    if (target->unix_socket)
        (void)snprintf(into, bytes, "%s", target->host);
    else
        (void)snprintf(into, bytes, "%s:%d", target->host, target->port);
}
