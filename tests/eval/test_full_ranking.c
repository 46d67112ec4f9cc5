/*
 * Tests eval/full_ranking: ranks against a literal ranking, masks, the same for any number of
 * threads, and that the learnt baselines beat popularity where there is an order to be learnt.
 */
#include "eval/full_ranking.h"

#include "eval/ranking_metrics.h"
#include "tests/eval/eval_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct eval_fixture f;
static struct full_ranking ranking;
static struct error err;

static struct full_ranking_world world(void)
{
    return (struct full_ranking_world){.split = &f.split, .signals = f.signals, .crew = f.crew};
}

/* Lifetime popularity, by hand. */
static double popularity_rank(int64_t event, bool keep_seen)
{
    const struct interactions *d = &f.data;
    int64_t first = d->start[d->user[event]], end = f.split.train_end[d->user[event]];
    int64_t better = 0, equal = 0;
    const float *count = signals_lifetime(f.signals);

    for (int32_t v = 1; v < d->items; v++) {
        bool masked = false;

        for (int64_t e = first; e < end && !keep_seen; e++)
            masked |= d->item[e] == v;
        if (masked && v == d->item[event])
            return RANKING_METRICS_MISS;
        better += !masked && count[v] > count[d->item[event]];
        equal += !masked && count[v] == count[d->item[event]];
    }
    return ranking_metrics_rank(better, equal);
}

TEST(full_ranking_ranks_all_items_but_the_masked)
{
    for (int keep = 0; keep < 2; keep++) {
        struct full_ranking_world w;

        eval_fixture_load(&f,
                          "u a\nu b\nu a\nu c\nu a\nv a\nv d\nv e\nv c\nv f\nw c\nw a\nw d\nw b\n",
                          SPLIT_LEAVE_ONE_OUT, 2);
        w = world();
        w.keep_seen = keep == 1;
        CHECK_STATUS(OK, full_ranking_run(&ranking, &w, &f.split.test, NULL, &err));
        CHECK_INT(3, ranking.count);
        for (int64_t i = 0; i < ranking.count; i++) {
            double want = popularity_rank(f.split.test.at[i], w.keep_seen);

            CHECK(ranking.rank[ARM_POPULARITY][i] == want);
        }
        CHECK(isinf(ranking.rank[ARM_POPULARITY][0]) == !w.keep_seen); /* u's test was trained on */
        CHECK_INT(w.keep_seen ? 6 : 4, ranking.candidates[0]);
        CHECK(ranking.rank[ARM_NETWORK] == NULL && ranking.rank[ARM_FTRL] == NULL);
        full_ranking_clear(&ranking);
        eval_fixture_clear(&f);
    }
}

TEST(full_ranking_puts_items_without_training_last)
{
    struct full_ranking_world w;

    eval_fixture_load(&f, "u a\nu b\nu c\nu new\nv d\nv c\nv a\nv c\n", SPLIT_LEAVE_ONE_OUT, 1);
    w = world();
    CHECK_STATUS(OK, full_ranking_run(&ranking, &w, &f.split.test, NULL, &err));
    CHECK(ranking.rank[ARM_MODEL][0] == 1); /* behind d; a and b are masked, c is the last choice */
    full_ranking_clear(&ranking);
    eval_fixture_clear(&f);
}

TEST(full_ranking_is_the_same_for_any_number_of_threads)
{
    struct full_ranking one = {0};

    for (int threads = 1; threads <= 4; threads += 3) {
        struct full_ranking_world w;
        struct model_config config;

        eval_fixture_make(&f, SPLIT_TIME, threads);
        w = world();
        CHECK(model_preset(&config, "small", f.data.items, 0));
        config.head = MODEL_HEAD_DOT;
        CHECK_STATUS(OK, model_create(&w.model, &config, 3, &err));
        CHECK_STATUS(OK, full_ranking_run(&ranking, &w, &f.split.test, NULL, &err));
        for (int arm = 0; threads > 1 && arm <= ARM_ITEM_KNN; arm++) {
            CHECK(memcmp(one.rank[arm], ranking.rank[arm],
                         (size_t)one.count * sizeof *one.rank[arm]) == 0);
            CHECK(memcmp(one.exposed[arm], ranking.exposed[arm],
                         (size_t)f.data.items * sizeof *one.exposed[arm]) == 0);
        }
        if (threads == 1)
            one = ranking;
        else
            full_ranking_clear(&ranking);
        model_destroy(w.model);
        eval_fixture_clear(&f);
    }
    full_ranking_clear(&one);
}

