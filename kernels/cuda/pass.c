/*
 * kernels/cuda/pass.c - the memory of a pass, and what goes in.
 *
 * Reads top down: a pass, its parts of memory, staging with rows of nobody behind it, begin.
 */
#include "kernels/cuda/pass.h"

#include "kernels/request.h"

#include <assert.h>
#include <stdlib.h>

_Static_assert(CUDA_PAGE_ROWS == KV_PAGE_ROWS, "pages of kernels and of the cache are the same");

#ifndef PASS_SLICE /* tests want many slices of a small table */
#define PASS_SLICE (1 << 22)
#endif
#define SLICE_FLOATS PASS_SLICE /* scores at a time, when the best are looked for: 16 MB */

void pass_destroy(struct device_pass *pass)
{
    if (pass == NULL)
        return;
    blas_destroy(pass->blas);
    if (pass->stream != NULL)
        (void)cudaStreamDestroy(pass->stream);
    graphs_clear(&pass->graphs);
    device_bytes_clear(&pass->memory);
    device_bytes_clear(&pass->workspace);
    pinned_bytes_clear(&pass->staging);
    free(pass);
}

enum status pass_create(struct device_pass **pass, struct error *err)
{
    struct device_pass *made = calloc(1, sizeof *made);
    enum status status;

    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a pass on the GPU");
    status = stream_open(&made->stream, err);
    if (status == OK)
        status = blas_create(&made->blas, made->stream, err);
    if (status == OK)
        status = device_bytes_reserve(
            &made->workspace, weights_capability() >= 90 ? (size_t)32 << 20 : (size_t)4 << 20, err);
    if (status == OK)
        status = blas_workspace(made->blas, made->workspace.at, made->workspace.bytes, err);
    if (status != OK) {
        pass_destroy(made);
        return status;
    }
    *pass = made;
    return OK;
}

int32_t pass_contexts(const struct device_pass *pass)
{
    return pass->model->config.contexts;
}

/* Those of request b whose K and V pages hold. */
static int32_t found_of(const struct pass_call *call, int32_t b)
{
    return call->pool == NULL ? 0 : call->leases[b].found * KV_PAGE_ROWS;
}

/* All of the batch, those of context and those that pages hold included. */
static int32_t tokens_of(const struct device_pass *pass)
{
    return pass->call.batch->T + pass->call.batch->B * pass_contexts(pass);
}

/* What goes in: the same layout in staging and at the start of the device's block. */
static void carve_arrays(struct carve *carve, struct pass_arrays *in,
                         const struct device_pass *pass)
{
    const struct batch *batch = pass->call.batch;
    int64_t rows = (int64_t)pass->T + pass->N;
    bool lists = pass->call.next && !pass->call.whole;

    in->rows.item = carve_part(carve, rows, sizeof *in->rows.item);
    in->rows.action = carve_part(carve, rows, sizeof *in->rows.action);
    in->rows.gap = carve_part(carve, rows, sizeof *in->rows.gap);
    in->rows.hour = carve_part(carve, rows, sizeof *in->rows.hour);
    in->history_start = carve_part(carve, pass->B + 1, sizeof *in->history_start);
    in->time_ms = carve_part(carve, pass->tokens, sizeof *in->time_ms);
    in->request_time_ms = carve_part(carve, pass->B, sizeof *in->request_time_ms);
    in->candidate_start = carve_part(carve, lists ? batch->B + 1 : 0, sizeof *in->candidate_start);
    in->listed = carve_part(carve, lists ? batch->N : 0, sizeof *in->listed);
    in->scalars = carve_part(carve, (int64_t)pass->N * batch->F, sizeof *in->scalars);
    in->tiles = carve_part(carve, pass->tiles_count, sizeof *in->tiles);
    if (pass->call.pool != NULL) {
        in->row_start = carve_part(carve, pass->B + 1, sizeof *in->row_start);
        in->page_start = carve_part(carve, pass->B + 1, sizeof *in->page_start);
        in->slots = carve_part(carve, kv_pages_of(pass->tokens), sizeof *in->slots);
        in->keep = carve_part(carve, pass->T, sizeof *in->keep);
    }
    in->tokens = (struct cuda_tokens){.T = pass->T,
                                      .N = pass->N,
                                      .item = in->rows.item,
                                      .action = in->rows.action,
                                      .gap = in->rows.gap,
                                      .hour = in->rows.hour};
}

int32_t pass_slice(const struct device_pass *pass)
{
    int32_t V = pass->call.V, width = pass->top.width;
    int32_t rows = SLICE_FLOATS / pass->top.B / width * width;

    rows = rows < width ? width : rows;
    return rows < V ? rows : V;
}

int64_t pass_scores_count(const struct device_pass *pass)
{
    const struct batch *batch = pass->call.batch;

    if (pass->call.k > 0)
        return (int64_t)batch->B * pass_slice(pass);
    if (pass->call.whole)
        return (int64_t)batch->B * pass->model->config.V;
    return pass->call.next ? batch->N : pass->N;
}

