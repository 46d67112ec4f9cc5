/*
 * Tests files and deltas of features/item_tables: what comes back, what is refused, and whose
 * weights lie at a row that changed hands.
 */
#include "features/item_tables.h"

#include "ops/random.h"
#include "tests/features/item_tables_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

TEST(item_tables_come_back_from_a_file_as_they_were)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){.seed = 5});
    struct item_tables *loaded;
    struct item_file_offset offsets[] = {{0, 17}, {3, 1000000000000}};
    const struct item_file_offset *got;
    struct random random;
    struct error err;
    int count;

    random_seed(&random, test_seed() + 5);
    CHECK_STATUS(OK, item_tables_save(tables, item_fixture_path("empty"), &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, item_fixture_path("empty"), &err));
    item_fixture_check_same(tables, loaded);
    item_tables_destroy(loaded);

    item_fixture_stir(tables, &random, 2000, 20000, START);
    item_tables_set_offsets(tables, offsets, 2);
    CHECK_STATUS(OK, item_tables_save(tables, item_fixture_path("items"), &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, item_fixture_path("items"), &err));
    item_fixture_check_same(tables, loaded);
    got = item_tables_offsets(loaded, &count);
    CHECK_INT(2, count);
    CHECK_INT(3, got[1].partition);
    CHECK_INT(1000000000000, got[1].next);
    CHECK(item_tables_bytes(loaded) > 2000 * 128);
    /* And goes on as the other does. */
    item_tables_limit(loaded, &(struct item_tables_options){0});
    {
        struct random again = random;
        item_fixture_stir(tables, &random, 2500, 5000, START + DAY_MS);
        item_fixture_stir(loaded, &again, 2500, 5000, START + DAY_MS);
        item_fixture_check_same(tables, loaded);
    }
    item_tables_destroy(tables);
    item_tables_destroy(loaded);
    CHECK_STATUS(ERR_NOT_FOUND, item_tables_load(&loaded, item_fixture_path("none"), &err));
    CHECK(loaded == NULL);
}

TEST(item_tables_delta_brings_a_copy_to_the_same_state)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){.seed = 5});
    struct item_tables *base, *copy;
    struct random random;
    uint64_t sequence = 0;
    struct error err;

    random_seed(&random, test_seed() + 6);
    item_fixture_stir(tables, &random, 1000, 10000, START);
    CHECK_STATUS(OK, item_tables_save(tables, item_fixture_path("items"), &err));
    item_tables_mark_saved(tables);
    CHECK_STATUS(OK, item_tables_load(&base, item_fixture_path("items"), &err));
    for (uint64_t round = 1; round <= 5; round++) {
        item_fixture_stir(tables, &random, 1000 + (int)round * 100, 500,
                          START + (int64_t)round * DAY_MS);
        CHECK_STATUS(OK,
                     item_tables_save_delta(tables, round, "v1", item_fixture_path("delta"), &err));
        CHECK_STATUS(OK, item_tables_copy(&copy, base, &err));
        CHECK_STATUS(
            OK, item_tables_apply_delta(copy, item_fixture_path("delta"), "v1", &sequence, &err));
        CHECK_INT((int64_t)round, (int64_t)sequence);
        item_fixture_check_same(tables, copy);
        item_tables_destroy(copy);
    }
    item_tables_destroy(base);
    item_tables_destroy(tables);
}

/* A trainer that was restarted, or that somebody rolled back: what changed since the base is not
 * known, so everything goes out. */
