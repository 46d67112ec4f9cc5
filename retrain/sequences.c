/*
 * retrain/sequences.c - a table of users, each a sorted array that grows with the user.
 *
 * Most users are short, so entries are allocated by need and not at `most` at once: at 6 events a
 * user that is a tenth of the memory.
 */
#include "retrain/sequences.h"

#include "features/list_memory.h"
#include "ops/map64.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LOOKED_AT   8 /* users compared when one has to go */
#define ENTRY_BYTES 17
#define USER_BYTES  (28 + LIST_MEMORY_MAX * 8) /* without entries */

struct sequence {
    uint64_t user;
    struct user_entry *entries;
    int count, room;
    uint32_t running;
    int64_t erased_at_ms;
    struct list_memory lists;
};

struct sequences {
    struct map64 *index;
    struct sequence *users;
    int64_t count, room, users_max;
    uint64_t evictions; /* also where the next search begins */
    int most;
};

enum status sequences_create(struct sequences **sequences, int most, int64_t users_max,
                             struct error *err)
{
    struct sequences *made = calloc(1, sizeof *made);

    assert(most >= 1 && most <= SEQUENCE_MAX && users_max >= 1 && users_max <= UINT32_MAX);
    *sequences = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for sequences");
    made->most = most;
    made->users_max = users_max;
    made->index = map64_create(0, (size_t)users_max);
    if (made->index == NULL) {
        free(made);
        return error_set(err, ERR_NOMEM, "no memory for sequences");
    }
    *sequences = made;
    return OK;
}

void sequences_destroy(struct sequences *s)
{
    if (s == NULL)
        return;
    for (int64_t u = 0; u < s->count; u++)
        free(s->users[u].entries);
    free(s->users);
    map64_destroy(s->index);
    free(s);
}

static const struct sequence *find(const struct sequences *s, uint64_t user)
{
    uint32_t at;

    return map64_get(s->index, user, &at) ? &s->users[at] : NULL;
}

static int64_t newest_ms(const struct sequence *sequence)
{
    return sequence->count == 0 ? sequence->erased_at_ms
                                : sequence->entries[sequence->count - 1].time_ms;
}

/* The place of the most silent of a few users: which few depends on the calls made alone. Its
 * memory stays there for the next one. */
static int64_t evict(struct sequences *s)
{
    int64_t start = (int64_t)(s->evictions++ * LOOKED_AT % (uint64_t)s->count);
    int64_t silent = start;

    for (int64_t i = 1; i < LOOKED_AT && i < s->count; i++) {
        int64_t at = (start + i) % s->count;

        if (newest_ms(&s->users[at]) < newest_ms(&s->users[silent]))
            silent = at;
    }
    (void)map64_remove(s->index, s->users[silent].user);
    return silent;
}

static enum status find_or_add(struct sequences *s, uint64_t user, struct sequence **found,
                               struct error *err)
{
    uint32_t known;
    int64_t at;

