/*
 * Tests kernels/model: scores against the literal model in double, isolation of candidates and of
 * requests to the bit, and everything the header promises about bad input.
 */
#include "kernels/model.h"

#include "kernels/kv_cache.h"
#include "kernels/network.h"
#include "ops/random.h"
#include "tests/kernels/jagged.h"
#include "tests/kernels/literal.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct jagged_size sizes[] = {{0, 5}, {1, 1}, {17, 7}, {30, 0}, {5, 26}, {13, 12}};
#define SIZES ((int32_t)(sizeof sizes / sizeof *sizes))

static struct jagged jagged, alone;

static struct model_config tiny(enum model_attention attention, enum model_head head, int switches)
{
    struct model_config config = {.C = 64,
                                  .L = 2,
                                  .H = 2,
                                  .P = 30,
                                  .V = 23,
                                  .A = 5,
                                  .F = 3,
                                  .R = 16,
                                  .W = 32,
                                  .crosses = 2,
                                  .attention = attention,
                                  .head = head,
                                  .tau = .05f};

    switches_set(&config, switches);
    config.P += config.contexts;
    return config;
}

/* Fresh weights are so small that half of the model hardly matters: these are not. */
static void roughen(struct model *model, uint64_t seed)
{
    struct random random;
    struct error err;

    random_seed(&random, seed);
    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor t = model_tensor(model, i);
        double size = strcmp(t.name, "emb") == 0 ? .2 : t.dims_count == 2 ? .15 : .3;

        for (size_t k = 0; k < t.count; k++)
            t.data[k] = (float)(size * random_normal(&random)) +
                        (strcmp(t.name, "scalars.scale") == 0 ? 1 : 0);
    }
    CHECK_STATUS(OK, model_prepare(model, &err));
}

static struct model *rough_model(const struct model_config *config, uint64_t seed)
{
    struct model *model;
    struct error err;

    CHECK_STATUS(OK, model_create(&model, config, seed, &err));
    roughen(model, seed + 1);
    return model;
}

static struct model *folded(struct model *model)
{
    struct error err;

    CHECK_STATUS(OK, model_fold(model, &err));
    CHECK_STATUS(OK, model_fold(model, &err)); /* once is enough */
    return model;
}

/* Settings of the tests to the bit: forms of attention, switches, and whether it is folded. */
#define SETTINGS (4 * SWITCHES + 2) /* the last two: rounded */

static struct model *model_of_setting(int number)
{
    struct model_config config = tiny((enum model_attention)(number % 2), MODEL_HEAD_CROSS,
                                      number / 4 % SWITCHES);
    struct model *model = rough_model(&config, test_seed());
    struct error err;

    if (number >= 4 * SWITCHES)
        CHECK_STATUS(OK, model_round(model, &err));
    return number / 2 % 2 == 1 ? folded(model) : model;
}

