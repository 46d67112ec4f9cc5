/*
 * features/item_tables.c - items, their counts, and what an event adds to them.
 *
 * A weight of co-visitation is kept as it is at its list's reference time: an event dt later adds
 * e^(dt/tau)/d, so that nothing else in the list has to be touched. When dt grows past a few tau
 * the list is moved to the present.
 */
#include "features/item_tables.h"

#include "features/item_tables_inside.h"
#include "ops/hash.h"
#include "ops/metric.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

METRIC_COUNTER(items_full, "freshet_features_items_full_total",
               "sightings of items for which the item table had no room");
METRIC_COUNTER(names_conflicting, "freshet_features_item_names_conflicting_total",
               "second names of a known item hash, ignored");
METRIC_COUNTER(updates_lost, "freshet_features_item_updates_lost_total",
               "updates of the item tables that were lost because memory was out");

#define ITEMS_MAX_DEFAULT    1000000
#define COVIS_TAU_DEFAULT_MS (INT64_C(180) * 24 * 3600 * 1000)
#define ADMIT_AFTER_DEFAULT  2
/* e^8 is about 3000: far from the ends of a float in both directions. */
#define LIST_AGE_TAUS 8

const int64_t item_tables_taus_ms[ITEM_DECAYS] = {ITEM_TAU_1H_MS, ITEM_TAU_24H_MS, ITEM_TAU_7D_MS};

/* NOLINTNEXTLINE(misc-redundant-expression): two names that happen to be equal now. */
_Static_assert(ITEMS_MAX_LIMIT <= ITEM_FILE_ITEMS_MAX, "a full table must fit a file");

/* ---- life ---- */

void item_tables_limit(struct item_tables *tables, const struct item_tables_options *options)
{
    struct item_tables_options *own = &tables->options;

    own->items_max = options->items_max == 0 ? ITEMS_MAX_DEFAULT : options->items_max;
    own->neighbours_max = options->neighbours_max == 0 ? ITEM_NEIGHBOURS_DEFAULT
                                                       : options->neighbours_max;
    own->admit_after = options->admit_after == 0 ? ADMIT_AFTER_DEFAULT : options->admit_after;
}

struct item_tables *item_tables_new(const struct item_tables_options *options)
{
    struct item_tables *tables = calloc(1, sizeof *tables);

    if (tables == NULL)
        return NULL;
    item_tables_limit(tables, options);
    tables->options.covis_tau_ms = options->covis_tau_ms == 0 ? COVIS_TAU_DEFAULT_MS
                                                              : options->covis_tau_ms;
    tables->options.seed = options->seed;
    if (!item_rows_init(&tables->rows) || !item_tables_give_row(tables, 0, ITEM_NONE)) {
        item_tables_destroy(tables);
        return NULL;
    }
    return tables;
}

enum status item_tables_create(struct item_tables **tables,
                               const struct item_tables_options *options, struct error *err)
{
    *tables = NULL;
    if (options->items_max < 0 || options->items_max > ITEMS_MAX_LIMIT ||
        options->neighbours_max < 0 || options->neighbours_max > ITEM_FILE_NEIGHBOURS_MAX ||
        options->covis_tau_ms < 0 || options->admit_after < 0)
        return error_set(
            err, ERR_LIMIT, "item tables of %d items with %d neighbours, at most %d with %d",
            options->items_max, options->neighbours_max, ITEMS_MAX_LIMIT, ITEM_FILE_NEIGHBOURS_MAX);
    *tables = item_tables_new(options);
    return *tables == NULL ? error_set(err, ERR_NOMEM, "no memory for item tables") : OK;
}

void item_tables_destroy(struct item_tables *tables)
{
    if (tables == NULL)
        return;
    if (tables->rows.index != NULL)
        item_rows_clear(&tables->rows);
    free(tables->at_row);
    free(tables->weights_of);
    free(tables->changed);
    free(tables->offsets);
    free(tables);
}

enum status item_tables_copy(struct item_tables **copy, const struct item_tables *from,
                             struct error *err)
{
    struct item_tables *made = calloc(1, sizeof *made);

