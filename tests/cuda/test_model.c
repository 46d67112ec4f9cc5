/*
 * Tests kernels/cuda/forward: whole models against the CPU's scores, a whole rerank request, and
 * the questions a GPU is asked before it is trusted.
 *
 * The backend is chosen once a process, so the CPU's scores come from kernels/network.h directly.
 */
#include "kernels/backend.h"
#include "kernels/cuda/graphs.h"
#include "kernels/model.h"
#include "kernels/network.h"

#include "features/scalars.h"
#include "scorer/rank.h"
#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCORES_MAX 256
#define TOLERANCE  1e-4 /* kernels/cuda/forward.h */

static struct jagged jagged;

static void check_same(const struct model *model, struct model_workspace *workspace,
                       const struct batch *batch)
{
    float cpu[SCORES_MAX], gpu[SCORES_MAX];
    struct error err;

    CHECK(batch->N <= SCORES_MAX);
    memset(gpu, 0xff, sizeof gpu);
    models_score_on_cpu(model, batch, cpu);
    CHECK_STATUS(OK, model_score(model, workspace, batch, gpu, &err));
    for (int32_t i = 0; i < batch->N; i++)
        CHECK_NEAR((double)cpu[i], (double)gpu[i], TOLERANCE * (1 + fabs((double)cpu[i])));
}

/* One workspace for every size: it grows, and what an earlier batch left is not read. */
static void check_models(int count)
{
    struct model_workspace *workspace = model_workspace_create();

    models_backend_is_cuda();
    for (int number = 0; number < count; number++) {
        struct jagged_size sizes[4];
        struct random random;
        struct model_config config;
        struct model *model;
        int32_t B = number % 5;

        random_seed(&random, test_seed() + (uint64_t)number);
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), (uint64_t)number);
        config = models_config(number, &random);
        for (int32_t b = 0; b < B; b++)
            sizes[b] = (struct jagged_size){
                device_below(&random, 3) == 0 ? 0 : device_below(&random, 41),
                device_below(&random, 24)};
        model = models_rough(&config, test_seed() + (uint64_t)number);
        jagged_fill(&jagged, &config, sizes, B, test_seed() + (uint64_t)number);
        if (number % 2 == 1 && jagged.batch.T > 2 && jagged.batch.N > 2) {
            const int32_t bad[] = {-1, 40, INT32_MIN, INT32_MAX};

            jagged.item[0] = bad[number % 4];
            jagged.candidate_item[1] = bad[(number + 1) % 4];
            jagged.action[1] = bad[(number + 2) % 4];
            jagged.action[0] = BATCH_ACTION_TARGET;
            jagged.candidate_item[2] = jagged.candidate_item[0];
        }
        check_same(model, workspace, &jagged.batch);
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
}

TEST(cuda_models_score_as_the_cpu_does)
{
    int64_t launched = cuemu_launches();

    (void)cuemu_reports();
    check_models(20);
    CHECK_INT(0, cuemu_reports());
    CHECK(cuemu_launches() > launched + 100);
}