static void scores_follow_the_formulas(enum model_attention attention, enum model_head head,
                                       int switches, bool fold)
{
    struct model_config config = tiny(attention, head, switches);
    struct model *model = fold ? folded(rough_model(&config, test_seed()))
                               : rough_model(&config, test_seed());
    struct model_workspace *workspace = model_workspace_create();
    struct literal literal;
    float scores[64];
    double want[64];
    struct error err;

    jagged_fill(&jagged, &config, sizes, SIZES, test_seed());
    literal_from_model(&literal, model);
    literal_forward(&literal, &jagged.batch, want, NULL);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    /* Weights this rough make a hundred times of what an op is off by: .9e-4 to 2.8e-4 over twelve
     * seeds. On weights as they are trained it is 7e-6 (tests/bench/peers.py checks 1e-4). */
    for (int32_t i = 0; i < jagged.batch.N; i++)
        CHECK_NEAR(want[i], (double)scores[i], 5e-4 * (1 + fabs(want[i])));
    literal_clear(&literal);
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(model_scores_follow_the_formulas_silu_cross)
{
    for (int number = 0; number < 2 * SWITCHES; number++)
        scores_follow_the_formulas(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, number / 2, number % 2);
}

TEST(model_scores_follow_the_formulas_softmax_dot)
{
    for (int number = 0; number < 2 * SWITCHES; number++)
        scores_follow_the_formulas(MODEL_ATTENTION_SOFTMAX, MODEL_HEAD_DOT, number / 2, number % 2);
}

static void next_scores_are_cosines(int switches)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, switches);
    struct model *model = rough_model(&config, test_seed());
    struct model_workspace *workspace = model_workspace_create();
    struct literal literal;
    float all[SIZES * 23], some[64];
    double unused[64], *states;
    struct error err;

    jagged_fill(&jagged, &config, sizes, SIZES, test_seed());
    states = calloc((size_t)jagged.batch.T * 64, sizeof *states);
    literal_from_model(&literal, model);
    literal_forward(&literal, &jagged.batch, unused, states);
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, all, &err));
    CHECK_STATUS(OK, model_next_candidates(model, workspace, &jagged.batch, some, &err));
    for (int32_t b = 0; b < SIZES; b++) {
        const double *x = states + (jagged.history_start[b + 1] - 1) * 64;

        CHECK(all[b * config.V] == -INFINITY);
        for (int32_t v = 1; v < config.V; v++) {
            const double *e = literal_items(&literal) + v * 64;
            double xy = 0, xx = 0, yy = 0;

            for (int c = 0; c < 64 && sizes[b].n > 0; c++) {
                xy += x[c] * e[c];
                xx += x[c] * x[c];
                yy += e[c] * e[c];
            }
            CHECK_NEAR(sizes[b].n == 0 ? 0 : xy / sqrt(xx * yy) / .05,
                       (double)all[b * config.V + v], 1e-3);
        }
        for (int32_t i = jagged.candidate_start[b]; i < jagged.candidate_start[b + 1]; i++)
            if (jagged.candidate_item[i] > 0)
                CHECK(some[i] == all[b * config.V + jagged.candidate_item[i]]);
    }
    free(states);
    literal_clear(&literal);
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(model_next_scores_are_cosines_of_the_last_state)
{
    for (int switches = 0; switches < SWITCHES; switches++)
        next_scores_are_cosines(switches);
}

/* Every score of the batch again, from its request alone. */
static void check_alone(const struct model *model, const float *scores)
{
    struct model_workspace *workspace = model_workspace_create();
    float one[JAGGED_ROWS_MAX];
    struct error err;

    for (int32_t b = 0; b < jagged.batch.B; b++) {
        jagged_one(&alone, &jagged, b);
        CHECK_STATUS(OK, model_score(model, workspace, &alone.batch, one, &err));
        CHECK(memcmp(one, scores + jagged.candidate_start[b],
                     (size_t)alone.batch.N * sizeof *one) == 0);
    }
    model_workspace_destroy(workspace);
}

TEST(model_batching_requests_changes_no_bit)
{
    for (int number = 0; number < SETTINGS; number++) {
        struct model *model = model_of_setting(number);
        const struct model_config *config = model_config(model);
        struct model_workspace *workspace = model_workspace_create();
        float scores[64];
        struct error err;

        jagged_fill(&jagged, config, sizes, SIZES, test_seed());
        CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
        check_alone(model, scores);
        model_workspace_destroy(workspace);
        model_destroy(model);
    }
}

/* The scores of candidates picked[0..count) of request 4 are those they had among all. */
static void check_picked(const struct model *model, struct model_workspace *workspace,
                         const float *scores, const int32_t *picked, int32_t count)
{
    static struct jagged part;
    float got[64];
    struct error err;

    jagged_one(&part, &jagged, 4);
    jagged_one(&alone, &jagged, 4);
    for (int32_t i = 0; i < count; i++) {
        part.candidate_item[i] = alone.candidate_item[picked[i]];
        memcpy(part.scalars + i * 3, alone.scalars + picked[i] * 3, 3 * sizeof(float));
    }
    part.candidate_start[1] = count;
    part.batch.N = count;
    CHECK_STATUS(OK, model_score(model, workspace, &part.batch, got, &err));
    for (int32_t i = 0; i < count; i++)
        CHECK(got[i] == scores[jagged.candidate_start[4] + picked[i]]);
}

