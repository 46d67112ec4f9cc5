/*
 * Counts what the kernels ask of device memory and compute, and prints it as tables: `make
 * roofline`.
 *
 * Exact: bytes that threads ask for; "least", the words that each launch reads and those that it
 * writes, once each, the traffic with perfect caches (between the two lies what L1 and L2 must
 * catch); where nvcc is, instructions of its PTX by kind, bytes of shared memory, and what ptxas
 * gives out of registers and shared memory.
 * Estimates: the floor, below which no launch can end: the longer of least / bandwidth and floating
 * point / rate of a named device. Overheads, latencies and cuBLAS's products are not in it, and
 * what ptxas makes of a PTX instruction is not counted. As a test it runs on a small request and
 * holds the counts of the norm to what its header says.
 */
#include "kernels/kv_cache.h"
#include "kernels/model.h"
#include "kernels/trainer.h"

#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/cuemu/occupancy.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct jagged jagged;
static struct cuemu_traffic norm;

/* 12345678 as "12.3M", 8 characters. */
static void print_count(int64_t count)
{
    if (count < 100000)
        (void)printf("%8lld", (long long)count);
    else if (count < 100000000)
        (void)printf("%7.1f%c", (double)count / (count < 10000000 ? 1e3 : 1e6),
                     count < 10000000 ? 'k' : 'M');
    else
        (void)printf("%7.2fG", (double)count / 1e9);
}

/* Registers a thread, share of a multiprocessor's threads, floor in us; estimates are marked. */
static void print_device(const struct occupancy_device *device, const char *kernel,
                         const struct cuemu_traffic *t)
{
    const char *folder = getenv("CUEMU_PTXAS");
    double bytes = (double)t->distinct / (double)t->launches / device->bytes_a_second;
    double floats = (double)(t->ptx.fma + t->ptx.floats) / (double)t->launches /
                    device->floats_a_second;
    struct occupancy of;

    if (folder != NULL &&
        occupancy_of(&of, folder, device, kernel, t->block_threads, (int)t->shared_dynamic_bytes))
        (void)printf(" %4d %5d %3d%%", of.registers, of.shared_bytes, of.percent);
    else
        (void)printf("    -     -    -");
    (void)printf(" ~%8.3f %c", (bytes > floats ? bytes : floats) * 1e6, bytes > floats ? 'b' : 'f');
}

static void print_row(const char *kernel, const struct cuemu_traffic *t)
{
    const int64_t counts[] = {t->loaded + t->stored,
                              t->distinct,
                              t->ptx.fma,
                              t->ptx.floats,
                              t->ptx.specials,
                              t->ptx.integers,
                              t->ptx.others,
                              t->ptx.shared_loaded + t->ptx.shared_stored};

    (void)printf("%-26s %4lld", kernel, (long long)t->launches);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        print_count(counts[i] / t->launches);
        if (i == 1)
            (void)printf(" %6.2f", (double)counts[0] / (double)(counts[1] > 0 ? counts[1] : 1));
    }
    print_device(&occupancy_a100, kernel, t);
    print_device(&occupancy_h100, kernel, t);
    (void)putchar('\n');
}

static void print_header(const char *what)
{
    (void)printf("\n%s\n", what);
    if (getenv("CUEMU_PTX") != NULL)
        (void)printf("a launch; exact counts of the PTX for %s; ~: an estimate, by bytes (b) or "
                     "floats (f)\n",
                     getenv("CUEMU_PTX"));
    else
        (void)printf("a launch; no nvcc here: bytes are exact of g++'s code, operations are not "
                     "counted; ~: an estimate\n");
    (void)printf("%-26s %4s%8s%8s %6s%8s%8s%8s%8s%8s%8s", "kernel", "runs", "asked", "least",
                 "ratio", "fma", "float", "special", "integer", "other", "shared");
    for (int i = 0; i < 2; i++)
        (void)printf(" %4s %5s %4s %9s  ", "regs", "smem", "occ", i == 0 ? "A100 us" : "H100 us");
    (void)putchar('\n');
}

static void look_at_row(const char *kernel, const struct cuemu_traffic *t)
{
    CHECK(t->launches > 0 && t->distinct <= t->loaded + t->stored);
    if (strcmp(kernel, "norm_kernel") == 0)
        norm = *t;
    if (getenv("CUEMU_PTX") != NULL)
        CHECK(t->ptx.integers + t->ptx.others >= t->threads); /* each reads its place, and ends */
    if (getenv("ROOFLINE") != NULL)
        print_row(kernel, t);
}

static void table(const char *what)
{
    if (getenv("ROOFLINE") != NULL)
        print_header(what);
    cuemu_traffic_each(look_at_row);
}

static void forget(const char *kernel, const struct cuemu_traffic *t)
{
    (void)kernel;
    (void)t;
}

