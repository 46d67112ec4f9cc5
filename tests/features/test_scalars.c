/* Tests features/scalars: each value by hand, and that no raw count makes anything but a number. */
#include "features/scalars.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static float value_of(const char *name, const int64_t *raw)
{
    float out[64];

    scalars_compute(out, raw, 1);
    for (int f = 0; f < scalars_count; f++)
        if (strcmp(scalar_rows[f].name, name) == 0)
            return out[f];
    test_fail(__FILE__, __LINE__, "no scalar \"%s\"", name);
}

TEST(scalars_are_what_their_help_says)
{
    int64_t raw[RAW_COLUMNS] = {
        [RAW_CLICKS] = 99,
        [RAW_SHOWN] = 1980,
        [RAW_POP_1H] = 3 * RAW_FIXED / 2, /* 1.5 */
        [RAW_POP_24H] = 20 * RAW_FIXED,
        [RAW_POP_7D] = 70 * RAW_FIXED,
        [RAW_COVIS] = RAW_FIXED / 2, /* .5, over the root of 100: .05 */
        [RAW_AGE_S] = 36000,
        [RAW_REPEATS] = 2,
        [RAW_HISTORY] = 20,
        [RAW_IDLE_S] = 540,
        [RAW_COVIS_COSINE] = RAW_FINE / 2,
        [RAW_COVIS_BACK] = RAW_FINE / 4, /* .25: .025 */
        [RAW_COVIS_LAST] = RAW_FINE,
    };

    CHECK_NEAR(0.4581454, value_of("pop_1h", raw), 1e-6);     /* ln 2.5 / 2 */
    CHECK_NEAR(1.0148408, value_of("pop_24h", raw), 1e-6);    /* ln 21 / 3 */
    CHECK_NEAR(1.4208933, value_of("pop_7d", raw), 1e-6);     /* ln 71 / 3 */
    CHECK_NEAR(0.6466272, value_of("trend_day", raw), 1e-6);  /* ln 21 - ln 11 */
    CHECK_NEAR(0.2831978, value_of("trend_hour", raw), 1e-6); /* (ln 37 - ln 21) / 2 */
    CHECK_NEAR(0.0021339, value_of("ctr", raw), 1e-6);        /* (ln(100 / 2000) + 3) / 2 */
    CHECK_NEAR(1.3106085, value_of("covis", raw), 1e-6);      /* ln 51 / 3 */
    CHECK_NEAR(1.1512925, value_of("clicks", raw), 1e-6);     /* ln 100 / 4 */
    CHECK_NEAR(1.8978396, value_of("shown", raw), 1e-6);      /* ln 1981 / 4 */
    CHECK_NEAR(0.5994738, value_of("age", raw), 1e-6);        /* ln 11 / 4 */
    CHECK_NEAR(1.0, value_of("known", raw), 0);
    CHECK_NEAR(1.0986123, value_of("repeats", raw), 1e-6);    /* ln 3 */
    CHECK_NEAR(1.0148408, value_of("history", raw), 1e-6);    /* ln 21 / 3 */
    CHECK_NEAR(0.4605170, value_of("idle", raw), 1e-6);       /* ln 10 / 5 */
    CHECK_NEAR(1.5383735, value_of("covis_last", raw), 1e-6); /* ln 101 / 3 */
    CHECK_NEAR(1.3106085, value_of("covis_cosine", raw), 1e-6);
    CHECK_NEAR(1.0860322, value_of("covis_back", raw), 1e-6); /* ln 26 / 3 */

    raw[RAW_SHOWN] = 10; /* clicks from elsewhere: (ln(100 / 119) + 3) / 2 */
    CHECK_NEAR(1.4130233, value_of("ctr", raw), 1e-6);
    raw[RAW_AGE_S] = raw[RAW_IDLE_S] = -1;
    CHECK_NEAR(0, value_of("age", raw), 0);
    CHECK_NEAR(0, value_of("known", raw), 0);
    CHECK_NEAR(2.1347239, value_of("idle", raw), 1e-6); /* ln 43201 / 5 */
}

