/* features/sequence.c - a sorted array: at most SEQUENCE_MAX entries, and most are appended. */
#include "features/sequence.h"

#include "ops/defence.h"

#include <assert.h>
#include <string.h>

/* The first index whose entry is not before *key. */
static int lower_bound(const struct user_value *value, const struct user_entry *key)
{
    int low = 0, high = value->count;

    if (high == 0 || user_entry_compare(&value->entries[high - 1], key) < 0)
        return high;
    while (low < high) {
        int middle = (low + high) / 2;
        if (user_entry_compare(&value->entries[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Drops the `gone` oldest entries. */
static void drop_oldest(struct user_value *value, int gone)
{
    value->count -= gone;
    memmove(value->entries, value->entries + gone, (size_t)value->count * sizeof value->entries[0]);
}

enum sequence_result sequence_enter(struct user_value *value, const struct user_entry *entry,
                                    int most, int *index)
{
    int at = lower_bound(value, entry);
    int gone;

    assert(most >= 1 && most <= SEQUENCE_MAX);
    if (DEFENCE(DUPLICATE) && at < value->count &&
        user_entry_compare(&value->entries[at], entry) == 0)
        return SEQUENCE_KNOWN;
    /* More than `most` are there when the setting was lowered since the last write. */
    gone = value->count + 1 - most;
    if (DEFENCE(SEQUENCE_BOUND) && gone > 0) {
        if (at < gone)
            return SEQUENCE_OLDER;
        drop_oldest(value, gone);
        at -= gone;
    }
    memmove(value->entries + at + 1, value->entries + at,
            (size_t)(value->count - at) * sizeof value->entries[0]);
    value->entries[at] = *entry;
    value->count++;
    value->running++;
    *index = at;
    return SEQUENCE_ENTERED;
}

int sequence_erase(struct user_value *value, int64_t time_ms)
{
    int gone = sequence_until(value, time_ms);

    drop_oldest(value, gone);
    return gone;
}

int sequence_until(const struct user_value *value, int64_t time_ms)
{
    int low = 0, high = value->count;

    if (high == 0 || value->entries[high - 1].time_ms <= time_ms)
        return high;
    while (low < high) {
        int middle = (low + high) / 2;
        if (value->entries[middle].time_ms <= time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
