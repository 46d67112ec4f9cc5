/* Tests features/item_words: neighbours against a walk over all pairs, and what has no words. */
#include "features/item_words.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool anyone(void *context, int32_t key)
{
    (void)context;
    (void)key;
    return true;
}

static bool even(void *context, int32_t key)
{
    (void)context;
    return key % 2 == 0;
}

static struct item_words *made(void)
{
    struct item_words *words;
    struct error err;

    CHECK_STATUS(OK, item_words_create(&words, &err));
    return words;
}

static void put(struct item_words *words, int32_t key, const char *category, const char *text)
{
    struct error err;

    CHECK_STATUS(OK, item_words_put(words, key, text_of(category), text_of(text), &err));
}

TEST(item_words_of_a_category_alone_are_all_alike)
{
    struct item_words *words = made();
    int32_t near[ITEM_WORDS_NEAR_MAX];

    for (int32_t i = 0; i < 40; i++)
        put(words, i, i % 4 == 0 ? "shoes" : "hats", "");
    CHECK_INT(9, item_words_near(words, 8, 1, anyone, NULL, near));
    for (int i = 0; i < 9; i++)
        CHECK(near[i] % 4 == 0 && near[i] != 8);
    item_words_destroy(words);
    item_words_destroy(NULL);
}

TEST(item_words_that_are_rare_decide)
{
    struct item_words *words = made();
    int32_t near[ITEM_WORDS_NEAR_MAX];

    put(words, 0, "", "The Return of the King");
    put(words, 1, "", "the Return of the Kitchen");
    put(words, 2, "", "THE  KING!");
    for (int32_t i = 3; i < 30; i++)
        put(words, i, "", "the return of something, a b c");
    CHECK(item_words_near(words, 0, 1, anyone, NULL, near) >= 1);
    CHECK_INT(2, near[0]);
    CHECK(item_words_near(words, 0, 1, even, NULL, near) >= 1);
    CHECK_INT(2, near[0]);
    put(words, 2, "", "the queen"); /* what was known is replaced */
    CHECK(item_words_near(words, 0, 1, anyone, NULL, near) >= 1);
    CHECK_INT(3, near[0]);
    put(words, 0, "", "?! - a");
    CHECK(!item_words_known(words, 0) && item_words_known(words, 2));
    CHECK_INT(0, item_words_near(words, 0, 3, anyone, NULL, near));
    CHECK_INT(0, item_words_near(words, 5000, 3, anyone, NULL, near));
    CHECK_INT(0, (int)item_words_cost(words, 5000));
    CHECK_INT(29 + 1, (int)item_words_cost(words, 2)); /* the, queen */
    item_words_destroy(words);
}

/* Texts of numbered words; likeness by its formula over all pairs. */
TEST(item_words_neighbours_are_those_of_all_pairs)
{
    enum { N = 60, WORDS = 12 };
    struct item_words *words = made();
    bool has[N][WORDS] = {{0}};
    double weight[WORDS], length[N];
    struct random random;

    random_seed(&random, test_seed());
    for (int i = 0; i < N; i++) {
        char text[200] = "";

        for (int k = 0; k < WORDS; k++) {
            has[i][k] = random_below(&random, 12) <= (uint64_t)k / 2;
            if (has[i][k])
                (void)snprintf(text + strlen(text), sizeof text - strlen(text), "word%d ", k);
        }
        put(words, i, "same", text);
    }
    for (int k = 0; k < WORDS; k++) {
        int count = 0;

        for (int i = 0; i < N; i++)
            count += has[i][k];
        weight[k] = log(1 + N / (1.0 + count));
    }
    for (int i = 0; i < N; i++) {
        length[i] = pow(log(1 + N / (1.0 + N)), 2);
        for (int k = 0; k < WORDS; k++)
            length[i] += has[i][k] ? weight[k] * weight[k] : 0;
    }
    for (int i = 0; i < N; i++) {
        int32_t near[ITEM_WORDS_NEAR_MAX];
        int count = item_words_near(words, i, 5, anyone, NULL, near);
        double last = INFINITY;

        CHECK(count >= 5);
        for (int n = 0; n < N; n++) {
            double alike = pow(log(1 + N / (1.0 + N)), 2);

            for (int k = 0; k < WORDS; k++)
                alike += has[i][k] && has[near[n < count ? n : 0]][k] ? weight[k] * weight[k] : 0;
            alike /= sqrt(length[near[n < count ? n : 0]]);
            CHECK(n >= count || (alike <= last + 1e-9 && near[n] != i));
            last = n < count ? alike : last;
        }
        for (int j = 0; j < N; j++) { /* nobody who was left out is more like it */
            double alike = pow(log(1 + N / (1.0 + N)), 2);
            bool inside = j == i;

            for (int n = 0; n < count; n++)
                inside |= near[n] == j;
            for (int k = 0; k < WORDS; k++)
                alike += has[i][k] && has[j][k] ? weight[k] * weight[k] : 0;
            CHECK(inside || alike / sqrt(length[j]) <= last + 1e-9);
        }
    }
    item_words_destroy(words);
}

TEST(item_words_vector_has_length_one_and_knows_no_order)
{
    float a[32], b[32];
    double square = 0, product = 0;

    item_words_vector(text_of("shoes"), text_of("Red running shoe"), a, 32);
    item_words_vector(text_of("shoes"), text_of("shoe, running; RED running"), b, 32);
    for (int i = 0; i < 32; i++) {
        square += (double)a[i] * (double)a[i];
        product += (double)a[i] * (double)b[i];
    }
    CHECK_NEAR(1, square, 1e-6);
    CHECK_NEAR(1, product, 1e-6);
    struct item_words *words = made();

    put(words, 3, "shoes", "Red running shoe");
    item_words_vector_of(words, 3, b, 32);
    for (int i = 0; i < 32; i++)
        CHECK(a[i] == b[i]);
    item_words_vector_of(words, 4, b, 32);
    for (int i = 0; i < 32; i++)
        CHECK(b[i] == 0);
    item_words_destroy(words);
    item_words_vector(text_of(""), text_of(" - "), a, 32);
    for (int i = 0; i < 32; i++)
        CHECK(a[i] == 0);
}

TEST(item_words_refuse_numbers_out_of_bounds)
{
    struct item_words *words = made();
    struct error err;

    CHECK_STATUS(ERR_LIMIT, item_words_put(words, -1, text_of("a"), text_of(""), &err));
    CHECK_STATUS(ERR_LIMIT,
                 item_words_put(words, ITEM_WORDS_KEY_MAX, text_of("a"), text_of(""), &err));
    CHECK(!item_words_known(words, -1));
    item_words_destroy(words);
}
