/* Tests ingest/poison: when it opens, when it closes, what leaves its window. FAULTS 32. */
#include "ingest/poison.h"

#include "tests/test.h"

#include <math.h>

#define MINUTE INT64_C(60000000)

TEST(poison_stays_closed_where_nothing_comes_and_where_it_is_off)
{
    struct poison p;

    poison_init(&p, 0.2, MINUTE);
    CHECK(!poison_add(&p, 0, 0, 0) && !p.open);
    CHECK_NEAR(0, poison_share(&p), 0);
    poison_init(&p, 0, MINUTE);
    CHECK(!poison_add(&p, 1, 1000, 1000) && !p.open);
    poison_init(&p, (double)NAN, 0);
    CHECK(!poison_add(&p, 1, 1000, 1000) && !p.open);
    poison_init(&p, 7, 0);
    CHECK(!poison_add(&p, INT64_MAX, 1000, 1000) && !p.open);
}

TEST(poison_opens_once_above_the_limit_among_enough_records)
{
    struct poison p;

    poison_init(&p, 0.2, MINUTE);
    CHECK(!poison_add(&p, 1, 99, 99)); /* a topic that begins with rubbish */
    CHECK(poison_add(&p, 2, 1, 1));
    CHECK(p.open);
    CHECK(!poison_add(&p, 3, 100, 100)); /* said once */
    poison_init(&p, 0.2, MINUTE);
    CHECK(!poison_add(&p, 1, 1000, 200)); /* at the limit is not above it */
    CHECK(poison_add(&p, 2, 0, 1));
}

TEST(poison_closes_at_half_the_limit_or_when_the_window_has_passed)
{
    struct poison p;

    poison_init(&p, 0.2, MINUTE);
    CHECK(poison_add(&p, 1, 100, 30));
    CHECK(!poison_add(&p, 2, 100, 0) && p.open); /* .15 */
    CHECK(poison_add(&p, 3, 100, 0) && !p.open); /* .10 */
    CHECK(poison_add(&p, 4, 300, 300) && p.open);
    CHECK(!poison_add(&p, MINUTE - MINUTE / POISON_SLOTS, 0, 0) && p.open);
    CHECK(poison_add(&p, 2 * MINUTE, 0, 0) && !p.open);
    CHECK_NEAR(0, poison_share(&p), 0);
}

TEST(poison_counts_a_sliding_window)
{
    struct poison p;
    int64_t slot = MINUTE / POISON_SLOTS;

    poison_init(&p, 0.5, MINUTE);
    for (int i = 0; i < 40; i++)
        (void)poison_add(&p, i * slot, 10, i < 30 ? 10 : 0);
    CHECK_NEAR(2.0 / 12, poison_share(&p), 1e-9); /* slots 28 and 29 of the last twelve */
    (void)poison_add(&p, 5, 12, 0);               /* a clock that goes back */
    CHECK_NEAR(20.0 / 132, poison_share(&p), 1e-9);
}
