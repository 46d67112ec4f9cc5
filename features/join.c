/* features/join.c - see features/rules.h for the rules this follows. */
#include "features/join.h"

#include "features/sequence.h"
#include "ops/defence.h"
#include "ops/hash.h"
#include "ops/metric.h"
#include "schemas/trace.h"

#include <assert.h>
#include <string.h>

METRIC_COUNTER(traces_refused, "freshet_features_traces_refused_total",
               "impressions whose trace was unusable: emitted without counts");
METRIC_COUNTER(labels_lost, "freshet_features_labels_lost_total",
               "labels of a request not yet seen, beyond what one open impression remembers");

/* Bounds of an encoded example, from the layout in schemas/example.c: a varint is at most 10. */
#define SMALL_EXAMPLE_BYTES 160
#define ROW_BYTES           8
#define HISTORY_BYTES       16
#define RAW_BYTES           10

/* The largest value: what user_value.c writes for each open, with room to spare. */
_Static_assert(USER_VALUE_HEADER_BYTES + SEQUENCE_MAX * USER_ENTRY_BYTES +
                       JOINS_MAX * (64 + OPEN_ROWS_MAX * 8 + OPEN_LABELS_MAX * 16) <=
                   USER_VALUE_BYTES_MAX,
               "a value within all limits must always encode");
_Static_assert(OPEN_ROWS_MAX >= EVENT_ROWS_MAX, "a shown list must fit an open impression");

static enum status no_memory(const struct join *join)
{
    return error_set(join->err, ERR_NOMEM, "no memory left in the batch for a user's value");
}

static enum status emit(const struct join *join, const struct example *example, size_t bytes_max)
{
    uint8_t *bytes = arena_alloc(join->arena, bytes_max);
    size_t bytes_count;

    if (bytes == NULL)
        return no_memory(join);
    bytes_count = example_encode(example, bytes, bytes_max);
    assert(bytes_count > 0 && join->emissions->count < EMISSIONS_MAX);
    join->emissions->list[join->emissions->count++] = (struct emission){bytes, bytes_count};
    return OK;
}

enum status join_emit_erase(const struct join *join, int64_t time_ms)
{
    struct example example = {.kind = EXAMPLE_ERASE, .user = join->user, .time_ms = time_ms};

    return emit(join, &example, SMALL_EXAMPLE_BYTES);
}

/* 0 stands for "none" wherever a hash is kept. */
static uint64_t not_zero(uint64_t hash)
{
    return hash == 0 ? 1 : hash;
}

uint64_t join_request_hash(const struct rules *rules, struct text request_id)
{
    return request_id.bytes == 0 ? 0 : not_zero(hash64_text(request_id, rules->seed));
}

/* ---- open impressions ---- */

static void remove_open(struct user_value *value, int index)
{
    value->opens_count--;
    memmove(value->opens + index, value->opens + index + 1,
            (size_t)(value->opens_count - index) * sizeof value->opens[0]);
}

/* Keeps the list sorted and the newest joins_max: *open may be the one that goes. */
static void insert_open(const struct join *join, const struct open_impression *open)
{
    struct user_value *value = join->value;
    int most = join->rules->joins_max;
    int at;

    while (value->opens_count > most)
        remove_open(value, 0);
    if (value->opens_count == most) {
        if (most == 0 || user_open_compare(open, &value->opens[0]) < 0)
            return;
        remove_open(value, 0);
    }
    at = value->opens_count;
    while (at > 0 && user_open_compare(open, &value->opens[at - 1]) < 0)
        at--;
    memmove(value->opens + at + 1, value->opens + at,
            (size_t)(value->opens_count - at) * sizeof value->opens[0]);
    value->opens[at] = *open;
    value->opens_count++;
}

static int find_request(const struct user_value *value, uint64_t request)
{
    for (int i = 0; i < value->opens_count; i++)
        if (value->opens[i].request == request)
            return i;
    return -1;
}

