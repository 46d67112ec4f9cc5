/*
 * features/item_order.h - the most popular items, always in order.
 *
 * All decayed counts shrink at the same rate, so who is ahead of whom does not depend on the time:
 * s(t) = s(t0) · e^-((t - t0)/tau) is ordered as ln s(t0) + t0/tau is. An event only ever raises
 * the key of its own item, which then moves up past a few others. So the best ITEM_ORDER_MAX are
 * known at every moment, exactly, and a request reads the first ones.
 *
 * Thread: as the table it belongs to.
 */
#ifndef FEATURES_ITEM_ORDER_H
#define FEATURES_ITEM_ORDER_H

#include "features/item_rows.h"

#define ITEM_ORDER_MAX 4096

struct item_order {
    int count;
    struct item_place {
        double key;
        int32_t index;
    } at[ITEM_ORDER_MAX]; /* by key, the largest first; equal keys by index */
};

/* The key of an item with this 7-day sum at this time; -INFINITY when it has none. */
double item_order_key(double sum, int64_t at_ms, int64_t tau_ms);

/* The item's key was `from` and is now `to`, not less. */
void item_order_raise(struct item_order *order, int32_t index, double from, double to);

/* All over, from the keys in the rows. */
void item_order_build(struct item_order *order, const struct item_rows *rows);

#endif
