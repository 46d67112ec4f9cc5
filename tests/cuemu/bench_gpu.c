/*
 * tests/cuemu/bench_gpu.c - what a GPU takes for each kernel, a whole request and a training step,
 * beside cuBLAS alone for the products of that request.
 *
 *     make bench-gpu
 *
 * Times of the device are between two CUDA events around many repetitions, after some that do not
 * count: the best of three. A request's and a step's are of the host's clock, copies and waits
 * included. Without a GPU it says so in one line and ends well.
 */
#include "kernels/backend.h"
#include "kernels/bucket.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/graphs.h"
#include "kernels/cuda/ops_back.h"
#include "kernels/network.h"
#include "kernels/trainer.h"

#include "ops/clock.h"
#include "ops/random.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM   5
#define TIMES  50
#define TRIALS 3
#define TILE   CUDA_TILE_ROWS

/* One shape of a request: n history rows, m candidates, the model's preset. */
struct shape {
    const char *preset;
    int32_t n, m;
};
static const struct shape shapes[] = {
    {"small", 64, 200}, {"small", 100, 1000}, {"medium", 256, 500}};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    (void)printf("bench-gpu: %s failed\n", what);
    exit(1);
}

#define MUST(call) must((call) == cudaSuccess, #call)
#define MUST_OK(call)                                                                              \
    do {                                                                                           \
        if ((call) != OK) {                                                                        \
            (void)printf("bench-gpu: %s\n", err.text);                                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* ---- memory ---- */

static void *room(int64_t bytes)
{
    void *at;

    MUST(cudaMalloc(&at, bytes > 0 ? (size_t)bytes : 1));
    return at;
}

static float *random_floats(int64_t count)
{
    float *host = malloc((size_t)count * sizeof *host), *at = room(count * (int64_t)sizeof *host);
    struct random random;

    must(host != NULL, "malloc");
    random_seed(&random, (uint64_t)count);
    for (int64_t i = 0; i < count; i++)
        host[i] = (float)(2 * random_unit(&random) - 1);
    MUST(cudaMemcpy(at, host, (size_t)count * sizeof *host, cudaMemcpyHostToDevice));
    free(host);
    return at;
}

static void *put(const void *from, size_t bytes)
{
    void *at = room((int64_t)bytes);

    MUST(cudaMemcpy(at, from, bytes, cudaMemcpyHostToDevice));
    return at;
}

/* ---- a kernel ---- */

/* Everything that the timed calls read and write. */
struct place {
    cudaStream_t stream;
    cublasHandle_t blas;
    int32_t C, H, Z, R, W, F, T, N, rows, tiles_count, history_tiles;
    float *x, *e, *o, *z, *normed, *w1, *w2, *bias, *head, *now, *wide, *low, *hidden, *w, *scalars;
    float *mean, *scale, *scores, *m, *v, *g;
    uint16_t *half, *half_w1;
    struct cuda_tables tables;
    struct cuda_tokens tokens;
    struct cuda_attention attention;
    struct cuda_tile *tiles;
};

typedef enum status (*timed)(struct place *p, struct error *err);

static double microseconds(struct place *p, timed call)
{
    struct error err;
    cudaEvent_t from, to;
    double best = 0;

    MUST(cudaEventCreate(&from));
    MUST(cudaEventCreate(&to));
    for (int i = 0; i < WARM; i++)
        MUST_OK(call(p, &err));
    for (int trial = 0; trial < TRIALS; trial++) {
        float ms = 0;

        MUST(cudaEventRecord(from, p->stream));
        for (int i = 0; i < TIMES; i++)
            MUST_OK(call(p, &err));
        MUST(cudaEventRecord(to, p->stream));
        MUST(cudaEventSynchronize(to));
        MUST(cudaEventElapsedTime(&ms, from, to));
        if (trial == 0 || (double)ms < best)
            best = (double)ms;
    }
    MUST(cudaEventDestroy(from));
    MUST(cudaEventDestroy(to));
    return best * 1000 / TIMES;
}

static enum status embed(struct place *p, struct error *err)
{
    return cuda_embed(p->stream, p->x, p->e, p->tables, p->tokens, err);
}

static enum status norm(struct place *p, struct error *err)
{
    return cuda_norm(p->stream, p->normed, p->x, p->rows, p->C, 1e-6f, err);
}

static enum status norm_half(struct place *p, struct error *err)
{
    return cuda_norm_half(p->stream, p->half, p->x, p->rows, p->C, 1e-6f, err);
}

static enum status gate(struct place *p, struct error *err)
{
    return cuda_gate(p->stream, p->normed, p->o, p->z, 4 * p->C, p->rows, p->C, 1e-2f, err);
}

static enum status after(struct place *p, struct error *err)
{
    return cuda_after(p->stream, p->z, 4 * p->C, p->bias, p->rows, 4 * p->C, CUDA_AFTER_SILU, err);
}

static enum status attend(struct place *p, struct error *err)
{
    return cuda_attention(p->stream, p->o, p->z, p->attention, p->tiles, p->tiles_count, err);
}

static enum status product_w1(struct place *p, struct error *err)
{
    struct blas_matrix x = {p->normed, p->C}, w = {p->w1, 4 * p->C};

    return blas_product(p->blas, p->z, 4 * p->C, x, w, p->rows, p->C, 4 * p->C, 0, err);
}

static enum status product_w1_half(struct place *p, struct error *err)
{
    struct blas_half x = {p->half, p->C}, w = {p->half_w1, 4 * p->C};

    return blas_product_half(p->blas, p->z, 4 * p->C, 0, x, w, p->rows, p->C, 4 * p->C, 0, err);
}

static enum status product_w2(struct place *p, struct error *err)
{
    struct blas_matrix x = {p->normed, p->C}, w = {p->w2, p->C};

    return blas_product(p->blas, p->x, p->C, x, w, p->rows, p->C, p->C, 0, err);
}

static enum status head_inputs(struct place *p, struct error *err)
{
    return cuda_head_inputs(p->stream, p->head, NULL, p->x, p->e, p->scalars, p->mean, p->scale,
                            p->N, p->C, p->F, p->Z, err);
}

static enum status head_cross(struct place *p, struct error *err)
{
    return cuda_head_cross(p->stream, p->now, NULL, p->head, p->wide, p->bias, p->N, p->Z, err);
}

static enum status head_scores(struct place *p, struct error *err)
{
    return cuda_head_scores(p->stream, p->scores, p->head, p->now, p->hidden, p->bias, p->w, p->w,
                            p->N, p->Z, p->W, err);
}

static enum status keep(struct place *p, struct error *err)
{
    return cuda_keep(p->stream, p->wide, p->z, p->T, p->C, err);
}

static enum status adamw(struct place *p, struct error *err)
{
    struct cuda_adamw settings = {1e-3f, .9f, .98f, 1e-8f, 0, .1f, .02f, 1};

    return cuda_adamw(p->stream, p->w1, p->m, p->v, p->g, 4 * (int64_t)p->C * p->C, settings, err);
}

static const struct {
    const char *name;
    timed call;
    bool of_bf16;
} kernels[] = {{"embed", embed, false},
               {"norm", norm, false},
               {"norm to bf16", norm_half, false},
               {"cuBLAS W1", product_w1, false},
               {"cuBLAS W1, bf16", product_w1_half, true},
               {"after (bias, SiLU)", after, false},
               {"attention", attend, false},
               {"gate", gate, false},
               {"cuBLAS W2", product_w2, false},
               {"keep", keep, false},
               {"head inputs", head_inputs, false},
               {"head cross", head_cross, false},
               {"head scores", head_scores, false},
               {"AdamW of W1", adamw, false}};

/* ---- what they read ---- */

static int32_t *numbers(int32_t count, int32_t bound)
{
    int32_t *host = malloc(((size_t)count + 1) * sizeof *host), *at;

    must(host != NULL, "malloc");
    for (int32_t i = 0; i < count; i++)
        host[i] = (int32_t)((int64_t)i * 7919 % bound);
    at = put(host, (size_t)count * sizeof *host);
    free(host);
    return at;
}

static void fill_attention(struct place *p, const struct model_config *config)
{
    const int32_t start[] = {0, p->T};
    const int64_t now = 1700000000000;
    int64_t *times = malloc((size_t)p->T * sizeof *times);
    struct cuda_tile *tiles = malloc(((size_t)p->rows / TILE + 2) * sizeof *tiles);

    must(times != NULL && tiles != NULL, "malloc");
    for (int32_t t = 0; t < p->T; t++)
        times[t] = now - (int64_t)(p->T - t) * 3600000;
    for (int part = 0; part < 2; part++) {
        int32_t first = part == 0 ? 0 : p->T, count = part == 0 ? p->T : p->N;

        for (int32_t at = 0; at < count; at += TILE)
            tiles[p->tiles_count++] = (struct cuda_tile){0, first + at,
                                                         count - at < TILE ? count - at : TILE};
    }
    p->tiles = put(tiles, (size_t)p->tiles_count * sizeof *tiles);
    p->attention = (struct cuda_attention){.T = p->T,
                                           .C = p->C,
                                           .H = p->H,
                                           .keys_pitch = 4 * p->C,
                                           .v = p->z + p->C,
                                           .k = p->z + 3 * (int64_t)p->C,
                                           .r_pos = random_floats(config->P + 1),
                                           .r_time = random_floats(BUCKET_COUNT),
                                           .history_start = put(start, sizeof start),
                                           .time_ms = put(times, (size_t)p->T * sizeof *times),
                                           .request_time_ms = put(&now, sizeof now)};
    free(times);
    free(tiles);
}

static void fill(struct place *p, const struct shape *shape, const struct model_config *config)
{
    int64_t C = config->C, rows = (int64_t)shape->n + shape->m, N = shape->m;
    struct error err;

    *p = (struct place){.C = config->C,
                        .H = config->H,
                        .R = config->R,
                        .W = config->W,
                        .F = config->F,
                        .T = shape->n,
                        .N = shape->m,
                        .rows = (int32_t)rows};
    p->Z = (2 * config->C + config->F + 15) / 16 * 16;
    MUST(cudaStreamCreateWithFlags(&p->stream, cudaStreamNonBlocking));
    MUST_OK(blas_create(&p->blas, p->stream, &err));
    float **floats[] = {&p->x, &p->o, &p->normed, &p->z};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        *floats[i] = random_floats(rows * (i == 3 ? 4 * C : C));
    float **of_head[] = {&p->head, &p->now, &p->wide};
    for (size_t i = 0; i < sizeof of_head / sizeof *of_head; i++)
        *of_head[i] = random_floats(rows * (p->Z > 2 * C ? p->Z : 2 * C));
    float **weights[] = {&p->w1, &p->m, &p->v, &p->g};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        *weights[i] = random_floats(4 * C * C);
    p->w2 = random_floats(C * C);
    p->e = random_floats(N * C);
    p->bias = random_floats(4 * C + p->Z);
    p->hidden = random_floats(N * p->W);
    p->w = random_floats(2 * (int64_t)p->Z + p->W);
    p->scalars = random_floats(N * (p->F + 1));
    p->mean = random_floats(p->F + 1);
    p->scale = random_floats(p->F + 1);
    p->scores = random_floats(N);
    p->half = room(rows * C * 2);
    p->half_w1 = room(4 * C * C * 2);
    MUST_OK(cuda_half(p->stream, p->half_w1, p->w1, 4 * C * C, &err));
    p->tables = (struct cuda_tables){config->C,
                                     config->V,
                                     config->A,
                                     random_floats((int64_t)config->V * C),
                                     random_floats(config->A * C),
                                     random_floats(BUCKET_GAPS * C),
                                     random_floats(BUCKET_HOURS * C),
                                     NULL};
    p->tokens = (struct cuda_tokens){p->T,
                                     p->N,
                                     numbers(p->rows, config->V),
                                     numbers(p->rows, config->A),
                                     numbers(p->rows, BUCKET_GAPS),
                                     numbers(p->rows, BUCKET_HOURS)};
    fill_attention(p, config);
}

/* ---- a request and a step ---- */

#define ROWS_MAX 2048
static struct {
    int32_t history_start[2], candidate_start[2], item[ROWS_MAX], action[ROWS_MAX];
    int32_t candidate_item[ROWS_MAX], next_item[ROWS_MAX];
    int64_t time_ms[ROWS_MAX], request_time_ms[1];
    float scalars[ROWS_MAX * 64], label[ROWS_MAX], scores[ROWS_MAX];
} own;

static struct batch batch_of(const struct shape *shape, const struct model_config *config)
{
    own.history_start[1] = shape->n;
    own.candidate_start[1] = shape->m;
    own.request_time_ms[0] = 1700000000000;
    for (int32_t t = 0; t < shape->n; t++) {
        own.item[t] = 1 + t * 31 % (config->V - 1);
        own.next_item[t] = 1 + (t + 1) * 31 % (config->V - 1);
        own.action[t] = 1;
        own.time_ms[t] = own.request_time_ms[0] - (int64_t)(shape->n - t) * 3600000;
    }
    for (int32_t i = 0; i < shape->m; i++) {
        own.candidate_item[i] = 1 + i * 17 % (config->V - 1);
        own.label[i] = i % 10 == 0 ? 1 : 0;
    }
    return (struct batch){.B = 1,
                          .T = shape->n,
                          .N = shape->m,
                          .F = config->F,
                          .history_start = own.history_start,
                          .candidate_start = own.candidate_start,
                          .item = own.item,
                          .action = own.action,
                          .time_ms = own.time_ms,
                          .request_time_ms = own.request_time_ms,
                          .candidate_item = own.candidate_item,
                          .scalars = own.scalars,
                          .next_item = own.next_item,
                          .label = own.label};
}

static double request_us(const struct model *model, const struct batch *batch, bool graphs)
{
    struct model_workspace *workspace = model_workspace_create();
    struct error err;
    double best = 0;

    graphs_allow(graphs);
    for (int i = 0; i < WARM; i++)
        MUST_OK(model_score(model, workspace, batch, own.scores, &err));
    for (int trial = 0; trial < TRIALS; trial++) {
        int64_t from = clock_monotonic_us();
        double took;

        for (int i = 0; i < TIMES; i++)
            MUST_OK(model_score(model, workspace, batch, own.scores, &err));
        took = (double)(clock_monotonic_us() - from) / TIMES;
        best = trial == 0 || took < best ? took : best;
    }
    model_workspace_destroy(workspace);
    return best;
}

static double step_us(struct model *model, const struct batch *batch)
{
    struct trainer_objective objective;
    struct trainer_config config;
    struct trainer *trainer;
    struct error err;
    int64_t from = 0;

    trainer_defaults(&config);
    must(trainer_objective_preset(&objective, "mix"), "the objective");
    MUST_OK(trainer_create(&trainer, model, &config, &err));
    for (int i = 0; i < WARM + TIMES; i++) {
        if (i == WARM)
            from = clock_monotonic_us();
        MUST_OK(trainer_step(trainer, model, batch, &objective, NULL, &err));
    }
    trainer_destroy(trainer);
    return (double)(clock_monotonic_us() - from) / TIMES;
}

static void measure(const struct shape *shape, int capability)
{
    struct model_config config;
    struct model *model;
    struct batch batch;
    struct error err;
    struct place p;

    must(model_preset(&config, shape->preset, 10000, 12), "the preset");
    fill(&p, shape, &config);
    (void)printf("\n%s, %d history rows, %d candidates, 10,000 items\n", shape->preset,
                 (int)shape->n, (int)shape->m);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (!kernels[i].of_bf16 || capability >= 80)
            (void)printf("%-28s %10.2f us\n", kernels[i].name, microseconds(&p, kernels[i].call));
    MUST_OK(model_create(&model, &config, 1, &err));
    batch = batch_of(shape, &config);
    (void)printf("%-28s %10.2f us\n", "request, by a graph", request_us(model, &batch, true));
    (void)printf("%-28s %10.2f us\n", "request, launch by launch",
                 request_us(model, &batch, false));
    (void)printf("%-28s %10.2f us\n", "training step", step_us(model, &batch));
    model_destroy(model);
    blas_destroy(p.blas);
}

int main(void)
{
    const struct backend *backend;
    struct cudaDeviceProp device;
    struct error err;
    int count = 0;

    if (cudaGetDeviceCount(&count) != cudaSuccess || count < 1) {
        (void)printf("skipped bench_gpu: no GPU here\n");
        return 0;
    }
    if (backend_choose(&backend, &err) != OK || strcmp(backend->name, "cuda") != 0) {
        (void)printf("bench-gpu: the GPU is not used: %s\n", backend->why);
        return 1;
    }
    MUST(cudaGetDeviceProperties(&device, 0));
    (void)printf("%s\n", backend->why);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        measure(&shapes[i], 10 * device.major + device.minor);
    return 0;
}
