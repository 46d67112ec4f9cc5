/*
 * Tests kernels/cuda/tape with products of bf16: steps against those in f32 from the same weights,
 * what must stay (bits, memory, the saved state), and that a model learns by them what it learns in
 * f32.
 *
 * The f32 side is the CPU's trainer, whose steps test_learn.c compares with the GPU's in f32. A
 * step's error is that of its direction: the length of the difference of a tensor's two changes, of
 * the length of the f32 one. Of single numbers nothing can be said: where a sum cancels, bf16
 * leaves little of it.
 */
#include "kernels/trainer.h"
#include "kernels/trainer_private.h"

#include "kernels/cuda/ops_back.h"
#include "tests/cuda/device.h"
#include "tests/cuda/lessons.h"
#include "tests/cuda/models.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 2.4e-2 was the most of a first step on these rough weights (make test-cuemu). */
#define TOLERANCE 4e-2

static struct jagged jagged;

/* Every tensor changed in the same direction, as far. Returns the largest error. */
static double near_models(const struct twins *twins, struct model *before, double tolerance)
{
    double worst = 0;

    for (int32_t i = 0; i < model_tensors_count(before); i++) {
        struct model_tensor old = model_tensor(before, i), cpu = model_tensor(twins->models[0], i),
                            gpu = model_tensor(twins->models[1], i);
        double size = 0, error = 0;

        for (size_t k = 0; k < old.count; k++) {
            double change = (double)cpu.data[k] - (double)old.data[k];
            double off = (double)gpu.data[k] - (double)cpu.data[k];

            size += change * change;
            error += off * off;
        }
        size = sqrt(size), error = sqrt(error);
        /* What floats of the weights themselves cannot hold is no error. */
        if (!(error <= tolerance * size + 1e-6 * sqrt((double)old.count)))
            test_fail(__FILE__, __LINE__, "%s: want a change of %.6g, got one %.6g off", old.name,
                      size, error);
        if (size > 1e-4)
            worst = fmax(worst, error / size);
    }
    return worst;
}

static double step_both(struct twins *twins, const struct trainer_objective *objective,
                        double tolerance)
{
    struct trainer_losses losses[2];
    struct model *before = lessons_step(twins, &jagged.batch, objective, losses);
    double worst = near_models(twins, before, tolerance);

    lessons_near_losses(&losses[0], &losses[1], tolerance, .1);
    model_destroy(before);
    return worst;
}

/* [1] steps in bf16 on the device. */
static struct twins make_twins(const struct model_config *config, struct trainer_config trainer)
{
    trainer.bf16 = true;
    return lessons_twins(config, trainer);
}

static void check_step(const struct model_config *config, struct trainer_config trainer,
                       struct trainer_objective objective, const struct jagged_size *sizes,
                       int32_t count, double tolerance)
{
    struct twins twins;
    double worst;

    (void)cuemu_reports();
    models_backend_is_cuda();
    jagged_fill(&jagged, config, sizes, count, test_seed());
    twins = make_twins(config, trainer);
    CHECK(trainer_is_bf16(twins.trainers[1]));
    worst = step_both(&twins, &objective, tolerance);
    if (!(worst > 1e-3))
        test_fail(__FILE__, __LINE__, "an error of %g is that of f32", worst);
    lessons_drop(&twins);
    CHECK_INT(0, cuemu_reports());
}

/* ---- whole steps ---- */

TEST(cuda_half_training_every_term_silu_cross)
{
    struct model_config config = lessons_config(1);

    config.attention = MODEL_ATTENTION_SILU;
    cuemu_schedule(CUEMU_RANDOM, 1);
    check_step(&config, lessons_smooth(), lessons_every_term, lessons_usual, LESSONS_USUAL,
               TOLERANCE);
}

TEST(cuda_half_training_softmax_cross_adagrad)
{
    struct model_config config = lessons_softmax();

    cuemu_schedule(CUEMU_REVERSE, 2);
    check_step(&config, lessons_adagrad(),
               (struct trainer_objective){.point = .1f, .pair = 1, .next = 1, .negatives = 9},
               lessons_usual, LESSONS_USUAL, TOLERANCE);
}

