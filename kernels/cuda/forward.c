/*
 * kernels/cuda/forward.c - one batch through the layers: the launches and products of a pass.
 *
 * Reads top down: layers, head, next-item scores, the whole. In the last layer history rows matter
 * as K and V alone, as on the CPU (kernels/network.c).
 */
#include "kernels/cuda/forward.h"

#include "kernels/cuda/blas.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/graphs.h"
#include "kernels/cuda/learn.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pass.h"
#include "kernels/cuda/probe.h"
#include "kernels/cuda/weights.h"
#include "kernels/network.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- layers ---- */

/* out (R, N) = x w, or += it: x the rows from element `from` on of a part of the pass's memory that
 * holds floats, or bf16 for a model of those; w a tensor of the weights. out_half: out is such a
 * part, too. */
static enum status product(const struct device_pass *pass, float *out, int32_t out_pitch,
                           bool out_half, const float *x, int64_t from, int32_t x_pitch,
                           const float *w, int32_t w_pitch, int32_t R, int32_t K, int32_t N,
                           int add, struct error *err)
{
    struct blas_matrix floats = {x + from, x_pitch}, weights = {w, w_pitch};
    struct blas_half halves = {(const uint16_t *)(const void *)x + from, x_pitch};
    struct blas_half half_weights = {pass->model->bf16 ? weights_half(pass->model, w) : NULL,
                                     w_pitch};

    if (pass->model->bf16)
        return blas_product_half(pass->blas, out, out_pitch, out_half, halves, half_weights, R, K,
                                 N, add, err);
    return blas_product(pass->blas, out, out_pitch, floats, weights, R, K, N, add, err);
}

/* Columns first .. first + count - 1 of W1 for R rows of normed from row `from` on, with SiLU. */
static enum status project(const struct device_pass *pass, int32_t l, int32_t first, int32_t count,
                           int32_t from, int32_t R, struct error *err)
{
    const struct network_layer *layer = &pass->model->weights.layers[l];
    int32_t C = pass->model->config.C;
    float *z = pass->z + (int64_t)from * 4 * C + first;
    enum status status = product(pass, z, 4 * C, false, pass->normed, (int64_t)from * C, C,
                                 layer->w1 + first, 4 * C, R, C, count, 0, err);

    if (status != OK)
        return status;
    return cuda_after(pass->stream, z, 4 * C, layer->b1 + first, R, count, CUDA_AFTER_SILU, err);
}

/* Layer l of the pages, by what was staged of them. */
static struct cuda_pages pages_of(const struct device_pass *pass, int32_t l)
{
    const struct model_config *config = &pass->model->config;
    int64_t floats = KV_PAGE_ROWS * 2 * (int64_t)config->C; /* of a layer */

    if (pass->call.pool == NULL)
        return (struct cuda_pages){0};
    return (struct cuda_pages){.at = pass->call.pool + l * floats,
                               .pitch = config->L * floats,
                               .row_start = pass->in.row_start,
                               .page_start = pass->in.page_start,
                               .slots = pass->in.slots,
                               .keep = pass->in.keep};
}

static enum status attend(const struct device_pass *pass, int32_t l, bool history,
                          struct error *err)
{
    const struct model_config *config = &pass->model->config;
    int32_t skipped = history ? 0 : pass->history_tiles, C = config->C;
    struct cuda_attention attention = {
        .form = config->attention == MODEL_ATTENTION_SILU ? CUDA_ATTENTION_SILU
                                                          : CUDA_ATTENTION_SOFTMAX,
        .T = pass->T,
        .C = C,
        .H = config->H,
        .r_pos = pass->model->weights.layers[l].r_pos,
        .r_time = pass->model->weights.layers[l].r_time,
        .history_start = pass->in.history_start,
        .time_ms = pass->in.time_ms,
        .request_time_ms = pass->in.request_time_ms,
        .pages = pages_of(pass, l),
    };

    if (pass->call.pool != NULL) {
        enum status status = cuda_keep(pass->stream, attention.pages, pass->z, pass->T, C, err);

        if (status != OK)
            return status;
    }
    return cuda_attention(pass->stream, pass->o, pass->z, attention, pass->in.tiles + skipped,
                          pass->tiles_count - skipped, err);
}

