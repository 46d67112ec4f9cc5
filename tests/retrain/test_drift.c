/*
 * Tests retrain/drift: PSI against sums worked out by hand, what a shift does to it, the blind time
 * after a publication, and Page-Hinkley on series that rise, fall or stand.
 */
#include "retrain/drift.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>

static struct drift drift;

static void begin(void)
{
    drift = (struct drift){0};
    drift_begin(&drift);
}

/* count places that fill the bins of 0..1 evenly, in an order that is not theirs. */
static double even_place(int i, int count)
{
    return ((double)((int64_t)i * 37 % count) + .5) / count;
}

TEST(drift_without_choices_is_nothing)
{
    begin();
    CHECK(drift.psi == 0 && !drift.alarm && drift.recent_loss == 0);
}

TEST(drift_ignores_what_is_not_finite)
{
    begin();
    drift_add(&drift, NAN, 1);
    drift_add(&drift, .5, NAN);
    drift_add(&drift, INFINITY, 1);
    drift_add(&drift, .5, -INFINITY);
    CHECK(drift.reference_count == 0 && drift.served_count == 0 && drift.loss.count == 0);
    CHECK(!page_hinkley_add(&drift.loss, NAN) && drift.loss.count == 0);
}

/* count choices that stand evenly in from..to of the places. */
static void serve(int count, double from, double to)
{
    for (int i = 0; i < count; i++)
        drift_add(&drift, from + (to - from) * even_place(i, count), 1);
}

TEST(drift_takes_its_reference_from_the_first_champions_first_choices)
{
    begin();
    serve(DRIFT_WINDOW, 0, 1);
    CHECK_INT(DRIFT_WINDOW, drift.reference_count);
    CHECK_INT(0, drift.served_count);
    serve(DRIFT_WINDOW - 1, .9, 1);
    CHECK(drift.psi == 0); /* not before the window is full */
    drift_add(&drift, 1, 1);
    CHECK(drift.psi > 1);
}

TEST(drift_psi_of_the_same_distribution_is_near_nothing)
{
    begin();
    for (int champion = 0; champion < 5; champion++) {
        drift_begin(&drift);
        serve(640, 0, 1);
        CHECK_NEAR(0, drift.psi, .01);
    }
}

TEST(drift_psi_is_the_sum_worked_out_by_hand)
{
    double e = 20.5 / 205, none = .5 / 205, all = 200.5 / 205;

    begin();
    for (int i = 0; i < DRIFT_WINDOW; i++) /* ten places of 20 choices: ten bins */
        drift_add(&drift, (6 * (i % 10) + .5) / DRIFT_PLACES, 1);
    for (int i = 0; i < DRIFT_WINDOW; i++)
        drift_add(&drift, 54.5 / DRIFT_PLACES, 1);
    /* Half a count is added to each bin. */
    CHECK_NEAR(9 * (none - e) * log(none / e) + (all - e) * log(all / e), drift.psi, 1e-12);
    /* And back: the window slides choice by choice. */
    for (int i = 0; i < DRIFT_WINDOW; i++)
        drift_add(&drift, (6 * (i % 10) + .5) / DRIFT_PLACES, 1);
    CHECK_NEAR(0, drift.psi, 1e-12);
}

TEST(drift_psi_rises_with_a_shift_and_falls_when_it_is_over)
{
    struct random random;
    double before, shifted;

    begin();
    random_seed(&random, test_seed());
    for (int i = 0; i < 1000; i++) /* most choices near the top */
        drift_add(&drift, pow(random_unit(&random), 3), 1);
    drift_begin(&drift);
    for (int i = 0; i < 400; i++)
        drift_add(&drift, pow(random_unit(&random), 3), 1);
    before = drift.psi;
    for (int i = 0; i < 200; i++)
        drift_add(&drift, random_unit(&random), 1);
    shifted = drift.psi;
    for (int i = 0; i < 200; i++)
        drift_add(&drift, pow(random_unit(&random), 3), 1);
    CHECK(before < .1 && shifted > .5 && drift.psi < .1);
}

TEST(drift_is_seen_where_champions_serve_for_less_than_two_windows)
{
    begin();
    for (int champion = 0; champion < 6; champion++) {
        drift_begin(&drift);
        serve(300, 0, .5);
    }
    CHECK(drift.psi < .1);
    drift_begin(&drift);
    CHECK(drift.psi != 0); /* the last figure stays in sight */
    serve(300, .4, .9);
    CHECK(drift.psi > 1);
}

TEST(drift_gets_used_to_what_lasts)
{
    double psi = 100;

    begin();
    serve(2000, 0, .5);
    for (int champion = 0; champion < 5; champion++) {
        drift_begin(&drift);
        serve(2000, .5, 1);
        CHECK(drift.psi < psi);
        psi = drift.psi;
    }
    CHECK(psi < .1);
    CHECK(drift.reference_count <= DRIFT_REFERENCE + DRIFT_PLACES);
}

TEST(drift_of_places_that_are_all_equal_is_finite)
{
    begin();
    serve(2 * DRIFT_WINDOW, 0, 0);
    CHECK_NEAR(0, drift.psi, 1e-9);
    serve(DRIFT_WINDOW, 1, 1);
    CHECK(isfinite(drift.psi) && drift.psi > 1);
    serve(DRIFT_WINDOW, -3, -2); /* out of range counts at its end */
    CHECK_NEAR(0, drift.psi, 1e-9);
}

/* ---- Page-Hinkley ---- */

TEST(page_hinkley_is_silent_on_a_series_that_stands_or_falls)
{
    struct page_hinkley standing = {0}, falling = {0}, constant = {0};
    struct random random;

    random_seed(&random, test_seed());
    for (int i = 0; i < 3000; i++) {
        CHECK(!page_hinkley_add(&standing, random_unit(&random)));
        CHECK(!page_hinkley_add(&falling, random_unit(&random) - i * .001));
        CHECK(!page_hinkley_add(&constant, 2.5));
    }
}

TEST(page_hinkley_calls_for_a_rise_whatever_the_scale)
{
    for (double scale = 1e-3; scale < 1e4; scale *= 1000) {
        struct page_hinkley series = {0};
        struct random random;
        int called = -1;

        random_seed(&random, test_seed());
        for (int i = 0; i < 1000; i++)
            CHECK(!page_hinkley_add(&series, scale * random_unit(&random)));
        for (int i = 0; i < 300 && called < 0; i++)
            if (page_hinkley_add(&series, scale * (.5 + random_unit(&random))))
                called = i;
        CHECK(called > 20 && called < 200);
    }
}

TEST(page_hinkley_is_silent_for_its_first_values)
{
    struct page_hinkley series = {0};

    for (int i = 0; i < 29; i++)
        CHECK(!page_hinkley_add(&series, i < 5 ? i * .1 : 1e6 * i));
}

TEST(drift_keeps_its_alarm_until_the_next_champion)
{
    struct random random;

    begin();
    random_seed(&random, test_seed());
    for (int i = 0; i < 500; i++)
        drift_add(&drift, .5, random_unit(&random));
    CHECK(!drift.alarm);
    for (int i = 0; i < 500; i++)
        drift_add(&drift, .5, 3 + random_unit(&random));
    for (int i = 0; i < 5000; i++)
        drift_add(&drift, .5, random_unit(&random));
    CHECK(drift.alarm);
    drift_begin(&drift);
    CHECK(!drift.alarm);
}
