/* eval/eval.c - the way from a file to rows: read, split, count, fit, fuse, rank. */
#include "eval/eval.h"

#include "eval/eval_cold.h"
#include "eval/eval_inside.h"
#include "eval/ranking_metrics.h"
#include "ops/clock.h"
#include "ops/hash.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVENTS_AT_MOST    30000000 /* seen in all epochs together, unless told otherwise */
#define EPOCHS_LEAST      4
#define EPOCHS_MOST       60
#define STOP_TARGETS      2000 /* of validation, looked at after each epoch */
#define FUSION_TARGETS    6000
#define SALT_STOP         11
#define SALT_FUSION       12
#define SALT_FTRL         13
#define SALT_TOWER        14
#define CHECKPOINT_EACH_S 5
#define CHECKPOINT_FORMAT 1

const int eval_cuts[EVAL_CUTS] = {1, 5, 10, 20, 50};

struct eval {
    const struct eval_options *options;
    struct eval_result *result;
    struct interactions data;
    struct split split;
    struct split_targets stop; /* the validation targets of early stopping */
    double *stop_ranks;
    struct crew *crew;
    struct signals *signals;
    struct ftrl *ftrl;
    struct two_tower *two_tower;
    struct eval_texts texts;
    uint8_t *cold; /* (V) of best, or NULL */
    struct fit *fit;
    struct model *best;
    double best_ndcg;
    double saved_s; /* when the checkpoint was written */
};

void eval_options_init(struct eval_options *options, const char *preset)
{
    *options = (struct eval_options){.protocol = SPLIT_LEAVE_ONE_OUT};
    fit_options_init(&options->fit, preset);
}

static double seconds_since(int64_t begun_us)
{
    return (double)(clock_monotonic_us() - begun_us) / 1e6;
}

static struct full_ranking_world world_of(const struct eval *e, struct model *model)
{
    return (struct full_ranking_world){.split = &e->split,
                                       .signals = e->signals,
                                       .crew = e->crew,
                                       .ftrl = e->ftrl,
                                       .two_tower = e->two_tower,
                                       .model = model,
                                       .stopping = e->options->fit.stopping,
                                       .keep_seen = e->options->keep_seen,
                                       .repeats = e->result->repeats};
}

/* ---- begin ---- */

static enum status read_data(struct eval *e, const char *path, struct error *err)
{
    int64_t begun_us = clock_monotonic_us();
    struct eval_result *r = e->result;
    enum status status = interactions_load(&e->data, path, &e->options->data, err);

    if (status == OK)
        status = split_make(&e->split, &e->data, e->options->protocol, err);
    if (status == OK && e->options->items != NULL)
        status = eval_texts_load(&e->texts, e->options->items,
                                 e->options->text ? EVAL_TEXT_WIDTH : 0, &e->data, err);
    if (status != OK)
        return status;
    r->events = e->data.count;
    r->refused = e->data.refused;
    r->ignored = e->data.ignored;
    r->users = e->data.users;
    r->items = e->data.items - 1;
    r->timed = e->data.timed;
    r->train_events = e->split.train_count;
    r->targets = e->split.test.count;
    r->validation_targets = e->split.validation.count;
    r->short_users = e->split.short_users;
    r->repeats = full_ranking_repeats(&e->split);
    r->reading_s = seconds_since(begun_us);
    return OK;
}

static enum status count_data(struct eval *e, struct error *err)
{
    int64_t begun_us = clock_monotonic_us();
    uint64_t seed = e->options->fit.seed;
    enum status status = crew_create(&e->crew, e->options->fit.threads, err);

    if (status == OK)
        status = signals_create(&e->signals, &e->split, e->crew, err);
    if (status == OK)
        status = ftrl_create(&e->ftrl, &e->split, hash64_mix(seed, SALT_FTRL), err);
    if (status == OK)
        status = two_tower_create(&e->two_tower, &e->split, hash64_mix(seed, SALT_TOWER), err);
    e->result->counting_s = seconds_since(begun_us);
    return status;
}

static void plan_fit(struct eval *e)
{
    struct fit_options *fit = &e->result->fit;
    int64_t planned = EVENTS_AT_MOST / (e->split.train_count + 1);

    *fit = e->options->fit;
    fit->text = e->texts.width;
    fit->texts = e->texts.vectors;
    if (fit->epochs == 0)
        fit->epochs = planned < EPOCHS_LEAST  ? EPOCHS_LEAST
                      : planned > EPOCHS_MOST ? EPOCHS_MOST
                                              : (int)planned;
    if (fit->epochs > EVAL_EPOCHS_MAX)
        fit->epochs = EVAL_EPOCHS_MAX;
    e->result->epochs_planned = fit->epochs;
}

/* ---- checkpoint ---- */