/* normed = norm of all rows of x; of the rows from `from` on, u * norm of o. */
static enum status norm(const struct device_pass *pass, int32_t rows, struct error *err)
{
    int32_t C = pass->model->config.C;

    if (pass->model->bf16)
        return cuda_norm_half(pass->stream, (uint16_t *)(void *)pass->normed, pass->x, rows, C,
                              NETWORK_EPSILON, err);
    return cuda_norm(pass->stream, pass->normed, pass->x, rows, C, NETWORK_EPSILON, err);
}

static enum status gate(const struct device_pass *pass, int32_t from, int32_t R, struct error *err)
{
    const struct model_config *config = &pass->model->config;
    int32_t C = config->C;
    int64_t at = (int64_t)from * C;
    float P = (float)config->P;
    /* The gate's norm takes over silu attention's division by P (kernels/gate.h). */
    float epsilon = config->attention == MODEL_ATTENTION_SILU ? NETWORK_EPSILON * P * P
                                                              : NETWORK_EPSILON;

    if (pass->model->bf16)
        return cuda_gate_half(pass->stream, (uint16_t *)(void *)pass->normed + at, pass->o + at,
                              pass->z + 4 * at, 4 * C, R, C, epsilon, err);
    return cuda_gate(pass->stream, pass->normed + at, pass->o + at, pass->z + 4 * at, 4 * C, R, C,
                     epsilon, err);
}

/* In the last layer history rows are read as K and V alone, unless their states are wanted. */
static enum status layer(const struct device_pass *pass, int32_t l, struct error *err)
{
    const struct model_config *config = &pass->model->config;
    const struct network_layer *w = &pass->model->weights.layers[l];
    int32_t C = config->C, rows = pass->T + pass->N;
    bool last = l == config->L - 1 && !pass->call.next;
    int32_t from = last ? pass->T : 0, R = rows - from;
    int64_t at = (int64_t)from * C;
    enum status status = norm(pass, rows, err);

    if (status == OK)
        status = project(pass, l, 0, 4 * C, from, R, err);
    for (int32_t block = 1; last && block <= 3 && status == OK; block += 2)
        status = project(pass, l, block * C, C, 0, pass->T, err);
    if (status == OK)
        status = attend(pass, l, !last, err);
    if (status == OK)
        status = gate(pass, from, R, err);
    if (status == OK)
        status = product(pass, pass->x + at, C, false, pass->normed, at, C, w->w2, C, R, C, C, 1,
                         err);
    if (status == OK)
        status = cuda_after(pass->stream, pass->x + at, C, w->b2, R, C, CUDA_AFTER_BIAS, err);
    return status;
}

/* ---- head ---- */

/* bf16 of now; the cross layers go on in f32. */
static uint16_t *head_half(const struct device_pass *pass)
{
    return pass->model->bf16 ? (uint16_t *)(void *)pass->head_half : NULL;
}

/* What products read: now itself, or its bf16. */
static const float *head_read(const struct device_pass *pass, const float *now)
{
    return pass->model->bf16 ? pass->head_half : now;
}

static enum status cross_layer(const struct device_pass *pass, int32_t l, struct error *err)
{
    const struct network_tensors *w = &pass->model->weights;
    int32_t N = pass->N, Z = pass->model->Z, R = pass->model->config.R;
    enum status status = product(pass, pass->low, R, pass->model->bf16,
                                 head_read(pass, pass->head_now), 0, Z, w->down[l], R, N, Z, R, 0,
                                 err);

    if (status == OK)
        status = product(pass, pass->head_wide, Z, false, pass->low, 0, R, w->up[l], Z, N, R, Z, 0,
                         err);
    if (status == OK)
        status = cuda_head_cross(pass->stream, pass->head_now, head_half(pass), pass->head_z,
                                 pass->head_wide, w->up_b[l], N, Z, err);
    return status;
}

