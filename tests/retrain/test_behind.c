/* Tests retrain/behind: times at their limits, and a reader that is always a little late. */
#include "retrain/behind.h"

#include "tests/test.h"

#define BEGIN 5000000 /* a clock does not begin at 0 */

static struct behind behind;

static enum behind_news look_at(bool reached, int64_t records, int64_t at_us)
{
    bool mark = !reached;
    enum behind_news news = behind_look(&behind, reached, records, BEGIN + at_us, &mark);

    CHECK(mark == reached);
    return news;
}

/* Some records always wait, as on a busy stream. */
static enum behind_news look(bool reached, int64_t at_us)
{
    return look_at(reached, 7, at_us);
}

TEST(behind_is_who_did_not_reach_a_mark_in_time)
{
    behind_init(&behind, BEGIN);
    CHECK_INT(BEHIND_NOTHING, look(false, 0));
    CHECK_INT(BEHIND_NOTHING, look(false, BEHIND_US - 1));
    CHECK(behind_seconds(&behind, BEGIN + BEHIND_US - 1) == 0);
    CHECK_INT(BEHIND_BEGAN, look(false, BEHIND_US));
    CHECK_NEAR(10, behind_seconds(&behind, BEGIN + BEHIND_US), 1e-9);
    CHECK_INT(BEHIND_NOTHING, look(false, BEHIND_US + 1));
    CHECK_INT(BEHIND_NOTHING, look(false, BEHIND_STAYS_US - 1));
    CHECK_INT(BEHIND_STAYS, look(false, BEHIND_STAYS_US));
    CHECK_INT(BEHIND_NOTHING, look(false, 2 * BEHIND_STAYS_US)); /* said once */
    CHECK_NEAR(120, behind_seconds(&behind, BEGIN + 2 * BEHIND_STAYS_US), 1e-9);
}

TEST(behind_is_over_when_a_mark_is_reached_in_time)
{
    int64_t at_us = BEHIND_US;

    behind_init(&behind, BEGIN);
    CHECK_INT(BEHIND_BEGAN, look(false, at_us));
    CHECK_INT(BEHIND_NOTHING, look(true, at_us + 1)); /* late: it is still behind */
    CHECK(behind_seconds(&behind, BEGIN + at_us + 1) > 0);
    CHECK_INT(BEHIND_OVER, look(true, at_us + BEHIND_US));
    CHECK(behind_seconds(&behind, BEGIN + at_us + BEHIND_US) == 0);
    CHECK_INT(BEHIND_NOTHING, look(true, at_us + BEHIND_US + 1));
    CHECK_INT(BEHIND_NOTHING, look(false, at_us + 2 * BEHIND_US)); /* marked one later */
    CHECK_INT(BEHIND_BEGAN, look(false, at_us + 2 * BEHIND_US + 1));
}

/* A long turn, in which nobody looks, is not late where the mark was reached when it ended. */
TEST(behind_is_nobody_who_reached_the_mark_however_late_the_look)
{
    behind_init(&behind, BEGIN);
    CHECK_INT(BEHIND_NOTHING, look_at(true, 0, 3 * BEHIND_US));
    CHECK_INT(BEHIND_NOTHING, look(true, 9 * BEHIND_US)); /* what waits came since */
    CHECK(behind_seconds(&behind, BEGIN + 9 * BEHIND_US) == 0);
    CHECK_INT(BEHIND_NOTHING, look(false, 10 * BEHIND_US - 1));
    CHECK_INT(BEHIND_BEGAN, look(false, 10 * BEHIND_US));
}

TEST(behind_is_over_when_nothing_waits)
{
    behind_init(&behind, BEGIN);
    CHECK_INT(BEHIND_BEGAN, look(false, BEHIND_US));
    CHECK_INT(BEHIND_NOTHING, look_at(true, 1, BEHIND_US + 1)); /* reached too late, and goes on */
    CHECK_INT(BEHIND_NOTHING, look_at(false, 0, 3 * BEHIND_US));
    CHECK_INT(BEHIND_OVER, look_at(true, 0, 3 * BEHIND_US));
    CHECK(behind_seconds(&behind, BEGIN + 3 * BEHIND_US) == 0);
}

/* Each mark is reached, always too late: one story, and one warning. */
TEST(behind_stays_behind_while_every_mark_is_reached_too_late)
{
    int began = 0, stays = 0, over = 0;

    behind_init(&behind, BEGIN);
    for (int64_t at_us = 0; at_us <= 10 * BEHIND_US; at_us += 1000000) {
        enum behind_news news = look(at_us > 0 && at_us % (BEHIND_US + 2000000) == 0, at_us);

        began += news == BEHIND_BEGAN;
        stays += news == BEHIND_STAYS;
        over += news == BEHIND_OVER;
    }
    CHECK_INT(1, began);
    CHECK_INT(1, stays);
    CHECK_INT(0, over);
    behind_init(&behind, BEGIN);
    CHECK_INT(BEHIND_NOTHING, look(true, 0));
}
