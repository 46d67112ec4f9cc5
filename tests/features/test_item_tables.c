/*
 * Tests how features/item_tables changes: rows that are given, expire and are described, names,
 * bounded neighbours, copies that share. What is asked of it: test_item_tables_query.c; files and
 * deltas: test_item_tables_file.c.
 */
#include "features/item_tables.h"

#include "ops/random.h"
#include "tests/features/item_tables_fixture.h"
#include "tests/test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

TEST(item_tables_give_rows_after_the_second_sighting_and_never_twice)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){.items_max = 3});
    int32_t a = item_fixture_add(tables, 0, START), b = item_fixture_add(tables, 1, START),
            c = item_fixture_add(tables, 2, START);

    CHECK_INT(1, item_tables_rows(tables));
    item_tables_observe(tables, b, START, NULL, 0);
    CHECK_INT(0, item_tables_row(tables, b));
    item_tables_observe_shown(tables, b, START);
    CHECK_INT(1, item_tables_row(tables, b));
    item_tables_observe(tables, a, START, NULL, 0);
    item_tables_observe(tables, a, START, NULL, 0);
    item_tables_observe(tables, a, START, NULL, 0);
    CHECK_INT(2, item_tables_row(tables, a));
    CHECK_INT(3, item_tables_rows(tables));
    CHECK_INT(b, item_tables_at_row(tables, 1));
    CHECK_INT(a, item_tables_at_row(tables, 2));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, 0));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, 3));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, -1));
    CHECK_INT(0, item_tables_row(tables, c));
    CHECK_INT(0, item_tables_row(tables, ITEM_NONE));
    CHECK_INT(ITEM_NONE, item_fixture_add(tables, 3, START)); /* full */
    CHECK_INT(a, item_fixture_add(tables, 0, START));
    item_tables_observe(tables, ITEM_NONE, START, NULL, 0);
    CHECK_INT(3, item_tables_count(tables));
    item_tables_destroy(tables);
    item_tables_destroy(NULL);
}

TEST(item_tables_keep_the_first_name_of_a_hash)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){0});
    char longest[ITEM_ID_MAX + 1];
    int32_t index = item_tables_index(tables, 7, (struct text){0}, 0);

    CHECK_INT(0, item_tables_name(tables, index).bytes);
    CHECK_INT(0, item_tables_first_seen_ms(tables, index));
    CHECK_INT(index, item_tables_index(tables, 7, text_of("seven"), 50));
    CHECK_INT(index, item_tables_index(tables, 7, text_of("eight"), 40));
    CHECK(text_equal(text_of("seven"), item_tables_name(tables, index)));
    CHECK_INT(40, item_tables_first_seen_ms(tables, index));
    CHECK(item_tables_hash(tables, index) == 7);
    memset(longest, 'x', sizeof longest);
    index = item_tables_index(tables, 8, (struct text){longest, sizeof longest}, 1);
    CHECK_INT(0, item_tables_name(tables, index).bytes);
    index = item_tables_index(tables, 8, (struct text){longest, ITEM_ID_MAX}, 1);
    CHECK_INT(ITEM_ID_MAX, item_tables_name(tables, index).bytes);
    item_tables_destroy(tables);
}

TEST(item_tables_keep_the_heaviest_neighbours_of_a_bounded_number)
{
    struct item_tables *tables = item_fixture_create(
        (struct item_tables_options){.neighbours_max = 8, .covis_tau_ms = 1000 * DAY_MS});
    struct user_entry before = {.item = item_fixture_hash(0), .time_ms = START, .action = 1};
    int64_t later = START + 7000 * DAY_MS; /* 7 tau */
    int32_t from = item_fixture_add(tables, 0, START);
    struct random random;
    int found = 0;

    /* Four are followed by often, a thousand others once each. */
    random_seed(&random, test_seed());
    for (int i = 0; i < 3000; i++) {
        int item = random_below(&random, 3) == 0 ? 1 + (int)random_below(&random, 4)
                                                 : 100 + i % 1000;
        item_tables_observe(tables, item_fixture_add(tables, item, START), START + i, &before, 1);
    }
    for (int i = 1; i <= 4; i++)
        CHECK(item_tables_covis(tables, from, item_tables_find(tables, item_fixture_hash(i)),
                                START) > 50);
    for (int i = 100; i < 1100; i++)
        found += item_tables_covis(tables, from, item_tables_find(tables, item_fixture_hash(i)),
                                   START) > 0;
    CHECK(found <= 4);

    /* Tastes change: long after, what is new takes their places. */
    found = 0;
    for (int i = 0; i < 4000; i++)
        item_tables_observe(tables, item_fixture_add(tables, 5000 + i % 8, later), later + i,
                            &before, 1);
    for (int i = 0; i < 8; i++)
        found += item_tables_covis(tables, from,
                                   item_tables_find(tables, item_fixture_hash(5000 + i)),
                                   later) > 50;
    CHECK(found >= 7);
    item_tables_destroy(tables);
}

