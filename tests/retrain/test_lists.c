/*
 * Tests retrain/lists: order, bounds, corrections, erasure, and that a checkpoint goes on as if it
 * had never stopped.
 */
#include "retrain/lists.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct error err;

static struct list *made(uint64_t id, int64_t time_ms)
{
    struct list *list = list_create(2, 3);

    CHECK(list != NULL);
    list->id = id;
    list->user = id % 10;
    list->time_ms = time_ms;
    list->context[2] = (uint8_t)(id % 60);
    list->history[1].item = id;
    list->rows[2] = (int32_t)(id % 7);
    list->raw[3 * RAW_COLUMNS - 1] = time_ms;
    return list;
}

static struct lists *pool(int fresh_max, int kept_max)
{
    struct lists_options options = {fresh_max, kept_max, 5};
    struct lists *lists;

    CHECK_STATUS(OK, lists_create(&lists, &options, &err));
    return lists;
}

TEST(a_list_has_bounds)
{
    CHECK(list_create(0, 0) == NULL);
    CHECK(list_create(0, LIST_ROWS_MAX + 1) == NULL);
    CHECK(list_create(SEQUENCE_MAX + 1, 1) == NULL);
    CHECK(list_create(-1, 1) == NULL);
    struct list *list = list_create(0, 1);
    CHECK(list != NULL && !list_has_label(list));
    list->labels[0] = .5f;
    CHECK(list_has_label(list));
    list_destroy(list);
    list_destroy(NULL);
}

TEST(a_list_is_asked_as_it_was_shown)
{
    struct list *list = made(8, 1234);
    struct batch_request request = list_request(list);

    CHECK(request.history == list->history && request.history_count == 2);
    CHECK(request.candidates == list->rows && request.candidates_count == 3);
    CHECK(request.raw == list->raw && request.context == list->context);
    CHECK(request.request_time_ms == 1234 && request.running == list->running);
    CHECK(request.labels == NULL && request.positions == NULL && !request.next_items);
    list_destroy(list);
}

TEST(an_empty_pool_gives_nothing)
{
    struct lists *lists = pool(1, 0);

    CHECK(lists_take(lists, INT64_MAX) == NULL);
    CHECK(lists_replay(lists) == NULL);
    CHECK(!lists_correct(lists, 1, 0, 1));
    CHECK_INT(0, lists_erase(lists, 1, INT64_MAX));
    lists_destroy(lists);
    lists_destroy(NULL);
}

TEST(fresh_lists_come_in_their_order_until_the_time_asked_for)
{
    struct lists *lists = pool(10, 10);

    for (uint64_t id = 1; id <= 5; id++)
        lists_add(lists, made(id, (int64_t)id * 100));
    CHECK_INT(3, (int64_t)lists_fresh_at(lists, 2)->id);
    for (uint64_t id = 1; id <= 3; id++) {
        const struct list *list = lists_take(lists, 350);
        CHECK(list != NULL && list->id == id);
    }
    CHECK(lists_take(lists, 350) == NULL);
    CHECK_INT(2, lists_fresh(lists));
    CHECK_INT(3, lists_kept(lists));
    lists_destroy(lists);
}

TEST(a_full_pool_stays_bounded)
{
    struct lists *lists = pool(4, 3);

    for (uint64_t id = 1; id <= 100; id++)
        lists_add(lists, made(id, (int64_t)id));
    CHECK_INT(4, lists_fresh(lists));
    CHECK_INT(3, lists_kept(lists));
    CHECK_INT(97, (int64_t)lists_fresh_at(lists, 0)->id);
    while (lists_take(lists, INT64_MAX) != NULL)
        continue;
    CHECK_INT(3, lists_kept(lists));
    CHECK(lists_replay(lists) != NULL);
    lists_destroy(lists);
}

TEST(a_late_label_finds_its_list_wherever_it_is)
{
    struct lists *lists = pool(4, 4);
    const struct list *taken;

    for (uint64_t id = 1; id <= 3; id++)
        lists_add(lists, made(id, (int64_t)id));
    (void)lists_take(lists, INT64_MAX);
    taken = lists_take(lists, INT64_MAX); /* 1 is kept, 2 is taken, 3 is fresh */
    CHECK(lists_correct(lists, 1, 0, 1));
    CHECK(lists_correct(lists, 2, 1, 1));
    CHECK(lists_correct(lists, 3, 2, 1));
    CHECK(taken->labels[1] == 1);
    CHECK(lists_fresh_at(lists, 0)->labels[2] == 1);
    CHECK(lists_replay(lists)->labels[0] == 1);
    CHECK(!lists_correct(lists, 3, 3, 1)); /* no such row */
    CHECK(!lists_correct(lists, 4, 0, 1));
    CHECK(lists_correct(lists, 3, 2, .5f)); /* the strongest label stays */
    CHECK(lists_fresh_at(lists, 0)->labels[2] == 1);
    lists_destroy(lists);
}

TEST(erasure_leaves_nothing_of_the_user_up_to_that_time)
{
    struct lists *lists = pool(40, 40);

    for (uint64_t id = 1; id <= 40; id++)
        lists_add(lists, made(id, (int64_t)id));
    for (int i = 0; i < 20; i++)
        (void)lists_take(lists, INT64_MAX);
    CHECK_INT(3, lists_erase(lists, 5, 25)); /* 5, 15, 25; 35 came later */
    for (int i = 0; i < lists_fresh(lists); i++)
        CHECK(lists_fresh_at(lists, i)->user != 5 || lists_fresh_at(lists, i)->id == 35);
    for (int i = 0; i < 200; i++)
        CHECK(lists_replay(lists)->user != 5);
    lists_destroy(lists);
}

TEST(a_pool_goes_on_after_a_checkpoint_as_if_it_had_not_stopped)
{
    struct lists *lists = pool(8, 8), *loaded = pool(8, 8), *refused = pool(8, 8);
    struct state_file *state;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/lists", test_folder());
    for (uint64_t id = 1; id <= 30; id++)
        lists_add(lists, made(id, (int64_t)id));
    (void)lists_take(lists, INT64_MAX);
    CHECK_STATUS(OK, state_file_begin(&state, path, &err));
    lists_save(lists, state);
    CHECK_STATUS(OK, state_file_commit(state, &err));

    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(OK, lists_load(loaded, state, 7, &err));
    CHECK_STATUS(OK, state_file_end(state, &err));
    state_file_close(state);
    for (int i = 0; i < 50; i++) {
        const struct list *a, *b;

        lists_add(lists, made(100 + (uint64_t)i, i));
        lists_add(loaded, made(100 + (uint64_t)i, i));
        a = i % 3 == 0 ? lists_take(lists, INT64_MAX) : lists_replay(lists);
        b = i % 3 == 0 ? lists_take(loaded, INT64_MAX) : lists_replay(loaded);
        CHECK(a->id == b->id && a->time_ms == b->time_ms);
        CHECK(memcmp(a->context, b->context, sizeof a->context) == 0);
        CHECK(memcmp(a->raw, b->raw, 3 * RAW_COLUMNS * sizeof *a->raw) == 0);
        CHECK(a->history[1].item == b->history[1].item && a->rows[2] == b->rows[2]);
    }
    /* Row 6 is of no item of a table of six. */
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(ERR_MALFORMED, lists_load(refused, state, 6, &err));
    state_file_close(state);
    lists_destroy(lists);
    lists_destroy(loaded);
    lists_destroy(refused);
}
