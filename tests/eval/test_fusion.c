/* Tests eval/fusion: planted weights are found, useless ones stay near where they began. */
#include "eval/fusion.h"

#include "eval/platt.h"
#include "eval/ranking_metrics.h"
#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TARGETS 1500
#define ROWS    40

static struct error err;

/* Lessons in which the target is drawn by a softmax over two features. */
static struct fusion_lesson *planted(double network, double covis)
{
    struct fusion_lesson *lesson;
    struct random random;

    random_seed(&random, test_seed());
    CHECK_STATUS(OK, fusion_lesson_create(&lesson, TARGETS, &err));
    for (int64_t t = 0; t < TARGETS; t++) {
        float *rows = fusion_lesson_rows(lesson, t), moved[FUSION_STRIDE];
        double most = -INFINITY;
        int chosen = 0;

        memset(rows, 0, ROWS * FUSION_STRIDE * sizeof *rows);
        for (int i = 0; i < ROWS; i++) {
            float *row = rows + (ptrdiff_t)i * FUSION_STRIDE;
            double score;

            row[FUSION_NETWORK] = (float)random_normal(&random);
            row[FUSION_COVIS] = (float)random_normal(&random);
            row[FUSION_KNN] = (float)random_normal(&random);
            score = network * (double)row[FUSION_NETWORK] + covis * (double)row[FUSION_COVIS] -
                    log(-log(random_unit(&random) + 1e-300));
            if (score > most) {
                most = score;
                chosen = i;
            }
        }
        memcpy(moved, rows, sizeof moved);
        memcpy(rows, rows + (ptrdiff_t)chosen * FUSION_STRIDE, sizeof moved);
        memcpy(rows + (ptrdiff_t)chosen * FUSION_STRIDE, moved, sizeof moved);
        fusion_lesson_set(lesson, t, ROWS);
    }
    return lesson;
}

TEST(fusion_finds_planted_weights)
{
    struct fusion_lesson *lesson = planted(2, 1);
    struct fusion_report report;
    struct fusion fusion;

    fusion_begin(&fusion);
    fusion_learn(&fusion, lesson, FUSION_SERVED, &report);
    CHECK_INT(TARGETS, report.targets);
    CHECK(report.likelihood_after > report.likelihood_before);
    CHECK(report.ndcg_after >= report.ndcg_before);
    CHECK_NEAR(.5, (double)(fusion.weight[FUSION_COVIS] / fusion.weight[FUSION_NETWORK]), .08);
    CHECK(fabsf(fusion.weight[FUSION_KNN]) < .15f);
    CHECK(fusion.weight[FUSION_LIFETIME] == 0); /* constant: nothing to learn it from */
    fusion_lesson_destroy(lesson);
}

/* By the weights that made the choices the softmax tells the truth; by others a Platt pair mends
 * its scale. */
TEST(fusion_logits_are_calibrated)
{
    static float logits[TARGETS * 10], labels[TARGETS * 10];
    struct fusion_lesson *lesson = planted(2, 1);

    for (int wrong = 0; wrong < 2; wrong++) {
        struct fusion fusion = {{0}};
        struct platt platt;
        int64_t count;
        double ece[2];

        fusion.weight[FUSION_NETWORK] = wrong ? 4 : 2;
        fusion.weight[FUSION_COVIS] = wrong ? 2 : 1;
        count = fusion_logits(&fusion, lesson, 10, logits, labels);
        CHECK_INT(TARGETS * 10, count);
        CHECK(platt_fit(&platt, logits, labels, count));
        if (!wrong) {
            CHECK_NEAR(1, (double)platt.a, .08);
            CHECK_NEAR(0, (double)platt.b, .15);
        }
        for (int mended = 0; mended < 2; mended++) {
            float p[TARGETS * 10];

            for (int64_t i = 0; i < count; i++) {
                float z = mended ? platt.a * logits[i] + platt.b : logits[i];

                p[i] = 1 / (1 + expf(-z));
            }
            ece[mended] = ranking_metrics_ece(p, labels, count, RANKING_METRICS_ECE_BINS);
        }
        CHECK(ece[1] < .012);
        CHECK(wrong ? ece[0] > .03 : ece[0] < .012);
    }
    fusion_lesson_destroy(lesson);
}

TEST(fusion_logits_stay_finite)
{
    CHECK(isfinite(fusion_logit(0, 1)) && fusion_logit(0, 1) > 15);
    CHECK(isfinite(fusion_logit(-1e9, 1)) && fusion_logit(-1e9, 1) < -15);
    CHECK_NEAR(0, (double)fusion_logit(0, 2), 1e-6);
}

TEST(fusion_without_a_lesson_is_as_it_began)
{
    struct fusion_lesson *lesson;
    struct fusion_report report;
    struct fusion fusion, begun;

    CHECK_STATUS(OK, fusion_lesson_create(&lesson, 0, &err));
    fusion_begin(&fusion);
    fusion_begin(&begun);
    fusion_learn(&fusion, lesson, FUSION_SERVED, &report);
    CHECK(memcmp(&fusion, &begun, sizeof fusion) == 0 && report.targets == 0);
    fusion_lesson_destroy(lesson);
    fusion_lesson_destroy(NULL);
}

