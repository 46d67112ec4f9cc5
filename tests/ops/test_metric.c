/*
 * Tests ops/metric: counts from many threads are exact (also beyond the cells there are),
 * buckets have their bounds, and the text is what Prometheus reads.
 */
#include "ops/metric.h"

#include "tests/test.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const colours[] = {"red", "green", "blue"};
static const struct metric_buckets three = {3, {1, 2, 4}};

METRIC_COUNTER(plain, "freshet_test_plain_total", "plain things");
METRIC_COUNTER_OF(by_colour, "freshet_test_colour_total", "things by colour", "colour", colours, 3);
METRIC_GAUGE(level, "freshet_test_level", "a level");
METRIC_GAUGE_OF(levels, "freshet_test_levels", "levels", "colour", colours, 3);
METRIC_GAUGE_OPTIONAL(tide, "freshet_test_tide", "a level at times");
METRIC_GAUGE_OPTIONAL_OF(tides, "freshet_test_tides", "levels at times", "colour", colours, 3);
METRIC_HISTOGRAM(sizes, "freshet_test_sizes", "sizes", three);
METRIC_HISTOGRAM(waits, "freshet_test_waits", "waits", metric_buckets_latency);
METRIC_HISTOGRAM_OF(times, "freshet_test_times", "times", three, "colour", colours, 3);

static char page[1 << 18];

static void check_holds(const char *part)
{
    CHECK(metric_render(page, sizeof page) < sizeof page);
    if (strstr(page, part) == NULL)
        test_fail(__FILE__, __LINE__, "not in the page: %s", part);
}

TEST(metric_counts_by_label)
{
    metric_reset_all();
    metric_add(&plain, 3);
    metric_add(&plain, 0);
    metric_add_of(&by_colour, 0, 1);
    metric_add_of(&by_colour, 2, UINT64_C(1) << 40);
    CHECK_INT(3, metric_count(&plain));
    CHECK_INT(0, metric_count_of(&by_colour, 1));
    CHECK_INT((INT64_C(1) << 40) + 1, metric_count(&by_colour));
    check_holds("# HELP freshet_test_plain_total plain things\n"
                "# TYPE freshet_test_plain_total counter\nfreshet_test_plain_total 3\n");
    check_holds("freshet_test_colour_total{colour=\"red\"} 1\n"
                "freshet_test_colour_total{colour=\"green\"} 0\n"
                "freshet_test_colour_total{colour=\"blue\"} 1099511627776\n");
}

TEST(metric_gauges_take_any_number)
{
    metric_reset_all();
    metric_set(&level, -2.5);
    CHECK_NEAR(-2.5, metric_value(&level), 0);
    check_holds("# TYPE freshet_test_level gauge\nfreshet_test_level -2.5\n");
    metric_set_of(&levels, 0, NAN);
    metric_set_of(&levels, 1, INFINITY);
    metric_set_of(&levels, 2, -INFINITY);
    check_holds("freshet_test_levels{colour=\"red\"} NaN\n"
                "freshet_test_levels{colour=\"green\"} +Inf\n"
                "freshet_test_levels{colour=\"blue\"} -Inf\n");
}

TEST(metric_optional_gauges_are_left_out_until_they_are_set)
{
    metric_reset_all();
    check_holds("# TYPE freshet_test_tide gauge\n# HELP freshet_test_tides levels at times\n"
                "# TYPE freshet_test_tides gauge\n# HELP freshet_test_times times\n");
    CHECK(isnan(metric_value(&tide)));
    metric_set(&tide, 0);
    metric_set_of(&tides, 1, NAN); /* set, to what is no number */
    check_holds("# TYPE freshet_test_tide gauge\nfreshet_test_tide 0\n");
    check_holds(
        "# TYPE freshet_test_tides gauge\nfreshet_test_tides{colour=\"green\"} NaN\n# HELP");
    metric_unset(&tide);
    metric_unset_of(&tides, 1);
    check_holds("# TYPE freshet_test_tide gauge\n# HELP freshet_test_tides levels at times\n"
                "# TYPE freshet_test_tides gauge\n# HELP freshet_test_times times\n");
}

TEST(metric_histogram_bounds_are_inclusive)
{
    metric_reset_all();
    CHECK_NEAR(0, metric_quantile(&sizes, 0.5), 0);
    metric_observe(&sizes, 1);
    metric_observe(&sizes, 1.0001);
    metric_observe(&sizes, 4);
    metric_observe(&sizes, 4.5);
    metric_observe(&sizes, NAN); /* not counted */
    metric_observe(&sizes, -3);  /* FAULTS 66: a clock that jumped; counts as 0 */
    check_holds("# TYPE freshet_test_sizes histogram\n"
                "freshet_test_sizes_bucket{le=\"1\"} 2\n"
                "freshet_test_sizes_bucket{le=\"2\"} 3\n"
                "freshet_test_sizes_bucket{le=\"4\"} 4\n"
                "freshet_test_sizes_bucket{le=\"+Inf\"} 5\n"
                "freshet_test_sizes_sum 10.5001\n"
                "freshet_test_sizes_count 5\n");
    CHECK_INT(5, metric_observations(&sizes));
    CHECK_NEAR(10.5001, metric_sum(&sizes), 1e-12);
}

