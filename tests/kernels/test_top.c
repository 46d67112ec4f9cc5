/*
 * Tests kernels/top on every instruction set this machine has: against a sort of all scores, with
 * ties, NaN, infinities and both zeros, in pieces of any size.
 */
#include "kernels/ops.h"

#include "ops/random.h"
#include "tests/kernels/best_first.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 3000
#define K_MAX    400

/* kind 0: any; 1: few values, so ties; 2: odd ones among them; 3: rising, so each beats all. */
static void fill(float *scores, int32_t count, int kind, struct random *random)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-42f, -1e-42f, 3e38f};

    for (int32_t i = 0; i < count; i++) {
        scores[i] = (float)random_normal(random);
        if (kind == 1 || (kind == 2 && random_below(random, 3) == 0))
            scores[i] = (float)random_below(random, 4);
        if (kind == 2 && random_below(random, 3) == 0)
            scores[i] = odd[random_below(random, 8)];
        if (kind == 3)
            scores[i] = (float)i;
    }
}

static void check_top(const struct ops *ops, const float *scores, int32_t first, int32_t count,
                      int32_t k, struct random *random)
{
    static uint64_t keys[2 * K_MAX];
    static int32_t order[ROWS_MAX], rows[K_MAX];
    static float best[K_MAX];
    struct top top;
    int32_t numbers = 0;

    for (int32_t i = 0; i < count; i++)
        if (!isnan(scores[i]))
            order[numbers++] = i;
    best_first(order, numbers, scores);
    top_begin(&top, keys, k);
    for (int32_t at = 0; at < count;) {
        int32_t piece = (int32_t)random_below(random, 50);

        piece = piece < count - at ? piece : count - at;
        ops->top_offer(&top, scores + at, first + at, piece);
        at += piece;
    }
    top_end(&top, rows, best);
    for (int32_t i = 0; i < k; i++) {
        CHECK_INT(i < numbers ? first + order[i] : -1, rows[i]);
        CHECK(best[i] == (i < numbers ? scores[order[i]] : -INFINITY));
    }
}

TEST(top_is_a_stable_sort_of_what_are_numbers)
{
    static float scores[ROWS_MAX];
    struct random random;

    random_seed(&random, test_seed());
    for (int column = 0; ops_cpu_column(column) != NULL; column++) {
        for (int number = 0; number < 60; number++) {
            int32_t count = number < 2 ? number : (int32_t)random_below(&random, ROWS_MAX);
            int32_t k = number % 7 == 6 ? 1 : (int32_t)random_below(&random, K_MAX + 1);

            fill(scores, count, number % 4, &random);
            check_top(ops_cpu_column(column), scores, number * 1000000, count, k, &random);
        }
    }
}

TEST(top_of_nothing_but_nan_is_nothing)
{
    float scores[100], best[3];
    int32_t rows[3];
    uint64_t keys[6];
    struct top top;

    for (int i = 0; i < 100; i++)
        scores[i] = i % 2 == 0 ? NAN : -NAN;
    top_begin(&top, keys, 3);
    ops_cpu()->top_offer(&top, scores, 0, 100);
    top_end(&top, rows, best);
    for (int i = 0; i < 3; i++)
        CHECK(rows[i] == -1 && best[i] == -INFINITY);
}

TEST(top_keys_give_row_and_score_back)
{
    const float scores[] = {0, 1, -1, 3e38f, -3e38f, 1e-42f, -1e-42f, INFINITY, -INFINITY};

    for (size_t i = 0; i < sizeof scores / sizeof *scores; i++) {
        uint64_t key = top_key(scores[i], INT32_MAX - (int32_t)i);

        CHECK(top_key_score(key) == scores[i]);
        CHECK_INT(INT32_MAX - (int32_t)i, top_key_row(key));
    }
    CHECK(top_key(-0.0f, 7) == top_key(0.0f, 7));
    CHECK(!signbit(top_key_score(top_key(-0.0f, 7))));
}
