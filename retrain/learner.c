/*
 * retrain/learner.c - what an event does to tables, histories and pools; creation, checkpoint.
 *
 * Steps are in learner_step.c, lists made from events in learner_recall.c.
 */
#include "retrain/learner.h"

#include "features/list_memory.h"
#include "features/scalars.h"
#include "ops/hash.h"
#include "ops/log.h"
#include "retrain/learner_inside.h"

#include "scorer/rank.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_WEIGHT .1f /* of shown lists beside recalled ones */

#define SALT_MODEL    1
#define SALT_TRAINER  2
#define SALT_RANDOM   3
#define SALT_SHOWN    4
#define SALT_RECALLED 5

void learner_options_init(struct learner_options *options)
{
    *options = (struct learner_options){
        .preset = "small",
        .objective = "list",
        .seed = 1,
        .threads = 1,
        .users_max = 2000000,
        .shown = {.fresh_max = 20000, .kept_max = 4000},
        .recalled = {.fresh_max = 20000, .kept_max = 4000},
        .recall_each = 300, /* as the scorer */
        .recalled_rows = 32,
        .recalled_share = 1,
        .step_lists = 32,
        .step_replay = 8,
        .step_sequences = 32,
        .learning_rate = 1e-3f,
        .next_weight = .2f,
        .loss_clip = 8,
        .robots = {.minute_max = 60, .item_max = 5},
    };
}

static enum status create_trainer(struct learner *l, struct error *err)
{
    struct trainer_config config;

    trainer_defaults(&config);
    config.learning_rate = l->options.learning_rate;
    config.threads = l->options.threads;
    config.bf16 = l->options.bf16;
    config.seed = hash64_mix(l->options.seed, SALT_TRAINER);
    trainer_destroy(l->trainer);
    l->trainer = NULL;
    l->sampler_steps = 0;
    l->weights_count = 0;
    return trainer_create(&l->trainer, l->model, &config, err);
}

/* The head of a fresh model begins with the priors of the scalars, which stand behind x and x * e
 * in z (kernels/head.h). */
static void begin_with_priors(struct model *model)
{
    int32_t C = model_config(model)->C;

    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor tensor = model_tensor(model, i);

        for (int f = 0; strcmp(tensor.name, "head.w") == 0 && f < scalars_count; f++)
            tensor.data[2 * C + f] += scalar_rows[f].prior;
        for (int f = 0; strcmp(tensor.name, "w_f") == 0 && f < scalars_count; f++)
            tensor.data[f] += scalar_rows[f].prior;
    }
}

static enum status create_model(struct learner *l, struct error *err)
{
    struct model_config config;
    enum status status;

    if (!model_preset(&config, l->options.preset, 1, scalars_count))
        return error_set(err, ERR_CONFIG, "no model preset \"%s\"", l->options.preset);
    config.A = ACTIONS_MAX;
    model_switch(&config, &l->options.switches);
    status = model_create(&l->model, &config, hash64_mix(l->options.seed, SALT_MODEL), err);
    if (status != OK)
        return status;
    begin_with_priors(l->model);
    status = model_prepare(l->model, err);
    if (status == OK)
        status = create_trainer(l, err);
    if (status == OK && l->options.bf16)
        log_event(LOG_INFO, trainer_is_bf16(l->trainer) ? "learns_in_bf16" : "learns_in_f32",
                  trainer_products(l->trainer));
    return status;
}

static enum status create_objectives(struct learner *l, struct error *err)
{
    if (!trainer_objective_preset(&l->shown_objective, l->options.objective))
        return error_set(err, ERR_CONFIG, "no objective \"%s\"", l->options.objective);
    l->shown_objective.next = 0; /* histories have batches of their own */
    /* A shown list was chosen by a ranker: inside it popularity and co-visitation differ little, so
     * it says little of them. With full weight, or with none, the ranking of all that recall offers
     * is worse (tests/bench/bench_drift.c, NDCG@10 before the shift: .59 and .52 against .65). */
    l->shown_objective.point *= SHOWN_WEIGHT;
    l->shown_objective.pair *= SHOWN_WEIGHT;
    l->shown_objective.list *= SHOWN_WEIGHT;
    /* Recalled lists have one choice among many that nobody was shown: their order says
     * something, the share of choices in them does not. */
    (void)trainer_objective_preset(&l->recalled_objective, "list");
    l->recalled_objective.point = 0;
    l->recalled_objective.next = l->options.next_weight;
    l->shown_objective.loss_clip = l->recalled_objective.loss_clip = l->options.loss_clip;
    return OK;
}

