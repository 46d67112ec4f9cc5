/*
 * retrain/merge.h - records of several partitions, handed out in order of their time.
 *
 * A backlog comes partition by partition, thousands of records at a time. Learnt in that order the
 * counts of an early event would hold what happened days after it. So each partition has a queue,
 * and the record that is oldest at the head of any is the next one.
 * Order within a partition is that of the log, whatever the times say.
 * Owner: takes over what is put, until it is taken or the merge is destroyed.
 * Thread: one.
 */
#ifndef RETRAIN_MERGE_H
#define RETRAIN_MERGE_H

#include "ops/kafka_consumer.h"
#include "ops/status.h"

#include <stdint.h>

struct merge;
/* Errors: ERR_NOMEM */
MUST_CHECK enum status merge_create(struct merge **merge, int queues_max, struct error *err);
void merge_destroy(struct merge *merge); /* NULL is fine */

/* 0 <= queue < queues_max. Errors: ERR_NOMEM: the record was not taken over */
MUST_CHECK enum status merge_put(struct merge *merge, int queue, const struct kafka_record *record,
                                 struct error *err);
int merge_count(const struct merge *merge, int queue);
/* The oldest head, and its queue; NULL when all are empty. Valid until it is dropped. */
const struct kafka_record *merge_head(const struct merge *merge, int *queue);
void merge_drop(struct merge *merge, int queue); /* that queue's head */

#endif
