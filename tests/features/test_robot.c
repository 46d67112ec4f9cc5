/* Tests features/robot: each limit at its edges, what shares its time, days, and limits that no
 * sequence can reach. What they are worth: tests/retrain/test_learner_robots.c. */
#include "features/robot.h"

#include "features/features_main.h"
#include "retrain/role.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY   19000 /* any */
#define COUNT 100

static struct user_entry entries[COUNT];

/* Choices of item `item` (0: each of another), step_ms apart, from time_ms on. */
static void fill(int64_t time_ms, int64_t step_ms, uint64_t item)
{
    for (int i = 0; i < COUNT; i++)
        entries[i] = (struct user_entry){.time_ms = time_ms + i * step_ms,
                                         .item = item != 0 ? item : (uint64_t)i + 1000,
                                         .action = 2};
}

static enum robot of(int count, uint64_t item, int64_t time_ms, struct robot_limits limits)
{
    const struct user_entry choice = {.item = item, .time_ms = time_ms, .action = 2};

    return robot_chose(entries, count, &choice, &limits);
}

TEST(robot_without_limits_is_nobody)
{
    fill(DAY * ROBOT_DAY_MS, 1, 7);
    CHECK_INT(ROBOT_NONE, of(COUNT, 7, DAY * ROBOT_DAY_MS + COUNT, (struct robot_limits){0}));
    CHECK_INT(ROBOT_NONE, of(0, 7, DAY * ROBOT_DAY_MS,
                             (struct robot_limits){.minute_max = 1, .item_max = 1, .day_max = 1}));
    CHECK_TEXT("none", robot_names[ROBOT_NONE]);
    CHECK_TEXT("day", robot_names[ROBOT_DAY]);
}

TEST(robot_is_who_chooses_too_much_within_a_minute)
{
    const struct robot_limits limits = {.minute_max = 60};
    int64_t begin = DAY * ROBOT_DAY_MS;

    fill(begin, 500, 0);
    CHECK_INT(ROBOT_NONE, of(59, 1, begin + 59 * 500, limits));
    CHECK_INT(ROBOT_MINUTE, of(60, 1, begin + 60 * 500, limits));
    CHECK_INT(ROBOT_MINUTE, of(60, 1, begin + ROBOT_MINUTE_MS - 1, limits));
    CHECK_INT(ROBOT_NONE, of(60, 1, begin + ROBOT_MINUTE_MS, limits));
    for (int i = 0; i < COUNT; i++)
        entries[i].time_ms = begin + i / 2 * 10; /* two at a time */
    CHECK_INT(ROBOT_NONE, of(60, 1, begin + 500, limits));
    entries[59].time_ms = begin + 400; /* 31 moments of 60 */
    CHECK_INT(ROBOT_MINUTE, of(60, 1, begin + 500, limits));
    fill(begin, 1, 0); /* an invoice, its lines as a file's are told apart */
    CHECK_INT(ROBOT_NONE, of(60, 1, begin + 60, limits));
    fill(begin, 2, 0);
    CHECK_INT(ROBOT_MINUTE, of(60, 1, begin + 120, limits));
}

TEST(robot_that_stamps_its_choices_a_millisecond_apart_has_times_of_its_own)
{
    int64_t noon = DAY * ROBOT_DAY_MS + ROBOT_DAY_MS / 2;

    fill(noon, 1, 0);
    CHECK_INT(ROBOT_NONE, of(93, 1, noon + 93, (struct robot_limits){.minute_max = 60}));
    CHECK_INT(ROBOT_MINUTE, of(94, 1, noon + 94, (struct robot_limits){.minute_max = 60}));
    CHECK_INT(ROBOT_NONE, of(82, 1, noon + 82, (struct robot_limits){.day_max = 20}));
    CHECK_INT(ROBOT_DAY, of(83, 1, noon + 83, (struct robot_limits){.day_max = 20}));
    fill(noon, 0, 0); /* all at one time: each item once */
    CHECK_INT(ROBOT_NONE, of(COUNT, 1, noon, (struct robot_limits){.minute_max = 60}));
    CHECK_INT(ROBOT_NONE, of(COUNT, 1, noon, (struct robot_limits){.day_max = 1}));
    CHECK_INT(ROBOT_DAY, of(COUNT, 1, noon + 2, (struct robot_limits){.day_max = 1}));
}

TEST(robot_weighs_so_much_for_an_item_in_a_day)
{
    const struct robot_limits limits = {.minute_max = 60, .item_max = 5};
    int64_t begin = DAY * ROBOT_DAY_MS, noon = begin + ROBOT_DAY_MS / 2;

    fill(noon, 20000, 7);
    CHECK_INT(ROBOT_NONE, of(4, 7, noon + 100000, limits));
    CHECK_INT(ROBOT_ITEM, of(5, 7, noon + 100000, limits));
    CHECK_INT(ROBOT_NONE, of(5, 8, noon + 100000, limits));
    CHECK_INT(ROBOT_NONE, of(5, 0, noon + 100000, limits)); /* of none in particular */
    CHECK_INT(ROBOT_ITEM, of(COUNT, 7, begin + ROBOT_DAY_MS - 1, limits));
    CHECK_INT(ROBOT_NONE, of(COUNT, 7, begin + ROBOT_DAY_MS, limits)); /* a new day */
    entries[3].item = 8;
    CHECK_INT(ROBOT_NONE, of(5, 7, noon + 100000, limits));
    CHECK_INT(ROBOT_ITEM, of(6, 7, noon + 120000, limits));
    fill(noon, 20000, 7);
    for (int i = 0; i < 5; i++)
        entries[i].action = 1; /* looked at five times, then bought */
    CHECK_INT(ROBOT_NONE, of(9, 7, noon + 180000, limits));
    CHECK_INT(ROBOT_ITEM, of(10, 7, noon + 200000, limits));
}

