/*
 * Tests retrain/learner_cold: indices and rows of what was published ahead of the state that a
 * learner goes on from. What described items get: tests/retrain/test_learner.c and test_role.c.
 */
#include "retrain/learner.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

static struct error err;

static void feed(struct learner *learner, int i)
{
    struct event event = retrain_event(i);

    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
}

/* One that read 20 events; the other read 60 and published. */
static void begin(struct learner **behind, struct learner **ahead)
{
    *behind = retrain_learner();
    *ahead = retrain_learner();
    retrain_feed(*behind, 0, 20);
    retrain_feed(*ahead, 0, 60);
    CHECK(item_tables_count(learner_tables(*behind)) < item_tables_count(learner_tables(*ahead)));
    CHECK(item_tables_rows(learner_tables(*behind)) < item_tables_rows(learner_tables(*ahead)));
}

TEST(learner_follows_what_was_published_whatever_order_it_is_read_in)
{
    struct learner *learner, *other;
    struct item_tables *tables, *ahead;
    bool same, worked;
    int rows;

    begin(&learner, &other);
    CHECK_STATUS(OK, item_tables_copy(&ahead, learner_tables(other), &err));
    learner_destroy(other);
    CHECK_STATUS(OK, learner_follow(learner, ahead, &same, &err));
    CHECK(same);
    tables = learner_tables(learner);
    CHECK_INT(item_tables_count(ahead), item_tables_count(tables));
    rows = item_tables_rows(ahead);
    CHECK_INT(rows, item_tables_rows(tables));
    CHECK_INT(0, item_tables_clicks(tables, item_tables_count(ahead) - 1)); /* not read yet */
    for (int i = 80; i-- > 20;) /* the other way round, and more */
        feed(learner, i);
    for (int32_t i = 0; i < item_tables_count(ahead); i++) {
        CHECK(item_tables_hash(ahead, i) == item_tables_hash(tables, i));
        if (item_tables_row(ahead, i) != 0)
            CHECK_INT(item_tables_row(ahead, i), item_tables_row(tables, i));
    }
    for (int32_t row = 1; row < item_tables_rows(tables); row++)
        CHECK(item_tables_at_row(tables, row) != ITEM_NONE);
    CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK(worked);
    item_tables_destroy(ahead);
    learner_destroy(learner);
}

/* The tables that judge give the same rows. */
TEST(learner_that_follows_judges_by_the_rows_that_it_learns)
{
    struct learner *learner, *other;
    struct item_tables *walked;
    bool same;

    begin(&learner, &other);
    CHECK_STATUS(OK, learner_follow(learner, learner_tables(other), &same, &err));
    learner_destroy(other);
    for (int i = 80; i-- > 20;)
        feed(learner, i);
    CHECK_STATUS(OK, holdout_tables(learner_holdout(learner), learner_sequences(learner),
                                    holdout_count(learner_holdout(learner)), &walked, &err));
    for (int32_t row = 1; row < item_tables_rows(walked); row++) {
        int32_t walks = item_tables_at_row(walked, row);
        int32_t learns = item_tables_at_row(learner_tables(learner), row);

        CHECK(item_tables_hash(walked, walks) == item_tables_hash(learner_tables(learner), learns));
    }
    item_tables_destroy(walked);
    learner_destroy(learner);
}

TEST(learner_does_not_follow_another_past)
{
    struct learner *learner, *other;
    bool same;
    int count;

    begin(&learner, &other);
    count = item_tables_count(learner_tables(learner));
    CHECK_STATUS(OK, learner_follow(other, learner_tables(learner), &same, &err));
    CHECK(same); /* it is ahead itself */
    learner_destroy(other);
    other = retrain_learner();
    for (int i = 60; i-- > 0;)
        feed(other, i);
    CHECK_STATUS(OK, learner_follow(learner, learner_tables(other), &same, &err));
    CHECK(!same);
    CHECK_INT(count, item_tables_count(learner_tables(learner)));
    learner_destroy(other);
    learner_destroy(learner);
}
