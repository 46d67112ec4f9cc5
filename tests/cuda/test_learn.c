/*
 * Tests kernels/cuda/learn: whole training steps against the CPU's, with every term of the
 * objective, both heads, both forms of attention, both optimizers of item rows, dropout, and every
 * switched part.
 */
#include "kernels/trainer.h"
#include "kernels/trainer_private.h"

#include "tests/cuda/device.h"
#include "tests/cuda/lessons.h"
#include "tests/cuda/models.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-3 /* of a tensor's largest change: kernels/cuda/tape.h */

static struct jagged jagged;

/* Every tensor changed by the same. */
static void near_models(const struct twins *twins, struct model *before)
{
    for (int32_t i = 0; i < model_tensors_count(before); i++) {
        struct model_tensor old = model_tensor(before, i), cpu = model_tensor(twins->models[0], i),
                            gpu = model_tensor(twins->models[1], i);
        double largest = 0;

        for (size_t k = 0; k < old.count; k++)
            largest = fmax(largest, fabs((double)cpu.data[k] - (double)old.data[k]));
        for (size_t k = 0; k < old.count; k++)
            if (!(fabs((double)cpu.data[k] - (double)gpu.data[k]) <= TOLERANCE * largest + 2e-6))
                test_fail(__FILE__, __LINE__, "%s[%zu]: was %.9g, want %.9g, got %.9g", old.name, k,
                          (double)old.data[k], (double)cpu.data[k], (double)gpu.data[k]);
    }
}

static void near_losses(const struct trainer_losses *want, const struct trainer_losses *got)
{
    lessons_near_losses(want, got, 2e-4, 1);
}

static void step_both(struct twins *twins, const struct trainer_objective *objective)
{
    struct trainer_losses losses[2];
    struct model *before = lessons_step(twins, &jagged.batch, objective, losses);

    near_losses(&losses[0], &losses[1]);
    near_models(twins, before);
    model_destroy(before);
}

/* Two steps: the second has momentum, and rows that it does not touch. */
static void check_steps(const struct model_config *config, struct trainer_config trainer,
                        struct trainer_objective objective, bool weighted)
{
    struct twins twins;

    (void)cuemu_reports();
    models_backend_is_cuda();
    jagged_fill(&jagged, config, lessons_usual, LESSONS_USUAL, test_seed());
    jagged.item[3] = 40; /* outside the table: the unknown row */
    jagged.action[2] = -1;
    jagged.position[4] = 1000;
    if (!weighted)
        jagged.batch.weight = NULL;
    twins = lessons_twins(config, trainer);
    step_both(&twins, &objective);
    step_both(&twins, &objective);
    lessons_drop(&twins);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_training_mixed_silu_cross)
{
    struct model_config config = lessons_config(1);

    config.attention = MODEL_ATTENTION_SILU;
    cuemu_schedule(CUEMU_RANDOM, 1);
    check_steps(&config, lessons_smooth(), lessons_every_term, true);
}

TEST(cuda_training_hinge_lambda_softmax_adagrad)
{
    struct model_config config = lessons_softmax();

    cuemu_schedule(CUEMU_REVERSE, 2);
    check_steps(&config, lessons_adagrad(),
                (struct trainer_objective){.point = .1f,
                                           .pair = 1,
                                           .list = .5f,
                                           .next = 1,
                                           .pair_form = TRAINER_PAIR_HINGE,
                                           .list_form = TRAINER_LIST_LAMBDA,
                                           .negatives = 9},
                true);
}

TEST(cuda_training_lists_dot_decay)
{
    struct model_config config = lessons_config(3);
    struct trainer_config trainer = lessons_smooth();

    config.L = 1;
    config.F = 3;
    trainer.weight_decay = .1f;
    cuemu_schedule(CUEMU_IN_ORDER, 3);
    check_steps(&config, trainer,
                (struct trainer_objective){.point = 1, .list = .3f, .loss_clip = 1.5f}, false);
}

/* A head of 80 channels takes two blocks; sets of one position; drawn by popularity. */
TEST(cuda_training_next_items_wide)
{
    struct model_config config = lessons_config(0);

    config.C = 80;
    config.H = 1;
    config.L = 1;
    cuemu_schedule(CUEMU_RANDOM, 4);
    check_steps(&config, lessons_smooth(),
                (struct trainer_objective){.next = 1, .negatives = 33, .negatives_block = 1}, true);
}

