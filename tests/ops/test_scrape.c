/* Tests ops/scrape on texts written by hand, and cut anywhere. */
#include "ops/scrape.h"

#include "tests/test.h"

#include <string.h>

static const char sample[] = "# HELP a_total things\n"
                             "# TYPE a_total counter\n"
                             "a_total{kind=\"x\"} 3\n"
                             "a_total{kind=\"y\"} 4\n"
                             "a_total_other 100\n"
                             "b 2.5\n"
                             "h_bucket{le=\"1\"} 10\n"
                             "h_bucket{le=\"2\"} 30\n"
                             "h_bucket{le=\"+Inf\"} 40\n"
                             "h_sum 50\n"
                             "h_count 40\n";

TEST(scrape_finds_series_exactly)
{
    CHECK_NEAR(3, scrape_value(text_of(sample), "a_total{kind=\"x\"}", -1), 0);
    CHECK_NEAR(2.5, scrape_value(text_of(sample), "b", -1), 0);
    CHECK_NEAR(-1, scrape_value(text_of(sample), "a_total", -1), 0);
    CHECK_NEAR(7, scrape_sum(text_of(sample), "a_total"), 0);
    CHECK_NEAR(0, scrape_sum(text_of(sample), "none"), 0);
}

TEST(scrape_quantiles_are_interpolated_and_can_look_at_what_is_new)
{
    struct text none = {0};

    CHECK_NEAR(0.5, scrape_quantile(text_of(sample), none, "h", 0.125), 1e-12);
    CHECK_NEAR(1.5, scrape_quantile(text_of(sample), none, "h", 0.5), 1e-12);
    CHECK_NEAR(2, scrape_quantile(text_of(sample), none, "h", 0.99), 0); /* beyond the last bound */
    CHECK_NEAR(-1, scrape_quantile(text_of(sample), text_of(sample), "h", 0.5), 0);
    CHECK_NEAR(-1, scrape_quantile(text_of(sample), none, "b", 0.5), 0);
}

TEST(scrape_survives_every_truncation)
{
    for (size_t cut = 0; cut < sizeof sample; cut++) {
        struct text text = {sample, cut};

        (void)scrape_value(text, "b", 0);
        (void)scrape_sum(text, "a_total");
        (void)scrape_quantile(text, (struct text){0}, "h", 0.5);
    }
}