TEST(item_tables_copies_do_not_see_each_others_changes)
{
    struct random random, again;
    struct item_tables *first = item_fixture_create(
        (struct item_tables_options){.neighbours_max = 6});
    struct item_tables *same = item_fixture_create(
        (struct item_tables_options){.neighbours_max = 6});
    struct item_tables *copy;
    struct error err;

    random_seed(&random, test_seed() + 4);
    again = random;
    item_fixture_stir(first, &random, 700, 3000, START);
    item_fixture_stir(same, &again, 700, 3000, START);
    CHECK_STATUS(OK, item_tables_copy(&copy, first, &err));
    item_fixture_check_same(first, copy);
    item_fixture_stir(copy, &random, 1400, 4000, START + DAY_MS); /* changes and adds */
    item_fixture_check_same(first, same);
    item_fixture_stir(first, &again, 1400, 4000, START + DAY_MS); /* the same to the origin */
    item_fixture_check_same(first, copy);
    item_tables_destroy(first);
    item_fixture_stir(copy, &random, 9000, 20000,
                      START + 2 * DAY_MS); /* the index is merged on the way */
    item_fixture_stir(same, &again, 1400, 4000, START + DAY_MS);
    again = random; /* the origin is gone; the copy's own history must not matter */
    CHECK(item_tables_count(copy) > 5000);
    for (int32_t i = 0; i < item_tables_count(copy); i++)
        CHECK_INT(i, item_tables_find(copy, item_tables_hash(copy, i)));
    item_tables_destroy(copy);
    item_tables_destroy(same);
}

/* ---- readers of one table while the next is made from it ---- */

static void *read_all(void *context)
{
    const struct item_tables *tables = context;
    struct item_scratch *scratch = item_scratch_create();
    struct user_entry history[] = {{.item = item_fixture_hash(1), .time_ms = START, .action = 1},
                                   {.item = item_fixture_hash(2), .time_ms = START, .action = 1}};
    struct item_query query = {.now_ms = START + DAY_MS, .history = history, .history_count = 2};
    int32_t indices[200];
    static _Thread_local int64_t raw[200 * RAW_COLUMNS];
    struct error err;
    int64_t sum = 0;

    for (int round = 0; round < 50 && scratch != NULL; round++) {
        for (int i = 0; i < 200; i++)
            indices[i] = (i * 7 + round) % item_tables_count(tables);
        if (item_tables_raw(tables, scratch, &query, indices, 200, raw, &err) == OK)
            sum += raw[RAW_CLICKS];
        sum += item_tables_related(tables, scratch, &query, 50, indices);
        sum += item_tables_popular(tables, scratch, &query, 50, indices);
    }
    item_scratch_destroy(scratch);
    return (void *)(intptr_t)(sum > 0);
}

TEST(item_tables_are_read_by_threads_while_a_copy_is_written)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){0});
    struct item_tables *copy;
    struct random random;
    pthread_t threads[2];
    void *answer;
    struct error err;

    random_seed(&random, test_seed() + 8);
    item_fixture_stir(tables, &random, 500, 5000, START);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, read_all, tables) == 0);
    for (int round = 0; round < 5; round++) {
        CHECK_STATUS(OK, item_tables_copy(&copy, tables, &err));
        item_fixture_stir(copy, &random, 600, 1000, START + DAY_MS);
        item_tables_destroy(copy);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], &answer) == 0);
        CHECK(answer != NULL);
    }
    item_tables_destroy(tables);
}

