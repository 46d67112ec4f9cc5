/* Tests ops/map64 against an obvious model: an array that is searched from the start. */
#include "ops/map64.h"

#include "ops/random.h"
#include "tests/test.h"

#include <stdlib.h>

#define MODEL_MAX 400

struct model {
    uint64_t keys[MODEL_MAX];
    uint32_t values[MODEL_MAX];
    int count;
};

static int model_find(const struct model *model, uint64_t key)
{
    for (int i = 0; i < model->count; i++)
        if (model->keys[i] == key)
            return i;
    return -1;
}

static void model_put(struct model *model, uint64_t key, uint32_t value)
{
    int at = model_find(model, key);

    if (at < 0)
        at = model->count++;
    model->keys[at] = key;
    model->values[at] = value;
}

static bool model_remove(struct model *model, uint64_t key)
{
    int at = model_find(model, key);

    if (at < 0)
        return false;
    model->count--;
    model->keys[at] = model->keys[model->count];
    model->values[at] = model->values[model->count];
    return true;
}

static void check_equal(const struct map64 *map, const struct model *model)
{
    size_t cursor = 0;
    uint64_t key;
    uint32_t value;
    int seen = 0;

    CHECK_INT(model->count, map64_count(map));
    for (int i = 0; i < model->count; i++) {
        CHECK(map64_get(map, model->keys[i], &value));
        CHECK_INT(model->values[i], value);
    }
    while (map64_next(map, &cursor, &key, &value)) {
        int at = model_find(model, key);

        CHECK(at >= 0 && model->values[at] == value);
        seen++;
    }
    CHECK_INT(model->count, seen);
}

TEST(map64_does_what_an_array_does)
{
    struct random random;
    struct model model = {.count = 0};
    struct map64 *map = map64_create(0, MODEL_MAX);

    random_seed(&random, test_seed());
    for (int step = 0; step < 20000; step++) {
        /* Few distinct keys, the extremes among them, so that runs collide and wrap. */
        uint64_t key = random_below(&random, 500) - 250;
        uint32_t value = (uint32_t)random_u64(&random);

        if (random_below(&random, 100) < 52) {
            bool full = model.count == MODEL_MAX && model_find(&model, key) < 0;

            CHECK_STATUS(full ? ERR_FULL : OK, map64_put(map, key, value));
            if (!full)
                model_put(&model, key, value);
        } else {
            CHECK(map64_remove(map, key) == model_remove(&model, key));
        }
        CHECK(map64_get(map, key, NULL) == (model_find(&model, key) >= 0));
        if (step % 500 == 0)
            check_equal(map, &model);
    }
    check_equal(map, &model);
    map64_destroy(map);
}

TEST(map64_is_full_at_its_maximum_and_still_replaces)
{
    struct map64 *map = map64_create(1000, 3);
    uint32_t value = 9;

    CHECK_STATUS(OK, map64_put(map, 0, 1));
    CHECK_STATUS(OK, map64_put(map, UINT64_MAX, 2));
    CHECK_STATUS(OK, map64_put(map, 5, UINT32_MAX));
    CHECK_STATUS(ERR_FULL, map64_put(map, 6, 4));
    CHECK(!map64_get(map, 6, &value));
    CHECK_INT(9, value);
    CHECK_STATUS(OK, map64_put(map, 5, 0));
    CHECK(map64_get(map, 5, &value));
    CHECK_INT(0, value);
    CHECK(map64_remove(map, 0));
    CHECK(!map64_remove(map, 0));
    CHECK_STATUS(OK, map64_put(map, 6, 4));
    map64_destroy(map);
    map64_destroy(NULL);
}

TEST(map64_grows_from_nothing_and_forgets_all_at_clear)
{
    struct map64 *map = map64_create(0, MAP64_ENTRIES_MAX);
    uint32_t value;

    for (uint64_t key = 0; key < 50000; key++)
        CHECK_STATUS(OK, map64_put(map, key << 40, (uint32_t)key));
    CHECK_INT(50000, map64_count(map));
    for (uint64_t key = 0; key < 50000; key++) {
        CHECK(map64_get(map, key << 40, &value));
        CHECK_INT((int64_t)key, value);
    }
    map64_clear(map);
    CHECK_INT(0, map64_count(map));
    CHECK(!map64_get(map, 0, NULL));
    CHECK_STATUS(OK, map64_put(map, 0, 3));
    map64_destroy(map);
}

TEST(map64_gives_the_same_order_for_the_same_calls)
{
    struct map64 *a = map64_create(10, 1000);
    struct map64 *b = map64_create(10, 1000);
    size_t at_a = 0, at_b = 0;
    uint64_t key_a, key_b;
    uint32_t value_a, value_b;

    for (uint64_t key = 0; key < 500; key++) {
        CHECK_STATUS(OK, map64_put(a, key * 977, (uint32_t)key));
        CHECK_STATUS(OK, map64_put(b, key * 977, (uint32_t)key));
    }
    while (map64_next(a, &at_a, &key_a, &value_a)) {
        CHECK(map64_next(b, &at_b, &key_b, &value_b));
        CHECK(key_a == key_b && value_a == value_b);
    }
    CHECK(!map64_next(b, &at_b, &key_b, &value_b));
    map64_destroy(a);
    map64_destroy(b);
}
