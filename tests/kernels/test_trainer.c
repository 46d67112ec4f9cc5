/*
 * Tests kernels/trainer: gradients of the whole model against differences of the literal model in
 * double, the same bits for the same seed, a resume that changes nothing, and that it learns.
 */
#include "kernels/trainer.h"

#include "kernels/network.h"
#include "kernels/trainer_private.h"
#include "ops/random.h"
#include "tests/kernels/jagged.h"
#include "tests/kernels/literal.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct jagged_size sizes[] = {{0, 5}, {1, 1}, {17, 7}, {9, 0}, {5, 14}};
#define SIZES        ((int32_t)(sizeof sizes / sizeof *sizes))
#define HEADER_BYTES 64 /* of a saved state */

static struct jagged jagged;

static struct model_config tiny(enum model_attention attention, enum model_head head)
{
    return (struct model_config){.C = 32,
                                 .L = 2,
                                 .H = 2,
                                 .P = 20,
                                 .V = 13,
                                 .A = 4,
                                 .F = 3,
                                 .R = 16,
                                 .W = 32,
                                 .crosses = 2,
                                 .attention = attention,
                                 .head = head,
                                 .tau = .2f};
}

static struct model *rough_model(const struct model_config *config, uint64_t seed)
{
    struct random random;
    struct model *model;
    struct error err;

    CHECK_STATUS(OK, model_create(&model, config, seed, &err));
    random_seed(&random, seed);
    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor t = model_tensor(model, i);
        double size = t.dims_count == 2 ? .2 : .3;

        for (size_t k = 0; k < t.count; k++)
            t.data[k] = (float)(size * random_normal(&random)) +
                        (strcmp(t.name, "scalars.scale") == 0 ? 1 : 0);
        if (strcmp(t.name, "position") == 0)
            t.data[0] = t.data[1] = 0; /* fixed */
    }
    CHECK_STATUS(OK, model_prepare(model, &err));
    return model;
}

/* Gradients that a step computes: with beta1 = 0 they are the first moments of its state. */
struct gradients {
    struct network_layout layout;
    float *bytes;
    const float *dense, *items;
    uint64_t seed;
};

static void gradients_take(struct gradients *g, struct model *model, const struct batch *batch,
                           const struct trainer_objective *objective, double *loss)
{
    struct trainer_config config;
    struct trainer_losses losses;
    struct trainer *trainer;
    struct random random;
    struct error err;

    trainer_defaults(&config);
    config.beta1 = 0;
    config.learning_rate = 0;
    config.clip = 0;
    config.threads = 2;
    config.seed = 99;
    random_seed(&random, 99);
    g->seed = random_u64(&random);
    g->layout = *model_network(model).layout;
    CHECK_STATUS(OK, trainer_create(&trainer, model, &config, &err));
    CHECK_STATUS(OK, trainer_step(trainer, model, batch, objective, &losses, &err));
    *loss = losses.total;
    g->bytes = malloc(trainer_state_bytes(trainer));
    trainer_state_save(trainer, g->bytes);
    g->dense = g->bytes + HEADER_BYTES / sizeof(float);
    g->items = g->dense + 2 * g->layout.floats;
    trainer_destroy(trainer);
}

static const float *gradient_of(const struct gradients *g, const char *name)
{
    if (strcmp(name, "emb") == 0)
        return g->items;
    for (int32_t i = 0; i < g->layout.count; i++)
        if (strcmp(g->layout.tensors[i].name, name) == 0)
            return g->dense + g->layout.tensors[i].offset;
    CHECK(!"a gradient of that name");
    return NULL;
}

static bool is_learnt(const struct model_config *config, const char *name, size_t k)
{
    if (strcmp(name, "platt") == 0 || strcmp(name, "text") == 0 ||
        strncmp(name, "scalars.", 8) == 0)
        return false;
    if (strstr(name, "r_pos") != NULL && config->without_position)
        return false;
    if (strstr(name, "r_time") != NULL && config->without_time)
        return false;
    return strcmp(name, "position") != 0 || k > 1;
}

