/* Tests ops/clock: that real clocks move and faked ones only when told. */
#include "ops/clock.h"

#include "tests/test.h"

TEST(clock_monotonic_never_goes_back)
{
    int64_t before = clock_monotonic_us();

    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_monotonic_us();

        CHECK(now >= before);
        before = now;
    }
}

TEST(clock_wall_is_in_milliseconds_since_1970)
{
    CHECK(clock_wall_ms() > 1600000000000);
    CHECK(clock_wall_ms() < 32503680000000);
}

TEST(clock_fake_stands_still_until_moved)
{
    clock_fake_set(1700000000123, 5000);
    CHECK_INT(1700000000123, clock_wall_ms());
    CHECK_INT(5000, clock_monotonic_us());
    clock_fake_advance_us(1500);
    CHECK_INT(1700000000124, clock_wall_ms());
    clock_fake_advance_us(500);
    CHECK_INT(1700000000125, clock_wall_ms());
    CHECK_INT(7000, clock_monotonic_us());
    clock_fake_off();
    CHECK(clock_wall_ms() != 1700000000125);
}

TEST(clock_sleep_on_a_fake_moves_it_and_returns)
{
    clock_fake_set(0, 0);
    clock_sleep_us(3600LL * 1000000);
    CHECK_INT(3600LL * 1000000, clock_monotonic_us());
    CHECK_INT(3600LL * 1000, clock_wall_ms());
    clock_sleep_us(0);
    clock_sleep_us(-5);
    CHECK_INT(3600LL * 1000000, clock_monotonic_us());
    clock_fake_off();
}

TEST(clock_sleep_lasts_at_least_as_long_as_asked)
{
    int64_t before = clock_monotonic_us();

    clock_sleep_us(1200);
    CHECK(clock_monotonic_us() - before >= 1200);
}
