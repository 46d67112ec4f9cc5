/*
 * retrain/lists.c - a ring of fresh lists and an array of kept ones.
 *
 * Corrections find a list by walking: they are rare after the window has passed, which is when a
 * list enters the pool, and a map would have to follow every move.
 */
#include "retrain/lists.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SAVED_BYTES 28 /* at least, of one list */

struct lists {
    struct list **fresh; /* (fresh_max) ring */
    int fresh_first, fresh_count;
    struct list **kept; /* (kept_max) */
    int kept_count;
    struct list *taken; /* handed out last */
    struct lists_options options;
    struct random random;
};

struct list *list_create(int history_count, int rows_count)
{
    struct list *list;
    size_t history_bytes = (size_t)history_count * sizeof *list->history;
    size_t raw_bytes = (size_t)rows_count * RAW_COLUMNS * sizeof *list->raw;
    size_t each_bytes = sizeof *list->rows + sizeof *list->labels;
    char *at;

    if (rows_count < 1 || rows_count > LIST_ROWS_MAX || history_count < 0 ||
        history_count > SEQUENCE_MAX)
        return NULL;
    list = calloc(1, sizeof *list + history_bytes + raw_bytes + (size_t)rows_count * each_bytes);
    if (list == NULL)
        return NULL;
    at = (char *)(list + 1);
    list->history = (struct user_entry *)at;
    list->raw = (int64_t *)(at + history_bytes);
    list->rows = (int32_t *)(at + history_bytes + raw_bytes);
    list->labels = (float *)(list->rows + rows_count);
    list->history_count = history_count;
    list->rows_count = rows_count;
    return list;
}

void list_destroy(struct list *list)
{
    free(list);
}

bool list_has_label(const struct list *list)
{
    for (int i = 0; i < list->rows_count; i++)
        if (list->labels[i] > 0)
            return true;
    return false;
}

struct batch_request list_request(const struct list *list)
{
    return (struct batch_request){.history = list->history,
                                  .history_count = list->history_count,
                                  .running = list->running,
                                  .context = list->context,
                                  .request_time_ms = list->time_ms,
                                  .candidates = list->rows,
                                  .raw = list->raw,
                                  .candidates_count = list->rows_count};
}

enum status lists_create(struct lists **lists, const struct lists_options *options,
                         struct error *err)
{
    struct lists *made = calloc(1, sizeof *made);

    assert(options->fresh_max >= 1 && options->kept_max >= 0);
    *lists = NULL;
    if (made != NULL) {
        made->options = *options;
        random_seed(&made->random, options->seed);
        made->fresh = calloc((size_t)options->fresh_max, sizeof *made->fresh);
        made->kept = calloc((size_t)options->kept_max + 1, sizeof *made->kept);
    }
    if (made == NULL || made->fresh == NULL || made->kept == NULL) {
        lists_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory for a pool of %d lists", options->fresh_max);
    }
    *lists = made;
    return OK;
}

static struct list **fresh_slot(const struct lists *lists, int i)
{
    return &lists->fresh[(lists->fresh_first + i) % lists->options.fresh_max];
}

void lists_destroy(struct lists *lists)
{
    if (lists == NULL)
        return;
    for (int i = 0; i < lists->fresh_count; i++)
        list_destroy(*fresh_slot(lists, i));
    assert(lists->kept_count == 0 || lists->kept != NULL);
    for (int i = 0; i < lists->kept_count; i++)
        list_destroy(lists->kept[i]);
    list_destroy(lists->taken);
    free(lists->fresh);
    free(lists->kept);
    free(lists);
}

static void keep(struct lists *lists, struct list *list)
{
    if (list == NULL)
        return;
    if (lists->kept_count < lists->options.kept_max) {
        lists->kept[lists->kept_count++] = list;
        return;
    }
    if (lists->kept_count > 0) {
        uint64_t at = random_below(&lists->random, (uint64_t)lists->kept_count);
        struct list *old = lists->kept[at];

        lists->kept[at] = list;
        list = old;
    }
    list_destroy(list);
}

static struct list *pop_fresh(struct lists *lists)
{
    struct list *list = *fresh_slot(lists, 0);

