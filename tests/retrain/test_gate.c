/*
 * Tests retrain/gate: every refusal with its reason, the pass, and what could not be asked.
 */
#include "retrain/gate.h"

#include "features/scalars.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct error err;
static struct gate gate;
static const struct gate_options options = {.events_min = 100, .champion_slack = .01};

/* A challenger of NDCG .30 that beats everyone for certain. */
static struct evaluation better_than_all(void)
{
    struct evaluation e = {.events = 100, .users = 40, .has_champion = true};

    e.arms[EVALUATE_CHALLENGER].ndcg = .30;
    e.arms[EVALUATE_CHAMPION].ndcg = .28;
    e.arms[EVALUATE_CHAMPION].gain = (struct bootstrap_interval){.02, .01, .03, 40};
    e.arms[EVALUATE_COVISITATION].ndcg = .25;
    e.arms[EVALUATE_COVISITATION].gain = (struct bootstrap_interval){.05, .03, .07, 40};
    e.arms[EVALUATE_POPULARITY].ndcg = .10;
    e.arms[EVALUATE_POPULARITY].gain = (struct bootstrap_interval){.20, .15, .25, 40};
    return e;
}

static bool quality(const struct evaluation *e)
{
    gate_begin(&gate);
    gate_quality(&gate, e, &options);
    CHECK(gate.passed == (gate.refusal[0] == 0));
    CHECK(gate.passed == (strstr(gate.report, "REFUSED") == NULL));
    return gate.passed;
}

static bool says(const char *part)
{
    return strstr(gate.refusal, part) != NULL && strstr(gate.report, part) != NULL;
}

TEST(gate_passes_what_beats_everyone_and_reports_each)
{
    struct evaluation e = better_than_all();

    CHECK(quality(&e));
    CHECK(strstr(gate.report, "ok: NDCG@10 0.3000 against popularity's 0.1000: +0.2000") != NULL);
    CHECK(strstr(gate.report, "against covisitation's 0.2500") != NULL);
    CHECK(strstr(gate.report, "against champion's 0.2800") != NULL);
}

TEST(gate_says_what_rounding_changes_and_refuses_nothing_by_it)
{
    struct evaluation e = better_than_all();

    gate_begin(&gate);
    gate_rounding(&gate, &e);
    CHECK_TEXT(
        "ok: bf16 not measured (retrain.measure_bf16): under serve.bf16: auto serve stays in "
        "f32",
        gate.report);
    gate_begin(&gate);
    e.rounded.measured = true;
    e.rounded.ndcg = .2998;
    e.rounded.loss = (struct bootstrap_interval){.0002, -.0004, .0008, 40};
    e.rounded.most = .0008;
    gate_rounding(&gate, &e);
    CHECK_TEXT(
        "ok: in bf16 NDCG@10 -0.0002, 95 % within [-0.0008, +0.0004]: serve may use it where "
        "it is faster",
        gate.report);
    e.rounded.loss.high = e.rounded.most = .0016; /* little as it is, it may be more */
    gate_begin(&gate);
    gate_rounding(&gate, &e);
    CHECK(gate.passed && strstr(gate.report, "serve stays in f32") != NULL);
}

TEST(gate_refuses_when_too_little_was_held_out)
{
    struct evaluation e = better_than_all();

    e.events = 99;
    CHECK(!quality(&e));
    CHECK(says("99 held-out choices, at least 100 are needed"));
    e = (struct evaluation){0};
    CHECK(!quality(&e));
    CHECK(says("0 held-out choices"));
}

TEST(gate_refuses_what_does_not_beat_popularity_for_certain)
{
    struct evaluation e = better_than_all();

    e.arms[EVALUATE_POPULARITY].gain = (struct bootstrap_interval){0, 0, 0, 40};
    CHECK(!quality(&e));
    CHECK(says("popularity") && says("not better"));
    e.arms[EVALUATE_POPULARITY].gain = (struct bootstrap_interval){.01, -1e-9, .02, 40};
    CHECK(!quality(&e));
    CHECK(says("popularity") && says("not certain enough"));
    e.arms[EVALUATE_POPULARITY].gain = (struct bootstrap_interval){.01, 0, .02, 40};
    CHECK(quality(&e));
}