static enum status create_scratch(struct learner *l, struct error *err)
{
    size_t rows = (size_t)l->options.recall_each * 2 + RANK_NEXT_MAX + LIST_ROWS_MAX;

    l->recent = calloc(LEARNER_RECENT, sizeof *l->recent);
    l->scratch = item_scratch_create();
    l->kept = calloc((size_t)l->rules.sequence_max, sizeof *l->kept);
    l->pick = calloc(rows, sizeof *l->pick);
    for (l->once_slots = 64; (size_t)l->once_slots < 2 * rows;)
        l->once_slots *= 2;
    l->once = calloc((size_t)l->once_slots, sizeof *l->once);
    l->indices = calloc(rows, sizeof *l->indices);
    l->positions = calloc(LIST_ROWS_MAX, sizeof *l->positions);
    if (l->recent == NULL || l->scratch == NULL || l->kept == NULL || l->pick == NULL ||
        l->once == NULL || l->indices == NULL || l->positions == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the learner's scratch");
    for (int i = 0; i < LIST_ROWS_MAX; i++)
        l->positions[i] = i + 1;
    random_seed(&l->random, hash64_mix(l->options.seed, SALT_RANDOM));
    return OK;
}

enum status learner_create(struct learner **learner, const struct learner_options *options,
                           struct error *err)
{
    struct learner *l = calloc(1, sizeof *l);
    enum status status;

    assert(options->rules != NULL && options->recalled_rows <= LIST_ROWS_MAX);
    *learner = NULL;
    if (l == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a learner");
    l->options = *options;
    l->rules = *options->rules;
    l->options.rules = &l->rules;
    l->options.items.seed = l->rules.seed; /* of the item hashes */
    l->options.shown.seed = hash64_mix(options->seed, SALT_SHOWN);
    l->options.recalled.seed = hash64_mix(options->seed, SALT_RECALLED);
    status = create_objectives(l, err);
    if (status == OK)
        status = create_scratch(l, err);
    if (status == OK)
        status = item_tables_create(&l->tables, &l->options.items, err);
    if (status == OK)
        status = item_words_create(&l->words, err);
    if (status == OK)
        status = sequences_create(&l->sequences, l->rules.sequence_max, options->users_max, err);
    if (status == OK)
        status = lists_create(&l->shown, &l->options.shown, err);
    if (status == OK)
        status = lists_create(&l->recalled, &l->options.recalled, err);
    if (status == OK && options->holdout_max > 0)
        status = holdout_create(&l->holdout, l->tables, options->holdout_max,
                                options->holdout_judges, err);
    if (status == OK)
        status = create_model(l, err);
    if (status != OK) {
        learner_destroy(l);
        return status;
    }
    *learner = l;
    return OK;
}

void learner_destroy(struct learner *l)
{
    if (l == NULL)
        return;
    trainer_destroy(l->trainer);
    model_destroy(l->model);
    lists_destroy(l->shown);
    lists_destroy(l->recalled);
    holdout_destroy(l->holdout);
    sequences_destroy(l->sequences);
    item_tables_destroy(l->tables);
    item_words_destroy(l->words);
    free(l->owners);
    item_scratch_destroy(l->scratch);
    batch_builder_destroy(l->builder);
    batch_builder_destroy(l->next_builder);
    model_workspace_destroy(l->next_workspace);
    free(l->kept);
    free(l->recent);
    free(l->pick);
    free(l->once);
    free(l->indices);
    free(l->positions);
    free(l->weights);
    free(l);
}

/* ---- what comes in ---- */

static enum status hold(struct learner *l, const struct holdout_event *event, struct error *err)
{
    return l->holdout == NULL ? OK : holdout_add(l->holdout, l->sequences, event, err);
}

/* A choice from a shown list: made among what somebody chose to show. A list that it can answer is
 * no older than the join window; without one the request was never logged as shown, and the choice
 * has no other list to teach by. */
static bool is_answer(const struct learner *l, const struct event *event)
{
    return event->request_id.bytes > 0 && l->progress.impressed_ms > 0 &&
           event->time_ms - l->progress.impressed_ms <= l->rules.join_window_ms;
}

static bool note_limit(struct learner *l, enum robot limit)
{
    l->progress.masked += limit != ROBOT_NONE;
    l->progress.masked_by[limit] += limit != ROBOT_NONE;
    return limit != ROBOT_NONE;
}

/* Is a choice beyond a limit? It is counted as such. */
static bool is_masked(struct learner *l, const struct user_entry *before, int count,
                      const struct user_entry *choice)
{
    return note_limit(l, robot_chose(before, count, choice, &l->options.robots));
}

static enum status observe_action(struct learner *l, const struct event *event, bool *entered,
                                  struct error *err)
{
    const struct action_row *action = &l->rules.actions[event->action];
    uint64_t user = rules_user_hash(&l->rules, event->user);
    struct user_entry entry = {.item = rules_item_hash(&l->rules, event->item),
                               .time_ms = event->time_ms,
                               .action = event->action};
    enum sequences_result result;
    struct sequences_view before;
    enum status status;
    int32_t index;
    bool answer;

