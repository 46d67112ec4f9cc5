/*
 * Tests kernels/cuda where the driver fails: every call of the runtime, every launch and every
 * product of cuBLAS of each kind of work fails in turn, once as one that is refused and once with
 * the whole device lost.
 *
 * Whatever failed, the work says so with a status and a text, or is right all the same (a graph
 * that cannot be made is done without); nothing is left behind; and what is refused once leads to
 * the bits of work that was never disturbed when it is tried again. A lost device never answers
 * again.
 */
#include "kernels/backend.h"
#include "kernels/cuda/graphs.h"
#include "kernels/cuda/probe.h"
#include "kernels/kv_cache.h"
#include "kernels/model.h"
#include "kernels/trainer.h"

#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/kernels/caches.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#define RESULT_MAX (1 << 17)
#define CALLS_MAX  2000
#define BEST       20   /* next items of a request */
#define TABLE      2500 /* item rows: of the emulator three slices, of several parts */

static struct jagged jagged;

/* What a task works on, made anew for each call that fails. */
struct world {
    struct model *model;
    struct model_workspace *workspace;
    struct trainer *trainer;
    struct kv_cache *cache;
    float scores[4 * 40];
    int32_t rows[3 * BEST];
};

struct task {
    const char *name;
    void (*begin)(struct world *world);
    enum status (*act)(struct world *world, struct error *err);
    int64_t (*result)(struct world *world, float *to); /* how many floats came of it */
    bool may_spoil; /* a failure may be for good: then every later act says so */
    int step;       /* of this many calls one fails; SOAK=1: each */
};

static struct model_config small_config(int number)
{
    struct random random;
    struct model_config config;

    random_seed(&random, 5);
    config = models_config(number, &random);
    config.C = 32;
    config.L = 1;
    config.crosses = 1;
    return config;
}

/* ---- tasks ---- */

static void begin_nothing(struct world *world)
{
    (void)world;
}

static enum status probe_once(struct world *world, struct error *err)
{
    struct probe probe;

    (void)world;
    return probe_device(&probe, err);
}

static int64_t result_none(struct world *world, float *to)
{
    (void)world;
    (void)to;
    return 0;
}

static void begin_model(struct world *world)
{
    const struct jagged_size sizes[] = {{7, 5}, {0, 3}, {3, 1}};
    struct model_config config = small_config(0);

    world->model = models_rough(&config, 5);
    world->workspace = model_workspace_create();
    jagged_fill(&jagged, &config, sizes, 3, 5);
}

static void begin_warm(struct world *world)
{
    struct error err;

    begin_model(world);
    CHECK_STATUS(OK,
                 model_score(world->model, world->workspace, &jagged.batch, world->scores, &err));
}

static void begin_rounded(struct world *world)
{
    struct error err;

    begin_model(world);
    CHECK_STATUS(OK, model_round(world->model, &err));
}

static enum status put_once(struct world *world, struct error *err)
{
    return model_prepare(world->model, err);
}

static enum status make_once(struct world *world, struct error *err)
{
    const struct jagged_size sizes[] = {{7, 5}};
    struct model_config config = small_config(0);
    enum status status = OK;

    if (world->model == NULL)
        status = model_create(&world->model, &config, 5, err);
    if (status == OK)
        status = model_prepare(world->model, err);
    if (world->workspace == NULL)
        world->workspace = model_workspace_create();
    jagged_fill(&jagged, &config, sizes, 1, 5);
    return status;
}

static enum status score_once(struct world *world, struct error *err)
{
    return model_score(world->model, world->workspace, &jagged.batch, world->scores, err);
}

static enum status score_by_graph(struct world *world, struct error *err)
{
    enum status status;

    graphs_allow(true);
    status = score_once(world, err);
    graphs_allow(false);
    return status;
}

static enum status next_all_once(struct world *world, struct error *err)
{
    return model_next_all(world->model, world->workspace, &jagged.batch, world->scores, err);
}

/* As weights are loaded for a server that recalls; after an error it is begun anew. */
static enum status round_once(struct world *world, struct error *err)
{
    enum status status = model_prepare(world->model, err);

    if (status == OK)
        status = model_round(world->model, err);
    return status == OK ? model_round_next(world->model, err) : status;
}

static void begin_large(struct world *world)
{
    const struct jagged_size sizes[] = {{7, 0}, {0, 0}, {3, 0}};
    struct model_config config = small_config(0);

    config.V = TABLE;
    world->model = models_rough(&config, 5);
    world->workspace = model_workspace_create();
    jagged_fill(&jagged, &config, sizes, 3, 5);
}

