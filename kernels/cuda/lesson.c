/* kernels/cuda/lesson.c - what a step learns from, laid out for the device. */
#include "kernels/cuda/lesson.h"

#include "kernels/cpu.h"
#include "kernels/dropout.h"

#include <assert.h>
#include <string.h>

static struct request request_at(const struct trainer *trainer, int32_t b)
{
    return request_with(trainer->work.batch, b, trainer->work.network->config.contexts);
}

static int64_t contributions(const struct lesson *l)
{
    return (int64_t)l->T + l->N + l->k + (int64_t)l->S * l->K;
}

/* Targets so far: of all requests taken, in the order and the blocks of the CPU. */
struct targets {
    struct lesson *lesson;     /* NULL: count only */
    int32_t count, sets, base; /* base: row of the request's first token */
};

static void take_targets(struct targets *to, const struct trainer *trainer, int32_t b)
{
    const struct trainer_work *work = &trainer->work;
    struct request request = request_at(trainer, b);
    int32_t block = work->objective->negatives_block, in_set = 0;

    for (int32_t j = request.contexts; j < request.n; j++) {
        int64_t token = (int64_t)request.token + j;

        if (!trainer_is_target(work->batch, token, work->network->config.V))
            continue;
        if (block > 0 && (in_set == 0 || in_set == block)) {
            in_set = 0;
            if (to->lesson != NULL)
                to->lesson->set_start[to->sets] = to->count;
            to->sets++;
        }
        if (to->lesson != NULL) {
            to->lesson->next_row[to->count] = to->base + j;
            to->lesson->next_target[to->count] = work->batch->next_item[token];
            to->lesson->next_set[to->count] = block > 0 ? to->sets - 1 : 0;
        }
        to->count++;
        in_set++;
    }
}

void lesson_count(struct lesson *lesson, const struct trainer *trainer)
{
    const struct trainer_work *work = &trainer->work;
    struct targets targets = {0};

    *lesson = (struct lesson){.F = work->network->config.F};
    for (int32_t b = 0; b < work->batch->B; b++) {
        struct trainer_lesson wants = trainer_lesson_of(work->objective, work->batch, b);
        struct request request = request_at(trainer, b);

        if (!wants.list && !wants.next)
            continue;
        lesson->B++;
        lesson->T += request.n;
        lesson->history_tiles += stage_tiles_count(request.n);
        if (wants.list) {
            lesson->N += request.m;
            lesson->tiles_count += stage_tiles_count(request.m);
        }
        if (wants.next)
            take_targets(&targets, trainer, b);
    }
    lesson->tiles_count += lesson->history_tiles;
    lesson->k = targets.count;
    if (targets.count > 0) {
        lesson->S = work->objective->negatives_block > 0 ? targets.sets : 1;
        lesson->K = work->objective->negatives;
    }
}

/* Of n numbers below rows; dense: every row has a segment, else those that appear. */
static void carve_segments(struct lesson_segments *s, struct carve *carve, int64_t n, int32_t rows,
                           bool dense)
{
    int64_t count = dense || rows < n ? rows : n;

    s->count = (int32_t)count;
    s->chunks = (int32_t)(n / LESSON_CHUNK + count);
    s->order = carve_part(carve, n, sizeof *s->order);
    s->chunk = carve_part(carve, (int64_t)s->chunks + 1, sizeof *s->chunk);
    s->segment = carve_part(carve, count + 1, sizeof *s->segment);
}

void lesson_carve(struct lesson *l, const struct trainer *trainer, struct carve *carve)
{
    const struct model_config *config = &trainer->work.network->config;
    const struct batch *batch = trainer->work.batch;
    int64_t rows = (int64_t)l->T + l->N, n = contributions(l), negatives = (int64_t)l->S * l->K;
    int64_t touched = n < config->V ? n : config->V;

    l->rows.item = carve_part(carve, rows, sizeof(int32_t));
    l->rows.action = carve_part(carve, rows, sizeof(int32_t));
    l->rows.gap = carve_part(carve, rows, sizeof(int32_t));
    l->rows.hour = carve_part(carve, rows, sizeof(int32_t));
    l->history_start = carve_part(carve, (int64_t)l->B + 1, sizeof(int32_t));
    l->candidate_start = carve_part(carve, (int64_t)l->B + 1, sizeof(int32_t));
    l->time_ms = carve_part(carve, l->T, sizeof(int64_t));
    l->request_time_ms = carve_part(carve, l->B, sizeof(int64_t));
    l->scalars = carve_part(carve, (int64_t)l->N * l->F, sizeof(float));
    l->label = carve_part(carve, l->N, sizeof(float));
    l->weight = batch->weight == NULL ? NULL : carve_part(carve, l->N, sizeof(float));
    l->teacher = batch->teacher == NULL ? NULL : carve_part(carve, l->N, sizeof(float));
    l->position = carve_part(carve, l->N, sizeof(int32_t));
    l->tiles = carve_part(carve, l->tiles_count, sizeof *l->tiles);
    l->next_row = carve_part(carve, l->k, sizeof(int32_t));
    l->next_target = carve_part(carve, l->k, sizeof(int32_t));
    l->next_set = carve_part(carve, l->k, sizeof(int32_t));
    l->set_start = carve_part(carve, (int64_t)l->S + 1, sizeof(int32_t));
    l->negatives = carve_part(carve, negatives, sizeof(int32_t));
    l->target_bias = carve_part(carve, l->k, sizeof(float));
    l->negatives_bias = carve_part(carve, negatives, sizeof(float));
    carve_segments(&l->items, carve, n, config->V, false);
    carve_segments(&l->act, carve, rows, config->A, true);
    carve_segments(&l->gap, carve, rows, BUCKET_GAPS, true);
    carve_segments(&l->hour, carve, rows, BUCKET_HOURS, true);
    carve_segments(&l->context, carve, rows, config->contexts * BATCH_CONTEXT_CODES, true);
    l->row_of = carve_part(carve, touched, sizeof(int32_t));
    l->slot_of = carve_part(carve, config->V, sizeof(int32_t));
    l->texts = carve_part(carve, touched * config->text, sizeof(float));
    l->dropped = trainer->work.dropout > 0 ? carve_part(carve, rows, sizeof *l->dropped) : NULL;
}

