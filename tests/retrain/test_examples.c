/*
 * Tests retrain/examples: records in every order, twice, malformed in what they name; when a list
 * ripens and what a label does before, in and after that; bounds, erasure, checkpoint.
 */
#include "retrain/examples.h"

#include "ops/random.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T       INT64_C(1700000000000)
#define LIKE    3
#define LISTS   64
#define IDLE_MS 1000

static struct error err;
static struct lists *pool;
static struct item_tables *tables;
static struct list *ripe[LISTS];
static int ripe_count;

static int64_t window(void)
{
    return retrain_rules()->join_window_ms;
}

static struct examples *begin_of(int pending_max)
{
    struct examples_options options = {
        .rules = retrain_rules(), .pending_max = pending_max, .idle_ms = IDLE_MS};
    struct lists_options lists = {10, 10, 1};
    struct item_tables_options items = {.items_max = 100, .seed = FIXTURE_SEED};
    struct examples *examples;

    CHECK_STATUS(OK, lists_create(&pool, &lists, &err));
    CHECK_STATUS(OK, item_tables_create(&tables, &items, &err));
    for (uint64_t item = 10; item < 13; item++)
        CHECK_INT((int)item - 10, item_tables_index(tables, item, (struct text){0}, T));
    ripe_count = 0;
    CHECK_STATUS(OK, examples_create(&examples, &options, &err));
    return examples;
}

static struct examples *begin(void)
{
    return begin_of(100);
}

static void forget_ripe(void)
{
    for (int i = 0; i < ripe_count; i++)
        list_destroy(ripe[i]);
    ripe_count = 0;
}

static void end(struct examples *examples)
{
    forget_ripe();
    examples_destroy(examples);
    lists_destroy(pool);
    item_tables_destroy(tables);
}

/* Rows 10, 11, 12 (indices 0, 1, 2), counts 7, 8, ... */
static struct example shown(uint64_t id, int64_t at_ms)
{
    static const uint64_t rows[] = {10, 11, 12};
    static int64_t raw[3 * RAW_COLUMNS];

    for (int i = 0; i < 3 * RAW_COLUMNS; i++)
        raw[i] = 7 + i;
    return (struct example){.kind = EXAMPLE_SHOWN,
                            .id = id,
                            .user = id % 5,
                            .time_ms = at_ms,
                            .request_time_ms = at_ms - 50,
                            .running = 4,
                            .rows_count = 3,
                            .rows = rows,
                            .raw_columns = RAW_COLUMNS,
                            .raw = raw};
}

static struct example label(uint64_t id, int64_t shown_at_ms, int row, uint8_t action)
{
    return (struct example){.kind = EXAMPLE_LABEL,
                            .id = id,
                            .user = id % 5,
                            .time_ms = shown_at_ms + 10,
                            .shown_at_ms = shown_at_ms,
                            .row = row,
                            .action = action};
}

static struct example mark(int32_t partition, int64_t watermark_ms)
{
    return (struct example){.kind = EXAMPLE_MARK, .partition = partition, .time_ms = watermark_ms};
}

static void add_at(struct examples *examples, struct example example, int64_t now_us)
{
    CHECK_STATUS(OK, examples_add(examples, &example, pool, now_us, &err));
}

static void add(struct examples *examples, struct example example)
{
    add_at(examples, example, 0);
}

static void take(void *context, struct list *list)
{
    (void)context;
    CHECK(ripe_count < LISTS);
    ripe[ripe_count++] = list;
}

static int ripen_at(struct examples *examples, int64_t now_ms, int64_t now_us)
{
    int before = ripe_count;

    CHECK_STATUS(OK, examples_ripen(examples, tables, now_ms, now_us, take, NULL, &err));
    return ripe_count - before;
}

static int ripen(struct examples *examples, int64_t now_ms)
{
    return ripen_at(examples, now_ms, 0);
}