TEST(cuda_training_draws_by_popularity_and_evaluates_as_the_cpu)
{
    const struct jagged_size sizes[] = {{17, 5}, {9, 0}};
    struct trainer_objective objective = {
        .point = 1, .next = 1, .negatives = 12, .negatives_block = 5};
    struct model_config config = lessons_config(1);
    struct trainer_losses losses[2];
    struct twins twins = lessons_twins(&config, lessons_smooth());
    float weights[40];
    struct error err;

    for (int i = 0; i < 40; i++)
        weights[i] = (float)(1 + i % 7);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &config, sizes, 2, test_seed());
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(OK, trainer_set_sampler(twins.trainers[i], weights, 40, &err));
        CHECK_STATUS(OK, trainer_evaluate(twins.trainers[i], twins.models[i], &jagged.batch,
                                          &objective, 77, &losses[i], &err));
    }
    near_losses(&losses[0], &losses[1]);
    step_both(&twins, &objective);
    lessons_drop(&twins);
    CHECK_INT(0, cuemu_reports());
}

/* A saved state goes on in another trainer; the table grows; what teaches nothing changes nothing.
 */
TEST(cuda_training_goes_on_after_a_load_and_a_grown_table)
{
    const struct jagged_size sizes[] = {{6, 5}};
    struct model_config config = lessons_config(1);
    struct twins twins = lessons_twins(&config, lessons_smooth());
    struct trainer_losses losses;
    struct error err;
    size_t bytes;
    void *state;

    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &config, sizes, 1, test_seed());
    step_both(&twins, &lessons_small);
    bytes = trainer_state_bytes(twins.trainers[0]);
    state = malloc(bytes);
    CHECK(state != NULL);
    trainer_state_save(twins.trainers[0], state);
    step_both(&twins, &lessons_small);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(OK, trainer_state_load(twins.trainers[i], state, bytes, &err));
    step_both(&twins, &lessons_small);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(OK, model_grow_items(twins.models[i], 60, &err));
    jagged.item[2] = 55;
    step_both(&twins, &lessons_small);
    jagged.batch.label = NULL;
    jagged.batch.teacher = NULL;
    jagged.batch.next_item = NULL;
    CHECK_STATUS(OK, trainer_step(twins.trainers[1], twins.models[1], &jagged.batch, &lessons_small,
                                  &losses, &err));
    CHECK_INT(4, trainer_steps(twins.trainers[1]) + 1);
    near_models(&twins, twins.models[0]);
    free(state);
    lessons_drop(&twins);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_training_is_the_same_to_the_bit_in_any_order)
{
    const struct jagged_size sizes[] = {{17, 5}, {9, 20}};
    struct trainer_objective objective = {
        .pair = 1, .next = 1, .negatives = 12, .negatives_block = 5};
    struct model_config config = lessons_config(2);
    struct model *models[2];
    struct error err;

    cuemu_need_emulator();
    jagged_fill(&jagged, &config, sizes, 2, test_seed());
    for (int i = 0; i < 2; i++) {
        struct trainer_config settings = lessons_smooth();
        struct trainer *trainer;

        models[i] = models_rough(&config, 1);
        CHECK_STATUS(OK, trainer_create(&trainer, models[i], &settings, &err));
        cuemu_schedule(i == 0 ? CUEMU_REVERSE : CUEMU_RANDOM, 9);
        CHECK_STATUS(OK, trainer_step(trainer, models[i], &jagged.batch, &objective, NULL, &err));
        trainer_destroy(trainer);
    }
    lessons_same_bits(models[0], models[1]);
    model_destroy(models[0]);
    model_destroy(models[1]);
    CHECK_INT(0, cuemu_reports());
}

/* The masks are the CPU's, in every layer, with candidates alone in the last one or not. */
TEST(cuda_training_drops_what_the_cpu_drops)
{
    for (int number = 0; number < 2; number++) {
        struct model_config config = lessons_config(1 + number);
        struct trainer_config trainer = lessons_smooth();

        config.C = 32;
        config.L = 2;
        trainer.dropout = .1f + .3f * (float)number;
        trainer.learning_rate = .05f;
        cuemu_schedule((enum cuemu_order)number, 5);
        check_steps(&config, trainer,
                    (struct trainer_objective){.point = .5f,
                                               .list = .5f,
                                               .next = number == 0 ? .2f : 0,
                                               .negatives = 12,
                                               .negatives_block = 4},
                    true);
    }
}

/* Texts teach their projection, context its own rows; a switched bias is neither read nor moved. */
static void check_switch(int number)
{
    struct model_config config = lessons_switched(number);
    struct trainer_config trainer = lessons_smooth();

    trainer.dropout = number == SWITCHES - 1 ? .2f : 0;
    trainer.items = number == SWITCHES - 1 ? TRAINER_ITEMS_ADAGRAD : TRAINER_ITEMS_ADAMW;
    trainer.learning_rate = .05f;
    cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), 6);
    check_steps(&config, trainer, lessons_of_switches, true);
}