TEST(model_other_candidates_change_no_bit_of_a_score)
{
    for (int number = 0; number < SETTINGS; number++) {
        struct model *model = model_of_setting(number);
        const struct model_config *config = model_config(model);
        struct model_workspace *workspace = model_workspace_create();
        float scores[64];
        int32_t picked[26];
        struct random random;
        struct error err;

        jagged_fill(&jagged, config, sizes, SIZES, test_seed());
        CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
        random_seed(&random, test_seed());
        for (int round = 0; round < 50; round++) {
            int32_t count = 1 + (int32_t)random_below(&random, 26);

            for (int32_t i = 0; i < count; i++) /* some twice, in any order */
                picked[i] = (int32_t)random_below(&random, 26);
            check_picked(model, workspace, scores, picked, count);
        }
        model_workspace_destroy(workspace);
        model_destroy(model);
    }
}

TEST(model_rounded_to_bf16_scores_within_a_hundredth_until_weights_change)
{
    struct model *model = model_of_setting(0), *rounded = model_of_setting(0);
    struct model_workspace *workspace = model_workspace_create();
    struct model_round_trial trial;
    float want[64], got[64];
    double worst = 0, size = 0;
    struct error err;

    jagged_fill(&jagged, model_config(model), sizes, SIZES, test_seed());
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, want, &err));
    CHECK_STATUS(OK, model_round_try(rounded, &trial, &err));
    CHECK(trial.f32_us > 0 && trial.bf16_us > 0 && !model_is_rounded(rounded));
    CHECK(trial.right && (strcmp(trial.way, "portable") != 0 || !trial.faster));
    CHECK_STATUS(OK, model_round(rounded, &err));
    CHECK(model_is_rounded(rounded));
    CHECK_STATUS(OK, model_score(rounded, workspace, &jagged.batch, got, &err));
    for (int32_t i = 0; i < jagged.batch.N; i++) {
        worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
        size = fmax(size, fabs((double)want[i]));
    }
    CHECK(worst > 0 && worst < .02 * size);
    CHECK_STATUS(OK, model_prepare(rounded, &err));
    CHECK(!model_is_rounded(rounded));
    CHECK_STATUS(OK, model_score(rounded, workspace, &jagged.batch, got, &err));
    CHECK(memcmp(want, got, (size_t)jagged.batch.N * sizeof *got) == 0);
    model_workspace_destroy(workspace);
    model_destroy(rounded);
    model_destroy(model);
}

TEST(model_rounded_copies_multiply_by_the_portable_way)
{
    struct model *model = model_of_setting(0), *rounded;
    struct error err;

    CHECK_STATUS(OK, model_copy_rounded(&rounded, model, &err));
    CHECK(model_is_rounded(rounded) && !model_is_rounded(model));
    CHECK_INT(LINEAR_BF16_PORTABLE, model_network(rounded).network->rounded.way);
    model_destroy(rounded);
    model_destroy(model);
}

/* Of any way: portable reads panels, the others pairs. */
TEST(model_rounded_products_that_come_out_wrong_are_seen)
{
    struct model *model = model_of_setting(0);
    struct network network = *model_network(model).network;
    void *weights = aligned_alloc(64, (size_t)network_bf16_bytes(&network));
    float *memory = aligned_alloc(64, (size_t)network_trial_floats(&network) * sizeof *memory);

    CHECK(weights != NULL && memory != NULL);
    for (int32_t l = 0; l < network.config.L; l++) {
        network_bf16_pack(&network, linear_bf16_best(), weights);
        CHECK(network_bf16_same(&network, memory));
        for (int second = 0; second < 2; second++) {
            struct linear_bf16 *w = second ? &network.rounded.w2[l] : &network.rounded.w1[l];
            float *panel = (float *)(uintptr_t)w->w.panels + (w->w.K - 1) * 16 + 5;
            uint16_t *pair = (uint16_t *)(uintptr_t)w->pairs + (w->w.K / 2 - 1) * 32 + 11;

            network_bf16_pack(&network, linear_bf16_best(), weights);
            *panel += .01F;
            *pair ^= 0x4000;
            CHECK(!network_bf16_same(&network, memory));
            *panel = NAN;
            *pair = 0x7fff;
            CHECK(!network_bf16_same(&network, memory));
        }
    }
    free(weights);
    free(memory);
    model_destroy(model);
}

static struct kv_cache *cache_of_a_megabyte(void)
{
    struct kv_cache *cache;
    struct error err;

