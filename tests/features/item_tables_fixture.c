/* tests/features/item_tables_fixture.c - see the header. */
#include "tests/features/item_tables_fixture.h"

#include "ops/hash.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

struct item_tables *item_fixture_create(struct item_tables_options options)
{
    struct item_tables *tables;
    struct error err;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    return tables;
}

int32_t item_fixture_add(struct item_tables *tables, int item, int64_t time_ms)
{
    char name[16];

    snprintf(name, sizeof name, "i%d", item);
    return item_tables_index(tables, hash64_text(text_of(name), 1), text_of(name), time_ms);
}

uint64_t item_fixture_hash(int item)
{
    char name[16];

    snprintf(name, sizeof name, "i%d", item);
    return hash64_text(text_of(name), 1);
}

void item_fixture_raw(const struct item_tables *tables, const struct item_query *query,
                      const int32_t *indices, int count, int64_t *raw)
{
    struct item_scratch *scratch = item_scratch_create();
    struct error err;

    CHECK(scratch != NULL);
    CHECK_STATUS(OK, item_tables_raw(tables, scratch, query, indices, count, raw, &err));
    item_scratch_destroy(scratch);
}

void item_fixture_check_same(const struct item_tables *a, const struct item_tables *b)
{
    int count = item_tables_count(a);
    struct item_query query = {.now_ms = item_tables_newest_ms(a)};
    int32_t popular_a[64], popular_b[64];
    int popular;

    CHECK_INT(count, item_tables_count(b));
    CHECK_INT(item_tables_rows(a), item_tables_rows(b));
    CHECK_INT(item_tables_newest_ms(a), item_tables_newest_ms(b));
    CHECK(item_tables_seed(a) == item_tables_seed(b));
    for (int32_t i = 0; i < count; i++) {
        CHECK(item_tables_hash(a, i) == item_tables_hash(b, i));
        CHECK_INT(i, item_tables_find(b, item_tables_hash(a, i)));
        CHECK(text_equal(item_tables_name(a, i), item_tables_name(b, i)));
        CHECK_INT(item_tables_row(a, i), item_tables_row(b, i));
        CHECK_INT(item_tables_clicks(a, i), item_tables_clicks(b, i));
        CHECK_INT(item_tables_shown(a, i), item_tables_shown(b, i));
        CHECK_INT(item_tables_gone(a, i), item_tables_gone(b, i));
        CHECK_INT(item_tables_first_seen_ms(a, i), item_tables_first_seen_ms(b, i));
        CHECK(item_tables_popularity(a, i, query.now_ms, ITEM_TAU_1H_MS) ==
              item_tables_popularity(b, i, query.now_ms, ITEM_TAU_1H_MS));
        for (int32_t to = 0; to < count && to < 40; to++)
            CHECK(item_tables_covis(a, i, to, query.now_ms) ==
                  item_tables_covis(b, i, to, query.now_ms));
    }
    for (int32_t row = 0; row < item_tables_rows(a); row++)
        CHECK_INT(item_tables_at_row(a, row), item_tables_at_row(b, row));
    popular = item_tables_popular(a, NULL, &query, 64, popular_a);
    CHECK_INT(popular, item_tables_popular(b, NULL, &query, 64, popular_b));
    for (int i = 0; i < popular; i++)
        CHECK_INT(popular_a[i], popular_b[i]);
}

void item_fixture_stir(struct item_tables *tables, struct random *random, int items, int events,
                       int64_t start)
{
    struct user_entry history[64];
    int count = 0;

    for (int i = 0; i < events; i++) {
        int64_t t = start + i * 1000;
        int item = (int)random_below(random, (uint64_t)items);
        int32_t index = item_fixture_add(tables, item, t);

        if (random_below(random, 5) == 0) {
            item_tables_observe_shown(tables, index, t);
        } else if (random_below(random, 20) == 0) {
            item_tables_set_gone(tables, index, random_below(random, 2) == 0);
        } else {
            item_tables_observe(tables, index, t, history, count);
            if (count == 64)
                memmove(history, history + 1, sizeof history[0] * (size_t)--count);
            history[count++] = (struct user_entry){
                .item = item_fixture_hash(item), .time_ms = t, .action = 1};
        }
    }
}

const char *item_fixture_path(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", test_folder(), name);
    return path;
}

struct item_tables *item_fixture_small(void)
{
    struct item_tables_options options = {.seed = 7};
    struct item_tables *tables;
    struct error err;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    return tables;
}

int32_t item_fixture_see(struct item_tables *tables, uint64_t item, int64_t time_ms, int times)
{
    int32_t index = item_tables_index(tables, item, (struct text){0}, time_ms);

    for (int i = 0; i < times; i++)
        item_tables_observe(tables, index, time_ms + i, NULL, 0);
    return index;
}