/* Compares elements of every tensor with central differences of the literal loss. */
static void check_gradients(const struct model_config *config,
                            const struct trainer_objective *objective, size_t elements)
{
    struct model *model = rough_model(config, test_seed());
    struct literal literal;
    struct gradients g;
    struct random random;
    double loss;

    jagged_fill(&jagged, config, sizes, SIZES, test_seed() + 1);
    gradients_take(&g, model, &jagged.batch, objective, &loss);
    literal_from_model(&literal, model);
    CHECK_NEAR(literal_loss(&literal, &jagged.batch, objective, g.seed), loss,
               1e-4 * (1 + fabs(loss)));
    random_seed(&random, test_seed());
    for (int32_t i = 0; i < literal.count; i++) {
        const float *got = strcmp(literal.names[i], "text") == 0
                               ? NULL
                               : gradient_of(&g, literal.names[i]);
        size_t count = literal.sizes[i] < elements ? literal.sizes[i] : elements;

        for (size_t e = 0; got != NULL && e < count; e++) {
            size_t k = count == literal.sizes[i] ? e : random_below(&random, literal.sizes[i]);
            double at = literal.values[i][k], h = 1e-5, up, down, want;

            literal.values[i][k] = at + h;
            up = literal_loss(&literal, &jagged.batch, objective, g.seed);
            literal.values[i][k] = at - h;
            down = literal_loss(&literal, &jagged.batch, objective, g.seed);
            literal.values[i][k] = at;
            want = is_learnt(config, literal.names[i], k) ? (up - down) / (2 * h) : 0;
            CHECK_NEAR(want, (double)got[k], 1e-3 * fabs(want) + 2e-5);
        }
    }
    free(g.bytes);
    literal_clear(&literal);
    model_destroy(model);
}

TEST(trainer_gradients_are_the_slopes_of_the_loss_silu_cross_all_terms)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    const struct trainer_objective all = {.point = .5f,
                                          .pair = .7f,
                                          .list = 1.1f,
                                          .next = .4f,
                                          .distil = .3f,
                                          .negatives = 20,
                                          .negatives_block = 4};

    check_gradients(&config, &all, 6);
}

TEST(trainer_gradients_are_the_slopes_of_the_loss_softmax_dot)
{
    struct model_config config = tiny(MODEL_ATTENTION_SOFTMAX, MODEL_HEAD_DOT);
    const struct trainer_objective all = {.point = .5f,
                                          .pair = .7f,
                                          .next = .4f,
                                          .negatives = 5,
                                          .negatives_block = 0,
                                          .pair_form = TRAINER_PAIR_HINGE};

    check_gradients(&config, &all, 6);
}

/* Without next items the last layer's history is pruned: another path. */
TEST(trainer_gradients_are_the_slopes_of_the_loss_lists_alone)
{
    for (int form = 0; form < 2; form++) {
        struct model_config config = tiny((enum model_attention)form, MODEL_HEAD_CROSS);
        const struct trainer_objective list = {.list = 1};

        check_gradients(&config, &list, 4);
    }
}

TEST(trainer_gradients_are_the_slopes_of_the_loss_next_alone)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    const struct trainer_objective next = {.next = 1, .negatives = 33, .negatives_block = 16};

    check_gradients(&config, &next, 5);
}

/* Each switch alone, with one form of attention or the other, and all together with both. */
TEST(trainer_gradients_are_the_slopes_of_the_loss_for_every_switch)
{
    const struct trainer_objective all = {
        .point = .5f, .pair = .3f, .list = 1, .next = .4f, .negatives = 6, .negatives_block = 4};

    for (int number = 1; number <= SWITCHES; number++) {
        struct model_config config = tiny((enum model_attention)(number % 2),
                                          number % 3 == 0 ? MODEL_HEAD_DOT : MODEL_HEAD_CROSS);

        switches_set(&config, number < SWITCHES ? number : SWITCHES - 1);
        config.P += config.contexts;
        check_gradients(&config, &all, 2);
    }
}

/* No leakage: the loss at a token, to the bit, whatever happens after it. */
TEST(trainer_loss_of_a_token_is_not_changed_by_what_comes_after_it)
{
    static const struct jagged_size one[] = {{18, 3}};
    const struct trainer_objective next = {.next = 1, .negatives = 9, .negatives_block = 4};

    for (int number = 0; number < 2 * SWITCHES; number++) {
        struct model_config config = tiny((enum model_attention)(number % 2), MODEL_HEAD_CROSS);
        struct trainer_losses before, after;
        struct trainer_config settings;
        struct trainer *trainer;
        struct model *model;
        struct error err;

        switches_set(&config, number / 2);
        config.P += config.contexts;
        model = rough_model(&config, test_seed());
        trainer_defaults(&settings);
        CHECK_STATUS(OK, trainer_create(&trainer, model, &settings, &err));
        for (int32_t cut = 1; cut < 18; cut++) {
            jagged_fill(&jagged, &config, one, 1, test_seed());
            for (int32_t j = 0; j < 18; j++)
                jagged.next_item[j] = j == cut - 1 ? 3 : BATCH_ITEM_NONE;
            CHECK_STATUS(OK,
                         trainer_evaluate(trainer, model, &jagged.batch, &next, 5, &before, &err));
            for (int32_t j = cut; j < 18; j++) {
                jagged.item[j] = (jagged.item[j] + 1) % config.V;
                jagged.action[j] = 1 + jagged.action[j] % (config.A - 1);
                jagged.time_ms[j] += 1000000;
            }
            jagged.request_time_ms[0] += 9000000;
            CHECK_STATUS(OK,
                         trainer_evaluate(trainer, model, &jagged.batch, &next, 5, &after, &err));
            CHECK_INT(1, before.targets);
            CHECK(before.next == after.next && before.next > 0);
        }
        trainer_destroy(trainer);
        model_destroy(model);
    }
}

