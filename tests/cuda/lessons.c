/* tests/cuda/lessons.c - twins that learn, and the comparison of what they learnt. */
#include "tests/cuda/lessons.h"

#include "kernels/trainer_private.h"
#include "tests/cuda/models.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

const struct trainer_objective lessons_every_term = {.point = .5f,
                                                     .pair = .25f,
                                                     .list = .25f,
                                                     .next = .2f,
                                                     .distil = .3f,
                                                     .negatives = 20,
                                                     .negatives_block = 4};
const struct trainer_objective lessons_of_switches = {
    .point = .5f, .list = .3f, .next = .3f, .negatives = 12, .negatives_block = 4};
const struct trainer_objective lessons_small = {
    .point = 1, .next = .2f, .negatives = 4, .negatives_block = 3};

const struct jagged_size lessons_usual[LESSONS_USUAL] = {{17, 5}, {0, 3}, {34, 2}, {3, 18}, {1, 0}};

struct twins lessons_twins(const struct model_config *config, struct trainer_config trainer)
{
    struct twins twins;
    struct error err;

    for (int i = 0; i < 2; i++) {
        twins.models[i] = models_rough(config, test_seed());
        CHECK_STATUS(OK, trainer_create(&twins.trainers[i], twins.models[i], &trainer, &err));
        CHECK(twins.trainers[i]->backend != NULL);
    }
    twins.trainers[0]->backend = NULL;
    CHECK(!trainer_is_bf16(twins.trainers[0]));
    return twins;
}

void lessons_drop(struct twins *twins)
{
    for (int i = 0; i < 2; i++) {
        trainer_destroy(twins->trainers[i]);
        model_destroy(twins->models[i]);
    }
}

struct model_config lessons_config(int number)
{
    struct random random;

    random_seed(&random, test_seed());
    return models_config(number, &random);
}

struct model_config lessons_softmax(void)
{
    struct model_config config = lessons_config(2);

    config.attention = MODEL_ATTENTION_SOFTMAX;
    config.L = 2;
    return config;
}

struct model_config lessons_switched(int number)
{
    struct model_config config = lessons_config(number);

    switches_set(&config, number);
    config.P += config.contexts;
    config.L = 2;
    return config;
}

struct trainer_config lessons_smooth(void)
{
    struct trainer_config config;

    trainer_defaults(&config);
    config.learning_rate = .5f;
    config.epsilon = 1;
    config.warmup_steps = 0;
    config.clip = .5f;
    return config;
}

struct trainer_config lessons_adagrad(void)
{
    struct trainer_config config = lessons_smooth();

    config.items = TRAINER_ITEMS_ADAGRAD;
    config.clip = 0;
    config.learning_rate = .01f;
    return config;
}

struct model *lessons_step(struct twins *twins, const struct batch *batch,
                           const struct trainer_objective *objective,
                           struct trainer_losses losses[2])
{
    struct model *before;
    struct error err;

    CHECK_STATUS(OK, model_copy(&before, twins->models[0], &err));
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(OK, trainer_step(twins->trainers[i], twins->models[i], batch, objective,
                                      &losses[i], &err));
    return before;
}

void lessons_near_losses(const struct trainer_losses *want, const struct trainer_losses *got,
                         double tolerance, double floor)
{
    const double pairs[][2] = {{want->point, got->point},
                               {want->pair, got->pair},
                               {want->list, got->list},
                               {want->next, got->next},
                               {want->distil, got->distil},
                               {want->total, got->total},
                               {want->gradient_norm, got->gradient_norm}};

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!(fabs(pairs[i][0] - pairs[i][1]) <= tolerance * (floor + fabs(pairs[i][0]))))
            test_fail(__FILE__, __LINE__, "loss %zu: want %.9g, got %.9g", i, pairs[i][0],
                      pairs[i][1]);
    CHECK_INT(want->rows, got->rows);
    CHECK_INT(want->lists, got->lists);
    CHECK_INT(want->targets, got->targets);
}

void lessons_same_bits(struct model *a, struct model *b)
{
    for (int32_t i = 0; i < model_tensors_count(a); i++) {
        struct model_tensor x = model_tensor(a, i), y = model_tensor(b, i);

        if (memcmp(x.data, y.data, x.count * sizeof *x.data) != 0)
            test_fail(__FILE__, __LINE__, "%s differs", x.name);
    }
}
