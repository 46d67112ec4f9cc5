/*
 * kernels/cuda/forward.c - one batch through the layers, and the memory it needs.
 *
 * Reads top down: weights, memory of a pass, what goes in, layers, head. In the last layer history
 * rows matter as K and V alone, as on the CPU (kernels/network.c).
 */
#include "kernels/cuda/forward.h"

#include "kernels/bucket.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/probe.h"
#include "kernels/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 256 /* of cudaMalloc, and enough for any load */

struct device_model {
    struct model_config config;
    int32_t Z;
    struct network_tensors weights; /* pointers into block, on the device */
    float *block, *emb;
    int64_t block_floats, emb_floats; /* that are allocated */
};

/* Of a batch; pointers that kernels read are of the device. */
struct arrays {
    struct cuda_tokens tokens;
    int32_t *item, *action, *gap, *hour; /* (T + N) */
    int32_t *history_start;              /* (B + 1) */
    int64_t *time_ms, *request_time_ms;  /* (T), (B) */
    float *scalars;                      /* (N, F) */
    struct cuda_tile *tiles;             /* history tiles, then candidate tiles */
};

struct device_pass {
    cudaStream_t stream;
    cublasHandle_t blas;
    char *memory, *staging; /* device; host, pinned */
    size_t memory_bytes, staging_bytes;

    /* Of the batch at hand. */
    const struct device_model *model;
    int32_t T, N;
    int32_t history_tiles, tiles_count;
    struct arrays in;
    float *x, *normed, *z, *o, *e, *head_z, *head_now, *head_wide, *low, *hidden, *scores;
};

/* ---- weights ---- */

static enum status reserve_floats(float **at, int64_t *have, int64_t want, struct error *err)
{
    if (*have >= want)
        return OK;
    (void)cudaFree(*at);
    *at = NULL;
    *have = 0;
    if (cudaMalloc((void **)at, (size_t)want * sizeof(float)) != cudaSuccess) {
        *at = NULL;
        (void)cudaGetLastError(); /* it is told once, here */
        return error_set(err, ERR_NOMEM, "no memory for %lld floats on the GPU", (long long)want);
    }
    *have = want;
    return OK;
}

static void drop_model(struct device_model *model)
{
    if (model == NULL)
        return;
    (void)cudaFree(model->block);
    (void)cudaFree(model->emb);
    free(model);
}

static enum status put_weights(struct device_model *model, const struct network_state *state,
                               struct error *err)
{
    int64_t block = state->layout->floats;
    int64_t emb = (int64_t)state->network->config.V * state->network->config.C;
    enum status status = reserve_floats(&model->block, &model->block_floats, block, err);

    if (status == OK)
        status = reserve_floats(&model->emb, &model->emb_floats, emb, err);
    if (status != OK)
        return status;
    CUDA_TRY(err, cudaMemcpy(model->block, state->block, (size_t)block * sizeof(float),
                             cudaMemcpyHostToDevice));
    CUDA_TRY(err, cudaMemcpy(model->emb, state->network->emb, (size_t)emb * sizeof(float),
                             cudaMemcpyHostToDevice));
    /* Passes have streams of their own, which do not wait for the copies above. */
    CUDA_TRY(err, cudaDeviceSynchronize());
    model->config = state->network->config;
    model->Z = state->layout->Z;
    network_point(&model->weights, state->layout, model->block);
    return OK;
}

static enum status put(struct device_model **device, const struct network_state *state,
                       struct error *err)
{
    enum status status;

