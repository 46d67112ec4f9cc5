/* Tests ingest/verify_work: which differences are judged beside an ingest that goes on. With
 * servers: tests/integration/test_ingest_commands.sh, tests/kafka/test_reset.sh. */
#include "ingest/verify_work.h"

#include "tests/test.h"

enum { SHARDS = 3 };

static struct verify_work work;

static void begin(void)
{
    struct error err;

    CHECK_STATUS(OK, verify_work_init(&work, SHARDS, &err));
    for (int s = 0; s < SHARDS; s++)
        for (int i = 0; i <= s; i++)
            verify_work_differs(&work, s); /* 1, 2 and 3 users */
}

/* Two partitions; next of each shard, and the furthest. */
static struct offsets offsets_of(struct offsets_partition list[2], int64_t next[2][SHARDS])
{
    for (int i = 0; i < 2; i++) {
        list[i] = (struct offsets_partition){
            .partition = 4 + i, .start = 5, .next_of = next[i], .next_max = -1};
        for (int s = 0; s < SHARDS; s++)
            if (next[i][s] > list[i].next_max)
                list[i].next_max = next[i][s];
    }
    return (struct offsets){.shards = SHARDS, .count = 2, .list = list};
}

static void compare(int64_t before[2][SHARDS], int64_t after[2][SHARDS])
{
    struct offsets_partition one[2], other[2];
    struct offsets was = offsets_of(one, before), is = offsets_of(other, after);

    begin();
    verify_work_compare(&work, &was, &is);
}

TEST(verify_work_judges_all_where_nobody_moved)
{
    int64_t still[2][SHARDS] = {{10, 10, 10}, {7, 9, -1}};

    compare(still, still);
    CHECK_INT(0, work.shards_moved);
    CHECK_INT(0, work.records);
    CHECK_INT(0, verify_work_unjudged(&work));
    verify_work_clear(&work);
}

TEST(verify_work_leaves_shards_that_moved_and_judges_the_others)
{
    int64_t before[2][SHARDS] = {{10, 10, 10}, {7, 9, 9}};
    int64_t after[2][SHARDS] = {{10, 14, 10}, {7, 9, 9}};

    compare(before, after);
    CHECK_INT(1, work.shards_moved);
    CHECK_INT(4, work.records);
    CHECK_INT(2, verify_work_unjudged(&work));
    verify_work_clear(&work);
}

/* A rewind is work, too, and so is the first commit of a shard. */
TEST(verify_work_sees_what_went_back_and_what_began)
{
    int64_t before[2][SHARDS] = {{10, 10, 10}, {-1, -1, -1}};
    int64_t after[2][SHARDS] = {{3, 10, 10}, {-1, -1, 6}};

    compare(before, after);
    CHECK_INT(2, work.shards_moved);
    CHECK_INT(1, work.records);
    CHECK_INT(4, verify_work_unjudged(&work));
    verify_work_clear(&work);
}

TEST(verify_work_takes_a_reset_or_new_partition_for_moved)
{
    int64_t still[2][SHARDS] = {{10, 10, 10}, {7, 9, 9}};
    struct offsets_partition one[2], other[2];
    struct offsets was = offsets_of(one, still), is = offsets_of(other, still);

    begin();
    other[1].log_number = 1;
    verify_work_compare(&work, &was, &is);
    CHECK_INT(SHARDS, work.shards_moved);
    CHECK_INT(6, verify_work_unjudged(&work));
    verify_work_clear(&work);
    begin();
    other[1].log_number = 0;
    was.count = 1;
    verify_work_compare(&work, &was, &is);
    CHECK_INT(SHARDS, work.shards_moved);
    verify_work_clear(&work);
    verify_work_clear(&work);
}