TEST(cuda_half_training_dot)
{
    struct model_config config = lessons_config(3);

    config.L = 1;
    config.F = 3;
    cuemu_schedule(CUEMU_IN_ORDER, 3);
    check_step(&config, lessons_smooth(), (struct trainer_objective){.point = 1, .list = .3f},
               lessons_usual, LESSONS_USUAL, TOLERANCE);
}

TEST(cuda_half_training_with_dropout_context_and_texts)
{
    struct model_config config = lessons_switched(SWITCHES - 1);
    struct trainer_config trainer = lessons_smooth();

    trainer.dropout = .2f;
    trainer.learning_rate = .05f;
    cuemu_schedule(CUEMU_RANDOM, 6);
    check_step(&config, trainer, lessons_of_switches, lessons_usual, LESSONS_USUAL, TOLERANCE);
}

/* One row, no candidates, no history. Of so few rows no errors cancel. */
TEST(cuda_half_training_of_next_to_nothing)
{
    const struct jagged_size sizes[][2] = {{{2, 0}, {1, 0}}, {{0, 1}, {0, 0}}, {{1, 1}, {0, 7}}};
    struct trainer_objective objective = {
        .point = 1, .next = .5f, .negatives = 3, .negatives_block = 2};
    struct model_config config = lessons_config(1);

    cuemu_schedule(CUEMU_IN_ORDER, 0);
    for (int i = 0; i < 3; i++)
        check_step(&config, lessons_smooth(), objective, sizes[i], 2, .3);
}

/* ---- what must stay ---- */

static void step_alone(struct model **model, const struct model_config *config,
                       enum cuemu_order order, const struct trainer_objective *objective)
{
    struct trainer_config settings = lessons_smooth();
    struct trainer *trainer;
    struct error err;

    settings.bf16 = true;
    settings.dropout = .1f;
    *model = models_rough(config, 1);
    CHECK_STATUS(OK, trainer_create(&trainer, *model, &settings, &err));
    cuemu_schedule(order, 9);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(OK, trainer_step(trainer, *model, &jagged.batch, objective, NULL, &err));
    trainer_destroy(trainer);
}

TEST(cuda_half_training_is_the_same_to_the_bit_in_any_order)
{
    const struct jagged_size sizes[] = {{9, 5}, {5, 17}};
    struct trainer_objective objective = {
        .pair = 1, .next = 1, .negatives = 12, .negatives_block = 5};
    struct model_config config = lessons_config(1);
    struct model *models[2];

    cuemu_need_emulator();
    jagged_fill(&jagged, &config, sizes, 2, test_seed());
    step_alone(&models[0], &config, CUEMU_REVERSE, &objective);
    step_alone(&models[1], &config, CUEMU_RANDOM, &objective);
    lessons_same_bits(models[0], models[1]);
    model_destroy(models[0]);
    model_destroy(models[1]);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_half_training_allocates_nothing_after_the_largest_step)
{
    const struct jagged_size sizes[][2] = {{{3, 2}, {0, 1}}, {{9, 7}, {5, 3}}, {{9, 6}, {4, 3}}};
    struct trainer_objective objective = {
        .point = 1, .next = 1, .negatives = 5, .negatives_block = 4};
    struct model_config config = lessons_config(1);
    struct trainer_config settings = lessons_smooth();
    struct model *model;
    struct trainer *trainer;
    int64_t allocations = 0;
    struct error err;

    cuemu_need_emulator();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    settings.bf16 = true;
    model = models_rough(&config, 1);
    CHECK_STATUS(OK, trainer_create(&trainer, model, &settings, &err));
    for (int i = 0; i < 4; i++) {
        jagged_fill(&jagged, &config, sizes[i % 3], 2, test_seed());
        CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &objective, NULL, &err));
        if (i >= 2)
            CHECK_INT(allocations, cuemu_allocations());
        allocations = cuemu_allocations();
    }
    trainer_destroy(trainer);
    model_destroy(model);
    CHECK_INT(0, cuemu_reports());
}

