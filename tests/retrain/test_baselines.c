/*
 * Tests retrain/baselines: by hand on a few events, and against an obvious model (every sum
 * made anew from the list of events) on random ones. The figures on real data are checked by
 * tests/retrain/test_backtest.c.
 */
#include "retrain/baselines.h"

#include "eval/ranking_metrics.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stddef.h>

#define DAY_MS INT64_C(86400000)
#define EVENTS 600
#define USERS  12
#define ITEMS  40

static struct error err;

static void learn(struct baselines *b, int32_t user, int32_t item, int64_t time_ms)
{
    CHECK_STATUS(OK, baselines_learn(b, user, item, time_ms, &err));
}

TEST(an_item_never_seen_is_a_miss)
{
    struct baselines *b;
    double ranks[BASELINE_COUNT];

    CHECK_STATUS(OK, baselines_create(&b, &err));
    CHECK_STATUS(OK, baselines_rank(b, 0, 7, ranks, &err));
    for (int i = 0; i < BASELINE_COUNT; i++)
        CHECK(ranks[i] == RANKING_METRICS_MISS);
    learn(b, 0, 3, 0);
    CHECK_STATUS(OK, baselines_rank(b, 5000, 100000, ranks, &err));
    CHECK(ranks[BASELINE_POPULARITY] == RANKING_METRICS_MISS);
    CHECK_STATUS(OK, baselines_rank(b, 5000, 3, ranks, &err));
    CHECK(ranks[BASELINE_POPULARITY] == 0);
    baselines_destroy(b);
    baselines_destroy(NULL);
}

TEST(a_repeated_pair_is_not_counted)
{
    struct baselines *b;
    double ranks[BASELINE_COUNT];

    CHECK_STATUS(OK, baselines_create(&b, &err));
    for (int i = 0; i < 5; i++)
        learn(b, 0, 0, i);
    learn(b, 1, 1, 9);
    CHECK(baselines_seen(b, 0, 0) && !baselines_seen(b, 1, 0) && !baselines_seen(b, 99, 0));
    CHECK_STATUS(OK, baselines_rank(b, 2, 0, ranks, &err));
    CHECK(ranks[BASELINE_POPULARITY] == .5); /* a tie: one event each */
    baselines_destroy(b);
}

/* Items 0 (three events, a month ago) and 1 (two, now): lifetime and recent popularity differ. */
TEST(popularity_decays_and_own_items_are_no_candidates)
{
    struct baselines *b;
    double ranks[BASELINE_COUNT];

    CHECK_STATUS(OK, baselines_create(&b, &err));
    for (int user = 0; user < 3; user++)
        learn(b, user, 0, 0);
    learn(b, 3, 1, 30 * DAY_MS);
    learn(b, 4, 1, 30 * DAY_MS);
    CHECK_STATUS(OK, baselines_rank(b, 5, 1, ranks, &err));
    CHECK(ranks[BASELINE_POPULARITY] == 1 && ranks[BASELINE_POPULARITY_7D] == 0);
    CHECK_STATUS(OK, baselines_rank(b, 0, 1, ranks, &err));
    CHECK(ranks[BASELINE_POPULARITY] == 0); /* item 0 is user 0's own */
    baselines_destroy(b);
}

/* The epoch of the decayed sums moves after years; the order must not notice. */
TEST(popularity_survives_a_century)
{
    struct baselines *b;
    double ranks[BASELINE_COUNT];

    CHECK_STATUS(OK, baselines_create(&b, &err));
    learn(b, 0, 0, 0);
    for (int year = 0; year <= 100; year++)
        learn(b, year, 1 + year % 2, year * 365 * DAY_MS);
    CHECK_STATUS(OK, baselines_rank(b, 200, 1, ranks, &err));
    CHECK(ranks[BASELINE_POPULARITY_7D] == 0);
    CHECK_STATUS(OK, baselines_rank(b, 200, 2, ranks, &err));
    CHECK(ranks[BASELINE_POPULARITY_7D] == 1);
    baselines_destroy(b);
}

/* ---- the obvious model ---- */

struct happened {
    int32_t user, item;
    int64_t time_ms;
};

static struct happened events[EVENTS];

static int items_of(int32_t user, int until, int32_t *items)
{
    int count = 0;

    for (int i = 0; i < until; i++)
        if (events[i].user == user)
            items[count++] = events[i].item;
    return count;
}

