/*
 * Tests retrain/evaluate: hit rate and NDCG of a few choices worked out by hand, what is judged and
 * what is not, and that the challenger is judged by the tables of before each choice.
 */
#include "retrain/evaluate.h"

#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

#define CLICK FIXTURE_CLICK

static struct error err;
static struct item_tables *tables;
static struct sequences *sequences;
static struct holdout *holdout;
static struct learner *learner; /* for an untrained model */

static void begin(void)
{
    struct item_tables_options options = {.items_max = 1000, .seed = FIXTURE_SEED};

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    CHECK_STATUS(OK, sequences_create(&sequences, 50, 1000, &err));
    CHECK_STATUS(OK, holdout_create(&holdout, tables, 1000, 0, &err));
    learner = retrain_learner();
}

static void end(void)
{
    holdout_destroy(holdout);
    item_tables_destroy(tables);
    sequences_destroy(sequences);
    learner_destroy(learner);
}

static void add(uint64_t user, uint64_t item, int64_t time_ms, uint8_t action)
{
    struct holdout_event event = {user, item, time_ms, action, false, false};
    struct user_entry entry = {.item = item, .time_ms = time_ms, .action = action};
    enum sequences_result result;

    if (action != 0)
        CHECK_STATUS(OK, sequences_enter(sequences, user, &entry, &result, &err));
    CHECK_STATUS(OK, holdout_add(holdout, sequences, &event, &err));
    holdout_enter(tables, sequences, &event);
}

static const struct model *rounded; /* beside the challenger, where a test has one */

static struct evaluation evaluate(int from, int64_t from_ms, bool champion, int piece)
{
    struct evaluator_options options = {
        .holdout = holdout,
        .sequences = sequences,
        .rules = retrain_rules(),
        .challenger = learner_model(learner),
        .champion = champion ? learner_model(learner) : NULL,
        .rounded = rounded,
        .window = {.from = from, .from_ms = from_ms},
        .seed = 3,
    };
    struct evaluator *evaluator;
    struct evaluation e;
    bool done = false;

    CHECK_STATUS(OK, evaluator_create(&evaluator, &options, &err));
    for (int walks = 0; !done; walks++) {
        CHECK(walks < 1000);
        CHECK_STATUS(OK, evaluator_walk(evaluator, piece, &done, &err));
    }
    CHECK_STATUS(OK, evaluator_result(evaluator, &e, &err));
    evaluator_destroy(evaluator);
    return e;
}

/* Items 100, 101, ... 104 with 5, 4, 3, 2, 1 clicks, each by a user of its own at one time. */
static void make_popular(void)
{
    uint64_t user = 1000;

    for (int item = 0; item < 5; item++)
        for (int n = 5 - item; n > 0; n--)
            add(user++, 100 + (uint64_t)item, 1000, CLICK);
}

TEST(evaluation_of_nothing_is_zero)
{
    struct evaluation e;

    begin();
    e = evaluate(0, 0, false, 10);
    CHECK(e.events == 0 && e.users == 0 && !e.has_champion);
    for (int arm = 0; arm < EVALUATE_ARMS; arm++)
        CHECK(e.arms[arm].ndcg == 0 && e.arms[arm].hit_rate == 0 &&
              e.arms[arm].gain.difference == 0);
    evaluator_destroy(NULL);
    end();
}

TEST(evaluation_by_hand_of_popularity)
{
    struct evaluation e;
    int from;

    begin();
    make_popular();
    from = holdout_count(holdout);
    /* Places in the popular order, the user's own left out, counted before each choice:
     * user 1: 102 is third of five: place 2. Then it has 4 clicks, as 101 has.
     * user 1: 103: of 100, 101, 103, 104 (102 is its own) third: place 2.
     * user 2: 100: first: place 0.
     * user 2: 999: nobody has chosen it before: a miss. */
    add(1, 102, 1000, CLICK);
    add(1, 103, 1000 + 1, CLICK);
    add(2, 100, 1000 + 2, CLICK);
    add(2, 999, 1000 + 3, CLICK);
    e = evaluate(from, 0, false, 100);
    CHECK_INT(4, e.events);
    CHECK_INT(2, e.users);
    CHECK_INT(1000, e.from_ms);
    CHECK_INT(1003, e.to_ms);
    CHECK_NEAR(.75, e.arms[EVALUATE_POPULARITY].hit_rate, 1e-6);
    CHECK_NEAR((1 / log2(4) + 1 / log2(4) + 1) / 4, e.arms[EVALUATE_POPULARITY].ndcg, 1e-6);
    /* Without a champion its arm is empty. */
    CHECK(e.arms[EVALUATE_CHAMPION].ndcg == 0 && e.arms[EVALUATE_CHAMPION].hit_rate == 0);
    end();
}