TEST(fusion_features_are_finite_where_there_is_no_evidence)
{
    enum { V = 5 };
    static const float none[V] = {0}, lifetime[V] = {0, 3, 0, 1, 0};
    static float memory[FUSION_FEATURES][V];
    const struct fusion_world world = {V, 4, lifetime, true};
    const float *of[SIGNAL_COUNT];
    float *features[FUSION_FEATURES];
    struct fusion fusion;
    float scores[V];

    for (int k = 0; k < SIGNAL_COUNT; k++)
        of[k] = none;
    of[SIGNAL_LIFETIME] = lifetime;
    for (int k = 0; k < FUSION_FEATURES; k++)
        features[k] = memory[k];
    fusion_features(features, &world, none, of);
    fusion_begin(&fusion);
    fusion_score(scores, &fusion, (const float *const *)features, V);
    for (int v = 0; v < V; v++)
        CHECK(isfinite(scores[v]));
    CHECK(scores[1] > scores[3] && scores[3] > scores[2] && scores[2] == scores[4]);
}

/* ---- one feature alone ---- */

/* NDCG of the lesson's lists as they stand, for lessons that hold every item. */
static void hold_contest(struct fusion_contest *contest, struct fusion_lesson *lesson,
                         int64_t targets, int rows_count)
{
    struct fusion begin;

    fusion_begin(&begin);
    fusion_learn_folds(contest, &begin, lesson, FUSION_SERVED);
    for (int64_t t = 0; t < targets; t++) {
        const float *rows = fusion_lesson_rows(lesson, t);
        const struct fusion *all = &contest->fold[t % contest->folds];

        for (int c = 0; c < FUSION_CONTESTANTS; c++) {
            double own = 0, better = 0, equal = 0;

            for (ptrdiff_t i = 0; i < rows_count; i++) {
                double score = 0;

                for (int k = 0; k < FUSION_FEATURES; k++)
                    score += (c < FUSION_FEATURES ? k == c : (double)all->weight[k]) *
                             (double)rows[i * FUSION_STRIDE + k];
                own = i == 0 ? score : own;
                better += i > 0 && score > own;
                equal += i > 0 && score == own;
            }
            contest->ndcg[t * FUSION_CONTESTANTS + c] = (float)ranking_metrics_ndcg(
                better + equal / 2, 10);
        }
    }
}

/* A handful of targets that one feature orders, among a dozen of noise: all weights together fit
 * them by luck, and where one is taken alone it is the one. */
TEST(fusion_is_judged_by_what_it_was_not_learnt_from)
{
    enum { FEW = 12 };
    static float ndcg[FEW * FUSION_CONTESTANTS];
    double luck = 0;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fusion_contest contest = {.ndcg = ndcg};
        struct fusion_lesson *lesson;
        struct fusion_report report;
        struct fusion fusion;
        struct random random;

        random_seed(&random, seed);
        CHECK_STATUS(OK, fusion_lesson_create(&lesson, FEW, &err));
        for (int64_t t = 0; t < FEW; t++) {
            float *rows = fusion_lesson_rows(lesson, t);

            for (ptrdiff_t i = 0; i < ROWS; i++) {
                for (int k = 0; k < FUSION_FEATURES; k++)
                    rows[i * FUSION_STRIDE + k] = (float)random_normal(&random);
                rows[i * FUSION_STRIDE + FUSION_FEATURES] = 0;
            }
            rows[FUSION_RELATED] = 2;
            fusion_lesson_set(lesson, t, ROWS);
        }
        fusion_begin(&fusion);
        fusion_learn(&fusion, lesson, FUSION_SERVED, &report);
        hold_contest(&contest, lesson, FEW, ROWS);
        fusion_choose(&fusion, lesson, &contest, &report);
        luck += report.ndcg_after - report.ndcg_contest;
        if (report.alone != FUSION_FEATURES) {
            CHECK_INT(FUSION_RELATED, report.alone);
            CHECK(fusion.weight[FUSION_RELATED] > 0 && fusion.weight[FUSION_NETWORK] == 0);
        }
        fusion_lesson_destroy(lesson);
    }
    CHECK(luck > 20 * .05);
}

/* Lists that are incomplete as eval's are: of 10,000 items the best rivals by the beginning
 * weights, and a draw in which each row stands for 39. A feature unlike the beginning has 20 items
 * above each target, of which the draw holds one or none: among the list it looks nearly perfect,
 * among all items it hits nothing. */