TEST(cuda_models_of_every_switch_score_as_the_cpu_does)
{
    const struct jagged_size sizes[] = {{17, 20}, {0, 3}, {5, 8}};
    struct model_workspace *workspace = model_workspace_create();
    struct random random;

    models_backend_is_cuda();
    random_seed(&random, 11);
    for (int number = 1; number < SWITCHES; number++) {
        struct model_config config = models_config(number, &random);
        int64_t launched = cuemu_launches();
        struct model *model;

        switches_set(&config, number);
        config.P += config.contexts;
        model = models_rough(&config, test_seed());
        jagged_fill(&jagged, &config, sizes, 3, test_seed());
        check_same(model, workspace, &jagged.batch);
        CHECK(cuemu_launches() > launched);
        jagged.batch.context = NULL; /* of which the batch says nothing */
        check_same(model, workspace, &jagged.batch);
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* Of the emulator's cuBLAS a row's bits depend on the row alone, so any difference here is ours. */
TEST(cuda_other_requests_change_no_bit_of_what_our_kernels_compute)
{
    static struct jagged alone;
    const struct jagged_size sizes[] = {{17, 20}, {0, 3}, {40, 1}, {5, 18}};
    struct model_workspace *workspace = model_workspace_create();
    float all[SCORES_MAX], one[SCORES_MAX];
    struct random random;
    struct error err;

    cuemu_need_emulator();
    random_seed(&random, 7);
    for (int number = 0; number < 4; number += 2) {
        struct model_config config = models_config(number, &random);
        struct model *model = models_rough(&config, test_seed());

        cuemu_schedule(CUEMU_REVERSE, 1);
        jagged_fill(&jagged, &config, sizes, 4, test_seed());
        CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, all, &err));
        cuemu_schedule(CUEMU_RANDOM, 5);
        for (int32_t b = 0; b < 4; b++) {
            jagged_one(&alone, &jagged, b);
            CHECK_STATUS(OK, model_score(model, workspace, &alone.batch, one, &err));
            CHECK(memcmp(one, all + jagged.candidate_start[b],
                         (size_t)alone.batch.N * sizeof *one) == 0);
        }
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_scores_follow_changed_weights_and_a_grown_item_table)
{
    const struct jagged_size sizes[] = {{9, 12}};
    struct model_workspace *workspace = model_workspace_create();
    struct model_config config;
    struct random random;
    struct model *model, *copy;
    struct error err;

    random_seed(&random, 3);
    config = models_config(0, &random);
    model = models_rough(&config, 3);
    jagged_fill(&jagged, &config, sizes, 1, 3);
    check_same(model, workspace, &jagged.batch);
    for (int32_t i = 0; i < model_tensors_count(model); i++)
        for (size_t k = 0; k < model_tensor(model, i).count; k++)
            model_tensor(model, i).data[k] *= .9f;
    CHECK_STATUS(OK, model_grow_items(model, 90, &err));
    CHECK_STATUS(OK, model_prepare(model, &err));
    jagged.candidate_item[3] = 77;
    check_same(model, workspace, &jagged.batch);
    CHECK_STATUS(OK, model_copy(&copy, model, &err));
    model_destroy(model);
    check_same(copy, workspace, &jagged.batch);
    model_destroy(copy);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* ---- bf16 ---- */

/* What a process decides once needs another process: this program again, with these words in front
 * and one test to run. */
static void run_again(const char *environment, const char *test)
{
    char command[1024], self[256];
    ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);

    CHECK(bytes > 0);
    self[bytes] = 0;
    (void)snprintf(command, sizeof command, "%s %s %s >/dev/null", environment, self, test);
    CHECK(system(command) == 0);
}

/* Of the largest score. A number of bf16 is off by up to 2^-9 of its size, and each layer adds its
 * own; half of this is seen, of weights as rough as these. */
#define HALF_TOLERANCE 3e-2

static void near_scores(const float *want, const float *got, int32_t count, double tolerance)
{
    double size = 1;

    for (int32_t i = 0; i < count; i++)
        size = fmax(size, fabs((double)want[i]));
    for (int32_t i = 0; i < count; i++)
        CHECK_NEAR((double)want[i], (double)got[i], tolerance * size);
}

/* Where the device has none, it is f32. */
TEST(cuda_bf16_models_score_nearly_as_the_cpu_does)
{
    const struct jagged_size sizes[] = {{17, 20}, {0, 3}, {40, 1}, {5, 18}};
    const char *machine = getenv("CUEMU_MACHINE");
    double tolerance = machine == NULL ? HALF_TOLERANCE : TOLERANCE;
    struct model_workspace *workspace = model_workspace_create();
    float cpu[SCORES_MAX], gpu[SCORES_MAX];
    struct random random;
    struct error err;

    models_backend_is_cuda();
    random_seed(&random, 17);
    for (int number = 0; number < 8; number++) {
        struct model_config config = models_config(number, &random);
        struct model *model = models_rough(&config, test_seed());
        double largest = 0;

        CHECK_STATUS(OK, model_round(model, &err));
        CHECK(model_is_rounded(model) == (machine == NULL));
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), 3);
        jagged_fill(&jagged, &config, sizes, 4, test_seed());
        models_score_on_cpu(model, &jagged.batch, cpu);
        CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, gpu, &err));
        near_scores(cpu, gpu, jagged.batch.N, tolerance);
        for (int32_t i = 0; i < jagged.batch.N; i++)
            largest = fmax(largest, fabs((double)cpu[i] - (double)gpu[i]));
        CHECK(machine != NULL || largest > 1e-5); /* or it was f32 after all */
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
    if (machine == NULL && cuemu_allocations() > 0)
        run_again("CUEMU_MACHINE='1 7 5 1 0'", "cuda_bf16_models");
}