static void step(struct trainer *trainer, struct model *model, uint64_t seed)
{
    struct trainer_objective mix;
    struct error err;

    CHECK(trainer_objective_preset(&mix, "mix"));
    mix.negatives = 17;
    jagged_fill(&jagged, model_config(model), sizes, SIZES, seed);
    CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &mix, NULL, &err));
}

static void check_same_weights(struct model *a, struct model *b)
{
    for (int32_t i = 0; i < model_tensors_count(a); i++) {
        struct model_tensor t = model_tensor(a, i);

        CHECK(memcmp(t.data, model_tensor(b, i).data, t.count * sizeof(float)) == 0);
    }
}

static struct trainer *new_trainer(const struct model *model, int threads, enum trainer_items items)
{
    struct trainer_config config;
    struct trainer *trainer;
    struct error err;

    trainer_defaults(&config);
    config.threads = threads;
    config.items = items;
    config.dropout = .2f;
    config.weight_decay = .01f;
    config.warmup_steps = 3;
    CHECK_STATUS(OK, trainer_create(&trainer, model, &config, &err));
    return trainer;
}

TEST(trainer_runs_of_one_seed_give_the_same_bits)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);

    for (int threads = 1; threads <= 3; threads++) {
        struct model *a = rough_model(&config, 4), *b = rough_model(&config, 4);
        struct trainer *ta = new_trainer(a, threads, TRAINER_ITEMS_ADAMW);
        struct trainer *tb = new_trainer(b, threads, TRAINER_ITEMS_ADAMW);

        for (uint64_t i = 0; i < 5; i++)
            step(ta, a, i);
        for (uint64_t i = 0; i < 5; i++)
            step(tb, b, i);
        check_same_weights(a, b);
        trainer_destroy(ta);
        trainer_destroy(tb);
        model_destroy(a);
        model_destroy(b);
    }
}

/* Whatever is asked for, and it says so; tests/cuemu has the GPU's. */
TEST(trainer_on_the_cpu_learns_in_f32)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    struct model *a = rough_model(&config, 4), *b = rough_model(&config, 4);
    struct trainer *asked, *plain = new_trainer(b, 1, TRAINER_ITEMS_ADAMW);
    struct trainer_config settings = plain->config;
    struct error err;

    settings.bf16 = true;
    CHECK_STATUS(OK, trainer_create(&asked, a, &settings, &err));
    if (asked->backend != NULL)
        SKIP("a GPU learns here");
    CHECK(!trainer_is_bf16(asked) && !trainer_is_bf16(plain));
    CHECK_TEXT("a CPU learns in f32 alone", trainer_products(asked));
    CHECK_TEXT("f32 is asked for", trainer_products(plain));
    step(asked, a, 1);
    step(plain, b, 1);
    check_same_weights(a, b);
    trainer_destroy(asked);
    trainer_destroy(plain);
    model_destroy(a);
    model_destroy(b);
}

