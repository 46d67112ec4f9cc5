/* Tests eval/split: users too short, every event has one role, samples. */
#include "eval/split.h"

#include "ops/progress.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct interactions data;
static struct split split;
static struct error err;

static void load(const char *content)
{
    struct interactions_options options = {.form = INTERACTIONS_USER_ITEM};
    char path[300];

    (void)snprintf(path, sizeof path, "%s/data", test_folder());
    retrain_write(path, content, strlen(content));
    progress_quiet(true);
    CHECK_STATUS(OK, interactions_load(&data, path, &options, &err));
}

static void clear(void)
{
    split_clear(&split);
    interactions_clear(&data);
}

TEST(split_refuses_data_that_leaves_nothing_to_foresee)
{
    load("1 1\n2 1\n2 2\n");
    CHECK_STATUS(ERR_MALFORMED, split_make(&split, &data, SPLIT_LEAVE_ONE_OUT, &err));
    CHECK(split.train_end == NULL && split.test.at == NULL);
    interactions_clear(&data);
    load("1 1\n");
    CHECK_STATUS(ERR_MALFORMED, split_make(&split, &data, SPLIT_TIME, &err));
    clear();
}

TEST(split_leaves_the_last_two_of_each_long_user_out)
{
    load("1 1\n2 1\n2 2\n3 1\n3 2\n3 3\n1 2\n1 3\n1 4\n");
    CHECK_STATUS(OK, split_make(&split, &data, SPLIT_LEAVE_ONE_OUT, &err));
    CHECK_INT(1, split.short_users);         /* user 2 */
    CHECK_INT(2 + 2 + 1, split.train_count); /* of 1, of 2 (whole), of 3 */
    CHECK(split.validation.count == 2 && split.test.count == 2);
    CHECK_INT(3, data.item[split.validation.at[1]]); /* the later one is user 1's */
    CHECK(data.item[split.test.at[0]] == 3 && data.item[split.test.at[1]] == 4);
    for (int i = 0; i < 2; i++)
        CHECK(!split_trains(&split, split.test.at[i]) &&
              !split_trains(&split, split.validation.at[i]));
    clear();
}

TEST(split_by_time_takes_the_last_two_tenths_of_all)
{
    char content[1000] = "";

    for (int i = 0; i < 40; i++)
        (void)snprintf(content + strlen(content), 20, "%d %d\n", i % 4, i % 7);
    strcat(content, "99 1\n"); /* a newcomer: the first choice has no history */
    load(content);
    CHECK_STATUS(OK, split_make(&split, &data, SPLIT_TIME, &err));
    CHECK_INT(41 - 8, split.train_count);
    CHECK_INT(4, split.validation.count);
    CHECK_INT(3, split.test.count);
    for (int64_t e = 0; e < data.count; e++)
        CHECK(split_trains(&split, e) == (data.order[e] < 33));
    for (int64_t i = 0; i + 1 < split.test.count; i++)
        CHECK(data.order[split.test.at[i]] < data.order[split.test.at[i + 1]]);
    clear();
}

TEST(split_sample_is_in_order_and_of_the_size_asked_for)
{
    int64_t at[100];
    struct split_targets all = {at, 100}, some, again;

    for (int i = 0; i < 100; i++)
        at[i] = 3 * i;
    for (int64_t most = 0; most <= 120; most += 15) {
        CHECK_STATUS(OK, split_sample(&some, &all, most, 5, &err));
        CHECK_STATUS(OK, split_sample(&again, &all, most, 5, &err));
        CHECK_INT(most < 100 ? most : 100, some.count);
        for (int64_t i = 0; i + 1 < some.count; i++)
            CHECK(some.at[i] < some.at[i + 1] && some.at[i] == again.at[i]);
        free(some.at);
        free(again.at);
    }
}