TEST(gate_refuses_what_does_not_beat_covisitation)
{
    struct evaluation e = better_than_all();

    e.arms[EVALUATE_COVISITATION].gain = (struct bootstrap_interval){-.001, -.01, .01, 40};
    CHECK(!quality(&e));
    CHECK(says("covisitation") && says("not better"));
    /* A point estimate is enough here. */
    e.arms[EVALUATE_COVISITATION].gain = (struct bootstrap_interval){.001, -.01, .01, 40};
    CHECK(quality(&e));
}

TEST(gate_refuses_what_may_be_worse_than_the_champion)
{
    struct evaluation e = better_than_all();

    e.arms[EVALUATE_CHAMPION].gain = (struct bootstrap_interval){0, -.001, .001, 40};
    CHECK(!quality(&e));
    CHECK(says("champion") && says("not better"));
    /* The slack is .01 * .28. */
    e.arms[EVALUATE_CHAMPION].gain = (struct bootstrap_interval){.001, -.0029, .005, 40};
    CHECK(!quality(&e));
    CHECK(says("champion") && says("not certain enough"));
    e.arms[EVALUATE_CHAMPION].gain = (struct bootstrap_interval){.001, -.0027, .005, 40};
    CHECK(quality(&e));
}

TEST(gate_without_a_champion_says_so_and_asks_the_others)
{
    struct evaluation e = better_than_all();

    e.has_champion = false;
    e.arms[EVALUATE_CHAMPION].gain = (struct bootstrap_interval){-1, -1, -1, 40};
    CHECK(quality(&e));
    CHECK(strstr(gate.report, "no champion with a model yet") != NULL);
}

TEST(gate_refuses_what_is_not_a_number)
{
    for (int arm = EVALUATE_CHAMPION; arm < EVALUATE_ARMS; arm++) {
        struct evaluation e = better_than_all();

        e.arms[arm].gain.difference = NAN;
        CHECK(!quality(&e));
    }
    struct evaluation e = better_than_all();
    e.arms[EVALUATE_POPULARITY].gain.low = NAN;
    CHECK(!quality(&e));
}

TEST(gate_keeps_the_first_refusal_and_the_whole_report)
{
    struct evaluation e = better_than_all();

    e.arms[EVALUATE_POPULARITY].gain.difference = -.1;
    e.arms[EVALUATE_CHAMPION].gain.difference = -.2;
    CHECK(!quality(&e));
    CHECK(says("popularity"));
    CHECK(strstr(gate.refusal, "champion") == NULL);
    CHECK(strstr(gate.report, "REFUSED: NDCG@10 0.3000 against champion's") != NULL);
    /* A later pass does not take a refusal back. */
    e = better_than_all();
    gate_quality(&gate, &e, &options);
    CHECK(!gate.passed && says("popularity"));
}

TEST(gate_reports_stay_within_their_bytes)
{
    struct evaluation e = better_than_all();

    gate_begin(&gate);
    e.arms[EVALUATE_POPULARITY].ndcg = e.arms[EVALUATE_COVISITATION].ndcg = -1e300;
    e.arms[EVALUATE_POPULARITY].gain = (struct bootstrap_interval){-1e300, -1e300, -1e300, 1};
    for (int i = 0; i < 20; i++)
        gate_quality(&gate, &e, &options);
    CHECK(strlen(gate.report) < GATE_REPORT_BYTES && strlen(gate.refusal) < sizeof gate.refusal);
    CHECK(!gate.passed);
}

/* ---- integrity ---- */

static struct model *new_model(int V)
{
    struct model_config config;
    struct model *model;

    CHECK(model_preset(&config, "small", V, scalars_count));
    config.A = ACTIONS_MAX;
    CHECK_STATUS(OK, model_create(&model, &config, 3, &err));
    return model;
}