static enum status next_top_once(struct world *world, struct error *err)
{
    return model_next_top(world->model, world->workspace, &jagged.batch, TABLE, BEST, world->rows,
                          world->scores, err);
}

static enum status next_listed_once(struct world *world, struct error *err)
{
    return model_next_candidates(world->model, world->workspace, &jagged.batch, world->scores, err);
}

static int64_t result_scores(struct world *world, float *to)
{
    memcpy(to, world->scores, (size_t)jagged.batch.N * sizeof *to);
    return jagged.batch.N;
}

static int64_t result_next(struct world *world, float *to)
{
    memcpy(to, world->scores, sizeof world->scores);
    return (int64_t)jagged.batch.B * 40;
}

static int64_t result_top(struct world *world, float *to)
{
    int64_t count = (int64_t)jagged.batch.B * BEST;

    memcpy(to, world->scores, (size_t)count * sizeof *to);
    for (int64_t i = 0; i < count; i++)
        to[count + i] = (float)world->rows[i];
    return 2 * count;
}

/* What it scores now. */
static int64_t result_of_model(struct world *world, float *to)
{
    struct error err;

    CHECK_STATUS(OK, score_once(world, &err));
    return result_scores(world, to);
}

/* Next-item scores of it now. */
static int64_t result_of_table(struct world *world, float *to)
{
    struct error err;

    CHECK_STATUS(OK, next_all_once(world, &err));
    return result_next(world, to);
}

/* ---- pages of K and V ---- */

#define ALONE ((const struct jagged_size[]){{33, 5}})
#define BATCH ((const struct jagged_size[]){{33, 5}, {14, 3}, {5, 1}})

/* A cache that no request has met. */
static void begin_pages(struct world *world, const struct jagged_size *sizes, int32_t count)
{
    struct model_config config = small_config(0);

    config.L = 2;
    world->model = models_rough(&config, 5);
    world->workspace = model_workspace_create();
    world->cache = caches_make(1 << 18);
    jagged_fill(&jagged, &config, sizes, count, 5);
}

/* Warm, with the first page of the first request in the cache and none of what follows it. */
static void begin_kept(struct world *world, const struct jagged_size *sizes, int32_t count)
{
    static struct jagged front;
    struct error err;

    begin_pages(world, sizes, count);
    jagged_one(&front, &jagged, 0);
    front.batch.T = front.history_start[1] = KV_PAGE_ROWS + 3;
    CHECK_STATUS(OK,
                 model_score(world->model, world->workspace, &jagged.batch, world->scores, &err));
    CHECK_STATUS(OK, model_score_cached(world->model, world->workspace, world->cache, &front.batch,
                                        world->scores, &err));
}

static void begin_pages_alone(struct world *world)
{
    begin_pages(world, ALONE, 1);
}

static void begin_pages_batch(struct world *world)
{
    begin_pages(world, BATCH, 3);
}

static void begin_kept_alone(struct world *world)
{
    begin_kept(world, ALONE, 1);
}

static void begin_kept_batch(struct world *world)
{
    begin_kept(world, BATCH, 3);
}

/* Of a batch that failed no page is there that was not before, and none is gone. */
static enum status keep_once(struct world *world, struct error *err)
{
    struct kv_cache_stats before = caches_stats(world->cache), after;
    enum status status = model_score_cached(world->model, world->workspace, world->cache,
                                            &jagged.batch, world->scores, err);

    after = caches_stats(world->cache);
    if (status != OK)
        CHECK(after.pages_used == before.pages_used && after.rows_found == before.rows_found &&
              after.rows_computed == before.rows_computed);
    return status;
}

static enum status keep_by_graph(struct world *world, struct error *err)
{
    enum status status;

    graphs_allow(true);
    status = keep_once(world, err);
    graphs_allow(false);
    return status;
}

/* Its scores, and those that another workspace has from the pages it left. */
static int64_t result_kept(struct world *world, float *to)
{
    struct model_workspace *other = model_workspace_create();
    int64_t count = result_scores(world, to);
    struct error err;

    CHECK_STATUS(
        OK, model_score_cached(world->model, other, world->cache, &jagged.batch, to + count, &err));
    model_workspace_destroy(other);
    return 2 * count;
}

static void begin_trainer(struct world *world)
{
    struct trainer_config config;
    struct error err;

    begin_model(world);
    trainer_defaults(&config);
    CHECK_STATUS(OK, trainer_create(&world->trainer, world->model, &config, &err));
}

