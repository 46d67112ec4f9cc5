/*
 * Tests features/batch_builder: the window, the cut at the request time (no event after it may
 * change anything), and what a batch says of each request.
 */
#include "features/batch_builder.h"

#include "features/scalars.h"
#include "ops/random.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#define START INT64_C(1700000000000)
#define KNOWN 40 /* items with hashes 1..KNOWN; the even ones have a model row */

static struct item_tables *make_tables(void)
{
    struct item_tables_options options = {.admit_after = 2};
    struct item_tables *tables;
    struct error err;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    for (uint64_t item = 1; item <= KNOWN; item++) {
        int32_t index = item_tables_index(tables, item, (struct text){0}, START);
        CHECK_INT((int64_t)item - 1, index);
        item_tables_observe(tables, index, START, NULL, 0);
        if (item % 2 == 0)
            item_tables_observe(tables, index, START, NULL, 0);
    }
    return tables;
}

static struct batch_builder *make_builder(int history_max, int rows_max)
{
    struct batch_builder_options options = {.history_max = history_max, .rows_max = rows_max};
    struct batch_builder *builder;
    struct error err;

    CHECK_STATUS(OK, batch_builder_create(&builder, &options, &err));
    return builder;
}

TEST(batch_window_starts_at_a_multiple_of_32_of_the_running_count)
{
    for (int history_max = 64; history_max <= 512; history_max *= 2) {
        for (int count = 0; count <= 300; count++) {
            for (uint32_t lost = 0; lost < 100; lost += count % 7 + 1) {
                uint32_t running = lost + (uint32_t)count;
                int first = batch_window_first(running, count, history_max);

                CHECK(first >= 0 && first <= count && count - first <= history_max);
                CHECK(count < 64 ? first == 0 : (lost + (uint32_t)first) % 32 == 0);
                /* No step earlier would do. */
                CHECK(first < 32 || count - (first - 32) > history_max);
            }
        }
    }
}

TEST(batch_window_keeps_its_first_token_for_32_events)
{
    int changes = 0;
    uint32_t start = 0;

    /* A sequence of 100 of which each event pushes out the oldest. */
    for (uint32_t running = 100; running < 100 + 320; running++) {
        uint32_t now = running - 100 + (uint32_t)batch_window_first(running, 100, 128);
        changes += now != start;
        start = now;
    }
    CHECK_INT(10, changes);
}

TEST(batch_window_of_short_and_odd_histories)
{
    CHECK_INT(0, batch_window_first(0, 0, 128));
    CHECK_INT(0, batch_window_first(7, 7, 128));
    CHECK_INT(32, batch_window_first(129, 129, 128));
    CHECK_INT(28, batch_window_first(104, 100, 128)); /* four were lost: entry 32 is the 28th */
    CHECK_INT(0, batch_window_first(80, 63, 128));    /* short: all of it */
    CHECK_INT(16, batch_window_first(80, 64, 128));
    CHECK_INT(0, batch_window_first(5, 5, 5));
    CHECK_INT(2, batch_window_first(6, 6, 5)); /* steps of 2 */
    CHECK_INT(8, batch_window_first(9, 9, 1));
    /* The running count wraps; 2^32 is a multiple of 32. */
    CHECK_INT(0, batch_window_first((uint32_t)-28, 100, 128));
    CHECK_INT(28, batch_window_first(8, 100, 128));
}

