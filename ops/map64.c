/* ops/map64.c - linear probing with backward-shift deletion (Knuth, TAOCP 3, 6.4, algorithm R). */
#include "ops/map64.h"

#include "ops/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 16

struct slot {
    uint64_t key;
    uint32_t value;
    uint32_t used; /* 0 or 1; a word of its own, so that every key and value is allowed */
};

struct map64 {
    struct slot *slots;
    size_t mask; /* slots - 1 */
    size_t count;
    size_t max;
};

static size_t home(const struct map64 *map, uint64_t key)
{
    return (size_t)hash64_mix(key, 0) & map->mask;
}

/* The key's slot, or the free one where it would go. */
static size_t find(const struct map64 *map, uint64_t key)
{
    size_t at = home(map, key);

    while (map->slots[at].used && map->slots[at].key != key)
        at = (at + 1) & map->mask;
    return at;
}

static size_t slots_for(size_t entries)
{
    size_t slots = SLOTS_MIN;

    while (slots - slots / 8 < entries)
        slots *= 2;
    return slots;
}

struct map64 *map64_create(size_t capacity_hint, size_t max)
{
    struct map64 *map = calloc(1, sizeof *map);
    size_t slots;

    assert(max >= 1 && max <= MAP64_ENTRIES_MAX);
    if (map == NULL)
        return NULL;
    slots = slots_for(capacity_hint < max ? capacity_hint : max);
    map->slots = calloc(slots, sizeof *map->slots);
    if (map->slots == NULL) {
        free(map);
        return NULL;
    }
    map->mask = slots - 1;
    map->max = max;
    return map;
}

void map64_destroy(struct map64 *map)
{
    if (map != NULL)
        free(map->slots);
    free(map);
}

bool map64_get(const struct map64 *map, uint64_t key, uint32_t *value)
{
    size_t at = find(map, key);

    if (!map->slots[at].used)
        return false;
    if (value != NULL)
        *value = map->slots[at].value;
    return true;
}

static enum status grow(struct map64 *map)
{
    struct slot *old = map->slots;
    size_t old_slots = map->mask + 1;
    struct slot *grown = calloc(2 * old_slots, sizeof *grown);

    if (grown == NULL)
        return ERR_NOMEM;
    map->slots = grown;
    map->mask = 2 * old_slots - 1;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].used)
            map->slots[find(map, old[i].key)] = old[i];
    free(old);
    return OK;
}

enum status map64_put(struct map64 *map, uint64_t key, uint32_t value)
{
    size_t at = find(map, key);
    size_t slots = map->mask + 1;

    if (map->slots[at].used) {
        map->slots[at].value = value;
        return OK;
    }
    if (map->count == map->max)
        return ERR_FULL;
    if (map->count + 1 > slots - slots / 8) {
        if (grow(map) != OK)
            return ERR_NOMEM;
        at = find(map, key);
    }
    map->slots[at] = (struct slot){key, value, 1};
    map->count++;
    return OK;
}

bool map64_remove(struct map64 *map, uint64_t key)
{
    size_t hole = find(map, key);

    if (!map->slots[hole].used)
        return false;
    /* An entry further on moves into the hole unless its home lies after the hole. */
    for (size_t at = (hole + 1) & map->mask; map->slots[at].used; at = (at + 1) & map->mask) {
        size_t distance = (at - home(map, map->slots[at].key)) & map->mask;

        if (distance >= ((at - hole) & map->mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole] = (struct slot){0};
    map->count--;
    return true;
}

void map64_clear(struct map64 *map)
{
    memset(map->slots, 0, (map->mask + 1) * sizeof *map->slots);
    map->count = 0;
}

size_t map64_count(const struct map64 *map)
{
    return map->count;
}

bool map64_next(const struct map64 *map, size_t *cursor, uint64_t *key, uint32_t *value)
{
    for (; *cursor <= map->mask; (*cursor)++) {
        const struct slot *slot = &map->slots[*cursor];

        if (slot->used) {
            *key = slot->key;
            *value = slot->value;
            (*cursor)++;
            return true;
        }
    }
    return false;
}