/* ---- a whole request ---- */

#define ITEMS 40
#define NOW   INT64_C(1700000000000)

static struct item_tables *some_tables(uint64_t *hashes, int32_t *indices)
{
    struct item_tables_options options = {.items_max = 1000};
    struct item_tables *tables;
    struct error err;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    for (int i = 0; i < ITEMS; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "i%d", i);
        hashes[i] = 1000 + (uint64_t)i * 7919;
        indices[i] = item_tables_index(tables, hashes[i], text_of(name), NOW - 1000000);
        for (int n = 0; n < i; n++)
            item_tables_observe(tables, indices[i], NOW - 1000000 + n, NULL, 0);
    }
    return tables;
}

static void scores_on_the_cpu(float *scores)
{
    char path[96], environment[192];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/scores", test_folder());
    (void)snprintf(environment, sizeof environment, "FRESHET_BACKEND=cpu CUEMU_WRITE=%s", path);
    run_again(environment, "cuda_rerank_request");
    file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fread(scores, sizeof *scores, ITEMS, file) == ITEMS);
    (void)fclose(file);
}

static void write_scores(const char *path, const float *scores)
{
    const struct backend *backend;
    struct error err;
    FILE *file = fopen(path, "wb");

    CHECK_STATUS(OK, backend_choose(&backend, &err));
    CHECK_TEXT("cpu", backend->name);
    CHECK(file != NULL);
    CHECK(fwrite(scores, sizeof *scores, ITEMS, file) == ITEMS);
    (void)fclose(file);
}

TEST(cuda_rerank_request_is_answered_as_on_the_cpu)
{
    uint64_t hashes[ITEMS];
    int32_t candidates[ITEMS], count;
    struct user_entry history[8];
    struct item_tables *tables = some_tables(hashes, candidates);
    struct model_config config;
    struct rank_scratch *scratch;
    struct ranked ranked[ITEMS];
    float scores[ITEMS], cpu[ITEMS];
    enum degraded degraded;
    struct error err;
    const char *write_to = getenv("CUEMU_WRITE");

    CHECK(model_preset(&config, "small", ITEMS + 1, scalars_count));
    struct model *model = models_rough(&config, 9);
    struct ranker ranker = {.model = model, .tables = tables};
    for (int i = 0; i < 8; i++)
        history[i] = (struct user_entry){
            .item = hashes[3 * i % 7], .time_ms = NOW - (8 - i) * 3600000, .action = 2};
    struct rank_request request = {.history = history,
                                   .history_count = 8,
                                   .running = 8,
                                   .history_known = true,
                                   .now_ms = NOW,
                                   .candidates = candidates,
                                   .candidates_count = ITEMS,
                                   .k = ITEMS,
                                   .keep_seen = true};
    CHECK_STATUS(OK, rank_scratch_create(&scratch, &err));
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    graphs_allow(true);
    CHECK_STATUS(OK, rank_scores(&ranker, scratch, &request, scores, &err));
    if (write_to != NULL) {
        write_scores(write_to, scores);
    } else {
        models_backend_is_cuda();
        scores_on_the_cpu(cpu);
        for (int i = 0; i < ITEMS; i++)
            CHECK_NEAR((double)cpu[i], (double)scores[i], TOLERANCE * (1 + fabs((double)cpu[i])));
        CHECK_STATUS(OK, model_round(model, &err));
        graphs_allow(false);
        CHECK_STATUS(OK, rank_scores(&ranker, scratch, &request, scores, &err));
        near_scores(cpu, scores, ITEMS, HALF_TOLERANCE);
        CHECK(memcmp(cpu, scores, sizeof scores) != 0);
    }
    CHECK_STATUS(OK, rank(&ranker, scratch, &request, ranked, &count, &degraded, &err));
    CHECK_INT(ITEMS, count);
    for (int i = 1; i < count; i++)
        CHECK(!(ranked[i - 1].score < ranked[i].score));
    CHECK_INT(0, cuemu_reports());
    rank_scratch_destroy(scratch);
    model_destroy(model);
    item_tables_destroy(tables);
}

