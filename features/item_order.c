/* features/item_order.c - a sorted array; what moves, moves a few places. */
#include "features/item_order.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double item_order_key(double sum, int64_t at_ms, int64_t tau_ms)
{
    return sum > 0 ? log(sum) + (double)at_ms / (double)tau_ms : -INFINITY;
}

static bool ahead(double key, int32_t index, const struct item_place *place)
{
    return key > place->key || (key == place->key && index < place->index);
}

/* The first place that (key, index) is ahead of, among the first `count`. */
static int place_of(const struct item_order *order, double key, int32_t index, int count)
{
    int low = 0, high = count;

    while (low < high) {
        int middle = (low + high) / 2;
        if (ahead(key, index, &order->at[middle]))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void item_order_raise(struct item_order *order, int32_t index, double from, double to)
{
    int was, place;

    if (to == -INFINITY || to == from)
        return;
    assert(!(to < from));
    /* Behind the last one it could be in, it is: at its old place when it is there at all. */
    was = place_of(order, from, index, order->count) - 1;
    if (was < 0 || order->at[was].index != index || from == -INFINITY) {
        if (order->count < ITEM_ORDER_MAX)
            was = order->count++;
        else if (ahead(to, index, &order->at[ITEM_ORDER_MAX - 1]))
            was = ITEM_ORDER_MAX - 1; /* the last one falls out */
        else
            return;
    }
    place = place_of(order, to, index, was);
    memmove(order->at + place + 1, order->at + place, (size_t)(was - place) * sizeof order->at[0]);
    order->at[place] = (struct item_place){to, index};
}

static int by_key(const void *a, const void *b)
{
    const struct item_place *x = a, *y = b;

    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

void item_order_build(struct item_order *order, const struct item_rows *rows)
{
    struct item_place some[2 * ITEM_ORDER_MAX];
    int count = 0, sorted = 0; /* the first `sorted` are in order */

    for (int32_t i = 0; i < rows->count; i++) {
        double key = item_rows_get(rows, i)->popular;

        if (key == -INFINITY ||
            (sorted == ITEM_ORDER_MAX && !ahead(key, i, &some[ITEM_ORDER_MAX - 1])))
            continue;
        some[count++] = (struct item_place){key, i};
        if (count == 2 * ITEM_ORDER_MAX) {
            qsort(some, (size_t)count, sizeof some[0], by_key);
            count = sorted = ITEM_ORDER_MAX;
        }
    }
    qsort(some, (size_t)count, sizeof some[0], by_key);
    order->count = count < ITEM_ORDER_MAX ? count : ITEM_ORDER_MAX;
    memcpy(order->at, some, (size_t)order->count * sizeof some[0]);
}