    CHECK_STATUS(OK, kv_cache_create(&cache, 1 << 20, &err));
    return cache;
}

/* What the cache holds changes no bit of what the batch scores without it. */
static void check_cached(const struct model *model, struct kv_cache *cache,
                         const struct batch *batch)
{
    struct model_workspace *workspace = model_workspace_create();
    float want[64], got[64];
    struct error err;

    CHECK_STATUS(OK, model_score(model, workspace, batch, want, &err));
    CHECK_STATUS(OK, model_score_cached(model, workspace, cache, batch, got, &err));
    CHECK(memcmp(want, got, (size_t)batch->N * sizeof *got) == 0);
    model_workspace_destroy(workspace);
}

TEST(model_cached_keys_and_values_change_no_bit_for_any_split)
{
    static const struct jagged_size one[] = {{30, 7}};

    for (int number = 0; number < SETTINGS; number++) {
        struct model *model = model_of_setting(number);
        const struct model_config *config = model_config(model);

        jagged_fill(&jagged, config, one, 1, test_seed());
        for (int32_t split = 0; split <= 30; split++) {
            struct kv_cache *cache = cache_of_a_megabyte();

            jagged.history_start[1] = jagged.batch.T = split;
            check_cached(model, cache, &jagged.batch);
            jagged.history_start[1] = jagged.batch.T = 30;
            check_cached(model, cache, &jagged.batch); /* grown */
            check_cached(model, cache, &jagged.batch); /* all of it is there */
            jagged.history_start[1] = jagged.batch.T = split;
            check_cached(model, cache, &jagged.batch); /* a part of it */
            kv_cache_destroy(cache);
        }
        model_destroy(model);
    }
}

TEST(model_cached_history_of_other_tokens_or_weights_begins_anew)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, SWITCHES - 1);
    struct model *model = rough_model(&config, test_seed());
    struct kv_cache *cache = cache_of_a_megabyte();

    jagged_fill(&jagged, &config, sizes, SIZES, test_seed());
    check_cached(model, cache, &jagged.batch);
    for (int round = 0; round < 2; round++)
        for (int32_t b = 0; b < SIZES; b++) {
            jagged_one(&alone, &jagged, b);
            check_cached(model, cache, &alone.batch);
        }
    jagged_one(&alone, &jagged, 3);
    check_cached(model, cache, &alone.batch);
    alone.item[14] = 1 + alone.item[14] % 22;
    check_cached(model, cache, &alone.batch);
    alone.action[13] = 1 + alone.action[13] % 4;
    check_cached(model, cache, &alone.batch);
    alone.time_ms[0] -= 5000000;
    check_cached(model, cache, &alone.batch);
    alone.context[0] = 5 + alone.context[0] % 2;
    check_cached(model, cache, &alone.batch);
    roughen(model, 77);
    check_cached(model, cache, &alone.batch);
    kv_cache_destroy(cache);
    model_destroy(model);
}

TEST(model_folded_tables_go_when_weights_change)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, 0);
    struct model *model = folded(rough_model(&config, 8)), *plain = rough_model(&config, 8);
    struct model_workspace *workspace = model_workspace_create();
    float scores[64], want[64];
    struct error err;

    jagged_fill(&jagged, &config, sizes, SIZES, test_seed());
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_score(plain, workspace, &jagged.batch, want, &err));
    CHECK(memcmp(want, scores, (size_t)jagged.batch.N * sizeof *want) != 0); /* it was folded */
    for (int32_t i = 0; i < jagged.batch.N; i++)
        CHECK_NEAR((double)want[i], (double)scores[i], 1e-4 * (1 + fabs((double)want[i])));
    roughen(model, 10);
    roughen(plain, 10);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_score(plain, workspace, &jagged.batch, want, &err));
    CHECK(memcmp(want, scores, (size_t)jagged.batch.N * sizeof *want) == 0);
    model_workspace_destroy(workspace);
    model_destroy(model);
    model_destroy(plain);
}

