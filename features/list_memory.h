/*
 * features/list_memory.h - the last lists a user was shown, by identity: one that is sent again
 * counts once.
 *
 * Flow: impression -> [seen before?] -> counts of the item tables
 *
 * The item tables count how often an item was shown. The open impressions of the user's value
 * cannot say whether a list is new to them: they belong to ingest, and labels that wait take their
 * places. So whoever counts remembers the identities of a user's last few lists: producers send
 * again what is seconds old. Used by the trainer and by those who check it (`freshet verify`).
 */
#ifndef FEATURES_LIST_MEMORY_H
#define FEATURES_LIST_MEMORY_H

#include "features/rules.h"

#define LIST_MEMORY_MAX 4

/* Begins zeroed. */
struct list_memory {
    uint64_t ids[LIST_MEMORY_MAX]; /* newest first; 0: none */
};

/* The identity of an impression, never 0: of its user and request, without a request of its user,
 * time and rows. It is the id of the example that it becomes (features/join.h). */
uint64_t list_memory_id(const struct rules *rules, const struct event *impression);
/* Was it not among them? It is from here on. */
bool list_memory_new(struct list_memory *memory, uint64_t id);

#endif
