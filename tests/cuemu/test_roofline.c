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
 * what ptxas makes of a PTX instruction is not counted. As a test it runs on small requests and
 * steps, holds the counts of the norm to what its header says, and fails where a kernel of
 * kernels/cuda/ is in no table.
 */
#include "kernels/kv_cache.h"
#include "kernels/model.h"
#include "kernels/trainer.h"

#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/cuemu/occupancy.h"
#include "tests/kernels/caches.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNELS_MAX 128
#define NAME_BYTES  64

static struct jagged jagged;
static struct cuemu_traffic norm;
static char seen[KERNELS_MAX][NAME_BYTES]; /* kernels that are in a table */
static int seen_count;

/* make roofline's sizes; a test alone has smaller ones. */
static bool whole(void)
{
    return getenv("ROOFLINE") != NULL;
}

static bool is_seen(const char *kernel)
{
    int i = 0;

    while (i < seen_count && strcmp(seen[i], kernel) != 0)
        i++;
    return i < seen_count;
}

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
    if (!is_seen(kernel)) {
        CHECK(seen_count < KERNELS_MAX && strlen(kernel) < NAME_BYTES);
        (void)snprintf(seen[seen_count++], NAME_BYTES, "%s", kernel);
    }
    if (strcmp(kernel, "norm_kernel") == 0)
        norm = *t;
    if (getenv("CUEMU_PTX") != NULL)
        CHECK(t->ptx.integers + t->ptx.others >= t->threads); /* each reads its place, and ends */
    if (whole())
        print_row(kernel, t);
}

static void table(const char *what)
{
    if (whole())
        print_header(what);
    cuemu_traffic_each(look_at_row);
}

static void forget(const char *kernel, const struct cuemu_traffic *t)
{
    (void)kernel;
    (void)t;
}

/* A layer has a norm of all rows, and a gate, at least of the candidates: 3 loads a channel. */
static void check_norm(const struct model_config *config, int64_t rows)
{
    int64_t floats = config->L * rows * config->C;

    CHECK_INT(2 * (int64_t)config->L, norm.launches);
    CHECK(norm.loaded >= floats * 3 * (int64_t)sizeof(float));
    CHECK(norm.distinct >= floats * 2 * (int64_t)sizeof(float) && norm.distinct < norm.loaded);
}

static void one_request(void)
{
    struct jagged_size request = {whole() ? 128 : 9, whole() ? 200 : 7};
    struct model_workspace *workspace = model_workspace_create();
    struct model_config config;
    struct model *model;
    float scores[256];
    struct error err;

    CHECK(model_preset(&config, "small", 400, 5));
    model = models_rough(&config, 1);
    jagged_fill(&jagged, &config, &request, 1, 1);
    cuemu_traffic_each(forget);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    table("r: one request, preset small, 128 tokens, 200 candidates");
    check_norm(&config, request.n + request.m);
    model_destroy(model);
    model_workspace_destroy(workspace);
}

/* One step of a model of this config. */
static void one_step(const char *what, const struct model_config *config,
                     const struct trainer_config *settings,
                     const struct trainer_objective *objective)
{
    const struct jagged_size steps[] = {{20, 12}, {9, 30}}, small[] = {{6, 4}, {3, 5}};
    struct trainer *trainer;
    struct model *model = models_rough(config, 1);
    struct error err;

    CHECK_STATUS(OK, trainer_create(&trainer, model, settings, &err));
    jagged_fill(&jagged, config, whole() ? steps : small, 2, 1);
    cuemu_traffic_each(forget);
    CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, objective, NULL, &err));
    table(what);
    trainer_destroy(trainer);
    model_destroy(model);
}

/* Of the preset, with products of f32 or of bf16. */
static void preset_step(const char *what, bool bf16)
{
    struct trainer_objective mix;
    struct trainer_config settings;
    struct model_config config;

    CHECK(model_preset(&config, "small", 400, 5));
    CHECK(trainer_objective_preset(&mix, "mix"));
    trainer_defaults(&settings);
    settings.bf16 = bf16;
    one_step(what, &config, &settings, &mix);
}

/* Of the forms that the preset has not: attention's softmax, the dot head, dropout, the lambda
 * loss, Adagrad. */
