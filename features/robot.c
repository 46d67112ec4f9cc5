/* features/robot.c - see robot.h. */
#include "features/robot.h"

bool robot_chose(const struct user_entry *before, int count, int64_t time_ms, int choices_max,
                 int64_t window_ms)
{
    int first = count - choices_max, moments = 1;

    if (choices_max == 0 || first < 0 || time_ms - before[first].time_ms >= window_ms)
        return false;
    for (int i = first + 1; i < count; i++)
        moments += before[i].time_ms != before[i - 1].time_ms;
    return 2 * moments > choices_max;
}