TEST(item_tables_delta_without_a_mark_holds_everything)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){.seed = 5});
    struct item_tables *base, *loaded, *copy;
    struct random random;
    uint64_t sequence;
    struct error err;

    random_seed(&random, test_seed() + 8);
    item_fixture_stir(tables, &random, 500, 3000, START);
    CHECK_STATUS(OK, item_tables_save(tables, item_fixture_path("items"), &err));
    CHECK_STATUS(OK, item_tables_load(&base, item_fixture_path("items"), &err));
    item_tables_mark_saved(tables);
    item_fixture_stir(tables, &random, 700, 1000, START + DAY_MS);
    CHECK_STATUS(OK, item_tables_save(tables, item_fixture_path("checkpoint"), &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, item_fixture_path("checkpoint"), &err));
    item_fixture_stir(loaded, &random, 700, 10, START + 2 * DAY_MS);
    CHECK_STATUS(OK, item_tables_save_delta(loaded, 1, "v1", item_fixture_path("delta"), &err));
    CHECK_STATUS(OK, item_tables_copy(&copy, base, &err));
    CHECK_STATUS(OK,
                 item_tables_apply_delta(copy, item_fixture_path("delta"), "v1", &sequence, &err));
    item_fixture_check_same(loaded, copy);
    item_tables_destroy(copy);

    /* Published, and gone back on. */
    item_tables_mark_saved(loaded);
    item_fixture_stir(loaded, &random, 900, 100, START + 3 * DAY_MS);
    item_tables_forget_mark(loaded);
    CHECK_STATUS(OK, item_tables_save_delta(loaded, 1, "v1", item_fixture_path("delta"), &err));
    CHECK_STATUS(OK,
                 item_tables_apply_delta(base, item_fixture_path("delta"), "v1", &sequence, &err));
    item_fixture_check_same(loaded, base);
    item_tables_destroy(base);
    item_tables_destroy(loaded);
    item_tables_destroy(tables);
}

TEST(item_tables_refuse_what_does_not_belong)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){.seed = 5});
    struct item_tables *other = item_fixture_create((struct item_tables_options){.seed = 5});
    struct item_tables *foreign = item_fixture_create((struct item_tables_options){.seed = 6});
    struct item_tables *loaded;
    struct random random;
    uint64_t sequence;
    struct error err;

    random_seed(&random, test_seed() + 7);
    item_fixture_stir(tables, &random, 100, 1000, START);
    item_fixture_stir(other, &random, 100, 1000, START);
    item_fixture_stir(foreign, &random, 10, 1000, START);
    CHECK_STATUS(OK, item_tables_save(tables, item_fixture_path("items"), &err));
    item_tables_mark_saved(tables);
    item_fixture_stir(tables, &random, 100, 1000, START + DAY_MS);
    CHECK_STATUS(OK, item_tables_save_delta(tables, 1, "v1", item_fixture_path("delta"), &err));
    CHECK_STATUS(ERR_MALFORMED, item_tables_load(&loaded, item_fixture_path("delta"), &err));
    CHECK_STATUS(ERR_MALFORMED,
                 item_tables_apply_delta(other, item_fixture_path("items"), "v1", &sequence, &err));
    CHECK_STATUS(ERR_CONFLICT, item_tables_apply_delta(tables, item_fixture_path("delta"), "v2",
                                                       &sequence, &err));
    CHECK_STATUS(ERR_CONFLICT, item_tables_apply_delta(foreign, item_fixture_path("delta"), "v1",
                                                       &sequence, &err));
    CHECK_STATUS(ERR_CONFLICT,
                 item_tables_apply_delta(other, item_fixture_path("delta"), "v1", &sequence, &err));
    item_tables_destroy(tables);
    item_tables_destroy(other);
    item_tables_destroy(foreign);
}

TEST(item_tables_that_expired_come_back_from_files_and_deltas)
{
    struct item_tables *tables = item_fixture_small(), *loaded, *again;
    char whole[300], delta[300];
    uint64_t sequence;
    struct error err;

    (void)snprintf(whole, sizeof whole, "%s/whole", test_folder());
    (void)snprintf(delta, sizeof delta, "%s/delta", test_folder());
    (void)item_fixture_see(tables, 11, 1000, 2);
    (void)item_fixture_see(tables, 12, 9000, 2);
    CHECK_STATUS(OK, item_tables_save(tables, whole, &err));
    item_tables_mark_saved(tables);
    CHECK_INT(1, item_tables_expire(tables, 5000));
    CHECK_STATUS(OK, item_tables_save_delta(tables, 1, "v1", delta, &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, whole, &err));
    CHECK_STATUS(OK, item_tables_apply_delta(loaded, delta, "v1", &sequence, &err));
    CHECK_INT(0, item_tables_row(loaded, item_tables_find(loaded, 11)));
    CHECK_STATUS(OK, item_tables_save(tables, whole, &err));
    CHECK_STATUS(OK, item_tables_load(&again, whole, &err));
    (void)item_fixture_see(loaded, 13, 9500, 2);
    (void)item_fixture_see(again, 13, 9500, 2);
    CHECK_INT(item_tables_find(loaded, 13), item_tables_at_row(loaded, 1));
    CHECK_INT(0,
              item_tables_row(loaded, item_tables_find(loaded, 13))); /* 11's weights are there */
    CHECK_INT(1, item_tables_row(again, item_tables_find(again, 13)));
    item_tables_destroy(again);
    item_tables_destroy(loaded);
    item_tables_destroy(tables);
}

