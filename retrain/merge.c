/* retrain/merge.c - one growing ring a partition; the oldest head is found by looking at all. */
#include "retrain/merge.h"

#include <assert.h>
#include <stdlib.h>

#define ROOM_FIRST 64

struct queue {
    struct kafka_record *records; /* (room) ring */
    int first, count, room;
    int64_t bytes;
    bool expected;
    bool given_up; /* waited for in vain, and nothing came since */
};

struct merge {
    struct queue *queues; /* (queues_max) */
    int queues_max;
    int used; /* queues from here on never held anything, nor are to */
    int64_t puts;
    bool waiting; /* since when, and when something last came */
    int64_t since_us, came_us, came_puts;
};

enum status merge_create(struct merge **merge, int queues_max, struct error *err)
{
    struct merge *made = calloc(1, sizeof *made);

    *merge = NULL;
    if (made != NULL) {
        made->queues_max = queues_max;
        made->queues = calloc((size_t)queues_max, sizeof *made->queues);
    }
    if (made == NULL || made->queues == NULL) {
        merge_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory to read %d partitions", queues_max);
    }
    *merge = made;
    return OK;
}

void merge_destroy(struct merge *merge)
{
    if (merge == NULL)
        return;
    for (int i = 0; i < merge->used; i++) {
        while (merge->queues[i].count > 0)
            merge_drop(merge, i);
        free(merge->queues[i].records);
    }
    free(merge->queues);
    free(merge);
}

static int64_t bytes_of(const struct kafka_record *record)
{
    return (int64_t)(record->key.bytes + record->value.bytes);
}

static enum status grow(struct queue *q, struct error *err)
{
    int room = q->room == 0 ? ROOM_FIRST : q->room * 2;
    struct kafka_record *records = calloc((size_t)room, sizeof *records);

    if (records == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d records", room);
    for (int i = 0; i < q->count; i++)
        records[i] = q->records[(q->first + i) % q->room];
    free(q->records);
    q->records = records;
    q->first = 0;
    q->room = room;
    return OK;
}

enum status merge_put(struct merge *merge, int queue, const struct kafka_record *record,
                      struct error *err)
{
    struct queue *q = &merge->queues[queue];

    assert(queue >= 0 && queue < merge->queues_max);
    if (q->count == q->room) {
        enum status status = grow(q, err);

        if (status != OK)
            return status;
    }
    q->records[(q->first + q->count++) % q->room] = *record;
    q->bytes += bytes_of(record);
    q->given_up = false;
    merge->puts++;
    merge->used = queue >= merge->used ? queue + 1 : merge->used;
    return OK;
}

int merge_count(const struct merge *merge, int queue)
{
    return merge->queues[queue].count;
}

int64_t merge_bytes(const struct merge *merge, int queue)
{
    return merge->queues[queue].bytes;
}

const struct kafka_record *merge_head(const struct merge *merge, int *queue)
{
    const struct kafka_record *oldest = NULL;

    for (int i = 0; i < merge->used; i++) {
        const struct queue *q = &merge->queues[i];

        if (q->count > 0 &&
            (oldest == NULL || q->records[q->first].timestamp_ms < oldest->timestamp_ms)) {
            oldest = &q->records[q->first];
            *queue = i;
        }
    }
    return oldest;
}

void merge_drop(struct merge *merge, int queue)
{
    struct queue *q = &merge->queues[queue];

    assert(q->count > 0);
    q->bytes -= bytes_of(&q->records[q->first]);
    kafka_records_release(&q->records[q->first], 1);
    q->first = (q->first + 1) % q->room;
    q->count--;
}

/* ---- waiting ---- */

void merge_expect(struct merge *merge, int queue, bool more)
{
    assert(queue >= 0 && queue < merge->queues_max);
    merge->queues[queue].expected = more;
    merge->used = more && queue >= merge->used ? queue + 1 : merge->used;
}

bool merge_misses(const struct merge *merge)
{
    for (int i = 0; i < merge->used; i++) {
        const struct queue *q = &merge->queues[i];

        if (q->count == 0 && q->expected && !q->given_up)
            return true;
    }
    return false;
}

bool merge_waits(struct merge *merge, int64_t now_us)
{
    int head;

    if (merge_head(merge, &head) == NULL || !merge_misses(merge)) {
        merge->waiting = false;
        return false;
    }
    if (!merge->waiting || merge->puts != merge->came_puts)
        merge->came_us = now_us;
    if (!merge->waiting)
        merge->since_us = now_us;
    merge->waiting = true;
    merge->came_puts = merge->puts;
    if (now_us < merge->came_us + MERGE_HOLD_US && now_us < merge->since_us + MERGE_HOLD_MOST_US)
        return true;
    for (int i = 0; i < merge->used; i++)
        merge->queues[i].given_up |= merge->queues[i].count == 0;
    merge->waiting = false;
    return false;
}