static void carve_top(struct carve *carve, struct device_pass *pass)
{
    int64_t words = (int64_t)pass->top.B * pass->top.room * pass->top.k;

    pass->lists = carve_part(carve, words, sizeof *pass->lists);
    pass->others = carve_part(carve, words, sizeof *pass->others);
    pass->best = carve_part(carve, (int64_t)pass->top.B * pass->top.k, 2 * sizeof *pass->best);
}

static void carve_activations(struct carve *carve, struct device_pass *pass,
                              const struct device_model *model)
{
    int64_t rows = (int64_t)pass->T + pass->N, C = model->config.C, N = pass->N;
    int64_t B = pass->call.batch->B;
    bool cross = model->config.head == MODEL_HEAD_CROSS;

    pass->x = carve_part(carve, rows * C, sizeof(float));
    pass->normed = carve_part(carve, rows * C, sizeof(float));
    pass->z = carve_part(carve, rows * 4 * C, sizeof(float));
    pass->o = carve_part(carve, rows * C, sizeof(float));
    pass->e = carve_part(carve, N * C, sizeof(float));
    pass->states = carve_part(carve, pass->call.next ? B * C : 0, sizeof(float));
    pass->scores = carve_part(carve, pass_scores_count(pass), sizeof(float));
    carve_top(carve, pass);
    pass->head_z = carve_part(carve, cross ? N * model->Z : 0, sizeof(float));
    pass->head_now = carve_part(carve, cross ? N * model->Z : 0, sizeof(float));
    pass->head_wide = carve_part(carve, cross ? N * model->Z : 0, sizeof(float));
    pass->low = carve_part(carve, cross ? N * model->config.R : 0, sizeof(float));
    pass->hidden = carve_part(carve, cross ? N * model->config.W : 0, sizeof(float));
    cross = cross && model->bf16;
    pass->head_half = carve_part(carve, cross ? N * model->Z : 0, sizeof(uint16_t));
    pass->states_half = carve_part(carve, pass->call.next && model->bf16_next ? B * C : 0,
                                   sizeof(uint16_t));
}

/* ---- what goes in ---- */

/* Rows of nobody: tokens of the unknown item, whose tiles only set what they attended to 0. */
static void pad_rows(struct stage_rows rows, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        rows.item[i] = BATCH_ITEM_UNKNOWN;
        rows.action[i] = CUDA_ACTION_NONE;
        rows.gap[i] = BUCKET_GAP_NONE;
        rows.hour[i] = 0;
    }
}

/* Their tiles, and empty ones up to end. */
static struct cuda_tile *pad_tiles(struct cuda_tile *tile, const struct cuda_tile *end,
                                   int32_t first, int32_t rows)
{
    tile = stage_tiles(tile, CUDA_REQUEST_NONE, first, rows);
    assert(tile <= end);
    while (tile < end)
        *tile++ = (struct cuda_tile){CUDA_REQUEST_NONE, 0, 0};
    return tile;
}

/* from: the rows of z that are somebody's. */
static struct cuda_tile *pad_history(const struct pass_arrays *to, const struct device_pass *pass,
                                     struct cuda_tile *tile, int32_t from)
{
    int32_t B = pass->call.batch->B, tokens = tokens_of(pass);

    for (int32_t b = B; b < pass->B; b++) {
        to->history_start[b + 1] = tokens;
        to->request_time_ms[b] = 0;
        if (pass->call.pool != NULL) {
            to->row_start[b + 1] = from;
            to->page_start[b + 1] = to->page_start[B];
        }
    }
    for (int32_t t = tokens; t < pass->tokens; t++)
        to->time_ms[t] = 0;
    for (int32_t t = from; t < pass->T && pass->call.pool != NULL; t++)
        to->keep[t] = CUDA_KEEP_NONE;
    pad_rows(stage_rows_from(to->rows, from), pass->T - from);
    return pad_tiles(tile, to->tiles + pass->history_tiles, from, pass->T - from);
}

static void pad_candidates(const struct pass_arrays *to, const struct device_pass *pass,
                           struct cuda_tile *tile)
{
    const struct batch *batch = pass->call.batch;
    int32_t first = pass->T + batch->N, rows = pass->N - batch->N;

    pad_rows(stage_rows_from(to->rows, first), rows);
    for (int64_t i = (int64_t)batch->N * batch->F; i < (int64_t)pass->N * batch->F; i++)
        to->scalars[i] = 0;
    (void)pad_tiles(tile, to->tiles + pass->tiles_count, first, rows);
}

/* Where pages hold K and V of request b's history, and are to: its rows of z are from .. end - 1.
 */
static void stage_kept(const struct pass_arrays *to, const struct pass_call *call, int32_t b,
                       int32_t from, int32_t end)
{
    const struct kv_lease *lease = &call->leases[b];

    to->row_start[b + 1] = end;
    to->page_start[b + 1] = to->page_start[b] + lease->found;
    stage_pages(to->slots + to->page_start[b], to->keep + from, lease);
}