TEST(fusion_does_not_believe_a_feature_whose_rivals_are_not_in_the_list)
{
    enum { SHOWN = 60, BEST = 50, DRAWN = 250, STANDS_FOR = 39, RIVALS = 20 };
    static float ndcg[SHOWN * FUSION_CONTESTANTS];
    struct fusion_contest contest = {.ndcg = ndcg};
    struct fusion_lesson *lesson;
    struct fusion_report report;
    struct fusion fusion;
    struct random random;

    random_seed(&random, test_seed());
    CHECK_STATUS(OK, fusion_lesson_create(&lesson, SHOWN, &err));
    for (int64_t t = 0; t < SHOWN; t++) {
        float *rows = fusion_lesson_rows(lesson, t);
        int above = 0;

        memset(rows, 0, (size_t)(1 + BEST + DRAWN) * FUSION_STRIDE * sizeof *rows);
        for (ptrdiff_t i = 0; i < 1 + BEST + DRAWN; i++) {
            float *row = rows + i * FUSION_STRIDE;

            for (int k = 0; k < FUSION_FEATURES; k++)
                row[k] = fusion_is_served(k) ? (float)random_normal(&random) : 0;
            row[FUSION_SLOW] = (float)random_unit(&random);
            row[FUSION_FEATURES] = i > BEST ? logf(STANDS_FOR) : 0;
            if (i > BEST && random_below(&random, STANDS_FOR * DRAWN) < RIVALS)
                row[FUSION_SLOW] = 3;
        }
        rows[FUSION_NETWORK] += 1;
        rows[FUSION_SLOW] = 2;
        fusion_lesson_set(lesson, t, 1 + BEST + DRAWN);
        for (ptrdiff_t i = 1; i <= BEST; i++)
            above += rows[i * FUSION_STRIDE + FUSION_NETWORK] > rows[FUSION_NETWORK];
        for (int c = 0; c < FUSION_CONTESTANTS; c++)
            ndcg[t * FUSION_CONTESTANTS + c] = 0;
        ndcg[t * FUSION_CONTESTANTS + FUSION_SLOW] = (float)ranking_metrics_ndcg(RIVALS, 10);
        ndcg[t * FUSION_CONTESTANTS + FUSION_FEATURES] = (float)ranking_metrics_ndcg(above, 10);
    }
    fusion_begin(&fusion);
    fusion_learn(&fusion, lesson, FUSION_SERVED, &report);
    fusion_choose(&fusion, lesson, &contest, &report);
    CHECK_INT(FUSION_FEATURES, report.alone);
    CHECK(fusion.weight[FUSION_NETWORK] > 0);
    fusion_lesson_destroy(lesson);
}

/* A feature that is ahead by what luck gives leaves all together as they are; one without a gap in
 * doubt is taken. */
TEST(fusion_takes_a_feature_alone_by_more_than_luck_only)
{
    static float ndcg[TARGETS * FUSION_CONTESTANTS];
    struct fusion_contest contest = {.ndcg = ndcg};
    struct fusion_lesson *lesson = planted(2, 1);

    for (int sure = 0; sure < 2; sure++) {
        struct fusion_report report;
        struct fusion fusion;

        memset(ndcg, 0, sizeof ndcg);
        for (int64_t t = 0; t < TARGETS; t++) {
            /* 20 targets better, 10 worse: 10 in 5.5; or 40 and none */
            ndcg[t * FUSION_CONTESTANTS + FUSION_KNN] = t < (sure ? 40 : 20) ? 1 : 0;
            ndcg[t * FUSION_CONTESTANTS + FUSION_FEATURES] = !sure && t >= 20 && t < 30 ? 1 : 0;
            ndcg[t * FUSION_CONTESTANTS + FUSION_FTRL] = 1; /* is not served */
        }
        fusion_begin(&fusion);
        fusion_learn(&fusion, lesson, FUSION_SERVED, &report);
        fusion_choose(&fusion, lesson, &contest, &report);
        CHECK_INT(sure ? FUSION_KNN : FUSION_FEATURES, report.alone);
        CHECK_NEAR(sure ? 40. / TARGETS : 10. / TARGETS, report.ndcg_contest, 1e-6);
    }
    fusion_lesson_destroy(lesson);
}

/* The learnt baselines enter the ensemble alone. */
TEST(fusion_of_what_is_served_leaves_the_learnt_baselines_out)
{
    struct fusion_lesson *lesson = planted(2, 1);

    for (int64_t t = 0; t < TARGETS; t++)
        for (ptrdiff_t i = 0; i < ROWS; i++) {
            float *row = fusion_lesson_rows(lesson, t) + i * FUSION_STRIDE;

            row[FUSION_FTRL] = row[FUSION_COVIS];
            row[FUSION_COVIS] = 0;
        }
    for (int members = FUSION_SERVED; members <= FUSION_EVERYTHING; members++) {
        struct fusion_report report;
        struct fusion fusion;

        fusion_begin(&fusion);
        fusion_learn(&fusion, lesson, (enum fusion_members)members, &report);
        CHECK((fusion.weight[FUSION_FTRL] > .5f) == (members == FUSION_EVERYTHING));
        CHECK(members == FUSION_EVERYTHING || fusion.weight[FUSION_FTRL] == 0);
        CHECK(fusion.weight[FUSION_NETWORK] > 1);
    }
    fusion_lesson_destroy(lesson);
}
