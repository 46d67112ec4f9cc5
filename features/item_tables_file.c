/*
 * features/item_tables_file.c - item tables to and from files (schemas/item_file.h).
 *
 * A record is believed by itself, because item_file checked its bounds; what only the whole
 * table can say (no hash twice, no model row twice) is checked here.
 */
#include "features/item_tables.h"

#include "features/item_tables_inside.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

/* neighbours: room for ITEM_FILE_NEIGHBOURS_MAX, which the record then points to. */
static struct item_file_item item_at(const struct item_tables *tables, int32_t index,
                                     struct item_neighbour *neighbours)
{
    const struct item_row *row = item_rows_get(&tables->rows, index);
    struct item_file_item item = {.index = index,
                                  .row = row->row,
                                  .hash = row->hash,
                                  .name = {row->name, row->name_bytes},
                                  .first_seen_ms = row->first_seen_ms,
                                  .last_seen_ms = row->last_seen_ms,
                                  .clicks = row->clicks,
                                  .shown = row->shown,
                                  .sightings = row->sightings,
                                  .gone = row->gone,
                                  .decayed_at_ms = row->decayed_at_ms,
                                  .covis_at_ms = row->covis_at_ms};

    memcpy(item.decayed, row->decayed, sizeof item.decayed);
    if (row->neighbours != NULL) {
        item.neighbours_count = row->neighbours->count;
        item.neighbours = neighbours;
        for (int i = 0; i < item.neighbours_count; i++)
            neighbours[i] = (struct item_neighbour){row->neighbours->index[i],
                                                    item_list_weights(row->neighbours)[i]};
    }
    return item;
}

static bool is_changed(const struct item_tables *tables, int32_t index)
{
    if (tables->changed == NULL)
        return true; /* against what is not known: loaded, or the mark is gone */
    return index / 64 < tables->changed_words &&
           (tables->changed[index / 64] >> (index % 64) & 1) != 0;
}

static enum status save(const struct item_tables *tables, bool delta, uint64_t sequence,
                        const char *base_version, const char *path, struct error *err)
{
    struct item_file_head head = {.delta = delta,
                                  .items_total = tables->rows.count,
                                  .rows = tables->rows_given,
                                  .neighbours_max = tables->options.neighbours_max,
                                  .sequence = sequence,
                                  .newest_ms = tables->newest_ms,
                                  .covis_tau_ms = tables->options.covis_tau_ms,
                                  .seed = tables->options.seed,
                                  .offsets_count = tables->offsets_count,
                                  .offsets = tables->offsets};
    struct item_neighbour neighbours[ITEM_FILE_NEIGHBOURS_MAX];
    struct item_file_writer *writer = NULL;
    enum status status;

    (void)snprintf(head.base_version, sizeof head.base_version, "%s", base_version);
    status = item_file_writer_create(&writer, path, &head, err);
    for (int32_t i = 0; status == OK && i < tables->rows.count; i++) {
        struct item_file_item item;

        if (delta && !is_changed(tables, i))
            continue;
        item = item_at(tables, i, neighbours);
        status = item_file_writer_add(writer, &item, err);
    }
    if (status == OK)
        status = item_file_writer_finish(writer, err);
    item_file_writer_destroy(writer);
    return status;
}

enum status item_tables_save(const struct item_tables *tables, const char *path, struct error *err)
{
    return save(tables, false, 0, "", path, err);
}

enum status item_tables_save_delta(const struct item_tables *tables, uint64_t sequence,
                                   const char *base_version, const char *path, struct error *err)
{
    return save(tables, true, sequence, base_version, path, err);
}

/* ---- reading ---- */

static enum status no_memory(struct error *err)
{
    return error_set(err, ERR_NOMEM, "no memory for the items of a file");
}

static enum status put_neighbours(struct item_row *row, const struct item_file_item *item,
                                  struct error *err)
{
    row->covis_at_ms = item->covis_at_ms;
    if (item->neighbours_count == 0 && row->neighbours == NULL)
        return OK;
    if (!item_list_own(&row->neighbours, item->neighbours_count == 0 ? 1 : item->neighbours_count))
        return no_memory(err);
    item_list_fill(row->neighbours, item->neighbours, item->neighbours_count);
    return OK;
}

/* The base's weights at this row are its present item's, who loses it. */
static bool note_weights(struct item_tables *tables, int32_t row)
{
    if (tables->weights_of == NULL) {
        tables->weights_of = malloc((size_t)tables->rows_given * sizeof *tables->weights_of);
        if (tables->weights_of == NULL)
            return false;
        for (tables->weights_rows = 0; tables->weights_rows < tables->rows_given;)
            tables->weights_of[tables->weights_rows++] = ITEM_NONE;
    }
    if (row < tables->weights_rows && tables->weights_of[row] == ITEM_NONE)
        tables->weights_of[row] = tables->at_row[row];
    return true;
}

/* A row may go to an item in front of the one that loses it: *moved, and check_owners() looks at
 * the whole of them at the end. */
static enum status put_row_number(struct item_tables *tables, const struct item_row *row,
                                  const struct item_file_item *item, bool *moved, struct error *err)
{
    if (row->row == item->row)
        return OK;
    if (row->row != 0 && tables->at_row[row->row] == item->index) { /* it expired */
        if (!note_weights(tables, row->row))
            return no_memory(err);
        tables->at_row[row->row] = ITEM_NONE;
    }
    if (item->row == 0)
        return OK;
    if (item_tables_at_row(tables, item->row) != ITEM_NONE) {
        *moved = true;
        if (!note_weights(tables, item->row))
            return no_memory(err);
    }
    return item_tables_give_row(tables, item->row, item->index) ? OK : no_memory(err);
}

