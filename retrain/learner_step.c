/*
 * retrain/learner_step.c - one step: lists and histories into a batch, a batch into the trainer.
 *
 * Shown and recalled lists have batches and objectives of their own: a shown list says how often
 * such a row is chosen, a recalled one only which.
 */
#include "retrain/learner_inside.h"

#include <math.h>
#include <stdlib.h>

#define SAMPLER_EVERY   64  /* steps between two looks at popularity */
#define SAMPLER_POWER   .75 /* of popularity: between uniform and the stream's own */
#define SAMPLER_FLOOR   .1  /* added to it, so that no row is never drawn */
#define LOSS_DECAY      .99
#define ROWS_SLACK      8 /* the item table grows by an eighth at a time */
#define ROWS_STEP       64
#define ADAGRAD_ABOVE_V 200000

/* Room for every row the tables have given out. Rows that the model gets, or gives to others, are
 * written on the host. */
static enum status grow(struct learner *l, struct error *err)
{
    int rows = item_tables_rows(l->tables);
    int V = model_config(l->model)->V;
    struct batch_builder_options options = {.history_max = model_history_max(l->model)};
    enum status status = learner_cold_waits(l) || rows > V ? learner_settle(l, err) : OK;

    if (status == OK && rows > V) {
        V = (rows + rows / ROWS_SLACK + ROWS_STEP) / ROWS_STEP * ROWS_STEP;
        status = model_grow_items(l->model, V, err);
        l->changed = true;
        l->sampler_steps = 0;
    }
    if (status == OK)
        status = learner_cold_begin(l, err);
    if (status != OK || (l->builder != NULL && l->builder_rows == V))
        return status;
    batch_builder_destroy(l->builder);
    l->builder = NULL;
    options.rows_max = V;
    l->builder_rows = V;
    return batch_builder_create(&l->builder, &options, err);
}

/* Negatives of next-item learning are drawn by present popularity; rows not given out, never. */
static enum status set_sampler(struct learner *l, struct error *err)
{
    int64_t now_ms = item_tables_newest_ms(l->tables);
    int V = model_config(l->model)->V;
    int rows = item_tables_rows(l->tables);

    if (l->sampler_steps++ % SAMPLER_EVERY != 0 || rows < 2)
        return OK;
    if (l->weights_room < V) {
        float *weights = realloc(l->weights, (size_t)V * sizeof *weights);

        if (weights == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %d weights", V);
        l->weights = weights;
        l->weights_room = V;
    }
    for (int row = 0; row < V; row++) {
        int32_t index = row == 0 || row >= rows ? ITEM_NONE : item_tables_at_row(l->tables, row);

        l->weights[row] = 0;
        if (index != ITEM_NONE)
            l->weights[row] = (float)pow(
                item_tables_popularity(l->tables, index, now_ms, ITEM_TAU_7D_MS) + SAMPLER_FLOOR,
                SAMPLER_POWER);
    }
    l->weights_count = V;
    return trainer_set_sampler(l->trainer, l->weights, V, err);
}

static void note_learnt(struct learner *l, int64_t time_ms)
{
    if (time_ms > l->progress.trained_until_ms)
        l->progress.trained_until_ms = time_ms;
}

static enum status add_list(struct learner *l, const struct list *list, struct error *err)
{
    struct batch_request request = list_request(list);

    request.labels = list->labels;
    request.positions = list->id != 0 ? l->positions : NULL;
    note_learnt(l, list->time_ms);
    return batch_builder_add(l->builder, l->tables, &request, err);
}

/* Adds fresh lists and replayed ones in their proportion; *fresh counts the former. */
static enum status add_lists(struct learner *l, struct lists *lists, int64_t until_ms, int *fresh,
                             int *count, struct error *err)
{
    enum status status = OK;
    int replays;

    *fresh = *count = 0;
    while (*fresh < l->options.step_lists && status == OK) {
        const struct list *list = lists_take(lists, until_ms);

        if (list == NULL)
            break;
        (*fresh)++;
        status = add_list(l, list, err);
    }
    replays = (*fresh * l->options.step_replay + l->options.step_lists - 1) / l->options.step_lists;
    *count = *fresh;
    for (int i = 0; i < replays && status == OK; i++) {
        const struct list *list = lists_replay(lists);

        if (list == NULL)
            break;
        if (list->time_ms >= until_ms) /* kept for want of room, before anything learnt from it */
            continue;
        (*count)++;
        status = add_list(l, list, err);
    }
    return status;
}

static enum status add_history(struct learner *l, uint64_t user, int64_t until_ms, bool *added,
                               struct error *err)
{
    struct sequences_view view = sequences_get(l->sequences, user);
    struct batch_request request = {.next_items = true};
    int count = view.count;

