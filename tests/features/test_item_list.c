/* Tests features/item_list: looking up, growing, sharing, and who stays in a full list. */
#include "features/item_list.h"

#include "ops/random.h"
#include "tests/test.h"

#include <float.h>
#include <string.h>

static float weight_of(const struct item_list *list, int32_t index)
{
    int at = item_list_find(list, index);

    return at < 0 ? 0 : item_list_weights(list)[at];
}

TEST(item_list_finds_what_is_in_it_and_nothing_else)
{
    struct item_list *list = NULL;

    for (int32_t i = 0; i < 100; i++) {
        CHECK(item_list_own(&list, i + 1));
        CHECK_INT(-1, item_list_find(list, 7 * i));
        item_list_add(list, 100, 7 * i, (float)(i + 1), 0);
        CHECK_INT(i + 1, list->count);
        CHECK(list->capacity >= list->count && list->capacity % ITEM_LIST_LANES == 0);
        for (int32_t k = 0; k <= i; k++)
            CHECK_INT(k, item_list_find(list, 7 * k));
        CHECK_INT(-1, item_list_find(list, 7 * i + 1));
        CHECK_INT(-1, item_list_find(list, INT32_MAX));
    }
    item_list_add(list, 100, 7 * 50, 0.5f, UINT64_MAX);
    CHECK_NEAR(51.5, weight_of(list, 7 * 50), 1e-6);
    CHECK(item_list_bytes(list) >= 100 * 8);
    CHECK_INT(0, item_list_bytes(NULL));
    item_list_release(list);
    item_list_release(NULL);
}

TEST(item_list_is_copied_when_it_is_shared_and_not_else)
{
    struct item_list *list = NULL, *other, *alone;

    CHECK(item_list_own(&list, 3));
    item_list_add(list, 4, 5, 1.0f, 0);
    alone = list;
    CHECK(item_list_own(&list, 4));
    CHECK(list == alone);
    item_list_share(list);
    item_list_share(NULL);
    other = list;
    CHECK(item_list_own(&list, 2));
    CHECK(list != other);
    item_list_add(list, 4, 6, 1.0f, 0);
    CHECK_INT(1, other->count);
    CHECK_INT(2, list->count);
    CHECK_NEAR(1, weight_of(list, 5), 0);
    item_list_release(other);
    item_list_release(list);
}

TEST(item_list_lets_a_newcomer_in_by_chance_and_weight)
{
    const uint64_t never = UINT64_MAX, always = 0;
    struct item_list *list = NULL;
    struct random random;
    int taken = 0;

    CHECK(item_list_own(&list, 4));
    for (int32_t i = 0; i < 4; i++)
        item_list_add(list, 4, i, (float)(i + 3), 0);
    item_list_add(list, 4, 9, 1.0f, never);
    CHECK_INT(-1, item_list_find(list, 9));
    item_list_add(list, 4, 9, 1.0f, always);
    CHECK_INT(-1, item_list_find(list, 0)); /* the lightest */
    CHECK_NEAR(1, weight_of(list, 9), 0);
    CHECK_INT(4, list->count);

    /* w / (lightest + w): 1 against 4 */
    random_seed(&random, test_seed());
    for (int i = 0; i < 20000; i++) {
        const struct item_neighbour full[] = {{1, 4}, {2, 5}, {3, 6}, {4, 7}};
        item_list_fill(list, full, 4);
        item_list_add(list, 4, 9, 1.0f, random_u64(&random));
        taken += item_list_find(list, 9) >= 0;
        CHECK((item_list_find(list, 1) < 0) == (item_list_find(list, 9) >= 0));
    }
    CHECK_NEAR(0.2, taken / 20000.0, 0.02);
    item_list_release(list);
}

TEST(item_list_bound_of_the_lightest_is_never_above_it)
{
    struct item_list *list = NULL;
    struct random random;

    random_seed(&random, test_seed() + 1);
    CHECK(item_list_own(&list, 16));
    for (int i = 0; i < 20000; i++) {
        float least = FLT_MAX;

        item_list_add(list, 16, (int32_t)random_below(&random, 60),
                      (float)random_unit(&random) + 0.01f, random_u64(&random));
        if (random_below(&random, 500) == 0)
            item_list_scale(list, 0.3f);
        for (int k = 0; k < list->count; k++)
            if (item_list_weights(list)[k] < least)
                least = item_list_weights(list)[k];
        CHECK(list->count == 0 || list->least <= least);
    }
    item_list_release(list);
}

TEST(item_list_scaled_to_nothing_is_empty)
{
    const struct item_neighbour some[] = {{1, 1e-3f}, {2, 5}, {3, 1e-4f}};
    struct item_list *list = NULL;

    CHECK(item_list_own(&list, 3));
    item_list_fill(list, some, 3);
    item_list_scale(list, 1e-5f);
    CHECK_INT(2, list->count);
    CHECK_INT(-1, item_list_find(list, 3));
    CHECK_NEAR(5e-5, weight_of(list, 2), 1e-9);
    item_list_scale(list, 0);
    CHECK_INT(0, list->count);
    CHECK_INT(-1, item_list_find(list, 1));
    item_list_release(list);
}
