/* eval/fit.c - pieces of histories, shuffled, in batches of about equal work. */
#include "eval/fit.h"

#include "features/rules.h"
#include "ops/hash.h"
#include "ops/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SALT_MODEL   1
#define SALT_TRAINER 2
#define SALT_EPOCH   3
#define PIECE_LEAST  4 /* inputs; a shorter first piece joins the next */

/* Inputs [first, first + count) of a user's events, targets one further. */
struct piece {
    int64_t first;
    int32_t count;
};

/* A batch and what it points into. */
struct assembly {
    struct batch batch;
    int32_t start[BATCH_REQUESTS_MAX + 1];
    int32_t candidates[BATCH_REQUESTS_MAX + 1];
    int64_t now_ms[BATCH_REQUESTS_MAX];
    int32_t *item, *action, *next; /* (room) */
    int64_t *time_ms;
    int32_t room;
};

struct fit {
    const struct split *split;
    struct fit_options options;
    struct model *model;
    struct trainer *trainer;
    struct trainer_objective objective;
    struct piece *pieces;
    int64_t pieces_count, pieces_room;
    int64_t steps_planned;
    struct assembly assembly;
    int epochs;
};

void fit_options_init(struct fit_options *options, const char *preset)
{
    *options = (struct fit_options){.preset = preset,
                                    .attention = MODEL_ATTENTION_SILU,
                                    .seed = 1,
                                    .threads = 1,
                                    .step_targets = 2048,
                                    .negatives = 128,
                                    .negatives_block = 16,
                                    .negatives_power = 0,
                                    .learning_rate = 1e-3f,
                                    .rate_floor = .05f,
                                    .warmup_steps = 100,
                                    .dropout = .1f,
                                    .tau = .05f,
                                    .user_targets = 1000};
}

static enum status create_model(struct fit *f, struct error *err)
{
    struct model_config config;
    enum status status;

    if (!model_preset(&config, f->options.preset, f->split->data->items, 0))
        return error_set(err, ERR_CONFIG, "no model preset \"%.40s\"", f->options.preset);
    config.A = ACTIONS_MAX;
    config.head = MODEL_HEAD_DOT; /* the next-item form needs no other */
    config.attention = f->options.attention;
    config.tau = f->options.tau;
    config.text = f->options.text;
    status = model_create(&f->model, &config, hash64_mix(f->options.seed, SALT_MODEL), err);
    if (status != OK || config.text == 0)
        return status;
    memcpy(model_item_text(f->model, 0), f->options.texts,
           (size_t)config.V * (size_t)config.text * sizeof(float));
    return model_prepare(f->model, err);
}

static enum status set_sampler(struct fit *f, struct error *err)
{
    const struct interactions *d = f->split->data;
    float *weights = calloc((size_t)d->items, sizeof *weights);
    enum status status;

    if (weights == NULL)
        return error_set(err, ERR_NOMEM, "no memory for weights of %d items", (int)d->items);
    for (int64_t e = 0; e < d->count; e++)
        if (split_trains(f->split, e))
            weights[d->item[e]]++;
    for (int32_t v = 1; v < d->items; v++)
        weights[v] = weights[v] > 0 ? powf(weights[v], f->options.negatives_power) : 0;
    status = trainer_set_sampler(f->trainer, weights, d->items, err);
    free(weights);
    return status;
}

static enum status create_trainer(struct fit *f, struct error *err)
{
    struct trainer_config config;
    enum status status;

    trainer_defaults(&config);
    config.learning_rate = f->options.learning_rate;
    config.threads = f->options.threads;
    config.bf16 = f->options.bf16;
    config.dropout = f->options.dropout;
    config.warmup_steps = f->options.warmup_steps;
    config.seed = hash64_mix(f->options.seed, SALT_TRAINER);
    status = trainer_create(&f->trainer, f->model, &config, err);
    if (status != OK)
        return status;
    (void)trainer_objective_preset(&f->objective, "next");
    f->objective.negatives = f->options.negatives;
    f->objective.negatives_block = f->options.negatives_block;
    return set_sampler(f, err);
}

/* A batch overshoots by one piece at most. */
static enum status create_assembly(struct fit *f, struct error *err)
{
    struct assembly *a = &f->assembly;
    size_t room;