/* A bundle of before an expiry is served (nothing was published since, or somebody went back to
 * it), and deltas tell who has the row now: in front of the one that had it in the file, or behind.
 */
TEST(item_tables_row_of_a_new_owner_has_none_of_the_old_ones_weights)
{
    for (int behind = 0; behind < 2; behind++) {
        struct item_tables *tables = item_fixture_small(), *base, *now, *copy;
        const char *whole = item_fixture_path("whole"), *delta = item_fixture_path("delta");
        uint64_t old = behind ? 11 : 12, young = behind ? 12 : 11, sequence;
        int32_t row;
        struct error err;

        (void)item_fixture_see(tables, 11, 1000, old == 11 ? 2 : 1);
        (void)item_fixture_see(tables, 12, 1000, old == 12 ? 2 : 1);
        (void)item_fixture_see(tables, 13, 9000, 2);
        row = item_tables_row(tables, item_tables_find(tables, old));
        CHECK_STATUS(OK, item_tables_save(tables, whole, &err));
        CHECK_STATUS(OK, item_tables_load(&base, whole, &err));
        if (behind) /* what changed since the base is not known, as after a rollback */
            item_tables_forget_mark(tables);
        else
            item_tables_mark_saved(tables);
        CHECK_INT(1, item_tables_expire(tables, 5000));
        (void)item_fixture_see(tables, young, 9100, 2);
        CHECK_INT(row, item_tables_row(tables, item_tables_find(tables, young)));
        CHECK_STATUS(OK, item_tables_save_delta(tables, 1, "v1", delta, &err));
        CHECK_STATUS(OK, item_tables_copy(&now, base, &err));
        CHECK_STATUS(OK, item_tables_apply_delta(now, delta, "v1", &sequence, &err));
        CHECK_INT(item_tables_find(now, young), item_tables_at_row(now, row));
        CHECK_INT(0, item_tables_row(now, item_tables_find(now, young)));
        CHECK_INT(0, item_tables_row(now, item_tables_find(now, old)));
        CHECK(item_tables_row(now, item_tables_find(now, 13)) != 0); /* it has kept its own */
        CHECK_STATUS(OK, item_tables_copy(&copy, now, &err));
        CHECK_INT(0, item_tables_row(copy, item_tables_find(copy, young)));
        item_tables_destroy(copy);
        item_tables_destroy(now);

        /* The old one has its row again, and the weights there are its own. */
        CHECK_INT(2, item_tables_expire(tables, 9500));
        (void)item_fixture_see(tables, old, 9600, 2);
        CHECK_STATUS(OK, item_tables_save_delta(tables, 2, "v1", delta, &err));
        CHECK_STATUS(OK, item_tables_apply_delta(base, delta, "v1", &sequence, &err));
        CHECK_INT(row, item_tables_row(base, item_tables_find(base, old)));
        item_tables_destroy(base);

        /* The next bundle has weights for its own tables. */
        CHECK_STATUS(OK, item_tables_save(tables, whole, &err));
        CHECK_STATUS(OK, item_tables_load(&base, whole, &err));
        item_fixture_check_same(tables, base);
        item_tables_destroy(base);
        item_tables_destroy(tables);
    }
}

TEST(item_tables_refuse_two_items_of_one_row)
{
    struct item_tables *tables = item_fixture_small(), *other = item_fixture_small();
    const char *delta = item_fixture_path("delta");
    uint64_t sequence;
    struct error err;

    (void)item_fixture_see(tables, 11, 1000, 2);
    (void)item_fixture_see(tables, 12, 1000, 1);
    item_tables_mark_saved(tables);
    (void)item_fixture_see(other, 11, 1000, 1);
    (void)item_fixture_see(other, 12, 1000, 1);
    item_tables_mark_saved(other);
    (void)item_fixture_see(other, 12, 2000, 1); /* has row 1 there, and 11 says nothing */
    CHECK_STATUS(OK, item_tables_save_delta(other, 1, "v1", delta, &err));
    CHECK_STATUS(ERR_MALFORMED, item_tables_apply_delta(tables, delta, "v1", &sequence, &err));
    CHECK(strstr(err.text, "model row 1 belongs to two items") != NULL);
    item_tables_destroy(tables);
    item_tables_destroy(other);
}
