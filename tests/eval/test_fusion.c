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
    fusion_learn(&fusion, lesson, &report);
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
    fusion_learn(&fusion, lesson, &report);
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

/* A handful of targets that one feature orders, among a dozen of noise: all weights together fit
 * them by luck. */
TEST(fusion_takes_one_feature_alone_where_few_targets_teach_many_weights)
{
    enum { FEW = 12 };
    int taken = 0;

    for (uint64_t seed = 1; seed <= 20; seed++) {
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
            rows[FUSION_TWO_TOWER] = 2;
            fusion_lesson_set(lesson, t, ROWS);
        }
        fusion_begin(&fusion);
        fusion_learn(&fusion, lesson, &report);
        if (report.alone != FUSION_FEATURES) {
            CHECK_INT(FUSION_TWO_TOWER, report.alone);
            CHECK(fusion.weight[FUSION_TWO_TOWER] > 0 && fusion.weight[FUSION_NETWORK] == 0);
            taken++;
        }
        fusion_lesson_destroy(lesson);
    }
    CHECK(taken >= 15);
}
