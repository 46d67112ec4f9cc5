/*
 * tests/support/redis_server.h - a private redis-server on a unix socket in the test's folder.
 *
 * In memory only, no TCP port. It dies with the test process, also when a check fails. A test
 * without a redis-server on PATH is skipped.
 */
#ifndef TESTS_SUPPORT_REDIS_SERVER_H
#define TESTS_SUPPORT_REDIS_SERVER_H

#include <sys/types.h>

struct redis_server {
    pid_t pid;
    char url[160]; /* unix://... */
    char socket[100];
};

/* extra: further arguments of redis-server, NULL-ended, or NULL. Ready to serve on return. */
void redis_server_start(struct redis_server *server, const char *const *extra);
/* SIGTERM, or SIGKILL for kill; then waits for its end. Twice is fine. */
void redis_server_stop(struct redis_server *server);
void redis_server_kill(struct redis_server *server);
/* Starts it again on the same socket (empty: it keeps nothing). */
void redis_server_restart(struct redis_server *server, const char *const *extra);
/* Runs one command, arguments NULL-ended, and returns the answer flattened to text in static
 * storage ("(nil)" for nil, elements of an array joined by newlines). Fails the test if it cannot.
 */
const char *redis_server_command(const struct redis_server *server, const char *const *arguments);
#define REDIS_COMMAND(server, ...)                                                                 \
    redis_server_command(server, (const char *const[]){__VA_ARGS__, NULL})

#endif