TEST(item_tables_rows_that_expire_go_to_the_next_that_are_admitted)
{
    struct item_tables *tables = item_fixture_small();
    int32_t old = item_fixture_see(tables, 11, 1000, 2),
            young = item_fixture_see(tables, 12, 9000, 2), next;

    CHECK_INT(1, item_tables_row(tables, old));
    CHECK_INT(1, item_tables_expire(tables, 5000));
    CHECK_INT(0, item_tables_expire(tables, 5000));
    CHECK_INT(0, item_tables_row(tables, old));
    CHECK_INT(2, item_tables_row(tables, young));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, 1));
    CHECK(!item_tables_admitted(tables, old) && item_tables_admitted(tables, young));
    next = item_fixture_see(tables, 13, 9100, 1);
    CHECK_INT(0, item_tables_row(tables, next)); /* seen once */
    (void)item_fixture_see(tables, 13, 9200, 1);
    CHECK_INT(1, item_tables_row(tables, next));
    CHECK_INT(3, item_tables_rows(tables));
    (void)item_fixture_see(tables, 11, 9300, 1); /* it comes back, like a new one */
    CHECK_INT(0, item_tables_row(tables, old));
    (void)item_fixture_see(tables, 11, 9400, 1);
    CHECK_INT(3, item_tables_row(tables, old));
    CHECK_INT(4, item_tables_clicks(tables, old)); /* counts stayed */
    item_tables_destroy(tables);
}

/* The learner's tables, and a copy that is behind and described ahead: the same rows in the end. */
TEST(item_tables_that_are_behind_give_the_same_rows)
{
    struct item_tables *ahead = item_fixture_small(), *behind;
    uint64_t seen[40];
    int64_t expired_at[40] = {0};
    struct random random;
    struct error err;
    int count = 0;

    random_seed(&random, test_seed());
    for (int round = 0; round < 20; round++)
        (void)item_fixture_see(ahead, 100 + random_below(&random, 9), 1000 + round, 1);
    CHECK_STATUS(OK, item_tables_copy(&behind, ahead, &err));
    for (int step = 0; step < 40; step++) {
        int64_t now = 5000 + step * 10;

        if (step % 9 == 8) {
            expired_at[count] = now - 60;
            (void)item_tables_expire(ahead, now - 60);
            seen[count++] = 0;
        } else if (step % 4 == 3) {
            uint64_t item = 500 + (uint64_t)step;
            int32_t row = item_tables_describe(
                ahead, item_tables_index(ahead, item, (struct text){0}, 0), 0);

            CHECK(row > 0);
            CHECK_INT(row, item_tables_describe(
                               behind, item_tables_index(behind, item, (struct text){0}, 0), row));
        } else {
            seen[count] = step % 7 == 6 ? 500 + random_below(&random, (uint64_t)step)
                                        : 100 + random_below(&random, 25);
            (void)item_fixture_see(ahead, seen[count++], now, 2);
            expired_at[count - 1] = now;
        }
    }
    for (int i = 0; i < count; i++) {
        if (seen[i] == 0)
            (void)item_tables_expire(behind, expired_at[i]);
        else
            (void)item_fixture_see(behind, seen[i], expired_at[i], 2);
    }
    CHECK_INT(item_tables_rows(ahead), item_tables_rows(behind));
    for (int row = 1; row < item_tables_rows(ahead); row++) {
        int32_t a = item_tables_at_row(ahead, row), b = item_tables_at_row(behind, row);

        CHECK_INT(a == ITEM_NONE, b == ITEM_NONE);
        if (a != ITEM_NONE)
            CHECK(item_tables_hash(ahead, a) == item_tables_hash(behind, b));
    }
    item_tables_destroy(behind);
    item_tables_destroy(ahead);
}

TEST(item_tables_describe_only_what_was_never_seen)
{
    struct item_tables *tables = item_fixture_small();
    int32_t once = item_fixture_see(tables, 11, 1000, 1);
    int32_t fresh = item_tables_index(tables, 12, (struct text){0}, 0);

    CHECK_INT(0, item_tables_describe(tables, once, 0));
    CHECK_INT(0, item_tables_describe(tables, ITEM_NONE, 0));
    CHECK_INT(0, item_tables_describe(tables, 99, 0));
    CHECK_INT(1, item_tables_describe(tables, fresh, 0));
    CHECK_INT(0, item_tables_describe(tables, fresh, 0)); /* it has one */
    CHECK(!item_tables_admitted(tables, fresh));
    (void)item_fixture_see(tables, 12, 2000, 2);
    CHECK(item_tables_admitted(tables, fresh));
    CHECK_INT(1, item_tables_row(tables, fresh));
    item_tables_destroy(tables);
}