TEST(trainer_that_was_saved_and_loaded_goes_on_to_the_bit)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);

    for (int items = 0; items < 2; items++) {
        struct model *a = rough_model(&config, 4), *b;
        struct trainer *ta = new_trainer(a, 2, (enum trainer_items)items), *tb;
        char *bytes;
        size_t count;
        struct error err;

        for (uint64_t i = 0; i < 3; i++)
            step(ta, a, i);
        CHECK_STATUS(OK, model_grow_items(a, 40, &err));
        step(ta, a, 3);
        count = trainer_state_bytes(ta);
        bytes = malloc(count);
        trainer_state_save(ta, bytes);
        CHECK_STATUS(OK, model_copy(&b, a, &err));
        tb = new_trainer(b, 2, (enum trainer_items)items);
        step(tb, b, 7); /* whatever it knew is replaced */
        model_destroy(b);
        CHECK_STATUS(OK, model_copy(&b, a, &err));
        CHECK_STATUS(OK, trainer_state_load(tb, bytes, count, &err));
        CHECK_INT(4, trainer_steps(tb));
        for (uint64_t i = 4; i < 8; i++)
            step(ta, a, i);
        for (uint64_t i = 4; i < 8; i++)
            step(tb, b, i);
        check_same_weights(a, b);
        free(bytes);
        trainer_destroy(ta);
        trainer_destroy(tb);
        model_destroy(a);
        model_destroy(b);
    }
}

/* Bytes of the state that are not zero, of the item rows' moments (AdamW). */
static size_t moments_held(const struct trainer *trainer, int32_t C, int32_t row)
{
    size_t count = trainer_state_bytes(trainer), held = 0;
    char *bytes = malloc(count);
    int64_t floats;
    const char *at;

    CHECK(bytes != NULL);
    trainer_state_save(trainer, bytes);
    memcpy(&floats, bytes + 8, sizeof floats);
    at = bytes + 64 + (size_t)(2 * floats + (int64_t)row * C) * sizeof(float);
    for (size_t i = 0; i < (size_t)C * sizeof(float); i++)
        held += at[i] != 0;
    free(bytes);
    return held;
}

TEST(trainer_forgets_an_item_and_no_other)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    struct model *model = rough_model(&config, 4);
    struct trainer *trainer = new_trainer(model, 1, TRAINER_ITEMS_ADAMW);
    int32_t row = 1, C = config.C;
    size_t next;

    for (uint64_t i = 0; i < 3; i++)
        step(trainer, model, i);
    while (row + 2 < config.V &&
           (moments_held(trainer, C, row) == 0 || moments_held(trainer, C, row + 1) == 0))
        row++;
    next = moments_held(trainer, C, row + 1);
    CHECK(moments_held(trainer, C, row) > 0 && next > 0);
    trainer_forget_item(trainer, row);
    trainer_forget_item(trainer, config.V + 5); /* of which it knows nothing */
    CHECK(moments_held(trainer, C, row) == 0 && moments_held(trainer, C, row + 1) == next);
    trainer_destroy(trainer);
    model_destroy(model);
}

TEST(trainer_state_load_refuses_every_truncation_and_flipped_byte)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_DOT);
    struct model *model;
    struct trainer *trainer, *other;
    size_t count;
    char *bytes;
    struct error err;

    config.L = 1;
    config.V = 3;
    model = rough_model(&config, 1);
    trainer = new_trainer(model, 1, TRAINER_ITEMS_ADAMW);
    count = trainer_state_bytes(trainer);
    bytes = malloc(count + 1);
    trainer_state_save(trainer, bytes);
    for (size_t cut = 0; cut < count; cut += cut < 100 || cut + 100 > count ? 1 : 97)
        CHECK_STATUS(ERR_MALFORMED, trainer_state_load(trainer, bytes, cut, &err));
    CHECK_STATUS(ERR_MALFORMED, trainer_state_load(trainer, bytes, count + 1, &err));
    for (size_t i = 0; i < count; i += i < 100 || i + 100 > count ? 1 : 97) {
        bytes[i] ^= 0x40;
        CHECK(trainer_state_load(trainer, bytes, count, &err) != OK);
        bytes[i] ^= 0x40;
    }
    other = new_trainer(model, 1, TRAINER_ITEMS_ADAGRAD);
    CHECK_STATUS(ERR_CONFLICT, trainer_state_load(other, bytes, count, &err));
    CHECK_STATUS(OK, trainer_state_load(trainer, bytes, count, &err));
    free(bytes);
    trainer_destroy(trainer);
    trainer_destroy(other);
    model_destroy(model);
}

TEST(trainer_without_anything_to_learn_changes_nothing)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    struct model *model = rough_model(&config, 4), *before;
    struct trainer *trainer = new_trainer(model, 2, TRAINER_ITEMS_ADAMW);
    struct trainer_objective list;
    struct trainer_losses losses;
    struct error err;

    CHECK_STATUS(OK, model_copy(&before, model, &err));
    CHECK(trainer_objective_preset(&list, "list"));
    jagged_fill(&jagged, &config, sizes, SIZES, 1);
    jagged.batch.label = NULL;
    jagged.batch.next_item = NULL;
    CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &list, &losses, &err));
    jagged.batch = (struct batch){.F = 3};
    CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &list, &losses, &err));
    CHECK_INT(0, trainer_steps(trainer));
    CHECK(losses.total == 0 && losses.rows == 0 && losses.targets == 0);
    check_same_weights(model, before);
    trainer_destroy(trainer);
    model_destroy(model);
    model_destroy(before);
}