TEST(metric_quantile_is_within_its_bucket)
{
    metric_reset_all();
    for (int i = 0; i < 100; i++)
        metric_observe(&sizes, 1.5);
    CHECK_NEAR(1.5, metric_quantile(&sizes, 0.5), 1e-9);
    CHECK_NEAR(2, metric_quantile(&sizes, 1), 1e-9);
    metric_observe_of(&times, 1, 100);
    CHECK_NEAR(4, metric_quantile(&times, 0.99), 0);
    check_holds("freshet_test_times_bucket{colour=\"green\",le=\"+Inf\"} 1\n"
                "freshet_test_times_sum{colour=\"green\"} 100\n"
                "freshet_test_times_count{colour=\"green\"} 1\n");
}

TEST(metric_latency_buckets_tell_outages_apart)
{
    const double seconds[] = {7, 12, 17, 25};

    for (int i = 0; i < 4; i++) {
        metric_reset_all();
        metric_observe(&waits, seconds[i]);
        CHECK_NEAR(seconds[i], metric_quantile(&waits, 0.5), 5);
        CHECK(metric_quantile(&waits, 0) < seconds[i] && metric_quantile(&waits, 1) > seconds[i]);
    }
    for (int i = 1; i < metric_buckets_latency.count; i++)
        CHECK(metric_buckets_latency.upper[i] > metric_buckets_latency.upper[i - 1]);
}

TEST(metric_render_says_how_much_it_needs)
{
    size_t needed = metric_render(NULL, 0);
    char small[10];

    CHECK(needed > 100);
    CHECK_INT((int64_t)needed, metric_render(small, sizeof small));
    CHECK_INT(9, strlen(small));
    CHECK_INT((int64_t)needed, metric_render(page, sizeof page));
    CHECK_INT((int64_t)needed, strlen(page));
}

METRIC_COUNTER(of_ingest, "freshet_ingest_test_total", "of one role");
METRIC_COUNTER(of_relay, "freshet_relay_test_total", "of the same role");
METRIC_COUNTER(of_serve, "freshet_serve_test_total", "of another role");
METRIC_COUNTER(of_all, "freshet_kafka_test_total", "of all roles");

static bool is_rendered(const char *name)
{
    size_t bytes = metric_render(NULL, 0) + 1;
    char *text = malloc(bytes);
    bool found;

    CHECK(text != NULL);
    (void)metric_render(text, bytes);
    found = strstr(text, name) != NULL;
    free(text);
    return found;
}

TEST(metric_of_role_leaves_out_what_other_roles_count)
{
    CHECK(is_rendered("freshet_ingest_test_total") && is_rendered("freshet_serve_test_total"));
    metric_of_role("ingest");
    CHECK(is_rendered("freshet_ingest_test_total") && is_rendered("freshet_relay_test_total"));
    CHECK(!is_rendered("freshet_serve_test_total") && is_rendered("freshet_kafka_test_total"));
    metric_of_role("serve");
    CHECK(!is_rendered("freshet_ingest_test_total") && !is_rendered("freshet_relay_test_total"));
    CHECK(is_rendered("freshet_serve_test_total") && is_rendered("freshet_kafka_test_total"));
    metric_of_role("no role");
    CHECK(is_rendered("freshet_relay_test_total") && is_rendered("freshet_serve_test_total"));
    metric_of_role(NULL);
    metric_add(&of_ingest, 0);
    metric_add(&of_relay, 0);
    metric_add(&of_serve, 0);
    metric_add(&of_all, 0);
}

TEST(metric_find_knows_what_is_registered)
{
    CHECK(metric_find("freshet_test_plain_total") == &plain);
    CHECK(metric_find("freshet_test_none") == NULL);
}

#define ROUNDS 2000

static void *count_things(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        metric_add(&plain, 1);
        metric_add_of(&by_colour, i % 3, 2);
        metric_observe(&sizes, 1);
    }
    return NULL;
}

/* More threads than cells at a time, several times over: some share the last cell, the
 * others take over the cells of threads that have ended. */
TEST(metric_loses_no_count_with_more_threads_than_cells)
{
    enum { THREADS = METRIC_THREADS_MAX + 12, WAVES = 3 };
    pthread_t threads[THREADS];

    metric_reset_all();
    for (int wave = 0; wave < WAVES; wave++) {
        for (int i = 0; i < THREADS; i++)
            CHECK_INT(0, pthread_create(&threads[i], NULL, count_things, NULL));
        CHECK(metric_render(page, sizeof page) < sizeof page);
        for (int i = 0; i < THREADS; i++)
            CHECK_INT(0, pthread_join(threads[i], NULL));
    }
    CHECK_INT((int64_t)WAVES * THREADS * ROUNDS, metric_count(&plain));
    CHECK_INT((int64_t)WAVES * THREADS * ROUNDS * 2, metric_count(&by_colour));
    CHECK_INT((int64_t)WAVES * THREADS * ROUNDS, metric_observations(&sizes));
    CHECK_NEAR((double)WAVES * THREADS * ROUNDS, metric_sum(&sizes), 0);
}