TEST(batch_builder_says_what_each_request_holds)
{
    struct item_tables *tables = make_tables();
    struct batch_builder *builder = make_builder(64, 15);
    struct user_entry history[] = {{.item = 2, .time_ms = START, .action = 1},
                                   {.item = 3, .time_ms = START + 1, .action = 2},
                                   {.item = 999, .time_ms = START + 2, .action = 1},
                                   {.item = 4, .time_ms = START + 3, .action = 3}};
    int32_t candidates[] = {3, ITEM_NONE, 39, 5}; /* items 4, none, 40 (beyond rows_max), 6 */
    int64_t raw[4 * RAW_COLUMNS];
    float labels[] = {0, 1, 0, 2}, scalars[4 * 64];
    int32_t positions[] = {1, 2, 3, 9};
    struct batch_request serving = {.history = history,
                                    .history_count = 3,
                                    .running = 3,
                                    .request_time_ms = START + 2,
                                    .candidates = candidates,
                                    .raw = raw,
                                    .candidates_count = 4};
    struct batch_request learning = {.history = history,
                                     .history_count = 4,
                                     .running = 4,
                                     .request_time_ms = START + 10,
                                     .candidates = candidates,
                                     .candidates_count = 4,
                                     .labels = labels,
                                     .positions = positions,
                                     .next_items = true};
    struct batch_request alone = {.history = history,
                                  .history_count = 4,
                                  .running = 4,
                                  .request_time_ms = START + 10,
                                  .next_items = true};
    const struct batch *batch;
    struct error err;

    for (int i = 0; i < 4 * RAW_COLUMNS; i++)
        raw[i] = 1000 + i;
    scalars_compute(scalars, raw, 4);
    batch = batch_builder_batch(builder);
    CHECK(batch->B == 0 && batch->history_start[0] == 0 && batch->candidate_start[0] == 0);
    CHECK_STATUS(OK, batch_builder_add(builder, tables, &serving, &err));
    batch = batch_builder_batch(builder);
    CHECK_INT(1, batch->B);
    CHECK_INT(3, batch->T);
    CHECK_INT(4, batch->N);
    CHECK_INT(scalars_count, batch->F);
    CHECK(batch->label == NULL && batch->weight == NULL && batch->position == NULL &&
          batch->next_item == NULL && batch->teacher == NULL && batch->context == NULL);
    CHECK_INT(1, batch->item[0]); /* items 2, 4, .. have rows 1, 2, .. */
    CHECK_INT(0, batch->item[1]);
    CHECK_INT(0, batch->item[2]);
    CHECK_INT(2, batch->action[1]);
    CHECK_INT(START + 1, batch->time_ms[1]);
    CHECK_INT(START + 2, batch->request_time_ms[0]);
    CHECK_INT(2, batch->candidate_item[0]);
    CHECK_INT(0, batch->candidate_item[1]);
    CHECK_INT(0, batch->candidate_item[2]);
    CHECK_INT(3, batch->candidate_item[3]);
    CHECK(memcmp(scalars, batch->scalars, sizeof(float) * 4 * (size_t)scalars_count) == 0);

    CHECK_STATUS(OK, batch_builder_add(builder, tables, &learning, &err));
    CHECK_STATUS(OK, batch_builder_add(builder, tables, &alone, &err));
    batch = batch_builder_batch(builder);
    CHECK_INT(3, batch->B);
    CHECK_INT(11, batch->T);
    CHECK_INT(8, batch->N);
    CHECK_INT(3, batch->history_start[1]);
    CHECK_INT(7, batch->history_start[2]);
    CHECK_INT(11, batch->history_start[3]);
    CHECK_INT(8, batch->candidate_start[2]);
    CHECK_INT(8, batch->candidate_start[3]);
    for (int i = 0; i < 4; i++) {
        CHECK(batch->weight[i] == 0 && batch->weight[4 + i] == 1);
        CHECK(batch->label[i] == 0 && batch->label[4 + i] == labels[i]);
        CHECK(batch->position[i] == 0 && batch->position[4 + i] == positions[i]);
        CHECK(batch->scalars[(4 + i) * scalars_count] == 0);
    }
    for (int i = 0; i < 3; i++)
        CHECK_INT(BATCH_ITEM_NONE, batch->next_item[i]);
    CHECK_INT(BATCH_ITEM_NONE, batch->next_item[3]); /* the next has no row */
    CHECK_INT(BATCH_ITEM_NONE, batch->next_item[4]);
    CHECK_INT(2, batch->next_item[5]);
    CHECK_INT(BATCH_ITEM_NONE, batch->next_item[6]); /* the last of its request */

    batch_builder_reset(builder);
    CHECK_STATUS(OK, batch_builder_add(builder, tables, &serving, &err));
    batch = batch_builder_batch(builder);
    CHECK(batch->B == 1 && batch->label == NULL && batch->next_item == NULL);
    batch_builder_destroy(builder);
    batch_builder_destroy(NULL);
    item_tables_destroy(tables);
}

static bool same_ints(const void *a, const void *b, int count, size_t bytes_each)
{
    return count == 0 || memcmp(a, b, (size_t)count * bytes_each) == 0;
}

