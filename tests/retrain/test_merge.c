/* Tests retrain/merge: order of time across partitions, order of the log within one, bounds. */
#include "retrain/merge.h"

#include "tests/test.h"

static struct error err;

static void put(struct merge *merge, int queue, int64_t offset, int64_t time_ms)
{
    struct kafka_record record = {.partition = queue, .offset = offset, .timestamp_ms = time_ms};

    CHECK_STATUS(OK, merge_put(merge, queue, &record, &err));
}

static void check_next(struct merge *merge, int queue, int64_t offset)
{
    int at = -1;
    const struct kafka_record *head = merge_head(merge, &at);

    CHECK(head != NULL);
    CHECK_INT(queue, at);
    CHECK_INT(offset, head->offset);
    merge_drop(merge, at);
}

TEST(merge_hands_out_the_oldest_head)
{
    struct merge *merge;
    int at;

    CHECK_STATUS(OK, merge_create(&merge, 4, &err));
    CHECK(merge_head(merge, &at) == NULL);
    put(merge, 3, 0, 50);
    put(merge, 0, 0, 10);
    put(merge, 0, 1, 60);
    put(merge, 2, 0, 50); /* as old as another: the lower partition first */
    check_next(merge, 0, 0);
    check_next(merge, 2, 0);
    check_next(merge, 3, 0);
    check_next(merge, 0, 1);
    CHECK(merge_head(merge, &at) == NULL);
    merge_destroy(merge);
    merge_destroy(NULL);
}

TEST(merge_keeps_the_order_of_a_log_whatever_its_times_say)
{
    struct merge *merge;

    CHECK_STATUS(OK, merge_create(&merge, 2, &err));
    put(merge, 0, 0, 100);
    put(merge, 0, 1, 5); /* late: it stands behind the one before it */
    put(merge, 1, 0, 50);
    put(merge, 1, 1, -1); /* no time */
    check_next(merge, 1, 0);
    check_next(merge, 1, 1);
    check_next(merge, 0, 0);
    check_next(merge, 0, 1);
    merge_destroy(merge);
}

TEST(merge_queues_grow_around_their_begin)
{
    struct merge *merge;
    int put_count = 0, next = 0;

    CHECK_STATUS(OK, merge_create(&merge, 1, &err));
    while (next < 5000) {
        for (int i = 0; i < 7; i++, put_count++)
            put(merge, 0, put_count, put_count);
        for (int i = 0; i < 3; i++)
            check_next(merge, 0, next++);
        CHECK_INT(put_count - next, merge_count(merge, 0));
    }
    merge_destroy(merge); /* with what is left in it */
}

TEST(merge_knows_how_much_waits)
{
    struct kafka_record record = {.key = text_of("key"), .value = text_of("value")};
    struct merge *merge;

    CHECK_STATUS(OK, merge_create(&merge, 2, &err));
    CHECK_INT(0, merge_bytes(merge, 1));
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(OK, merge_put(merge, 1, &record, &err));
    CHECK_INT(0, merge_bytes(merge, 0));
    CHECK_INT(800, merge_bytes(merge, 1));
    for (int i = 0; i < 100; i++)
        merge_drop(merge, 1);
    CHECK_INT(0, merge_bytes(merge, 1));
    merge_destroy(merge);
}

TEST(merge_waits_for_a_log_that_goes_on)
{
    struct merge *merge;

    CHECK_STATUS(OK, merge_create(&merge, 3, &err));
    CHECK(!merge_waits(merge, 1)); /* nothing is expected */
    merge_expect(merge, 1, true);
    CHECK(merge_misses(merge));
    CHECK(!merge_waits(merge, 1)); /* and nothing is held back */
    put(merge, 0, 0, 10);
    CHECK(merge_waits(merge, 1000));
    CHECK(merge_waits(merge, 1000 + MERGE_HOLD_US - 1));
    put(merge, 1, 0, 5);
    CHECK(!merge_misses(merge) && !merge_waits(merge, 1000 + MERGE_HOLD_US - 1));
    check_next(merge, 1, 0);
    CHECK(merge_waits(merge, 1000 + MERGE_HOLD_US)); /* anew */
    merge_expect(merge, 1, false);                   /* that was the end of its log */
    CHECK(!merge_misses(merge) && !merge_waits(merge, 1000 + MERGE_HOLD_US));
    merge_destroy(merge);
}

TEST(merge_is_not_held_up_by_a_log_that_gives_nothing)
{
    struct merge *merge;
    int64_t now_us = 1000, each_us = MERGE_HOLD_US / 2;
    int waited = 0;

    CHECK_STATUS(OK, merge_create(&merge, 3, &err));
    merge_expect(merge, 2, true);
    put(merge, 0, 0, 10);
    CHECK(merge_waits(merge, now_us));
    CHECK(!merge_waits(merge, now_us + MERGE_HOLD_US)); /* nothing at all came */
    check_next(merge, 0, 0);

    put(merge, 2, 0, 20); /* it lives, and falls silent again while the others go on */
    check_next(merge, 2, 0);
    for (int i = 1; i < 1000; i++, now_us += each_us) {
        put(merge, i % 2, i, 20 + i);
        merge_expect(merge, 2, true);
        waited += merge_waits(merge, now_us);
    }
    CHECK(waited > 0 && waited <= MERGE_HOLD_MOST_US / each_us);
    CHECK(!merge_misses(merge));
    merge_destroy(merge);
}
