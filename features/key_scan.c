/* features/key_scan.c - SCAN with a cursor; keys are copied, because the next command's reply
 * takes the place of this one's. */
#include "features/key_scan.h"

#include "features/redis_call.h"
#include "ops/arena.h"
#include "ops/hash.h"
#include "ops/map64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_ABOUT "1000"
#define ARENA_BLOCK ((size_t)256 * 1024)
#define ARENA_LIMIT ((size_t)256 * 1024 * 1024)
#define SEEN_MAX    ((size_t)1 << 29)

struct key_scan {
    struct redis_nodes *nodes;
    int numbers[REDIS_NODES_MAX], numbers_count; /* of the nodes to walk; 0: not asked yet */
    int node;                                    /* at which of them */
    uint64_t epoch;                              /* of its connection when its walk began */
    const struct redis_keys *keys;
    enum redis_key_kind kind;
    char pattern[REDIS_NAMESPACE_MAX + 8];
    char cursor[32];
    struct map64 *seen;  /* hashes of keys */
    struct arena *arena; /* of one batch */
};

enum status key_scan_create(struct key_scan **scan, struct redis_nodes *nodes,
                            const struct redis_keys *keys, enum redis_key_kind kind,
                            struct error *err)
{
    struct key_scan *made = calloc(1, sizeof *made);

    *scan = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a walk over keys");
    made->nodes = nodes;
    made->keys = keys;
    made->kind = kind;
    made->seen = map64_create(0, SEEN_MAX);
    made->arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    if (made->seen == NULL) {
        key_scan_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory for a walk over keys");
    }
    (void)snprintf(made->cursor, sizeof made->cursor, "0");
    (void)snprintf(made->pattern, sizeof made->pattern, kind == REDIS_KEY_USER ? "%s{*}u*" : "%s{*",
                   keys->ns);
    *scan = made;
    return OK;
}

void key_scan_destroy(struct key_scan *scan)
{
    if (scan == NULL)
        return;
    map64_destroy(scan->seen);
    arena_destroy(scan->arena);
    free(scan);
}

/* Copies one key of the reply to *key. *take is false for one that is not wanted. */
static enum status take_key(struct key_scan *scan, struct text text, struct key_scan_key *key,
                            bool *take, struct error *err)
{
    uint64_t hash = hash64_text(text, 0);
    char *copy;

    *take = false;
    key->kind = redis_key_parse(scan->keys, text, &key->shard, &key->rest);
    if (key->kind == REDIS_KEY_OTHER || map64_get(scan->seen, hash, NULL) ||
        (scan->kind != REDIS_KEY_OTHER && key->kind != scan->kind))
        return OK;
    copy = arena_copy(scan->arena, text.at, text.bytes);
    if (copy == NULL || map64_put(scan->seen, hash, 0) != OK)
        return error_set(err, ERR_NOMEM, "no memory for a walk over %zu keys",
                         map64_count(scan->seen));
    key->key = (struct text){copy, text.bytes};
    if (key->rest.bytes > 0)
        key->rest.at = copy + (key->rest.at - text.at);
    *take = true;
    return OK;
}

enum status key_scan_next(struct key_scan *scan, int64_t timeout_ms,
                          const struct key_scan_key **batch, int *count, bool *more,
                          struct error *err)
{
    const struct text arguments[] = {text_of("SCAN"),  text_of(scan->cursor),
                                     text_of("MATCH"), text_of(scan->pattern),
                                     text_of("COUNT"), text_of(BATCH_ABOUT)};
    const struct redis_reply *reply, *list;
    struct redis_connection *connection;
    struct key_scan_key *keys;
    enum status status = OK;

    *count = 0;
    *more = true;
    if (scan->numbers_count == 0)
        status = redis_nodes_all(scan->nodes, timeout_ms, scan->numbers, &scan->numbers_count, err);
    if (status != OK)
        return status;
    connection = redis_nodes_at(scan->nodes, scan->numbers[scan->node]);
    status = redis_call(connection, timeout_ms, arguments, 6, &reply, err);
    if (status != OK)
        return status;
    /* Another process may answer now, to which the cursor means nothing: its walk begins anew. */
    if (strcmp(scan->cursor, "0") != 0 && redis_connection_epoch(connection) != scan->epoch) {
        (void)snprintf(scan->cursor, sizeof scan->cursor, "0");
        return OK;
    }
    scan->epoch = redis_connection_epoch(connection);
    if (reply->type != REPLY_ARRAY || reply->count != 2 ||
        reply->elements[0]->type != REPLY_STRING || reply->elements[1]->type != REPLY_ARRAY ||
        reply->elements[0]->text.bytes >= sizeof scan->cursor)
        return error_set(err, ERR_MALFORMED, "redis answered SCAN with something else");
    (void)snprintf(scan->cursor, sizeof scan->cursor, "%.*s", TEXT_ARGS(reply->elements[0]->text));
    list = reply->elements[1];
    arena_reset(scan->arena);
    keys = arena_alloc(scan->arena, ((size_t)list->count + 1) * sizeof *keys);
    if (keys == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d keys", list->count);
    for (int i = 0; i < list->count && status == OK; i++) {
        bool take;

        status = take_key(scan, list->elements[i]->text, &keys[*count], &take, err);
        *count += take;
    }
    *batch = keys;
    if (strcmp(scan->cursor, "0") == 0)
        scan->node++;
    *more = scan->node < scan->numbers_count;
    return status;
}
