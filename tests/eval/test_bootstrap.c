/*
 * Tests eval/bootstrap: what is certain has an interval of no width, luck includes 0, and
 * groups count as one.
 */
#include "eval/bootstrap.h"

#include "ops/random.h"
#include "tests/test.h"

#include <stddef.h>

#define EVENTS 2000

TEST(bootstrap_of_nothing_is_zero)
{
    struct bootstrap_interval got;
    struct error err;

    CHECK_STATUS(OK, bootstrap_paired(NULL, NULL, NULL, 0, 100, 1, &got, &err));
    CHECK(got.difference == 0 && got.low == 0 && got.high == 0 && got.groups == 0);
}

TEST(bootstrap_of_a_constant_difference_has_no_width)
{
    const float a[] = {.5f, 1, .75f};
    const float b[] = {.25f, .75f, .5f};
    struct bootstrap_interval got;
    struct error err;

    CHECK_STATUS(OK, bootstrap_paired(a, b, NULL, 3, 200, 1, &got, &err));
    CHECK_NEAR(.25, got.difference, 1e-6);
    CHECK_NEAR(.25, got.low, 1e-6);
    CHECK_NEAR(.25, got.high, 1e-6);
    CHECK_INT(3, got.groups);
}

/* The textbook interval of a mean of independent events: +- 1.96 standard errors. */
TEST(bootstrap_agrees_with_the_normal_interval)
{
    static float a[EVENTS], b[EVENTS];
    struct bootstrap_interval got, again;
    struct random random;
    struct error err;

    random_seed(&random, test_seed());
    for (int i = 0; i < EVENTS; i++) {
        a[i] = (float)random_normal(&random);
        b[i] = 0;
    }
    CHECK_STATUS(OK, bootstrap_paired(a, b, NULL, EVENTS, 2000, 7, &got, &err));
    CHECK_NEAR(2 * 1.96 / 44.72, got.high - got.low, .012);
    CHECK(got.low < got.difference && got.difference < got.high);
    CHECK_STATUS(OK, bootstrap_paired(a, b, NULL, EVENTS, 2000, 7, &again, &err));
    CHECK(again.low == got.low && again.high == got.high);
}

TEST(bootstrap_is_wider_over_users_than_over_their_equal_events)
{
    static float a[EVENTS], b[EVENTS];
    static uint64_t user[EVENTS];
    struct bootstrap_interval by_event, by_user;
    struct random random;
    struct error err;

    random_seed(&random, test_seed());
    for (int i = 0; i < EVENTS; i++) {
        user[i] = (uint64_t)(i / 20);
        a[i] = i % 20 == 0 ? (float)random_normal(&random) : a[i - 1];
    }
    CHECK_STATUS(OK, bootstrap_paired(a, b, NULL, EVENTS, 1000, 3, &by_event, &err));
    CHECK_STATUS(OK, bootstrap_paired(a, b, user, EVENTS, 1000, 3, &by_user, &err));
    CHECK_INT(EVENTS / 20, by_user.groups);
    CHECK_NEAR(by_event.difference, by_user.difference, 1e-9);
    CHECK(by_user.high - by_user.low > 3 * (by_event.high - by_event.low));
}