static int find_example(const struct user_value *value, uint64_t id)
{
    for (int i = 0; i < value->opens_count; i++)
        if (value->opens[i].rows_count > 0 && value->opens[i].example_id == id)
            return i;
    return -1;
}

/* The first row that shows the item, or -1. */
static int row_of(const uint64_t *rows, int rows_count, uint64_t item)
{
    for (int i = 0; i < rows_count; i++)
        if (rows[i] == item)
            return i;
    return -1;
}

static bool in_window(const struct rules *rules, int64_t shown_at_ms, int64_t label_ms)
{
    /* What seems to lie before the list would teach that the list was clicked before it was seen.
     */
    return (!DEFENCE(LABEL_AFTER_LIST) || label_ms >= shown_at_ms) &&
           label_ms - shown_at_ms <= rules->join_window_ms;
}

/* ---- labels ---- */

static int label_compare(const struct open_label *a, const struct open_label *b)
{
    struct user_entry x = {a->item, a->time_ms, a->action, false};
    struct user_entry y = {b->item, b->time_ms, b->action, false};

    return user_entry_compare(&x, &y);
}

/* Adds *label to the open's sorted list, which is copied: the old one may be someone else's. */
static enum status insert_label(const struct join *join, struct open_impression *open,
                                const struct open_label *label)
{
    struct open_label *labels = arena_alloc(join->arena,
                                            (size_t)(open->labels_count + 1) * sizeof *labels);
    int at = open->labels_count;

    if (labels == NULL)
        return no_memory(join);
    while (at > 0 && label_compare(label, &open->labels[at - 1]) < 0)
        at--;
    if (at > 0)
        memcpy(labels, open->labels, (size_t)at * sizeof *labels);
    labels[at] = *label;
    if (at < open->labels_count)
        memcpy(labels + at + 1, open->labels + at,
               (size_t)(open->labels_count - at) * sizeof *labels);
    open->labels = labels;
    open->labels_count++;
    return OK;
}

/* Adds (row, action) to the set of an impression; what is new in it is emitted. */
static enum status give_label(const struct join *join, struct open_impression *open,
                              const struct open_label *label)
{
    struct example example = {.kind = EXAMPLE_LABEL,
                              .id = open->example_id,
                              .user = join->user,
                              .time_ms = label->time_ms,
                              .row = row_of(open->rows, open->rows_count, label->item),
                              .action = label->action,
                              .shown_at_ms = open->shown_at_ms};
    enum status status;

    for (int i = 0; i < open->labels_count; i++)
        if (DEFENCE(LABEL_SET) && open->labels[i].item == label->item &&
            open->labels[i].action == label->action)
            return OK;
    if (open->labels_count < OPEN_LABELS_MAX) {
        status = insert_label(join, open, label);
        if (status != OK)
            return status;
    }
    example.labels_count = open->labels_count;
    return emit(join, &example, SMALL_EXAMPLE_BYTES);
}

/* Keeps a label for the impression of its request, which has not been seen. index: of the open
 * impression without rows that there is already, or -1. */
static enum status let_wait(const struct join *join, int index, const struct open_label *label,
                            uint64_t request)
{
    struct open_impression open = {.request = request, .shown_at_ms = label->time_ms};
    enum status status;

    if (index >= 0) {
        assert(join->value->opens != NULL);
        open = join->value->opens[index];
        for (int i = 0; i < open.labels_count; i++)
            if (label_compare(&open.labels[i], label) == 0)
                return OK;
        if (open.labels_count == OPEN_LABELS_MAX) {
            metric_add(&labels_lost, 1);
            return OK;
        }
        remove_open(join->value, index);
    }
    status = insert_label(join, &open, label);
    if (status != OK)
        return status;
    open.shown_at_ms = open.labels[0].time_ms;
    insert_open(join, &open);
    return OK;
}