TEST(examples_of_nothing_ripen_nothing)
{
    struct examples *examples = begin();

    CHECK_INT(0, ripen(examples, INT64_MAX));
    CHECK_INT(0, ripen(examples, INT64_MIN));
    CHECK_INT(0, examples_pending(examples));
    end(examples);
    examples_destroy(NULL);
}

TEST(examples_ripen_once_the_window_has_passed_and_not_before)
{
    struct examples *examples = begin();

    add(examples, shown(1, T));
    add(examples, label(1, T, 2, FIXTURE_CLICK));
    CHECK_INT(0, ripen(examples, T + window()));
    CHECK_INT(1, ripen(examples, T + window() + 1));
    CHECK_INT(0, examples_pending(examples));
    CHECK_INT(0, ripen(examples, INT64_MAX));
    struct list *list = ripe[0];
    CHECK(list->id == 1 && list->user == 1 && list->time_ms == T - 50 && list->running == 4);
    CHECK(list->rows[0] == 0 && list->rows[2] == 2);
    CHECK(list->labels[0] == 0 && list->labels[1] == 0);
    CHECK(list->labels[2] == retrain_rules()->actions[FIXTURE_CLICK].label);
    CHECK(list->raw[0] == 7 && list->raw[3 * RAW_COLUMNS - 1] == 6 + 3 * RAW_COLUMNS);
    end(examples);
}

/* One list, three labels, every record twice: whatever the order, the same list. */
TEST(examples_unite_in_any_order_and_any_number)
{
    struct random random;

    random_seed(&random, test_seed());
    for (int round = 0; round < 200; round++) {
        struct examples *examples = begin();
        struct example records[] = {shown(1, T),
                                    label(1, T, 0, FIXTURE_CLICK),
                                    label(1, T, 2, FIXTURE_CLICK),
                                    label(1, T, 2, LIKE),
                                    shown(1, T),
                                    label(1, T, 0, FIXTURE_CLICK),
                                    label(1, T, 2, FIXTURE_CLICK),
                                    label(1, T, 2, LIKE)};

        for (int i = 7; i > 0; i--) {
            int j = (int)random_below(&random, (uint64_t)i + 1);
            struct example moved = records[i];
            records[i] = records[j];
            records[j] = moved;
        }
        for (int i = 0; i < 8; i++)
            add(examples, records[i]);
        CHECK_INT(1, ripen(examples, T + window() + 1));
        CHECK(ripe[0]->labels[0] == retrain_rules()->actions[FIXTURE_CLICK].label);
        CHECK(ripe[0]->labels[1] == 0);
        CHECK(ripe[0]->labels[2] == retrain_rules()->actions[LIKE].label ||
              ripe[0]->labels[2] == retrain_rules()->actions[FIXTURE_CLICK].label);
        CHECK(ripe[0]->labels[2] >= ripe[0]->labels[0]);
        CHECK_INT(1, examples_counts(examples)->repeated);
        CHECK_INT(0, examples_counts(examples)->lost_labels);
        end(examples);
    }
}

TEST(examples_shown_again_after_they_ripened_are_known)
{
    struct examples *examples = begin();

    add(examples, shown(1, T));
    CHECK_INT(1, ripen(examples, T + window() + 1));
    add(examples, shown(1, T));
    CHECK_INT(0, examples_pending(examples));
    CHECK_INT(1, examples_counts(examples)->repeated);
    end(examples);
}

TEST(examples_labels_without_their_list_wait_one_window)
{
    struct examples *examples = begin();

    add(examples, label(1, T, 1, FIXTURE_CLICK));
    CHECK_INT(1, examples_pending(examples));
    CHECK_INT(0, ripen(examples, T + window()));
    CHECK_INT(1, examples_pending(examples));
    CHECK_INT(0, ripen(examples, T + window() + 1));
    CHECK_INT(0, examples_pending(examples));
    CHECK_INT(1, examples_counts(examples)->lost_labels);
    end(examples);
}