static void other_step(const char *what)
{
    const struct trainer_objective objective = {.point = .1f,
                                                .list = .5f,
                                                .next = .2f,
                                                .list_form = TRAINER_LIST_LAMBDA,
                                                .negatives = 128,
                                                .negatives_block = 16};
    struct trainer_config settings;
    struct model_config config;

    CHECK(model_preset(&config, "small", 400, 5));
    config.attention = MODEL_ATTENTION_SOFTMAX;
    config.head = MODEL_HEAD_DOT;
    trainer_defaults(&settings);
    settings.items = TRAINER_ITEMS_ADAGRAD;
    settings.dropout = .1f;
    one_step(what, &config, &settings, &objective);
}

/* Weights rounded to bf16, a request whose K and V are kept, next items: some, all, the best; then
 * some of a table that is rounded, too. */
static void kept_and_next(void)
{
    struct jagged_size size = {whole() ? 128 : 20, whole() ? 200 : 7};
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache = caches_make(1 << 20);
    struct model_config config;
    struct model *model;
    float scores[4000];
    int32_t rows[20];
    struct error err;

    /* More than a block sorts at a time: there is something to merge. */
    CHECK(model_preset(&config, "small", whole() ? 4000 : 1100, 5));
    model = models_rough(&config, 1);
    jagged_fill(&jagged, &config, &size, 1, 1);
    cuemu_traffic_each(forget);
    CHECK_STATUS(OK, model_round(model, &err));
    CHECK_STATUS(OK, model_score_cached(model, workspace, cache, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_next_candidates(model, workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK,
                 model_next_top(model, workspace, &jagged.batch, config.V, 20, rows, scores, &err));
    table("n: rounding to bf16, a request that is kept, next of 4000 items: some, all, the best");
    CHECK_STATUS(OK, model_round_next(model, &err));
    CHECK_STATUS(OK, model_next_candidates(model, workspace, &jagged.batch, scores, &err));
    table("b: the table rounded to bf16, some of its next items");
    model_destroy(model);
    kv_cache_destroy(cache);
    model_workspace_destroy(workspace);
}

static void print_legend(void)
{
    (void)printf(
        "\nA row is a launch of the kernel, the mean of its runs.\n"
        "  asked    bytes that threads load and store; least: each word once, as with perfect\n"
        "           caches; ratio: asked / least, what L1 and L2 have to catch\n"
        "  fma, float, special, integer, other: instructions of the PTX by kind; shared: bytes of\n"
        "           shared memory that are loaded and stored\n"
        "  regs, smem, occ: registers a thread and bytes of shared memory a block (ptxas), and "
        "the\n"
        "           share of a multiprocessor's threads that then run at once\n"
        "  ~ us     the floor, an estimate: the longer of least / bandwidth (b) and floating point "
        "/\n"
        "           rate (f) of an A100, of an H100; -: needs nvcc\n");
}

/* The name in front of "(" that ends so, in the text from here on; NULL: none in this line. */
static const char *kernel_in(char *line)
{
    char *end = strstr(line, "_kernel("), *name = end;

    if (end == NULL)
        return NULL;
    end[strlen("_kernel")] = 0;
    while (name > line && name[-1] != ' ')
        name--;
    return name;
}

/* What follows __global__, here or in the next line, is a kernel. Returns how many there are. */
static int look_for_kernels(const char *path)
{
    char line[512];
    FILE *file = fopen(path, "r");
    bool head = false;
    int count = 0;

    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        const char *kernel;

        head = head || strstr(line, "__global__") != NULL;
        kernel = head ? kernel_in(line) : NULL;
        if (kernel == NULL)
            continue;
        head = false;
        count++;
        if (!is_seen(kernel)) {
            (void)fclose(file);
            test_fail(__FILE__, __LINE__, "%s: %s is in no table", path, kernel);
        }
    }
    (void)fclose(file);
    return count;
}

TEST(cuda_roofline_has_every_kernel_in_a_table)
{
    int count = 0;
    glob_t files;

    cuemu_need_emulator();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    seen_count = 0;
    one_request();
    preset_step("s: one step, preset small, 400 item rows, 29 tokens, 42 candidates", false);
    other_step("o: one step of the other forms, 400 item rows, 29 tokens, 42 candidates");
    kept_and_next();
    preset_step("h: one step with products of bf16, 400 item rows, 29 tokens, 42 candidates", true);
    if (whole())
        print_legend();
    CHECK_INT(0, glob("kernels/cuda/*.cu", 0, NULL, &files));
    for (size_t i = 0; i < files.gl_pathc; i++)
        count += look_for_kernels(files.gl_pathv[i]);
    globfree(&files);
    CHECK_INT(seen_count, count);
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