static double ndcg_of(int arm)
{
    double sum = 0;

    for (int64_t i = 0; i < ranking.count; i++)
        sum += ranking_metrics_ndcg(ranking.rank[arm][i], 5) / (double)ranking.count;
    return sum;
}

TEST(full_ranking_by_what_was_learnt_beats_popularity)
{
    struct full_ranking_world w;
    struct ftrl *ftrl;
    struct two_tower *two_tower;

    eval_fixture_make(&f, SPLIT_LEAVE_ONE_OUT, 1);
    w = world();
    CHECK_STATUS(OK, ftrl_create(&ftrl, &f.split, 1, &err));
    CHECK_STATUS(OK, two_tower_create(&two_tower, &f.split, 1, &err));
    w.ftrl = ftrl;
    w.two_tower = two_tower;
    CHECK_STATUS(OK, full_ranking_run(&ranking, &w, &f.split.test, NULL, &err));
    for (int arm = ARM_COVISITATION; arm <= ARM_TWO_TOWER; arm++)
        if (arm != ARM_ITEM_KNN) /* sets have no order: only the popular helps it */
            CHECK(ndcg_of(arm) > ndcg_of(ARM_POPULARITY) + .1);
    full_ranking_clear(&ranking);
    ftrl_destroy(ftrl);
    two_tower_destroy(two_tower);
    eval_fixture_clear(&f);
}

/* The contest ranks among all items what the lesson holds a part of. */
TEST(full_ranking_contest_is_by_hand_the_same)
{
    struct fusion_contest contest = {.folds = 2};
    struct full_ranking_world w;
    const struct split_targets *targets = &f.split.validation;

    eval_fixture_make(&f, SPLIT_LEAVE_ONE_OUT, 2);
    w = world();
    w.keep_seen = w.repeats = true;
    contest.fold[0].weight[FUSION_LIFETIME] = 1;
    contest.fold[1].weight[FUSION_LIFETIME] = -1;
    contest.ndcg = calloc((size_t)targets->count, FUSION_CONTESTANTS * sizeof *contest.ndcg);
    CHECK(contest.ndcg != NULL);
    CHECK_STATUS(OK, full_ranking_contest(&contest, &w, targets, &err));
    for (int64_t t = 0; t < targets->count; t++) {
        const float *by = contest.ndcg + t * FUSION_CONTESTANTS;
        double want = ranking_metrics_ndcg(popularity_rank(targets->at[t], true), 10);

        CHECK_NEAR(want, (double)by[FUSION_LIFETIME], 1e-6);
        if (t % 2 == 0)
            CHECK_NEAR(want, (double)by[FUSION_FEATURES], 1e-6);
        CHECK(by[FUSION_FTRL] == 0 && by[FUSION_TWO_TOWER] == 0);
    }
    free(contest.ndcg);
    eval_fixture_clear(&f);
}

TEST(full_ranking_knows_whether_choices_repeat)
{
    eval_fixture_load(&f, "u a\nu b\nu c\nu d\nu e\n", SPLIT_LEAVE_ONE_OUT, 1);
    CHECK(!full_ranking_repeats(&f.split));
    eval_fixture_clear(&f);
    eval_fixture_load(&f, "u a\nu b\nu a\nu d\nu e\n", SPLIT_LEAVE_ONE_OUT, 1);
    CHECK(full_ranking_repeats(&f.split));
    eval_fixture_clear(&f);
}
