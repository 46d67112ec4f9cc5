/*
 * kernels/trainer.c - a step: count, deal, run the lanes, add gradients, clip, update.
 */
#include "kernels/trainer_private.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void trainer_defaults(struct trainer_config *config)
{
    *config = (struct trainer_config){.learning_rate = 1e-3f,
                                      .beta1 = .9f,
                                      .beta2 = .98f,
                                      .epsilon = 1e-8f,
                                      .clip = 1.0f,
                                      .warmup_steps = 100,
                                      .items = TRAINER_ITEMS_ADAMW,
                                      .items_rate = .05f,
                                      .items_decay = .9999f,
                                      .threads = 1,
                                      .seed = 1};
}

bool trainer_objective_preset(struct trainer_objective *objective, const char *name)
{
    static const struct {
        const char *name;
        float point, pair, list, next;
    } presets[] = {{"point", 1, 0, 0, .2f},
                   {"pair", .1f, 1, 0, .2f},
                   {"list", .1f, 0, 1, .2f},
                   {"mix", .5f, .25f, .25f, .2f},
                   {"next", 0, 0, 0, 1}};

    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(presets[i].name, name) != 0)
            continue;
        *objective = (struct trainer_objective){.point = presets[i].point,
                                                .pair = presets[i].pair,
                                                .list = presets[i].list,
                                                .next = presets[i].next,
                                                .negatives = 128,
                                                .negatives_block = 16};
        return true;
    }
    return false;
}

static enum status check_config(const struct trainer_config *c, struct error *err)
{
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        {"learning_rate", (double)c->learning_rate, 0, 10},
        {"beta1", (double)c->beta1, 0, .999999},
        {"beta2", (double)c->beta2, 0, .999999},
        {"epsilon", (double)c->epsilon, 1e-12, 1},
        {"weight_decay", (double)c->weight_decay, 0, 10},
        {"clip", (double)c->clip, 0, 1e9},
        {"warmup_steps", c->warmup_steps, 0, 1e9},
        {"items", (double)c->items, 0, TRAINER_ITEMS_ADAGRAD},
        {"items_rate", (double)c->items_rate, 0, 10},
        {"items_decay", (double)c->items_decay, .5, 1},
        {"threads", c->threads, 1, TRAINER_THREADS_MAX},
        {"dropout", (double)c->dropout, 0, .9},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return error_set(err, ERR_LIMIT, "trainer %s is %g, must be %g to %g", ranges[i].name,
                             ranges[i].value, ranges[i].low, ranges[i].high);
    return OK;
}

static enum status check_objective(const struct trainer_objective *o, struct error *err)
{
    const float weights[] = {o->point, o->pair, o->list, o->next, o->distil};

    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (!(weights[i] >= 0 && weights[i] <= 1e6f))
            return error_set(err, ERR_LIMIT, "weight %g of an objective's term",
                             (double)weights[i]);
    if (!(o->loss_clip >= 0 && o->loss_clip <= 1e6f))
        return error_set(err, ERR_LIMIT, "losses clipped at %g", (double)o->loss_clip);
    if (o->next > 0 && (o->negatives < 1 || o->negatives > TRAINER_NEGATIVES_MAX ||
                        o->negatives_block < 0 || o->negatives_block > NEXT_POSITIONS_MAX))
        return error_set(
            err, ERR_LIMIT, "%d negatives for blocks of %d targets, at most %d for 0 to %d",
            (int)o->negatives, (int)o->negatives_block, TRAINER_NEGATIVES_MAX, NEXT_POSITIONS_MAX);
    return OK;
}

enum status trainer_cover_items(struct trainer *t, int32_t V, struct error *err)
{
    bool rowwise = t->config.items == TRAINER_ITEMS_ADAGRAD;
    size_t width = rowwise ? 1 : (size_t)t->network.config.C;
    float *m = NULL, *v;
    int64_t rows;

