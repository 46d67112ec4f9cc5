/* features/list_memory.c - four numbers, the newest in front. */
#include "features/list_memory.h"

#include "features/join.h"
#include "ops/defence.h"

#include <string.h>

uint64_t list_memory_id(const struct rules *rules, const struct event *impression)
{
    uint64_t rows[EVENT_ROWS_MAX];

    for (int i = 0; i < impression->rows_count; i++)
        rows[i] = rules_item_hash(rules, impression->rows[i]);
    return join_example_id(rules, rules_user_hash(rules, impression->user),
                           &(struct join_shown){
                               .request = join_request_hash(rules, impression->request_id),
                               .shown_at_ms = impression->time_ms,
                               .rows = rows,
                               .rows_count = impression->rows_count,
                           });
}

bool list_memory_new(struct list_memory *memory, uint64_t id)
{
    for (int i = 0; i < LIST_MEMORY_MAX && DEFENCE(LIST_MEMORY); i++)
        if (memory->ids[i] == id)
            return false;
    memmove(memory->ids + 1, memory->ids, sizeof memory->ids - sizeof memory->ids[0]);
    memory->ids[0] = id;
    return true;
}