    *copy = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for item tables");
    made->options = from->options;
    made->order = from->order;
    made->newest_ms = from->newest_ms;
    made->at_row = malloc((size_t)from->rows_given * sizeof *made->at_row);
    if (made->at_row == NULL || !item_rows_share(&made->rows, &from->rows))
        goto no_memory;
    memcpy(made->at_row, from->at_row, (size_t)from->rows_given * sizeof *made->at_row);
    made->rows_given = made->rows_capacity = from->rows_given;
    made->rows_free = from->rows_free;
    made->gives = from->gives;
    if (from->weights_of != NULL) {
        made->weights_of = malloc((size_t)from->weights_rows * sizeof *made->weights_of);
        if (made->weights_of == NULL)
            goto no_memory;
        memcpy(made->weights_of, from->weights_of,
               (size_t)from->weights_rows * sizeof *made->weights_of);
        made->weights_rows = from->weights_rows;
    }
    if (from->offsets != NULL) {
        item_tables_set_offsets(made, from->offsets, from->offsets_count);
        if (made->offsets == NULL)
            goto no_memory;
    }
    *copy = made;
    return OK;
no_memory:
    item_tables_destroy(made);
    return error_set(err, ERR_NOMEM, "no memory for a copy of item tables");
}

bool item_tables_give_row(struct item_tables *tables, int32_t row, int32_t index)
{
    int32_t capacity = tables->rows_capacity == 0 ? 64 : tables->rows_capacity;
    int32_t *grown;

    while (capacity <= row)
        capacity *= 2;
    if (capacity != tables->rows_capacity) {
        grown = realloc(tables->at_row, (size_t)capacity * sizeof *grown);
        if (grown == NULL)
            return false;
        tables->at_row = grown;
        tables->rows_capacity = capacity;
    }
    while (tables->rows_given <= row)
        tables->at_row[tables->rows_given++] = ITEM_NONE;
    tables->at_row[row] = index;
    tables->gives++;
    return true;
}

void item_tables_count_free(struct item_tables *tables)
{
    tables->rows_free = 0;
    for (int32_t row = 1; row < tables->rows_given; row++)
        tables->rows_free += tables->at_row[row] == ITEM_NONE;
}

/* The lowest row that belongs to nobody, or one at the end. */
static int32_t next_row(const struct item_tables *tables)
{
    int32_t row = tables->rows_given;

    for (int32_t r = 1; tables->rows_free > 0 && r < tables->rows_given; r++)
        if (tables->at_row[r] == ITEM_NONE)
            return r;
    return row;
}

/* Gives the item that row; false: memory is out. */
static bool hand_over(struct item_tables *tables, struct item_row *row, int32_t number,
                      int32_t index)
{
    int32_t given = tables->rows_given;

    if (!item_tables_give_row(tables, number, index))
        return false;
    tables->rows_free += number < given ? -1 : number - given;
    row->row = number;
    return true;
}

/* ---- changes ---- */

void item_tables_mark_saved(struct item_tables *tables)
{
    free(tables->changed);
    tables->changed_words = tables->rows.count / 64 + 1024;
    tables->changed = calloc((size_t)tables->changed_words, sizeof *tables->changed);
    if (tables->changed == NULL) {
        tables->changed_words = 0;
        metric_add(&updates_lost, 1);
    }
}

void item_tables_forget_mark(struct item_tables *tables)
{
    free(tables->changed);
    tables->changed = NULL;
    tables->changed_words = 0;
}

static bool note_change(struct item_tables *tables, int32_t index)
{
    int32_t words = tables->changed_words;
    uint64_t *grown;

    if (tables->changed == NULL)
        return true;
    while (words <= index / 64)
        words *= 2;
    if (words != tables->changed_words) {
        grown = realloc(tables->changed, (size_t)words * sizeof *grown);
        if (grown == NULL)
            return false;
        memset(grown + tables->changed_words, 0,
               (size_t)(words - tables->changed_words) * sizeof *grown);
        tables->changed = grown;
        tables->changed_words = words;
    }
    tables->changed[index / 64] |= UINT64_C(1) << (index % 64);
    return true;
}

/* The row, ours to write, its change noted. NULL: out of memory, which is counted. */
static struct item_row *touch(struct item_tables *tables, int32_t index)
{
    struct item_row *row = item_rows_own(&tables->rows, index);

    if (row == NULL || !note_change(tables, index)) {
        metric_add(&updates_lost, 1);
        return NULL;
    }
    return row;
}