    a->room = f->options.step_targets + model_config(f->model)->P + PIECE_LEAST;
    room = (size_t)a->room;
    a->item = calloc(room, sizeof *a->item);
    a->action = calloc(room, sizeof *a->action);
    a->next = calloc(room, sizeof *a->next);
    a->time_ms = calloc(room, sizeof *a->time_ms);
    if (a->item == NULL || a->action == NULL || a->next == NULL || a->time_ms == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a batch of %d", (int)a->room);
    return OK;
}

enum status fit_create(struct fit **fit, const struct split *split,
                       const struct fit_options *options, struct error *err)
{
    struct fit *f = calloc(1, sizeof *f);
    enum status status;

    assert(options->epochs >= 1 && options->step_targets >= 1);
    *fit = NULL;
    if (f == NULL)
        return error_set(err, ERR_NOMEM, "no memory to fit a model");
    f->split = split;
    f->options = *options;
    f->steps_planned = (split->train_count / options->step_targets + 1) * options->epochs;
    status = create_model(f, err);
    if (status == OK)
        status = create_trainer(f, err);
    if (status == OK)
        status = create_assembly(f, err);
    if (status != OK) {
        fit_destroy(f);
        return status;
    }
    *fit = f;
    return OK;
}

void fit_destroy(struct fit *f)
{
    if (f == NULL)
        return;
    trainer_destroy(f->trainer);
    model_destroy(f->model);
    free(f->pieces);
    free(f->assembly.item);
    free(f->assembly.action);
    free(f->assembly.next);
    free(f->assembly.time_ms);
    free(f);
}

bool fit_is_bf16(const struct fit *fit)
{
    return trainer_is_bf16(fit->trainer);
}

const char *fit_products(const struct fit *fit)
{
    return trainer_products(fit->trainer);
}

/* ---- one epoch ---- */

static enum status add_piece(struct fit *f, int64_t first, int64_t count, struct error *err)
{
    if (f->pieces_count == f->pieces_room) {
        int64_t room = f->pieces_room == 0 ? 1024 : 2 * f->pieces_room;
        struct piece *grown = realloc(f->pieces, (size_t)room * sizeof *grown);

        if (grown == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %lld pieces", (long long)room);
        f->pieces = grown;
        f->pieces_room = room;
    }
    f->pieces[f->pieces_count++] = (struct piece){first, (int32_t)count};
    return OK;
}

/* Pieces of at most P inputs; the first is of a length drawn, unless it would be of no use. */
static enum status cut_user(struct fit *f, int32_t user, struct random *random, struct error *err)
{
    int64_t at = f->split->data->start[user], inputs = f->split->train_end[user] - at - 1;
    int64_t P = model_config(f->model)->P, begun = f->pieces_count, targets = inputs;
    enum status status = OK;

    if (inputs > P) {
        int64_t first = (int64_t)random_below(random, (uint64_t)P) + 1;

        first = first < PIECE_LEAST ? P : first;
        status = add_piece(f, at, first, err);
        at += first;
        inputs -= first;
    }
    for (; status == OK && inputs > 0; inputs -= P, at += P)
        status = add_piece(f, at, inputs < P ? inputs : P, err);
    while (targets > f->options.user_targets && f->pieces_count > begun + 1) {
        int64_t out = begun + (int64_t)random_below(random, (uint64_t)(f->pieces_count - begun));

        targets -= f->pieces[out].count;
        f->pieces[out] = f->pieces[--f->pieces_count];
    }
    return status;
}

static enum status shuffle_pieces(struct fit *f, struct error *err)
{
    struct random random;

    random_seed(&random, hash64_mix(hash64_mix(f->options.seed, SALT_EPOCH), (uint64_t)f->epochs));
    f->pieces_count = 0;
    for (int32_t u = 0; u < f->split->data->users; u++) {
        enum status status = cut_user(f, u, &random, err);

        if (status != OK)
            return status;
    }
    for (int64_t i = f->pieces_count - 1; i > 0; i--) {
        int64_t j = (int64_t)random_below(&random, (uint64_t)i + 1);
        struct piece moved = f->pieces[i];

        f->pieces[i] = f->pieces[j];
        f->pieces[j] = moved;
    }
    return OK;
}

/* Fills the batch with pieces from *next on. */
static void assemble(struct fit *f, int64_t *next)
{
    const struct interactions *d = f->split->data;
    struct assembly *a = &f->assembly;
    int32_t B = 0, T = 0;

    while (*next < f->pieces_count && B < BATCH_REQUESTS_MAX && T < f->options.step_targets) {
        const struct piece *piece = &f->pieces[(*next)++];

        for (int32_t k = 0; k < piece->count; k++) {
            int64_t event = piece->first + k;

            a->item[T + k] = d->item[event];
            a->action[T + k] = d->action[event];
            a->time_ms[T + k] = d->time_ms[event];
            a->next[T + k] = d->item[event + 1];
        }
        T += piece->count;
        a->now_ms[B] = a->time_ms[T - 1];
        a->start[++B] = T;
    }
    a->batch = (struct batch){.B = B,
                              .T = T,
                              .history_start = a->start,
                              .item = a->item,
                              .action = a->action,
                              .time_ms = a->time_ms,
                              .request_time_ms = a->now_ms,
                              .candidate_start = a->candidates,
                              .next_item = a->next};
}

static float rate_of(const struct fit *f)
{
    double done = (double)trainer_steps(f->trainer) / (double)f->steps_planned;
    double floor = (double)f->options.rate_floor;

    done = done < 1 ? done : 1;
    return f->options.learning_rate * (float)(floor + (1 - floor) * .5 * (1 + cos(M_PI * done)));
}

static enum status steps_of_epoch(struct fit *f, struct fit_epoch *epoch, double *lost,
                                  struct progress *progress, struct error *err)
{
    struct trainer_losses losses;
    enum status status = shuffle_pieces(f, err);

