/*
 * tests/cuda/bench_gpu.c - what a GPU takes for each kernel, a whole request and a training step,
 * beside cuBLAS alone for the products of that request.
 *
 *     make bench-gpu [JSON=FILE]
 *     build/gpu/bench [--tiny] [--json=FILE]     tiny: shapes that an emulator gets through
 *
 * Times of the device are between two CUDA events around many repetitions, after some that do not
 * count. A request's and a step's are of the host's clock, copies and waits included. Of the trials
 * the report has the median and the least; and the floor: the longer of bytes that must move /
 * the memory's bandwidth, and multiply-adds / their rate, both from the clocks and widths that the
 * runtime tells of the device ("-": it does not tell them; products of bf16: by bytes alone). The
 * ratio is median / floor. Without a GPU it says so in one line and ends well.
 *
 * `make bench-cuemu` runs the same program on the emulator: to its end, with no times.
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

#define TRIALS 9
#define TILE   CUDA_TILE_ROWS

/* The emulator's headers say that they are. */
#if defined(CUEMU_CUDA_RUNTIME_H)
#define EMULATED true
#else
#define EMULATED false
#endif

/* One shape of a request: n history rows, m candidates, the model's preset. */
struct shape {
    const char *preset;
    int32_t n, m;
};
static const struct shape shapes[] = {
    {"small", 64, 200}, {"small", 100, 1000}, {"medium", 256, 500}};
static const struct shape tiny = {"small", 5, 3};

/* How often, before and within a trial; and of how many items. */
static struct {
    int warm, times, trials;
    int32_t items;
} often = {5, 50, TRIALS, 10000};

/* What the runtime tells of the device; 0: it does not. */
static struct {
    double bytes_a_us, fma_a_us;
} rates;
static FILE *json; /* or NULL */
static bool json_begun;

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

#define HELD_MAX 128
static void *held[HELD_MAX]; /* of a shape */
static int held_count;

static void *room(int64_t bytes)
{
    void *at;

    must(held_count < HELD_MAX, "HELD_MAX");
    MUST(cudaMalloc(&at, bytes > 0 ? (size_t)bytes : 1));
    held[held_count++] = at;
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
    int32_t C, H, Z, R, W, F, L, crosses, T, N, rows, tiles_count;
    float *x, *e, *o, *z, *normed, *w1, *w2, *bias, *head, *now, *wide, *low, *hidden, *w, *w_head;
    float *scalars;
    float *mean, *scale, *scores, *m, *v, *g;
    uint16_t *half, *half_w1;
    struct cuda_tables tables;
    struct cuda_tokens tokens;
    struct cuda_attention attention;
    int32_t *keep;
    struct cuda_tile *tiles;
};

typedef enum status (*timed)(struct place *p, struct error *err);

/* ---- the report ---- */

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double longer(double x, double y)
{
    return x > y ? x : y;
}

/* bytes, fma: that must be moved and computed; 0: no floor is known. Sorts us. */
static void report(const char *what, double *us, double bytes, double fma)
{
    double median, floor = 0;
    char ratio[32] = "-", least[32] = "-";

    qsort(us, (size_t)often.trials, sizeof *us, rising);
    median = us[often.trials / 2];
    if (rates.bytes_a_us > 0 && rates.fma_a_us > 0)
        floor = longer(bytes / rates.bytes_a_us, fma / rates.fma_a_us);
    if (floor > 0) {
        (void)snprintf(least, sizeof least, "%.3f", floor);
        (void)snprintf(ratio, sizeof ratio, "%.2f", median / floor);
    }
    if (EMULATED)
        (void)printf("%-34s %10s %10s %10s %8s\n", what, "-", "-", least, "-");
    else
        (void)printf("%-34s %10.2f %10.2f %10s %8s\n", what, median, us[0], least, ratio);
    if (json == NULL)
        return;
    (void)fprintf(json, "%s\n  {\"name\": \"%s\"", json_begun ? "," : "", what);
    if (!EMULATED)
        (void)fprintf(json, ", \"median_us\": %.3f, \"least_us\": %.3f", median, us[0]);
    if (floor > 0)
        (void)fprintf(json, ", \"floor_us\": %.4f", floor);
    (void)fprintf(json, "}");
    json_begun = true;
}