static enum status step_once(struct world *world, struct error *err)
{
    struct trainer_objective objective;

    CHECK(trainer_objective_preset(&objective, "mix"));
    return trainer_step(world->trainer, world->model, &jagged.batch, &objective, NULL, err);
}

/* Steps that stay on the device, and their end. */
static enum status run_once(struct world *world, struct error *err)
{
    enum status status;

    trainer_run_begin(world->trainer);
    status = step_once(world, err);
    return status == OK ? trainer_run_end(world->trainer, world->model, err) : status;
}

static void begin_second_step(struct world *world)
{
    struct error err;

    begin_trainer(world);
    CHECK_STATUS(OK, step_once(world, &err));
}

static enum status evaluate_once(struct world *world, struct error *err)
{
    struct trainer_objective objective;
    struct trainer_losses losses;
    enum status status;

    CHECK(trainer_objective_preset(&objective, "mix"));
    status = trainer_evaluate(world->trainer, world->model, &jagged.batch, &objective, 7, &losses,
                              err);
    if (status == OK)
        world->scores[0] = (float)losses.total;
    return status;
}

static int64_t result_loss(struct world *world, float *to)
{
    to[0] = world->scores[0];
    return 1;
}

static int64_t result_weights(struct world *world, float *to)
{
    int64_t used = 0;

    for (int32_t i = 0; i < model_tensors_count(world->model); i++) {
        struct model_tensor t = model_tensor(world->model, i);

        CHECK(used + (int64_t)t.count <= RESULT_MAX);
        memcpy(to + used, t.data, t.count * sizeof *to);
        used += (int64_t)t.count;
    }
    return used;
}

static void end(struct world *world)
{
    trainer_destroy(world->trainer);
    kv_cache_destroy(world->cache);
    model_workspace_destroy(world->workspace);
    model_destroy(world->model);
    *world = (struct world){0};
}

/* ---- the loop ---- */

static void says_why(const struct task *task, int64_t call, enum status status,
                     const struct error *err)
{
    if ((status != ERR_DEVICE && status != ERR_NOMEM) || err->status != status || err->text[0] == 0)
        test_fail(__FILE__, __LINE__, "%s, call %lld (%s): %s, \"%s\"", task->name, (long long)call,
                  cuemu_failed(), status_name(status), err->text);
}

static void same_result(const struct task *task, struct world *world, int64_t call,
                        const float *want, float *got, int64_t count)
{
    const char *met = cuemu_failed();

    cuemu_fail(0, CUEMU_REFUSED);
    if (task->result(world, got) != count || memcmp(want, got, (size_t)count * sizeof *got) != 0)
        test_fail(__FILE__, __LINE__, "%s, call %lld (%s): another result", task->name,
                  (long long)call, met == NULL ? "none" : met);
}

/* Call number `call` fails. False: there were not so many. */
static bool fail_one(const struct task *task, int64_t call, enum cuemu_fault fault,
                     const float *want, float *got, int64_t count)
{
    struct world world = {0};
    struct error err = {0};
    int64_t held = cuemu_held();
    enum status status;
    bool met;

    task->begin(&world);
    cuemu_fail(call, fault);
    status = task->act(&world, &err);
    met = cuemu_failed() != NULL;
    if (status != OK)
        says_why(task, call, status, &err);
    CHECK(met || status == OK);
    if (met && fault == CUEMU_LOST) {
        CHECK(status != OK);
        err = (struct error){0};
        says_why(task, call, task->act(&world, &err), &err);
    } else if (status == OK) {
        same_result(task, &world, call, want, got, count);
    } else {
        cuemu_fail(0, fault);
        err = (struct error){0};
        status = task->act(&world, &err);
        if (status == OK)
            same_result(task, &world, call, want, got, count);
        else if (task->may_spoil)
            says_why(task, call, status, &err);
        else
            test_fail(__FILE__, __LINE__, "%s, after call %lld: %s", task->name, (long long)call,
                      err.text);
    }
    end(&world);
    if (cuemu_held() != held)
        test_fail(__FILE__, __LINE__, "%s, call %lld: %lld things held before, %lld after",
                  task->name, (long long)call, (long long)held, (long long)cuemu_held());
    cuemu_fail(0, fault);
    CHECK_INT(0, cuemu_reports());
    return met;
}

