/* Tests ingest/schema_wait: what is kept comes out in order, partition by partition, and a record's
 * memory has one owner. */
#include "ingest/schema_wait.h"

#include "ops/clock.h"
#include "tests/test.h"

static struct schema_wait *wait;
static struct error err;

static void keep(int32_t partition, int64_t offset)
{
    struct kafka_record record = {.partition = partition, .offset = offset};

    CHECK_STATUS(OK, schema_wait_add(wait, &record, &err));
    CHECK(record.owner == NULL);
}

/* The place of a partition that waits. */
static int place_of(int32_t partition)
{
    for (int i = 0; i < schema_wait_count(wait); i++)
        if (schema_wait_first(wait, i)->partition == partition)
            return i;
    test_fail(__FILE__, __LINE__, "partition %d does not wait", (int)partition);
}

TEST(schema_wait_gives_back_each_partition_in_order)
{
    wait = schema_wait_create();
    CHECK(wait != NULL && schema_wait_count(wait) == 0 && !schema_wait_holds(wait, 0));
    for (int64_t offset = 0; offset < 1000; offset++)
        for (int32_t partition = 0; partition < 70; partition++)
            keep(partition, offset * 2 + partition);
    CHECK_INT(70, schema_wait_count(wait));
    for (int64_t offset = 0; offset < 1000; offset++)
        for (int32_t partition = 69; partition >= 0; partition--) {
            int place = place_of(partition);

            CHECK_INT(offset * 2 + partition, schema_wait_first(wait, place)->offset);
            CHECK_INT(offset == 999, schema_wait_pass(wait, place));
            CHECK_INT(offset < 999, schema_wait_holds(wait, partition));
        }
    CHECK_INT(0, schema_wait_count(wait));
    keep(3, 7); /* and once more */
    CHECK_INT(7, schema_wait_first(wait, 0)->offset);
    schema_wait_destroy(wait);
}

TEST(schema_wait_forgets_a_partition_that_went)
{
    wait = schema_wait_create();
    CHECK(wait != NULL);
    schema_wait_drop(wait, 1); /* none is fine */
    for (int32_t partition = 0; partition < 3; partition++)
        for (int64_t offset = 0; offset < 5; offset++)
            keep(partition, offset);
    CHECK(!schema_wait_pass(wait, place_of(1)));
    schema_wait_drop(wait, 1);
    schema_wait_drop(wait, 1);
    CHECK_INT(2, schema_wait_count(wait));
    CHECK(!schema_wait_holds(wait, 1) && schema_wait_holds(wait, 0) && schema_wait_holds(wait, 2));
    CHECK_INT(0, schema_wait_first(wait, place_of(2))->offset);
    schema_wait_destroy(wait);
    schema_wait_destroy(NULL);
}

TEST(schema_wait_tells_once_who_waits_for_long)
{
    int64_t long_us = INT64_C(1000) * SCHEMA_WAIT_LONG_MS, now_us = 1000000;

    clock_fake_set(1700000000000, now_us);
    wait = schema_wait_create();
    CHECK(wait != NULL);
    keep(1, 0);
    CHECK_INT(0, schema_wait_long(wait, now_us + long_us - 1));
    CHECK(!schema_wait_tell(wait, 0, now_us + long_us - 1));
    clock_fake_advance_us(1000);
    keep(1, 1);
    keep(2, 0);
    CHECK_INT(1, schema_wait_long(wait, now_us + long_us));
    CHECK(schema_wait_is_long(wait, place_of(1), now_us + long_us));
    CHECK(!schema_wait_is_long(wait, place_of(2), now_us + long_us));
    CHECK(schema_wait_tell(wait, place_of(1), now_us + long_us));
    CHECK(!schema_wait_tell(wait, place_of(1), now_us + long_us));
    schema_wait_drop(wait, 1);
    keep(1, 2); /* begins anew */
    CHECK(!schema_wait_is_long(wait, place_of(1), now_us + long_us));
    schema_wait_destroy(wait);
    clock_fake_off();
}
