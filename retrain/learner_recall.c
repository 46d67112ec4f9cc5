/*
 * retrain/learner_recall.c - a list from an event: the choice among what recall would have offered.
 *
 * The scorer orders the union of popular and related items, and where it is told to of the model's
 * best next items, too. So that is what the head is trained on, in the same way: the union at that
 * moment, of which a random part (a softmax over a uniform sample needs no correction) stands
 * beside the choice. What the user already has is in it, since requests may keep it; where nobody
 * chooses a thing twice the head learns that from the lists.
 */
#include "retrain/learner_inside.h"

#include "scorer/rank.h"

#include <string.h>

/* Notes an index; false when it was noted since the table was cleared. */
static bool note(struct learner *l, int32_t index)
{
    uint32_t mask = (uint32_t)l->once_slots - 1;
    uint32_t at = (uint32_t)index * 2654435761u & mask;

    while (l->once[at] != 0 && l->once[at] != index + 1)
        at = (at + 1) & mask;
    if (l->once[at] != 0)
        return false;
    l->once[at] = index + 1;
    return true;
}

static enum status ready_next(struct learner *l, struct error *err)
{
    struct batch_builder_options options = {.history_max = model_history_max(l->model),
                                            .rows_max = model_config(l->model)->V};

    if (l->next_workspace == NULL)
        l->next_workspace = model_workspace_create();
    if (l->next_builder != NULL && l->next_builder_rows == options.rows_max &&
        l->next_history_max == options.history_max)
        return OK;
    batch_builder_destroy(l->next_builder);
    l->next_builder = NULL;
    l->next_builder_rows = options.rows_max;
    l->next_history_max = options.history_max;
    return batch_builder_create(&l->next_builder, &options, err);
}

/* As rank() does it, by the weights that learner_settle() last brought: the head has to see
 * what it is going to order. (Brought to a head that never saw them, the model's own candidates
 * gained half as much.)
 */
static enum status next_items(struct learner *l, const struct sequences_view *before,
                              const struct item_query *query, int32_t *into, int *count,
                              struct error *err)
{
    int wanted = rank_next_of(l->options.recall_next, item_tables_rows(l->tables)), found = 0;
    struct rank_next next = {.model = l->model, .tables = l->tables};
    struct batch_request history = {.history = before->entries,
                                    .history_count = before->count,
                                    .running = before->running,
                                    .request_time_ms = query->now_ms};
    enum status status;

    *count = 0;
    if (wanted == 0 || before->count == 0 || l->progress.steps == 0)
        return OK;
    status = ready_next(l, err);
    if (status != OK)
        return status;
    batch_builder_reset(l->next_builder);
    status = batch_builder_add(l->next_builder, l->tables, &history, err);
    next.workspace = l->next_workspace;
    if (status == OK)
        status = rank_next_items(&next, batch_builder_batch(l->next_builder), wanted, before->count,
                                 l->next, l->next_scores, &found, err);
    for (int i = 0; i < found && *count < wanted; i++)
        if (!item_tables_gone(l->tables, l->next[i]) &&
            !sequences_view_has(before, item_tables_hash(l->tables, l->next[i])))
            into[(*count)++] = l->next[i];
    return status;
}

/* Fills pick with the union of what was found, each once; *chosen_at is the place of the choice in
 * it, or -1. */
static int offer(struct learner *l, int found, int32_t chosen, int *chosen_at)
{
    int count = 0;

    memset(l->once, 0, (size_t)l->once_slots * sizeof *l->once);
    *chosen_at = -1;
    for (int i = 0; i < found; i++) {
        if (!note(l, l->indices[i]))
            continue;
        if (l->indices[i] == chosen)
            *chosen_at = count;
        l->pick[count++] = l->indices[i];
    }
    return count;
}

static enum status find(struct learner *l, const struct sequences_view *before,
                        const struct item_query *query, int *found, struct error *err)
{
    int each = l->options.recall_each, next;
    enum status status;

    *found = item_tables_related(l->tables, l->scratch, query, each, l->indices);
    *found += item_tables_popular(l->tables, l->scratch, query, each, l->indices + *found);
    status = next_items(l, before, query, l->indices + *found, &next, err);
    *found += next;
    return status;
}

/* The choice first, then a random part of the others: the first rows of pick. */
static int sample(struct learner *l, int count, int chosen_at)
{
    int rows = count < l->options.recalled_rows ? count : l->options.recalled_rows;
    int32_t chosen = l->pick[chosen_at];

    l->pick[chosen_at] = l->pick[0];
    l->pick[0] = chosen;
    for (int i = 1; i < rows; i++) {
        int j = i + (int)random_below(&l->random, (uint64_t)(count - i));
        int32_t moved = l->pick[j];

        l->pick[j] = l->pick[i];
        l->pick[i] = moved;
    }
    return rows;
}

enum status learner_recall(struct learner *l, uint64_t user, const struct user_entry *entry,
                           int32_t chosen, struct error *err)
{
    struct sequences_view before = sequences_before(l->sequences, user, entry);
    struct item_query query = {
        .now_ms = entry->time_ms, .history = before.entries, .history_count = before.count};
    struct list *list;
    int found, count, rows, chosen_at;
    enum status status;

    /* Drawn first, so that the numbers drawn do not depend on what is in the tables. */
    if (!(random_unit(&l->random) < l->options.recalled_share) || l->options.recalled_rows < 2)
        return OK;
    status = find(l, &before, &query, &found, err);
    if (status != OK)
        return status;
    count = offer(l, found, chosen, &chosen_at);
    if (chosen_at < 0 || count < 2) {
        l->progress.not_recalled++;
        return OK;
    }
    l->progress.recalled++;
    rows = sample(l, count, chosen_at);
    list = list_create(before.count, rows);
    if (list == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a list of %d rows", rows);
    list->user = user;
    list->time_ms = entry->time_ms;
    list->running = before.running;
    if (before.count > 0)
        memcpy(list->history, before.entries, (size_t)before.count * sizeof *list->history);
    memcpy(list->rows, l->pick, (size_t)rows * sizeof *list->rows);
    list->labels[0] = 1;
    status = item_tables_raw(l->tables, l->scratch, &query, list->rows, rows, list->raw, err);
    if (status != OK) {
        list_destroy(list);
        return status;
    }
    if (l->watcher != NULL)
        l->watcher(l->watcher_context, list);
    lists_add(l->recalled, list);
    return OK;
}