/* Histories' rows, first of all in z. Returns the end of their tiles. */
static struct cuda_tile *stage_histories(const struct pass_arrays *to,
                                         const struct device_pass *pass)
{
    const struct pass_call *call = &pass->call;
    struct cuda_tile *tile = to->tiles;
    int32_t row = 0;

    to->history_start[0] = 0;
    if (call->pool != NULL)
        to->row_start[0] = to->page_start[0] = 0;
    for (int32_t b = 0; b < call->batch->B; b++) {
        struct request request = request_with(call->batch, b, pass_contexts(pass));
        int32_t first = to->history_start[b], found = found_of(call, b);
        int32_t end = row + request.n - found;

        to->history_start[b + 1] = first + request.n;
        stage_times(to->time_ms + first, &request);
        stage_history(stage_rows_from(to->rows, row), &request, found, pass->model->config.A);
        if (call->pool != NULL)
            stage_kept(to, call, b, row, end);
        tile = stage_tiles(tile, b, row, end - row);
        row = end;
    }
    return pass->padded ? pad_history(to, pass, tile, row) : tile;
}

static void stage(const struct pass_arrays *to, const struct device_pass *pass)
{
    const struct batch *batch = pass->call.batch;
    struct cuda_tile *tile = stage_histories(to, pass);

    for (int32_t b = 0; b < batch->B && pass->N > 0; b++) {
        struct request request = request_with(batch, b, pass_contexts(pass));
        int32_t first = pass->T + request.candidate;

        stage_candidates(stage_rows_from(to->rows, first), &request);
        tile = stage_tiles(tile, b, first, request.m);
    }
    if (pass->padded)
        pad_candidates(to, pass, tile);
    stage_copy(to->request_time_ms, batch->request_time_ms, batch->B, sizeof *to->request_time_ms);
    stage_copy(to->scalars, batch->scalars, pass->call.next ? 0 : (int64_t)batch->N * batch->F,
               sizeof *to->scalars);
    if (pass->call.next && !pass->call.whole) {
        stage_copy(to->candidate_start, batch->candidate_start, batch->B + 1,
                   sizeof *to->candidate_start);
        stage_copy(to->listed, batch->candidate_item, batch->N, sizeof *to->listed);
    }
}

static void count_rows(struct device_pass *pass)
{
    const struct pass_call *call = &pass->call;
    const struct batch *batch = call->batch;

    pass->B = batch->B;
    pass->T = pass->tokens = tokens_of(pass);
    pass->N = call->next ? 0 : batch->N;
    pass->history_tiles = pass->tiles_count = 0;
    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, pass_contexts(pass));

        pass->T -= found_of(call, b);
        pass->history_tiles += stage_tiles_count(request.n - found_of(call, b));
        if (pass->N > 0)
            pass->tiles_count += stage_tiles_count(request.m);
    }
    pass->tiles_count += pass->history_tiles;
    pass->padded = call->graphs && graphs_shape(&pass->B, &pass->T, &pass->N, &pass->tokens);
    if (pass->padded) {
        pass->history_tiles = stage_tiles_count(pass->T) + pass->B + 1;
        pass->tiles_count = pass->history_tiles + stage_tiles_count(pass->N) + pass->B + 1;
    }
}

/* One list of the slices before, and one of each part of a slice. */
static void plan_top(struct device_pass *pass)
{
    pass->top = (struct cuda_top){.width = 1};
    if (pass->call.k == 0)
        return;
    pass->top = (struct cuda_top){
        .B = pass->B, .k = pass->call.k, .width = cuda_top_width(pass->call.k)};
    pass->top.room = 1 + (pass_slice(pass) + pass->top.width - 1) / pass->top.width;
}

size_t pass_out_bytes(const struct device_pass *pass)
{
    if (pass->call.k > 0)
        return (size_t)pass->B * (size_t)pass->call.k * 2 * sizeof *pass->best;
    return pass->call.whole ? 0 : (size_t)pass_scores_count(pass) * sizeof(float);
}

enum status pass_begin(struct device_pass *pass, const struct device_model *model,
                       struct pass_call call, struct error *err)
{
    struct carve count = {0}, host = {0}, device = {0};
    struct pass_arrays staged;
    size_t out_bytes;
    enum status status;

    pass->model = model;
    pass->call = call;
    count_rows(pass);
    plan_top(pass);
    carve_arrays(&count, &staged, pass);
    pass->in_bytes = count.used;
    out_bytes = pass_out_bytes(pass);
    carve_activations(&count, pass, model);
    status = device_bytes_reserve(&pass->memory, count.used, err);
    if (status == OK)
        status = pinned_bytes_reserve(&pass->staging,
                                      pass->in_bytes > out_bytes ? pass->in_bytes : out_bytes, err);
    if (status != OK)
        return status;
    host.base = pass->staging.at;
    device.base = pass->memory.at;
    carve_arrays(&host, &staged, pass);
    carve_arrays(&device, &pass->in, pass);
    carve_activations(&device, pass, model);
    stage(&staged, pass);
    return OK;
}