TEST(robot_weighs_so_many_moments_in_a_day)
{
    const struct robot_limits limits = {.day_max = 20};
    int64_t noon = DAY * ROBOT_DAY_MS + ROBOT_DAY_MS / 2;

    fill(noon, 120000, 0);
    CHECK_INT(ROBOT_NONE, of(19, 1, entries[19].time_ms, limits));
    CHECK_INT(ROBOT_DAY, of(20, 1, entries[20].time_ms, limits));
    CHECK_INT(ROBOT_NONE, of(COUNT, 1, (DAY + 1) * ROBOT_DAY_MS, limits));
    for (int i = 0; i < COUNT; i++) /* an invoice of sixty lines, then one a minute */
        entries[i].time_ms = noon + (i < 60 ? i : (int64_t)(i - 59) * 60000);
    CHECK_INT(ROBOT_NONE, of(60, 1, noon + 60, limits));               /* a line of it */
    CHECK_INT(ROBOT_DAY, of(79, 1, noon + 19 * 60000 + 1000, limits)); /* it and nineteen */
    CHECK_INT(ROBOT_NONE, of(78, 1, noon + 18 * 60000 + 1000, limits));
}

TEST(robot_is_told_by_the_first_limit)
{
    fill(DAY * ROBOT_DAY_MS, 100, 7);
    CHECK_INT(ROBOT_MINUTE,
              of(COUNT, 7, DAY * ROBOT_DAY_MS + 20000,
                 (struct robot_limits){.minute_max = 60, .item_max = 5, .day_max = 5}));
    CHECK_INT(ROBOT_ITEM, of(COUNT, 7, DAY * ROBOT_DAY_MS + 20000,
                             (struct robot_limits){.item_max = 5, .day_max = 5}));
}

TEST(robot_without_leaves_what_counts)
{
    const struct robot_limits limits = {.item_max = 3};
    struct user_entry kept[COUNT];

    fill(DAY * ROBOT_DAY_MS, 1000, 0);
    CHECK_INT(COUNT, robot_without(entries, COUNT, &limits, kept));
    CHECK(memcmp(entries, kept, sizeof kept) == 0);
    for (int i = 0; i < COUNT; i += 2)
        entries[i].item = 7;
    CHECK_INT(COUNT / 2 + 3, robot_without(entries, COUNT, &limits, kept));
    CHECK(kept[0].item == 7 && kept[2].item == 7 && kept[4].item == 7);
    for (int i = 5; i < COUNT / 2 + 3; i++)
        CHECK(kept[i].item != 7 && kept[i].time_ms > kept[i - 1].time_ms);
    CHECK_INT(0, robot_without(entries, 0, &limits, kept));
}

/* Tells of which keys. */
static void note(void *context, const char *key, const char *text)
{
    char *told = context;
    size_t used = strlen(told);

    CHECK(strstr(text, "never holds") != NULL);
    (void)snprintf(told + used, 200 - used, "%s ", key);
}

static struct robot_limits check(const char *const *sets, int count, char told[200])
{
    static const struct config_row *const rows[] = {features_config_rows, retrain_config_rows,
                                                    NULL};
    struct robot_limits limits;
    struct config *config;
    char *report;
    struct error err;

    told[0] = '\0';
    CHECK_STATUS(OK, config_load(&config, rows, NULL, sets, count, &report, &err));
    limits = robot_limits_of(config);
    CHECK(robot_config_rules[0].check_each == NULL && robot_config_rules[0].check == NULL);
    robot_config_rules[0].warn_each(config, note, told);
    config_destroy(config);
    free(report);
    return limits;
}

TEST(robot_warns_of_limits_that_no_sequence_can_reach)
{
    static const char *const sets[] = {"features.sequence_max=50", "retrain.user_item_max=49",
                                       "retrain.user_day_max=50"};
    static const char *const high[] = {"retrain.user_choices_max=100"};
    struct robot_limits limits;
    char told[200];

    limits = check(sets, 3, told);
    CHECK_INT(60, limits.minute_max);
    CHECK_INT(49, limits.item_max);
    CHECK_INT(50, limits.day_max);
    CHECK_TEXT("features.sequence_max retrain.user_day_max ", told); /* the default of 60, too */
    (void)check(high, 1, told);
    CHECK_TEXT("retrain.user_choices_max ", told);
    (void)check(NULL, 0, told);
    CHECK_TEXT("", told);
}