static void time_calls(struct place *p, const char *what, timed call, double bytes, double fma)
{
    struct error err;
    cudaEvent_t from, to;
    double us[TRIALS];

    MUST(cudaEventCreate(&from));
    MUST(cudaEventCreate(&to));
    for (int i = 0; i < often.warm; i++)
        MUST_OK(call(p, &err));
    for (int trial = 0; trial < often.trials; trial++) {
        float ms = 0;

        MUST(cudaEventRecord(from, p->stream));
        for (int i = 0; i < often.times; i++)
            MUST_OK(call(p, &err));
        MUST(cudaEventRecord(to, p->stream));
        MUST(cudaEventSynchronize(to));
        MUST(cudaEventElapsedTime(&ms, from, to));
        us[trial] = (double)ms * 1000 / often.times;
    }
    MUST(cudaEventDestroy(from));
    MUST(cudaEventDestroy(to));
    report(what, us, bytes, fma);
}

/* ---- the kernels ---- */

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
    struct cuda_pages pages = {
        .at = p->wide, .pitch = CUDA_PAGE_ROWS * 2 * (int64_t)p->C, .keep = p->keep};

    return cuda_keep(p->stream, pages, p->z, p->T, p->C, err);
}

static enum status adamw(struct place *p, struct error *err)
{
    struct cuda_adamw settings = {1e-3f, .9f, .98f, 1e-8f, 0, .1f, .02f, 1};

    return cuda_adamw(p->stream, p->w1, p->m, p->v, p->g, 4 * (int64_t)p->C * p->C, settings, err);
}

/* The products of a request, one after the other and nothing else: what cuBLAS alone takes. */
static enum status products(struct place *p, struct error *err)
{
    struct blas_matrix head = {p->head, p->Z}, low = {p->low, p->R}, down = {p->w_head, p->R};
    struct blas_matrix mlp = {p->w_head, p->W}, up = {p->w_head, p->Z};
    enum status status = OK;

    for (int32_t l = 0; l < p->L && status == OK; l++) {
        status = product_w1(p, err);
        if (status == OK)
            status = product_w2(p, err);
    }
    if (status == OK)
        status = blas_product(p->blas, p->hidden, p->W, head, mlp, p->N, p->Z, p->W, 0, err);
    for (int32_t l = 0; l < p->crosses && status == OK; l++) {
        status = blas_product(p->blas, p->low, p->R, head, down, p->N, p->Z, p->R, 0, err);
        if (status == OK)
            status = blas_product(p->blas, p->wide, p->Z, low, up, p->N, p->R, p->Z, 0, err);
    }
    return status;
}

/* Bytes of f32 that must move, and multiply-adds, of each: as kernels/cuda/ops.h has them. */
static void measure_kernels(struct place *p, int capability)
{
    double T = p->T, N = p->N, C = p->C, Z = p->Z, W = p->W, R = p->R, rows = p->rows;
    double pairs = T * (T + 1) / 2 + N * (T + 1), head = N * Z * (W + 2 * R * p->crosses);
    const struct {
        const char *name;
        timed call;
        double floats, fma;
        bool of_bf16;
    } kernels[] = {
        {"embed", embed, 2 * rows * C + N * C, 0, false},
        {"norm", norm, 2 * rows * C, 0, false},
        {"norm to bf16", norm_half, 1.5 * rows * C, 0, false},
        {"cuBLAS W1", product_w1, rows * C + 4 * C * C + 4 * rows * C, 4 * rows * C * C, false},
        {"cuBLAS W1, bf16", product_w1_half, (rows * C + 4 * C * C) / 2 + 4 * rows * C, 0, true},
        {"after (bias, SiLU)", after, 8 * rows * C, 0, false},
        {"attention", attend, 5 * rows * C, 2 * C * pairs, false},
        {"gate", gate, 3 * rows * C, 0, false},
        {"cuBLAS W2", product_w2, 2 * rows * C + C * C, rows * C * C, false},
        {"keep", keep, 4 * T * C, 0, false},
        {"head inputs", head_inputs, N * (2 * C + p->F + Z), 0, false},
        {"head cross", head_cross, 4 * N * Z, 0, false},
        {"head scores", head_scores, N * (2 * Z + W), 0, false},
        {"a request's products, cuBLAS alone", products, p->L * (7 * rows * C + 5 * C * C),
         p->L * 5 * rows * C * C + head, false},
        {"AdamW of W1", adamw, 7 * 4 * C * C, 0, false},
    };

    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (!kernels[i].of_bf16 || capability >= 80)
            time_calls(p, kernels[i].name, kernels[i].call, 4 * kernels[i].floats, kernels[i].fma);
}

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
                        .L = config->L,
                        .crosses = config->crosses,
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
    p->low = random_floats(N * p->R);
    p->w_head = random_floats((int64_t)p->Z * (p->R > p->W ? p->R : p->W));
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
    p->keep = numbers(p->T, p->T);
    fill_attention(p, config);
}

