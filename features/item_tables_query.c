/*
 * features/item_tables_query.c - one user at one time: raw counts of given items, and recall.
 *
 * The sums of co-visitation of all neighbours of the user's last items fit a small open table
 * (at most COVIS_REACH lists), which stays in the processor's cache; an array of all items would
 * not. Slots are marked with the number of the call, so nothing is cleared between calls.
 */
#include "features/item_tables.h"

#include "features/item_tables_inside.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REPEAT_SLOTS 2048 /* at least twice SEQUENCE_MAX, a power of two */
#define PREFETCH     8    /* items ahead: about the time of a cache miss */
#define BACK_SLOTS   128  /* at least twice COVIS_BACK_REACH, a power of two */
#define BACK_MARKS   4096 /* the filter before it, a power of two: most neighbours need no look */

_Static_assert(BACK_SLOTS >= 2 * COVIS_BACK_REACH, "the table of recent items must stay loose");
_Static_assert(REPEAT_SLOTS >= 2 * SEQUENCE_MAX, "the table of the user's items must stay loose");

struct covis_slot {
    uint32_t call;
    int32_t index;
    double sum;
    double cosine; /* each list over the root of its own popularity */
    double last;   /* of the newest entry's list alone */
};

struct repeat_slot {
    uint64_t item;
    uint32_t call;
    int32_t times;
};

struct back_slot {
    uint32_t call;
    int32_t index;
    double weight;
};

struct related {
    double score;
    int32_t index;
};

struct item_scratch {
    uint32_t call;
    uint32_t covis_mask; /* slots - 1 */
    struct covis_slot *covis;
    int32_t *touched; /* slots of this call, half as many as there are slots */
    int touched_count;
    struct related *related; /* as many as touched */
    struct repeat_slot repeats[REPEAT_SLOTS];
    struct back_slot back[BACK_SLOTS];
    uint8_t back_marks[BACK_MARKS];            /* 1 where an index modulo BACK_MARKS is in back */
    uint16_t passed[ITEM_FILE_NEIGHBOURS_MAX]; /* of one list */
    bool back_any;
    int32_t newest; /* the newest entry's item, or ITEM_NONE */
};

struct item_scratch *item_scratch_create(void)
{
    return calloc(1, sizeof(struct item_scratch));
}

void item_scratch_destroy(struct item_scratch *scratch)
{
    if (scratch == NULL)
        return;
    free(scratch->covis);
    free(scratch->touched);
    free(scratch->related);
    free(scratch);
}

/* Room for `most` different neighbours. False: out of memory. */
static bool ready(struct item_scratch *scratch, size_t most)
{
    size_t slots = 1024;

    while (slots < 2 * most)
        slots *= 2;
    if (scratch->covis == NULL || slots > scratch->covis_mask + 1u) {
        free(scratch->covis);
        free(scratch->touched);
        free(scratch->related);
        scratch->covis = calloc(slots, sizeof *scratch->covis);
        scratch->touched = malloc(slots / 2 * sizeof *scratch->touched);
        scratch->related = malloc(slots / 2 * sizeof *scratch->related);
        if (scratch->covis == NULL || scratch->touched == NULL || scratch->related == NULL) {
            free(scratch->covis);
            scratch->covis = NULL;
            return false;
        }
        scratch->covis_mask = (uint32_t)slots - 1;
    }
    scratch->call++;
    if (scratch->call == 0) { /* once in 2^32 calls the marks begin anew */
        for (size_t i = 0; i <= scratch->covis_mask; i++)
            scratch->covis[i].call = 0;
        for (int i = 0; i < REPEAT_SLOTS; i++)
            scratch->repeats[i].call = 0;
        for (int i = 0; i < BACK_SLOTS; i++)
            scratch->back[i].call = 0;
        scratch->call = 1;
    }
    scratch->touched_count = 0;
    return true;
}

