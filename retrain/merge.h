/*
 * retrain/merge.h - records of several partitions, handed out in order of their time.
 *
 * A backlog comes partition by partition, thousands of records at a time. Learnt in that order the
 * counts of an early event would hold what happened days after it. So each partition has a queue,
 * and the record that is oldest at the head of any is the next one.
 * Order within a partition is that of the log, whatever the times say.
 * A queue that is empty though its log goes on may get an older record than all heads. It is waited
 * for while anything comes, but not for long: one whose broker is away, or whose tail is an aborted
 * transaction that nobody hands out, must not stop the others. It is waited for again once it gave.
 * Owner: takes over what is put, until it is taken or the merge is destroyed.
 * Thread: one.
 */
#ifndef RETRAIN_MERGE_H
#define RETRAIN_MERGE_H

#include "ops/kafka_consumer.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define MERGE_HOLD_US      500000  /* without a record for any queue */
#define MERGE_HOLD_MOST_US 5000000 /* in all */

struct merge;
/* Errors: ERR_NOMEM */
MUST_CHECK enum status merge_create(struct merge **merge, int queues_max, struct error *err);
void merge_destroy(struct merge *merge); /* NULL is fine */

/* 0 <= queue < queues_max. Errors: ERR_NOMEM: the record was not taken over */
MUST_CHECK enum status merge_put(struct merge *merge, int queue, const struct kafka_record *record,
                                 struct error *err);
int merge_count(const struct merge *merge, int queue);
int64_t merge_bytes(const struct merge *merge, int queue); /* of keys and values */
/* The oldest head, and its queue; NULL when all are empty. Valid until it is dropped. */
const struct kafka_record *merge_head(const struct merge *merge, int *queue);
void merge_drop(struct merge *merge, int queue); /* that queue's head */

/* Whether more is in that queue's log than was put. */
void merge_expect(struct merge *merge, int queue, bool more);
/* Is there a queue to be waited for? */
bool merge_misses(const struct merge *merge);
/* Whether the head is to be held back for one; asked again and again, with monotonic time. */
bool merge_waits(struct merge *merge, int64_t now_us);

#endif
