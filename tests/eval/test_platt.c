/* Tests eval/platt: planted pairs are found, perfect orders stay finite, nothing to fit. */
#include "eval/platt.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>

#define COUNT 40000

TEST(platt_finds_a_planted_pair)
{
    static float scores[COUNT], labels[COUNT];
    struct random random;
    struct platt platt;

    random_seed(&random, test_seed());
    for (int i = 0; i < COUNT; i++) {
        scores[i] = (float)(10 + 3 * random_normal(&random));
        labels[i] = random_unit(&random) < 1 / (1 + exp(-(.4 * (double)scores[i] - 5)));
    }
    scores[7] = NAN;
    scores[8] = INFINITY;
    CHECK(platt_fit(&platt, scores, labels, COUNT));
    CHECK_NEAR(.4, (double)platt.a, .03);
    CHECK_NEAR(-5, (double)platt.b, .3);
}

TEST(platt_of_a_perfect_order_is_finite)
{
    const float scores[] = {-1, -.5f, .5f, 1}, labels[] = {0, 0, 1, 1};
    struct platt platt;

    CHECK(platt_fit(&platt, scores, labels, 4));
    CHECK(platt.a > 0 && platt.a < 100 && isfinite(platt.b));
}

TEST(platt_without_both_labels_is_one_and_zero)
{
    const float scores[] = {1, 2, NAN}, ones[] = {1, 1, 0};
    struct platt platt;

    CHECK(!platt_fit(&platt, scores, ones, 3));
    CHECK(platt.a == 1 && platt.b == 0);
    CHECK(!platt_fit(&platt, scores, ones, 0));
}

TEST(platt_fits_chances_as_they_are)
{
    static float scores[2000], chances[2000];
    struct platt platt;

    for (int i = 0; i < 2000; i++) {
        scores[i] = (float)i / 250 - 4;
        chances[i] = 1 / (1 + expf(-(.7f * scores[i] - 1.5f)));
    }
    CHECK(platt_fit_chances(&platt, scores, chances, 2000));
    CHECK_NEAR(.7, (double)platt.a, 1e-3);
    CHECK_NEAR(-1.5, (double)platt.b, 1e-3);
    for (int i = 0; i < 2000; i++)
        chances[i] = 1;
    CHECK(!platt_fit_chances(&platt, scores, chances, 2000));
    CHECK(platt.a == 1 && platt.b == 0);
}