static uint32_t spread(uint64_t key)
{
    return (uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

/* Entries of the history that count: those at or before now. */
static int until_now(const struct item_query *query)
{
    int count = query->history_count;

    while (count > 0 && query->history[count - 1].time_ms > query->now_ms)
        count--;
    return count;
}

/* ---- sums of co-visitation ---- */

/* 1 / the root of popularity: what is seen everywhere says little about who saw it. */
static double popularity_root(const struct item_row *row)
{
    return 1 / sqrt(1.0 + (double)row->clicks);
}

/* Adds the neighbours of one item of the history: `gamma` times what their weights are by now. */
static void add_list(struct item_scratch *scratch, const struct item_row *row, double gamma,
                     double decay)
{
    const struct item_list *list = row->neighbours;
    const float *weights = item_list_weights(list);
    double factor = gamma * decay, own = factor * popularity_root(row);
    double newest = gamma == 1 ? decay : 0;

    for (int i = 0; i < list->count; i++) {
        uint32_t at = spread((uint32_t)list->index[i]) & scratch->covis_mask;
        struct covis_slot *slot = &scratch->covis[at];

        while (slot->call == scratch->call && slot->index != list->index[i]) {
            at = (at + 1) & scratch->covis_mask;
            slot = &scratch->covis[at];
        }
        if (slot->call != scratch->call) {
            *slot = (struct covis_slot){scratch->call, list->index[i], 0, 0, 0};
            scratch->touched[scratch->touched_count++] = (int32_t)at;
        }
        slot->sum += factor * (double)weights[i];
        slot->cosine += own * (double)weights[i];
        slot->last += newest * (double)weights[i];
    }
}

/* Fills the table from the last COVIS_REACH of the first `count` entries. False: no memory. */
static bool sum_covis(const struct item_tables *tables, struct item_scratch *scratch,
                      const struct item_query *query, int count)
{
    const struct item_row *rows[COVIS_REACH];
    size_t most = 0;
    double gamma = 1;

    for (int k = 0; k < COVIS_REACH; k++) {
        int32_t index = k < count
                            ? item_rows_find(&tables->rows, query->history[count - 1 - k].item)
                            : -1;
        rows[k] = index < 0 ? NULL : item_rows_get(&tables->rows, index);
        if (rows[k] != NULL && rows[k]->neighbours != NULL) {
            item_list_prefetch(rows[k]->neighbours);
            most += rows[k]->neighbours->count;
        } else {
            rows[k] = NULL;
        }
    }
    if (!ready(scratch, most))
        return false;
    for (int k = 0; k < COVIS_REACH; k++, gamma *= COVIS_GAMMA)
        if (rows[k] != NULL)
            add_list(scratch, rows[k], gamma,
                     item_tables_decay(rows[k]->covis_at_ms, query->now_ms,
                                       tables->options.covis_tau_ms));
    return true;
}

/* The item's slot, or NULL: none of the lists holds it. */
static const struct covis_slot *covis_of(const struct item_scratch *scratch, int32_t index)
{
    uint32_t at = spread((uint32_t)index) & scratch->covis_mask;

    while (scratch->covis[at].call == scratch->call) {
        if (scratch->covis[at].index == index)
            return &scratch->covis[at];
        at = (at + 1) & scratch->covis_mask;
    }
    return NULL;
}

/* ---- co-visitation the other way round ---- */

static struct back_slot *back_slot(struct item_scratch *scratch, int32_t index)
{
    uint32_t at = spread((uint32_t)index) & (BACK_SLOTS - 1);

    while (scratch->back[at].call == scratch->call && scratch->back[at].index != index)
        at = (at + 1) & (BACK_SLOTS - 1);
    return &scratch->back[at];
}

/* The weights of the last COVIS_BACK_REACH of the first `count` entries. */
static void weigh_recent(const struct item_tables *tables, struct item_scratch *scratch,
                         const struct item_query *query, int count)
{
    memset(scratch->back_marks, 0, sizeof scratch->back_marks);
    scratch->back_any = false;
    scratch->newest = ITEM_NONE;
    for (int d = 1; d <= COVIS_BACK_REACH && d <= count; d++) {
        int32_t index = item_rows_find(&tables->rows, query->history[count - d].item);
        struct back_slot *slot;

        if (index < 0)
            continue;
        if (d == 1)
            scratch->newest = index;
        slot = back_slot(scratch, index);
        if (slot->call != scratch->call)
            *slot = (struct back_slot){scratch->call, index, 0};
        slot->weight += popularity_root(item_rows_get(&tables->rows, index)) / sqrt(d);
        scratch->back_marks[(uint32_t)index % BACK_MARKS] = 1;
        scratch->back_any = true;
    }
}

/* What the item led to: *sum of weight * C[item, h] over the user's recent items h; *last: of the
 * newest alone, without its weight. The positions that pass the filter are written down first:
 * without a branch, which would be guessed wrong two or three times a list. */
static void covis_back(const struct item_tables *tables, struct item_scratch *scratch,
                       const struct item_row *row, int64_t now_ms, double *sum, double *last)
{
    const struct item_list *list = row->neighbours;
    const float *weights;
    uint16_t *passed = scratch->passed;
    int count = 0;
    double decay;

    *sum = *last = 0;
    if (list == NULL || !scratch->back_any)
        return;
    for (int i = 0; i < list->count; i++) {
        passed[count] = (uint16_t)i;
        count += scratch->back_marks[(uint32_t)list->index[i] % BACK_MARKS];
    }
    if (count == 0)
        return;
    weights = item_list_weights(list);
    for (int i = 0; i < count; i++) {
        int32_t index = list->index[passed[i]];
        const struct back_slot *slot = back_slot(scratch, index);

        if (slot->call == scratch->call)
            *sum += slot->weight * (double)weights[passed[i]];
        if (index == scratch->newest)
            *last = (double)weights[passed[i]];
    }
    if (*sum == 0)
        return;
    decay = item_tables_decay(row->covis_at_ms, now_ms, tables->options.covis_tau_ms);
    *sum *= decay;
    *last *= decay;
}

/* ---- how often the user met an item ---- */

static struct repeat_slot *repeat_slot(struct item_scratch *scratch, uint64_t item)
{
    uint32_t at = spread(item) & (REPEAT_SLOTS - 1);

    while (scratch->repeats[at].call == scratch->call && scratch->repeats[at].item != item)
        at = (at + 1) & (REPEAT_SLOTS - 1);
    return &scratch->repeats[at];
}

static void count_repeats(struct item_scratch *scratch, const struct item_query *query, int count)
{
    int first = count > SEQUENCE_MAX ? count - SEQUENCE_MAX : 0;

    for (int i = first; i < count; i++) {
        struct repeat_slot *slot = repeat_slot(scratch, query->history[i].item);

        if (slot->call != scratch->call)
            *slot = (struct repeat_slot){query->history[i].item, scratch->call, 0};
        slot->times++;
    }
}

/* ---- raw counts ---- */

static int64_t fixed(double x, double unit)
{
    x *= unit;
    /* Not llround() alone: beyond the range of int64_t it is undefined. */
    return x >= 0x1p62 ? INT64_C(1) << 62 : (int64_t)(x + 0.5);
}

static int64_t seconds_since(int64_t then_ms, int64_t now_ms)
{
    return now_ms > then_ms ? (now_ms - then_ms) / 1000 : 0;
}

_Static_assert(ITEM_TAU_7D_MS == 7 * ITEM_TAU_24H_MS && ITEM_TAU_24H_MS == 24 * ITEM_TAU_1H_MS,
               "one exponential serves all three");

/* The three decayed counts at now. e^-(t / 1 h) is a power of e^-(t / 7 d): squaring takes a third
 * of an exponential's time, and 7 multiplications in a row lose nothing that a count shows. */
static void raw_popularity(const struct item_row *row, int64_t now_ms, int64_t *raw)
{
    double week = item_tables_decay(row->decayed_at_ms, now_ms, ITEM_TAU_7D_MS);
    double square = week * week, day = square * square * square * week;
    double day_3 = day * day * day, day_6 = day_3 * day_3, day_12 = day_6 * day_6;

    raw[RAW_POP_1H] = fixed(row->decayed[0] * (day_12 * day_12), RAW_FIXED);
    raw[RAW_POP_24H] = fixed(row->decayed[1] * day, RAW_FIXED);
    raw[RAW_POP_7D] = fixed(row->decayed[2] * week, RAW_FIXED);
}

static void raw_of_item(const struct item_tables *tables, struct item_scratch *scratch,
                        int64_t now_ms, int32_t index, int64_t *raw)
{
    const struct item_row *row = item_rows_get(&tables->rows, index);
    const struct repeat_slot *repeat = repeat_slot(scratch, row->hash);
    const struct covis_slot *covis = covis_of(scratch, index);
    double back, last;

    covis_back(tables, scratch, row, now_ms, &back, &last);
    raw[RAW_CLICKS] = row->clicks;
    raw[RAW_SHOWN] = row->shown;
    raw_popularity(row, now_ms, raw);
    if (covis != NULL) {
        raw[RAW_COVIS] = fixed(covis->sum, RAW_FIXED);
        raw[RAW_COVIS_COSINE] = fixed(covis->cosine, RAW_FINE);
        last += covis->last;
    }
    raw[RAW_AGE_S] = row->first_seen_ms == 0 ? -1 : seconds_since(row->first_seen_ms, now_ms);
    raw[RAW_REPEATS] = repeat->call == scratch->call ? repeat->times : 0;
    raw[RAW_COVIS_BACK] = fixed(back, RAW_FINE);
    raw[RAW_COVIS_LAST] = fixed(last, RAW_FINE);
}

/* Asks for what the counts of an item ahead need: its row first, its neighbours closer by. */
static void prefetch_ahead(const struct item_tables *tables, const struct item_scratch *scratch,
                           const int32_t *indices, int left)
{
    if (left > 2 * PREFETCH && indices[2 * PREFETCH] >= 0 &&
        indices[2 * PREFETCH] < tables->rows.count) {
        const struct item_row *row = item_rows_get(&tables->rows, indices[2 * PREFETCH]);

        __builtin_prefetch(row);
        __builtin_prefetch(&row->hash);
    }
    if (scratch->back_any && left > PREFETCH && indices[PREFETCH] >= 0 &&
        indices[PREFETCH] < tables->rows.count) {
        const struct item_list *list = item_rows_get(&tables->rows, indices[PREFETCH])->neighbours;

        for (int line = 0; line < 4; line++)
            __builtin_prefetch((const char *)list + 64 * line);
    }
}

enum status item_tables_raw(const struct item_tables *tables, struct item_scratch *scratch,
                            const struct item_query *query, const int32_t *indices, int count,
                            int64_t *raw, struct error *err)
{
    int history = until_now(query);
    int64_t idle_s = history == 0
                         ? -1
                         : seconds_since(query->history[history - 1].time_ms, query->now_ms);
    struct item_query known = *query; /* as long as anything is known of items */

    if (known.now_ms > tables->newest_ms)
        known.now_ms = tables->newest_ms;
    if (!sum_covis(tables, scratch, &known, history))
        return error_set(err, ERR_NOMEM, "no memory for counts of items");
    count_repeats(scratch, query, history);
    weigh_recent(tables, scratch, query, history);
    if (count > 0)
        memset(raw, 0, (size_t)count * RAW_COLUMNS * sizeof *raw);
    for (int i = 0; i < count; i++, raw += RAW_COLUMNS) {
        prefetch_ahead(tables, scratch, indices + i, count - i);
        if (indices[i] >= 0 && indices[i] < tables->rows.count)
            raw_of_item(tables, scratch, known.now_ms, indices[i], raw);
        else
            raw[RAW_AGE_S] = -1;
        raw[RAW_HISTORY] = history;
        raw[RAW_IDLE_S] = idle_s;
    }
    return OK;
}

/* ---- recall ---- */

int item_tables_popular(const struct item_tables *tables, struct item_scratch *scratch,
                        const struct item_query *query, int k, int32_t *indices)
{
    int count = 0;

    (void)scratch;
    (void)query; /* the order is the same at every time */
    for (int i = 0; i < tables->order.count && count < k; i++)
        if (!item_rows_get(&tables->rows, tables->order.at[i].index)->gone)
            indices[count++] = tables->order.at[i].index;
    return count;
}

static bool before(const struct related *a, const struct related *b)
{
    return a->score > b->score || (a->score == b->score && a->index < b->index);
}

/* Moves the one at `at` down a heap whose root is the worst. */
static void sift(struct related *heap, int count, int at)
{
    struct related moved = heap[at];

    for (;;) {
        int child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && before(&heap[child], &heap[child + 1]))
            child++;
        if (!before(&moved, &heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

int item_tables_related(const struct item_tables *tables, struct item_scratch *scratch,
                        const struct item_query *query, int k, int32_t *indices)
{
    struct related *heap;
    int count = 0;

    if (k <= 0 || !sum_covis(tables, scratch, query, until_now(query)))
        return 0;
    heap = scratch->related;
    for (int i = 0; i < scratch->touched_count; i++) {
        const struct covis_slot *slot = &scratch->covis[scratch->touched[i]];
        const struct item_row *row = item_rows_get(&tables->rows, slot->index);
        struct related one = {slot->cosine * popularity_root(row), slot->index};

        if (row->gone)
            continue;
        if (count < k) {
            heap[count++] = one;
            if (count == k)
                for (int at = k / 2 - 1; at >= 0; at--)
                    sift(heap, k, at);
        } else if (before(&one, &heap[0])) {
            heap[0] = one;
            sift(heap, k, 0);
        }
    }
    if (count < k)
        for (int at = count / 2 - 1; at >= 0; at--)
            sift(heap, count, at);
    /* Taking the worst off, one after the other, gives the order from behind. */
    for (int left = count; left > 0; left--) {
        indices[left - 1] = heap[0].index;
        heap[0] = heap[left - 1];
        sift(heap, left - 1, 0);
    }
    return count;
}
