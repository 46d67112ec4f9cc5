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

/* Limits that no sequence can reach. The role starts with them, so they are no mistakes. */
static void warn_of_limits(const struct config *config, config_tell *tell, void *context)
{
    static const char *const keys[] = {"retrain.user_choices_max", "retrain.user_item_max",
                                       "retrain.user_day_max"};
    int64_t most = config_int(config, "features.sequence_max");
    char text[200];

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        int64_t limit = config_int(config, keys[i]);

        if (limit < most)
            continue;
        (void)snprintf(text, sizeof text,
                       "%s is %" PRId64 ", but only %" PRId64
                       " choices of a user are kept (features.sequence_max): it never holds",
                       keys[i], limit, most);
        tell(context, config_given(config, keys[i]) ? keys[i] : "features.sequence_max", text);
    }
}

const struct config_rule robot_config_rules[] = {
    {.key = "retrain.user_choices_max", .warn_each = warn_of_limits}, {.key = NULL}};

/* Where what came at once with entry i begins. */
static int begin_of(const struct user_entry *entries, int i)
{
    while (i > 0 && entries[i].time_ms - entries[i - 1].time_ms <= TOGETHER_MS)
        i--;
    return i;
}

/* Is it one moment with the entry in front, whose run begins at `begin`? */
static bool is_joined(const struct user_entry *entries, int begin, int i, int64_t time_ms)
{
    return time_ms - entries[i - 1].time_ms <= TOGETHER_MS &&
           time_ms - entries[begin].time_ms < ROBOT_AT_ONCE_MS;
}

/* Of the entries from `first` on. */
static int moments_of(const struct user_entry *entries, int first, int count)
{
    int moments = first < count, begin = first < count ? begin_of(entries, first) : first;

    for (int i = first + 1; i < count; i++) {
        moments += !is_joined(entries, begin, i, entries[i].time_ms);
        if (entries[i].time_ms - entries[i - 1].time_ms > TOGETHER_MS)
            begin = i;
    }
    return moments;
}

static bool is_fast(const struct user_entry *before, int count, int64_t time_ms, int most)
{
    int first = count - most;

    if (most == 0 || first < 0 || time_ms - before[first].time_ms >= ROBOT_MINUTE_MS)
        return false;
    return 2 * moments_of(before, first, count) > most;
}

enum robot robot_chose(const struct user_entry *before, int count, const struct user_entry *choice,
                       const struct robot_limits *limits)
{
    int64_t day = choice->time_ms / ROBOT_DAY_MS;
    int same = 0, first = count, moments;

    if (is_fast(before, count, choice->time_ms, limits->minute_max))
        return ROBOT_MINUTE;
    while (first > 0 && before[first - 1].time_ms / ROBOT_DAY_MS == day) {
        first--;
        same += choice->item != 0 && before[first].item == choice->item &&
                before[first].action == choice->action;
    }
    if (limits->item_max > 0 && same >= limits->item_max)
        return ROBOT_ITEM;
    if (limits->day_max == 0 || count - first < limits->day_max)
        return ROBOT_NONE;
    moments = moments_of(before, first, count);
    moments -= is_joined(before, begin_of(before, count - 1), count, choice->time_ms);
    return moments >= limits->day_max ? ROBOT_DAY : ROBOT_NONE;
}

int robot_without(const struct user_entry *entries, int count, const struct robot_limits *limits,
                  struct user_entry *into)
{
    int kept = 0;

    for (int i = 0; i < count; i++)
        if (robot_chose(entries, i, &entries[i], limits) == ROBOT_NONE)
            into[kept++] = entries[i];
    return kept;
}
