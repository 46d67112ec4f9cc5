/*
 * Tests eval/ranking_metrics against numbers worked out by hand, ugly inputs first.
 */
#include "eval/ranking_metrics.h"

#include "tests/test.h"

#include <math.h>
#include <stddef.h>

TEST(metrics_without_events_are_nan_or_zero)
{
    CHECK(isnan(ranking_metrics_auc(NULL, NULL, 0)));
    CHECK(isnan(ranking_metrics_ne(NULL, NULL, 0)));
    CHECK(isnan(ranking_metrics_ece(NULL, NULL, 0, 15)));
    CHECK(isnan(ranking_metrics_pcoc(NULL, NULL, 0)));
    CHECK(isnan(ranking_metrics_list_ndcg(NULL, NULL, 0, 10)));
    CHECK(ranking_metrics_psi((const int64_t[]){0, 0}, (const int64_t[]){3, 4}, 2) == 0);
}

TEST(a_missed_target_counts_nothing)
{
    CHECK(ranking_metrics_hit(RANKING_METRICS_MISS, 20) == 0);
    CHECK(ranking_metrics_ndcg(RANKING_METRICS_MISS, 20) == 0);
    CHECK(ranking_metrics_reciprocal(RANKING_METRICS_MISS) == 0);
    CHECK(ranking_metrics_hit(NAN, 20) == 0);
    CHECK(ranking_metrics_ndcg(NAN, 20) == 0);
}

TEST(a_rank_averages_ties)
{
    CHECK(ranking_metrics_rank(0, 1) == 0);
    CHECK(ranking_metrics_rank(3, 1) == 3);
    CHECK(ranking_metrics_rank(3, 4) == 4.5);
}

TEST(hits_and_gains_of_a_rank)
{
    CHECK(ranking_metrics_hit(19.5, 20) == 1);
    CHECK(ranking_metrics_hit(20, 20) == 0);
    CHECK_NEAR(1, ranking_metrics_ndcg(0, 20), 0);
    CHECK_NEAR(1 / log2(5), ranking_metrics_ndcg(3, 20), 1e-12);
    CHECK(ranking_metrics_ndcg(20, 20) == 0);
    CHECK_NEAR(.25, ranking_metrics_reciprocal(3), 1e-12);
}

TEST(ndcg_of_a_graded_list)
{
    /* Order by score: labels 1, 2, 0; gains 1, 3, 0. Ideal: 3, 1. */
    const float scores[] = {.2f, .9f, .5f};
    const float labels[] = {0, 1, 2};
    double got = 1 + 3 / log2(3), ideal = 3 + 1 / log2(3);

    CHECK_NEAR(got / ideal, ranking_metrics_list_ndcg(scores, labels, 3, 10), 1e-12);
    CHECK_NEAR(1.0 / 3, ranking_metrics_list_ndcg(scores, labels, 3, 1), 1e-12);
    CHECK(isnan(ranking_metrics_list_ndcg(scores, (const float[]){0, 0, 0}, 3, 10)));
}

TEST(ndcg_of_equal_scores_does_not_depend_on_the_order_given)
{
    const float scores[] = {1, 1, 1, 1};
    double first = ranking_metrics_list_ndcg(scores, (const float[]){1, 0, 0, 0}, 4, 2);
    double last = ranking_metrics_list_ndcg(scores, (const float[]){0, 0, 0, 1}, 4, 2);

    CHECK_NEAR((1 + 1 / log2(3)) / 4, first, 1e-12);
    CHECK(first == last);
}

TEST(a_nan_score_ranks_last)
{
    const float scores[] = {NAN, .1f};
    const float labels[] = {0, 1};

    CHECK_NEAR(1, ranking_metrics_list_ndcg(scores, labels, 2, 1), 0);
    CHECK_NEAR(1, ranking_metrics_auc(scores, labels, 2), 0);
}

TEST(auc_averages_ties)
{
    const float scores[] = {.9f, .5f, .5f, .1f};
    const float labels[] = {1, 1, 0, 0};

    /* Pairs: (.9, .5) 1, (.9, .1) 1, (.5, .5) .5, (.5, .1) 1: 3.5 of 4. */
    CHECK_NEAR(.875, ranking_metrics_auc(scores, labels, 4), 1e-12);
    CHECK_NEAR(.5, ranking_metrics_auc((const float[]){3, 3, 3, 3}, labels, 4), 1e-12);
    CHECK(isnan(ranking_metrics_auc(scores, (const float[]){1, 1, 1, 1}, 4)));
}

TEST(ne_is_one_for_the_base_rate_and_less_for_knowledge)
{
    const float labels[] = {1, 0, 0, 0};

    CHECK_NEAR(1, ranking_metrics_ne((const float[]){.25f, .25f, .25f, .25f}, labels, 4), 1e-6);
    CHECK(ranking_metrics_ne((const float[]){.7f, .1f, .1f, .1f}, labels, 4) < 1);
    /* Certain and wrong is finite. */
    CHECK(isfinite(ranking_metrics_ne((const float[]){0, 1, NAN, 0}, labels, 4)));
    CHECK(isnan(ranking_metrics_ne(labels, (const float[]){0, 0, 0, 0}, 4)));
}

TEST(ece_and_pcoc_by_hand)
{
    const float p[] = {.1f, .2f, .8f, .9f};
    const float y[] = {0, 1, 1, 1};

    /* Two bins of two: |.1 + .2 - 1| = .7 and |.8 + .9 - 2| = .3; over 4. */
    CHECK_NEAR(.25, ranking_metrics_ece(p, y, 4, 2), 1e-6);
    CHECK_NEAR(2.0 / 3, ranking_metrics_pcoc(p, y, 4), 1e-6);
    /* More bins than events: each event its own, empty bins cost nothing. */
    CHECK_NEAR((.1 + .8 + .2 + .1) / 4, ranking_metrics_ece(p, y, 4, 15), 1e-6);
    CHECK(isnan(ranking_metrics_pcoc(p, (const float[]){0, 0, 0, 0}, 4)));
}

TEST(psi_of_equal_histograms_is_zero_and_of_disjoint_ones_large)
{
    const int64_t a[] = {100, 200, 300};
    const int64_t b[] = {10, 20, 30};
    const int64_t c[] = {0, 0, 500};

    CHECK_NEAR(0, ranking_metrics_psi(a, b, 3), 1e-3);
    CHECK(ranking_metrics_psi(a, c, 3) > RANKING_METRICS_DRIFT_PSI);
    CHECK(isfinite(ranking_metrics_psi((const int64_t[]){5, 0}, (const int64_t[]){0, 5}, 2)));
}

TEST(quantile_bins_have_equal_mass)
{
    float values[100];
    double edges[4];
    int64_t counts[4] = {0};

    for (int i = 0; i < 100; i++)
        values[i] = (float)((i * 37) % 100);
    ranking_metrics_quantiles(values, 100, 4, edges);
    ranking_metrics_histogram(values, 100, edges, 4, counts);
    for (int bin = 0; bin < 4; bin++)
        CHECK_INT(25, counts[bin]);
    ranking_metrics_histogram((const float[]){NAN}, 1, edges, 4, counts);
    CHECK(counts[0] + counts[1] + counts[2] + counts[3] == 101);
}
