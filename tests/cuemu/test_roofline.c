/*
 * Counts what the kernels ask of device memory, exactly, and prints it as a table: `make roofline`.
 *
 * "asked" is what threads load and store, "least" the distinct words of each launch: the traffic
 * with perfect caches. Between the two lies what L1 and L2 must catch. The floor is least /
 * bandwidth of two named devices: an estimate, below which no launch can end; overheads, and
 * cuBLAS's products, are not in it. As a test it runs on a small request and holds the counts of
 * the norm to what its header says.
 */
#include "kernels/model.h"
#include "kernels/trainer.h"

#include "tests/cuemu/device.h"
#include "tests/cuemu/models.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes a second, from NVIDIA's data sheets: A100 80 GB SXM, H100 SXM. */
#define A100 2.039e12
#define H100 3.35e12

static struct jagged jagged;
static struct cuemu_traffic norm;

static void print_row(const char *kernel, const struct cuemu_traffic *t)
{
    int64_t asked = t->loaded + t->stored;

    (void)printf("%-26s %8lld %12lld %12lld %6.2f %9.3f %9.3f\n", kernel, (long long)t->launches,
                 (long long)(asked / t->launches), (long long)(t->distinct / t->launches),
                 (double)asked / (double)(t->distinct > 0 ? t->distinct : 1),
                 (double)t->distinct / (double)t->launches / A100 * 1e6,
                 (double)t->distinct / (double)t->launches / H100 * 1e6);
}

static void look_at_row(const char *kernel, const struct cuemu_traffic *t)
{
    CHECK(t->launches > 0 && t->distinct <= t->loaded + t->stored);
    if (strcmp(kernel, "norm_kernel") == 0)
        norm = *t;
    if (getenv("ROOFLINE") != NULL)
        print_row(kernel, t);
}

static void table(const char *what)
{
    if (getenv("ROOFLINE") != NULL)
        (void)printf(
            "\n%s; bytes and floors (estimates) a launch\n%-26s %8s %12s %12s %6s %9s %9s\n", what,
            "kernel", "launches", "asked", "least", "ratio", "A100 us", "H100 us");
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
    table("one request, preset small, 128 tokens, 200 candidates");
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
        table("one step, preset small, 400 item rows, 29 tokens, 42 candidates");
    }
    trainer_destroy(trainer);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}
