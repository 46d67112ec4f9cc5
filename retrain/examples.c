/*
 * retrain/examples.c - pending lists in a table by id; ripening walks them, which are few: what was
 * shown within one join window.
 */
#include "retrain/examples.h"

#include "ops/defence.h"
#include "ops/hash.h"
#include "ops/map64.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS_MAX 4096
#define NOTES_MAX      (1 << 14) /* impressions without trace whose example is on its way */
#define RIPE_IDS       (1 << 16) /* ids of lists that were handed on: a repetition is known */
#define SAVED_BYTES    40
#define JUST_LOADED    INT64_MIN /* seen_us of a mark until the clock is known */

/* One list that waits, or the labels of one that has not come. */
struct pending {
    uint64_t id;
    uint64_t user;
    int64_t shown_at_ms; /* of labels alone: what they say it is */
    struct list *list;   /* NULL: only labels so far; rows are not filled */
    uint64_t *rows;      /* (list's rows_count) hashes */
    struct example_label {
        int row;
        float label;
    } * labels;
    int labels_count;
};

struct note {
    uint64_t key;
    int rows_count;
    int64_t *raw;
};

struct mark {
    int32_t partition;
    int64_t watermark_ms;
    int64_t seen_us;
};

struct examples {
    struct examples_options options;
    struct pending *pending;
    int count, room;
    struct map64 *by_id; /* id -> index into pending */
    struct mark marks[PARTITIONS_MAX];
    int marks_count;
    struct note *notes; /* (NOTES_MAX) by key */
    uint64_t *ripe_ids; /* (RIPE_IDS) ring */
    uint64_t ripe_count;
    struct map64 *ripe;
    struct examples_counts counts;
};

enum status examples_create(struct examples **examples, const struct examples_options *options,
                            struct error *err)
{
    struct examples *e = calloc(1, sizeof *e);

    *examples = NULL;
    if (e != NULL) {
        e->options = *options;
        e->by_id = map64_create(0, (size_t)options->pending_max + 1);
        e->ripe = map64_create(0, RIPE_IDS + 1);
        e->notes = calloc(NOTES_MAX, sizeof *e->notes);
        e->ripe_ids = calloc(RIPE_IDS, sizeof *e->ripe_ids);
    }
    if (e == NULL || e->by_id == NULL || e->ripe == NULL || e->notes == NULL ||
        e->ripe_ids == NULL) {
        examples_destroy(e);
        return error_set(err, ERR_NOMEM, "no memory for examples");
    }
    *examples = e;
    return OK;
}

static void clear_pending(struct pending *p)
{
    list_destroy(p->list);
    free(p->rows);
    free(p->labels);
    *p = (struct pending){0};
}

void examples_destroy(struct examples *e)
{
    if (e == NULL)
        return;
    for (int i = 0; i < e->count; i++)
        clear_pending(&e->pending[i]);
    for (int i = 0; e->notes != NULL && i < NOTES_MAX; i++)
        free(e->notes[i].raw);
    free(e->pending);
    free(e->notes);
    free(e->ripe_ids);
    map64_destroy(e->by_id);
    map64_destroy(e->ripe);
    free(e);
}

/* ---- the table ---- */

/* The last one takes its place. */
static void remove_pending(struct examples *e, int at)
{
    (void)map64_remove(e->by_id, e->pending[at].id);
    clear_pending(&e->pending[at]);
    e->count--;
    if (at == e->count)
        return;
    e->pending[at] = e->pending[e->count];
    e->pending[e->count] = (struct pending){0};
    /* Replaces a value that is there: nothing has to grow. */
    if (map64_put(e->by_id, e->pending[at].id, (uint32_t)at) != OK)
        abort();
}

static void let_oldest_go(struct examples *e)
{
    int oldest = 0;

    for (int i = 1; i < e->count; i++)
        if (e->pending[i].shown_at_ms < e->pending[oldest].shown_at_ms)
            oldest = i;
    e->counts.overflowed++;
    remove_pending(e, oldest);
}