static enum status join_named(const struct join *join, const struct open_label *label,
                              uint64_t request)
{
    int index = find_request(join->value, request);
    struct open_impression *open = index < 0 ? NULL : &join->value->opens[index];

    if (open == NULL || open->rows_count == 0)
        return let_wait(join, index, label, request);
    if (row_of(open->rows, open->rows_count, label->item) < 0 ||
        !in_window(join->rules, open->shown_at_ms, label->time_ms))
        return OK;
    return give_label(join, open, label);
}

enum status join_label(const struct join *join, const struct open_label *label, uint64_t request,
                       bool *taken)
{
    struct user_value *value = join->value;

    *taken = true;
    if (request != 0)
        return join_named(join, label, request);
    for (int i = value->opens_count - 1; i >= 0; i--) {
        struct open_impression *open = &value->opens[i];
        if (in_window(join->rules, open->shown_at_ms, label->time_ms) &&
            row_of(open->rows, open->rows_count, label->item) >= 0)
            return give_label(join, open, label);
    }
    *taken = false;
    return OK;
}

/* ---- impressions ---- */

uint64_t join_example_id(const struct rules *rules, uint64_t user, const struct join_shown *shown)
{
    uint64_t rows;

    if (shown->request != 0)
        return not_zero(hash64_mix(user, shown->request));
    rows = hash64(shown->rows, (size_t)shown->rows_count * sizeof shown->rows[0], rules->seed);
    return not_zero(hash64_mix(hash64_mix(user, (uint64_t)shown->shown_at_ms), rows));
}

/* Fills early with the labels that came before their list: those that named its request (unseen's),
 * in order, then those found in the sequence, which are taken from here on. */
static int gather_early(const struct join *join, const struct join_shown *shown,
                        const struct open_impression *unseen, struct open_label *early)
{
    struct user_value *value = join->value;
    int count = 0;

    for (int i = 0; unseen != NULL && i < unseen->labels_count; i++)
        if (in_window(join->rules, shown->shown_at_ms, unseen->labels[i].time_ms) &&
            row_of(shown->rows, shown->rows_count, unseen->labels[i].item) >= 0)
            early[count++] = unseen->labels[i];
    for (int i = sequence_until(value, shown->shown_at_ms - 1); i < value->count; i++) {
        struct user_entry *entry = &value->entries[i];
        if (!in_window(join->rules, shown->shown_at_ms, entry->time_ms))
            break;
        if (entry->taken || entry->action >= ACTIONS_MAX ||
            join->rules->actions[entry->action].label == 0 ||
            row_of(shown->rows, shown->rows_count, entry->item) < 0)
            continue;
        if (shown->self != NULL && user_entry_compare(shown->self, entry) == 0)
            continue;
        early[count++] = (struct open_label){entry->item, entry->time_ms, entry->action};
        entry->taken = true;
    }
    return count;
}

static bool is_own(const struct join_shown *shown, const struct open_label *early, int early_count,
                   const struct user_entry *entry)
{
    for (int i = 0; i < early_count; i++)
        if (early[i].item == entry->item && early[i].action == entry->action &&
            early[i].time_ms == entry->time_ms)
            return true;
    return shown->self != NULL && user_entry_compare(shown->self, entry) == 0;
}

/* History and running count of the example. Its own labels, and the action that is the exposure
 * itself, can only be among the entries of the very millisecond in which it was shown. */
static enum status fill_history(const struct join *join, const struct join_shown *shown,
                                struct example *example, const struct open_label *early,
                                int early_count)
{
    const struct user_value *value = join->value;
    int count = sequence_until(value, example->request_time_ms);
    int same = count; /* entries [same, count) are of that millisecond */
    int kept;
    struct user_entry *history;

    if (early_count > 0 || shown->self != NULL)
        while (same > 0 && value->entries[same - 1].time_ms == shown->shown_at_ms)
            same--;
    kept = same;
    example->history = value->entries;
    if (same < count) {
        history = arena_alloc(join->arena, (size_t)count * sizeof *history);
        if (history == NULL)
            return no_memory(join);
        memcpy(history, value->entries, (size_t)same * sizeof *history);
        for (int i = same; i < count; i++)
            if (!is_own(shown, early, early_count, &value->entries[i]))
                history[kept++] = value->entries[i];
        example->history = history;
    }
    example->history_count = kept;
    example->running = value->running - (uint32_t)(value->count - kept);
    return OK;
}