TEST(trainer_rejects_a_gradient_that_is_not_finite)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    struct model *model = rough_model(&config, 4), *before;
    struct trainer *trainer = new_trainer(model, 1, TRAINER_ITEMS_ADAMW);
    struct trainer_objective list;
    struct error err;

    CHECK_STATUS(OK, model_copy(&before, model, &err));
    CHECK(trainer_objective_preset(&list, "list"));
    jagged_fill(&jagged, &config, sizes, SIZES, 1);
    jagged.scalars[5] = NAN;
    CHECK_STATUS(ERR_REJECTED, trainer_step(trainer, model, &jagged.batch, &list, NULL, &err));
    check_same_weights(model, before);
    CHECK_INT(0, trainer_steps(trainer));
    trainer_destroy(trainer);
    model_destroy(model);
    model_destroy(before);
}

TEST(trainer_refuses_settings_outside_their_bounds)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    struct model *model = rough_model(&config, 4);
    struct trainer_config bad[6];
    struct trainer *trainer;
    struct trainer_objective objective = {.next = 1};
    const float weights[3] = {1, NAN, 1}, none[3] = {1, 0, 0};
    struct error err;

    for (int i = 0; i < 6; i++)
        trainer_defaults(&bad[i]);
    bad[0].threads = 0;
    bad[1].threads = TRAINER_THREADS_MAX + 1;
    bad[2].beta2 = 1;
    bad[3].learning_rate = NAN;
    bad[4].dropout = 1;
    bad[5].epsilon = 0;
    for (int i = 0; i < 6; i++)
        CHECK_STATUS(ERR_LIMIT, trainer_create(&trainer, model, &bad[i], &err));
    trainer = new_trainer(model, 1, TRAINER_ITEMS_ADAMW);
    CHECK_STATUS(ERR_LIMIT, trainer_set_sampler(trainer, weights, 3, &err));
    CHECK_STATUS(ERR_LIMIT, trainer_set_sampler(trainer, none, 3, &err));
    jagged_fill(&jagged, &config, sizes, SIZES, 1);
    CHECK_STATUS(ERR_LIMIT, trainer_step(trainer, model, &jagged.batch, &objective, NULL, &err));
    trainer_destroy(trainer);
    model_destroy(model);
}

/* Sequences in which item i is followed by i - 1 (mod 50), after a random start; now and then a
 * popular item, 51, comes in between. */
static void fill_pattern(struct jagged *j, struct random *random)
{
    for (int32_t b = 0; b < j->batch.B; b++) {
        int32_t at = (int32_t)random_below(random, 50);

        for (int32_t t = j->history_start[b]; t < j->history_start[b + 1]; t++) {
            j->item[t] = at == 50 ? 51 : 1 + at;
            at = random_unit(random) < .1 ? 50
                 : at == 50               ? (int32_t)random_below(random, 50)
                                          : (at + 49) % 50;
            j->next_item[t] = at == 50 ? 51 : 1 + at;
        }
    }
}

TEST(trainer_learns_which_item_comes_next_far_above_popularity)
{
    const struct jagged_size twelve[] = {{12, 0}, {12, 0}, {12, 0}, {12, 0}, {12, 0}, {12, 0},
                                         {12, 0}, {12, 0}, {12, 0}, {12, 0}, {12, 0}, {12, 0}};
    struct model_config config;
    struct trainer_config settings;
    struct trainer_objective next;
    struct model *model;
    struct trainer *trainer;
    struct model_workspace *workspace = model_workspace_create();
    struct random random;
    float scores[12 * 60];
    int hits = 0, targets = 0;
    struct error err;

    CHECK(model_preset(&config, "small", 60, 0) && trainer_objective_preset(&next, "next"));
    CHECK_STATUS(OK, model_create(&model, &config, 1, &err));
    trainer_defaults(&settings);
    CHECK_STATUS(OK, trainer_create(&trainer, model, &settings, &err));
    random_seed(&random, test_seed());
    jagged_fill(&jagged, &config, twelve, 12, 1);
    for (int i = 0; i < 250; i++) {
        fill_pattern(&jagged, &random);
        CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &next, NULL, &err));
    }
    CHECK_STATUS(OK, model_prepare(model, &err));
    for (int round = 0; round < 10; round++) {
        fill_pattern(&jagged, &random);
        CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, scores, &err));
        for (int b = 0; b < 12; b++) {
            int32_t target = jagged.next_item[jagged.history_start[b + 1] - 1];
            int32_t best = 1;

            for (int32_t v = 1; v < 60; v++)
                best = scores[b * 60 + v] > scores[b * 60 + best] ? v : best;
            hits += best == target;
            targets++;
        }
    }
    CHECK_NEAR(.8, hits / (double)targets, .2); /* popularity alone: .1 */
    model_workspace_destroy(workspace);
    trainer_destroy(trainer);
    model_destroy(model);
}