static enum status find_or_add(struct examples *e, const struct example *example, int64_t shown_at,
                               struct pending **found, struct error *err)
{
    uint32_t at;
    enum status status;

    if (map64_get(e->by_id, example->id, &at)) {
        *found = &e->pending[at];
        return OK;
    }
    if (e->count == e->options.pending_max)
        let_oldest_go(e);
    if (e->count == e->room) {
        int room = e->room == 0 ? 256 : 2 * e->room;
        struct pending *grown = realloc(e->pending, (size_t)room * sizeof *grown);

        if (grown == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %d examples", room);
        e->pending = grown;
        e->room = room;
    }
    status = map64_put(e->by_id, example->id, (uint32_t)e->count);
    if (status != OK)
        return error_set(err, status, "no memory for another example");
    e->pending[e->count] = (struct pending){
        .id = example->id, .user = example->user, .shown_at_ms = shown_at};
    *found = &e->pending[e->count++];
    return OK;
}

/* ---- records ---- */

static uint64_t note_key(uint64_t user, int64_t shown_at_ms, const uint64_t *rows, int rows_count)
{
    uint64_t rows_hash = hash64(rows, (size_t)rows_count * sizeof *rows, user);

    return hash64_mix(hash64_mix(user, (uint64_t)shown_at_ms), rows_hash);
}

void examples_note(struct examples *e, uint64_t user, int64_t shown_at_ms, const uint64_t *rows,
                   int rows_count, const int64_t *raw)
{
    uint64_t key = note_key(user, shown_at_ms, rows, rows_count);
    struct note *note = &e->notes[key % NOTES_MAX];
    size_t bytes = (size_t)rows_count * RAW_COLUMNS * sizeof *raw;
    int64_t *copy;

    if (note->raw != NULL && note->key == key)
        return; /* shown twice: the first counts are those of before any click */
    copy = malloc(bytes);
    if (copy == NULL)
        return; /* the list will be without counts, which is counted */
    memcpy(copy, raw, bytes);
    free(note->raw);
    *note = (struct note){key, rows_count, copy};
}

/* False: there are no counts for this list. */
static bool take_raw(const struct examples *e, const struct example *example, int64_t *raw)
{
    size_t bytes = (size_t)example->rows_count * RAW_COLUMNS * sizeof *raw;
    uint64_t key;
    const struct note *note;

    if (example->raw_columns == RAW_COLUMNS) {
        memcpy(raw, example->raw, bytes);
        return true;
    }
    key = note_key(example->user, example->time_ms, example->rows, example->rows_count);
    note = &e->notes[key % NOTES_MAX];
    if (note->raw == NULL || note->key != key || note->rows_count != example->rows_count)
        return false;
    memcpy(raw, note->raw, bytes);
    return true;
}

static enum status add_shown(struct examples *e, const struct example *example, struct error *err)
{
    struct pending *pending;
    struct list *list;
    uint64_t *rows;
    enum status status;

    e->counts.shown++;
    if (map64_get(e->ripe, example->id, NULL)) {
        e->counts.repeated++;
        return OK;
    }
    status = find_or_add(e, example, example->time_ms, &pending, err);
    if (status != OK)
        return status;
    if (pending->list != NULL) {
        e->counts.repeated++;
        return OK;
    }
    list = list_create(example->history_count, example->rows_count);
    rows = malloc((size_t)example->rows_count * sizeof *rows);
    if (list == NULL || rows == NULL) {
        list_destroy(list);
        free(rows);
        return error_set(err, ERR_NOMEM, "no memory for an example of %d rows",
                         example->rows_count);
    }
    list->id = example->id;
    list->user = example->user;
    list->time_ms = example->request_time_ms;
    list->running = example->running;
    memcpy(list->context, example->context, sizeof list->context);
    if (example->history_count > 0)
        memcpy(list->history, example->history,
               (size_t)example->history_count * sizeof *list->history);
    memcpy(rows, example->rows, (size_t)example->rows_count * sizeof *rows);
    pending->shown_at_ms = example->time_ms;
    pending->list = list;
    pending->rows = rows;
    if (!take_raw(e, example, list->raw)) {
        e->counts.without_counts++;
        remove_pending(e, (int)(pending - e->pending));
    }
    return OK;
}

static enum status add_label(struct examples *e, const struct example *example, struct lists *pool,
                             struct error *err)
{
    float label = e->options.rules->actions[example->action % ACTIONS_MAX].label;
    struct example_label *grown;
    struct pending *pending;
    enum status status;