TEST(evaluation_by_hand_of_covisitation)
{
    struct evaluation e;
    int from;

    begin();
    make_popular();
    /* Whoever chose 104 chose 200 next, three times. */
    for (uint64_t user = 50; user < 53; user++) {
        add(user, 104, 1001, CLICK);
        add(user, 200, 1002, CLICK);
    }
    add(1, 104, 1003, CLICK);
    from = holdout_count(holdout);
    add(1, 200, 1004, CLICK);
    e = evaluate(from, 0, false, 100);
    CHECK_INT(1, e.events);
    CHECK(e.arms[EVALUATE_COVISITATION].ndcg == 1 && e.arms[EVALUATE_COVISITATION].hit_rate == 1);
    CHECK(e.arms[EVALUATE_POPULARITY].ndcg < 1);
    end();
}

TEST(evaluation_leaves_out_repeats_shown_items_and_what_may_have_been_trained_on)
{
    struct evaluation e;
    int from;

    begin();
    make_popular();
    from = holdout_count(holdout);
    add(1, 100, 2000, CLICK);
    add(1, 100, 2001, CLICK); /* a repeat */
    add(0, 101, 2002, 0);     /* shown */
    add(1, 101, 2003, CLICK);
    add(3, 102, 1500, CLICK); /* late: before from_ms */
    e = evaluate(from, 2000, false, 100);
    CHECK_INT(2, e.events);
    CHECK_INT(1, e.users);
    end();
}

TEST(evaluation_never_counts_a_choice_before_it_was_ranked)
{
    struct evaluation e;
    int from;

    begin();
    make_popular();
    from = holdout_count(holdout);
    for (uint64_t user = 1; user <= 30; user++) /* each a brand-new item of its own */
        add(user, 500 + user, 2000 + (int64_t)user, CLICK);
    e = evaluate(from, 0, true, 100);
    CHECK_INT(30, e.events);
    for (int arm = 0; arm < EVALUATE_ARMS; arm++)
        CHECK(e.arms[arm].hit_rate == 0);
    end();
}

TEST(evaluation_in_pieces_is_the_same_to_the_bit)
{
    struct evaluation whole, pieces;

    begin();
    make_popular();
    for (int i = 0; i < 120; i++)
        add((uint64_t)(i * 7 % 11), 100 + (uint64_t)(i * i % 17), 2000 + i, CLICK);
    whole = evaluate(30, 0, true, 10000);
    pieces = evaluate(30, 0, true, 1);
    CHECK(memcmp(&whole, &pieces, sizeof whole) == 0);
    CHECK(whole.events > 20 && whole.has_champion);
    end();
}

TEST(evaluation_measures_what_rounding_changes_and_nothing_else_by_it)
{
    struct evaluation plain, e;
    struct model *model;

    begin();
    make_popular();
    for (int i = 0; i < 120; i++)
        add((uint64_t)(i * 7 % 11), 100 + (uint64_t)(i * i % 17), 2000 + i, CLICK);
    plain = evaluate(30, 0, true, 50);
    CHECK(!plain.rounded.measured);
    CHECK_STATUS(OK, model_copy(&model, learner_model(learner), &err));
    rounded = model;
    e = evaluate(30, 0, true, 50);
    CHECK(e.rounded.measured && e.rounded.ndcg == e.arms[EVALUATE_CHALLENGER].ndcg);
    CHECK_STATUS(OK, model_round(model, &err));
    e = evaluate(30, 0, true, 50);
    CHECK(e.rounded.measured && e.rounded.ndcg > 0);
    CHECK_NEAR(e.arms[EVALUATE_CHALLENGER].ndcg - e.rounded.ndcg, e.rounded.loss.difference, 1e-6);
    CHECK(e.rounded.most == fmax(fabs(e.rounded.loss.low), fabs(e.rounded.loss.high)));
    CHECK(memcmp(plain.arms, e.arms, sizeof e.arms) == 0);
    rounded = NULL;
    model_destroy(model);
    end();
}

TEST(evaluation_of_the_champion_against_itself_is_a_tie)
{
    struct evaluation e;

    begin();
    make_popular();
    for (int i = 0; i < 120; i++)
        add((uint64_t)(i * 7 % 11), 100 + (uint64_t)(i * i % 17), 2000 + i, CLICK);
    e = evaluate(30, 0, true, 50);
    CHECK(e.arms[EVALUATE_CHAMPION].ndcg == e.arms[EVALUATE_CHALLENGER].ndcg);
    CHECK(e.arms[EVALUATE_CHAMPION].gain.difference == 0);
    CHECK(e.arms[EVALUATE_CHAMPION].gain.low == 0 && e.arms[EVALUATE_CHAMPION].gain.high == 0);
    CHECK_NEAR(e.arms[EVALUATE_CHALLENGER].ndcg - e.arms[EVALUATE_POPULARITY].ndcg,
               e.arms[EVALUATE_POPULARITY].gain.difference, 1e-6);
    CHECK(e.arms[EVALUATE_POPULARITY].gain.low <= e.arms[EVALUATE_POPULARITY].gain.difference);
    CHECK(e.arms[EVALUATE_POPULARITY].gain.high >= e.arms[EVALUATE_POPULARITY].gain.difference);
    end();
}