static void fail_all(const struct task *task)
{
    static float want[RESULT_MAX], got[RESULT_MAX];
    struct world world = {0};
    struct error err;
    int64_t count, calls;

    cuemu_need_emulator();
    models_backend_is_cuda();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    (void)cuemu_reports();
    task->begin(&world);
    CHECK_STATUS(OK, task->act(&world, &err));
    count = task->result(&world, want);
    end(&world);
    for (int fault = CUEMU_REFUSED; fault <= CUEMU_LOST; fault++) {
        int step = getenv("SOAK") != NULL ? 1 : task->step;

        if (getenv("CUEMU_PTX") != NULL) /* of PTX: the host's code is the same */
            step *= 16;

        for (calls = 1 + fault % step; calls < CALLS_MAX; calls += step)
            if (!fail_one(task, calls, (enum cuemu_fault)fault, want, got, count))
                break;
        CHECK(calls > 2 && calls < CALLS_MAX);
    }
}

TEST(cuda_faults_of_the_probe_are_told)
{
    fail_all(&(struct task){"the probe", begin_nothing, probe_once, result_none, false, 1});
}

TEST(cuda_faults_of_weights_that_go_up_are_told)
{
    fail_all(&(struct task){"a first put", begin_nothing, make_once, result_of_model, false, 2});
    fail_all(&(struct task){"a put", begin_model, put_once, result_of_model, false, 1});
    fail_all(&(struct task){"a put of a model that scores", begin_warm, put_once, result_of_model,
                            false, 2});
}

TEST(cuda_faults_of_a_score_are_told)
{
    fail_all(&(struct task){"a first score", begin_model, score_once, result_scores, false, 2});
    fail_all(&(struct task){"a score", begin_warm, score_once, result_scores, false, 2});
    fail_all(&(struct task){"a bf16 score", begin_rounded, score_once, result_scores, false, 2});
}

TEST(cuda_faults_of_a_graph_are_done_without)
{
    fail_all(&(struct task){"a graph", begin_model, score_by_graph, result_scores, false, 2});
}

TEST(cuda_faults_of_next_item_scores_are_told)
{
    fail_all(&(struct task){"next, all", begin_model, next_all_once, result_next, false, 2});
    fail_all(
        &(struct task){"next, listed", begin_model, next_listed_once, result_scores, false, 2});
}

TEST(cuda_faults_of_the_best_next_items_are_told)
{
    fail_all(&(struct task){"next, best", begin_large, next_top_once, result_top, false, 3});
}

TEST(cuda_faults_of_weights_that_are_rounded_are_told)
{
    fail_all(&(struct task){"bf16", begin_model, round_once, result_of_table, false, 2});
}

TEST(cuda_faults_of_kept_histories_are_told)
{
    fail_all(&(struct task){"first pages", begin_pages_alone, keep_once, result_kept, false, 5});
    fail_all(&(struct task){"first pages of a batch", begin_pages_batch, keep_once, result_kept,
                            false, 9});
    fail_all(&(struct task){"pages", begin_kept_alone, keep_once, result_kept, false, 3});
    fail_all(
        &(struct task){"pages of a batch", begin_kept_batch, keep_once, result_kept, false, 5});
    fail_all(
        &(struct task){"pages by a graph", begin_kept_batch, keep_by_graph, result_kept, false, 9});
}

TEST(cuda_works_after_a_call_was_refused_and_not_after_it_was_lost)
{
    struct world world = {0};
    const struct backend *backend;
    struct error err;
    int64_t held;

    cuemu_need_emulator();
    models_backend_is_cuda();
    (void)cuemu_reports();
    CHECK_STATUS(OK, backend_choose(&backend, &err));
    for (int fault = CUEMU_REFUSED; fault <= CUEMU_LOST; fault++) {
        begin_warm(&world);
        held = cuemu_held();
        CHECK_STATUS(OK, backend_works(backend, &err));
        cuemu_fail(1, (enum cuemu_fault)fault);
        CHECK(score_once(&world, &err) != OK);
        err = (struct error){0};
        CHECK_STATUS(fault == CUEMU_LOST ? ERR_DEVICE : OK, backend_works(backend, &err));
        CHECK((err.text[0] != 0) == (fault == CUEMU_LOST));
        cuemu_fail(0, CUEMU_REFUSED);
        CHECK_INT(held, cuemu_held());
        end(&world);
    }
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_faults_of_training_are_told)
{
    fail_all(&(struct task){"a step", begin_trainer, step_once, result_weights, true, 29});
    fail_all(
        &(struct task){"a second step", begin_second_step, step_once, result_weights, true, 29});
    fail_all(&(struct task){"a run", begin_trainer, run_once, result_weights, true, 29});
    fail_all(&(struct task){"an evaluation", begin_trainer, evaluate_once, result_loss, false, 29});
}
