/*
 * retrain/learner_cold.c - what the catalogue says of items, and rows made of it.
 *
 * An item that nobody has chosen has no weights of its own; those of its like say more than noise.
 * Measured on brand-new items: `freshet eval --items` (eval/eval_cold.h).
 */
#include "retrain/learner_inside.h"

#include <stdlib.h>
#include <string.h>

/* Items looked at by one refresh, about half a second: a catalogue of a hundred thousand has its
 * turn in some ten. */
#define REFRESH_WORK 50000000

static bool is_admitted(void *context, int32_t index)
{
    const struct learner *l = context;

    return index < item_tables_count(l->tables) && item_tables_admitted(l->tables, index) &&
           item_tables_row(l->tables, index) < model_config(l->model)->V;
}

/* Is there anything like it? Then its row is the mean of that. */
static bool copy_like(struct learner *l, int32_t index)
{
    int32_t C = model_config(l->model)->C, near[ITEM_WORDS_NEAR_MAX];
    int count = item_words_near(l->words, index, LEARNER_NEAR, is_admitted, l, near);
    float *row = model_item(l->model, item_tables_row(l->tables, index));

    if (count == 0)
        return false;
    memset(row, 0, (size_t)C * sizeof *row);
    for (int i = 0; i < count; i++) {
        const float *other = model_item(l->model, item_tables_row(l->tables, near[i]));

        for (int32_t c = 0; c < C; c++)
            row[c] += other[c] / (float)count;
    }
    return true;
}

/* The text of the item beside its row. */
static void put_text(struct learner *l, int32_t index)
{
    int32_t width = model_config(l->model)->text, row = item_tables_row(l->tables, index);

    if (width == 0 || row == 0 || row >= model_config(l->model)->V)
        return;
    item_words_vector_of(l->words, index, model_item_text(l->model, row), width);
    l->changed = true;
}

static void copy_unknown(struct learner *l, int32_t row)
{
    memcpy(model_item(l->model, row), model_item(l->model, BATCH_ITEM_UNKNOWN),
           (size_t)model_config(l->model)->C * sizeof(float));
}

bool learner_cold_clear(struct learner *l)
{
    bool any = false;
    int32_t V = model_config(l->model)->V, width = model_config(l->model)->text;

    for (int32_t row = 1; row < V && row < item_tables_rows(l->tables); row++) {
        if (item_tables_at_row(l->tables, row) != ITEM_NONE)
            continue;
        copy_unknown(l, row);
        trainer_forget_item(l->trainer, row);
        if (width > 0)
            memset(model_item_text(l->model, row), 0, (size_t)width * sizeof(float));
        any = l->changed = true;
    }
    return any;
}

/* A model that was replaced, or has new rows, knows no text yet. */
static void put_texts(struct learner *l)
{
    int32_t V = model_config(l->model)->V;

    if (model_config(l->model)->text == 0 || l->texts_rows == V)
        return;
    for (int32_t row = 1; row < V && row < item_tables_rows(l->tables); row++) {
        int32_t owner = item_tables_at_row(l->tables, row);

        if (owner != ITEM_NONE && item_words_known(l->words, owner))
            put_text(l, owner);
    }
    l->texts_rows = V;
}

void learner_cold_count(struct learner *l)
{
    l->described = 0;
    for (int row = 1; row < item_tables_rows(l->tables); row++) {
        int32_t owner = item_tables_at_row(l->tables, row);

        l->described += owner != ITEM_NONE && !item_tables_admitted(l->tables, owner);
    }
}

bool learner_cold_waits(const struct learner *l)
{
    const struct model_config *config = model_config(l->model);

    return item_tables_gives(l->tables) != l->gives_seen ||
           (config->text != 0 && l->texts_rows != config->V);
}

/* Rows of the model that nobody has had begin as the model made them. */
enum status learner_cold_begin(struct learner *l, struct error *err)
{
    int rows = item_tables_rows(l->tables), known = l->owners_count;
    bool first = l->gives_seen == 0;
    int32_t *owners;

    put_texts(l);
    if (item_tables_gives(l->tables) == l->gives_seen)
        return OK;
    owners = realloc(l->owners, (size_t)rows * sizeof *owners);
    if (owners == NULL)
        return error_set(err, ERR_NOMEM, "no memory for owners of %d rows", rows);
    l->owners = owners;
    for (int row = 1; row < rows; row++) {
        int32_t owner = item_tables_at_row(l->tables, row);
        bool had = row < known && owners[row] != ITEM_NONE;

        if (!first && owner != ITEM_NONE && (row >= known || owners[row] != owner)) {
            /* The others have their turn in learner_cold_refresh(): there may be very many. */
            if (item_tables_admitted(l->tables, owner) && copy_like(l, owner))
                l->changed = true;
            else if (had)
                copy_unknown(l, row);
            if (had)
                trainer_forget_item(l->trainer, row);
            put_text(l, owner);
        }
        /* Whose it was stays noted while it is nobody's: the next one must not inherit it. */
        if (owner != ITEM_NONE || row >= known)
            owners[row] = owner;
    }
    l->owners_count = rows;
    l->gives_seen = item_tables_gives(l->tables);
    learner_cold_count(l); /* some were admitted: others may be described */
    return OK;
}

