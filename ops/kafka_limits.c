/*
 * ops/kafka_limits.c - see kafka_limits.h. Questions and answers share one ring: those before
 * `answered` are answers to be taken, those behind it wait.
 */
#include "ops/kafka_limits.h"

#include "ops/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ASK_MS 2000
/* After its deadline a request is tried twice more. */
#define PROPERTIES "socket.timeout.ms=6000\n"

struct kafka_limits {
    struct kafka_consumer_options options;
    char *properties;
    pthread_t thread;
    bool running;
    int bell;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    struct kafka_limits_answer ring[KAFKA_LIMITS_MAX];
    uint64_t taken, answered, asked; /* ever; taken <= answered <= asked */
};

static struct kafka_limits_answer *at(struct kafka_limits *l, uint64_t number)
{
    return &l->ring[number % KAFKA_LIMITS_MAX];
}

/* ---- the thread ---- */

static void answer(struct kafka_limits *l, struct kafka_consumer **client,
                   struct kafka_limits_answer *a)
{
    a->status = OK;
    if (*client == NULL)
        a->status = kafka_consumer_open(client, &l->options, &a->why);
    if (a->status == OK)
        a->status = kafka_consumer_limits(*client, a->partition, ASK_MS, &a->low, &a->high,
                                          &a->why);
    a->group = KAFKA_OFFSET_NONE;
    if (a->status == OK && l->options.ask_group != NULL)
        a->status = kafka_consumer_committed(*client, a->partition, ASK_MS, &a->group, &a->why);
    if (a->status == OK)
        return;
    kafka_consumer_close(*client); /* the next one asks anew who leads */
    *client = NULL;
}

static void *work(void *context)
{
    struct kafka_limits *l = context;
    struct kafka_consumer *client = NULL;

    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        struct kafka_limits_answer next;

        if (l->answered == l->asked) {
            if (client != NULL) {
                pthread_mutex_unlock(&l->lock);
                kafka_consumer_close(client);
                client = NULL;
                pthread_mutex_lock(&l->lock);
                continue;
            }
            pthread_cond_wait(&l->wake, &l->lock);
            continue;
        }
        next = *at(l, l->answered);
        pthread_mutex_unlock(&l->lock);
        answer(l, &client, &next);
        pthread_mutex_lock(&l->lock);
        *at(l, l->answered++) = next;
        (void)eventfd_write(l->bell, 1);
    }
    pthread_mutex_unlock(&l->lock);
    kafka_consumer_close(client);
    return NULL;
}

/* ---- the caller ---- */

enum status kafka_limits_start(struct kafka_limits **limits,
                               const struct kafka_consumer_options *options, struct error *err)
{
    struct kafka_limits *l = calloc(1, sizeof *l);
    const char *own = options->properties == NULL ? "" : options->properties;

    *limits = NULL;
    if (l == NULL)
        return error_set(err, ERR_NOMEM, "no memory for questions to Kafka");
    l->options = *options;
    l->options.ask_group = options->group;
    l->options.group = NULL;
    l->options.instance_id = NULL;
    l->options.fetch_wait_max_ms = 0; /* librdkafka wants it below the deadline */
    l->options.end_events = false;
    l->properties = malloc(strlen(own) + sizeof PROPERTIES);
    l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_cond_init(&l->wake, NULL);
    if (l->properties != NULL && l->bell >= 0) {
        (void)snprintf(l->properties, strlen(own) + sizeof PROPERTIES, "%s%s", PROPERTIES, own);
        l->options.properties = l->properties;
        l->running = pthread_create(&l->thread, NULL, work, l) == 0;
    }
    if (!l->running) {
        kafka_limits_stop(l);
        return error_set(err, ERR_IO, "could not start asking Kafka: %s", strerror(errno));
    }
    *limits = l;
    return OK;
}

void kafka_limits_stop(struct kafka_limits *l)
{
    if (l == NULL)
        return;
    if (l->running) {
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        pthread_cond_signal(&l->wake);
        pthread_mutex_unlock(&l->lock);
        (void)pthread_join(l->thread, NULL);
    }
    if (l->bell >= 0)
        close(l->bell);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->lock);
    free(l->properties);
    free(l);
}

enum status kafka_limits_ask(struct kafka_limits *l, int32_t partition, uint64_t tag,
                             struct error *err)
{
    enum status status = OK;

    pthread_mutex_lock(&l->lock);
    if (l->asked - l->taken == KAFKA_LIMITS_MAX) {
        status = error_set(err, ERR_FULL, "%d questions to Kafka wait", KAFKA_LIMITS_MAX);
    } else {
        *at(l, l->asked++) = (struct kafka_limits_answer){.tag = tag, .partition = partition};
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&l->lock);
    return status;
}

bool kafka_limits_take(struct kafka_limits *l, struct kafka_limits_answer *answer)
{
    bool there;

    pthread_mutex_lock(&l->lock);
    there = l->taken < l->answered;
    if (there) {
        *answer = *at(l, l->taken++);
    } else {
        eventfd_t rung;
        (void)eventfd_read(l->bell, &rung);
    }
    pthread_mutex_unlock(&l->lock);
    return there;
}

enum status kafka_limits_next(struct kafka_limits *l, int64_t timeout_ms,
                              struct kafka_limits_answer *answer, struct error *err)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;

    while (!kafka_limits_take(l, answer)) {
        struct pollfd bell = {.fd = l->bell, .events = POLLIN};
        int64_t left_ms = (until_us - clock_monotonic_us() + 999) / 1000;

        if (left_ms <= 0) {
            answer->partition = -1;
            return error_set(err, ERR_TIMEOUT, "no broker says where \"%s\" begins and ends",
                             l->options.topic);
        }
        (void)poll(&bell, 1, (int)left_ms);
    }
    if (answer->status != OK)
        *err = answer->why;
    return answer->status;
}

int kafka_limits_descriptor(const struct kafka_limits *l)
{
    return l->bell;
}