    if (!action->history)
        return OK;
    status = sequences_enter(l->sequences, user, &entry, &result, err);
    if (status != OK || result != SEQUENCES_ENTERED)
        return status;
    *entered = true;
    before = sequences_before(l->sequences, user, &entry);
    if (is_masked(l, before.entries, before.count, &entry))
        return OK;
    l->recent[l->recent_entered++ % LEARNER_RECENT] = (struct learner_recent){user, event->time_ms};
    if (action->negative)
        return OK; /* known to the history, but nobody's choice */
    answer = is_answer(l, event);
    status = hold(l,
                  &(struct holdout_event){.user = user,
                                          .item = entry.item,
                                          .time_ms = event->time_ms,
                                          .action = event->action,
                                          .answer = answer,
                                          .repeat = sequences_view_has(&before, entry.item)},
                  err);
    if (status != OK)
        return status;
    index = item_tables_index(l->tables, entry.item, event->item, event->time_ms);
    if (index == ITEM_NONE)
        return OK; /* the table is full, which it counts itself */
    if (!answer)   /* an answer teaches through the list it answers */
        status = learner_recall(l, user, &entry, index, err);
    if (status != OK)
        return status;
    item_tables_observe(l->tables, index, event->time_ms, before.entries, before.count);
    return OK;
}

/* A list that is sent again, or that is of before the user's erasure, counts nowhere. */
static enum status observe_impression(struct learner *l, const struct event *event,
                                      struct error *err)
{
    bool fresh;
    enum status status = sequences_shown(l->sequences, rules_user_hash(&l->rules, event->user),
                                         list_memory_id(&l->rules, event), event->time_ms, &fresh,
                                         err);

    if (status != OK || !fresh)
        return status;
    if (event->time_ms > l->progress.impressed_ms)
        l->progress.impressed_ms = event->time_ms;
    for (int i = 0; i < event->rows_count && status == OK; i++) {
        uint64_t item = rules_item_hash(&l->rules, event->rows[i]);
        int32_t index;

        status = hold(l, &(struct holdout_event){.item = item, .time_ms = event->time_ms}, err);
        index = item_tables_index(l->tables, item, event->rows[i], event->time_ms);
        if (index != ITEM_NONE)
            item_tables_observe_shown(l->tables, index, event->time_ms);
    }
    return status;
}

enum status learner_event(struct learner *l, const struct event *event, bool *entered,
                          struct error *err)
{
    bool ignored;

    entered = entered == NULL ? &ignored : entered;
    *entered = false;
    switch (event->kind) {
    case EVENT_ACTION:
        return observe_action(l, event, entered, err);
    case EVENT_IMPRESSION:
        return observe_impression(l, event, err);
    case EVENT_ERASE:
        return learner_erase(l, rules_user_hash(&l->rules, event->user), event->time_ms, err);
    }
    return OK;
}

enum status learner_raw(struct learner *l, uint64_t user, int64_t time_ms, const uint64_t *items,
                        int count, int64_t *raw, struct error *err)
{
    struct sequences_view view = sequences_get(l->sequences, user);
    struct item_query query = {
        .now_ms = time_ms, .history = view.entries, .history_count = view.count};

    assert(count <= LIST_ROWS_MAX);
    for (int i = 0; i < count; i++)
        l->indices[i] = item_tables_find(l->tables, items[i]);
    return item_tables_raw(l->tables, l->scratch, &query, l->indices, count, raw, err);
}

void learner_watch(struct learner *l, learner_watcher *watcher, void *context)
{
    l->watcher = watcher;
    l->watcher_context = context;
}

/* Beyond which limit is the choice of a row of a shown list? A label tells its weight and not its
 * action: of actions of one weight, one beyond the limit will do. */
static enum robot limit_of_row(const struct learner *l, const struct list *list, int row)
{
    struct user_entry choice = {.item = item_tables_hash(l->tables, list->rows[row]),
                                .time_ms = list->time_ms};
    enum robot limit = ROBOT_NONE;