TEST(examples_labels_that_come_late_correct_the_pool)
{
    struct examples *examples = begin();

    add(examples, shown(1, T));
    CHECK_INT(1, ripen(examples, T + window() + 1));
    lists_add(pool, ripe[--ripe_count]);
    add(examples, label(1, T, 1, FIXTURE_CLICK));
    CHECK(lists_fresh_at(pool, 0)->labels[1] > 0);
    CHECK_INT(1, examples_counts(examples)->late_labels);
    /* A list that was handed on and is gone from the pool. */
    add(examples, shown(2, T));
    CHECK_INT(1, ripen(examples, T + window() + 1));
    add(examples, label(2, T, 1, FIXTURE_CLICK));
    CHECK_INT(1, examples_counts(examples)->lost_labels);
    /* A row that the list does not have. */
    add(examples, label(1, T, 3, FIXTURE_CLICK));
    CHECK_INT(2, examples_counts(examples)->lost_labels);
    end(examples);
}

TEST(examples_ignore_labels_of_no_weight_and_rows_that_are_not_there)
{
    struct examples *examples = begin();

    add(examples, shown(1, T));
    add(examples, label(1, T, 0, FIXTURE_HIDE));
    add(examples, label(1, T, 0, 62)); /* an action that nobody configured */
    add(examples, label(1, T, 3, FIXTURE_CLICK));
    add(examples, label(1, T, EVENT_ROWS_MAX - 1, FIXTURE_CLICK));
    CHECK_INT(1, ripen(examples, T + window() + 1));
    CHECK(!list_has_label(ripe[0]));
    end(examples);
}

TEST(examples_of_items_nobody_knows_have_unknown_rows)
{
    struct examples *examples = begin();
    const uint64_t rows[] = {10, 99, 12};
    struct example example = shown(1, T);

    example.rows = rows;
    add(examples, example);
    CHECK_INT(1, ripen(examples, T + window() + 1));
    CHECK(ripe[0]->rows[0] == 0 && ripe[0]->rows[1] == ITEM_NONE && ripe[0]->rows[2] == 2);
    end(examples);
}

TEST(examples_ripen_oldest_first)
{
    struct examples *examples = begin();

    for (uint64_t id = 1; id <= 20; id++)
        add(examples, shown(id, T + (int64_t)(id * 7 % 20) * 10));
    CHECK_INT(20, ripen(examples, T + window() + 1000));
    for (int i = 1; i < 20; i++)
        CHECK(ripe[i - 1]->time_ms < ripe[i]->time_ms);
    end(examples);
}

/* ---- counts that did not come with the list ---- */

TEST(examples_without_trace_use_the_counts_noted_at_their_event)
{
    struct examples *examples = begin();
    int64_t raw[3 * RAW_COLUMNS] = {5, 6, 7};
    struct example example = shown(1, T);

    example.raw_columns = 0;
    example.raw = NULL;
    examples_note(examples, example.user, T, example.rows, 3, raw);
    raw[0] = 50; /* counts of after the click: the first ones stay */
    examples_note(examples, example.user, T, example.rows, 3, raw);
    add(examples, example);
    CHECK_INT(1, ripen(examples, T + window() + 1));
    CHECK(ripe[0]->raw[0] == 5 && ripe[0]->raw[1] == 6);
    CHECK_INT(0, examples_counts(examples)->without_counts);
    end(examples);
}

TEST(examples_without_trace_and_note_are_left_out)
{
    struct examples *examples = begin();
    int64_t raw[3 * RAW_COLUMNS] = {5};
    struct example example = shown(1, T);

    example.raw_columns = 0;
    example.raw = NULL;
    examples_note(examples, example.user, T + 1, example.rows, 3, raw); /* another moment */
    examples_note(examples, example.user + 1, T, example.rows, 3, raw); /* another user */
    examples_note(examples, example.user, T, example.rows, 2, raw);     /* fewer rows */
    add(examples, label(1, T, 0, FIXTURE_CLICK));
    add(examples, example);
    CHECK_INT(1, examples_counts(examples)->without_counts);
    CHECK_INT(0, examples_pending(examples));
    end(examples);
}