    while (count > 0 && view.entries[count - 1].time_ms >= until_ms)
        count--;
    count = robot_without(view.entries, count, &l->options.robots, l->kept);
    *added = count > 1;
    if (count < 2)
        return OK;
    request.history = l->kept;
    request.history_count = count;
    request.running = view.running - (uint32_t)(view.count - count);
    request.request_time_ms = l->kept[count - 1].time_ms;
    note_learnt(l, request.request_time_ms);
    return batch_builder_add(l->builder, l->tables, &request, err);
}

/* Users of events not yet learnt from, then random ones of the ring. */
static enum status add_histories(struct learner *l, int64_t until_ms, int *fresh, struct error *err)
{
    uint64_t held = l->recent_entered < LEARNER_RECENT ? l->recent_entered : LEARNER_RECENT;
    enum status status = OK;
    bool added;

    *fresh = 0;
    if (l->recent_entered - l->recent_taken > held)
        l->recent_taken = l->recent_entered - held;
    for (int i = 0; i < l->options.step_sequences && status == OK && held > 0; i++) {
        uint64_t at;

        if (l->recent_taken < l->recent_entered &&
            l->recent[l->recent_taken % LEARNER_RECENT].time_ms < until_ms) {
            at = l->recent_taken++;
            (*fresh)++;
        } else {
            at = random_below(&l->random, held);
        }
        status = add_history(l, l->recent[at % LEARNER_RECENT].user, until_ms, &added, err);
    }
    return status;
}

static void move_mean(double *mean, double value)
{
    *mean = *mean == 0 ? value : LOSS_DECAY * *mean + (1 - LOSS_DECAY) * value;
}

static enum status learn(struct learner *l, const struct trainer_objective *objective,
                         struct error *err)
{
    struct trainer_losses losses = {0};
    enum status status = set_sampler(l, err);

    learner_scale_add(&l->scale, batch_builder_batch(l->builder), l->model);
    l->changed = true;
    if (status == OK)
        status = trainer_step(l->trainer, l->model, batch_builder_batch(l->builder), objective,
                              &losses, err);
    if (status == ERR_REJECTED)
        l->progress.rejected++;
    if (status != OK)
        return status;
    l->progress.steps++;
    l->progress.lists += losses.lists;
    l->progress.targets += losses.targets;
    if (losses.lists > 0)
        move_mean(&l->progress.list_loss, losses.list);
    if (losses.targets > 0)
        move_mean(&l->progress.next_loss, losses.next);
    return OK;
}

static enum status step_shown(struct learner *l, int64_t until_ms, bool *worked, struct error *err)
{
    enum status status;
    int fresh, count;

    if (lists_fresh(l->shown) + lists_kept(l->shown) == 0)
        return OK;
    batch_builder_reset(l->builder);
    status = add_lists(l, l->shown, until_ms - l->options.shown_gap_ms, &fresh, &count, err);
    if (status != OK || fresh == 0)
        return status;
    *worked = true;
    return learn(l, &l->shown_objective, err);
}

static enum status step_recalled(struct learner *l, int64_t until_ms, bool *worked,
                                 struct error *err)
{
    enum status status;
    int fresh, count, fresh_histories;

    batch_builder_reset(l->builder);
    status = add_lists(l, l->recalled, until_ms, &fresh, &count, err);
    if (status == OK)
        status = add_histories(l, until_ms, &fresh_histories, err);
    if (status != OK || fresh + fresh_histories == 0)
        return status;
    if (batch_builder_batch(l->builder)->B == 0)
        return OK;
    *worked = true;
    return learn(l, &l->recalled_objective, err);
}

enum status learner_step(struct learner *l, int64_t until_ms, bool *worked, struct error *err)
{
    enum status status = grow(l, err);

    *worked = false;
    trainer_run_begin(l->trainer);
    if (status == OK)
        status = step_shown(l, until_ms, worked, err);
    if (status == OK)
        status = step_recalled(l, until_ms, worked, err);
    return status;
}
