/*
 * tests/support/redis_script.h - a server that answers by a table: sentinels and nodes of a cluster
 * that say what a test wants them to, on loopback.
 *
 * A thread of its own, so that blocking calls can be tested. Stop it before the test ends.
 */
#ifndef TESTS_SUPPORT_REDIS_SCRIPT_H
#define TESTS_SUPPORT_REDIS_SCRIPT_H

#include <pthread.h>
#include <stdatomic.h>

#define REDIS_SCRIPT_ROWS    16
#define REDIS_SCRIPT_CLIENTS 16
#define REDIS_SCRIPT_BYTES   1024 /* of a reply */

/* A command that begins with these words (upper case, one blank between) is answered so. Where the
 * reply is empty its client waits, and all that it has sent behind the command, until the row gets
 * another one. */
struct redis_script_row {
    const char *command;
    char reply[REDIS_SCRIPT_BYTES];
};

struct redis_script {
    int port;
    int listener, wake; /* rung by every change of a row, and to stop */
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t lock; /* everything below */
    struct redis_script_row rows[REDIS_SCRIPT_ROWS];
    int rows_count;
    int seen[REDIS_SCRIPT_ROWS]; /* times a row was asked */
    int clients;                 /* that ever connected */
};

/* Answers PING and CLIENT; anything else that no row answers is an error. */
void redis_script_start(struct redis_script *script);
void redis_script_stop(struct redis_script *script);
/* Adds a row, or gives one another reply (printf). */
void redis_script_says(struct redis_script *script, const char *command, const char *reply, ...)
    __attribute__((format(printf, 3, 4)));
int redis_script_seen(struct redis_script *script, const char *command);
int redis_script_clients(struct redis_script *script);

#endif