    lists->fresh_first = (lists->fresh_first + 1) % lists->options.fresh_max;
    lists->fresh_count--;
    return list;
}

static void keep_taken(struct lists *lists)
{
    keep(lists, lists->taken);
    lists->taken = NULL;
}

void lists_add(struct lists *lists, struct list *list)
{
    keep_taken(lists);
    if (lists->fresh_count == lists->options.fresh_max)
        keep(lists, pop_fresh(lists));
    *fresh_slot(lists, lists->fresh_count) = list;
    lists->fresh_count++;
}

const struct list *lists_take(struct lists *lists, int64_t until_ms)
{
    keep_taken(lists);
    if (lists->fresh_count == 0 || (*fresh_slot(lists, 0))->time_ms >= until_ms)
        return NULL;
    lists->taken = pop_fresh(lists);
    return lists->taken;
}

const struct list *lists_replay(struct lists *lists)
{
    if (lists->kept_count == 0)
        return NULL;
    return lists->kept[random_below(&lists->random, (uint64_t)lists->kept_count)];
}

int lists_fresh(const struct lists *lists)
{
    return lists->fresh_count;
}

int lists_kept(const struct lists *lists)
{
    return lists->kept_count;
}

const struct list *lists_fresh_at(const struct lists *lists, int i)
{
    assert(i >= 0 && i < lists->fresh_count);
    return *fresh_slot(lists, i);
}

int lists_held(const struct lists *lists)
{
    return lists->kept_count + lists->fresh_count;
}

const struct list *lists_held_at(const struct lists *lists, int i)
{
    return i < lists->kept_count ? lists->kept[i] : lists_fresh_at(lists, i - lists->kept_count);
}

static bool correct_one(struct list *list, uint64_t id, int row, float label)
{
    if (list == NULL || list->id != id || row < 0 || row >= list->rows_count)
        return false;
    if (label > list->labels[row])
        list->labels[row] = label;
    return true;
}

bool lists_correct(struct lists *lists, uint64_t id, int row, float label)
{
    assert(id != 0);
    /* The newest first: late labels are rarely very late. */
    for (int i = lists->fresh_count - 1; i >= 0; i--)
        if (correct_one(*fresh_slot(lists, i), id, row, label))
            return true;
    for (int i = lists->kept_count - 1; i >= 0; i--)
        if (correct_one(lists->kept[i], id, row, label))
            return true;
    return correct_one(lists->taken, id, row, label);
}

static bool of_user(const struct list *list, uint64_t user, int64_t time_ms)
{
    return list->user == user && list->time_ms <= time_ms;
}

int lists_erase(struct lists *lists, uint64_t user, int64_t time_ms)
{
    int left = 0, erased = 0;

    keep_taken(lists);
    for (int i = 0; i < lists->fresh_count; i++) {
        struct list *list = *fresh_slot(lists, i);

        if (of_user(list, user, time_ms)) {
            list_destroy(list);
            erased++;
        } else {
            *fresh_slot(lists, left++) = list;
        }
    }
    lists->fresh_count = left;
    left = 0;
    for (int i = 0; i < lists->kept_count; i++) {
        if (of_user(lists->kept[i], user, time_ms)) {
            list_destroy(lists->kept[i]);
            erased++;
        } else {
            lists->kept[left++] = lists->kept[i];
        }
    }
    lists->kept_count = left;
    return erased;
}

/* ---- checkpoint ---- */

/* Codes lie above the count of the history: without any a state is as it was before there were. */
static uint64_t pack_context(const struct list *list)
{
    uint64_t packed = 0;

    for (int i = 0; i < BATCH_CONTEXTS; i++)
        packed |= (uint64_t)list->context[i] << (8 * i);
    return packed;
}