static void give_name(struct item_tables *tables, int32_t index, struct text name)
{
    const struct item_row *known = item_rows_get(&tables->rows, index);
    struct item_row *row;
    const char *kept;

    if (name.bytes == 0 || name.bytes > ITEM_ID_MAX)
        return;
    if (known->name != NULL) {
        if (!text_equal(name, (struct text){known->name, known->name_bytes}))
            metric_add(&names_conflicting, 1);
        return;
    }
    row = touch(tables, index);
    kept = row == NULL ? NULL : item_rows_keep_name(&tables->rows, name);
    if (kept == NULL)
        return;
    row->name = kept;
    row->name_bytes = (uint16_t)name.bytes;
}

int32_t item_tables_index(struct item_tables *tables, uint64_t item, struct text name,
                          int64_t time_ms)
{
    int32_t index = item_rows_find(&tables->rows, item);
    const struct item_row *known;
    struct item_row *row;

    if (index < 0) {
        row = tables->rows.count >= tables->options.items_max ? NULL
                                                              : item_rows_add(&tables->rows, item);
        if (row == NULL) {
            metric_add(&items_full, 1);
            return ITEM_NONE;
        }
        row->popular = -INFINITY;
        index = tables->rows.count - 1;
        (void)note_change(tables, index);
    }
    known = item_rows_get(&tables->rows, index);
    if (time_ms > 0 && (known->first_seen_ms == 0 || time_ms < known->first_seen_ms)) {
        row = touch(tables, index);
        if (row != NULL)
            row->first_seen_ms = time_ms;
    }
    give_name(tables, index, name);
    return index;
}

static void see(struct item_tables *tables, struct item_row *row, int32_t index, int64_t time_ms)
{
    if (row->sightings < UINT32_MAX)
        row->sightings++;
    if (row->row == 0 && row->sightings >= (uint32_t)tables->options.admit_after)
        (void)hand_over(tables, row, next_row(tables), index);
    if (time_ms > row->last_seen_ms)
        row->last_seen_ms = time_ms;
    if (time_ms > tables->newest_ms)
        tables->newest_ms = time_ms;
}

double item_tables_decay(int64_t from_ms, int64_t now_ms, int64_t tau_ms)
{
    return now_ms <= from_ms ? 1.0 : exp(-((double)now_ms - (double)from_ms) / (double)tau_ms);
}

static void add_decayed(struct item_row *row, int64_t time_ms)
{
    for (int i = 0; i < ITEM_DECAYS; i++) {
        int64_t tau = item_tables_taus_ms[i];

        if (time_ms >= row->decayed_at_ms)
            row->decayed[i] = row->decayed[i] *
                                  item_tables_decay(row->decayed_at_ms, time_ms, tau) +
                              1.0;
        else
            row->decayed[i] += item_tables_decay(time_ms, row->decayed_at_ms, tau);
    }
    if (time_ms > row->decayed_at_ms)
        row->decayed_at_ms = time_ms;
}

/* ---- co-visitation ---- */

static void add_pair(struct item_tables *tables, int32_t from, int32_t to, int64_t time_ms,
                     double weight)
{
    int64_t tau_ms = tables->options.covis_tau_ms;
    struct item_row *row = touch(tables, from);
    int room, most;

    if (row == NULL)
        return;
    most = tables->options.neighbours_max;
    room = row->neighbours == NULL ? 1 : row->neighbours->count + 1;
    if (row->neighbours != NULL && row->neighbours->count > most)
        most = row->neighbours->count;
    if (!item_list_own(&row->neighbours, room <= most ? room : most)) {
        metric_add(&updates_lost, 1);
        return;
    }
    if (row->neighbours->count == 0)
        row->covis_at_ms = time_ms;
    else if (time_ms > row->covis_at_ms && time_ms - row->covis_at_ms > LIST_AGE_TAUS * tau_ms) {
        item_list_scale(row->neighbours,
                        (float)item_tables_decay(row->covis_at_ms, time_ms, tau_ms));
        row->covis_at_ms = time_ms;
    }
    weight *= exp(((double)time_ms - (double)row->covis_at_ms) / (double)tau_ms);
    /* Drawn from the pair and its time: the same events make the same table. */
    if (weight > 1e-9)
        item_list_add(row->neighbours, most, to, (float)weight,
                      hash64_mix(row->hash ^ (uint64_t)time_ms, (uint64_t)to));
}

/* Pairs the item with each of the last entries. Their rows and lists are far apart, and waiting
 * for them one after the other is most of the cost: so all are asked for before the first is used.
 */