    if (V <= t->items_capacity) {
        t->V = V > t->V ? V : t->V; /* the memory beyond V is kept at zero */
        return OK;
    }
    rows = (int64_t)V + V / 2 < MODEL_ITEMS_MAX ? (int64_t)V + V / 2 : MODEL_ITEMS_MAX;
    v = network_memory((size_t)rows * width * sizeof *v);
    if (!rowwise)
        m = network_memory((size_t)rows * width * sizeof *m);
    if (v == NULL || (!rowwise && m == NULL)) {
        free(v);
        free(m);
        return error_set(err, ERR_NOMEM, "no memory for the moments of %d item rows", (int)V);
    }
    memset(v, 0, (size_t)rows * width * sizeof *v);
    if (t->V > 0)
        memcpy(v, t->items_v, (size_t)t->V * width * sizeof *v);
    if (m != NULL) {
        memset(m, 0, (size_t)rows * width * sizeof *m);
        if (t->V > 0)
            memcpy(m, t->items_m, (size_t)t->V * width * sizeof *m);
    }
    free(t->items_m);
    free(t->items_v);
    t->items_m = m;
    t->items_v = v;
    t->items_capacity = (int32_t)rows;
    t->V = V;
    return OK;
}

static enum status lane_create(struct trainer *t, struct lane *lane, struct error *err)
{
    lane->gradient = network_memory((size_t)t->layout.floats * sizeof(float));
    lane->negatives = malloc(TRAINER_NEGATIVES_MAX * sizeof *lane->negatives);
    lane->order = malloc(BATCH_LIST_MAX * sizeof *lane->order);
    lane->scores = network_memory(BATCH_LIST_MAX * sizeof(float));
    lane->ds = network_memory(BATCH_LIST_MAX * sizeof(float));
    if (lane->gradient == NULL || lane->negatives == NULL || lane->order == NULL ||
        lane->scores == NULL || lane->ds == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a training thread");
    network_point(&lane->tensors, &t->layout, lane->gradient);
    return OK;
}

static void lane_destroy(struct lane *lane)
{
    free(lane->gradient);
    free(lane->negatives);
    free(lane->order);
    free(lane->scores);
    free(lane->ds);
    free(lane->pass_memory);
    free(lane->set_memory);
    rows_release(&lane->demb);
}

enum status trainer_create(struct trainer **trainer, const struct model *model,
                           const struct trainer_config *config, struct error *err)
{
    enum status status = check_config(config, err);
    struct trainer *t;

    *trainer = NULL;
    if (status != OK)
        return status;
    t = calloc(1, sizeof *t);
    if (t == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a trainer");
    t->config = *config;
    status = backend_choose(&t->backend, err);
    if (status != OK)
        goto done;
    t->network = *model_network(model).network;
    if (t->backend->learn == NULL)
        t->backend = NULL;
    t->layout = *model_network(model).layout;
    random_seed(&t->random, config->seed);
    t->panels = network_memory((size_t)network_panels_floats(&t->network.config, true) *
                               sizeof(float));
    t->m = network_memory((size_t)t->layout.floats * sizeof(float));
    t->v = network_memory((size_t)t->layout.floats * sizeof(float));
    if (t->panels == NULL || t->m == NULL || t->v == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory for a trainer");
        goto done;
    }
    memset(t->m, 0, (size_t)t->layout.floats * sizeof(float));
    memset(t->v, 0, (size_t)t->layout.floats * sizeof(float));
    status = trainer_cover_items(t, t->network.config.V, err);
    for (int i = 0; status == OK && i < config->threads; i++)
        status = lane_create(t, &t->lanes[i], err);
    if (status == OK)
        status = crew_create(&t->crew, config->threads, err);
    if (status != OK)
        goto done;
    *trainer = t;
    t = NULL;
done:
    trainer_destroy(t);
    return status;
}

void trainer_destroy(struct trainer *trainer)
{
    if (trainer == NULL)
        return;
    crew_destroy(trainer->crew);
    if (trainer->learner != NULL)
        trainer->backend->drop_learner(trainer->learner);
    for (int i = 0; i < trainer->config.threads; i++)
        lane_destroy(&trainer->lanes[i]);
    sampler_clear(&trainer->sampler);
    free(trainer->panels);
    free(trainer->m);
    free(trainer->v);
    free(trainer->items_m);
    free(trainer->items_v);
    free(trainer);
}

enum status trainer_set_sampler(struct trainer *trainer, const float *weights, int32_t V,
                                struct error *err)
{
    if (weights == NULL) {
        sampler_clear(&trainer->sampler);
        return OK;
    }
    if (V < 2 || V > MODEL_ITEMS_MAX)
        return error_set(err, ERR_LIMIT, "a sampler of %d rows", (int)V);
    return sampler_set(&trainer->sampler, weights, V, err);
}

void trainer_set_rate(struct trainer *trainer, float learning_rate)
{
    assert(learning_rate >= 0);
    trainer->config.learning_rate = learning_rate;
}

void trainer_forget_item(struct trainer *trainer, int32_t row)
{
    bool rowwise = trainer->config.items == TRAINER_ITEMS_ADAGRAD;
    size_t width = rowwise ? 1 : (size_t)trainer->network.config.C;

    assert(!trainer->ahead);
    if (row >= trainer->V) /* nothing is remembered of it */
        return;
    memset(trainer->items_v + (size_t)row * width, 0, width * sizeof(float));
    if (trainer->items_m != NULL)
        memset(trainer->items_m + (size_t)row * width, 0, width * sizeof(float));
    trainer->moments_changed = true;
}

int64_t trainer_steps(const struct trainer *trainer)
{
    return trainer->steps;
}

bool trainer_is_bf16(const struct trainer *trainer)
{
    return trainer->config.bf16 && trainer->backend != NULL && trainer->backend->bf16;
}

const char *trainer_products(const struct trainer *trainer)
{
    if (trainer_is_bf16(trainer))
        return "products of bf16, added up in f32";
    if (!trainer->config.bf16)
        return "f32 is asked for";
    return trainer->backend == NULL ? "a CPU learns in f32 alone"
                                    : "this GPU multiplies no bf16 (below compute capability 8.0)";
}

static struct trainer_counts count_batch(const struct batch *batch,
                                         const struct trainer_objective *objective, int32_t V)
{
    struct trainer_counts counts = {0};

    for (int32_t b = 0; b < batch->B; b++) {
        struct trainer_lesson lesson = trainer_lesson_of(objective, batch, b);
        struct request request = request_of(batch, b);

        for (int32_t j = 0; lesson.next && j < request.n; j++)
            counts.targets += trainer_is_target(batch, (int64_t)request.token + j, V);
        if (!lesson.list)
            continue;
        counts.teachers += batch->teacher != NULL;
        if (batch->label != NULL) {
            struct loss_list list = {
                .labels = batch->label + request.candidate,
                .weight = batch->weight == NULL ? NULL : batch->weight + request.candidate,
                .m = request.m,
            };

            counts.rows += request.m;
            counts.pairs += loss_has_pairs(&list);
            counts.lists += loss_has_positive(&list);
        }
    }
    return counts;
}

/* Deals requests to lanes in runs of about equal rows. Returns the most pass memory any needs. */
static size_t deal(struct trainer *t)
{
    const struct trainer_work *work = &t->work;
    const struct batch *batch = work->batch;
    int64_t total = (int64_t)batch->T + batch->N + batch->B, so_far = 0;
    int lanes = t->config.threads, lane = 0;
    size_t most = 0;

    t->lanes[0].first = 0;
    for (int32_t b = 0; b < batch->B; b++) {
        struct trainer_lesson lesson = trainer_lesson_of(work->objective, batch, b);
        struct request request = request_with(batch, b, t->network.config.contexts);
        size_t bytes = network_pass_bytes(&t->network.config, t->layout.Z, request.n,
                                          lesson.list ? request.m : 0, true, work->dropout > 0);

        most = bytes > most && (lesson.list || lesson.next) ? bytes : most;
        while (lane + 1 < lanes && so_far * lanes >= total * (lane + 1)) {
            t->lanes[lane].last = b;
            t->lanes[++lane].first = b;
        }
        so_far += (int64_t)request.n - request.contexts + request.m + 1;
    }
    for (; lane < lanes; lane++) {
        t->lanes[lane].last = batch->B;
        if (lane + 1 < lanes)
            t->lanes[lane + 1].first = batch->B;
    }
    return most;
}

/* Memory of one lane for the work ahead. */
static enum status lane_reserve(struct trainer *t, struct lane *lane, size_t pass_bytes,
                                struct error *err)
{
    const struct trainer_objective *o = t->work.objective;
    const struct batch *batch = t->work.batch;
    int64_t C = t->network.config.C, sets = 0, floats = 0;

    if (pass_bytes > lane->pass_bytes) {
        free(lane->pass_memory);
        lane->pass_bytes = 0;
        lane->pass_memory = network_memory(pass_bytes);
        if (lane->pass_memory == NULL)
            return error_set(err, ERR_NOMEM, "no memory for a pass of %zu bytes", pass_bytes);
        memset(lane->pass_memory, 0, pass_bytes);
        lane->pass_bytes = pass_bytes;
    }
    if (o->next > 0) {
        floats = next_set_floats(o->negatives, (int32_t)C);
        sets = o->negatives_block == 0 ? 1 : batch->B + t->work.counts.targets / o->negatives_block;
    }
    if (floats > lane->set_floats) {
        free(lane->set_memory);
        lane->set_floats = 0;
        lane->set_memory = network_memory((size_t)floats * sizeof(float));
        if (lane->set_memory == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %d negatives", (int)o->negatives);
        memset(lane->set_memory, 0, (size_t)floats * sizeof(float));
        lane->set_floats = floats;
    }
    if (!t->work.learning)
        return OK;
    return rows_reserve(&lane->demb, t->network.config.V, (int32_t)C,
                        (int64_t)batch->T + batch->N + t->work.counts.targets +
                            sets * (o->next > 0 ? o->negatives : 0),
                        err);
}

static void run_lane(void *context, int member)
{
    struct trainer *t = context;

    trainer_lane_run(t, &t->lanes[member]);
}

static double divided(double sum, int64_t count)
{
    return count > 0 ? sum / (double)count : 0;
}

/* Sums of the lanes into means; false when the batch has nothing to teach. */
static bool gather_losses(const struct trainer *t, struct trainer_losses *losses)
{
    const struct trainer_counts *counts = &t->work.counts;
    const struct trainer_objective *o = t->work.objective;
    struct trainer_losses all = {.rows = counts->rows,
                                 .lists = counts->lists > counts->pairs ? counts->lists
                                                                        : counts->pairs,
                                 .targets = counts->targets};

    for (int i = 0; i < t->config.threads; i++) {
        all.point += t->lanes[i].sums.point;
        all.pair += t->lanes[i].sums.pair;
        all.list += t->lanes[i].sums.list;
        all.next += t->lanes[i].sums.next;
        all.distil += t->lanes[i].sums.distil;
    }
    all.point = divided(all.point, counts->rows);
    all.pair = divided(all.pair, counts->pairs);
    all.list = divided(all.list, counts->lists);
    all.next = divided(all.next, counts->targets);
    all.distil = divided(all.distil, counts->teachers);
    all.total = (double)o->point * all.point + (double)o->pair * all.pair +
                (double)o->list * all.list + (double)o->next * all.next +
                (double)o->distil * all.distil;
    *losses = all;
    return counts->rows + counts->pairs + counts->lists + counts->targets + counts->teachers > 0;
}

/* Forward, losses and, when learning, gradients, summed into lane 0. */
static enum status compute(struct trainer *t, const struct model *model, const struct batch *batch,
                           const struct trainer_objective *objective, bool learning, uint64_t seed,
                           struct error *err)
{
    const struct network *network = model_network(model).network;
    enum status status = check_objective(objective, err);
    size_t pass_bytes;

    if (status == OK)
        status = network_check_batch(&network->config, batch, err);
    if (status == OK && t->spoiled)
        status = error_set(err, ERR_DEVICE,
                           "an earlier step failed inside its update: model and "
                           "moments are not of one step");
    if (status != OK)
        return status;
    assert(t->layout.floats == model_network(model).layout->floats);
    if (!t->ahead) /* a device that is blends by itself */
        model_blend(model);
    t->network = *network;
    if (t->backend == NULL)
        network_pack(&t->network, t->layout.Z, t->panels, true);
    t->work = (struct trainer_work){.network = &t->network,
                                    .batch = batch,
                                    .objective = objective,
                                    .counts = count_batch(batch, objective, network->config.V),
                                    .learning = learning,
                                    .dropout = learning ? t->config.dropout : 0,
                                    .seed = seed};
    if (network->config.V < 2) /* nothing to tell a target from */
        t->work.counts.targets = 0;
    status = sampler_cover(&t->sampler, network->config.V, err);
    if (status == OK && t->backend != NULL) {
        struct network_state state = model_network(model);

        for (int i = 1; i < t->config.threads; i++)
            t->lanes[i].sums = (struct trainer_losses){0};
        return t->backend->learn(&t->learner, t, &state, &t->lanes[0].sums, &t->squares, err);
    }
    pass_bytes = deal(t);
    for (int i = 0; status == OK && i < t->config.threads; i++)
        status = lane_reserve(t, &t->lanes[i], pass_bytes, err);
    if (status == OK)
        crew_run(t->crew, run_lane, t);
    return status;
}

/* Of text.w: each touched item row's gradient goes through its text. */
static void add_text(struct trainer *t, const float *text)
{
    const struct rows *g = &t->lanes[0].demb;
    int64_t C = t->network.config.C, width = t->network.config.text;
    float *to = t->lanes[0].tensors.text_w;

    for (int32_t i = 0; text != NULL && i < g->count; i++) {
        const float *vector = text + g->row_of[i] * width, *from = g->slots + i * C;

        for (int64_t k = 0; k < width; k++)
            for (int64_t c = 0; vector[k] != 0 && c < C; c++)
                to[k * C + c] += vector[k] * from[c];
    }
}

/* Into lane 0. Returns the gradient's sum of squares. text: of the model, or NULL. */
static double add_lanes(struct trainer *t, const float *text)
{
    const struct ops *ops = t->network.ops;
    const struct rows *items = &t->lanes[0].demb;

    for (int i = 1; i < t->config.threads; i++) {
        ops->gradients_add(t->lanes[0].gradient, t->lanes[i].gradient, t->layout.floats);
        rows_add(&t->lanes[0].demb, &t->lanes[i].demb);
    }
    add_text(t, text);
    return ops->squares_sum(t->lanes[0].gradient, t->layout.floats) +
           ops->squares_sum(items->slots, (int64_t)items->count * t->network.config.C);
}

static void update_dense(struct trainer *t, float *block, float scale, struct adamw settings)
{
    for (int32_t i = 0; i < t->layout.count; i++) {
        const struct network_tensor *tensor = &t->layout.tensors[i];
        struct adamw own = settings;
        int64_t at = tensor->offset;

        if (!tensor->trained)
            continue;
        own.decay = tensor->decays ? settings.decay : 0;
        t->network.ops->adamw_update(block + at, t->m + at, t->v + at, t->lanes[0].gradient + at,
                                     scale, (tensor->count + 15) / 16 * 16, &own);
    }
}

/* Item rows under AdamW move by their momentum also where a step did not touch them. */
static void update_items(struct trainer *t, float *emb, float scale, struct adamw settings)
{
    const struct ops *ops = t->network.ops;
    const struct rows *g = &t->lanes[0].demb;
    int64_t C = t->network.config.C, run = 0;

    settings.decay = 0;
    if (t->config.items == TRAINER_ITEMS_ADAGRAD) {
        for (int32_t i = 0; i < g->count; i++)
            ops->adagrad_update(emb + g->row_of[i] * C, t->items_v + g->row_of[i], g->slots + i * C,
                                scale, (int32_t)C, t->config.items_rate, t->config.items_decay,
                                1e-6f);
        return;
    }
    for (int64_t v = 0; v <= t->network.config.V; v++) {
        int32_t slot = v < t->network.config.V ? g->slot_of[v] - 1 : -1;

        if (slot < 0 && v < t->network.config.V)
            continue;
        if (v > run)
            ops->adamw_coast(emb + run * C, t->items_m + run * C, t->items_v + run * C,
                             (v - run) * C, &settings);
        if (slot >= 0)
            ops->adamw_update(emb + v * C, t->items_m + v * C, t->items_v + v * C,
                              g->slots + slot * C, scale, C, &settings);
        run = v + 1;
    }
}

/* What goes wrong here may have brought half of a step down already. */
static enum status update_on_device(struct trainer *t, struct model *model, float scale,
                                    const struct adamw *settings, struct error *err)
{
    struct network_state state = model_network(model);
    enum status status = t->backend->update(t->learner, t, &state, scale, settings, err);

    t->ahead = status == OK && t->running;
    t->spoiled = status != OK;
    model_away(model, t->ahead);
    return status;
}

void trainer_run_begin(struct trainer *trainer)
{
    trainer->running = trainer->backend != NULL;
}

enum status trainer_run_end(struct trainer *trainer, struct model *model, struct error *err)
{
    struct network_state state = model_network(model);
    enum status status = OK;

    trainer->running = false;
    if (!trainer->ahead)
        return OK;
    status = trainer->backend->settle(trainer->learner, trainer, &state, err);
    trainer->ahead = false;
    trainer->spoiled = status != OK;
    model_away(model, false);
    return status;
}

enum status trainer_step(struct trainer *trainer, struct model *model, const struct batch *batch,
                         const struct trainer_objective *objective, struct trainer_losses *losses,
                         struct error *err)
{
    struct trainer *t = trainer;
    struct trainer_losses all = {0};
    struct random random = t->random;
    const struct trainer_config *c = &t->config;
    struct adamw settings;
    double norm;
    float scale = 1;
    enum status status = compute(t, model, batch, objective, true, random_u64(&random), err);

    if (status == OK)
        status = trainer_cover_items(t, t->network.config.V, err);
    if (status != OK)
        return status;
    if (gather_losses(t, &all)) {
        norm = sqrt(t->backend == NULL ? add_lanes(t, model_network(model).text) : t->squares);
        if (!isfinite(norm) || !isfinite(all.total))
            return error_set(err, ERR_REJECTED, "gradient of norm %g, loss %g", norm, all.total);
        all.gradient_norm = norm;
        if (c->clip > 0 && norm > (double)c->clip)
            scale = (float)((double)c->clip / norm);
        t->random = random;
        t->steps++;
        settings = (struct adamw){
            .rate = c->learning_rate *
                    (t->steps < c->warmup_steps ? (float)t->steps / (float)c->warmup_steps : 1),
            .beta1 = c->beta1,
            .beta2 = c->beta2,
            .epsilon = c->epsilon,
            .decay = c->weight_decay,
            .c1 = (float)(1 - pow((double)c->beta1, (double)t->steps)),
            .c2 = (float)(1 - pow((double)c->beta2, (double)t->steps)),
        };
        if (t->backend == NULL) {
            update_dense(t, model_network(model).block, scale, settings);
            update_items(t, model_item(model, 0), scale, settings);
        } else {
            status = update_on_device(t, model, scale, &settings, err);
        }
        model_changed(model);
    }
    if (losses != NULL)
        *losses = all;
    return status;
}

enum status trainer_evaluate(struct trainer *trainer, const struct model *model,
                             const struct batch *batch, const struct trainer_objective *objective,
                             uint64_t seed, struct trainer_losses *losses, struct error *err)
{
    enum status status = compute(trainer, model, batch, objective, false, seed, err);

    if (status == OK)
        (void)gather_losses(trainer, losses);
    return status;
}