TEST(cuda_training_with_context)
{
    check_switch(3);
}

TEST(cuda_training_with_texts)
{
    check_switch(4);
}

TEST(cuda_training_with_every_switch_and_dropout)
{
    check_switch(SWITCHES - 1);
}

/* ---- runs of steps ---- */

static float *mean_of(struct model *model)
{
    for (int32_t i = 0; i < model_tensors_count(model); i++)
        if (strcmp(model_tensor(model, i).name, "scalars.mean") == 0)
            return model_tensor(model, i).data;
    test_fail(__FILE__, __LINE__, "no means");
    return NULL;
}

static void equal_models(struct model *a, struct model *b, double tolerance)
{
    for (int32_t i = 0; i < model_tensors_count(a); i++) {
        struct model_tensor x = model_tensor(a, i), y = model_tensor(b, i);

        for (size_t k = 0; k < x.count; k++)
            CHECK_NEAR((double)x.data[k], (double)y.data[k], tolerance);
    }
}

/* Moments and all, as a checkpoint has them. */
static void equal_states(const struct trainer *a, const struct trainer *b)
{
    size_t bytes = trainer_state_bytes(a);
    char *x = malloc(bytes), *y = malloc(bytes);

    CHECK(x != NULL && y != NULL);
    CHECK_INT((int64_t)bytes, (int64_t)trainer_state_bytes(b));
    trainer_state_save(a, x);
    trainer_state_save(b, y);
    CHECK(memcmp(x, y, bytes) == 0);
    free(x);
    free(y);
}

/* Steps of both on the device, [1] in a run, whose model stays as it was until the end. A mean is
 * set in front of each step, as who learns of scalars does. */
static void run_of_steps(struct twins *twins, const struct trainer_objective *objective,
                         double tolerance)
{
    struct trainer_losses losses[2];
    struct model *before;
    struct error err;

    CHECK_STATUS(OK, model_copy(&before, twins->models[1], &err));
    trainer_run_begin(twins->trainers[1]);
    for (int step = 0; step < 3; step++) {
        mean_of(before)[0] = .1f * (float)step;
        for (int i = 0; i < 2; i++) {
            mean_of(twins->models[i])[0] = .1f * (float)step;
            CHECK_STATUS(OK, trainer_step(twins->trainers[i], twins->models[i], &jagged.batch,
                                          objective, NULL, &err));
            CHECK_STATUS(OK, trainer_evaluate(twins->trainers[i], twins->models[i], &jagged.batch,
                                              objective, 5, &losses[i], &err));
        }
        CHECK_NEAR(losses[0].total, losses[1].total, tolerance * (1 + losses[0].total));
        equal_models(before, twins->models[1], 0);
    }
    CHECK_STATUS(OK, trainer_run_end(twins->trainers[1], twins->models[1], &err));
    model_destroy(before);
}

static void check_runs(const struct model_config *config, struct trainer_config trainer,
                       double tolerance)
{
    const struct jagged_size sizes[] = {{9, 5}, {3, 7}};
    const struct trainer_objective objective = {
        .point = .5f, .list = .5f, .next = .3f, .negatives = 9, .negatives_block = 4};
    struct twins twins = lessons_twins(config, trainer);
    struct error err;

    twins.trainers[0]->backend = twins.trainers[1]->backend;
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, config, sizes, 2, test_seed());
    for (int run = 0; run < 2; run++) {
        run_of_steps(&twins, &objective, tolerance);
        equal_models(twins.models[0], twins.models[1], tolerance);
        if (tolerance == 0)
            equal_states(twins.trainers[0], twins.trainers[1]);
        /* Between runs the host's are the ones that count. */
        for (int i = 0; i < 2; i++) {
            model_item(twins.models[i], 3)[0] += .5f;
            CHECK_STATUS(OK, model_grow_items(twins.models[i], 45 + 5 * run, &err));
            trainer_forget_item(twins.trainers[i], 3);
        }
    }
    CHECK_STATUS(OK, trainer_run_end(twins.trainers[1], twins.models[1], &err));
    lessons_drop(&twins);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_training_in_a_run_is_the_same_to_the_bit)
{
    struct model_config config = lessons_config(1);

    config.F = 3;
    check_runs(&config, lessons_smooth(), 0);
}

/* What rows read of their texts is added up in another order on the device. */
TEST(cuda_training_in_a_run_with_texts_and_context)
{
    struct model_config config = lessons_config(1);
    struct trainer_config trainer = lessons_smooth();

    switches_set(&config, SWITCHES - 1);
    config.P += config.contexts;
    config.F = 3;
    trainer.items = TRAINER_ITEMS_ADAGRAD;
    check_runs(&config, trainer, 1e-4);
}