    if (*device == NULL)
        *device = calloc(1, sizeof **device);
    if (*device == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a model on the GPU");
    status = put_weights(*device, state, err);
    if (status != OK) {
        drop_model(*device);
        *device = NULL;
    }
    return status;
}

/* ---- memory of a pass ---- */

static void drop_pass(struct device_pass *pass)
{
    if (pass == NULL)
        return;
    blas_destroy(pass->blas);
    if (pass->stream != NULL)
        (void)cudaStreamDestroy(pass->stream);
    (void)cudaFree(pass->memory);
    (void)cudaFreeHost(pass->staging);
    free(pass);
}

static enum status make_pass(struct device_pass **pass, struct error *err)
{
    struct device_pass *made = calloc(1, sizeof *made);
    enum status status;

    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a pass on the GPU");
    if (cudaStreamCreateWithFlags(&made->stream, cudaStreamNonBlocking) != cudaSuccess) {
        made->stream = NULL;
        drop_pass(made);
        return error_set(err, ERR_DEVICE, "could not create a stream: %s",
                         cudaGetErrorString(cudaGetLastError()));
    }
    status = blas_create(&made->blas, made->stream, err);
    if (status != OK) {
        drop_pass(made);
        return status;
    }
    *pass = made;
    return OK;
}

/* Hands out aligned parts of a block; with base NULL it only counts. */
struct carve {
    char *base;
    size_t used;
};

static void *part(struct carve *carve, int64_t count, size_t bytes)
{
    void *at = carve->base == NULL ? NULL : carve->base + carve->used;

    carve->used += ((size_t)count * bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

static int32_t tiles_of(int32_t rows)
{
    return (rows + CUDA_TILE_ROWS - 1) / CUDA_TILE_ROWS;
}

/* What goes in: the same layout in staging and at the start of the device's block. */
static void carve_arrays(struct carve *carve, struct arrays *in, const struct batch *batch,
                         int32_t tiles)
{
    int64_t rows = (int64_t)batch->T + batch->N;

    in->item = part(carve, rows, sizeof *in->item);
    in->action = part(carve, rows, sizeof *in->action);
    in->gap = part(carve, rows, sizeof *in->gap);
    in->hour = part(carve, rows, sizeof *in->hour);
    in->history_start = part(carve, batch->B + 1, sizeof *in->history_start);
    in->time_ms = part(carve, batch->T, sizeof *in->time_ms);
    in->request_time_ms = part(carve, batch->B, sizeof *in->request_time_ms);
    in->scalars = part(carve, (int64_t)batch->N * batch->F, sizeof *in->scalars);
    in->tiles = part(carve, tiles, sizeof *in->tiles);
    in->tokens = (struct cuda_tokens){.T = batch->T,
                                      .N = batch->N,
                                      .item = in->item,
                                      .action = in->action,
                                      .gap = in->gap,
                                      .hour = in->hour};
}

static void carve_activations(struct carve *carve, struct device_pass *pass,
                              const struct device_model *model)
{
    int64_t rows = (int64_t)pass->T + pass->N, C = model->config.C, N = pass->N;
    bool cross = model->config.head == MODEL_HEAD_CROSS;

    pass->x = part(carve, rows * C, sizeof(float));
    pass->normed = part(carve, rows * C, sizeof(float));
    pass->z = part(carve, rows * 4 * C, sizeof(float));
    pass->o = part(carve, rows * C, sizeof(float));
    pass->e = part(carve, N * C, sizeof(float));
    pass->scores = part(carve, N, sizeof(float));
    pass->head_z = part(carve, cross ? N * model->Z : 0, sizeof(float));
    pass->head_now = part(carve, cross ? N * model->Z : 0, sizeof(float));
    pass->head_wide = part(carve, cross ? N * model->Z : 0, sizeof(float));
    pass->low = part(carve, cross ? N * model->config.R : 0, sizeof(float));
    pass->hidden = part(carve, cross ? N * model->config.W : 0, sizeof(float));
}

static enum status grow(struct device_pass *pass, size_t memory, size_t staging, struct error *err)
{
    if (memory > pass->memory_bytes) {
        (void)cudaFree(pass->memory);
        pass->memory = NULL;
        pass->memory_bytes = 0;
        if (cudaMalloc((void **)&pass->memory, memory) != cudaSuccess) {
            pass->memory = NULL;
            (void)cudaGetLastError();
            return error_set(err, ERR_NOMEM, "no memory for %zu bytes on the GPU", memory);
        }
        pass->memory_bytes = memory;
    }
    if (staging > pass->staging_bytes) {
        (void)cudaFreeHost(pass->staging);
        pass->staging = NULL;
        pass->staging_bytes = 0;
        if (cudaMallocHost((void **)&pass->staging, staging) != cudaSuccess) {
            pass->staging = NULL;
            (void)cudaGetLastError();
            return error_set(err, ERR_NOMEM, "no pinned memory for %zu bytes", staging);
        }
        pass->staging_bytes = staging;
    }
    return OK;
}

/* ---- what goes in ---- */

static void stage_history(const struct arrays *to, const struct batch *batch, int32_t b,
                          int32_t actions)
{
    for (int32_t t = batch->history_start[b]; t < batch->history_start[b + 1]; t++) {
        int32_t action = batch->action[t];

        to->item[t] = batch->item[t];
        to->action[t] = action > BATCH_ACTION_TARGET && action < actions ? action
                                                                         : CUDA_ACTION_NONE;
        to->gap[t] = t == batch->history_start[b]
                         ? BUCKET_GAP_NONE
                         : bucket_of(batch->time_ms[t], batch->time_ms[t - 1]);
        to->hour[t] = bucket_hour(batch->time_ms[t]);
        to->time_ms[t] = batch->time_ms[t];
    }
}

static void stage_candidates(const struct arrays *to, const struct batch *batch, int32_t b)
{
    int32_t end = batch->history_start[b + 1];
    int64_t now_ms = batch->request_time_ms[b];
    int32_t gap = end == batch->history_start[b] ? BUCKET_GAP_NONE
                                                 : bucket_of(now_ms, batch->time_ms[end - 1]);

    for (int32_t i = batch->candidate_start[b]; i < batch->candidate_start[b + 1]; i++) {
        to->item[batch->T + i] = batch->candidate_item[i];
        to->action[batch->T + i] = BATCH_ACTION_TARGET;
        to->gap[batch->T + i] = gap;
        to->hour[batch->T + i] = bucket_hour(now_ms);
    }
    to->request_time_ms[b] = now_ms;
}

/* Appends the tiles of rows first .. first + rows - 1. */
static struct cuda_tile *add_tiles(struct cuda_tile *tile, int32_t request, int32_t first,
                                   int32_t rows)
{
    for (int32_t at = 0; at < rows; at += CUDA_TILE_ROWS)
        *tile++ = (struct cuda_tile){request, first + at,
                                     rows - at < CUDA_TILE_ROWS ? rows - at : CUDA_TILE_ROWS};
    return tile;
}

static void stage(const struct arrays *to, const struct batch *batch, int32_t actions)
{
    struct cuda_tile *tile = to->tiles;

    for (int32_t b = 0; b < batch->B; b++) {
        stage_history(to, batch, b, actions);
        stage_candidates(to, batch, b);
        tile = add_tiles(tile, b, batch->history_start[b],
                         batch->history_start[b + 1] - batch->history_start[b]);
    }
    for (int32_t b = 0; b < batch->B; b++)
        tile = add_tiles(tile, b, batch->T + batch->candidate_start[b],
                         batch->candidate_start[b + 1] - batch->candidate_start[b]);
    memcpy(to->history_start, batch->history_start, ((size_t)batch->B + 1) * sizeof(int32_t));
    if (batch->F > 0)
        memcpy(to->scalars, batch->scalars, (size_t)batch->N * (size_t)batch->F * sizeof(float));
}

/* Makes room, and queues the copy of everything the kernels read. */
static enum status begin(struct device_pass *pass, const struct device_model *model,
                         const struct batch *batch, struct error *err)
{
    struct carve count = {0}, host = {0}, device = {0};
    struct arrays staged;
    size_t in_bytes, scores_bytes = (size_t)batch->N * sizeof(float);
    enum status status;

    pass->model = model;
    pass->T = batch->T;
    pass->N = batch->N;
    pass->history_tiles = pass->tiles_count = 0;
    for (int32_t b = 0; b < batch->B; b++) {
        pass->history_tiles += tiles_of(batch->history_start[b + 1] - batch->history_start[b]);
        pass->tiles_count += tiles_of(batch->candidate_start[b + 1] - batch->candidate_start[b]);
    }
    pass->tiles_count += pass->history_tiles;
    carve_arrays(&count, &staged, batch, pass->tiles_count);
    in_bytes = count.used;
    carve_activations(&count, pass, model);
    status = grow(pass, count.used, in_bytes > scores_bytes ? in_bytes : scores_bytes, err);
    if (status != OK)
        return status;
    host.base = pass->staging;
    device.base = pass->memory;
    carve_arrays(&host, &staged, batch, pass->tiles_count);
    carve_arrays(&device, &pass->in, batch, pass->tiles_count);
    carve_activations(&device, pass, model);
    stage(&staged, batch, model->config.A);
    CUDA_TRY(err, cudaMemcpyAsync(pass->memory, pass->staging, in_bytes, cudaMemcpyHostToDevice,
                                  pass->stream));
    return OK;
}

/* ---- layers ---- */

/* Columns first .. first + count - 1 of W1 for R rows of normed from row `from` on, with SiLU. */
static enum status project(const struct device_pass *pass, int32_t l, int32_t first, int32_t count,
                           int32_t from, int32_t R, struct error *err)
{
    const struct network_layer *layer = &pass->model->weights.layers[l];
    int32_t C = pass->model->config.C;
    float *z = pass->z + (int64_t)from * 4 * C + first;
    struct blas_matrix x = {pass->normed + (int64_t)from * C, C}, w = {layer->w1 + first, 4 * C};
    enum status status = blas_product(pass->blas, z, 4 * C, x, w, R, C, count, 0, err);

    if (status != OK)
        return status;
    return cuda_after(pass->stream, z, 4 * C, layer->b1 + first, R, count, CUDA_AFTER_SILU, err);
}

static enum status attend(const struct device_pass *pass, int32_t l, bool history,
                          struct error *err)
{
    const struct model_config *config = &pass->model->config;
    int32_t skipped = history ? 0 : pass->history_tiles;
    struct cuda_attention attention = {
        .form = config->attention == MODEL_ATTENTION_SILU ? CUDA_ATTENTION_SILU
                                                          : CUDA_ATTENTION_SOFTMAX,
        .T = pass->T,
        .C = config->C,
        .H = config->H,
        .r_pos = pass->model->weights.layers[l].r_pos,
        .r_time = pass->model->weights.layers[l].r_time,
        .history_start = pass->in.history_start,
        .time_ms = pass->in.time_ms,
        .request_time_ms = pass->in.request_time_ms,
    };

    return cuda_attention(pass->stream, pass->o, pass->z, attention, pass->in.tiles + skipped,
                          pass->tiles_count - skipped, err);
}

/* In the last layer history rows are read as K and V alone. */
static enum status layer(const struct device_pass *pass, int32_t l, struct error *err)
{
    const struct model_config *config = &pass->model->config;
    const struct network_layer *w = &pass->model->weights.layers[l];
    int32_t C = config->C, rows = pass->T + pass->N;
    bool last = l == config->L - 1;
    int32_t from = last ? pass->T : 0, R = rows - from;
    int64_t at = (int64_t)from * C;
    float P = (float)config->P;
    /* The gate's norm takes over silu attention's division by P (kernels/gate.h). */
    float epsilon = config->attention == MODEL_ATTENTION_SILU ? NETWORK_EPSILON * P * P
                                                              : NETWORK_EPSILON;
    struct blas_matrix y = {pass->normed + at, C}, w2 = {w->w2, C};
    enum status status = cuda_norm(pass->stream, pass->normed, pass->x, rows, C, NETWORK_EPSILON,
                                   err);

    if (status == OK)
        status = project(pass, l, 0, 4 * C, from, R, err);
    for (int32_t block = 1; last && block <= 3 && status == OK; block += 2)
        status = project(pass, l, block * C, C, 0, pass->T, err);
    if (status == OK)
        status = attend(pass, l, !last, err);
    if (status == OK)
        status = cuda_gate(pass->stream, pass->normed + at, pass->o + at, pass->z + 4 * at, 4 * C,
                           R, C, epsilon, err);
    if (status == OK)
        status = blas_product(pass->blas, pass->x + at, C, y, w2, R, C, C, 1, err);
    if (status == OK)
        status = cuda_after(pass->stream, pass->x + at, C, w->b2, R, C, CUDA_AFTER_BIAS, err);
    return status;
}

/* ---- head ---- */

static enum status cross_layer(const struct device_pass *pass, int32_t l, struct error *err)
{
    const struct network_tensors *w = &pass->model->weights;
    int32_t N = pass->N, Z = pass->model->Z, R = pass->model->config.R;
    struct blas_matrix now = {pass->head_now, Z}, low = {pass->low, R};
    struct blas_matrix down = {w->down[l], R}, up = {w->up[l], Z};
    enum status status = blas_product(pass->blas, pass->low, R, now, down, N, Z, R, 0, err);

    if (status == OK)
        status = blas_product(pass->blas, pass->head_wide, Z, low, up, N, R, Z, 0, err);
    if (status == OK)
        status = cuda_head_cross(pass->stream, pass->head_now, pass->head_z, pass->head_wide,
                                 w->up_b[l], N, Z, err);
    return status;
}

static enum status cross_head(const struct device_pass *pass, const float *x, struct error *err)
{
    const struct network_tensors *w = &pass->model->weights;
    const struct model_config *config = &pass->model->config;
    int32_t N = pass->N, Z = pass->model->Z;
    struct blas_matrix z = {pass->head_z, Z}, mlp = {w->mlp, config->W};
    enum status status = cuda_head_inputs(pass->stream, pass->head_z, x, pass->e, pass->in.scalars,
                                          w->mean, w->scale, N, config->C, config->F, Z, err);

    if (status != OK)
        return status;
    CUDA_TRY(err,
             cudaMemcpyAsync(pass->head_now, pass->head_z, (size_t)N * (size_t)Z * sizeof(float),
                             cudaMemcpyDeviceToDevice, pass->stream));
    for (int32_t l = 0; l < config->crosses && status == OK; l++)
        status = cross_layer(pass, l, err);
    if (status == OK)
        status = blas_product(pass->blas, pass->hidden, config->W, z, mlp, N, Z, config->W, 0, err);
    if (status == OK)
        status = cuda_head_scores(pass->stream, pass->scores, pass->head_z, pass->head_now,
                                  pass->hidden, w->mlp_b, w->head_w, w->head_b, N, Z, config->W,
                                  err);
    return status;
}

static enum status head(const struct device_pass *pass, struct error *err)
{
    const struct network_tensors *w = &pass->model->weights;
    const struct model_config *config = &pass->model->config;
    const float *x = pass->x + (int64_t)pass->T * config->C;

    if (config->head == MODEL_HEAD_CROSS)
        return cross_head(pass, x, err);
    return cuda_head_dot(pass->stream, pass->scores, x, pass->e, pass->in.scalars, w->mean,
                         w->scale, w->w_f, w->b_f, pass->N, config->C, config->F, err);
}

/* ---- the whole ---- */

static enum status score(struct device_pass **made, const struct device_model *model,
                         const struct batch *batch, float *scores, struct error *err)
{
    const struct model_config *config = &model->config;
    size_t bytes = (size_t)batch->N * sizeof *scores;
    enum status status = *made == NULL ? make_pass(made, err) : OK;
    struct device_pass *pass = *made;

    if (status != OK || batch->N == 0)
        return status;
    status = begin(pass, model, batch, err);
    if (status == OK) {
        struct cuda_tables tables = {config->C,          config->V,          config->A,
                                     model->emb,         model->weights.act, model->weights.gap,
                                     model->weights.hour};

        status = cuda_embed(pass->stream, pass->x, pass->e, tables, pass->in.tokens, err);
    }
    for (int32_t l = 0; l < config->L && status == OK; l++)
        status = layer(pass, l, err);
    if (status == OK)
        status = head(pass, err);
    if (status != OK)
        return status;
    CUDA_TRY(err, cudaMemcpyAsync(pass->staging, pass->scores, bytes, cudaMemcpyDeviceToHost,
                                  pass->stream));
    CUDA_TRY(err, cudaStreamSynchronize(pass->stream));
    memcpy(scores, pass->staging, bytes);
    return OK;
}

enum status cuda_backend_open(struct backend *backend, struct error *err)
{
    struct probe probe;
    enum status status = probe_device(&probe, err);

    if (status != OK)
        return status;
    backend->name = "cuda";
    (void)snprintf(backend->why, sizeof backend->why, "%s", probe.text);
    backend->put = put;
    backend->drop = drop_model;
    backend->score = score;
    backend->drop_pass = drop_pass;
    return OK;
}