/* Of everything the weights depend on. */
static uint64_t print_of(const struct eval *e)
{
    const struct fit_options *f = &e->result->fit;
    char text[400];
    int bytes = snprintf(
        text, sizeof text, "%s %d %llu %d %d %d %d %d %.9g %.9g %.9g %.9g %.9g %d %d %d %d",
        f->preset, (int)f->attention, (unsigned long long)f->seed, f->threads, f->epochs,
        f->step_targets, f->negatives, f->negatives_block, (double)f->negatives_power,
        (double)f->learning_rate, (double)f->rate_floor, (double)f->dropout, (double)f->tau,
        f->user_targets, (int)e->options->protocol, (int)e->options->keep_seen, f->warmup_steps);

    uint64_t print = hash64_mix(e->data.print, hash64(text, (size_t)bytes, CHECKPOINT_FORMAT));

    if (f->text > 0)
        print = hash64_mix(print, hash64(f->texts,
                                         (size_t)e->data.items * (size_t)f->text * sizeof *f->texts,
                                         CHECKPOINT_FORMAT));
    if (e->result->bf16)
        print = hash64_mix(print, CHECKPOINT_FORMAT);
    return print;
}

static enum status save(struct eval *e, struct error *err)
{
    struct eval_result *r = e->result;
    struct state_file *state;
    char path[4096];
    enum status status;

    if ((size_t)snprintf(path, sizeof path, "%s.new", e->options->checkpoint) >= sizeof path)
        return error_set(err, ERR_CONFIG, "the checkpoint's path is too long");
    status = state_file_begin(&state, path, err);
    if (status != OK)
        return status;
    state_file_put_u64(state, print_of(e));
    state_file_put_u64(state, (uint64_t)r->epochs);
    state_file_put_u32(state, (uint32_t)r->best_epoch);
    state_file_put_real(state, e->best_ndcg);
    state_file_put_real(state, r->training_s);
    state_file_put_real(state, r->validating_s);
    state_file_put_u64(state, (uint64_t)r->rejected_steps);
    for (int i = 0; i < r->epochs; i++) {
        state_file_put_real(state, r->curve[i].loss);
        state_file_put_real(state, r->curve[i].ndcg);
        state_file_put_real(state, r->curve[i].hit_rate);
        state_file_put_real(state, r->curve[i].seconds);
    }
    fit_save(e->fit, state);
    fit_save_model(e->best, state);
    status = state_file_commit(state, err);
    if (status == OK && rename(path, e->options->checkpoint) != 0)
        status = error_set(err, ERR_IO, "could not rename \"%s\"", path);
    e->saved_s = r->training_s;
    return status;
}

static enum status load_state(struct eval *e, struct state_file *state, struct error *err)
{
    struct eval_result *r = e->result;
    enum status status;

    if (state_file_get_u64(state) != print_of(e))
        return error_set(err, ERR_CONFLICT, "\"%s\" is of other data or options: remove it first",
                         e->options->checkpoint);
    r->epochs = (int)state_file_get_count(state, 32, EVAL_EPOCHS_MAX);
    r->best_epoch = (int)state_file_get_u32(state);
    e->best_ndcg = state_file_get_real(state);
    r->training_s = state_file_get_real(state);
    r->validating_s = state_file_get_real(state);
    r->rejected_steps = (int64_t)state_file_get_u64(state);
    for (int i = 0; i < r->epochs; i++) {
        r->curve[i].loss = state_file_get_real(state);
        r->curve[i].ndcg = state_file_get_real(state);
        r->curve[i].hit_rate = state_file_get_real(state);
        r->curve[i].seconds = state_file_get_real(state);
    }
    status = fit_load(e->fit, state, err);
    if (status == OK)
        status = model_copy(&e->best, fit_model(e->fit), err);
    if (status == OK)
        status = fit_load_model(e->best, state, err);
    return status == OK ? state_file_end(state, err) : status;
}

static enum status resume(struct eval *e, struct error *err)
{
    struct state_file *state;
    enum status status;

    if (e->options->checkpoint == NULL || access(e->options->checkpoint, F_OK) != 0)
        return OK;
    status = state_file_open(&state, e->options->checkpoint, err);
    if (status != OK)
        return status;
    status = load_state(e, state, err);
    state_file_close(state);
    e->result->resumed = status == OK;
    e->saved_s = e->result->training_s;
    return status;
}

/* ---- fitting ---- */

/* NDCG@10 and HR@10 of the network on the validation targets. */
static enum status validate(struct eval *e, struct eval_epoch *epoch, struct error *err)
{
    struct full_ranking_world world = world_of(e, fit_model(e->fit));
    enum status status = full_ranking_network(e->stop_ranks, &world, &e->stop, err);