    e->counts.labels++;
    if (!(label > 0))
        return OK;
    if (map64_get(e->ripe, example->id, NULL)) {
        if (DEFENCE(LATE_LABEL) && lists_correct(pool, example->id, example->row, label))
            e->counts.late_labels++;
        else
            e->counts.lost_labels++;
        return OK;
    }
    status = find_or_add(e, example, example->shown_at_ms, &pending, err);
    if (status != OK)
        return status;
    for (int i = 0; i < pending->labels_count; i++)
        if (pending->labels[i].row == example->row && pending->labels[i].label >= label)
            return OK;
    grown = realloc(pending->labels, (size_t)(pending->labels_count + 1) * sizeof *grown);
    if (grown == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a label");
    pending->labels = grown;
    grown[pending->labels_count++] = (struct example_label){example->row, label};
    return OK;
}

static void add_mark(struct examples *e, const struct example *example, int64_t now_us)
{
    int at = 0;

    e->counts.marks++;
    while (at < e->marks_count && e->marks[at].partition != example->partition)
        at++;
    if (at == PARTITIONS_MAX)
        return;
    if (at == e->marks_count)
        e->marks[e->marks_count++] = (struct mark){example->partition, INT64_MIN, 0};
    if (example->time_ms > e->marks[at].watermark_ms)
        e->marks[at].watermark_ms = example->time_ms;
    e->marks[at].seen_us = now_us;
}

enum status examples_add(struct examples *e, const struct example *example, struct lists *pool,
                         int64_t now_us, struct error *err)
{
    switch (example->kind) {
    case EXAMPLE_SHOWN:
        return add_shown(e, example, err);
    case EXAMPLE_LABEL:
        return add_label(e, example, pool, err);
    case EXAMPLE_ERASE:
        examples_erase(e, example->user, example->time_ms);
        (void)lists_erase(pool, example->user, example->time_ms);
        return OK;
    case EXAMPLE_MARK:
        add_mark(e, example, now_us);
        return OK;
    }
    return OK;
}

void examples_erase(struct examples *e, uint64_t user, int64_t time_ms)
{
    for (int i = e->count - 1; i >= 0; i--) {
        if (e->pending[i].user != user || e->pending[i].shown_at_ms > time_ms)
            continue;
        remove_pending(e, i);
        e->counts.erased++;
    }
}

/* ---- ripening ---- */

int64_t examples_watermark(const struct examples *e, int64_t now_ms, int64_t now_us)
{
    int64_t least = now_ms;

    for (int i = 0; i < e->marks_count; i++) {
        const struct mark *mark = &e->marks[i];

        if (mark->seen_us != JUST_LOADED && now_us - mark->seen_us > e->options.idle_ms * 1000)
            continue;
        if (mark->watermark_ms < least)
            least = mark->watermark_ms;
    }
    return least;
}

bool examples_marked(const struct examples *e)
{
    return e->marks_count > 0;
}

static bool is_ripe(const struct examples *e, int i, int64_t until_ms)
{
    return e->pending[i].shown_at_ms + e->options.rules->join_window_ms < until_ms;
}

bool examples_held_back(const struct examples *e, int64_t now_ms, int64_t now_us)
{
    int64_t until_ms = examples_watermark(e, now_ms, now_us);

    for (int i = 0; i < e->count; i++)
        if (is_ripe(e, i, now_ms) && !is_ripe(e, i, until_ms))
            return true;
    return false;
}

/* From here on the id is known as handed on; the oldest known one is forgotten. */
static enum status remember(struct examples *e, uint64_t id, struct error *err)
{
    uint64_t *slot = &e->ripe_ids[e->ripe_count % RIPE_IDS];
    enum status status;