TEST(scalars_of_nothing_are_small_numbers)
{
    const int64_t raw[RAW_COLUMNS] = {0};
    float out[64];

    scalars_compute(out, raw, 1);
    for (int f = 0; f < scalars_count; f++)
        CHECK(fabsf(out[f]) <= 1.0f);
}

TEST(scalars_are_finite_and_of_modest_size_for_every_int64)
{
    static const int64_t edges[] = {
        INT64_MIN, INT64_MIN + 1,    -1024,         -2,       -1, 0, 1, 1023,
        1024,      INT64_C(1) << 53, INT64_MAX - 1, INT64_MAX};
    struct random random;
    int64_t raw[RAW_COLUMNS];
    float out[64];

    random_seed(&random, test_seed());
    for (int i = 0; i < 100000; i++) {
        for (int c = 0; c < RAW_COLUMNS; c++)
            raw[c] = i % 2 == 0 ? edges[random_below(&random, 12)]
                                : (int64_t)(random_u64(&random) >> random_below(&random, 64));
        scalars_compute(out, raw, 1);
        for (int f = 0; f < scalars_count; f++)
            CHECK(isfinite(out[f]) && fabsf(out[f]) < 50);
    }
}

TEST(scalars_of_many_rows_are_those_of_each_alone_to_the_bit)
{
    enum { ROWS = 77 }; /* more than are computed at a time, and no multiple of it */
    static int64_t raw[ROWS * RAW_COLUMNS];
    static float out[ROWS * 64];
    struct random random;

    random_seed(&random, test_seed());
    for (int i = 0; i < ROWS * RAW_COLUMNS; i++)
        raw[i] = (int64_t)(random_u64(&random) >> random_below(&random, 64)) - 2;
    scalars_compute(out, raw, ROWS);
    for (int r = 0; r < ROWS; r++) {
        float alone[64];

        scalars_compute(alone, raw + (ptrdiff_t)r * RAW_COLUMNS, 1);
        CHECK(memcmp(alone, out + (ptrdiff_t)r * scalars_count,
                     (size_t)scalars_count * sizeof *out) == 0);
    }
    scalars_compute(NULL, NULL, 0);
}

TEST(scalars_take_logarithms_as_libm_does)
{
    int place = 0;

    while (strcmp(scalar_rows[place].name, "repeats") != 0)
        place++;
    for (int64_t repeats = 0; repeats < INT64_C(1) << 62; repeats += 1 + repeats / 1000) {
        int64_t raw[RAW_COLUMNS] = {[RAW_REPEATS] = repeats};
        double want = log(1 + (double)repeats);
        float out[64];

        scalars_compute(out, raw, 1);
        CHECK_NEAR(want, (double)out[place], 2e-7 * (1 + want));
    }
}

TEST(scalars_mismatch_finds_the_first_other_name)
{
    char names[64][32];

    for (int f = 0; f < scalars_count; f++) {
        CHECK(strlen(scalar_rows[f].name) < sizeof names[f]);
        for (int other = 0; other < f; other++)
            CHECK(strcmp(scalar_rows[f].name, scalar_rows[other].name) != 0);
        memset(names[f], 0, sizeof names[f]);
        snprintf(names[f], sizeof names[f], "%s", scalar_rows[f].name);
    }
    CHECK_INT(-1, scalars_mismatch(names, scalars_count));
    CHECK_INT(scalars_count - 1, scalars_mismatch(names, scalars_count - 1));
    memset(names[scalars_count], 0, sizeof names[0]);
    CHECK_INT(scalars_count, scalars_mismatch(names, scalars_count + 1));
    names[4][0] ^= 1;
    CHECK_INT(4, scalars_mismatch(names, scalars_count));
    CHECK_INT(0, scalars_mismatch(names, 0));
}