void list_save(const struct list *list, struct state_file *state)
{
    state_file_put_u64(state, list->id);
    state_file_put_u64(state, list->user);
    state_file_put_u64(state, (uint64_t)list->time_ms);
    state_file_put_u32(state, list->running);
    state_file_put_u64(state, pack_context(list) << 32 | (uint64_t)list->history_count);
    state_file_put_u64(state, (uint64_t)list->rows_count);
    for (int i = 0; i < list->history_count; i++) {
        state_file_put_u64(state, list->history[i].item);
        state_file_put_u64(state, (uint64_t)list->history[i].time_ms);
        state_file_put_u8(state, list->history[i].action);
    }
    for (int i = 0; i < list->rows_count; i++) {
        state_file_put_u32(state, (uint32_t)list->rows[i]);
        state_file_put_real(state, (double)list->labels[i]);
        for (int c = 0; c < RAW_COLUMNS; c++)
            state_file_put_u64(state, (uint64_t)list->raw[i * RAW_COLUMNS + c]);
    }
}

struct list *list_load(struct state_file *state, int items)
{
    uint64_t id = state_file_get_u64(state);
    uint64_t user = state_file_get_u64(state);
    int64_t time_ms = (int64_t)state_file_get_u64(state);
    uint32_t running = state_file_get_u32(state);
    uint64_t packed = state_file_get_u64(state);
    int history_count = (uint32_t)packed > SEQUENCE_MAX ? -1 : (int)(uint32_t)packed;
    int rows_count = (int)state_file_get_count(state, 1, LIST_ROWS_MAX);
    struct list *list = list_create(history_count, rows_count);

    if (list == NULL) {
        state_file_refuse(state);
        return NULL;
    }
    list->id = id;
    list->user = user;
    list->time_ms = time_ms;
    list->running = running;
    for (int i = 0; i < BATCH_CONTEXTS; i++)
        list->context[i] = (uint8_t)(packed >> (32 + 8 * i));
    for (int i = 0; i < history_count; i++) {
        list->history[i].item = state_file_get_u64(state);
        list->history[i].time_ms = (int64_t)state_file_get_u64(state);
        list->history[i].action = state_file_get_u8(state);
    }
    for (int i = 0; i < rows_count; i++) {
        list->rows[i] = (int32_t)state_file_get_u32(state);
        list->labels[i] = (float)state_file_get_real(state);
        for (int c = 0; c < RAW_COLUMNS; c++)
            list->raw[i * RAW_COLUMNS + c] = (int64_t)state_file_get_u64(state);
        if (list->rows[i] < -1 || list->rows[i] >= items)
            state_file_refuse(state);
    }
    return list;
}

void lists_save(const struct lists *lists, struct state_file *state)
{
    for (int i = 0; i < 4; i++)
        state_file_put_u64(state, lists->random.s[i]);
    state_file_put_u64(state, (uint64_t)lists->fresh_count);
    state_file_put_u64(state, (uint64_t)lists->kept_count);
    state_file_put_u8(state, lists->taken != NULL);
    for (int i = 0; i < lists->fresh_count; i++)
        list_save(*fresh_slot(lists, i), state);
    for (int i = 0; i < lists->kept_count; i++)
        list_save(lists->kept[i], state);
    if (lists->taken != NULL)
        list_save(lists->taken, state);
}

enum status lists_load(struct lists *lists, struct state_file *state, int items, struct error *err)
{
    struct random random;
    uint64_t fresh, kept;
    bool taken;

    assert(lists->fresh_count == 0 && lists->kept_count == 0 && lists->taken == NULL);
    for (int i = 0; i < 4; i++)
        random.s[i] = state_file_get_u64(state);
    /* A pool that was made smaller since then takes what fits. */
    fresh = state_file_get_count(state, SAVED_BYTES, INT32_MAX);
    kept = state_file_get_count(state, SAVED_BYTES, INT32_MAX);
    taken = state_file_get_u8(state) != 0;
    for (uint64_t i = 0; i < fresh + kept + taken && !state->failed; i++) {
        struct list *list = list_load(state, items);

        if (list == NULL)
            break;
        if (i < fresh)
            lists_add(lists, list);
        else if (i < fresh + kept)
            keep(lists, list);
        else
            lists->taken = list;
    }
    lists->random = random;
    if (state->failed)
        return error_set(err, ERR_MALFORMED, "state holds lists that contradict themselves");
    return OK;
}