static enum status emit_shown(const struct join *join, const struct join_shown *shown, uint64_t id,
                              const struct open_label *early, int early_count)
{
    struct example example = {.kind = EXAMPLE_SHOWN,
                              .id = id,
                              .user = join->user,
                              .time_ms = shown->shown_at_ms,
                              .request_time_ms = shown->shown_at_ms,
                              .rows_count = shown->rows_count,
                              .rows = shown->rows};
    struct trace trace;
    struct error ignored;
    enum status status;

    if (shown->trace.bytes > 0) {
        if (trace_decode(&trace, shown->trace, &ignored) == OK &&
            trace.rows_count == shown->rows_count) {
            example.raw_columns = RAW_COLUMNS;
            example.raw = &trace.raw[0][0];
            memcpy(example.context, trace.context, sizeof example.context);
            if (trace.request_time_ms > 0 && trace.request_time_ms < shown->shown_at_ms)
                example.request_time_ms = trace.request_time_ms;
        } else {
            metric_add(&traces_refused, 1);
        }
    }
    status = fill_history(join, shown, &example, early, early_count);
    if (status != OK)
        return status;
    return emit(join, &example,
                SMALL_EXAMPLE_BYTES + (size_t)example.history_count * HISTORY_BYTES +
                    (size_t)example.rows_count *
                        (ROW_BYTES + (size_t)example.raw_columns * RAW_BYTES));
}

enum status join_shown(const struct join *join, const struct join_shown *shown, bool *fresh)
{
    struct open_impression open = {.example_id = join_example_id(join->rules, join->user, shown),
                                   .request = shown->request,
                                   .shown_at_ms = shown->shown_at_ms,
                                   .rows_count = shown->rows_count,
                                   .rows = shown->rows};
    struct open_label early[OPEN_LABELS_MAX + SEQUENCE_MAX];
    int unseen = shown->request == 0 ? -1 : find_request(join->value, shown->request);
    int early_count;
    enum status status;

    assert(shown->rows_count >= 1 && shown->rows_count <= OPEN_ROWS_MAX);
    *fresh = false;
    if (find_example(join->value, open.example_id) >= 0)
        return OK;
    *fresh = true;
    early_count = DEFENCE(EARLY_LABELS)
                      ? gather_early(join, shown, unseen < 0 ? NULL : &join->value->opens[unseen],
                                     early)
                      : 0;
    if (unseen >= 0)
        remove_open(join->value, unseen);
    status = emit_shown(join, shown, open.example_id, early, early_count);
    for (int i = 0; status == OK && i < early_count; i++)
        status = give_label(join, &open, &early[i]);
    if (status != OK)
        return status;
    insert_open(join, &open);
    return OK;
}

void join_erase(struct user_value *value, int64_t time_ms)
{
    int kept = 0;

    for (int i = 0; i < value->opens_count; i++) {
        struct open_impression open = value->opens[i];
        int at;

        if (open.rows_count == 0) {
            /* Sorted: the labels that go are the first ones. */
            while (open.labels_count > 0 && open.labels[0].time_ms <= time_ms) {
                open.labels++;
                open.labels_count--;
            }
            if (open.labels_count > 0)
                open.shown_at_ms = open.labels[0].time_ms; /* later than before: sort again */
        }
        if (open.shown_at_ms <= time_ms)
            continue;
        for (at = kept++; at > 0 && user_open_compare(&open, &value->opens[at - 1]) < 0; at--)
            value->opens[at] = value->opens[at - 1];
        value->opens[at] = open;
    }
    value->opens_count = kept;
}