TEST(model_rows_and_actions_outside_the_tables_are_the_unknown_ones)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, 0);
    struct model *model = rough_model(&config, 3);
    struct model_workspace *workspace = model_workspace_create();
    float want[64], got[64];
    struct error err;

    jagged_fill(&jagged, &config, sizes, SIZES, 3);
    for (int32_t i = 0; i < 12; i++) {
        jagged.item[i] = 0;
        jagged.candidate_item[i] = 0;
        jagged.action[i] = 0;
    }
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, want, &err));
    for (int32_t i = 0; i < 12; i++) {
        const int32_t bad[] = {-1, 23, INT32_MIN, INT32_MAX};

        jagged.item[i] = bad[i & 3];
        jagged.candidate_item[i] = bad[(i + 1) & 3];
        jagged.action[i] = bad[(i + 2) & 3];
    }
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, got, &err));
    CHECK(memcmp(want, got, (size_t)jagged.batch.N * sizeof *got) == 0);
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(model_refuses_batches_that_do_not_fit)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, 0);
    const struct jagged_size long_history[] = {{31, 2}};
    struct model *model = rough_model(&config, 3);
    struct model_workspace *workspace = model_workspace_create();
    float scores[64];
    struct error err;

    jagged_fill(&jagged, &config, long_history, 1, 3);
    CHECK_STATUS(ERR_LIMIT, model_score(model, workspace, &jagged.batch, scores, &err));
    jagged_fill(&jagged, &config, sizes, SIZES, 3);
    jagged.batch.F = 4;
    CHECK_STATUS(ERR_LIMIT, model_score(model, workspace, &jagged.batch, scores, &err));
    jagged.batch.F = 3;
    jagged.history_start[2] = -1;
    CHECK_STATUS(ERR_LIMIT, model_score(model, workspace, &jagged.batch, scores, &err));
    jagged.history_start[2] = INT32_MAX;
    CHECK_STATUS(ERR_LIMIT, model_score(model, workspace, &jagged.batch, scores, &err));
    jagged_fill(&jagged, &config, sizes, SIZES, 3);
    jagged.batch.N++;
    CHECK_STATUS(ERR_LIMIT, model_score(model, workspace, &jagged.batch, scores, &err));
    jagged.batch = (struct batch){0};
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(model_create_refuses_dimensions_outside_their_bounds)
{
    const struct model_config good = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, 0);
    struct model_config bad[12];
    struct model *model;
    struct error err;

    for (int i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].C = 0;
    bad[1].C = 48; /* not a multiple of 16 H */
    bad[2].L = MODEL_LAYERS_MAX + 1;
    bad[3].P = BATCH_HISTORY_MAX + 1;
    bad[4].V = 0;
    bad[5].V = MODEL_ITEMS_MAX + 1;
    bad[6].A = MODEL_ACTIONS_MAX + 1;
    bad[7].F = BATCH_SCALARS_MAX + 1;
    bad[8].R = 8;
    bad[9].crosses = 5;
    bad[10].tau = NAN;
    bad[11].H = 0;
    for (int i = 0; i < 12; i++) {
        CHECK_STATUS(ERR_LIMIT, model_create(&model, &bad[i], 1, &err));
        CHECK(model == NULL);
    }
}

TEST(model_of_the_same_seed_is_the_same_and_of_another_is_not)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, 0);
    struct model *a, *b, *c, *d;
    struct error err;

    CHECK_STATUS(OK, model_create(&a, &config, 7, &err));
    CHECK_STATUS(OK, model_create(&b, &config, 7, &err));
    CHECK_STATUS(OK, model_create(&c, &config, 8, &err));
    CHECK_STATUS(OK, model_copy(&d, a, &err));
    for (int32_t i = 0; i < model_tensors_count(a); i++) {
        struct model_tensor t = model_tensor(a, i);
        bool other = memcmp(t.data, model_tensor(c, i).data, t.count * sizeof(float)) != 0;

        CHECK(memcmp(t.data, model_tensor(b, i).data, t.count * sizeof(float)) == 0);
        CHECK(memcmp(t.data, model_tensor(d, i).data, t.count * sizeof(float)) == 0);
        CHECK(strcmp(t.name, "emb") != 0 || other);
    }
    model_destroy(a);
    model_destroy(b);
    model_destroy(c);
    model_destroy(d);
}

