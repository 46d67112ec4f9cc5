/*
 * features/redis_resolve.c - a list of names, and a detached thread for each lookup under way.
 *
 *     name:  IDLE --asked--> WAITING --a thread is free--> LOOKING --> DONE --(time)--> IDLE
 *
 * A name that is LOOKING is its thread's to finish and nobody's to free; all else about the list is
 * under the lock, which is never held over a lookup.
 */
#include "features/redis_resolve.h"

#include "ops/clock.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HOST_MAX 256

struct name {
    struct name *next;
    char host[HOST_MAX];
    redis_resolve_lookup *lookup; /* LOOKING: by whom */
    bool looking, done, taken;
    enum status status; /* done */
    char address[RESOLVE_ADDRESS_MAX];
    struct error why;
    int64_t until_us; /* done: for so long this is the answer */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct name *names; /* what follows is under the lock */
static int names_count, looking_count;

/* IPv4 first, as hiredis has it: the servers of many a name listen there alone. */
static enum status look_up(const char *host, char address[RESOLVE_ADDRESS_MAX], struct error *err)
{
    static const int families[] = {AF_INET, AF_INET6};
    int code = EAI_NONAME;

    for (int i = 0; i < 2 && code != 0; i++) {
        struct addrinfo hints = {.ai_family = families[i], .ai_socktype = SOCK_STREAM};
        struct addrinfo *found = NULL;
        int other = getaddrinfo(host, NULL, &hints, &found);

        if (other == 0) {
            other = getnameinfo(found->ai_addr, found->ai_addrlen, address, RESOLVE_ADDRESS_MAX,
                                NULL, 0, NI_NUMERICHOST);
            freeaddrinfo(found);
        }
        if (other == 0 || i == 0)
            code = other;
        if (other == EAI_AGAIN)
            break; /* the name server is silent: it would be for the other family, too */
    }
    return code == 0 ? OK
                     : error_set(err, ERR_UNAVAILABLE, "could not look up \"%s\": %s", host,
                                 gai_strerror(code));
}

static redis_resolve_lookup *chosen = look_up; /* under the lock */

static void *run(void *context)
{
    struct name *name = context;
    char address[RESOLVE_ADDRESS_MAX] = "";
    struct error why = {0};
    enum status status = name->lookup(name->host, address, &why);

    (void)pthread_mutex_lock(&lock);
    name->status = status;
    name->why = why;
    memcpy(name->address, address, sizeof address);
    name->looking = false;
    name->done = true;
    name->taken = false;
    name->until_us = clock_monotonic_us() + (int64_t)RESOLVE_UNTAKEN_MS * 1000;
    looking_count--;
    (void)pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- under the lock ---- */

/* Frees the names whose answers are over, or all that no thread holds. */
static void forget(int64_t now_us, bool all)
{
    struct name **at = &names;

    while (*at != NULL) {
        struct name *name = *at;

        if (name->looking || (!all && name->done && name->until_us > now_us)) {
            at = &name->next;
            continue;
        }
        *at = name->next;
        free(name);
        names_count--;
    }
}

static struct name *name_of(const char *host, int64_t now_us)
{
    struct name *name;

    for (name = names; name != NULL; name = name->next)
        if (strcmp(name->host, host) == 0)
            return name;
    if (names_count >= RESOLVE_NAMES_MAX)
        forget(now_us, false);
    name = names_count >= RESOLVE_NAMES_MAX ? NULL : calloc(1, sizeof *name);
    if (name == NULL)
        return NULL;
    (void)snprintf(name->host, sizeof name->host, "%s", host);
    name->next = names;
    names = name;
    names_count++;
    return name;
}

/* False: no thread for it. */
static bool begin(struct name *name)
{
    pthread_attr_t detached;
    pthread_t thread;
    bool begun;

    name->done = false;
    if (looking_count >= RESOLVE_THREADS_MAX)
        return true; /* when it is asked for again */
    name->lookup = chosen;
    name->looking = true;
    looking_count++;
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    begun = pthread_create(&thread, &detached, run, name) == 0;
    (void)pthread_attr_destroy(&detached);
    if (!begun) {
        name->looking = false;
        looking_count--;
    }
    return begun;
}

static enum redis_resolved take(struct name *name, int64_t now_us,
                                char address[RESOLVE_ADDRESS_MAX], struct error *err)
{
    if (!name->taken) {
        name->taken = true;
        name->until_us = now_us + (int64_t)RESOLVE_KEEP_MS * 1000;
    }
    if (name->status != OK) {
        *err = name->why;
        return REDIS_UNRESOLVED;
    }
    memcpy(address, name->address, RESOLVE_ADDRESS_MAX);
    return REDIS_RESOLVED;
}

/* ---- the questions ---- */

static bool is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

enum redis_resolved redis_resolve(const char *host, int64_t now_us,
                                  char address[RESOLVE_ADDRESS_MAX], struct error *err)
{
    enum redis_resolved resolved = REDIS_RESOLVING;
    struct name *name;

    if (strlen(host) < RESOLVE_ADDRESS_MAX && is_numeric(host)) {
        (void)snprintf(address, RESOLVE_ADDRESS_MAX, "%s", host);
        return REDIS_RESOLVED;
    }
    if (strlen(host) >= HOST_MAX) {
        (void)error_set(err, ERR_UNAVAILABLE, "the host's name is too long to be looked up");
        return REDIS_UNRESOLVED;
    }
    (void)pthread_mutex_lock(&lock);
    name = name_of(host, now_us);
    if (name == NULL) {
        (void)error_set(err, ERR_NOMEM, "no room for another name to look up");
        resolved = REDIS_UNRESOLVED;
    } else if (name->done && name->until_us > now_us) {
        resolved = take(name, now_us, address, err);
    } else if (!name->looking && !begin(name)) {
        (void)error_set(err, ERR_NOMEM, "no thread to look up \"%s\"", host);
        resolved = REDIS_UNRESOLVED;
    }
    (void)pthread_mutex_unlock(&lock);
    return resolved;
}

void redis_resolve_by(redis_resolve_lookup *lookup)
{
    (void)pthread_mutex_lock(&lock);
    chosen = lookup == NULL ? look_up : lookup;
    forget(0, true);
    (void)pthread_mutex_unlock(&lock);
}