/* The MLP reads z, which of bf16 is there before the cross layers write theirs over it. */
static enum status cross_head(const struct device_pass *pass, const float *x, struct error *err)
{
    const struct network_tensors *w = &pass->model->weights;
    const struct model_config *config = &pass->model->config;
    int32_t N = pass->N, Z = pass->model->Z, W = config->W;
    enum status status = cuda_head_inputs(pass->stream, pass->head_z, head_half(pass), x, pass->e,
                                          pass->in.scalars, w->mean, w->scale, N, config->C,
                                          config->F, Z, err);

    if (status == OK)
        status = product(pass, pass->hidden, W, false, head_read(pass, pass->head_z), 0, Z, w->mlp,
                         W, N, Z, W, 0, err);
    if (status != OK)
        return status;
    CUDA_TRY(err,
             cudaMemcpyAsync(pass->head_now, pass->head_z, (size_t)N * (size_t)Z * sizeof(float),
                             cudaMemcpyDeviceToDevice, pass->stream));
    for (int32_t l = 0; l < config->crosses && status == OK; l++)
        status = cross_layer(pass, l, err);
    if (status == OK)
        status = cuda_head_scores(pass->stream, pass->scores, pass->head_z, pass->head_now,
                                  pass->hidden, w->mlp_b, w->head_w, w->head_b, N, Z, W, err);
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

/* ---- next-item scores ---- */

/* scores (B, rows) = states times item rows first, first + 1, ..., whose lengths come after. */
static enum status next_products(const struct device_pass *pass, int32_t first, int32_t rows,
                                 struct error *err)
{
    const struct device_model *model = pass->model;
    int32_t B = pass->call.batch->B, C = model->config.C;
    int64_t at = (int64_t)first * C;
    struct blas_matrix states = {pass->states, C}, items = {model->emb.at + at, C};
    struct blas_half half_states = {pass->states_half, C}, half_items = {NULL, C};

    if (!model->bf16_next)
        return blas_product_of(pass->blas, pass->scores, rows, states, BLAS_AS_IT_IS, items,
                               BLAS_TRANSPOSED, B, C, rows, 0, err);
    half_items.at = weights_emb_half(model) + at;
    return blas_product_half_of(pass->blas, pass->scores, rows, 0, half_states, BLAS_AS_IT_IS,
                                half_items, BLAS_TRANSPOSED, B, C, rows, 0, err);
}

static enum status next_listed(const struct device_pass *pass, struct error *err)
{
    const struct device_model *model = pass->model;
    int32_t B = pass->call.batch->B, C = model->config.C, V = model->config.V;

    if (model->bf16_next)
        return cuda_next_listed_half(pass->stream, pass->scores, pass->states_half,
                                     weights_emb_half(model), model->inverse_norm.at,
                                     pass->in.candidate_start, pass->in.listed, B, V, C, err);
    return cuda_next_listed(pass->stream, pass->scores, pass->states, model->emb.at,
                            model->inverse_norm.at, pass->in.candidate_start, pass->in.listed, B, V,
                            C, err);
}

/* The best of the first slice; of it and the next one; and so on: memory does not grow with V. */
static enum status next_top(struct device_pass *pass, struct error *err)
{
    const struct device_model *model = pass->model;
    int32_t V = pass->call.V, slice = pass_slice(pass);
    enum status status = OK;

    for (int32_t first = 0, rows; first < V && status == OK; first += rows) {
        int32_t before = first > 0;

        rows = V - first < slice ? V - first : slice;
        status = next_products(pass, first, rows, err);
        if (status == OK)
            status = cuda_top_parts(pass->stream, pass->lists + (int64_t)before * pass->top.k,
                                    pass->scores, model->inverse_norm.at + first, pass->top, first,
                                    rows, err);
        if (status == OK)
            status = cuda_top_merge(pass->stream, &pass->lists, &pass->others, pass->top,
                                    before + (rows + pass->top.width - 1) / pass->top.width, err);
    }
    if (status == OK)
        status = cuda_top_rows(pass->stream, pass->best,
                               (float *)(void *)(pass->best + (int64_t)pass->top.B * pass->top.k),
                               pass->lists, pass->top, err);
    return status;
}

static enum status next_scores(struct device_pass *pass, struct error *err)
{
    const struct device_model *model = pass->model;
    const struct batch *batch = pass->call.batch;
    int32_t C = model->config.C, V = model->config.V;
    enum status status = cuda_next_states(pass->stream, pass->states, pass->x,
                                          pass->in.history_start, pass_contexts(pass), batch->B, C,
                                          1 / model->config.tau, err);