TEST(model_import_takes_all_tensors_or_says_what_is_wrong)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, 0);
    struct model *from = rough_model(&config, 5), *to;
    struct model_workspace *workspace = model_workspace_create();
    float want[64], got[64], bad[3] = {1, 2, NAN};
    const int64_t three = 3, four = 4;
    struct error err;

    CHECK_STATUS(OK, model_create(&to, &config, 6, &err));
    model_import_begin(to);
    CHECK_STATUS(ERR_NOT_FOUND, model_import_put(to, "layers.7.w1", &three, 1, bad, &err));
    CHECK_STATUS(ERR_MALFORMED, model_import_put(to, "scalars.mean", &three, 1, bad, &err));
    CHECK_STATUS(ERR_MALFORMED, model_import_put(to, "scalars.mean", &four, 1, bad, &err));
    for (int32_t i = 0; i < model_tensors_count(from); i++) {
        struct model_tensor t = model_tensor(from, i);

        CHECK_STATUS(ERR_MALFORMED, model_import_end(to, &err));
        CHECK(strstr(err.text, t.name) != NULL);
        CHECK_STATUS(OK, model_import_put(to, t.name, t.dims, t.dims_count, t.data, &err));
        CHECK_STATUS(ERR_MALFORMED,
                     model_import_put(to, t.name, t.dims, t.dims_count, t.data, &err));
    }
    CHECK_STATUS(OK, model_import_end(to, &err));
    jagged_fill(&jagged, &config, sizes, SIZES, 5);
    CHECK_STATUS(OK, model_score(from, workspace, &jagged.batch, want, &err));
    CHECK_STATUS(OK, model_score(to, workspace, &jagged.batch, got, &err));
    CHECK(memcmp(want, got, (size_t)jagged.batch.N * sizeof *got) == 0);
    model_workspace_destroy(workspace);
    model_destroy(from);
    model_destroy(to);
}

TEST(model_grow_items_keeps_old_scores_and_starts_new_rows_near_the_unknown)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_CROSS, 0);
    struct model *model = rough_model(&config, 5);
    struct model_workspace *workspace = model_workspace_create();
    float want[64], got[64], *all = malloc(SIZES * 1000 * sizeof *all);
    struct error err;

    jagged_fill(&jagged, &config, sizes, SIZES, 5);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, want, &err));
    CHECK_STATUS(ERR_LIMIT, model_grow_items(model, MODEL_ITEMS_MAX + 1, &err));
    CHECK_STATUS(OK, model_grow_items(model, 7, &err)); /* fewer: no change */
    CHECK_INT(23, model_config(model)->V);
    for (int32_t V = 24; V <= 1000; V += 61)
        CHECK_STATUS(OK, model_grow_items(model, V, &err));
    CHECK_STATUS(OK, model_grow_items(model, 1000, &err));
    CHECK_STATUS(OK, model_prepare(model, &err));
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, got, &err));
    CHECK(memcmp(want, got, (size_t)jagged.batch.N * sizeof *got) == 0);
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, all, &err));
    for (int c = 0; c < 64; c++) {
        CHECK_NEAR((double)model_item(model, 0)[c], (double)model_item(model, 999)[c], .05);
        CHECK(model_item(model, 999)[c] != model_item(model, 998)[c]);
    }
    free(all);
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(model_platt_pair_turns_scores_into_probabilities)
{
    struct model_config config = tiny(MODEL_ATTENTION_SILU, MODEL_HEAD_DOT, 0);
    struct model *model;
    struct error err;

    CHECK_STATUS(OK, model_create(&model, &config, 1, &err));
    CHECK_NEAR(.5, (double)model_probability(model, 0), 1e-7);
    model_set_platt(model, 2, -1);
    CHECK_NEAR(1 / (1 + exp(-5)), (double)model_probability(model, 3), 1e-6);
    model_destroy(model);
}

TEST(model_presets_are_found_by_name)
{
    struct model_config config;

    CHECK(model_preset(&config, "small", 100, 9));
    CHECK(config.C == 64 && config.L == 2 && config.H == 2 && config.P == 128 && config.V == 100 &&
          config.F == 9);
    CHECK(model_preset(&config, "medium", 1, 0) && model_preset(&config, "large", 1, 0));
    CHECK(!model_preset(&config, "tiny", 1, 0));
}
