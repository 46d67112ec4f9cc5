/* Tests ops/queue: bounds, order, closing, and hand-over between threads without loss. */
#include "ops/queue.h"

#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

TEST(queue_refuses_when_full_and_keeps_order)
{
    struct queue *queue = queue_create(2);
    int items[3];

    CHECK(queue_push(queue, &items[0]) && queue_push(queue, &items[1]));
    CHECK(!queue_push(queue, &items[2]));
    CHECK(queue_pop(queue, 0) == &items[0]);
    CHECK(queue_push(queue, &items[2]));
    CHECK(queue_pop(queue, 0) == &items[1] && queue_pop(queue, 0) == &items[2]);
    CHECK(queue_pop(queue, 0) == NULL);
    queue_destroy(queue);
}

TEST(queue_drains_after_close_and_takes_no_more)
{
    struct queue *queue = queue_create(4);
    int item;

    CHECK(queue_push(queue, &item));
    queue_close(queue);
    CHECK(!queue_push(queue, &item));
    CHECK(queue_pop(queue, 1000000000) == &item);
    CHECK(queue_pop(queue, 1000000000) == NULL); /* closed: returns at once */
    queue_destroy(queue);
}

#define HANDED 20000

static struct queue *shared;
static atomic_long sum;

static void *pop_all(void *unused)
{
    void *item;

    while ((item = queue_pop(shared, 10000000)) != NULL)
        atomic_fetch_add(&sum, (long)(uintptr_t)item);
    return unused;
}

TEST(queue_hands_over_each_item_once_between_threads)
{
    pthread_t poppers[3];
    int64_t want = 0;

    shared = queue_create(64);
    atomic_store(&sum, 0);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&poppers[i], NULL, pop_all, NULL) == 0);
    for (int64_t i = 1; i <= HANDED; i++) {
        while (!queue_push(shared, (void *)(uintptr_t)i))
            sched_yield();
        want += i;
    }
    queue_close(shared);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(poppers[i], NULL) == 0);
    CHECK_INT(want, atomic_load(&sum));
    queue_destroy(shared);
}
