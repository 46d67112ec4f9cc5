/*
 * Tests the gate on features that know the label, through the whole path of a round: events, lists,
 * steps, the held-out walk, the gate. Honest counts pass; a planted scalar that knows the answer is
 * refused by name, and so is one that merely counts its own example.
 */
#include "retrain/gate.h"

#include "tests/retrain/retrain_fixture.h"
#include "tests/support/watched.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define EVENTS (WATCHED ? 1000 : 2400)

static struct error err;
static struct gate gate;

/* A round of what retrain/role_round.c does, judged by everything but the files. */
static void run_round(struct learner *learner, struct evaluation *evaluation)
{
    static const struct gate_options quality = {.events_min = 50, .champion_slack = .01};
    struct evaluator_options options = {.holdout = learner_holdout(learner),
                                        .sequences = learner_sequences(learner),
                                        .rules = retrain_rules(),
                                        .challenger = learner_model(learner),
                                        .pool = learner_recalled_lists(learner),
                                        .tables = learner_tables(learner),
                                        .seed = 3};
    struct evaluator *evaluator;
    bool worked = true, done = false;

    holdout_split(learner_holdout(learner), .2, 100, 400, 0, &options.window);
    while (worked)
        CHECK_STATUS(OK, learner_step(learner, options.window.from_ms, &worked, &err));
    CHECK_STATUS(OK, learner_ready(learner, &err));
    CHECK_STATUS(OK, evaluator_create(&evaluator, &options, &err));
    while (!done)
        CHECK_STATUS(OK, evaluator_walk(evaluator, 1000, &done, &err));
    CHECK_STATUS(OK, evaluator_result(evaluator, evaluation, &err));
    evaluator_destroy(evaluator);
    gate_begin(&gate);
    gate_integrity(&gate, learner_model(learner));
    gate_features(&gate, evaluation, learner_shown_lists(learner));
    gate_quality(&gate, evaluation, &quality);
}

/* The answer itself, in a count that is otherwise honest. */
static void knows(void *context, const struct list *list)
{
    (void)context;
    list->raw[RAW_POP_1H] = INT64_C(1) << 40;
}

/* What a count would be that was made after the choice it is learnt with. */
static void counts_itself(void *context, const struct list *list)
{
    (void)context;
    list->raw[RAW_CLICKS]++;
}

TEST(gate_passes_features_that_are_counted_before_the_choice)
{
    struct learner *learner;
    struct evaluation e;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    learner = retrain_learner();
    retrain_feed(learner, 0, EVENTS);
    run_round(learner, &e);
    CHECK(e.compared >= GATE_LISTS_MIN);
    CHECK(strstr(gate.report, "ok: no scalar knows the answer") != NULL);
    CHECK(strstr(gate.report, "knows the answer: of") == NULL);
    for (int f = 0; f < BATCH_SCALARS_MAX; f++)
        CHECK(e.scalars[f].trained == e.scalars[f].served && e.scalars[f].error == 0);
    learner_destroy(learner);
}

/* Described items take places in the learner's tables between those that are seen, and others in
 * the tables of the walk. */
TEST(gate_compares_features_of_the_same_items_where_some_were_described)
{
    struct learner_options how;
    struct learner *learner;
    struct evaluation e;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    retrain_learner_options(&how);
    how.cold_items = EVENTS;
    how.holdout_max = EVENTS / 2; /* the older half goes into the base */
    CHECK_STATUS(OK, learner_create(&learner, &how, &err));
    for (int i = 0; i < EVENTS; i++) {
        char name[16];
        struct item cold = {.category = text_of("shoes"), .text = text_of("red shoes")};

        retrain_feed(learner, i, i + 1);
        (void)snprintf(name, sizeof name, "cold%d", i);
        cold.item = text_of(name);
        if (i % 10 == 0)
            CHECK_STATUS(OK, learner_item(learner, &cold, &err));
        if (i == EVENTS - 300) { /* one more that is seen, behind all of them */
            struct event event = retrain_event(i);

            event.item = text_of("late");
            event.time_ms += 500;
            CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
        }
    }
    run_round(learner, &e);
    CHECK(e.compared >= GATE_LISTS_MIN);
    CHECK(strstr(gate.report, "ok: no scalar knows the answer") != NULL);
    for (int f = 0; f < BATCH_SCALARS_MAX; f++)
        CHECK(e.scalars[f].trained == e.scalars[f].served && e.scalars[f].error == 0);
    learner_destroy(learner);
}

TEST(gate_says_that_too_few_lists_tell_nothing_of_the_features)
{
    struct learner *learner = retrain_learner();
    struct evaluation e = {.compared = GATE_LISTS_MIN - 1};

    for (int f = 0; f < BATCH_SCALARS_MAX; f++)
        e.scalars[f].trained = 1; /* it would be refused */
    gate_begin(&gate);
    gate_features(&gate, &e, learner_shown_lists(learner));
    CHECK(strstr(gate.report, "ok: what scalars know is not judged: 49 choices") != NULL);
    CHECK(strstr(gate.report, "no scalar knows") == NULL);
    learner_destroy(learner);
}

TEST(gate_refuses_a_planted_scalar_that_knows_the_label_and_names_it)
{
    struct learner *learner;
    struct evaluation e;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    learner = retrain_learner();
    learner_watch(learner, knows, NULL);
    retrain_feed(learner, 0, EVENTS);
    run_round(learner, &e);
    CHECK(!gate.passed);
    CHECK(strstr(gate.refusal, "scalar \"pop_1h\" knows the answer") != NULL);
    CHECK(strstr(gate.refusal, "100.0 % of the other rows below in training") != NULL);
    CHECK(strstr(gate.report, "\"covis\"") == NULL && strstr(gate.report, "\"age\"") == NULL);
    learner_destroy(learner);
}

TEST(gate_refuses_counts_that_hold_their_own_example)
{
    struct learner *learner;
    struct evaluation e;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    learner = retrain_learner();
    learner_watch(learner, counts_itself, NULL);
    retrain_feed(learner, 0, EVENTS);
    run_round(learner, &e);
    CHECK(!gate.passed);
    CHECK(strstr(gate.refusal, "scalar \"clicks\" knows the answer") != NULL ||
          strstr(gate.refusal, "scalar \"ctr\" knows the answer") != NULL);
    learner_destroy(learner);
}

/* Shown lists bring counts along (trace): what they hold of the click shows by being too good. */
TEST(gate_refuses_shown_lists_whose_counts_know_the_click)
{
    struct learner *learner = retrain_learner();
    struct evaluation e = {0};

    for (int n = 0; n < 2 * GATE_LISTS_MIN; n++) {
        struct list *list = list_create(0, 4);

        CHECK(list != NULL);
        list->id = (uint64_t)n + 1;
        list->time_ms = FIXTURE_BEGIN_MS + n;
        list->labels[n % 4] = 1;
        for (int i = 0; i < 4; i++) {
            list->raw[i * RAW_COLUMNS + RAW_CLICKS] = (n + 3 * i) % 7;
            list->raw[i * RAW_COLUMNS + RAW_REPEATS] = i == n % 4;
        }
        learner_shown(learner, list);
        gate_begin(&gate);
        gate_features(&gate, &e, learner_shown_lists(learner));
        CHECK(gate.passed == (n + 1 < GATE_LISTS_MIN)); /* a few say nothing */
    }
    CHECK(strstr(gate.refusal, "scalar \"repeats\" knows the answer: in 100 shown lists") != NULL);
    CHECK(strstr(gate.report, "\"clicks\"") == NULL);
    learner_destroy(learner);
}
