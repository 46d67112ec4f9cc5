/*
 * ops/queue.h - a bounded queue of pointers between threads.
 *
 * A full queue refuses at once (the caller sheds or waits its turn); a pop waits up to a
 * deadline. After close, pushes are refused and pops drain what is left, then return NULL.
 * Thread: any number of pushers and poppers.
 */
#ifndef OPS_QUEUE_H
#define OPS_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_CAPACITY_MAX (1 << 20)

struct queue;
struct queue *queue_create(int capacity); /* NULL: no memory */
void queue_destroy(struct queue *queue);  /* NULL is fine; items left are not freed */

bool queue_push(struct queue *queue, void *item);         /* false: full or closed */
void *queue_pop(struct queue *queue, int64_t timeout_us); /* NULL: nothing came, or closed */
void queue_close(struct queue *queue);
int queue_count(struct queue *queue);

#endif
