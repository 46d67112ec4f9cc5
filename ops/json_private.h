/*
 * ops/json_private.h - what the walk of json.cpp shares with the units it was split into: compiled
 * paths (json_paths.c) and escapes (json_escape.c). Nobody else includes it.
 */
#ifndef OPS_JSON_PRIVATE_H
#define OPS_JSON_PRIVATE_H

#include "ops/json.h"

#include <string.h>

#define JSON_SLOTS_BITS 5

#ifdef __cplusplus
extern "C" {
#endif

/* One key of one object level. Child 0 is the root and nobody's child: it means none. */
struct json_trie_node {
    const char *key;
    uint64_t head; /* see json_head_of() */
    uint16_t key_bytes;
    uint16_t same_slot; /* the next child in this slot of the parent */
    uint16_t slots[1 << JSON_SLOTS_BITS];
    uint32_t own;   /* the paths that end here, a bit each */
    uint32_t below; /* those that end here or deeper */
};

struct json_paths {
    int count;
    int nodes_count;
    struct json_trie_node *nodes;
    char *keys;
    size_t keys_bytes;
};

/* The first eight bytes of a key, zeros behind a shorter one. Reads eight bytes always: all
 * keys lie in buffers with room behind them. */
static inline uint64_t json_head_of(struct text key)
{
    uint64_t head;

    memcpy(&head, key.at, sizeof head);
    return key.bytes >= sizeof head ? head : head & ((UINT64_C(1) << (8 * key.bytes)) - 1);
}

/* Fibonacci hashing: the top bits of a product with 2^64 over the golden ratio. */
static inline unsigned json_slot_of(uint64_t head, size_t bytes)
{
    return (unsigned)(((head ^ bytes) * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - JSON_SLOTS_BITS));
}

static inline const struct json_trie_node *json_find_child(const struct json_paths *paths,
                                                           const struct json_trie_node *parent,
                                                           struct text key)
{
    uint64_t head = json_head_of(key);

    for (unsigned i = parent->slots[json_slot_of(head, key.bytes)]; i != 0;
         i = paths->nodes[i].same_slot) {
        const struct json_trie_node *child = &paths->nodes[i];
        if (child->head == head && child->key_bytes == key.bytes &&
            (key.bytes <= sizeof head || memcmp(child->key, key.at, key.bytes) == 0))
            return child;
    }
    return NULL;
}

/* Undoes escapes in place: what one stands for is never longer than itself. False on a bad one, a
 * lone surrogate, and a zero, which would end a C string early somewhere down the line. */
bool json_unescape(char *at, size_t bytes, size_t *unescaped_bytes);

#ifdef __cplusplus
}
#endif
#endif
