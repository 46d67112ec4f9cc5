/*
 * tests/features/item_tables_fixture.h - tables of items "i0", "i1" .. for tests of item_tables*.c,
 * stirred at random, and whether two of them are the same.
 */
#ifndef TESTS_FEATURES_ITEM_TABLES_FIXTURE_H
#define TESTS_FEATURES_ITEM_TABLES_FIXTURE_H

#include "features/item_tables.h"
#include "ops/random.h"

#define HOUR_MS INT64_C(3600000)
#define DAY_MS  (24 * HOUR_MS)
#define START   INT64_C(1700000000000)

struct item_tables *item_fixture_create(struct item_tables_options options);
struct item_tables *item_fixture_small(void); /* of seed 7 */
/* Index of item "i<item>". */
int32_t item_fixture_add(struct item_tables *tables, int item, int64_t time_ms);
uint64_t item_fixture_hash(int item);
/* Chooses the item of that hash so often; returns its index. */
int32_t item_fixture_see(struct item_tables *tables, uint64_t item, int64_t time_ms, int times);
/* Random events of one user, over so many items. */
void item_fixture_stir(struct item_tables *tables, struct random *random, int items, int events,
                       int64_t start);

void item_fixture_raw(const struct item_tables *tables, const struct item_query *query,
                      const int32_t *indices, int count, int64_t *raw);
/* Whatever can be asked of either has one answer. */
void item_fixture_check_same(const struct item_tables *a, const struct item_tables *b);

/* Of a file in the test's folder; four of them are valid at a time. */
const char *item_fixture_path(const char *name);

#endif
