/*
 * Tests features/item_rows: what is shared is not written, from either side; the index when it is
 * merged; names of any length, which outlive the container that kept them.
 */
#include "features/item_rows.h"

#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static void add_all(struct item_rows *rows, uint64_t first, int count)
{
    for (int i = 0; i < count; i++) {
        struct item_row *row = item_rows_add(rows, first + (uint64_t)i);

        CHECK(row != NULL && row->clicks == 0 && row->neighbours == NULL);
        row->clicks = (int64_t)first + i;
    }
}

/* All of them at rising indices from that one on, by their hash and by their index. */
static void check_all(const struct item_rows *rows, int32_t from, uint64_t first, int count)
{
    for (int i = 0; i < count; i++) {
        uint64_t hash = first + (uint64_t)i;

        CHECK_INT(from + i, item_rows_find(rows, hash));
        CHECK_INT((int64_t)hash, (int64_t)item_rows_get(rows, from + i)->hash);
        CHECK_INT((int64_t)hash, item_rows_get(rows, from + i)->clicks);
    }
}

TEST(item_rows_of_nothing_know_nothing)
{
    struct item_rows rows, copy;

    CHECK(item_rows_init(&rows));
    CHECK_INT(-1, item_rows_find(&rows, 0));
    CHECK(item_rows_share(&copy, &rows));
    CHECK_INT(-1, item_rows_find(&copy, 1));
    CHECK_INT(0, (int64_t)item_rows_bytes(&copy));
    item_rows_clear(&rows);
    item_rows_clear(&copy);
    item_rows_clear(&copy); /* of nothing */
}

/* Three at once, each with the next row of the same page: nobody sees another's. */
TEST(item_rows_that_are_shared_are_written_by_nobody)
{
    struct item_rows rows[3];
    int base = ITEM_PAGE + 10;

    CHECK(item_rows_init(&rows[0]));
    add_all(&rows[0], 1000, base);
    CHECK(item_rows_share(&rows[1], &rows[0]));
    CHECK(item_rows_share(&rows[2], &rows[1]));
    for (int i = 0; i < 3; i++) {
        struct item_row *own = item_rows_own(&rows[i], 0);

        CHECK(own != NULL && own->shown == 0);
        own->shown = i + 1;
        add_all(&rows[i], 10000 * (uint64_t)(i + 1), 20);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_INT(base + 20, rows[i].count);
        CHECK_INT(i + 1, item_rows_get(&rows[i], 0)->shown);
        check_all(&rows[i], 0, 1000, base);
        check_all(&rows[i], base, 10000 * (uint64_t)(i + 1), 20);
        for (int k = 0; k < 3; k++)
            CHECK(k == i || item_rows_find(&rows[i], 10000 * (uint64_t)(k + 1)) == -1);
    }
    item_rows_clear(&rows[1]); /* in the middle: both neighbours live on */
    check_all(&rows[0], base, 10000, 20);
    check_all(&rows[2], base, 30000, 20);
    item_rows_clear(&rows[0]);
    check_all(&rows[2], 0, 1000, base);
    item_rows_clear(&rows[2]);
}

/* So many are added beside a shared index that it is merged; a copy of the half-way state shares
 * what lies beside it by copying. */
TEST(item_rows_are_found_before_and_after_their_index_is_merged)
{
    struct item_rows rows, copy, halfway;
    int base = 1000, half = 3000, all = 12000;

    CHECK(item_rows_init(&rows));
    add_all(&rows, 1, base);
    CHECK(item_rows_share(&copy, &rows));
    add_all(&copy, 100001, half);
    CHECK(item_rows_share(&halfway, &copy));
    add_all(&copy, 100001 + (uint64_t)half, all - half);
    check_all(&copy, 0, 1, base);
    check_all(&copy, base, 100001, all);
    check_all(&halfway, base, 100001, half);
    CHECK_INT(-1, item_rows_find(&halfway, 100001 + (uint64_t)half));
    CHECK_INT(-1, item_rows_find(&rows, 100001));
    CHECK_INT(base, rows.count);
    CHECK(item_rows_bytes(&copy) > item_rows_bytes(&halfway));
    item_rows_clear(&copy);
    check_all(&halfway, 0, 1, base);
    item_rows_clear(&halfway);
    item_rows_clear(&rows);
}

TEST(item_rows_keep_names_of_any_length_as_long_as_somebody_has_them)
{
    static const size_t lengths[] = {0, 1, 65535, 65536, 65537, 200000, 3};
    const char *kept[sizeof lengths / sizeof *lengths], *after;
    char *name = malloc(200000);
    struct item_rows rows, copy;

    CHECK(name != NULL && item_rows_init(&rows));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(name, 'a' + (int)i, 200000);
        kept[i] = item_rows_keep_name(&rows, (struct text){name, lengths[i]});
        CHECK(kept[i] != NULL);
    }
    CHECK(item_rows_share(&copy, &rows));
    after = item_rows_keep_name(&copy, text_of("of the copy alone"));
    CHECK(item_rows_keep_name(&rows, text_of("of the original")) != NULL);
    item_rows_clear(&rows);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(name, 'a' + (int)i, 200000);
        CHECK(memcmp(kept[i], name, lengths[i]) == 0);
    }
    CHECK(memcmp(after, "of the copy alone", 17) == 0);
    item_rows_clear(&copy);
    free(name);
}
