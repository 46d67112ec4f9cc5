/*
 * Tests retrain/holdout: where the newest tenth begins, the tables of before it, the ring's bounds
 * and the checkpoint.
 */
#include "retrain/holdout.h"

#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;
static struct item_tables *tables;
static struct sequences *sequences;

static struct holdout *new_holdout_of(int events_max, int judges_min)
{
    struct item_tables_options options = {.items_max = 1000, .seed = FIXTURE_SEED};
    struct holdout *holdout;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    CHECK_STATUS(OK, sequences_create(&sequences, 50, 1000, &err));
    CHECK_STATUS(OK, holdout_create(&holdout, tables, events_max, judges_min, &err));
    return holdout;
}

static struct holdout *new_holdout(int events_max)
{
    return new_holdout_of(events_max, 0);
}

static int split(const struct holdout *holdout, double share, int least, int most, int64_t *from_ms)
{
    struct holdout_window window;

    holdout_split(holdout, share, least, most, 0, &window);
    *from_ms = window.from_ms;
    return window.from;
}

static void end(struct holdout *holdout)
{
    holdout_destroy(holdout);
    item_tables_destroy(tables);
    sequences_destroy(sequences);
}

/* A choice (or with action 0 an item shown) of user i % 7, as the learner would enter it. */
static void add(struct holdout *holdout, int i, uint8_t action)
{
    struct holdout_event event = {
        (uint64_t)i % 7, 1000 + (uint64_t)i % 13, 1000 + (int64_t)i * 10, action, false, false};
    struct user_entry entry = {.item = event.item, .time_ms = event.time_ms, .action = action};
    enum sequences_result result;

    if (action != 0)
        CHECK_STATUS(OK, sequences_enter(sequences, event.user, &entry, &result, &err));
    CHECK_STATUS(OK, holdout_add(holdout, sequences, &event, &err));
    holdout_enter(tables, sequences, &event);
}

TEST(holdout_without_events_has_no_window)
{
    struct holdout *holdout = new_holdout(10);
    int64_t from_ms;

    CHECK_INT(0, split(holdout, .1, 1, 10, &from_ms));
    CHECK(from_ms == INT64_MAX);
    CHECK_INT(0, holdout_count(holdout));
    end(holdout);
    holdout_destroy(NULL);
}

TEST(holdout_is_exactly_the_newest_tenth_of_the_choices)
{
    struct holdout *holdout = new_holdout(1000);
    int64_t from_ms;
    int from, choices = 0;

    /* Two items shown between choices: 200 choices of 600 changes. */
    for (int i = 0; i < 600; i++)
        add(holdout, i, i % 3 == 2 ? 2 : 0);
    from = split(holdout, .1, 1, 1000, &from_ms);
    for (int i = from; i < holdout_count(holdout); i++) {
        choices += holdout_at(holdout, i)->action != 0;
    }
    CHECK_INT(20, choices);
    CHECK(holdout_at(holdout, from)->action != 0);                /* it begins with a choice */
    CHECK(holdout_at(holdout, from + 4 * 3)->time_ms == from_ms); /* the fifth of the window */
    CHECK_INT(540 + 2, from);
    for (int i = 0; i < from; i++)
        CHECK(holdout_at(holdout, i)->time_ms < from_ms);
    end(holdout);
}

TEST(holdout_window_is_at_least_and_at_most_what_is_asked_for)
{
    struct holdout *holdout = new_holdout(1000);
    int64_t from_ms;

    for (int i = 0; i < 100; i++)
        add(holdout, i, 2);
    CHECK_INT(70, split(holdout, .1, 30, 1000, &from_ms));
    CHECK_INT(95, split(holdout, .1, 1, 5, &from_ms));
    CHECK_INT(50, split(holdout, .1, 90, 1000, &from_ms)); /* never more than half */
    CHECK_INT(50, split(holdout, 1, 1, 1000, &from_ms));
    CHECK(from_ms == 1000 + 54 * 10);
    end(holdout);
}

TEST(holdout_of_one_choice_judges_nothing)
{
    struct holdout *holdout = new_holdout(10);
    int64_t from_ms;

    add(holdout, 1, 2);
    CHECK_INT(1, split(holdout, .5, 1, 10, &from_ms));
    CHECK(from_ms == INT64_MAX);
    end(holdout);
}