void learner_cold_refresh(struct learner *l)
{
    int rows = item_tables_rows(l->tables), V = model_config(l->model)->V;
    int last = rows < V ? rows : V;
    int64_t work = 0;

    for (int i = 1; i < last && work < REFRESH_WORK; i++) {
        int row = l->cold_next = l->cold_next % (last - 1) + 1;
        int32_t owner = item_tables_at_row(l->tables, row);

        if (owner == ITEM_NONE || item_tables_admitted(l->tables, owner))
            continue;
        work += item_words_cost(l->words, owner);
        (void)copy_like(l, owner);
    }
}

enum status learner_follow(struct learner *l, const struct item_tables *ahead, bool *same_past,
                           struct error *err)
{
    int ours = item_tables_count(l->tables), theirs = item_tables_count(ahead);

    *same_past = item_tables_seed(ahead) == l->rules.seed &&
                 theirs <= item_tables_items_max(l->tables);
    for (int32_t i = 0; i < ours && i < theirs && *same_past; i++)
        *same_past = item_tables_hash(l->tables, i) == item_tables_hash(ahead, i);
    for (int32_t i = ours; i < theirs && *same_past; i++)
        *same_past = item_tables_find(l->tables, item_tables_hash(ahead, i)) == ITEM_NONE;
    if (!*same_past)
        return OK;
    for (int32_t i = ours; i < theirs; i++)
        if (item_tables_index(l->tables, item_tables_hash(ahead, i), item_tables_name(ahead, i),
                              0) == ITEM_NONE)
            return error_set(err, ERR_NOMEM, "no memory for %d items that were published", theirs);
    for (int32_t i = 0; i < theirs; i++) {
        int32_t row = item_tables_row(ahead, i);
        uint64_t item = item_tables_hash(ahead, i);

        if (row == 0 || item_tables_row(l->tables, i) != 0 ||
            item_tables_at_row(l->tables, row) != ITEM_NONE ||
            (l->holdout != NULL && !holdout_take_row(l->holdout, item, row)))
            continue;
        if (!item_tables_take_row(l->tables, i, row)) /* those that judge have it already */
            return error_set(err, ERR_NOMEM, "no memory for rows that were published");
    }
    learner_cold_count(l);
    return OK;
}

/* May an item that was never seen take a place in the item tables? With a row it may. A model that
 * reads texts needs to know those of items that come to be seen: half of the places, no more. */
static bool has_place(const struct learner *l)
{
    return l->described < l->options.cold_items ||
           (l->options.switches.text != 0 &&
            item_tables_count(l->tables) < item_tables_items_max(l->tables) / 2);
}

enum status learner_item(struct learner *l, const struct item *item, struct error *err)
{
    uint64_t hash = rules_item_hash(&l->rules, item->item);
    int32_t index, row;
    enum status status;

    if (item->gone) {
        item_tables_set_gone(l->tables, item_tables_find(l->tables, hash), true);
        return OK;
    }
    index = item_tables_find(l->tables, hash);
    item_tables_set_gone(l->tables, index, false);
    if (item->category.bytes + item->text.bytes == 0 || (index == ITEM_NONE && !has_place(l)))
        return OK;
    index = item_tables_index(l->tables, hash, item->item, 0);
    if (index == ITEM_NONE)
        return OK; /* the table is full, which it counts itself */
    status = item_words_put(l->words, index, item->category, item->text, err);
    if (status != OK || !item_words_known(l->words, index))
        return status;
    if (l->described < l->options.cold_items) {
        row = item_tables_describe(l->tables, index, 0);
        l->described += row != 0;
        if (row != 0 && l->holdout != NULL)
            holdout_describe(l->holdout, hash, row);
    }
    put_text(l, index);
    return OK;
}

enum status learner_expire(struct learner *l, int64_t before_ms, int *expired, struct error *err)
{
    const struct holdout_event event = {
        .time_ms = before_ms, .action = HOLDOUT_EXPIRED, .repeat = true};
    enum status status = l->holdout == NULL ? OK
                                            : holdout_add(l->holdout, l->sequences, &event, err);

    *expired = 0;
    if (status == OK)
        *expired = item_tables_expire(l->tables, before_ms);
    return status == OK && learner_cold_clear(l) ? model_prepare(l->model, err) : status;
}