static enum status check_owners(const struct item_tables *tables, struct error *err)
{
    for (int32_t i = 0; i < tables->rows.count; i++) {
        int32_t row = item_rows_get(&tables->rows, i)->row;

        if (row != 0 && tables->at_row[row] != i)
            return error_set(err, ERR_MALFORMED, "model row %d belongs to two items of a file",
                             row);
    }
    return OK;
}

/* Puts one record into the table: a new item, or a known one whose row it replaces. */
static enum status put_item(struct item_tables *tables, const struct item_file_item *item,
                            bool *moved, struct error *err)
{
    struct item_row *row;
    enum status status;

    if (item->index > tables->rows.count)
        return error_set(err, ERR_MALFORMED, "item %d follows item %d in a file", item->index,
                         tables->rows.count - 1);
    if (item->index == tables->rows.count) {
        if (item_rows_find(&tables->rows, item->hash) >= 0)
            return error_set(err, ERR_MALFORMED, "item %d of a file has a hash that is known",
                             item->index);
        row = item_rows_add(&tables->rows, item->hash);
    } else {
        row = item_rows_own(&tables->rows, item->index);
    }
    if (row == NULL)
        return no_memory(err);
    if (row->hash != item->hash)
        return error_set(err, ERR_CONFLICT, "item %d of a file is another item here", item->index);
    status = put_row_number(tables, row, item, moved, err);
    if (status == OK)
        status = put_neighbours(row, item, err);
    if (status != OK)
        return status;
    if (row->name == NULL && item->name.bytes > 0) {
        row->name = item_rows_keep_name(&tables->rows, item->name);
        if (row->name == NULL)
            return no_memory(err);
        row->name_bytes = (uint16_t)item->name.bytes;
    }
    row->clicks = item->clicks;
    row->shown = item->shown;
    row->decayed_at_ms = item->decayed_at_ms;
    memcpy(row->decayed, item->decayed, sizeof row->decayed);
    row->first_seen_ms = item->first_seen_ms;
    row->last_seen_ms = item->last_seen_ms;
    row->row = item->row;
    row->sightings = item->sightings;
    row->gone = item->gone;
    row->popular = item_order_key(row->decayed[ITEM_DECAYS - 1], row->decayed_at_ms,
                                  ITEM_TAU_7D_MS);
    return OK;
}

/* All records of the file, then what its head says of the whole. */
static enum status put_all(struct item_tables *tables, struct item_file *file, struct error *err)
{
    const struct item_file_head *head = item_file_head(file);
    struct item_file_item item;
    bool more = true, moved = false;
    enum status status = item_file_next(file, &item, &more, err);

    while (status == OK && more) {
        status = put_item(tables, &item, &moved, err);
        if (status == OK)
            status = item_file_next(file, &item, &more, err);
    }
    if (status == OK && moved)
        status = check_owners(tables, err);
    if (status != OK)
        return status;
    if (tables->rows.count != head->items_total)
        return error_set(err, ERR_MALFORMED, "a file of %d items makes a table of %d",
                         head->items_total, tables->rows.count);
    if (head->rows > tables->rows_given && !item_tables_give_row(tables, head->rows - 1, ITEM_NONE))
        return no_memory(err);
    item_tables_count_free(tables);
    tables->newest_ms = head->newest_ms;
    item_tables_set_offsets(tables, head->offsets, head->offsets_count);
    if (tables->offsets == NULL)
        return no_memory(err);
    item_order_build(&tables->order, &tables->rows);
    return OK;
}

enum status item_tables_load(struct item_tables **tables, const char *path, struct error *err)
{
    struct item_file *file = NULL;
    struct item_tables *made = NULL;
    enum status status = item_file_open(&file, path, err);

    *tables = NULL;
    if (status == OK) {
        const struct item_file_head *head = item_file_head(file);
        struct item_tables_options options = {.neighbours_max = head->neighbours_max,
                                              .covis_tau_ms = head->covis_tau_ms,
                                              .seed = head->seed};

        if (head->delta)
            status = error_set(err, ERR_MALFORMED, "\"%s\" holds changes of items, not all of them",
                               path);
        else if ((made = item_tables_new(&options)) == NULL)
            status = no_memory(err);
        else
            status = put_all(made, file, err);
    }
    if (status == OK) {
        if (made->options.items_max < made->rows.count)
            made->options.items_max = made->rows.count;
        *tables = made;
        made = NULL;
    }
    item_tables_destroy(made);
    item_file_close(file);
    return status;
}

enum status item_tables_delta_sequence(const char *path, uint64_t *sequence, struct error *err)
{
    struct item_file *file = NULL;
    enum status status = item_file_open(&file, path, err);

    *sequence = status == OK && item_file_head(file)->delta ? item_file_head(file)->sequence : 0;
    item_file_close(file);
    return status;
}

enum status item_tables_apply_delta(struct item_tables *tables, const char *path,
                                    const char *base_version, uint64_t *sequence, struct error *err)
{
    struct item_file *file = NULL;
    enum status status = item_file_open(&file, path, err);

    if (status == OK) {
        const struct item_file_head *head = item_file_head(file);

        if (!head->delta)
            status = error_set(err, ERR_MALFORMED, "\"%s\" holds no changes but a whole table",
                               path);
        else if (strcmp(head->base_version, base_version) != 0 ||
                 head->seed != tables->options.seed ||
                 head->covis_tau_ms != tables->options.covis_tau_ms ||
                 head->items_total < tables->rows.count)
            status = error_set(err, ERR_CONFLICT, "\"%s\" belongs to \"%.*s\", not to \"%s\"", path,
                               MODEL_VERSION_MAX, head->base_version, base_version);
        else
            status = put_all(tables, file, err);
        *sequence = head->sequence;
    }
    item_file_close(file);
    return status;
}