TEST(cuda_roofline_counts_what_a_request_and_a_step_move)
{
    bool whole = getenv("ROOFLINE") != NULL;
    struct jagged_size request = {whole ? 128 : 9, whole ? 200 : 7};
    const struct jagged_size step[] = {{20, 12}, {9, 30}};
    struct trainer_objective objective;
    struct trainer_config settings;
    struct model_workspace *workspace = model_workspace_create();
    struct model_config config;
    struct trainer *trainer;
    struct model *model;
    float scores[256];
    struct error err;
    int64_t C, rows = request.n + request.m;

    cuemu_need_emulator();
    CHECK(model_preset(&config, "small", 400, 5));
    C = config.C;
    model = models_rough(&config, 1);
    jagged_fill(&jagged, &config, &request, 1, 1);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    cuemu_traffic_each(forget);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    table("r: one request, preset small, 128 tokens, 200 candidates");
    /* A layer has a norm of all rows, and a gate, at least of the candidates: 3 loads a channel. */
    CHECK_INT(2 * (int64_t)config.L, norm.launches);
    CHECK(norm.loaded >= config.L * rows * C * 3 * (int64_t)sizeof(float));
    CHECK(norm.distinct >= config.L * rows * C * 2 * (int64_t)sizeof(float) &&
          norm.distinct < norm.loaded);

    trainer_defaults(&settings);
    CHECK(trainer_objective_preset(&objective, "mix"));
    CHECK_STATUS(OK, trainer_create(&trainer, model, &settings, &err));
    jagged_fill(&jagged, &config, step, whole ? 2 : 1, 1);
    if (whole) {
        cuemu_traffic_each(forget);
        CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &objective, NULL, &err));
        table("s: one step, preset small, 400 item rows, 29 tokens, 42 candidates");
    }
    trainer_destroy(trainer);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* Kernels of the forms that the preset has not: attention's softmax, the dot head, dropout, the
 * lambda loss, Adagrad. */
static void other_step(void)
{
    const struct jagged_size step[] = {{20, 12}, {9, 30}};
    const struct trainer_objective objective = {.point = .1f,
                                                .list = .5f,
                                                .next = .2f,
                                                .list_form = TRAINER_LIST_LAMBDA,
                                                .negatives = 128,
                                                .negatives_block = 16};
    struct trainer_config settings;
    struct model_config config;
    struct trainer *trainer;
    struct model *model;
    struct error err;

    CHECK(model_preset(&config, "small", 400, 5));
    config.attention = MODEL_ATTENTION_SOFTMAX;
    config.head = MODEL_HEAD_DOT;
    model = models_rough(&config, 1);
    trainer_defaults(&settings);
    settings.items = TRAINER_ITEMS_ADAGRAD;
    settings.dropout = .1f;
    CHECK_STATUS(OK, trainer_create(&trainer, model, &settings, &err));
    jagged_fill(&jagged, &config, step, 2, 1);
    cuemu_traffic_each(forget);
    CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &objective, NULL, &err));
    table("o: one step of the other forms, 400 item rows, 29 tokens, 42 candidates");
    trainer_destroy(trainer);
    model_destroy(model);
}

/* Weights rounded to bf16, a request whose K and V are kept, the best next items. */
static void kept_and_next(void)
{
    const struct jagged_size size = {128, 200};
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache;
    struct model_config config;
    struct model *model;
    float scores[256];
    int32_t rows[20];
    struct error err;

    CHECK(model_preset(&config, "small", 4000, 5));
    model = models_rough(&config, 1);
    CHECK_STATUS(OK, kv_cache_create(&cache, 1 << 20, &err));
    jagged_fill(&jagged, &config, &size, 1, 1);
    cuemu_traffic_each(forget);
    CHECK_STATUS(OK, model_round(model, &err));
    CHECK_STATUS(OK, model_score_cached(model, workspace, cache, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_next_candidates(model, workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK,
                 model_next_top(model, workspace, &jagged.batch, config.V, 20, rows, scores, &err));
    table("n: rounding to bf16, a request that is kept, the best next of 4000 items");
    model_destroy(model);
    kv_cache_destroy(cache);
    model_workspace_destroy(workspace);
}

TEST(cuda_roofline_of_what_the_preset_has_not)
{
    cuemu_need_emulator();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    other_step();
    kept_and_next();
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_occupancy_is_that_of_the_tables)
{
    /* 65536 registers: 32 a thread leave none idle, 64 half, 255 an eighth. */
    CHECK_INT(100, occupancy_percent(&occupancy_a100, 32, 0, 256));
    CHECK_INT(50, occupancy_percent(&occupancy_a100, 64, 0, 256));
    CHECK_INT(12, occupancy_percent(&occupancy_a100, 255, 0, 256));
    /* 33 registers are handed out as 40: 48 warps. */
    CHECK_INT(75, occupancy_percent(&occupancy_a100, 33, 0, 256));
    /* 32 blocks of one warp; 3 and 4 of 47 KB and 1 KB of the system's. */
    CHECK_INT(50, occupancy_percent(&occupancy_a100, 32, 0, 32));
    CHECK_INT(37, occupancy_percent(&occupancy_a100, 32, 47 << 10, 256));
    CHECK_INT(50, occupancy_percent(&occupancy_h100, 32, 47 << 10, 256));
}