int64_t lesson_scratch(const struct lesson *lesson, const struct trainer *trainer)
{
    int32_t V = trainer->work.network->config.V;

    return contributions(lesson) + (V > MODEL_ACTIONS_MAX ? V : MODEL_ACTIONS_MAX);
}

/* ---- filling ---- */

static int32_t position_of(const struct batch *batch, int64_t candidate)
{
    int32_t position = batch->position == NULL ? 0 : batch->position[candidate];

    return position < 0 ? 0 : position > BATCH_POSITION_MAX ? BATCH_POSITION_MAX : position;
}

static void fill_candidates(const struct lesson *l, const struct batch *batch,
                            const struct request *request, int64_t at)
{
    int32_t first = request->candidate, m = request->m;

    stage_copy(l->scalars + at * l->F,
               batch->scalars == NULL ? NULL : batch->scalars + (int64_t)first * l->F,
               (int64_t)m * l->F, sizeof(float));
    if (l->weight != NULL)
        stage_copy(l->weight + at, batch->weight + first, m, sizeof(float));
    if (l->teacher != NULL)
        stage_copy(l->teacher + at, batch->teacher + first, m, sizeof(float));
    for (int32_t i = 0; i < m; i++) {
        l->label[at + i] = batch->label == NULL ? 0 : batch->label[first + i];
        l->position[at + i] = position_of(batch, (int64_t)first + i);
    }
}

static void draw(const struct lesson *l, const struct trainer *trainer, int32_t set,
                 struct random *random)
{
    for (int32_t i = 0; i < l->K; i++)
        l->negatives[(int64_t)set * l->K + i] = sampler_draw(&trainer->sampler, random,
                                                             trainer->work.network->config.V);
}

/* A request's sets follow each other; each is drawn by the request's number in the batch. */
static void draw_sets(const struct lesson *l, const struct trainer *trainer, int32_t b,
                      int32_t first, int32_t end)
{
    struct random random;

    random_seed(&random, trainer->work.seed ^ ((uint64_t)b + 1) * 0x9e3779b97f4a7c15u);
    for (int32_t set = first; set < end; set++)
        draw(l, trainer, set, &random);
}

static void fill_biases(const struct lesson *l, const struct sampler *sampler)
{
    const float *log_q = sampler->V > 0 ? sampler->log_q : NULL;

    for (int32_t i = 0; i < l->k; i++)
        l->target_bias[i] = log_q == NULL ? 0 : -log_q[l->next_target[i]];
    for (int64_t i = 0; i < (int64_t)l->S * l->K; i++)
        l->negatives_bias[i] = log_q == NULL ? 0 : -log_q[l->negatives[i]];
}

/* Rows as the CPU counts them, whose last layer has no history rows where none is asked for. */
static void fill_dropped(const struct lesson *l, const struct trainer *trainer,
                         const struct request *request, bool next, int64_t token, int64_t candidate)
{
    uint64_t seed = dropout_request_seed(trainer->work.seed, request->index);
    uint32_t history = (uint32_t)cpu_pad_rows(request->n);

    for (uint32_t j = 0; j < (uint32_t)request->n; j++)
        l->dropped[token + j] = (struct cuda_dropped){seed, j, j};
    for (uint32_t i = 0; i < (uint32_t)request->m; i++)
        l->dropped[candidate + i] = (struct cuda_dropped){seed, history + i,
                                                          next ? history + i : i};
}