TEST(trainer_learns_lists_from_scalars_and_taste)
{
    const struct jagged_size ten[] = {{4, 10}, {4, 10}, {4, 10}, {4, 10},
                                      {4, 10}, {4, 10}, {4, 10}, {4, 10}};
    struct model_config config;
    struct trainer_config settings;
    struct trainer_objective list;
    struct trainer_losses losses;
    struct model *model;
    struct trainer *trainer;
    struct random random;
    double first = 0, last = 0;
    struct error err;

    CHECK(model_preset(&config, "small", 40, 2) && trainer_objective_preset(&list, "list"));
    list.point = list.next = 0;
    CHECK_STATUS(OK, model_create(&model, &config, 1, &err));
    trainer_defaults(&settings);
    settings.threads = 2;
    CHECK_STATUS(OK, trainer_create(&trainer, model, &settings, &err));
    random_seed(&random, test_seed());
    for (int i = 0; i < 400; i++) {
        jagged_fill(&jagged, &config, ten, 8, random_u64(&random));
        jagged.batch.weight = NULL;
        for (int32_t c = 0; c < 80; c++) {
            /* Half of the history's items share a parity: the clicked one does too, and has the
             * highest first scalar among those that do. */
            int32_t parity = jagged.item[c / 10 * 4] & 1;

            for (int32_t t = c / 10 * 4; t < c / 10 * 4 + 4; t++)
                jagged.item[t] = (jagged.item[t] & ~1) | parity;
            jagged.label[c] = 0;
        }
        for (int32_t b = 0; b < 8; b++) {
            int32_t best = -1;

            for (int32_t c = b * 10; c < b * 10 + 10; c++)
                if ((jagged.candidate_item[c] & 1) == (jagged.item[b * 4] & 1) &&
                    (best < 0 || jagged.scalars[c * 2] > jagged.scalars[best * 2]))
                    best = c;
            if (best >= 0)
                jagged.label[best] = 1;
        }
        CHECK_STATUS(OK, trainer_step(trainer, model, &jagged.batch, &list, &losses, &err));
        first += i < 20 ? losses.list / 20 : 0;
        last += i >= 380 ? losses.list / 20 : 0;
    }
    CHECK_NEAR(2.3, first, .4); /* ln 10: no idea */
    CHECK(last < .9);           /* the scalar alone reaches about 1.6 */
    trainer_destroy(trainer);
    model_destroy(model);
}

TEST(trainer_evaluate_changes_nothing_and_repeats_itself)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS);
    struct model *model = rough_model(&config, 4), *before;
    struct trainer *trainer = new_trainer(model, 2, TRAINER_ITEMS_ADAGRAD);
    struct trainer_objective mix;
    struct trainer_losses one, two, other;
    struct error err;

    CHECK_STATUS(OK, model_copy(&before, model, &err));
    CHECK(trainer_objective_preset(&mix, "mix"));
    mix.negatives = 5;
    jagged_fill(&jagged, &config, sizes, SIZES, 1);
    CHECK_STATUS(OK, trainer_evaluate(trainer, model, &jagged.batch, &mix, 1, &one, &err));
    CHECK_STATUS(OK, trainer_evaluate(trainer, model, &jagged.batch, &mix, 1, &two, &err));
    CHECK_STATUS(OK, trainer_evaluate(trainer, model, &jagged.batch, &mix, 2, &other, &err));
    CHECK(one.total == two.total && one.next == two.next && one.next != other.next);
    CHECK(one.point == other.point && one.list > 0 && one.pair > 0);
    CHECK_INT(0, trainer_steps(trainer));
    check_same_weights(model, before);
    trainer_destroy(trainer);
    model_destroy(model);
    model_destroy(before);
}
