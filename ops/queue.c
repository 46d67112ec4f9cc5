/* ops/queue.c - a ring under a mutex. A few hundred nanoseconds a hand-over, far below the wake-up
 * of the thread on the other side, so nothing cleverer is worth its proof. */
#include "ops/queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    int capacity;
    int head;
    int count;
    bool closed;
    void *ring[];
};

struct queue *queue_create(int capacity)
{
    pthread_condattr_t attributes;
    struct queue *queue;

    assert(capacity >= 1 && capacity <= QUEUE_CAPACITY_MAX);
    queue = calloc(1, sizeof *queue + (size_t)capacity * sizeof queue->ring[0]);
    if (queue == NULL)
        return NULL;
    queue->capacity = capacity;
    (void)pthread_mutex_init(&queue->lock, NULL);
    /* Waits are by the monotonic clock: a jump of the wall clock must not stretch them. */
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&queue->filled, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return queue;
}

void queue_destroy(struct queue *queue)
{
    if (queue == NULL)
        return;
    (void)pthread_cond_destroy(&queue->filled);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}

bool queue_push(struct queue *queue, void *item)
{
    bool room;

    assert(item != NULL);
    (void)pthread_mutex_lock(&queue->lock);
    room = !queue->closed && queue->count < queue->capacity;
    if (room) {
        queue->ring[(queue->head + queue->count) % queue->capacity] = item;
        queue->count++;
        (void)pthread_cond_signal(&queue->filled);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return room;
}

static struct timespec deadline_after(int64_t timeout_us)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(timeout_us / 1000000);
    at.tv_nsec += (long)(timeout_us % 1000000) * 1000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

void *queue_pop(struct queue *queue, int64_t timeout_us)
{
    struct timespec deadline = deadline_after(timeout_us < 0 ? 0 : timeout_us);
    void *item = NULL;

    (void)pthread_mutex_lock(&queue->lock);
    while (queue->count == 0 && !queue->closed)
        if (pthread_cond_timedwait(&queue->filled, &queue->lock, &deadline) == ETIMEDOUT)
            break;
    if (queue->count > 0) {
        item = queue->ring[queue->head];
        queue->head = (queue->head + 1) % queue->capacity;
        queue->count--;
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return item;
}

void queue_close(struct queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    (void)pthread_cond_broadcast(&queue->filled);
    (void)pthread_mutex_unlock(&queue->lock);
}

int queue_count(struct queue *queue)
{
    int count;

    (void)pthread_mutex_lock(&queue->lock);
    count = queue->count;
    (void)pthread_mutex_unlock(&queue->lock);
    return count;
}
