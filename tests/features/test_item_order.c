/* Tests features/item_order: after any raises the order is that of a sort of all keys, and building
 * it anew gives the same; more items than it holds, equal keys, keys without a value. */
#include "features/item_order.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define ITEMS (ITEM_ORDER_MAX + 1500)

static struct item_order order, built;
static struct item_place sorted[ITEMS];
static double keys[ITEMS];

static int by_key(const void *a, const void *b)
{
    const struct item_place *x = a, *y = b;

    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* The simpler truth: all of them, sorted. */
static void check_against_sort(int items)
{
    int count = 0;

    for (int i = 0; i < items; i++)
        if (keys[i] != -INFINITY)
            sorted[count++] = (struct item_place){keys[i], i};
    qsort(sorted, (size_t)count, sizeof sorted[0], by_key);
    CHECK_INT(count < ITEM_ORDER_MAX ? count : ITEM_ORDER_MAX, order.count);
    for (int i = 0; i < order.count; i++)
        CHECK(order.at[i].index == sorted[i].index && order.at[i].key == sorted[i].key);
}

static void check_against_build(int items)
{
    struct item_rows rows;

    CHECK(item_rows_init(&rows));
    for (int i = 0; i < items; i++) {
        struct item_row *row = item_rows_add(&rows, (uint64_t)i + 1);

        CHECK(row != NULL);
        row->popular = keys[i];
    }
    item_order_build(&built, &rows);
    CHECK_INT(order.count, built.count);
    for (int i = 0; i < order.count; i++)
        CHECK(order.at[i].index == built.at[i].index && order.at[i].key == built.at[i].key);
    item_rows_clear(&rows);
}

static void walk(int items, int raises, int spread)
{
    struct random random;

    random_seed(&random, test_seed());
    order.count = 0;
    for (int i = 0; i < items; i++)
        keys[i] = -INFINITY;
    for (int n = 0; n < raises; n++) {
        int32_t item = (int32_t)random_below(&random, (uint64_t)items);
        double from = keys[item];
        double to = (from == -INFINITY ? 0 : from) +
                    (double)random_below(&random, (uint64_t)spread);

        item_order_raise(&order, item, from, to);
        keys[item] = to;
    }
    check_against_sort(items);
    check_against_build(items);
}

TEST(item_order_of_nothing_is_empty)
{
    walk(1, 0, 1);
    item_order_raise(&order, 0, -INFINITY, -INFINITY);
    CHECK_INT(0, order.count);
}

TEST(item_order_is_a_sort_of_the_keys)
{
    walk(7, 200, 3); /* many equal ones */
    walk(500, 5000, 1000000);
}

TEST(item_order_keeps_the_best_of_more_than_it_holds)
{
    walk(ITEMS, 30000, 1000);
}

TEST(item_order_key_does_not_depend_on_when_it_is_looked_at)
{
    const int64_t tau_ms = 604800000, later_ms = 86400000;
    double now = item_order_key(5, 1700000000000, tau_ms);
    double decayed = 5 * exp(-(double)later_ms / (double)tau_ms);

    CHECK_NEAR(now, item_order_key(decayed, 1700000000000 + later_ms, tau_ms), 1e-9);
    CHECK(item_order_key(6, 1700000000000, tau_ms) > now);
    CHECK(item_order_key(0, 1700000000000, tau_ms) == -INFINITY);
    CHECK(item_order_key(-1, 0, tau_ms) == -INFINITY);
}