    for (int code = 0; code < ACTIONS_MAX; code++) {
        if (l->rules.actions[code].label != list->labels[row])
            continue;
        choice.action = (uint8_t)code;
        limit = robot_chose(list->history, list->history_count, &choice, &l->options.robots);
        if (limit != ROBOT_NONE)
            break;
    }
    return limit;
}

/* What is beyond a limit is no choice any more, nor was it passed over: it is as an item that
 * nobody knows. What else was chosen from the list stays. */
static void mask_rows(struct learner *l, struct list *list)
{
    int items = item_tables_count(l->tables);

    for (int row = 0; row < list->rows_count; row++)
        if (list->labels[row] > 0 && list->rows[row] >= 0 && list->rows[row] < items &&
            note_limit(l, limit_of_row(l, list, row))) {
            list->labels[row] = 0;
            list->rows[row] = ITEM_NONE;
        }
}

void learner_shown(struct learner *l, struct list *list)
{
    const struct user_entry any = {.time_ms = list->time_ms};
    bool chosen = list_has_label(list);
    bool masked = is_masked(l, list->history, list->history_count, &any);

    if (!masked)
        mask_rows(l, list);
    if (masked || (chosen && !list_has_label(list)))
        list_destroy(list);
    else
        lists_add(l->shown, list);
}

enum status learner_erase(struct learner *l, uint64_t user, int64_t time_ms, struct error *err)
{
    (void)lists_erase(l->shown, user, time_ms);
    (void)lists_erase(l->recalled, user, time_ms);
    if (l->holdout != NULL)
        holdout_erase(l->holdout, user, time_ms);
    for (int i = 0; i < LEARNER_RECENT; i++)
        if (l->recent[i].user == user && l->recent[i].time_ms <= time_ms)
            l->recent[i].user = 0;
    return sequences_erase(l->sequences, user, time_ms, err);
}

/* ---- what is asked ---- */

const struct learner_progress *learner_progress(const struct learner *l)
{
    return &l->progress;
}

enum status learner_settle(struct learner *l, struct error *err)
{
    enum status status = trainer_run_end(l->trainer, l->model, err);

    /* Recall by the model's next-item scores asks it until the next steps. */
    if (status == OK && l->changed && l->options.recall_next != 0)
        status = model_prepare(l->model, err);
    return status;
}

enum status learner_ready(struct learner *l, struct error *err)
{
    enum status status = learner_settle(l, err);

    if (status != OK || !l->changed)
        return status;
    learner_cold_refresh(l);
    status = model_prepare(l->model, err);
    l->changed = status != OK;
    return status;
}

struct model *learner_model(struct learner *l)
{
    return l->model;
}

struct item_tables *learner_tables(struct learner *l)
{
    return l->tables;
}

struct sequences *learner_sequences(struct learner *l)
{
    return l->sequences;
}

struct holdout *learner_holdout(struct learner *l)
{
    return l->holdout;
}

struct lists *learner_shown_lists(struct learner *l)
{
    return l->shown;
}

struct lists *learner_recalled_lists(struct learner *l)
{
    return l->recalled;
}

enum status learner_reset_model(struct learner *l, const struct model *from, struct error *err)
{
    struct model *old = l->model;
    enum status status;

    struct model_switches other = {0};