TEST(holdout_window_does_not_begin_at_a_straggler)
{
    struct holdout *holdout = new_holdout(100);
    struct holdout_event late = {1, 2, 5, 2, false, false};
    int64_t from_ms;

    for (int i = 0; i < 80; i++) {
        if (i == 61) /* the first of the window, then one inside it */
            CHECK_STATUS(OK, holdout_add(holdout, sequences, &late, &err));
        if (i == 70)
            CHECK_STATUS(OK, holdout_add(holdout, sequences, &late, &err));
        add(holdout, i, 2);
    }
    CHECK_INT(61, split(holdout, .25, 21, 100, &from_ms));
    CHECK(holdout_at(holdout, 61)->time_ms == 5);
    CHECK(from_ms >= 1000 + 61 * 10 && from_ms <= 1000 + 66 * 10);
    end(holdout);
}

TEST(holdout_judges_by_choices_that_no_list_prompted_while_there_are_enough)
{
    struct holdout *holdout = new_holdout(1000);
    struct holdout_window window;
    int judges = 0;

    for (int i = 0; i < 400; i++) { /* every fourth choice is the user's own, the others answer */
        struct holdout_event event = {.user = (uint64_t)i % 7,
                                      .item = 1000,
                                      .time_ms = 1000 + i,
                                      .action = 2,
                                      .answer = i % 4 != 0};
        struct holdout_event again = event; /* of the same item: judges nothing */

        again.repeat = true;
        CHECK_STATUS(OK, holdout_add(holdout, sequences, &event, &err));
        CHECK_STATUS(OK, holdout_add(holdout, sequences, &again, &err));
    }
    holdout_split(holdout, .1, 10, 1000, 0, &window);
    CHECK(!window.answers);
    CHECK_INT(720, window.from);
    CHECK(window.from_ms == 1376);
    for (int i = window.from; i < holdout_count(holdout); i++)
        judges += holdout_judges(&window, holdout_at(holdout, i));
    CHECK_INT(10, judges);
    holdout_split(holdout, .1, 51, 1000, 0,
                  &window); /* of 100 there are not 51 in the newer half */
    CHECK(window.answers);
    CHECK_INT(698, window.from);
    end(holdout);
}

TEST(holdout_judges_by_nothing_that_was_learnt_from)
{
    struct holdout *holdout = new_holdout(1000);
    struct holdout_window window;
    int64_t learnt_ms = 0;

    for (int i = 0; i < 400; i++) { /* every eighth choice is the user's own */
        struct holdout_event event = {.user = (uint64_t)i % 7,
                                      .item = 1000,
                                      .time_ms = 1000 + i,
                                      .action = 2,
                                      .answer = i % 8 != 0};

        if (i == 390) {
            /* 49 of their own are too few: all judge, and training goes on up to the window. */
            holdout_split(holdout, .1, 25, 1000, 0, &window);
            CHECK(window.answers);
            learnt_ms = window.from_ms - 1;
        }
        CHECK_STATUS(OK, holdout_add(holdout, sequences, &event, &err));
    }
    /* 50 are enough, and the newer half of them reaches back far beyond what was learnt from. */
    holdout_split(holdout, .1, 25, 1000, 0, &window);
    CHECK(!window.answers && window.from_ms < learnt_ms);
    holdout_split(holdout, .1, 25, 1000, learnt_ms, &window);
    CHECK(!window.answers && window.from_ms == learnt_ms + 1);
    holdout_split(holdout, .1, 25, 1000, 1010, &window); /* what is older changes nothing */
    CHECK(window.from_ms > 1011);
    end(holdout);
}

static void check_same_tables(const struct item_tables *a, const struct item_tables *b)
{
    char path[2][300];

    for (int i = 0; i < 2; i++) {
        (void)snprintf(path[i], sizeof path[i], "%s/%c", test_folder(), 'a' + i);
        CHECK_STATUS(OK, item_tables_save(i == 0 ? a : b, path[i], &err));
    }
    size_t bytes_a, bytes_b;
    char *of_a = retrain_read(path[0], &bytes_a), *of_b = retrain_read(path[1], &bytes_b);
    CHECK(bytes_a == bytes_b && memcmp(of_a, of_b, bytes_a) == 0);
    free(of_a);
    free(of_b);
}

