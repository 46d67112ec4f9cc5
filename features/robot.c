/* features/robot.c - see robot.h. */
#include "features/robot.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Lines of a file with one user and time are a millisecond apart (schemas/event_file.h). */
#define TOGETHER_MS 1

const char *const robot_names[ROBOT_COUNT] = {
#define X(id, name) name,
    ROBOT_LIST(X)
#undef X
};

struct robot_limits robot_limits_of(const struct config *config)
{
    return (struct robot_limits){.minute_max = (int)config_int(config, "retrain.user_choices_max"),
                                 .item_max = (int)config_int(config, "retrain.user_item_max"),
                                 .day_max = (int)config_int(config, "retrain.user_day_max")};
}

/* A limit that somebody wrote down and that no sequence can reach. */
static void check_limits(const struct config *config, config_tell *tell, void *context)
{
    static const char *const keys[] = {"retrain.user_choices_max", "retrain.user_item_max",
                                       "retrain.user_day_max"};
    int64_t most = config_int(config, "features.sequence_max");
    char text[200];

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        int64_t limit = config_int(config, keys[i]);

        if (!config_given(config, keys[i]) || limit < most)
            continue;
        (void)snprintf(text, sizeof text,
                       "%s is %" PRId64 ", but only %" PRId64
                       " choices of a user are kept (features.sequence_max): it would never hold",
                       keys[i], limit, most);
        tell(context, keys[i], text);
    }
}

const struct config_rule robot_config_rules[] = {
    {.key = "retrain.user_choices_max", .check_each = check_limits}, {.key = NULL}};

static bool is_fast(const struct user_entry *before, int count, int64_t time_ms, int most)
{
    int first = count - most, moments = 1;

    if (most == 0 || first < 0 || time_ms - before[first].time_ms >= ROBOT_MINUTE_MS)
        return false;
    for (int i = first + 1; i < count; i++)
        moments += before[i].time_ms - before[i - 1].time_ms > TOGETHER_MS;
    return 2 * moments > most;
}

enum robot robot_chose(const struct user_entry *before, int count, uint64_t item, int64_t time_ms,
                       const struct robot_limits *limits)
{
    int64_t day = time_ms / ROBOT_DAY_MS, later_ms = time_ms;
    int same = 0, moments = 0;

    if (is_fast(before, count, time_ms, limits->minute_max))
        return ROBOT_MINUTE;
    for (int i = count - 1; i >= 0 && before[i].time_ms / ROBOT_DAY_MS == day; i--) {
        same += before[i].item == item && item != 0;
        moments += later_ms - before[i].time_ms > TOGETHER_MS;
        later_ms = before[i].time_ms;
    }
    if (limits->item_max > 0 && same >= limits->item_max)
        return ROBOT_ITEM;
    return limits->day_max > 0 && moments >= limits->day_max ? ROBOT_DAY : ROBOT_NONE;
}

int robot_without(const struct user_entry *entries, int count, const struct robot_limits *limits,
                  struct user_entry *into)
{
    int kept = 0;

    for (int i = 0; i < count; i++)
        if (robot_chose(entries, i, entries[i].item, entries[i].time_ms, limits) == ROBOT_NONE)
            into[kept++] = entries[i];
    return kept;
}