/* ---- the probe and the choice ---- */

static void write_choice(const char *path)
{
    const struct backend *backend;
    struct error err;
    FILE *file = fopen(path, "w");

    CHECK(file != NULL);
    if (backend_choose(&backend, &err) == OK)
        (void)fprintf(file, "%s: %s", backend->name, backend->why);
    else
        (void)fprintf(file, "%s: %s", status_name(err.status), err.text);
    (void)fclose(file);
}

/* CUEMU_MACHINE: devices, compute capability, whether cuBLAS loads, whether kernels do nothing. */
TEST(cuda_backend_is_what_works_and_says_why)
{
    const struct {
        const char *environment, *says;
    } rows[] = {
        {"CUEMU_MACHINE='1 9 0 1 0'", "cuda: an emulated GPU, compute capability 9.0"},
        {"CUEMU_MACHINE='1 7 5 1 0'", "cuda: an emulated GPU, compute capability 7.5"},
        {"CUEMU_MACHINE='1 9 0 1 0' FRESHET_BACKEND=cuda", "cuda: an emulated GPU"},
        {"CUEMU_MACHINE='1 9 0 1 0' FRESHET_BACKEND=cpu", "cpu: FRESHET_BACKEND=cpu"},
        {"CUEMU_MACHINE='1 9 0 1 0' FRESHET_BACKEND=gpu",
         "ERR_DEVICE: FRESHET_BACKEND is \"gpu\", must be cpu or cuda"},
        {"CUEMU_MACHINE='-1 9 0 1 0'", "cpu: no GPU: no device: CUDA driver version"},
        {"CUEMU_MACHINE='-1 9 0 1 0' FRESHET_BACKEND=cuda",
         "ERR_DEVICE: FRESHET_BACKEND=cuda, but no device: CUDA driver version"},
        {"CUEMU_MACHINE='0 9 0 1 0'", "cpu: no GPU: no device: the driver counts 0"},
        {"CUEMU_MACHINE='1 7 0 1 0'", "has compute capability 7.0, 7.5 is needed"},
        {"CUEMU_MACHINE='1 9 0 0 0'", "could not load libcublas.so"},
        {"CUEMU_MACHINE='1 9 0 1 1'", "its self-test gave"},
    };
    const char *write_to = getenv("CUEMU_WRITE");

    cuemu_need_emulator();
    if (write_to != NULL) {
        write_choice(write_to);
        return;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[96], environment[256], got[320] = "";
        FILE *file;

        (void)snprintf(path, sizeof path, "%s/choice", test_folder());
        (void)snprintf(environment, sizeof environment, "unset FRESHET_BACKEND; CUEMU_WRITE=%s %s",
                       path, rows[i].environment);
        run_again(environment, "cuda_backend_is_what_works");
        file = fopen(path, "r");
        CHECK(file != NULL);
        CHECK(fread(got, 1, sizeof got - 1, file) > 0);
        (void)fclose(file);
        if (strstr(got, rows[i].says) == NULL)
            test_fail(__FILE__, __LINE__, "want \"%s\" in \"%s\"", rows[i].says, got);
    }
}
