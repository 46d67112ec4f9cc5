/*
 * features/item_list.h - the neighbours of one item: a bounded list of the heaviest.
 *
 * Indices and weights lie apart, so that looking one up compares 4 at a time: an event looks ten
 * up, each in a list of 64. In no order; shared between tables until one writes (item_rows.h).
 */
#ifndef FEATURES_ITEM_LIST_H
#define FEATURES_ITEM_LIST_H

#include "schemas/item_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct item_list {
    _Atomic uint32_t owners;
    uint16_t count;
    uint16_t capacity; /* a multiple of ITEM_LIST_LANES */
    float least;       /* no weight is below it: true, but not always reached */
    uint32_t zero;
    _Alignas(16) int32_t index[]; /* (capacity), -1 behind count; then float weight (capacity) */
};

#define ITEM_LIST_LANES 4

static inline float *item_list_weights(const struct item_list *list)
{
    return (float *)(uintptr_t)(list->index + list->capacity);
}

/* Asks for the header and the first 60 indices, which a search reads. NULL is fine. */
static inline void item_list_prefetch(const struct item_list *list)
{
    for (int line = 0; line < 4; line++)
        __builtin_prefetch((const char *)list + 64 * line, 1);
}

size_t item_list_bytes(const struct item_list *list);
void item_list_share(struct item_list *list);   /* one more owner; NULL is fine */
void item_list_release(struct item_list *list); /* one less; the last one frees. NULL is fine */

/* Makes *list (NULL: an empty one) this owner's alone, with room for `room` neighbours, 1 to
 * ITEM_FILE_NEIGHBOURS_MAX. False: out of memory, nothing has changed. */
bool item_list_own(struct item_list **list, int room);

/* Position of a neighbour, or -1. */
int item_list_find(const struct item_list *list, int32_t index);

/**
 * Adds weight to a neighbour. In a list that is full, with `most` of them, a newcomer takes the
 * place of the lightest with probability w / (lightest + w), and begins with its own weight: what
 * comes often gets in soon, what comes once mostly does not. chance: 64 random bits.
 * The list is the caller's alone and has room unless it is full.
 *
 * Source: measured on MovieTweetings, HR@20 of co-visitation alone with 64 neighbours (.1964 with
 * all kept): this .1959, always replacing .1953, a newcomer that inherits the weight of the
 * lightest, as in Space-Saving, .1230.
 */
void item_list_add(struct item_list *list, int most, int32_t index, float weight, uint64_t chance);

/* Multiplies all weights; what is nothing by then goes. */
void item_list_scale(struct item_list *list, float factor);

/* Replaces all; from has at most the list's capacity. */
void item_list_fill(struct item_list *list, const struct item_neighbour *from, int count);

#endif