    epoch->ndcg = epoch->hit_rate = 0;
    for (int64_t i = 0; status == OK && i < e->stop.count; i++) {
        epoch->ndcg += ranking_metrics_ndcg(e->stop_ranks[i], eval_cuts[EVAL_CUT_MAIN]);
        epoch->hit_rate += ranking_metrics_hit(e->stop_ranks[i], eval_cuts[EVAL_CUT_MAIN]);
    }
    epoch->ndcg /= (double)e->stop.count;
    epoch->hit_rate /= (double)e->stop.count;
    return status;
}

static enum status one_epoch(struct eval *e, struct progress *progress, struct error *err)
{
    struct eval_result *r = e->result;
    struct eval_epoch *row = &r->curve[r->epochs];
    int64_t begun_us = clock_monotonic_us();
    struct fit_epoch made;
    enum status status = fit_epoch(e->fit, &made, progress, err);

    if (status != OK)
        return status;
    r->training_s += seconds_since(begun_us);
    r->rejected_steps += made.rejected;
    row->loss = made.loss;
    row->seconds = r->training_s;
    begun_us = clock_monotonic_us();
    status = validate(e, row, err);
    r->validating_s += seconds_since(begun_us);
    if (status != OK)
        return status;
    r->epochs++;
    if (e->best == NULL || row->ndcg > e->best_ndcg) {
        model_destroy(e->best);
        e->best = NULL;
        e->best_ndcg = row->ndcg;
        r->best_epoch = r->epochs;
        status = model_copy(&e->best, fit_model(e->fit), err);
    }
    return status;
}

/* Asked to stop: what becomes of it? */
static enum status stopped(const struct eval *e, const char *when, struct error *err)
{
    if (e->options->baselines)
        return error_set(err, ERR_CANCELLED, "stopped %s", when);
    if (e->options->checkpoint == NULL)
        return error_set(err, ERR_CANCELLED, "stopped %s; with --checkpoint FILE it could go on",
                         when);
    if (e->saved_s == 0)
        return error_set(err, ERR_CANCELLED, "stopped %s; before the first one nothing is saved",
                         when);
    return error_set(err, ERR_CANCELLED, "stopped %s; the same command goes on from \"%.120s\"",
                     when, e->options->checkpoint);
}

static enum status fit_all(struct eval *e, struct error *err)
{
    struct eval_result *r = e->result;
    int patience = e->options->patience > 0 ? e->options->patience : 2 + r->epochs_planned / 4;
    struct progress progress;
    enum status status = OK;

    progress_begin(&progress, "training", "epochs");
    while (status == OK && r->epochs < r->epochs_planned && r->epochs - r->best_epoch < patience) {
        status = one_epoch(e, &progress, err);
        if (status == OK && e->options->checkpoint != NULL &&
            (e->saved_s == 0 || r->training_s - e->saved_s >= CHECKPOINT_EACH_S))
            status = save(e, err);
    }
    progress_end(&progress, (uint64_t)r->epochs);
    if (status == OK && e->options->checkpoint != NULL && r->training_s > e->saved_s)
        status = save(e, err); /* ranking may be stopped, too */
    if (status == ERR_CANCELLED) {
        char when[40];

        (void)snprintf(when, sizeof when, "after epoch %d", r->epochs);
        return stopped(e, when, err);
    }
    return status;
}

static enum status fit_network(struct eval *e, struct error *err)
{
    enum status status = split_sample(&e->stop, &e->split.validation, STOP_TARGETS,
                                      hash64_mix(e->options->fit.seed, SALT_STOP), err);

    if (status != OK)
        return status;
    e->stop_ranks = calloc((size_t)e->stop.count + 1, sizeof *e->stop_ranks);
    if (e->stop_ranks == NULL)
        return error_set(err, ERR_NOMEM, "no memory to validate");
    status = fit_create(&e->fit, &e->split, &e->result->fit, err);
    if (status != OK)
        return status;
    e->result->bf16 = fit_is_bf16(e->fit);
    e->result->products = fit_products(e->fit);
    status = resume(e, err);
    return status == OK ? fit_all(e, err) : status;
}

/* ---- fusion and test ---- */

/* A Platt pair for the model and one for the network, on what the fusion was learnt from. */
static enum status calibrate(struct eval *e, const struct fusion_lesson *lesson, int64_t targets,
                             struct error *err)
{
    size_t most = (size_t)targets * FULL_RANKING_TOP + 1;
    float *logits = malloc(most * sizeof *logits), *labels = malloc(most * sizeof *labels);
    enum status status = OK;

    if (logits == NULL || labels == NULL)
        status = error_set(err, ERR_NOMEM, "no memory to calibrate by %lld targets",
                           (long long)targets);
    for (int arm = 0; status == OK && arm < FULL_RANKING_LIKELY; arm++) {
        struct fusion alone = {{0}};
        int64_t count;

        alone.weight[FUSION_NETWORK] = 1;
        count = fusion_logits(arm == ARM_MODEL ? &e->result->fusion : &alone, lesson,
                              FULL_RANKING_TOP, logits, labels);
        (void)platt_fit(&e->result->platt[arm], logits, labels, count); /* else the pair (1, 0) */
    }
    free(logits);
    free(labels);
    return status;
}