/* ---- the watermark ---- */

TEST(examples_watermark_is_the_least_of_the_partitions_that_speak)
{
    struct examples *examples = begin();

    CHECK(examples_watermark(examples, T, 0) == T); /* nobody has spoken */
    add_at(examples, mark(0, T + 100), 0);
    add_at(examples, mark(1, T + 50), 0);
    add_at(examples, mark(1, T + 20), 0); /* it never goes back */
    CHECK(examples_watermark(examples, T + 1000, 0) == T + 50);
    CHECK(examples_watermark(examples, T + 30, 0) == T + 30); /* nor ahead of events */
    /* One that is silent holds nobody back. */
    add_at(examples, mark(0, T + 200), IDLE_MS * 1000 + 1);
    CHECK(examples_watermark(examples, T + 1000, IDLE_MS * 1000 + 1) == T + 200);
    CHECK(examples_watermark(examples, T + 1000, IDLE_MS * 5000) == T + 1000);
    end(examples);
}

TEST(examples_held_back_are_those_that_silence_would_ripen)
{
    struct examples *examples = begin();
    int64_t ripe_ms = T + window() + 1;

    add_at(examples, mark(0, T), 0);
    CHECK(!examples_held_back(examples, ripe_ms, 0)); /* there is none */
    add_at(examples, shown(1, T), 0);
    CHECK(!examples_held_back(examples, ripe_ms - 1, 0)); /* its window is open */
    CHECK(examples_held_back(examples, ripe_ms, IDLE_MS * 1000));
    CHECK(!examples_held_back(examples, ripe_ms, IDLE_MS * 1000 + 1)); /* nobody speaks any more */
    CHECK(!examples_held_back(examples, INT64_MIN, 0));
    add_at(examples, mark(0, ripe_ms), 0);
    CHECK(!examples_held_back(examples, ripe_ms, 0)); /* ripe, and not asked for yet */
    end(examples);
}

TEST(examples_of_a_partition_without_a_watermark_yet_wait)
{
    struct examples *examples = begin();

    add(examples, shown(1, T));
    add(examples, mark(0, INT64_MIN));
    CHECK_INT(0, ripen(examples, INT64_MAX));
    add(examples, mark(0, T + window() + 1));
    CHECK_INT(1, ripen(examples, INT64_MAX));
    end(examples);
}

/* ---- bounds, erasure ---- */

TEST(examples_beyond_the_bound_let_the_oldest_go)
{
    struct examples *examples = begin_of(10);

    for (uint64_t id = 1; id <= 15; id++)
        add(examples, shown(id, T + (int64_t)id));
    CHECK_INT(10, examples_pending(examples));
    CHECK_INT(5, examples_counts(examples)->overflowed);
    CHECK_INT(10, ripen(examples, T + window() + 100));
    CHECK(ripe[0]->id == 6);
    end(examples);
}

TEST(examples_of_an_erased_user_are_forgotten_up_to_that_time)
{
    struct examples *examples = begin();
    struct example erase = {.kind = EXAMPLE_ERASE, .user = 1, .time_ms = T + 10};

    add(examples, shown(1, T));
    add(examples, shown(6, T + 10));
    add(examples, shown(11, T + 11)); /* after it */
    add(examples, shown(2, T));       /* another user */
    add(examples, label(16, T, 0, FIXTURE_CLICK));
    add(examples, erase);
    CHECK_INT(2, examples_pending(examples));
    CHECK_INT(3, examples_counts(examples)->erased);
    CHECK_INT(2, ripen(examples, T + window() + 100));
    CHECK(ripe[0]->id == 2 && ripe[1]->id == 11);
    end(examples);
}

