/*
 * Tests ops/random: known outputs, then that the distributions have the moments they
 * claim. The bounds are five standard deviations: a right generator fails one run in a
 * million, and the seed is fixed.
 */
#include "ops/random.h"

#include "tests/test.h"

#include <math.h>

#define DRAWS 200000

TEST(random_gives_the_reference_numbers)
{
    /* xoshiro256** from state {1, 2, 3, 4}: rotl(2 * 5, 7) * 9 = 11520 first. */
    struct random random = {{1, 2, 3, 4}};
    const uint64_t want[] = {11520u, 0u, 1509978240u, 1215971899390074240u};

    for (int i = 0; i < 4; i++)
        CHECK(random_u64(&random) == want[i]);
}

TEST(random_seed_zero_gives_the_reference_state_of_splitmix64)
{
    struct random random;

    random_seed(&random, 0);
    CHECK(random.s[0] == 0xe220a8397b1dcdafu);
    CHECK(random.s[1] == 0x6e789e6aa1b965f4u);
    CHECK(random.s[2] == 0x06c45d188009454fu);
}

TEST(random_seeds_differ_and_repeat)
{
    struct random a, b, c;

    random_seed(&a, 7);
    random_seed(&b, 7);
    random_seed(&c, 8);
    for (int i = 0; i < 100; i++) {
        uint64_t x = random_u64(&a);

        CHECK(x == random_u64(&b));
        CHECK(x != random_u64(&c));
    }
}

TEST(random_below_covers_its_range_evenly)
{
    struct random random;
    int counts[7] = {0};

    random_seed(&random, test_seed());
    for (int i = 0; i < 7 * 10000; i++) {
        uint64_t x = random_below(&random, 7);

        CHECK(x < 7);
        counts[x]++;
    }
    for (int i = 0; i < 7; i++)
        CHECK_NEAR(10000, counts[i], 5 * sqrt(70000.0 / 7 * 6 / 7));
    for (int i = 0; i < 100; i++) {
        CHECK(random_below(&random, 1) == 0);
        CHECK(random_below(&random, UINT64_MAX) < UINT64_MAX);
        CHECK(random_below(&random, (1ull << 63) + 1) <= 1ull << 63);
    }
}

TEST(random_unit_is_in_range_with_the_mean_of_a_half)
{
    struct random random;
    double sum = 0;

    random_seed(&random, test_seed());
    for (int i = 0; i < DRAWS; i++) {
        double x = random_unit(&random);

        CHECK(x >= 0.0 && x < 1.0);
        sum += x;
    }
    CHECK_NEAR(0.5, sum / DRAWS, 5 * sqrt(1.0 / 12 / DRAWS));
}

TEST(random_normal_has_its_moments)
{
    struct random random;
    double sum = 0, squares = 0;

    random_seed(&random, test_seed());
    for (int i = 0; i < DRAWS; i++) {
        double x = random_normal(&random);

        CHECK(isfinite(x));
        sum += x;
        squares += x * x;
    }
    CHECK_NEAR(0, sum / DRAWS, 5 / sqrt(DRAWS));
    CHECK_NEAR(1, squares / DRAWS, 5 * sqrt(2.0 / DRAWS));
}

TEST(random_exponential_has_its_mean_and_is_never_negative)
{
    struct random random;
    double sum = 0;

    random_seed(&random, test_seed());
    for (int i = 0; i < DRAWS; i++) {
        double x = random_exponential(&random, 3.0);

        CHECK(x >= 0.0 && isfinite(x));
        sum += x;
    }
    CHECK_NEAR(3.0, sum / DRAWS, 5 * 3.0 / sqrt(DRAWS));
}
