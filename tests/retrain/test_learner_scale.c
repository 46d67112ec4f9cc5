/*
 * Tests retrain/learner_scale: mean and scale against sums by hand, a scalar that never moves, and
 * what another model or a state file brings.
 */
#include "retrain/learner_inside.h"

#include "features/scalars.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 50

static struct error err;
static float scalars[ROWS * BATCH_SCALARS_MAX];

static struct model *create(void)
{
    struct model_config config;
    struct model *model;

    CHECK(model_preset(&config, "small", 1, scalars_count));
    CHECK_STATUS(OK, model_create(&model, &config, 1, &err));
    return model;
}

static float *tensor_of(struct model *model, const char *name)
{
    for (int32_t i = 0; i < model_tensors_count(model); i++)
        if (strcmp(model_tensor(model, i).name, name) == 0)
            return model_tensor(model, i).data;
    test_fail(__FILE__, __LINE__, "no tensor \"%s\"", name);
}

/* Scalar 0 never moves, scalar f is f times the row's number. */
static struct batch batch_from(int first)
{
    for (int i = 0; i < ROWS; i++)
        for (int f = 0; f < scalars_count; f++)
            scalars[i * scalars_count + f] = f == 0 ? 7 : (float)(f * (first + i));
    return (struct batch){.N = ROWS, .F = scalars_count, .scalars = scalars};
}

TEST(learner_scale_is_mean_and_deviation_of_all_rows_seen)
{
    struct model *model = create();
    struct learner_scale scale = {0};
    double mean = (2 * ROWS - 1) / 2.0, deviation = 0;

    for (int i = 0; i < 2; i++) {
        struct batch batch = batch_from(i * ROWS);

        learner_scale_add(&scale, &batch, model);
    }
    for (int i = 0; i < 2 * ROWS; i++)
        deviation += (i - mean) * (i - mean) / (2 * ROWS);
    deviation = sqrt(deviation);
    for (int f = 1; f < scalars_count; f++) {
        CHECK_NEAR(f * mean, tensor_of(model, "scalars.mean")[f], 1e-4 * f * mean);
        CHECK_NEAR(1 / (f * deviation), tensor_of(model, "scalars.scale")[f], 1e-5);
    }
    CHECK_NEAR(7, tensor_of(model, "scalars.mean")[0], 1e-5);
    CHECK_NEAR(10, tensor_of(model, "scalars.scale")[0], 1e-4); /* at most */
    model_destroy(model);
}

TEST(learner_scale_of_no_rows_leaves_the_model_alone)
{
    struct model *model = create();
    struct learner_scale scale = {0};
    struct batch none = {.F = scalars_count};

    learner_scale_add(&scale, &none, model);
    for (int f = 0; f < scalars_count; f++) {
        CHECK_NEAR(0, tensor_of(model, "scalars.mean")[f], 0);
        CHECK_NEAR(1, tensor_of(model, "scalars.scale")[f], 0);
    }
    CHECK(scale.rows == 0);
    model_destroy(model);
}

TEST(learner_scale_adopts_another_models_and_hardly_moves_from_it)
{
    struct model *model = create();
    struct learner_scale scale = {0}, own = {.rows = 3};
    struct batch batch = batch_from(0);

    tensor_of(model, "scalars.mean")[1] = 5;
    tensor_of(model, "scalars.scale")[1] = 2;
    learner_scale_adopt(&scale, model);
    learner_scale_adopt(&own, model);
    CHECK(own.rows == 3 && own.mean[1] == 0); /* counted rows are better */
    learner_scale_add(&scale, &batch, model);
    CHECK_NEAR(5, tensor_of(model, "scalars.mean")[1], .05);
    CHECK_NEAR(2, tensor_of(model, "scalars.scale")[1], .8);
    model_destroy(model);
}

TEST(learner_scale_comes_back_from_a_state_file_and_nonsense_is_refused)
{
    struct learner_scale scale = {.rows = 12}, loaded = {0};
    struct state_file *state;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/state", test_folder());
    for (int f = 0; f < scalars_count; f++) {
        scale.mean[f] = f - .3;
        scale.square[f] = f + 9;
    }
    for (int round = 0; round < 3; round++) {
        CHECK_STATUS(OK, state_file_begin(&state, path, &err));
        learner_scale_save(&scale, state);
        CHECK_STATUS(OK, state_file_commit(state, &err));
        CHECK_STATUS(OK, state_file_open(&state, path, &err));
        learner_scale_load(&loaded, state);
        CHECK_STATUS(round == 0 ? OK : ERR_MALFORMED, state_file_end(state, &err));
        state_file_close(state);
        if (round == 0)
            CHECK(memcmp(&scale, &loaded, sizeof scale) == 0);
        if (round == 0)
            scale.rows = (double)NAN;
        else
            scale.rows = 12;
        if (round == 1)
            scale.mean[2] = (double)INFINITY;
    }
}