static bool integrity(struct model *model)
{
    gate_begin(&gate);
    gate_integrity(&gate, model);
    return gate.passed;
}

TEST(gate_passes_fresh_weights)
{
    struct model *model = new_model(40);

    CHECK(integrity(model));
    CHECK(strstr(gate.report, "ok: weights are finite") != NULL);
    model_destroy(model);
}

TEST(gate_refuses_weights_that_are_not_finite_and_names_the_tensor)
{
    struct model *model = new_model(40);
    int32_t count = model_tensors_count(model);

    for (int32_t i = 0; i < count; i++) {
        struct model_tensor tensor = model_tensor(model, i);
        float kept = tensor.data[tensor.count - 1];

        tensor.data[tensor.count - 1] = i % 2 == 0 ? NAN : -INFINITY;
        CHECK(!integrity(model));
        CHECK(says("not finite") && says(tensor.name));
        tensor.data[tensor.count - 1] = kept;
    }
    CHECK(integrity(model));
    model_destroy(model);
}

TEST(gate_refuses_an_item_row_that_ran_away)
{
    struct model *model = new_model(40);
    int C = model_config(model)->C;

    for (int c = 0; c < C; c++)
        model_item(model, 17)[c] *= 2000;
    CHECK(!integrity(model));
    CHECK(says("times the median"));
    for (int c = 0; c < C; c++)
        model_item(model, 17)[c] /= 50;
    CHECK(integrity(model));
    model_destroy(model);
}

TEST(gate_says_nothing_about_the_rows_of_a_tiny_catalogue)
{
    struct model *model = new_model(3);

    model_item(model, 1)[0] = 1e6f;
    CHECK(integrity(model));
    model_destroy(model);
}

/* ---- parity ---- */

TEST(gate_refuses_files_that_score_otherwise)
{
    struct learner *learner = retrain_learner();
    struct model *files;
    struct lists *pool = learner_recalled_lists(learner);

    retrain_feed(learner, 0, 300);
    retrain_train(learner, 3);
    CHECK_STATUS(OK, learner_ready(learner, &err));
    CHECK_STATUS(OK, model_copy(&files, learner_model(learner), &err));
    gate_begin(&gate);
    CHECK_STATUS(
        OK, gate_parity(&gate, learner_model(learner), files, learner_tables(learner), pool, &err));
    CHECK(gate.passed);
    CHECK(strstr(gate.report, "64 golden lists within 0.0e+00") != NULL);

    struct model_tensor first = model_tensor(files, 0);
    for (size_t at = 0; at < first.count; at++)
        first.data[at] += .5f * (float)(at % 3);
    CHECK_STATUS(OK, model_prepare(files, &err));
    CHECK_STATUS(
        OK, gate_parity(&gate, learner_model(learner), files, learner_tables(learner), pool, &err));
    CHECK(!gate.passed && says("golden lists within"));

    /* Scores that are not numbers are the worst of all, from either side. */
    first.data[0] = NAN;
    for (size_t at = 0; at < first.count; at++)
        first.data[at] = NAN;
    CHECK_STATUS(OK, model_prepare(files, &err));
    for (int side = 0; side < 2; side++) {
        gate_begin(&gate);
        CHECK_STATUS(OK, gate_parity(&gate, side == 0 ? files : learner_model(learner),
                                     side == 0 ? learner_model(learner) : files,
                                     learner_tables(learner), pool, &err));
        CHECK(!gate.passed);
    }
    model_destroy(files);
    learner_destroy(learner);
}

TEST(gate_of_parity_without_lists_says_how_many_it_saw)
{
    struct learner *learner = retrain_learner();

    gate_begin(&gate);
    CHECK_STATUS(OK, gate_parity(&gate, learner_model(learner), learner_model(learner),
                                 learner_tables(learner), learner_recalled_lists(learner), &err));
    CHECK(gate.passed);
    CHECK(strstr(gate.report, "0 rows of 0 golden lists") != NULL);
    learner_destroy(learner);
}
