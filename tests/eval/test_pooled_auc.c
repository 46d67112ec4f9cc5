/* Tests eval/pooled_auc against the AUC of all scores sorted. */
#include "eval/pooled_auc.h"

#include "eval/ranking_metrics.h"
#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stddef.h>

#define REQUESTS 200
#define ITEMS    101

static float scores[REQUESTS * ITEMS], labels[REQUESTS * ITEMS];

/* Requests whose target is row 7, by `ahead` deviations ahead of the others. */
static void draw(double ahead, double scale, bool whole)
{
    struct random random;

    random_seed(&random, test_seed());
    for (int i = 0; i < REQUESTS * ITEMS; i++) {
        labels[i] = i % ITEMS == 7;
        scores[i] = (float)(scale * (random_normal(&random) + (i % ITEMS == 7 ? ahead : 0)));
        if (whole)
            scores[i] = roundf(scores[i]);
    }
}

static void add_all(struct pooled_auc *one, struct pooled_auc *other)
{
    for (int r = 0; r < REQUESTS; r++)
        pooled_auc_add(r % 3 == 0 ? other : one, scores + (ptrdiff_t)r * ITEMS, ITEMS, 7);
}

TEST(pooled_auc_is_that_of_all_scores_sorted)
{
    for (int kind = 0; kind < 4; kind++) {
        struct pooled_auc *one = pooled_auc_create(), *other = pooled_auc_create();
        double exact;

        draw(kind == 0 ? 0 : 1.2, kind == 1 ? 1e-6 : kind == 2 ? 1e6 : 3, kind == 3);
        add_all(one, other);
        pooled_auc_merge(one, other);
        exact = ranking_metrics_auc(scores, labels, (int64_t)REQUESTS * ITEMS);
        CHECK_NEAR(exact, pooled_auc_value(one), kind == 3 ? 1e-9 : 1e-3);
        pooled_auc_destroy(one);
        pooled_auc_destroy(other);
    }
}

TEST(pooled_auc_passes_over_what_is_no_candidate)
{
    static const float row[] = {3, -INFINITY, 2, NAN, 1};
    static const float equal[] = {0.0f, -0.0f, 0.0f};
    struct pooled_auc *pooled = pooled_auc_create();

    CHECK(isnan(pooled_auc_value(pooled)));
    pooled_auc_add(pooled, row, 5, 1); /* a masked target: a miss, not a comparison */
    pooled_auc_add(pooled, row, 5, 3);
    pooled_auc_add(pooled, row, 5, -1);
    pooled_auc_add(pooled, row, 5, 5);
    CHECK(isnan(pooled_auc_value(pooled)));
    pooled_auc_add(pooled, row, 1, 0); /* alone */
    CHECK(isnan(pooled_auc_value(pooled)));
    pooled_auc_destroy(pooled);
    pooled = pooled_auc_create();
    pooled_auc_add(pooled, row, 5, 2);
    CHECK_NEAR(.5, pooled_auc_value(pooled), 1e-12);
    pooled_auc_destroy(pooled);
    pooled = pooled_auc_create();
    pooled_auc_add(pooled, equal, 3, 1);
    CHECK_NEAR(.5, pooled_auc_value(pooled), 1e-12);
    pooled_auc_destroy(pooled);
    pooled_auc_destroy(NULL);
}

/* Each user's own order says nothing of it: the second's scores are all above the first's. */
TEST(pooled_auc_compares_scores_of_different_requests)
{
    static const float low[] = {2, 1, 0}, high[] = {10, 12, 11};
    struct pooled_auc *pooled = pooled_auc_create();

    pooled_auc_add(pooled, low, 3, 0);  /* above 2 of its own, below the second's others */
    pooled_auc_add(pooled, high, 3, 0); /* above the first's others, below its own */
    CHECK_NEAR(.5, pooled_auc_value(pooled), 1e-12);
    pooled_auc_destroy(pooled);
}