    assert(s->users_max > 0 && s->count >= 0);
    if (map64_get(s->index, user, &known)) {
        *found = &s->users[known];
        return OK;
    }
    if (s->count == s->room && s->count < s->users_max) {
        int64_t room = s->room == 0 ? 1024 : 2 * s->room;
        struct sequence *users;

        room = room < s->users_max ? room : s->users_max;
        users = realloc(s->users, (size_t)room * sizeof *users);
        if (users == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %lld users", (long long)room);
        s->users = users;
        s->room = room;
    }
    if (s->count < s->users_max) {
        at = s->count;
        s->users[at] = (struct sequence){.user = user};
    } else {
        at = evict(s);
        s->users[at] = (struct sequence){
            .user = user, .entries = s->users[at].entries, .room = s->users[at].room};
    }
    enum status status = map64_put(s->index, user, (uint32_t)at);
    if (status != OK)
        return error_set(err, status, "no memory for another user");
    s->count += at == s->count;
    *found = &s->users[at];
    return OK;
}

/* First entry that is not before *key. */
static int lower_bound(const struct sequence *sequence, const struct user_entry *key)
{
    int low = 0, high = sequence->count;

    if (high == 0 || user_entry_compare(&sequence->entries[high - 1], key) < 0)
        return high;
    while (low < high) {
        int middle = (low + high) / 2;

        if (user_entry_compare(&sequence->entries[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum status insert(struct sequence *sequence, int at, const struct user_entry *entry,
                          int most, struct error *err)
{
    assert(most > 0 && at >= 0 && at <= sequence->count && (at > 0 || sequence->count < most));
    if (sequence->count == most) {
        sequence->count--;
        at--;
        memmove(sequence->entries, sequence->entries + 1, (size_t)sequence->count * sizeof *entry);
    } else if (sequence->count == sequence->room) {
        int room = sequence->room == 0 ? 4 : 2 * sequence->room;
        struct user_entry *entries;

        room = room < most ? room : most;
        assert(room > sequence->count);
        entries = realloc(sequence->entries, (size_t)room * sizeof *entries);
        if (entries == NULL)
            return error_set(err, ERR_NOMEM, "no memory for a sequence of %d", room);
        sequence->entries = entries;
        sequence->room = room;
    }
    memmove(sequence->entries + at + 1, sequence->entries + at,
            (size_t)(sequence->count - at) * sizeof *entry);
    sequence->entries[at] = *entry;
    sequence->count++;
    sequence->running++;
    return OK;
}

enum status sequences_enter(struct sequences *s, uint64_t user, const struct user_entry *entry,
                            enum sequences_result *result, struct error *err)
{
    struct sequence *sequence;
    enum status status = find_or_add(s, user, &sequence, err);
    int at;

    if (status != OK)
        return status;
    *result = SEQUENCES_ERASED;
    if (sequence->erased_at_ms > 0 && entry->time_ms <= sequence->erased_at_ms)
        return OK;
    *result = SEQUENCES_KNOWN;
    at = lower_bound(sequence, entry);
    if (at < sequence->count && user_entry_compare(&sequence->entries[at], entry) == 0)
        return OK;
    *result = SEQUENCES_OLDER;
    if (at == 0 && sequence->count == s->most)
        return OK;
    *result = SEQUENCES_ENTERED;
    return insert(sequence, at, entry, s->most, err);
}

enum status sequences_erase(struct sequences *s, uint64_t user, int64_t time_ms, struct error *err)
{
    struct sequence *sequence;
    enum status status = find_or_add(s, user, &sequence, err);
    int gone = 0;

    if (status != OK)
        return status;
    if (time_ms > sequence->erased_at_ms)
        sequence->erased_at_ms = time_ms;
    sequence->lists = (struct list_memory){0}; /* their ids are the user's, too */
    while (gone < sequence->count && sequence->entries[gone].time_ms <= time_ms)
        gone++;
    sequence->count -= gone;
    if (gone > 0)
        memmove(sequence->entries, sequence->entries + gone,
                (size_t)sequence->count * sizeof sequence->entries[0]);
    return OK;
}

enum status sequences_shown(struct sequences *s, uint64_t user, uint64_t list, int64_t time_ms,
                            bool *fresh, struct error *err)
{
    struct sequence *sequence;
    enum status status = find_or_add(s, user, &sequence, err);

    if (status != OK)
        return status;
    *fresh = (sequence->erased_at_ms == 0 || time_ms > sequence->erased_at_ms) &&
             list_memory_new(&sequence->lists, list);
    return OK;
}

struct sequences_view sequences_get(const struct sequences *s, uint64_t user)
{
    const struct sequence *found = find(s, user);

    if (found == NULL)
        return (struct sequences_view){0};
    return (struct sequences_view){found->entries, found->count, found->running};
}

struct sequences_view sequences_before(const struct sequences *s, uint64_t user,
                                       const struct user_entry *entry)
{
    const struct sequence *found = find(s, user);
    int at;

    if (found == NULL)
        return (struct sequences_view){0};
    at = lower_bound(found, entry);
    return (struct sequences_view){found->entries, at,
                                   found->running - (uint32_t)(found->count - at)};
}

int64_t sequences_users(const struct sequences *s)
{
    return s->count;
}

void sequences_save(const struct sequences *s, struct state_file *state)
{
    state_file_put_u64(state, s->evictions);
    state_file_put_u64(state, (uint64_t)s->count);
    for (int64_t u = 0; u < s->count; u++) {
        const struct sequence *sequence = &s->users[u];

        state_file_put_u64(state, sequence->user);
        state_file_put_u32(state, sequence->running);
        state_file_put_u64(state, (uint64_t)sequence->erased_at_ms);
        for (int i = 0; i < LIST_MEMORY_MAX; i++)
            state_file_put_u64(state, sequence->lists.ids[i]);
        state_file_put_u64(state, (uint64_t)sequence->count);
        for (int i = 0; i < sequence->count; i++) {
            state_file_put_u64(state, sequence->entries[i].item);
            state_file_put_u64(state, (uint64_t)sequence->entries[i].time_ms);
            state_file_put_u8(state, sequence->entries[i].action);
        }
    }
}

static enum status load_one(struct sequences *s, struct state_file *state, struct error *err)
{
    struct sequence *sequence;
    uint64_t user = state_file_get_u64(state);
    uint32_t running = state_file_get_u32(state);
    int64_t erased_at_ms = (int64_t)state_file_get_u64(state);
    struct list_memory lists;

    for (int i = 0; i < LIST_MEMORY_MAX; i++)
        lists.ids[i] = state_file_get_u64(state);
    /* A setting that was lowered since then is met by the entries that come next. */
    int count = (int)state_file_get_count(state, ENTRY_BYTES, SEQUENCE_MAX);
    enum status status = find_or_add(s, user, &sequence, err);

    if (status != OK)
        return status;
    if (sequence->count != 0)
        state_file_refuse(state); /* one user twice */
    for (int i = 0; i < count && status == OK; i++) {
        struct user_entry entry = {.item = state_file_get_u64(state)};

        entry.time_ms = (int64_t)state_file_get_u64(state);
        entry.action = state_file_get_u8(state);
        if (sequence->count > 0 &&
            user_entry_compare(&sequence->entries[sequence->count - 1], &entry) >= 0)
            state_file_refuse(state);
        status = insert(sequence, sequence->count, &entry, s->most, err);
    }
    sequence->running = running;
    sequence->erased_at_ms = erased_at_ms;
    sequence->lists = lists;
    return status;
}

enum status sequences_load(struct sequences *s, struct state_file *state, struct error *err)
{
    enum status status = OK;
    uint64_t evictions = state_file_get_u64(state);
    /* More than fit by now: the silent ones go, as they do in use. */
    uint64_t count = state_file_get_count(state, USER_BYTES, UINT32_MAX);

    assert(s->count == 0);
    for (uint64_t u = 0; u < count && status == OK && !state->failed; u++)
        status = load_one(s, state, err);
    s->evictions = evictions;
    if (status == OK && state->failed)
        return error_set(err, ERR_MALFORMED, "state holds sequences that contradict themselves");
    return status;
}

bool sequences_view_has(const struct sequences_view *view, uint64_t item)
{
    for (int i = 0; i < view->count; i++)
        if (view->entries[i].item == item)
            return true;
    return false;
}
