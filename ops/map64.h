/*
 * ops/map64.h - a table from 64-bit keys to 32-bit numbers: where an item's row is.
 *
 * Open addressing with linear probing over a power of two of slots, at most 7/8 full;
 * the whole key is stored, so two keys are never taken for one. Keys are mixed, so that
 * sequential numbers are as good as hashes; keys that strangers can choose must be hashes
 * with a secret seed (item hashes are). The order of entries depends on the calls made and
 * on nothing else: the same calls give the same order in every process.
 * Every key and every value is allowed, 0 and UINT64_MAX included.
 *
 * Units: 16 bytes a slot; between 1.15 and 2.3 slots an entry once it has grown.
 * Thread: any number of readers while nobody writes; a writer must be alone.
 */
#ifndef OPS_MAP64_H
#define OPS_MAP64_H

#include "ops/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP64_ENTRIES_MAX ((size_t)1 << 30)

struct map64;

/* Room for capacity_hint entries at once (0: little); never more than max of them,
 * 1..MAP64_ENTRIES_MAX. NULL when memory is out. */
struct map64 *map64_create(size_t capacity_hint, size_t max);
void map64_destroy(struct map64 *map); /* NULL is fine */

/* False when key is not there; *value is then left alone. value may be NULL. */
bool map64_get(const struct map64 *map, uint64_t key, uint32_t *value);

/**
 * Adds the key or replaces its value.
 * Errors: ERR_FULL (max entries are there already and key is not one of them), ERR_NOMEM;
 *         the map is as it was then.
 */
MUST_CHECK enum status map64_put(struct map64 *map, uint64_t key, uint32_t value);

/* False when it was not there. Leaves no tombstone: later entries are shifted back. */
bool map64_remove(struct map64 *map, uint64_t key);
void map64_clear(struct map64 *map); /* forgets all entries, keeps the memory */

size_t map64_count(const struct map64 *map);

/**
 * Walks the entries, in an order of the table's own:
 *
 *     size_t cursor = 0;
 *     while (map64_next(map, &cursor, &key, &value)) ...
 *
 * The map must not change meanwhile.
 */
bool map64_next(const struct map64 *map, size_t *cursor, uint64_t *key, uint32_t *value);

#endif
