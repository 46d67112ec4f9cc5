/* features/item_list.c - a few cache lines of neighbours. */
#include "features/item_list.h"

#include <assert.h>
#include <float.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NOTHING 1e-9f

/* Compared as one: GCC's portable vectors, so no instruction set is named. */
typedef int32_t lanes __attribute__((vector_size(ITEM_LIST_LANES * sizeof(int32_t))));

_Static_assert(offsetof(struct item_list, index) % sizeof(lanes) == 0, "lanes must be aligned");
_Static_assert(ITEM_FILE_NEIGHBOURS_MAX <= UINT16_MAX, "a count must fit");

size_t item_list_bytes(const struct item_list *list)
{
    return list == NULL ? 0 : sizeof *list + (size_t)list->capacity * 8;
}

void item_list_share(struct item_list *list)
{
    if (list != NULL)
        atomic_fetch_add_explicit(&list->owners, 1, memory_order_relaxed);
}

void item_list_release(struct item_list *list)
{
    if (list != NULL && atomic_fetch_sub_explicit(&list->owners, 1, memory_order_acq_rel) == 1)
        free(list);
}

bool item_list_own(struct item_list **list, int room)
{
    struct item_list *old = *list;
    struct item_list *own;
    size_t capacity = old == NULL ? ITEM_LIST_LANES : old->capacity;

    assert(room >= 1 && room <= ITEM_FILE_NEIGHBOURS_MAX);
    if (old != NULL && room <= old->capacity &&
        atomic_load_explicit(&old->owners, memory_order_acquire) == 1)
        return true;
    while (capacity < (size_t)room)
        capacity *= 2;
    own = malloc(sizeof *own + capacity * 8);
    if (own == NULL)
        return false;
    atomic_init(&own->owners, 1);
    own->count = old == NULL ? 0 : old->count;
    own->capacity = (uint16_t)capacity;
    own->least = old == NULL ? FLT_MAX : old->least;
    own->zero = 0;
    for (size_t i = own->count; i < capacity; i++) {
        own->index[i] = -1;
        item_list_weights(own)[i] = 0;
    }
    if (own->count > 0) {
        memcpy(own->index, old->index, own->count * sizeof own->index[0]);
        memcpy(item_list_weights(own), item_list_weights(old), own->count * sizeof(float));
    }
    item_list_release(old);
    *list = own;
    return true;
}

int item_list_find(const struct item_list *list, int32_t index)
{
    const lanes wanted = {index, index, index, index};

    assert(index >= 0);
    for (int i = 0; i < list->count; i += ITEM_LIST_LANES) {
        lanes group, same;
        uint64_t any[2];

        memcpy(&group, list->index + i, sizeof group);
        same = group == wanted;
        memcpy(any, &same, sizeof any);
        if ((any[0] | any[1]) == 0)
            continue;
        while (list->index[i] != index)
            i++;
        return i;
    }
    return -1;
}

static int lightest_of(const struct item_list *list)
{
    const float *weight = item_list_weights(list);
    int lightest = 0;

    for (int i = 1; i < list->count; i++)
        if (weight[i] < weight[lightest])
            lightest = i;
    return lightest;
}

/* Does a newcomer of this weight win against one of that? */
static bool wins(float weight, float against, uint64_t chance)
{
    return (double)(chance >> 11) * 0x1p-53 * ((double)against + (double)weight) < (double)weight;
}

void item_list_add(struct item_list *list, int most, int32_t index, float weight, uint64_t chance)
{
    float *weights = item_list_weights(list);
    int at = item_list_find(list, index);

    if (at >= 0) {
        weights[at] += weight;
        return;
    }
    if (list->count < most) {
        at = list->count++;
        assert(at < list->capacity);
        if (weight < list->least)
            list->least = weight;
    } else {
        /* Who does not win against the bound does not win against the lightest either, and most
         * newcomers do not: they need no search. */
        if (!wins(weight, list->least, chance))
            return;
        at = lightest_of(list);
        list->least = weights[at];
        if (!wins(weight, list->least, chance))
            return;
        if (weight < list->least)
            list->least = weight;
    }
    list->index[at] = index;
    weights[at] = weight;
}

void item_list_scale(struct item_list *list, float factor)
{
    float *weights = item_list_weights(list);
    int kept = 0;

    for (int i = 0; i < list->count; i++) {
        float weight = weights[i] * factor;
        if (weight <= NOTHING)
            continue;
        list->index[kept] = list->index[i];
        weights[kept++] = weight;
    }
    for (int i = kept; i < list->count; i++)
        list->index[i] = -1;
    list->count = (uint16_t)kept;
    list->least = 0;
}

void item_list_fill(struct item_list *list, const struct item_neighbour *from, int count)
{
    assert(count <= list->capacity);
    for (int i = 0; i < list->capacity; i++) {
        list->index[i] = i < count ? from[i].index : -1;
        item_list_weights(list)[i] = i < count ? from[i].weight : 0;
    }
    list->count = (uint16_t)count;
    list->least = 0;
}