static void fill_requests(struct lesson *l, const struct trainer *trainer)
{
    const struct trainer_work *work = &trainer->work;
    const struct batch *batch = work->batch;
    struct cuda_tile *tile = l->tiles, *candidate_tile = l->tiles + l->history_tiles;
    struct targets targets = {.lesson = l};
    int32_t own = 0, token = 0, candidate = 0;

    for (int32_t b = 0; b < batch->B; b++) {
        struct trainer_lesson wants = trainer_lesson_of(work->objective, batch, b);
        struct request request = request_at(trainer, b);
        int32_t sets = targets.sets;

        if (!wants.list && !wants.next)
            continue;
        request.m = wants.list ? request.m : 0;
        l->history_start[own] = token;
        l->candidate_start[own] = candidate;
        l->request_time_ms[own] = request.now_ms;
        stage_times(l->time_ms + token, &request);
        stage_history(stage_rows_from(l->rows, token), &request, 0, work->network->config.A);
        tile = stage_tiles(tile, own, token, request.n);
        if (wants.list) {
            stage_candidates(stage_rows_from(l->rows, (int64_t)l->T + candidate), &request);
            fill_candidates(l, batch, &request, candidate);
            candidate_tile = stage_tiles(candidate_tile, own, l->T + candidate, request.m);
        }
        if (l->dropped != NULL)
            fill_dropped(l, trainer, &request, wants.next, token, (int64_t)l->T + candidate);
        if (wants.next) {
            targets.base = token;
            take_targets(&targets, trainer, b);
            if (work->objective->negatives_block > 0)
                draw_sets(l, trainer, b, sets, targets.sets);
        }
        token += request.n;
        candidate += request.m;
        own++;
    }
    l->history_start[own] = token;
    l->candidate_start[own] = candidate;
    if (l->S == 1 && work->objective->negatives_block == 0) {
        struct random random;

        l->set_start[0] = 0;
        random_seed(&random, work->seed);
        draw(l, trainer, 0, &random);
    }
    l->set_start[l->S] = l->k;
}

/* Counting sort of n keys below rows (negative ones are left out), cut into chunks. */
static void fill_segments(struct lesson_segments *s, const int32_t *keys, int64_t n, int32_t rows,
                          bool dense, int32_t *counts, int32_t *row_of, int32_t *slot_of)
{
    int32_t at = 0, chunks = 0, count = 0;

    memset(counts, 0, (size_t)rows * sizeof *counts);
    for (int64_t i = 0; i < n; i++)
        if (keys[i] >= 0)
            counts[keys[i]]++;
    for (int32_t r = 0; r < rows; r++) {
        int32_t of_row = counts[r];

        if (slot_of != NULL)
            slot_of[r] = of_row > 0 ? count : -1;
        if (of_row == 0 && !dense)
            continue;
        if (row_of != NULL)
            row_of[count] = r;
        s->segment[count++] = chunks;
        for (int32_t i = 0; i < of_row; i += LESSON_CHUNK)
            s->chunk[chunks++] = at + i;
        counts[r] = at; /* where its next one goes */
        at += of_row;
    }
    assert(count <= s->count && chunks <= s->chunks);
    s->count = count;
    s->chunks = chunks;
    s->segment[count] = chunks;
    s->chunk[chunks] = at;
    for (int64_t i = 0; i < n; i++)
        if (keys[i] >= 0)
            s->order[counts[keys[i]]++] = (int32_t)i;
}

/* Tokens of context are rows of their table, others an hour: *keys of one kind, -1 for the other.
 */
static void context_keys(int32_t *keys, const struct lesson *l, int64_t rows, bool context)
{
    for (int64_t i = 0; i < rows; i++)
        keys[i] = (l->rows.gap[i] == CUDA_GAP_CONTEXT) == context ? l->rows.hour[i] : -1;
}

void lesson_fill(struct lesson *l, const struct trainer *trainer, const float *text,
                 int32_t *scratch)
{
    const struct model_config *config = &trainer->work.network->config;
    int64_t rows = (int64_t)l->T + l->N, n = contributions(l), width = config->text;
    int32_t *keys = scratch, *counts = scratch + n;

    fill_requests(l, trainer);
    fill_biases(l, &trainer->sampler);
    for (int64_t i = 0; i < rows; i++)
        keys[i] = l->rows.gap[i] == CUDA_GAP_CONTEXT ? -1 : embed_row(l->rows.item[i], config->V);
    stage_copy(keys + rows, l->next_target, l->k, sizeof *keys);
    stage_copy(keys + rows + l->k, l->negatives, (int64_t)l->S * l->K, sizeof *keys);
    fill_segments(&l->items, keys, n, config->V, false, counts, l->row_of, l->slot_of);
    fill_segments(&l->act, l->rows.action, rows, config->A, true, counts, NULL, NULL);
    fill_segments(&l->gap, l->rows.gap, rows, BUCKET_GAPS, true, counts, NULL, NULL);
    context_keys(keys, l, rows, false);
    fill_segments(&l->hour, keys, rows, BUCKET_HOURS, true, counts, NULL, NULL);
    context_keys(keys, l, rows, true);
    fill_segments(&l->context, keys, rows, config->contexts * BATCH_CONTEXT_CODES, true, counts,
                  NULL, NULL);
    for (int64_t i = 0; i < l->items.count && width > 0; i++)
        stage_copy(l->texts + i * width, text + l->row_of[i] * width, width, sizeof *text);
}
