/* ops/kafka_events.c - see ops/kafka_events.h. */
#include "ops/kafka_events.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kafka_events_put(struct kafka_events *events, enum kafka_event_kind kind, int32_t partition,
                      int64_t offset, const char *text)
{
    struct kafka_event *row;

    if (events->count == events->capacity) {
        int capacity = events->capacity == 0 ? KAFKA_EVENTS_MAX : 2 * events->capacity;
        row = realloc(events->rows, (size_t)capacity * sizeof *row);
        assert(row != NULL);
        events->rows = row;
        events->capacity = capacity;
    }
    row = &events->rows[events->count++];
    *row = (struct kafka_event){.kind = kind, .partition = partition, .offset = offset};
    (void)snprintf(row->text, sizeof row->text, "%s", text);
}

int kafka_events_take(struct kafka_events *events, struct kafka_event *taken)
{
    int count = events->count < KAFKA_EVENTS_MAX ? events->count : KAFKA_EVENTS_MAX;

    if (count == 0)
        return 0;
    memcpy(taken, events->rows, (size_t)count * sizeof *taken);
    events->count -= count;
    memmove(events->rows, events->rows + count, (size_t)events->count * sizeof *taken);
    return count;
}

void kafka_events_clear(struct kafka_events *events)
{
    free(events->rows);
    *events = (struct kafka_events){0};
}