    if (e->ripe_count >= RIPE_IDS)
        (void)map64_remove(e->ripe, *slot);
    status = map64_put(e->ripe, id, 0);
    if (status != OK)
        return error_set(err, status, "no memory to remember an example");
    *slot = id;
    e->ripe_count++;
    return OK;
}

static void finish(const struct pending *pending, const struct item_tables *tables)
{
    struct list *list = pending->list;

    for (int i = 0; i < list->rows_count; i++)
        list->rows[i] = item_tables_find(tables, pending->rows[i]);
    for (int i = 0; i < pending->labels_count; i++) {
        const struct example_label *label = &pending->labels[i];

        if (label->row >= 0 && label->row < list->rows_count &&
            label->label > list->labels[label->row])
            list->labels[label->row] = label->label;
    }
}

struct ripe_one {
    int64_t shown_at_ms;
    uint64_t id;
};

static int by_time(const void *a, const void *b)
{
    const struct ripe_one *x = a, *y = b;

    if (x->shown_at_ms != y->shown_at_ms)
        return (x->shown_at_ms > y->shown_at_ms) - (x->shown_at_ms < y->shown_at_ms);
    return (x->id > y->id) - (x->id < y->id);
}

static enum status hand_on(struct examples *e, uint64_t id, const struct item_tables *tables,
                           void (*add)(void *context, struct list *list), void *context,
                           struct error *err)
{
    struct pending *pending;
    enum status status;
    uint32_t at;

    if (!map64_get(e->by_id, id, &at))
        return OK;
    pending = &e->pending[at];
    if (pending->list == NULL) {
        e->counts.lost_labels += pending->labels_count;
        remove_pending(e, (int)at);
        return OK;
    }
    status = remember(e, id, err);
    if (status != OK)
        return status;
    finish(pending, tables);
    add(context, pending->list);
    pending->list = NULL;
    e->counts.ripe++;
    remove_pending(e, (int)at);
    return OK;
}

enum status examples_ripen(struct examples *e, const struct item_tables *tables, int64_t now_ms,
                           int64_t now_us, void (*add)(void *context, struct list *list),
                           void *context, struct error *err)
{
    int64_t until_ms = examples_watermark(e, now_ms, now_us);
    struct ripe_one *ripe;
    enum status status = OK;
    int count = 0;

    for (int i = 0; i < e->marks_count; i++)
        if (e->marks[i].seen_us == JUST_LOADED)
            e->marks[i].seen_us = now_us;
    if (e->count == 0 || until_ms == INT64_MIN)
        return OK;
    ripe = malloc((size_t)e->count * sizeof *ripe);
    if (ripe == NULL)
        return error_set(err, ERR_NOMEM, "no memory to ripen %d examples", e->count);
    for (int i = 0; i < e->count; i++)
        if (!DEFENCE(RIPE) || is_ripe(e, i, until_ms))
            ripe[count++] = (struct ripe_one){e->pending[i].shown_at_ms, e->pending[i].id};
    qsort(ripe, (size_t)count, sizeof *ripe, by_time);
    for (int i = 0; i < count && status == OK; i++)
        status = hand_on(e, ripe[i].id, tables, add, context, err);
    free(ripe);
    return status;
}

int examples_pending(const struct examples *e)
{
    return e->count;
}

const struct examples_counts *examples_counts(const struct examples *e)
{
    return &e->counts;
}

/* ---- checkpoint: notes and counts are left out, they only help while they are fresh ---- */

static void save_one(const struct pending *p, struct state_file *state)
{
    state_file_put_u64(state, p->id);
    state_file_put_u64(state, p->user);
    state_file_put_u64(state, (uint64_t)p->shown_at_ms);
    state_file_put_u64(state, (uint64_t)p->labels_count);
    for (int i = 0; i < p->labels_count; i++) {
        state_file_put_u32(state, (uint32_t)p->labels[i].row);
        state_file_put_real(state, (double)p->labels[i].label);
    }
    state_file_put_u8(state, p->list != NULL);
    if (p->list == NULL)
        return;
    list_save(p->list, state);
    for (int i = 0; i < p->list->rows_count; i++)
        state_file_put_u64(state, p->rows[i]);
}

void examples_save(const struct examples *e, struct state_file *state)
{
    state_file_put_u64(state, (uint64_t)e->marks_count);
    for (int i = 0; i < e->marks_count; i++) {
        state_file_put_u32(state, (uint32_t)e->marks[i].partition);
        state_file_put_u64(state, (uint64_t)e->marks[i].watermark_ms);
    }
    state_file_put_u64(state, e->ripe_count);
    for (int i = 0; i < RIPE_IDS; i++)
        state_file_put_u64(state, e->ripe_ids[i]);
    state_file_put_u64(state, (uint64_t)e->count);
    for (int i = 0; i < e->count; i++)
        save_one(&e->pending[i], state);
}

static enum status load_one(struct examples *e, struct state_file *state, struct error *err)
{
    struct example key = {.id = state_file_get_u64(state)};
    struct pending *pending;
    enum status status;
    int64_t shown_at;