static void obvious_covisits(int until, double c[ITEMS][ITEMS])
{
    int32_t before[EVENTS];

    for (int i = 0; i < ITEMS * ITEMS; i++)
        c[i / ITEMS][i % ITEMS] = 0;
    for (int n = 0; n < until; n++) {
        int count = items_of(events[n].user, n, before);

        for (int d = 1; d <= 5 && d <= count; d++) {
            c[before[count - d]][events[n].item] += 1.0 / d;
            c[events[n].item][before[count - d]] += .5 / d;
        }
    }
}

static double obvious_rank(const double *scores, const double *counts, int32_t target,
                           const int32_t *mine, int mine_count)
{
    double better = 0, equal = 0;

    for (int i = 0; i < ITEMS; i++) {
        bool own = false;

        for (int k = 0; k < mine_count; k++)
            own |= mine[k] == i;
        if (own || counts[i] == 0)
            continue;
        /* Sums in another order differ in the last bits: nearly equal is equal. */
        if (fabs(scores[i] - scores[target]) < 1e-12 * (1 + fabs(scores[target])))
            equal++;
        else if (scores[i] > scores[target])
            better++;
    }
    return better + (equal - 1) / 2;
}

static void obvious_ranks(int until, int32_t user, int32_t item, int64_t now_ms,
                          double ranks[BASELINE_COUNT])
{
    static double c[ITEMS][ITEMS];
    double scores[BASELINE_COUNT][ITEMS] = {{0}};
    double related_max = 0, decayed_max = 0, factor = 1;
    int32_t mine[EVENTS];
    int mine_count = items_of(user, until, mine);

    obvious_covisits(until, c);
    for (int n = 0; n < until; n++) {
        double age = (double)(now_ms - events[n].time_ms) / (7.0 * DAY_MS);

        scores[BASELINE_POPULARITY][events[n].item] += 1;
        scores[BASELINE_POPULARITY_7D][events[n].item] += exp(-age);
    }
    for (int k = 0; k < 10 && k < mine_count; k++, factor *= .9)
        for (int i = 0; i < ITEMS; i++)
            scores[BASELINE_COVISITATION_ONLY][i] += factor * c[mine[mine_count - 1 - k]][i];
    for (int i = 0; i < ITEMS; i++) {
        scores[BASELINE_COVISITATION_ONLY][i] /= sqrt(1 + scores[BASELINE_POPULARITY][i]);
        related_max = fmax(related_max, scores[BASELINE_COVISITATION_ONLY][i]);
        decayed_max = fmax(decayed_max, scores[BASELINE_POPULARITY_7D][i]);
    }
    for (int i = 0; i < ITEMS; i++)
        scores[BASELINE_COVISITATION][i] =
            (related_max > 0 ? scores[BASELINE_COVISITATION_ONLY][i] / related_max : 0) +
            .3 * scores[BASELINE_POPULARITY_7D][i] / decayed_max;
    for (int b = 0; b < BASELINE_COUNT; b++)
        ranks[b] = obvious_rank(scores[b], scores[BASELINE_POPULARITY], item, mine, mine_count);
}

static bool had(int32_t user, int32_t item, int until)
{
    for (int i = 0; i < until; i++)
        if (events[i].user == user && events[i].item == item)
            return true;
    return false;
}

TEST(baselines_agree_with_the_obvious_model)
{
    struct baselines *b;
    struct random random;
    int count = 0, compared = 0;
    int64_t now = 0;

    random_seed(&random, test_seed());
    CHECK_STATUS(OK, baselines_create(&b, &err));
    for (int n = 0; n < EVENTS; n++) {
        int32_t user = (int32_t)random_below(&random, USERS);
        int32_t item = (int32_t)(random_below(&random, ITEMS) * random_below(&random, ITEMS) /
                                 ITEMS);
        double got[BASELINE_COUNT], want[BASELINE_COUNT];

        now += (int64_t)random_below(&random, DAY_MS / 2);
        CHECK(baselines_seen(b, user, item) == had(user, item, count));
        if (had(user, item, count))
            continue;
        CHECK_STATUS(OK, baselines_rank(b, user, item, got, &err));
        if (got[0] != RANKING_METRICS_MISS) {
            obvious_ranks(count, user, item, now, want);
            for (int i = 0; i < BASELINE_COUNT; i++)
                CHECK_NEAR(want[i], got[i], 1e-9);
            compared++;
        }
        events[count++] = (struct happened){user, item, now};
        learn(b, user, item, now);
    }
    CHECK(compared > 150);
    baselines_destroy(b);
}
