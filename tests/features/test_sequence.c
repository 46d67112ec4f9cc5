/* Tests features/sequence: the newest of the distinct entries, whatever the order. */
#include "features/sequence.h"

#include "tests/test.h"

#include <string.h>

static enum sequence_result enter(struct user_value *value, int64_t time_ms, uint64_t item,
                                  int most)
{
    struct user_entry entry = {.item = item, .time_ms = time_ms, .action = 1};
    int index = -1;
    enum sequence_result result = sequence_enter(value, &entry, most, &index);

    CHECK((result == SEQUENCE_ENTERED) == (index >= 0));
    if (index >= 0)
        CHECK(user_entry_compare(&entry, &value->entries[index]) == 0);
    for (int i = 1; i < value->count; i++)
        CHECK(user_entry_compare(&value->entries[i - 1], &value->entries[i]) < 0);
    return result;
}

TEST(sequence_keeps_the_newest_in_order)
{
    static struct user_value value;

    memset(&value, 0, sizeof value);
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 10, 1, 3));
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 30, 1, 3));
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 20, 1, 3));
    CHECK_INT(SEQUENCE_KNOWN, enter(&value, 20, 1, 3));
    CHECK_INT(3, value.running);
    CHECK_INT(SEQUENCE_OLDER, enter(&value, 5, 1, 3));
    CHECK_INT(SEQUENCE_OLDER, enter(&value, 10, 0, 3)); /* the same time, a smaller item */
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 10, 2, 3));
    CHECK_INT(3, value.count);
    CHECK_INT(2, value.entries[0].item);
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 40, 1, 3));
    CHECK_INT(20, value.entries[0].time_ms);
    CHECK_INT(5, value.running);
}

TEST(sequence_of_one_and_of_the_most)
{
    static struct user_value value;

    memset(&value, 0, sizeof value);
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 10, 1, 1));
    CHECK_INT(SEQUENCE_OLDER, enter(&value, 9, 1, 1));
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 11, 1, 1));
    CHECK_INT(1, value.count);
    memset(&value, 0, sizeof value);
    for (int i = 0; i < SEQUENCE_MAX + 10; i++)
        (void)enter(&value, 1 + i * 37 % 523, 7, SEQUENCE_MAX); /* 523 is prime: all differ */
    CHECK_INT(SEQUENCE_MAX, value.count);
}

TEST(sequence_shrinks_when_the_setting_was_lowered)
{
    static struct user_value value;

    memset(&value, 0, sizeof value);
    for (int i = 0; i < 10; i++)
        (void)enter(&value, 10 * (i + 1), 1, 10);
    CHECK_INT(SEQUENCE_OLDER, enter(&value, 65, 1, 4));
    CHECK_INT(10, value.count);
    CHECK_INT(SEQUENCE_ENTERED, enter(&value, 75, 1, 4));
    CHECK_INT(4, value.count);
    CHECK_INT(75, value.entries[0].time_ms);
}

TEST(sequence_erase_and_until_count_the_bound_itself)
{
    static struct user_value value;

    memset(&value, 0, sizeof value);
    CHECK_INT(0, sequence_until(&value, INT64_MAX));
    CHECK_INT(0, sequence_erase(&value, INT64_MAX));
    for (int i = 1; i <= 5; i++)
        (void)enter(&value, 10 * i, 1, 10);
    CHECK_INT(0, sequence_until(&value, 9));
    CHECK_INT(1, sequence_until(&value, 10));
    CHECK_INT(4, sequence_until(&value, 49));
    CHECK_INT(5, sequence_until(&value, INT64_MAX));
    CHECK_INT(2, sequence_erase(&value, 20));
    CHECK_INT(3, value.count);
    CHECK_INT(30, value.entries[0].time_ms);
    CHECK_INT(5, value.running);
}