/* One feature alone, or all together? */
static enum status hold_contest(struct eval *e, const struct fusion_lesson *lesson,
                                const struct full_ranking_world *world,
                                const struct split_targets *sample, struct error *err)
{
    struct fusion_contest contest = {0};
    struct fusion begin;
    enum status status;

    contest.ndcg = calloc((size_t)sample->count + 1, FUSION_CONTESTANTS * sizeof *contest.ndcg);
    if (contest.ndcg == NULL)
        return error_set(err, ERR_NOMEM, "no memory to judge %lld targets",
                         (long long)sample->count);
    fusion_begin(&begin);
    fusion_learn_folds(&contest, &begin, lesson, FUSION_SERVED);
    status = full_ranking_contest(&contest, world, sample, err);
    if (status == OK)
        fusion_choose(&e->result->fusion, lesson, &contest, &e->result->fusion_report);
    free(contest.ndcg);
    return status;
}

static enum status learn_fusion(struct eval *e, struct error *err)
{
    struct full_ranking_world world = world_of(e, e->best);
    struct split_targets sample;
    struct fusion_lesson *lesson = NULL;
    struct eval_result *r = e->result;
    enum status status = split_sample(&sample, &e->split.validation, FUSION_TARGETS,
                                      hash64_mix(e->options->fit.seed, SALT_FUSION), err);

    fusion_begin(&r->fusion);
    if (status != OK)
        return status;
    status = fusion_lesson_create(&lesson, sample.count, err);
    if (status == OK)
        status = full_ranking_lesson(lesson, &world, &sample, err);
    if (status == OK) {
        fusion_learn(&r->fusion, lesson, FUSION_SERVED, &r->fusion_report);
        status = hold_contest(e, lesson, &world, &sample, err);
    }
    if (status == OK) {
        struct fusion_report report;

        r->ensemble = r->fusion;
        fusion_learn(&r->ensemble, lesson, FUSION_EVERYTHING, &report);
        status = calibrate(e, lesson, sample.count, err);
    }
    fusion_lesson_destroy(lesson);
    free(sample.at);
    return status;
}

static enum status rank_test(struct eval *e, struct error *err)
{
    struct full_ranking_world world = world_of(e, e->best);
    struct full_ranking ranking;
    struct progress progress;
    int64_t begun_us = clock_monotonic_us();
    enum status status;

    status = learn_fusion(e, err);
    if (status != OK)
        return status;
    if (e->texts.words != NULL && e->best != NULL)
        status = eval_cold_rows(&e->cold, e->best, &e->texts, signals_lifetime(e->signals), err);
    if (status != OK)
        return status;
    world.cold = e->cold;
    world.fusion = &e->result->fusion;
    world.ensemble = &e->result->ensemble;
    progress_begin(&progress, "ranking", "targets");
    status = full_ranking_run(&ranking, &world, &e->split.test, &progress, err);
    progress_end(&progress, (uint64_t)e->split.test.count);
    if (status == OK)
        status = eval_fill_rows(e->result, &world, &ranking, err);
    full_ranking_clear(&ranking);
    e->result->ranking_s = seconds_since(begun_us);
    if (status == OK && e->result->masked == e->split.test.count)
        status = error_set(err, ERR_MALFORMED,
                           "all %lld targets are among what their users chose before, and masked: "
                           "--keep-seen ranks them",
                           (long long)e->result->masked);
    return status;
}

enum status eval_run(struct eval_result *result, const char *path,
                     const struct eval_options *options, struct error *err)
{
    struct eval e = {.options = options, .result = result};
    enum status status;

    memset(result, 0, sizeof *result);
    status = read_data(&e, path, err);
    if (status == OK)
        status = count_data(&e, err);
    if (status == OK) {
        plan_fit(&e);
        if (!options->baselines)
            status = fit_network(&e, err);
    }
    if (status == OK) {
        status = rank_test(&e, err);
        if (status == ERR_CANCELLED)
            (void)stopped(&e, "while ranking", err);
    }
    if (status == OK && options->checkpoint != NULL)
        (void)unlink(options->checkpoint);
    result->fit.texts = NULL; /* it goes now */
    eval_texts_clear(&e.texts);
    free(e.cold);
    model_destroy(e.best);
    fit_destroy(e.fit);
    signals_destroy(e.signals);
    ftrl_destroy(e.ftrl);
    two_tower_destroy(e.two_tower);
    crew_destroy(e.crew);
    free(e.stop.at);
    free(e.stop_ranks);
    split_clear(&e.split);
    interactions_clear(&e.data);
    return status;
}