static void clear(struct place *p)
{
    blas_destroy(p->blas);
    MUST(cudaStreamDestroy(p->stream));
    for (int i = 0; i < held_count; i++)
        MUST(cudaFree(held[i]));
    held_count = 0;
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

static void time_requests(const char *what, const struct model *model, const struct batch *batch,
                          bool graphs)
{
    struct model_workspace *workspace = model_workspace_create();
    struct error err;
    double us[TRIALS];

    graphs_allow(graphs);
    for (int i = 0; i < often.warm; i++)
        MUST_OK(model_score(model, workspace, batch, own.scores, &err));
    for (int trial = 0; trial < often.trials; trial++) {
        int64_t from = clock_monotonic_us();

        for (int i = 0; i < often.times; i++)
            MUST_OK(model_score(model, workspace, batch, own.scores, &err));
        us[trial] = (double)(clock_monotonic_us() - from) / often.times;
    }
    model_workspace_destroy(workspace);
    report(what, us, 0, 0);
}

static void time_steps(struct model *model, const struct batch *batch)
{
    struct trainer_objective objective;
    struct trainer_config config;
    struct trainer *trainer;
    struct error err;
    double us[TRIALS];

    trainer_defaults(&config);
    must(trainer_objective_preset(&objective, "mix"), "the objective");
    MUST_OK(trainer_create(&trainer, model, &config, &err));
    for (int i = 0; i < often.warm; i++)
        MUST_OK(trainer_step(trainer, model, batch, &objective, NULL, &err));
    for (int trial = 0; trial < often.trials; trial++) {
        int64_t from = clock_monotonic_us();

        for (int i = 0; i < often.times; i++)
            MUST_OK(trainer_step(trainer, model, batch, &objective, NULL, &err));
        us[trial] = (double)(clock_monotonic_us() - from) / often.times;
    }
    trainer_destroy(trainer);
    report("training step", us, 0, 0);
}

static void measure(const struct shape *shape, int capability)
{
    struct model_config config;
    struct model *model;
    struct batch batch;
    struct error err;
    struct place p;

    must(model_preset(&config, shape->preset, often.items, 12), "the preset");
    fill(&p, shape, &config);
    (void)printf("\n%s, %d history rows, %d candidates, %d items\n", shape->preset, (int)shape->n,
                 (int)shape->m, (int)often.items);
    (void)printf("%-34s %10s %10s %10s %8s\n", "", "median us", "least us", "floor us", "ratio");
    if (json != NULL)
        (void)fprintf(json,
                      "%s\n {\"preset\": \"%s\", \"history\": %d, \"candidates\": %d, \"rows\": [",
                      json_begun ? "," : "", shape->preset, (int)shape->n, (int)shape->m);
    json_begun = false;
    measure_kernels(&p, capability);
    MUST_OK(model_create(&model, &config, 1, &err));
    batch = batch_of(shape, &config);
    time_requests("request, by a graph", model, &batch, true);
    time_requests("request, launch by launch", model, &batch, false);
    time_steps(model, &batch);
    if (json != NULL)
        (void)fprintf(json, "]}");
    json_begun = true;
    model_destroy(model);
    clear(&p);
}

/* ---- the device ---- */

static int told(enum cudaDeviceAttr what)
{
    int value = 0;

    if (cudaDeviceGetAttribute(&value, what, 0) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    return value;
}

/* Lanes of single precision of a multiprocessor: NVIDIA's tables of compute capabilities. */
static int lanes_of(int capability)
{
    return capability == 75 || capability == 80 ? 64 : 128;
}

static void describe(const struct cudaDeviceProp *device)
{
    int driver = 0, runtime = 0, capability = 10 * device->major + device->minor;
    double clock = told(cudaDevAttrClockRate), memory = told(cudaDevAttrMemoryClockRate); /* kHz */
    int width = told(cudaDevAttrGlobalMemoryBusWidth), units = told(cudaDevAttrMultiProcessorCount);

    MUST(cudaDriverGetVersion(&driver));
    MUST(cudaRuntimeGetVersion(&runtime));
    rates.bytes_a_us = 2 * memory * 1e-3 * width / 8; /* two transfers a clock */
    rates.fma_a_us = clock * 1e-3 * units * lanes_of(capability);
    (void)printf("%s, compute capability %d.%d; driver for CUDA %d.%d, runtime %d.%d\n"
                 "%d multiprocessors at %.0f MHz, memory at %.0f MHz of %d bits: "
                 "%.0f GB/s and %.1f T multiply-adds/s (by the clocks; 0: not told)\n",
                 device->name, device->major, device->minor, driver / 1000, driver % 1000 / 10,
                 runtime / 1000, runtime % 1000 / 10, units, clock * 1e-3, memory * 1e-3, width,
                 rates.bytes_a_us * 1e-3, rates.fma_a_us * 1e-6);
    if (EMULATED)
        (void)printf("emulated: no times\n");
    (void)printf("trials %d of %d calls, after %d that do not count\n", often.trials, often.times,
                 often.warm);
    if (json != NULL)
        (void)fprintf(json,
                      "{\"device\": \"%s\", \"capability\": %d, \"driver\": %d, \"runtime\": %d, "
                      "\"clock_khz\": %.0f, \"memory_clock_khz\": %.0f, \"memory_bits\": %d, "
                      "\"multiprocessors\": %d, \"emulated\": %s, \"shapes\": [",
                      device->name, capability, driver, runtime, clock, memory, width, units,
                      EMULATED ? "true" : "false");
}

static void read_options(int argc, char **argv, bool *small)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tiny") == 0) {
            *small = true;
        } else if (strncmp(argv[i], "--json=", 7) == 0 && argv[i][7] != 0) {
            json = fopen(argv[i] + 7, "w");
            must(json != NULL, argv[i]);
        } else {
            (void)printf("usage: bench [--tiny] [--json=FILE]\n");
            exit(2);
        }
    }
    if (!*small)
        return;
    often.warm = often.times = 1;
    often.trials = 3;
    often.items = 200;
}

int main(int argc, char **argv)
{
    const struct backend *backend;
    struct cudaDeviceProp device;
    struct error err;
    bool small = false;
    int count = 0;

    read_options(argc, argv, &small);
    if (cudaGetDeviceCount(&count) != cudaSuccess || count < 1) {
        (void)printf("skipped bench_gpu: no GPU here\n0 passed, 0 failed, 1 skipped\n");
        return 0;
    }
    if (backend_choose(&backend, &err) != OK || strcmp(backend->name, "cuda") != 0) {
        (void)printf("bench-gpu: the GPU is not used: %s\n", backend->why);
        return 1;
    }
    MUST(cudaGetDeviceProperties(&device, 0));
    describe(&device);
    for (size_t i = 0; i < (small ? 1 : sizeof shapes / sizeof *shapes); i++)
        measure(small ? &tiny : &shapes[i], 10 * device.major + device.minor);
    if (json == NULL)
        return 0;
    (void)fprintf(json, "]}\n");
    must(fclose(json) == 0, "writing the JSON");
    return 0;
}
