/*
 * Tests kernels/top_key: the order of keys against that of scores and rows, every pair of odd
 * scores, and the front of a sort for every k.
 */
#include "kernels/top_key.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 60

/* Falling. -0 is among them as 0 is. */
static const float falling[] = {INFINITY, 3e38f, 1, 1e-42f, 0, -1e-42f, -1, -3e38f, -INFINITY};
#define FALLING (int32_t)(sizeof falling / sizeof *falling)

TEST(top_keys_rise_as_scores_fall_and_then_by_row)
{
    static const int32_t rows[] = {0, 1, 255, 70000, INT32_MAX};

    for (int32_t i = 0; i < FALLING; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            uint64_t key = top_key(falling[i], rows[r]);

            CHECK_INT(rows[r], top_key_row(key));
            CHECK(top_key_score(key) == falling[i]);
            CHECK(key < top_key_last(0));
            CHECK(r == 0 || top_key(falling[i], rows[r - 1]) < key);
            CHECK(r == 0 || top_key_last(rows[r - 1]) < top_key_last(rows[r]));
            CHECK_INT(rows[r], top_key_row(top_key_last(rows[r])));
            for (int32_t j = i + 1; j < FALLING; j++)
                CHECK(key < top_key(falling[j], 0));
        }
    CHECK(top_key(-0.0f, 7) == top_key(0, 7));
    CHECK(!signbit(top_key_score(top_key(-0.0f, 7))));
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Of scores that are often equal: rows decide. */
static void check_front(int32_t count, int32_t k, struct random *random)
{
    uint64_t keys[KEYS_MAX + 1], sorted[KEYS_MAX];

    for (int32_t i = 0; i < count; i++)
        keys[i] = random_below(random, 5) == 0 ? top_key_last(i)
                                               : top_key((float)random_below(random, 6) - 3, i);
    keys[count] = 7; /* behind them: stays */
    memcpy(sorted, keys, (size_t)count * sizeof *keys);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    top_key_select(keys, count, k);
    top_key_sort(keys, k);
    for (int32_t i = 0; i < k; i++)
        CHECK(keys[i] == sorted[i]);
    top_key_sort(keys, count);
    CHECK(memcmp(keys, sorted, (size_t)count * sizeof *keys) == 0);
    CHECK_INT(7, (int64_t)keys[count]);
}

TEST(top_keys_selected_are_the_front_of_a_sort)
{
    struct random random;

    random_seed(&random, test_seed());
    for (int32_t count = 0; count <= KEYS_MAX; count++)
        for (int32_t k = 0; k <= count; k++)
            check_front(count, k, &random);
}