TEST(holdout_tables_are_those_of_before_the_window)
{
    struct item_tables *before, *of_then, *now;
    struct holdout *holdout = new_holdout(50); /* the older half went into the base, twice */

    for (int i = 0; i < 100; i++)
        add(holdout, i, i % 4 == 0 ? 0 : 2);
    CHECK_STATUS(OK, item_tables_copy(&of_then, tables, &err));
    for (int i = 100; i < 120; i++)
        add(holdout, i, 2);
    CHECK(holdout_count(holdout) <= 50);
    CHECK_STATUS(OK,
                 holdout_tables(holdout, sequences, holdout_count(holdout) - 20, &before, &err));
    check_same_tables(of_then, before);
    /* And walking the window makes those of now. */
    for (int i = holdout_count(holdout) - 20; i < holdout_count(holdout); i++)
        holdout_enter(before, sequences, holdout_at(holdout, i));
    check_same_tables(tables, before);
    CHECK_STATUS(OK, holdout_tables(holdout, sequences, holdout_count(holdout), &now, &err));
    check_same_tables(tables, now);
    item_tables_destroy(before);
    item_tables_destroy(now);
    item_tables_destroy(of_then);
    end(holdout);
}

TEST(holdout_grows_where_hardly_anything_is_chosen)
{
    struct item_tables *now;
    struct holdout *holdout;

    holdout = new_holdout_of(20, 7);
    for (int i = 0; i < 2000; i++) { /* of twenty that were shown one is chosen */
        int judges = 0;

        add(holdout, i, i % 20 == 0 ? 2 : 0);
        for (int k = 0; k < holdout_count(holdout); k++)
            judges += holdout_at(holdout, k)->action != 0;
        CHECK(judges >= (i < 140 ? i / 20 + 1 : 7));
        CHECK(holdout_count(holdout) <= 20 * HOLDOUT_GROWTH);
    }
    CHECK(holdout_count(holdout) < 2000); /* and not for ever */
    CHECK_STATUS(OK, holdout_tables(holdout, sequences, holdout_count(holdout), &now, &err));
    check_same_tables(tables, now);
    item_tables_destroy(now);
    end(holdout);

    holdout = new_holdout_of(20, 7);
    for (int i = 0; i < 1000; i++) { /* nothing is chosen at all */
        add(holdout, i, 0);
        CHECK(holdout_count(holdout) <= 20 * HOLDOUT_GROWTH);
    }
    end(holdout);

    holdout = new_holdout_of(20, 7);
    for (int i = 0; i < 1000; i++) { /* everything is */
        add(holdout, i, 2);
        CHECK(holdout_count(holdout) <= 20);
    }
    end(holdout);
}

TEST(holdout_comes_back_from_a_checkpoint)
{
    struct holdout *holdout = new_holdout(90), *loaded;
    struct item_tables *base, *a, *b;
    struct state_file *state;
    char path[300];

    for (int i = 0; i < 100; i++)
        add(holdout, i, i % 3 == 0 ? 0 : 2);
    (void)snprintf(path, sizeof path, "%s/state", test_folder());
    CHECK_STATUS(OK, state_file_begin(&state, path, &err));
    holdout_save(holdout, state);
    CHECK_STATUS(OK, state_file_commit(state, &err));
    CHECK_STATUS(OK, holdout_create(&loaded, tables, 30, 0, &err));
    CHECK_STATUS(OK, item_tables_copy(&base, holdout_base(holdout), &err));
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(OK, holdout_load(loaded, state, base, &err));
    CHECK_STATUS(OK, state_file_end(state, &err));
    state_file_close(state);
    CHECK_INT(holdout_count(holdout), holdout_count(loaded));
    CHECK_STATUS(OK, holdout_tables(holdout, sequences, 5, &a, &err));
    CHECK_STATUS(OK, holdout_tables(loaded, sequences, 5, &b, &err));
    check_same_tables(a, b);
    item_tables_destroy(a);
    item_tables_destroy(b);

    /* A ring that is much smaller now: refused, and the base stays the caller's. */
    struct holdout *small;
    CHECK_STATUS(OK, holdout_create(&small, tables, 2, 0, &err));
    CHECK_STATUS(OK, item_tables_copy(&base, holdout_base(holdout), &err));
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(ERR_MALFORMED, holdout_load(small, state, base, &err));
    state_file_close(state);
    item_tables_destroy(base);
    holdout_destroy(small);
    holdout_destroy(loaded);
    end(holdout);
}