    for (int64_t next = 0; status == OK && next < f->pieces_count;) {
        assemble(f, &next);
        trainer_set_rate(f->trainer, rate_of(f));
        status = trainer_step(f->trainer, f->model, &f->assembly.batch, &f->objective, &losses,
                              err);
        if (status == ERR_REJECTED) {
            epoch->rejected++;
            status = OK;
            continue;
        }
        if (status != OK)
            return status;
        *lost += losses.next * (double)losses.targets;
        epoch->targets += losses.targets;
        epoch->steps++;
        if (progress != NULL)
            progress_show(progress,
                          ((double)f->epochs + (double)next / (double)f->pieces_count) /
                              f->options.epochs,
                          (uint64_t)f->epochs);
        if (f->options.stopping != NULL && f->options.stopping())
            status = error_set(err, ERR_CANCELLED, "stopped in epoch %d", f->epochs + 1);
    }
    return status;
}

enum status fit_epoch(struct fit *f, struct fit_epoch *epoch, struct progress *progress,
                      struct error *err)
{
    enum status status, ended;
    struct error second;
    double lost = 0;

    *epoch = (struct fit_epoch){0};
    trainer_run_begin(f->trainer);
    status = steps_of_epoch(f, epoch, &lost, progress, err);
    /* Also of an epoch that was given up: fit_load() writes to the model. */
    ended = trainer_run_end(f->trainer, f->model, status == OK ? err : &second);
    if (status == OK)
        status = ended;
    if (status != OK)
        return status;
    f->epochs++;
    epoch->loss = epoch->targets > 0 ? lost / (double)epoch->targets : 0;
    return model_prepare(f->model, err);
}

int fit_epochs(const struct fit *fit)
{
    return fit->epochs;
}

struct model *fit_model(struct fit *fit)
{
    return fit->model;
}

/* ---- checkpoint ---- */

void fit_save_model(struct model *model, struct state_file *state)
{
    int32_t count = model_tensors_count(model);

    state_file_put_u32(state, (uint32_t)count);
    for (int32_t i = 0; i < count; i++) {
        struct model_tensor tensor = model_tensor(model, i);

        state_file_put_u64(state, tensor.count);
        state_file_put(state, tensor.data, tensor.count * sizeof *tensor.data);
    }
}

enum status fit_load_model(struct model *model, struct state_file *state, struct error *err)
{
    int32_t count = model_tensors_count(model);

    if (state_file_get_u32(state) != (uint32_t)count)
        return error_set(err, ERR_CONFLICT, "the saved model has another number of tensors");
    for (int32_t i = 0; i < count; i++) {
        struct model_tensor tensor = model_tensor(model, i);

        if (state_file_get_u64(state) != tensor.count)
            return error_set(err, ERR_CONFLICT, "the saved tensor \"%s\" has another size",
                             tensor.name);
        state_file_get(state, tensor.data, tensor.count * sizeof *tensor.data);
    }
    return model_prepare(model, err);
}

void fit_save(const struct fit *f, struct state_file *state)
{
    size_t bytes = trainer_state_bytes(f->trainer);
    void *trainer = malloc(bytes);

    state_file_put_u32(state, (uint32_t)f->epochs);
    fit_save_model(f->model, state);
    state_file_put_u64(state, trainer == NULL ? 0 : bytes);
    if (trainer != NULL) {
        trainer_state_save(f->trainer, trainer);
        state_file_put(state, trainer, bytes);
    }
    free(trainer);
}

enum status fit_load(struct fit *f, struct state_file *state, struct error *err)
{
    uint32_t epochs = state_file_get_u32(state);
    enum status status = fit_load_model(f->model, state, err);
    uint64_t bytes;
    void *trainer;

    if (status != OK)
        return status;
    bytes = state_file_get_count(state, 1, UINT64_MAX);
    trainer = bytes == 0 ? NULL : malloc(bytes);
    if (trainer == NULL)
        return error_set(err, ERR_MALFORMED, "the saved state has no optimiser");
    state_file_get(state, trainer, bytes);
    status = trainer_state_load(f->trainer, trainer, bytes, err);
    free(trainer);
    f->epochs = (int)epochs;
    return status;
}