    if (from != NULL)
        other = model_switches_of(model_config(from));
    l->model = NULL;
    if (from == NULL || !model_switches_equal(&other, &l->options.switches)) {
        status = create_model(l, err);
    } else {
        status = model_copy(&l->model, from, err);
        if (status == OK)
            status = create_trainer(l, err);
        if (status == OK)
            learner_scale_adopt(&l->scale, l->model);
    }
    if (status != OK) {
        model_destroy(l->model);
        l->model = old;
        return status;
    }
    model_destroy(old);
    l->texts_rows = 0;
    l->changed = false;
    return OK;
}

/* ---- checkpoint ---- */

static void save_weights(struct learner *l, struct state_file *state)
{
    int32_t tensors = model_tensors_count(l->model);
    size_t bytes = trainer_state_bytes(l->trainer);
    void *optimiser = malloc(bytes);

    state_file_put_u32(state, (uint32_t)model_config(l->model)->V);
    state_file_put_u32(state, (uint32_t)tensors);
    for (int32_t i = 0; i < tensors; i++) {
        struct model_tensor tensor = model_tensor(l->model, i);

        state_file_put(state, tensor.name, sizeof tensor.name);
        state_file_put_u64(state, tensor.count);
        state_file_put(state, tensor.data, tensor.count * sizeof *tensor.data);
    }
    state_file_put_u64(state, bytes);
    if (optimiser == NULL) {
        state_file_refuse(state);
        return;
    }
    trainer_state_save(l->trainer, optimiser);
    state_file_put(state, optimiser, bytes);
    free(optimiser);
}

static enum status load_tensors(struct learner *l, struct state_file *state, struct error *err)
{
    int32_t tensors = model_tensors_count(l->model);

    if (state_file_get_u32(state) != (uint32_t)tensors)
        return error_set(err, ERR_CONFLICT, "state holds a model of another shape");
    for (int32_t i = 0; i < tensors; i++) {
        struct model_tensor tensor = model_tensor(l->model, i);
        char name[MODEL_NAME_BYTES];
        uint64_t count;

        state_file_get(state, name, sizeof name);
        count = state_file_get_count(state, sizeof *tensor.data, tensor.count);
        if (memcmp(name, tensor.name, sizeof name) != 0 || count != tensor.count)
            return error_set(err, ERR_CONFLICT, "state holds no tensor \"%s\" of this shape",
                             tensor.name);
        state_file_get(state, tensor.data, tensor.count * sizeof *tensor.data);
    }
    return OK;
}

static enum status load_weights(struct learner *l, struct state_file *state, struct error *err)
{
    int32_t V = (int32_t)state_file_get_u32(state);
    enum status status = OK;
    uint64_t bytes;
    void *optimiser;

    if (V < 1 || V > MODEL_ITEMS_MAX)
        return error_set(err, ERR_MALFORMED, "state holds a model of %d item rows", V);
    if (V > model_config(l->model)->V) {
        status = model_grow_items(l->model, V, err);
        if (status == OK)
            status = create_trainer(l, err);
    }
    if (status == OK)
        status = load_tensors(l, state, err);
    if (status != OK)
        return status;
    l->changed = true;
    bytes = state_file_get_count(state, 1, INT64_MAX);
    optimiser = malloc(bytes > 0 ? bytes : 1);
    if (optimiser == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the optimiser's state");
    state_file_get(state, optimiser, bytes);
    status = trainer_state_load(l->trainer, optimiser, bytes, err);
    free(optimiser);
    return status;
}

/* Negatives are drawn by the popularity of up to 63 steps ago, which cannot be computed again. */
static void save_sampler(const struct learner *l, struct state_file *state)
{
    state_file_put_u64(state, (uint64_t)l->weights_count);
    state_file_put(state, l->weights, (size_t)l->weights_count * sizeof *l->weights);
}

static enum status load_sampler(struct learner *l, struct state_file *state, struct error *err)
{
    int V = model_config(l->model)->V;
    int count = (int)state_file_get_count(state, sizeof *l->weights, (uint64_t)V);

