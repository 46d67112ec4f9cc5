/* features/user_store.c - a table of encoded values by user, decoded one at a time. */
#include "features/user_store.h"

#include "ops/map64.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_BYTES (64 * 1024)
#define ARENA_LIMIT_BYTES (16 * 1024 * 1024) /* one event needs less than 2 MB */
#define USERS_MAX         (1 << 28)
#define NOBODY            UINT32_MAX
#define MALLOC_BYTES      32 /* of the two blocks of a user, beside what is in them */
#define SLOT_BYTES        37 /* of a map64, an entry */

struct user {
    char *id; /* malloc'ed, id_bytes */
    uint8_t *value;
    uint32_t value_bytes, value_capacity;
    uint32_t next; /* another user with the same hash, or NOBODY */
    uint16_t id_bytes;
};

struct user_store {
    struct rules rules;
    struct map64 *by_hash; /* hash of the user -> index of the first with it */
    struct user *users;    /* (count), capacity */
    uint32_t count, capacity;
    size_t used;                /* bytes of names and values */
    struct arena *arena;        /* of the value at hand */
    struct user_value value;    /* the value at hand */
    struct emissions emissions; /* of the event at hand */
    uint8_t *bytes;             /* (USER_VALUE_BYTES_MAX) the value at hand, encoded */
};

enum status user_store_create(struct user_store **store, const struct rules *rules,
                              struct error *err)
{
    struct user_store *made = calloc(1, sizeof *made);

    *store = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a store of users");
    made->rules = *rules;
    made->by_hash = map64_create(0, USERS_MAX);
    made->arena = arena_create(ARENA_BLOCK_BYTES, ARENA_LIMIT_BYTES);
    made->bytes = malloc(USER_VALUE_BYTES_MAX);
    if (made->by_hash == NULL || made->bytes == NULL) {
        user_store_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory for a store of users");
    }
    *store = made;
    return OK;
}

void user_store_destroy(struct user_store *store)
{
    if (store == NULL)
        return;
    for (uint32_t i = 0; i < store->count; i++) {
        free(store->users[i].id);
        free(store->users[i].value);
    }
    free(store->users);
    free(store->bytes);
    map64_destroy(store->by_hash);
    arena_destroy(store->arena);
    free(store);
}

static uint32_t find(const struct user_store *store, uint64_t hash, struct text id)
{
    uint32_t index = NOBODY;

    if (!map64_get(store->by_hash, hash, &index))
        return NOBODY;
    while (index != NOBODY &&
           !text_equal(id, (struct text){store->users[index].id, store->users[index].id_bytes}))
        index = store->users[index].next;
    return index;
}

/* Adds a user without a value. */
static enum status add(struct user_store *store, uint64_t hash, struct text id, uint32_t *index,
                       struct error *err)
{
    struct user user = {.next = NOBODY, .id_bytes = (uint16_t)id.bytes};
    uint32_t capacity = store->capacity == 0 ? 64 : 2 * store->capacity;
    struct user *grown;

    assert(id.bytes <= UINT16_MAX);
    if (store->count == store->capacity) {
        grown = realloc(store->users, capacity * sizeof *grown);
        if (grown == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %u users", capacity);
        store->users = grown;
        store->capacity = capacity;
    }
    user.id = malloc(id.bytes + 1);
    if (user.id == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a user");
    if (id.bytes > 0)
        memcpy(user.id, id.at, id.bytes);
    (void)map64_get(store->by_hash, hash, &user.next);
    if (map64_put(store->by_hash, hash, store->count) != OK) {
        free(user.id);
        return error_set(err, ERR_NOMEM, "no memory for %u users", store->count);
    }
    store->users[store->count] = user;
    store->used += id.bytes + MALLOC_BYTES;
    *index = store->count++;
    return OK;
}

/* Encodes the value at hand into the user's own memory. */
static enum status keep(struct user_store *store, struct user *user, struct error *err)
{
    size_t bytes = user_value_encode(&store->value, store->bytes, USER_VALUE_BYTES_MAX);
    size_t capacity = bytes + bytes / 4;

    assert(bytes > 0);
    if (bytes > user->value_capacity) {
        uint8_t *grown = realloc(user->value, capacity);
        if (grown == NULL)
            return error_set(err, ERR_NOMEM, "no memory for a user's value of %zu bytes", bytes);
        user->value = grown;
        store->used += capacity - user->value_capacity;
        user->value_capacity = (uint32_t)capacity;
    }
    memcpy(user->value, store->bytes, bytes);
    user->value_bytes = (uint32_t)bytes;
    return OK;
}

/* Makes the user's value the one at hand. NOBODY: that of a user never seen. */
static enum status load(struct user_store *store, uint32_t index, struct error *err)
{
    const struct user *user = index == NOBODY ? NULL : &store->users[index];

    arena_reset(store->arena);
    return user_value_decode(&store->value, user == NULL ? NULL : user->value,
                             user == NULL ? 0 : user->value_bytes, store->arena, err);
}

static bool is_empty(const struct user_value *value)
{
    return value->count == 0 && value->opens_count == 0 && value->erased_at_ms == 0 &&
           value->running == 0;
}

enum status user_store_apply(struct user_store *store, const struct event *event,
                             int64_t watermark_ms, bool replayed, user_store_emit *emit,
                             void *context, enum outcome *outcome, struct error *err)
{
    uint64_t hash = rules_user_hash(&store->rules, event->user);
    uint32_t index = find(store, hash, event->user);
    enum status status = load(store, index, err);

    assert(status != ERR_MALFORMED && status != ERR_VERSION); /* we wrote it */
    if (status == OK)
        status = rules_apply(&store->rules, &store->value, event, watermark_ms, replayed,
                             store->arena, &store->emissions, outcome, err);
    if (status != OK || (*outcome != OUTCOME_APPLIED && *outcome != OUTCOME_LATE))
        return status;
    if (index == NOBODY && !is_empty(&store->value))
        status = add(store, hash, event->user, &index, err);
    if (status == OK && index != NOBODY)
        status = keep(store, &store->users[index], err);
    for (int i = 0; status == OK && emit != NULL && i < store->emissions.count; i++)
        emit(context, store->emissions.list[i].bytes, store->emissions.list[i].bytes_count);
    return status;
}

const struct user_value *user_store_get(struct user_store *store, struct text user)
{
    uint32_t index = find(store, rules_user_hash(&store->rules, user), user);
    struct error err;
    enum status status;

    if (index == NOBODY)
        return NULL;
    status = load(store, index, &err);
    assert(status == OK);
    (void)status;
    return &store->value;
}

struct text user_store_name(const struct user_store *store, uint64_t user)
{
    uint32_t index;

    if (!map64_get(store->by_hash, user, &index))
        return (struct text){"", 0};
    return (struct text){store->users[index].id, store->users[index].id_bytes};
}

size_t user_store_bytes(const struct user_store *store)
{
    return store->used + (size_t)store->capacity * sizeof store->users[0] +
           (size_t)store->count * SLOT_BYTES;
}

int64_t user_store_count(const struct user_store *store)
{
    return store->count;
}

void user_store_each(struct user_store *store,
                     void (*visit)(void *context, struct text user, const struct user_value *value),
                     void *context)
{
    struct error err;

    for (uint32_t i = 0; i < store->count; i++) {
        enum status status = load(store, i, &err);
        assert(status == OK);
        (void)status;
        visit(context, (struct text){store->users[i].id, store->users[i].id_bytes}, &store->value);
    }
}