TEST(examples_erasure_reaches_the_pool)
{
    struct examples *examples = begin();
    struct example erase = {.kind = EXAMPLE_ERASE, .user = 1, .time_ms = T + 10};

    add(examples, shown(1, T));
    CHECK_INT(1, ripen(examples, T + window() + 1));
    lists_add(pool, ripe[--ripe_count]);
    add(examples, erase);
    CHECK_INT(0, lists_fresh(pool));
    end(examples);
}

/* ---- checkpoint ---- */

static void reload(const struct examples *examples, struct examples *loaded)
{
    struct state_file *state;
    char path[300];

    (void)snprintf(path, sizeof path, "%s/examples", test_folder());
    CHECK_STATUS(OK, state_file_begin(&state, path, &err));
    examples_save(examples, state);
    CHECK_STATUS(OK, state_file_commit(state, &err));
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(OK, examples_load(loaded, state, &err));
    CHECK_STATUS(OK, state_file_end(state, &err));
    state_file_close(state);
}

static struct examples *another(void)
{
    struct examples_options options = {
        .rules = retrain_rules(), .pending_max = 100, .idle_ms = IDLE_MS};
    struct examples *examples;

    CHECK_STATUS(OK, examples_create(&examples, &options, &err));
    return examples;
}

TEST(examples_come_back_from_a_checkpoint)
{
    struct examples *examples = begin(), *loaded = another();
    struct random random;

    random_seed(&random, test_seed());
    for (uint64_t id = 1; id <= 30; id++) {
        add(examples, shown(id, T + (int64_t)random_below(&random, 500)));
        add(examples, label(id + random_below(&random, 3), T, (int)(id % 3), FIXTURE_CLICK));
    }
    add(examples, mark(0, T + window() + 100));
    (void)ripen(examples, INT64_MAX);
    forget_ripe();
    reload(examples, loaded);
    CHECK_INT(examples_pending(examples), examples_pending(loaded));
    /* What was handed on is still known, what waits ripens alike. */
    for (uint64_t id = 1; id <= 30; id++) {
        add(examples, shown(id, T + 200));
        add(loaded, shown(id, T + 200));
        CHECK_INT(examples_pending(examples), examples_pending(loaded));
    }
    add(examples, mark(0, T + window() + 1000));
    add(loaded, mark(0, T + window() + 1000));
    int of_first = ripen(examples, INT64_MAX);
    CHECK_INT(of_first, ripen(loaded, INT64_MAX));
    CHECK(of_first > 5);
    for (int i = 0; i < of_first; i++) {
        const struct list *a = ripe[i], *b = ripe[of_first + i];
        CHECK(a->id == b->id && a->time_ms == b->time_ms);
        CHECK(memcmp(a->labels, b->labels, 3 * sizeof *a->labels) == 0);
    }
    examples_destroy(loaded);
    end(examples);
}

TEST(examples_wait_for_marks_after_a_restart_as_before_it)
{
    struct examples *examples = begin(), *loaded = another();
    int64_t now_us = INT64_C(5000) * IDLE_MS * 1000; /* a machine that has been up for a while */

    add_at(examples, shown(1, T), now_us);
    add_at(examples, mark(0, T), now_us);
    CHECK_INT(0, ripen_at(examples, INT64_MAX, now_us));
    /* Its labels are still in the topic: without this the list would ripen without them. */
    reload(examples, loaded);
    CHECK_INT(0, ripen_at(loaded, INT64_MAX, now_us));
    CHECK_INT(0, ripen_at(loaded, INT64_MAX, now_us + IDLE_MS * 1000));
    CHECK_INT(1, ripen_at(loaded, INT64_MAX, now_us + IDLE_MS * 1000 + 1));
    examples_destroy(loaded);
    end(examples);
}
