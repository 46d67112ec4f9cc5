/* ingest/schema_wait.c - a queue for each partition that waits; there are none nearly always. */
#include "ingest/schema_wait.h"

#include "ops/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS_FIRST 64

struct kept {
    int32_t partition;
    struct kafka_record *records; /* (room); those before `first` were handed on */
    int first, count, room;
    int64_t since_us;
    bool told;
};

struct schema_wait {
    struct kept *partitions; /* (count) */
    int count, room;
};

struct schema_wait *schema_wait_create(void)
{
    return calloc(1, sizeof(struct schema_wait));
}

static void clear(struct kept *kept)
{
    kafka_records_release(kept->records + kept->first, kept->count - kept->first);
    free(kept->records);
}

void schema_wait_destroy(struct schema_wait *wait)
{
    if (wait == NULL)
        return;
    for (int i = 0; i < wait->count; i++)
        clear(&wait->partitions[i]);
    free(wait->partitions);
    free(wait);
}

int schema_wait_count(const struct schema_wait *wait)
{
    return wait->count;
}

static struct kept *find(const struct schema_wait *wait, int32_t partition)
{
    for (int i = 0; i < wait->count; i++)
        if (wait->partitions[i].partition == partition)
            return &wait->partitions[i];
    return NULL;
}

bool schema_wait_holds(const struct schema_wait *wait, int32_t partition)
{
    return find(wait, partition) != NULL;
}

bool schema_wait_is_long(const struct schema_wait *wait, int place, int64_t now_us)
{
    return now_us - wait->partitions[place].since_us >= SCHEMA_WAIT_LONG_MS * 1000;
}

int schema_wait_long(const struct schema_wait *wait, int64_t now_us)
{
    int count = 0;

    for (int i = 0; i < wait->count; i++)
        count += schema_wait_is_long(wait, i, now_us);
    return count;
}

bool schema_wait_tell(struct schema_wait *wait, int place, int64_t now_us)
{
    struct kept *kept = &wait->partitions[place];

    if (kept->told || !schema_wait_is_long(wait, place, now_us))
        return false;
    return kept->told = true;
}

/* Twice as large when it is full; NULL: no memory. */
static void *grown(void *list, int count, int *room, size_t bytes)
{
    int more = *room == 0 ? RECORDS_FIRST : 2 * *room;
    void *larger;

    if (count < *room)
        return list;
    larger = realloc(list, (size_t)more * bytes);
    if (larger != NULL)
        *room = more;
    return larger;
}

enum status schema_wait_add(struct schema_wait *wait, struct kafka_record *record,
                            struct error *err)
{
    struct kept *kept = find(wait, record->partition);
    void *room;

    if (kept == NULL) {
        room = grown(wait->partitions, wait->count, &wait->room, sizeof *kept);
        if (room == NULL)
            return error_set(err, ERR_NOMEM, "no memory for records that wait for a schema");
        wait->partitions = room;
        kept = &wait->partitions[wait->count];
        *kept = (struct kept){.partition = record->partition, .since_us = clock_monotonic_us()};
    }
    room = grown(kept->records, kept->count, &kept->room, sizeof *record);
    if (room == NULL)
        return error_set(err, ERR_NOMEM, "no memory for records that wait for a schema");
    kept->records = room;
    wait->count += kept->count == 0;
    kept->records[kept->count++] = *record;
    record->owner = NULL;
    return OK;
}

const struct kafka_record *schema_wait_first(const struct schema_wait *wait, int place)
{
    assert(place >= 0 && place < wait->count);
    return &wait->partitions[place].records[wait->partitions[place].first];
}

static void take_out(struct schema_wait *wait, struct kept *kept)
{
    clear(kept);
    *kept = wait->partitions[--wait->count];
}

bool schema_wait_pass(struct schema_wait *wait, int place)
{
    struct kept *kept = &wait->partitions[place];

    assert(place >= 0 && place < wait->count);
    kafka_records_release(&kept->records[kept->first++], 1);
    if (kept->first < kept->count)
        return false;
    take_out(wait, kept);
    return true;
}

void schema_wait_drop(struct schema_wait *wait, int32_t partition)
{
    struct kept *kept = find(wait, partition);

    if (kept != NULL)
        take_out(wait, kept);
}
