/*
 * ops/json_paths.c - JSON pointers compiled into a trie of keys, which the walk follows.
 *
 * A node finds a child by a small table over the first eight bytes of a key and its length: one
 * multiplication and one comparison a member, wanted or not.
 */
#include "ops/json_private.h"

#include <assert.h>
#include <stdlib.h>

#define POINTER_BYTES_MAX 512
#define NODES_MAX         (1 + JSON_PATHS_MAX * JSON_DEPTH_MAX)

/* The key between two slashes, RFC 6901's ~0 and ~1 undone. False on another "~". */
static bool take_part(struct json_paths *paths, const char **pointer, struct text *key)
{
    char *start = paths->keys + paths->keys_bytes;
    char *into = start;
    const char *from = *pointer + 1;

    for (; *from != '\0' && *from != '/'; from++) {
        char c = *from;
        if (c == '~') {
            from++;
            if (*from != '0' && *from != '1')
                return false;
            c = *from == '0' ? '~' : '/';
        }
        *into++ = c;
    }
    *key = (struct text){start, (size_t)(into - start)};
    *pointer = from;
    return true;
}

static enum status add_path(struct json_paths *paths, const char *pointer, int index,
                            struct error *err)
{
    struct json_trie_node *node = &paths->nodes[0];
    const char *rest = pointer;
    int depth = 0;

    if (*pointer != '/' || strlen(pointer) > POINTER_BYTES_MAX)
        return error_set(err, ERR_CONFIG,
                         "JSON path \"%.80s\" must begin with / and have at most %d bytes", pointer,
                         POINTER_BYTES_MAX);
    while (*rest != '\0') {
        struct text key;
        if (!take_part(paths, &rest, &key))
            return error_set(err, ERR_CONFIG, "JSON path \"%.80s\": ~ is followed by 0 or 1",
                             pointer);
        if (++depth > JSON_DEPTH_MAX)
            return error_set(err, ERR_CONFIG, "JSON path \"%.80s\" is deeper than %d levels",
                             pointer, JSON_DEPTH_MAX);
        struct json_trie_node *child = (struct json_trie_node *)json_find_child(paths, node, key);
        if (child == NULL) {
            unsigned slot = json_slot_of(json_head_of(key), key.bytes);
            child = &paths->nodes[paths->nodes_count];
            child->key = key.at;
            child->head = json_head_of(key);
            child->key_bytes = (uint16_t)key.bytes;
            child->same_slot = node->slots[slot];
            node->slots[slot] = (uint16_t)paths->nodes_count++;
            paths->keys_bytes += key.bytes;
        }
        child->below |= UINT32_C(1) << index;
        node = child;
    }
    node->own |= UINT32_C(1) << index;
    return OK;
}

enum status json_paths_create(struct json_paths **paths, const char *const *pointers, int count,
                              struct error *err)
{
    struct json_paths *made;
    enum status status = OK;

    assert(paths != NULL && count >= 0 && err != NULL);
    *paths = NULL;
    if (count > JSON_PATHS_MAX)
        return error_set(err, ERR_LIMIT, "%d JSON paths, at most %d", count, JSON_PATHS_MAX);
    made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->nodes = calloc(NODES_MAX, sizeof *made->nodes);
        made->keys = calloc(JSON_PATHS_MAX + 1, POINTER_BYTES_MAX);
    }
    if (made == NULL || made->nodes == NULL || made->keys == NULL) {
        json_paths_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory for JSON paths");
    }
    made->count = count;
    made->nodes_count = 1;
    for (int i = 0; i < count && status == OK; i++)
        status = add_path(made, pointers[i], i, err);
    if (status != OK) {
        json_paths_destroy(made);
        return status;
    }
    *paths = made;
    return OK;
}

void json_paths_destroy(struct json_paths *paths)
{
    if (paths == NULL)
        return;
    free(paths->nodes);
    free(paths->keys);
    free(paths);
}