    if (status == OK && model->bf16_next)
        status = cuda_half(pass->stream, pass->states_half, pass->states, (int64_t)batch->B * C,
                           err);
    if (status == OK && !pass->call.whole)
        return next_listed(pass, err);
    if (status == OK && pass->call.k > 0)
        return next_top(pass, err);
    if (status == OK)
        status = next_products(pass, 0, V, err);
    if (status == OK)
        status = cuda_next_scale(pass->stream, pass->scores, model->inverse_norm.at, batch->B, V,
                                 err);
    return status;
}

/* ---- the whole ---- */

static enum status compute(struct device_pass *pass, struct error *err)
{
    const struct device_model *model = pass->model;
    const struct model_config *config = &model->config;
    const struct network_tensors *w = &model->weights;
    struct cuda_tables tables = {config->C, config->V, config->A, model->emb.at,
                                 w->act,    w->gap,    w->hour,   w->context};
    enum status status = cuda_embed(pass->stream, pass->x, pass->e, tables, pass->in.tokens, err);

    for (int32_t l = 0; l < config->L && status == OK; l++)
        status = layer(pass, l, err);
    if (status != OK)
        return status;
    return pass->call.next ? next_scores(pass, err) : head(pass, err);
}

/* One copy in, the kernels, one copy out. */
static enum status queue(struct device_pass *pass, float *whole, struct error *err)
{
    bool top = pass->call.k > 0, all = pass->call.whole && !top;
    size_t bytes = all ? (size_t)pass_scores_count(pass) * sizeof *whole : pass_out_bytes(pass);
    const void *from = top ? (const void *)pass->best : pass->scores;
    enum status status;

    CUDA_TRY(err, cudaMemcpyAsync(pass->memory.at, pass->staging.at, pass->in_bytes,
                                  cudaMemcpyHostToDevice, pass->stream));
    status = compute(pass, err);
    if (status != OK)
        return status;
    CUDA_TRY(err, cudaMemcpyAsync(all ? (void *)whole : pass->staging.at, from, bytes,
                                  cudaMemcpyDeviceToHost, pass->stream));
    return OK;
}

static enum status queue_captured(void *context, struct error *err)
{
    return queue(context, NULL, err);
}

/* By the graph of its shape, which is made when there is none; else, and where the driver makes
 * none, launch by launch. */
static enum status start(struct device_pass *pass, float *whole, struct error *err)
{
    struct graph_key key = {.place = pass->model->place,
                            .memory = pass->memory.at,
                            .staging = pass->staging.at,
                            .pool = pass->call.pool,
                            .B = pass->B,
                            .T = pass->T,
                            .N = pass->N,
                            .tokens = pass->tokens};

    if (pass->padded && graphs_launch(&pass->graphs, &key, pass->stream, queue_captured, pass))
        return OK;
    return queue(pass, whole, err);
}

/* After an error, too, nothing is left on the stream: what it writes to may be another's soon. */
static enum status finish(const struct device_pass *pass, enum status status, struct error *err)
{
    cudaError_t waited = cudaStreamSynchronize(pass->stream);

    if (status == OK)
        CUDA_TRY(err, waited);
    return status;
}

static enum status run(struct device_pass **made, const struct device_model *model,
                       struct pass_call call, float *scores, struct error *err)
{
    enum status status = *made == NULL ? pass_create(made, err) : OK;
    struct device_pass *pass = *made;