TEST(batch_is_not_changed_by_anything_after_the_request_time)
{
    struct item_tables *tables = make_tables();
    struct batch_builder *one = make_builder(64, 1000), *other = make_builder(64, 1000);
    struct user_entry history[260], changed[260];
    struct random random;
    struct error err;

    random_seed(&random, test_seed());
    for (int round = 0; round < 1000; round++) {
        int count = (int)random_below(&random, 200);
        int later = (int)random_below(&random, 60);
        int64_t now = START + count * 10;
        uint32_t lost = (uint32_t)random_below(&random, 500);
        struct batch_request request = {.history = history,
                                        .history_count = count,
                                        .running = lost + (uint32_t)count,
                                        .request_time_ms = now,
                                        .next_items = round % 2 == 0};
        struct batch_request after = request;
        const struct batch *x, *y;

        for (int i = 0; i < count; i++)
            changed[i] = history[i] = (struct user_entry){
                .item = 1 + random_below(&random, 50), .time_ms = START + i * 10, .action = 1};
        for (int i = 0; i < later; i++)
            changed[count + i] = (struct user_entry){
                .item = 1 + random_below(&random, 50), .time_ms = now + 1 + i, .action = 2};
        after.history = changed;
        after.history_count = count + later;
        after.running = lost + (uint32_t)(count + later);
        batch_builder_reset(one);
        batch_builder_reset(other);
        CHECK_STATUS(OK, batch_builder_add(one, tables, &request, &err));
        CHECK_STATUS(OK, batch_builder_add(other, tables, &after, &err));
        x = batch_builder_batch(one);
        y = batch_builder_batch(other);
        CHECK_INT(x->T, y->T);
        CHECK(same_ints(x->item, y->item, x->T, sizeof *x->item));
        CHECK(same_ints(x->action, y->action, x->T, sizeof *x->action));
        CHECK(same_ints(x->time_ms, y->time_ms, x->T, sizeof *x->time_ms));
        if (x->next_item != NULL)
            CHECK(same_ints(x->next_item, y->next_item, x->T, sizeof *x->next_item));
        CHECK(x->T == 0 || x->time_ms[x->T - 1] <= now);
    }
    batch_builder_destroy(one);
    batch_builder_destroy(other);
    item_tables_destroy(tables);
}

TEST(batch_builder_refuses_more_than_a_batch_holds)
{
    struct item_tables *tables = make_tables();
    struct batch_builder *builder = make_builder(64, 1000);
    int32_t *candidates = malloc((BATCH_LIST_MAX + 1) * sizeof *candidates);
    struct batch_request request = {.candidates = candidates,
                                    .candidates_count = BATCH_LIST_MAX + 1};
    struct batch_builder *refused;
    struct batch_builder_options options = {.history_max = 0, .rows_max = 1};
    struct error err;
    int added = 0;

    for (int i = 0; i <= BATCH_LIST_MAX; i++)
        candidates[i] = ITEM_NONE;
    CHECK_STATUS(ERR_LIMIT, batch_builder_add(builder, tables, &request, &err));
    request.candidates_count = BATCH_LIST_MAX;
    while (batch_builder_add(builder, tables, &request, &err) == OK)
        added++;
    CHECK_INT(BATCH_CANDIDATES_MAX / BATCH_LIST_MAX, added);
    CHECK_INT(added, batch_builder_batch(builder)->B);
    batch_builder_reset(builder);
    request.candidates_count = 0;
    for (int i = 0; i < BATCH_REQUESTS_MAX; i++)
        CHECK_STATUS(OK, batch_builder_add(builder, tables, &request, &err));
    CHECK_STATUS(ERR_LIMIT, batch_builder_add(builder, tables, &request, &err));
    CHECK_STATUS(ERR_LIMIT, batch_builder_create(&refused, &options, &err));
    CHECK(refused == NULL);
    free(candidates);
    batch_builder_destroy(builder);
    item_tables_destroy(tables);
}

TEST(batch_builder_brings_the_contexts_of_requests_that_say_them)
{
    static const uint8_t said[BATCH_CONTEXTS] = {3, 0, 63, 1};
    struct item_tables *tables = make_tables();
    struct batch_builder *builder = make_builder(64, 15);
    struct batch_request request = {.request_time_ms = START};
    struct error err;

    CHECK_STATUS(OK, batch_builder_add(builder, tables, &request, &err));
    CHECK(batch_builder_batch(builder)->context == NULL);
    request.context = said;
    CHECK_STATUS(OK, batch_builder_add(builder, tables, &request, &err));
    for (int i = 0; i < BATCH_CONTEXTS; i++) {
        CHECK_INT(0, batch_builder_batch(builder)->context[i]);
        CHECK_INT(said[i], batch_builder_batch(builder)->context[BATCH_CONTEXTS + i]);
    }
    batch_builder_reset(builder);
    request.context = NULL;
    CHECK_STATUS(OK, batch_builder_add(builder, tables, &request, &err));
    CHECK(batch_builder_batch(builder)->context == NULL);
    batch_builder_destroy(builder);
    item_tables_destroy(tables);
}