static void add_pairs(struct item_tables *tables, int32_t index, int64_t time_ms,
                      const struct user_entry *before, int before_count)
{
    int count = before_count < COVIS_REACH ? before_count : COVIS_REACH;
    int32_t from[COVIS_REACH];

    for (int d = 1; d <= count; d++) {
        from[d - 1] = item_rows_find(&tables->rows, before[before_count - d].item);
        if (from[d - 1] >= 0)
            __builtin_prefetch(&item_rows_get(&tables->rows, from[d - 1])->neighbours, 1);
    }
    for (int d = 1; d <= count; d++)
        if (from[d - 1] >= 0)
            item_list_prefetch(item_rows_get(&tables->rows, from[d - 1])->neighbours);
    for (int d = 1; d <= count; d++)
        if (from[d - 1] >= 0 && from[d - 1] != index)
            add_pair(tables, from[d - 1], index, time_ms, 1.0 / d);
}

void item_tables_observe(struct item_tables *tables, int32_t index, int64_t time_ms,
                         const struct user_entry *before, int before_count)
{
    struct item_row *row;
    double was, key;

    if (index < 0 || index >= tables->rows.count)
        return;
    row = touch(tables, index);
    if (row == NULL)
        return;
    row->clicks++;
    see(tables, row, index, time_ms);
    add_decayed(row, time_ms);
    was = row->popular;
    key = item_order_key(row->decayed[ITEM_DECAYS - 1], row->decayed_at_ms, ITEM_TAU_7D_MS);
    row->popular = key > was ? key : was; /* rounding must not lower it */
    item_order_raise(&tables->order, index, was, row->popular);
    add_pairs(tables, index, time_ms, before, before_count);
}

void item_tables_observe_shown(struct item_tables *tables, int32_t index, int64_t time_ms)
{
    struct item_row *row;

    if (index < 0 || index >= tables->rows.count)
        return;
    row = touch(tables, index);
    if (row == NULL)
        return;
    row->shown++;
    see(tables, row, index, time_ms);
}

int32_t item_tables_describe(struct item_tables *tables, int32_t index, int32_t number)
{
    const struct item_row *known;
    struct item_row *row;

    if (index < 0 || index >= tables->rows.count)
        return 0;
    known = item_rows_get(&tables->rows, index);
    number = number == 0 ? tables->rows_given : number;
    if (known->row != 0 || known->last_seen_ms != 0 || number >= ITEM_FILE_ITEMS_MAX ||
        (number < tables->rows_given && tables->at_row[number] != ITEM_NONE))
        return 0;
    row = touch(tables, index);
    return row != NULL && hand_over(tables, row, number, index) ? number : 0;
}

bool item_tables_take_row(struct item_tables *tables, int32_t index, int32_t number)
{
    struct item_row *row;

    if (index < 0 || index >= tables->rows.count || number < 1 || number >= ITEM_FILE_ITEMS_MAX ||
        item_rows_get(&tables->rows, index)->row != 0 ||
        item_tables_at_row(tables, number) != ITEM_NONE)
        return false;
    row = touch(tables, index);
    return row != NULL && hand_over(tables, row, number, index);
}

int item_tables_expire(struct item_tables *tables, int64_t before_ms)
{
    int expired = 0;

    for (int32_t i = 0; i < tables->rows.count; i++) {
        const struct item_row *known = item_rows_get(&tables->rows, i);
        struct item_row *row;

        if (known->row == 0 || known->last_seen_ms == 0 || known->last_seen_ms >= before_ms)
            continue;
        row = touch(tables, i);
        if (row == NULL)
            continue;
        tables->at_row[row->row] = ITEM_NONE;
        tables->rows_free++;
        tables->gives++;
        row->row = 0;
        row->sightings = 0;
        expired++;
    }
    return expired;
}

void item_tables_set_gone(struct item_tables *tables, int32_t index, bool gone)
{
    struct item_row *row;

    if (index < 0 || index >= tables->rows.count ||
        item_rows_get(&tables->rows, index)->gone == gone)
        return;
    row = touch(tables, index);
    if (row != NULL)
        row->gone = gone;
}

void item_tables_set_offsets(struct item_tables *tables, const struct item_file_offset *offsets,
                             int count)
{
    assert(count >= 0 && count <= ITEM_FILE_OFFSETS_MAX);
    if (tables->offsets == NULL)
        tables->offsets = malloc(ITEM_FILE_OFFSETS_MAX * sizeof *tables->offsets);
    if (tables->offsets == NULL) {
        metric_add(&updates_lost, 1);
        return;
    }
    if (count > 0)
        memcpy(tables->offsets, offsets, (size_t)count * sizeof *offsets);
    tables->offsets_count = count;
}