    if (status != OK || (call.whole ? call.batch->B : call.batch->N) == 0)
        return status;
    status = pass_begin(pass, model, call, err);
    if (status == OK)
        status = finish(pass, start(pass, scores, err), err);
    if (status == OK && !call.whole)
        memcpy(scores, pass->staging.at, (size_t)call.batch->N * sizeof *scores);
    return status;
}

static enum status score(struct device_pass **pass, const struct device_model *model, float *pool,
                         const struct kv_lease *leases, const struct batch *batch, float *scores,
                         struct error *err)
{
    struct pass_call call = {
        .batch = batch, .graphs = graphs_allowed(), .pool = pool, .leases = leases};

    return run(pass, model, call, scores, err);
}

static enum status make_pool(float **pool, size_t bytes, struct error *err)
{
    struct device_bytes made = {0};
    enum status status = device_bytes_reserve(&made, bytes, err);

    *pool = (float *)(void *)made.at;
    return status;
}

static void drop_pool(float *pool)
{
    (void)cudaFree(pool);
}

static enum status score_next(struct device_pass **pass, const struct device_model *model,
                              const struct batch *batch, bool whole, float *scores,
                              struct error *err)
{
    return run(pass, model, (struct pass_call){.batch = batch, .next = true, .whole = whole},
               scores, err);
}

/* A request without history has a state of zeros, and so no best. */
static enum status score_top(struct device_pass **pass, const struct device_model *model,
                             const struct batch *batch, int32_t V, int32_t k, int32_t *rows,
                             float *scores, struct error *err)
{
    struct pass_call call = {.batch = batch, .next = true, .whole = true, .k = k, .V = V};
    int64_t count = (int64_t)batch->B * k;
    enum status status = run(pass, model, call, NULL, err);

    if (status != OK)
        return status;
    memcpy(rows, (*pass)->staging.at, (size_t)count * sizeof *rows);
    memcpy(scores, (*pass)->staging.at + (size_t)count * sizeof *rows,
           (size_t)count * sizeof *scores);
    for (int32_t b = 0; b < batch->B; b++) {
        if (batch->history_start[b + 1] > batch->history_start[b])
            continue;
        for (int64_t i = (int64_t)b * k; i < (int64_t)(b + 1) * k; i++) {
            rows[i] = -1;
            scores[i] = -INFINITY;
        }
    }
    return OK;
}

static enum status ask(void *at, cudaStream_t stream, struct error *err)
{
    const int32_t sent = 0x5eed;
    int32_t back = 0;

    CUDA_TRY(err, cudaMemcpyAsync(at, &sent, sizeof sent, cudaMemcpyHostToDevice, stream));
    CUDA_TRY(err, cudaMemcpyAsync(&back, at, sizeof back, cudaMemcpyDeviceToHost, stream));
    CUDA_TRY(err, cudaStreamSynchronize(stream));
    if (back != sent)
        return error_set(err, ERR_DEVICE, "it does not give back what it was given");
    return OK;
}

static enum status works(struct error *err)
{
    struct device_bytes bytes = {0};
    cudaStream_t stream;
    enum status status = stream_open(&stream, err); /* a lost device has none */

    if (status != OK)
        return status;
    status = device_bytes_reserve(&bytes, sizeof(int32_t), err);
    if (status == OK)
        status = ask(bytes.at, stream, err);
    device_bytes_clear(&bytes);
    (void)cudaStreamDestroy(stream);
    return status;
}

enum status cuda_backend_open(struct backend *backend, struct error *err)
{
    struct probe probe;
    enum status status = probe_device(&probe, err);

    if (status != OK)
        return status;
    backend->name = "cuda";
    weights_set_capability(probe.capability);
    backend->bf16 = probe.capability >= WEIGHTS_BF16_CAPABILITY;
    (void)snprintf(backend->why, sizeof backend->why, "%s", probe.text);
    backend->put = weights_put;
    backend->drop = weights_drop;
    backend->multiplies_bf16 = weights_multiply_bf16;
    backend->score = score;
    backend->score_next = score_next;
    backend->next_top = score_top;
    backend->make_pool = make_pool;
    backend->drop_pool = drop_pool;
    backend->learn = cuda_learn;
    backend->update = cuda_learn_update;
    backend->settle = cuda_learn_settle;
    backend->drop_learner = cuda_learn_drop;
    backend->drop_pass = pass_destroy;
    backend->works = works;
    return OK;
}