/* The state is float: what one saved the other goes on from, to the same bits as its owner. A run's
 * weights are rounded anew in each step. */
TEST(cuda_half_training_state_is_that_of_f32)
{
    const struct jagged_size sizes[] = {{6, 5}};
    struct model_config config = lessons_config(1);
    struct trainer_config settings = lessons_smooth();
    struct model *model, *copy;
    struct trainer *bf16, *loaded;
    struct error err;
    size_t bytes;
    void *state, *again;

    settings.bf16 = true;
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &config, sizes, 1, test_seed());
    model = models_rough(&config, 1);
    CHECK_STATUS(OK, model_copy(&copy, model, &err));
    CHECK_STATUS(OK, trainer_create(&bf16, model, &settings, &err));
    trainer_run_begin(bf16);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(OK, trainer_step(bf16, model, &jagged.batch, &lessons_small, NULL, &err));
    CHECK_STATUS(OK, trainer_run_end(bf16, model, &err));
    bytes = trainer_state_bytes(bf16);
    state = malloc(bytes);
    again = malloc(bytes);
    CHECK(state != NULL && again != NULL);
    trainer_state_save(bf16, state);
    settings.bf16 = false;
    CHECK_STATUS(OK, trainer_create(&loaded, model, &settings, &err));
    CHECK_STATUS(OK, trainer_state_load(loaded, state, bytes, &err));
    trainer_state_save(loaded, again);
    CHECK(memcmp(state, again, bytes) == 0);
    trainer_destroy(loaded);
    settings.bf16 = true; /* the same two steps, one by one */
    CHECK_STATUS(OK, trainer_create(&loaded, copy, &settings, &err));
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(OK, trainer_step(loaded, copy, &jagged.batch, &lessons_small, NULL, &err));
    CHECK_INT(bytes, trainer_state_bytes(loaded));
    trainer_state_save(loaded, again);
    CHECK(memcmp(state, again, bytes) == 0);
    free(state);
    free(again);
    trainer_destroy(loaded);
    trainer_destroy(bf16);
    model_destroy(copy);
    model_destroy(model);
    CHECK_INT(0, cuemu_reports());
}

/* Below compute capability 8.0 steps are f32, whatever was asked for. Another machine is another
 * process: this program again. */
TEST(cuda_half_training_on_a_device_without_bf16_is_f32)
{
    const struct jagged_size sizes[] = {{9, 5}, {0, 3}};
    const char *machine = getenv("CUEMU_MACHINE");
    struct model_config config = lessons_config(1);
    char command[1024], self[256] = {0};
    struct twins twins;

    cuemu_need_emulator();
    models_backend_is_cuda();
    if (machine == NULL) {
        CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
        (void)snprintf(command, sizeof command,
                       "CUEMU_MACHINE='1 7 5 1 0' %s cuda_half_training_on_a_device >/dev/null",
                       self);
        CHECK(system(command) == 0);
        return;
    }
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &config, sizes, 2, test_seed());
    twins = make_twins(&config, lessons_smooth());
    CHECK(!trainer_is_bf16(twins.trainers[1]));
    CHECK(step_both(&twins, &lessons_small, 1e-3) < 1e-3);
    lessons_drop(&twins);
    CHECK_INT(0, cuemu_reports());
}

/* ---- it learns ---- */

#define ITEMS   7 /* rows 1..6: each is followed by the next, the last by the first */
#define STEPS   48
#define LONGEST 4

static int32_t after(int32_t item)
{
    return item % (ITEMS - 1) + 1;
}

