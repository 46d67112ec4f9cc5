/*
 * Tests retrain/logged: a list by hand, planted position bias that clicks alone are fooled by,
 * probabilities that are calibrated before they are needed, and nothing at all.
 */
#include "retrain/logged.h"

#include "ops/random.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

#define ROWS  6
#define LISTS 2500
#define LOOK  .6 /* of the position above */

static struct error err;
static struct logged *logged;
static struct learner *learner;
static struct logged_result r;

static void begin(void)
{
    learner = retrain_learner();
    retrain_feed(learner, 0, 400);
    CHECK_STATUS(OK, learner_ready(learner, &err));
    CHECK_STATUS(OK, logged_create(&logged, &err));
}

static void end(void)
{
    logged_destroy(logged);
    learner_destroy(learner);
}

/* Rows of the first items of the table; popular: what popularity_7d orders by. */
static void add(uint64_t user, int rows, const int *items, const int *popular, const int *clicked)
{
    struct list *list = list_create(0, rows);

    CHECK(list != NULL);
    list->user = user;
    list->time_ms = FIXTURE_BEGIN_MS;
    for (int i = 0; i < rows; i++) {
        list->rows[i] = items[i];
        list->labels[i] = (float)clicked[i];
        list->raw[i * RAW_COLUMNS + RAW_POP_7D] = popular[i];
    }
    CHECK_STATUS(OK,
                 logged_add(logged, list, learner_tables(learner), learner_model(learner), &err));
    list_destroy(list);
}

TEST(logged_of_nothing_is_not_a_number)
{
    begin();
    CHECK_STATUS(OK, logged_result(logged, -1, &r, &err));
    CHECK(r.lists == 0 && r.rows == 0 && r.clicks == 0 && r.judged == 0 && r.positions == 0);
    for (int arm = 0; arm < LOGGED_ARMS; arm++)
        CHECK(isnan(r.arms[arm].ndcg) && isnan(r.arms[arm].ndcg_ips) && isnan(r.arms[arm].auc) &&
              isnan(r.arms[arm].gauc));
    CHECK(isnan(r.entropy) && isnan(r.calibration_error) && isnan(r.predicted_over_seen));
    logged_destroy(NULL);
    end();
}

TEST(logged_without_a_model_leaves_lists_out)
{
    struct list *list = list_create(0, 2);

    begin();
    CHECK_STATUS(OK, logged_add(logged, list, learner_tables(learner), NULL, &err));
    CHECK_STATUS(OK, logged_result(logged, -1, &r, &err));
    CHECK_INT(0, r.lists);
    list_destroy(list);
    end();
}

TEST(logged_lists_by_hand)
{
    const int items[] = {0, 1, 2}, popular[] = {1, 2, 3};
    const int last[] = {0, 0, 1}, first[] = {1, 0, 0}, all[] = {1, 1, 1};

    begin();
    add(7, 3, items, popular, last);
    add(7, 3, items, popular, first);
    add(8, 3, items, popular, all); /* every order of it is as good */
    CHECK_STATUS(OK, logged_result(logged, -1, &r, &err));
    CHECK_INT(3, r.lists);
    CHECK_INT(9, r.rows);
    CHECK_INT(2, r.judged);
    CHECK_INT(2, r.clicks);
    CHECK_INT(3, r.positions);
    CHECK(r.look[0] == 1 && r.look[1] == 1 && r.look[2] == 1); /* too few clicks to say */
    CHECK_NEAR((1 + 1 / log2(4)) / 2, r.arms[LOGGED_SHOWN].ndcg, 1e-6);
    CHECK_NEAR((1 + 1 / log2(4)) / 2, r.arms[LOGGED_POPULARITY].ndcg_ips, 1e-6);
    CHECK_NEAR((1 + 1. / 3) / 2, r.arms[LOGGED_SHOWN].reciprocal_ips, 1e-6);
    /* Of user 7 one click is above two rows of 3 and one below two: .5; user 8 has one kind. */
    CHECK_NEAR(.5, r.arms[LOGGED_SHOWN].gauc, 1e-6);
    /* Popularity 3 3 1 1 2 of the clicks against 1 2 2 3 of the others. */
    CHECK_NEAR((3.5 + 3.5 + .5 + .5 + 2) / 20, r.arms[LOGGED_POPULARITY].auc, 1e-6);
    end();
}

/* Items 0, 1, ... are better and better; lists show them in an order that knows a little of it. */
static void show(struct random *random)
{
    int items[ROWS], popular[ROWS], clicked[ROWS];

    for (int i = 0; i < ROWS; i++)
        items[i] = (int)random_below(random, 20);
    for (int i = 0; i < ROWS; i++) {
        double chance = .05 + .04 * items[i];

        popular[i] = items[i];
        clicked[i] = random_unit(random) < chance * pow(LOOK, i);
    }
    add(random_below(random, 300), ROWS, items, popular, clicked);
}

/* Shown in no order, so the true order is the better one; clicks praise what was shown. */
TEST(logged_clicks_by_propensity_see_through_the_bias_of_positions)
{
    struct random random;

    begin();
    random_seed(&random, test_seed());
    for (int n = 0; n < LISTS; n++)
        show(&random);
    CHECK_STATUS(OK, logged_result(logged, -1, &r, &err));
    for (int p = 0; p < ROWS; p++)
        CHECK_NEAR(pow(LOOK, p), r.look[p], .08);
    CHECK(r.arms[LOGGED_SHOWN].ndcg > r.arms[LOGGED_POPULARITY].ndcg + .02);
    CHECK(r.arms[LOGGED_SHOWN].ndcg_ips < r.arms[LOGGED_POPULARITY].ndcg_ips - .05);
    /* Or by a rule that somebody knows: none looks away, so clicks count as they are. */
    CHECK_STATUS(OK, logged_result(logged, 0, &r, &err));
    CHECK(r.look[ROWS - 1] == 1);
    CHECK(r.arms[LOGGED_SHOWN].ndcg_ips > r.arms[LOGGED_POPULARITY].ndcg_ips);
    CHECK_STATUS(OK, logged_result(logged, .5, &r, &err));
    CHECK_NEAR(.5, r.look[3], 1e-9);
    end();
}

TEST(logged_probabilities_are_calibrated_on_lists_to_come)
{
    struct random random;

    begin();
    random_seed(&random, test_seed());
    for (int n = 0; n < LISTS; n++)
        show(&random);
    CHECK_STATUS(OK, logged_result(logged, -1, &r, &err));
    CHECK(r.predicted > r.rows / 2 && r.predicted < r.rows); /* none before the first pair */
    CHECK_NEAR(1, r.predicted_over_seen, .05);
    CHECK(r.calibration_error < .03);
    CHECK(r.entropy < 1.01); /* an untrained model knows the rate, thanks to the pair */
    CHECK(r.platt.a != 1 || r.platt.b != 0);
    end();
}