/* ---- reading ---- */

int item_tables_count(const struct item_tables *tables)
{
    return tables->rows.count;
}

uint64_t item_tables_seed(const struct item_tables *tables)
{
    return tables->options.seed;
}

const struct item_file_offset *item_tables_offsets(const struct item_tables *tables, int *count)
{
    *count = tables->offsets_count;
    return tables->offsets;
}

size_t item_tables_bytes(const struct item_tables *tables)
{
    return sizeof *tables + item_rows_bytes(&tables->rows) +
           (size_t)tables->rows_capacity * sizeof *tables->at_row +
           (size_t)tables->changed_words * sizeof *tables->changed;
}

int item_tables_items_max(const struct item_tables *tables)
{
    return tables->options.items_max;
}

int item_tables_rows(const struct item_tables *tables)
{
    return tables->rows_given;
}

uint64_t item_tables_gives(const struct item_tables *tables)
{
    return tables->gives;
}

int64_t item_tables_newest_ms(const struct item_tables *tables)
{
    return tables->newest_ms;
}

int32_t item_tables_find(const struct item_tables *tables, uint64_t item)
{
    int32_t index = item_rows_find(&tables->rows, item);

    return index < 0 ? ITEM_NONE : index;
}

uint64_t item_tables_hash(const struct item_tables *tables, int32_t index)
{
    return item_rows_get(&tables->rows, index)->hash;
}

struct text item_tables_name(const struct item_tables *tables, int32_t index)
{
    const struct item_row *row = item_rows_get(&tables->rows, index);

    return (struct text){row->name, row->name_bytes};
}

int32_t item_tables_row(const struct item_tables *tables, int32_t index)
{
    int32_t row, owner;

    if (index < 0 || index >= tables->rows.count)
        return 0;
    row = item_rows_get(&tables->rows, index)->row;
    owner = row < tables->weights_rows ? tables->weights_of[row] : ITEM_NONE;
    return owner == ITEM_NONE || owner == index ? row : 0;
}

int32_t item_tables_at_row(const struct item_tables *tables, int32_t row)
{
    return row < 0 || row >= tables->rows_given ? ITEM_NONE : tables->at_row[row];
}

bool item_tables_admitted(const struct item_tables *tables, int32_t index)
{
    const struct item_row *row = item_rows_get(&tables->rows, index);

    return row->row != 0 && row->sightings >= (uint32_t)tables->options.admit_after;
}

bool item_tables_gone(const struct item_tables *tables, int32_t index)
{
    return item_rows_get(&tables->rows, index)->gone;
}

void item_tables_prefetch(const struct item_tables *tables, int32_t index)
{
    const struct item_row *row = item_rows_get(&tables->rows, index);

    __builtin_prefetch(row);
    __builtin_prefetch(&row->hash);
}

int64_t item_tables_clicks(const struct item_tables *tables, int32_t index)
{
    return item_rows_get(&tables->rows, index)->clicks;
}

int64_t item_tables_shown(const struct item_tables *tables, int32_t index)
{
    return item_rows_get(&tables->rows, index)->shown;
}

int64_t item_tables_first_seen_ms(const struct item_tables *tables, int32_t index)
{
    return item_rows_get(&tables->rows, index)->first_seen_ms;
}

double item_tables_popularity(const struct item_tables *tables, int32_t index, int64_t now_ms,
                              int64_t tau_ms)
{
    const struct item_row *row = item_rows_get(&tables->rows, index);

    for (int i = 0; i < ITEM_DECAYS; i++)
        if (item_tables_taus_ms[i] == tau_ms)
            return row->decayed[i] * item_tables_decay(row->decayed_at_ms, now_ms, tau_ms);
    assert(!"a tau that is kept");
    return 0;
}

double item_tables_covis(const struct item_tables *tables, int32_t from, int32_t to, int64_t now_ms)
{
    const struct item_row *row = item_rows_get(&tables->rows, from);
    int at = row->neighbours == NULL || to < 0 ? -1 : item_list_find(row->neighbours, to);

    return at < 0 ? 0
                  : (double)item_list_weights(row->neighbours)[at] *
                        item_tables_decay(row->covis_at_ms, now_ms, tables->options.covis_tau_ms);
}