/* Two users, whose next item is planted, and clicked when it is shown among others. */
static void plant(const struct model_config *config, struct random *random, uint64_t seed)
{
    const struct jagged_size sizes[] = {{LONGEST, 3}, {LONGEST - 1, 3}};

    jagged_fill(&jagged, config, sizes, 2, seed);
    for (int32_t b = 0; b < 2; b++) {
        int32_t item = 1 + device_below(random, ITEMS - 1), right = device_below(random, 3);

        for (int32_t t = jagged.history_start[b]; t < jagged.history_start[b + 1]; t++) {
            jagged.item[t] = item;
            jagged.next_item[t] = item = after(item);
        }
        for (int32_t i = 0; i < 3; i++) {
            int32_t at = jagged.candidate_start[b] + i;

            jagged.label[at] = i == right ? 1 : 0;
            jagged.candidate_item[at] = i == right ? item
                                                   : after(1 + (item + device_below(random, 3)) %
                                                                   (ITEMS - 1));
        }
    }
}

/* Mean losses of the last steps. */
static double learn(struct model *model, struct trainer *trainer,
                    const struct trainer_objective *objective)
{
    struct random random;
    struct error err;
    double sum = 0;

    random_seed(&random, 5);
    trainer_run_begin(trainer);
    for (int i = 0; i < STEPS; i++) {
        struct trainer_losses losses;

        plant(model_config(model), &random, (uint64_t)i);
        CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, objective, &losses, &err));
        sum += i >= STEPS - 20 ? losses.total / 20 : 0;
    }
    CHECK_STATUS(OK, trainer_run_end(trainer, model, &err));
    CHECK_STATUS(OK, model_prepare(model, &err));
    return sum;
}

/* How often the planted item is the best of all. */
static double found(const struct model *model)
{
    struct model_workspace *workspace = model_workspace_create();
    float scores[2 * ITEMS];
    struct random random;
    struct error err;
    int right = 0;

    random_seed(&random, 77);
    for (int i = 0; i < 5; i++) {
        plant(model_config(model), &random, 1000 + (uint64_t)i);
        CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, scores, &err));
        for (int32_t b = 0; b < 2; b++) {
            int32_t best = 1;

            for (int32_t v = 1; v < ITEMS; v++)
                best = scores[b * ITEMS + v] > scores[b * ITEMS + best] ? v : best;
            right += best == jagged.next_item[jagged.history_start[b + 1] - 1];
        }
    }
    model_workspace_destroy(workspace);
    return right / 10.0;
}

TEST(cuda_half_training_finds_what_f32_finds)
{
    struct trainer_objective objective = {.list = 1, .next = 1, .negatives = 6};
    struct model_config config = {.C = 16,
                                  .L = 1,
                                  .H = 1,
                                  .P = 8,
                                  .V = ITEMS,
                                  .A = 4,
                                  .R = 16,
                                  .W = 16,
                                  .crosses = 1,
                                  .tau = .1f};
    struct trainer_config settings;
    struct model *models[2];
    double losses[2], first = 0;
    struct error err;

    models_backend_is_cuda();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    trainer_defaults(&settings);
    settings.learning_rate = .01f;
    settings.warmup_steps = 5;
    settings.bf16 = true;
    for (int i = 0; i < 2; i++) {
        struct trainer_losses before;
        struct random random;
        struct trainer *trainer;

        CHECK_STATUS(OK, model_create(&models[i], &config, 1, &err));
        CHECK_STATUS(OK, trainer_create(&trainer, models[i], &settings, &err));
        if (i == 0)
            trainer->backend = NULL;
        CHECK(trainer_is_bf16(trainer) == (i == 1));
        random_seed(&random, 5);
        plant(&config, &random, 0);
        CHECK_STATUS(
            OK, trainer_evaluate(trainer, models[i], &jagged.batch, &objective, 1, &before, &err));
        first = before.total;
        losses[i] = learn(models[i], trainer, &objective);
        trainer_destroy(trainer);
    }
    CHECK(losses[0] < .25 * first && losses[1] < .25 * first);
    CHECK_NEAR(losses[0], losses[1], .03 * first);
    CHECK(found(models[0]) >= .7 && found(models[1]) >= .7);
    model_destroy(models[0]);
    model_destroy(models[1]);
    CHECK_INT(0, cuemu_reports());
}