    key.user = state_file_get_u64(state);
    shown_at = (int64_t)state_file_get_u64(state);
    status = find_or_add(e, &key, shown_at, &pending, err);
    if (status != OK)
        return status;
    pending->labels_count = (int)state_file_get_count(state, 12, EVENT_ROWS_MAX * ACTIONS_MAX);
    pending->labels = calloc((size_t)pending->labels_count + 1, sizeof *pending->labels);
    if (pending->labels == NULL)
        return error_set(err, ERR_NOMEM, "no memory for labels");
    for (int i = 0; i < pending->labels_count; i++) {
        pending->labels[i].row = (int)state_file_get_u32(state);
        pending->labels[i].label = (float)state_file_get_real(state);
    }
    if (state_file_get_u8(state) == 0)
        return OK;
    pending->list = list_load(state, INT32_MAX);
    if (pending->list == NULL)
        return OK; /* state has failed: the caller sees it */
    pending->rows = calloc((size_t)pending->list->rows_count, sizeof *pending->rows);
    if (pending->rows == NULL)
        return error_set(err, ERR_NOMEM, "no memory for an example");
    for (int i = 0; i < pending->list->rows_count; i++)
        pending->rows[i] = state_file_get_u64(state);
    return OK;
}

enum status examples_load(struct examples *e, struct state_file *state, struct error *err)
{
    enum status status = OK;
    uint64_t count;

    assert(e->count == 0);
    e->marks_count = (int)state_file_get_count(state, 12, PARTITIONS_MAX);
    for (int i = 0; i < e->marks_count; i++) {
        e->marks[i].partition = (int32_t)state_file_get_u32(state);
        e->marks[i].watermark_ms = (int64_t)state_file_get_u64(state);
        e->marks[i].seen_us = JUST_LOADED; /* the labels of what waits may still be unread */
    }
    e->ripe_count = state_file_get_u64(state);
    for (int i = 0; i < RIPE_IDS; i++) {
        e->ripe_ids[i] = state_file_get_u64(state);
        if ((uint64_t)i < e->ripe_count && map64_put(e->ripe, e->ripe_ids[i], 0) != OK)
            return error_set(err, ERR_NOMEM, "no memory to remember examples");
    }
    count = state_file_get_count(state, SAVED_BYTES, (uint64_t)e->options.pending_max);
    for (uint64_t i = 0; i < count && status == OK && !state->failed; i++)
        status = load_one(e, state, err);
    if (status == OK && state->failed)
        return error_set(err, ERR_MALFORMED, "state holds examples that contradict themselves");
    return status;
}