    if (count == 0)
        return OK;
    free(l->weights);
    l->weights = calloc((size_t)V, sizeof *l->weights);
    l->weights_room = l->weights == NULL ? 0 : V;
    if (l->weights == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d weights", V);
    state_file_get(state, l->weights, (size_t)count * sizeof *l->weights);
    l->weights_count = count;
    return trainer_set_sampler(l->trainer, l->weights, count, err);
}

static void save_progress(const struct learner *l, struct state_file *state)
{
    const struct learner_progress *p = &l->progress;
    const int64_t counts[] = {
        p->steps,       p->lists,        p->targets,          p->rejected,
        p->recalled,    p->not_recalled, p->trained_until_ms, l->sampler_steps,
        p->impressed_ms};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        state_file_put_u64(state, (uint64_t)counts[i]);
    state_file_put_real(state, p->list_loss);
    state_file_put_real(state, p->next_loss);
    for (int i = 0; i < 4; i++)
        state_file_put_u64(state, l->random.s[i]);
    state_file_put_u64(state, l->recent_entered);
    state_file_put_u64(state, l->recent_taken);
    for (int i = 0; i < LEARNER_RECENT; i++) {
        state_file_put_u64(state, l->recent[i].user);
        state_file_put_u64(state, (uint64_t)l->recent[i].time_ms);
    }
}

static void load_progress(struct learner *l, struct state_file *state)
{
    struct learner_progress *p = &l->progress;
    int64_t *const counts[] = {
        &p->steps,       &p->lists,        &p->targets,          &p->rejected,
        &p->recalled,    &p->not_recalled, &p->trained_until_ms, &l->sampler_steps,
        &p->impressed_ms};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        *counts[i] = (int64_t)state_file_get_u64(state);
    p->list_loss = state_file_get_real(state);
    p->next_loss = state_file_get_real(state);
    for (int i = 0; i < 4; i++)
        l->random.s[i] = state_file_get_u64(state);
    l->recent_entered = state_file_get_u64(state);
    l->recent_taken = state_file_get_u64(state);
    for (int i = 0; i < LEARNER_RECENT; i++) {
        l->recent[i].user = state_file_get_u64(state);
        l->recent[i].time_ms = (int64_t)state_file_get_u64(state);
    }
    if (l->recent_taken > l->recent_entered)
        state_file_refuse(state);
}

/* What a state must share with the learner that loads it: the data set and, where there are some,
 * the model's switches. */
static uint64_t print_of(const struct learner *l)
{
    const struct model_switches *s = &l->options.switches;
    uint64_t packed = (uint64_t)s->attention | (uint64_t)s->head << 8 |
                      (uint64_t)s->without_position << 16 | (uint64_t)s->without_time << 17 |
                      (uint64_t)s->contexts << 24 | (uint64_t)s->text << 32;
    uint64_t none = hash64_mix(0, 0);

    packed = hash64_mix(packed, (uint64_t)s->context_names);
    return packed == none ? l->rules.seed : hash64_mix(l->rules.seed, packed);
}

void learner_save(struct learner *l, struct state_file *state)
{
    state_file_put_u64(state, print_of(l));
    sequences_save(l->sequences, state);
    lists_save(l->shown, state);
    lists_save(l->recalled, state);
    save_weights(l, state);
    save_sampler(l, state);
    save_progress(l, state);
    learner_scale_save(&l->scale, state);
    if (l->holdout != NULL)
        holdout_save(l->holdout, state);
}

static void take_tables(struct learner *l, struct item_tables *tables)
{
    item_tables_limit(tables, &l->options.items);
    item_tables_destroy(l->tables);
    l->tables = tables;
    l->gives_seen = 0;
    l->owners_count = 0;
    l->texts_rows = 0;
    (void)learner_cold_clear(l);
    learner_cold_count(l);
}

enum status learner_adopt(struct learner *l, struct item_tables *tables, struct error *err)
{
    struct holdout *holdout = NULL;
    enum status status = OK;

    if (item_tables_seed(tables) != l->rules.seed)
        return error_set(err, ERR_CONFLICT, "the item tables are of another data set");
    if (l->holdout != NULL)
        status = holdout_create(&holdout, tables, l->options.holdout_max, l->options.holdout_judges,
                                err);
    if (status != OK)
        return status;
    holdout_destroy(l->holdout);
    l->holdout = holdout;
    take_tables(l, tables);
    return OK;
}

enum status learner_load(struct learner *l, struct state_file *state, struct item_tables *tables,
                         struct item_tables *base, struct error *err)
{
    int items = item_tables_count(tables);
    enum status status;

    assert((base == NULL) == (l->holdout == NULL));
    if (state_file_get_u64(state) != print_of(l) || item_tables_seed(tables) != l->rules.seed)
        return error_set(err, ERR_CONFLICT,
                         "state is of another data set, or of a model with other "
                         "switches");
    status = sequences_load(l->sequences, state, err);
    if (status == OK)
        status = lists_load(l->shown, state, items, err);
    if (status == OK)
        status = lists_load(l->recalled, state, items, err);
    if (status == OK)
        status = load_weights(l, state, err);
    if (status == OK)
        status = load_sampler(l, state, err);
    if (status != OK)
        return status;
    load_progress(l, state);
    learner_scale_load(&l->scale, state);
    if (state->failed)
        return error_set(err, ERR_MALFORMED, "state of the learner contradicts itself");
    if (l->holdout != NULL)
        status = holdout_load(l->holdout, state, base, err);
    if (status == OK)
        take_tables(l, tables);
    return status;
}
