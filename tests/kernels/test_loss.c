/* Tests kernels/loss: gradients against differences, and lists that cannot teach. */
#include "kernels/loss.h"

#include "tests/test.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define M 6

enum form { POINT, LOGISTIC, HINGE, SOFTMAX, LAMBDA, DISTIL, FORMS };

static const float labels[M] = {0, 1, 0, 2, .5f, 0}, weight[M] = {1, .5f, 2, 1, 1, 0};
static const float teacher[M] = {.1f, 2, -1, 0, .3f, 1};

static double call(enum form form, float *ds, const struct loss_list *list, double scale)
{
    int32_t order[M];

    switch (form) {
    case POINT:
        return loss_point(ds, list, scale);
    case LOGISTIC:
        return loss_pair_logistic(ds, list, scale);
    case HINGE:
        return loss_pair_hinge(ds, list, scale);
    case SOFTMAX:
        return loss_softmax(ds, list, scale);
    case LAMBDA:
        return loss_lambda(ds, list, scale, order);
    default:
        return loss_distil(ds, list, teacher, scale);
    }
}

static void check_slopes(enum form form, const float *weights)
{
    float scores[M] = {.3f, -1, 2, .1f, .7f, -.2f}, ds[M], unused[M];
    struct loss_list list = {scores, labels, weights, M, 0};

    for (int i = 0; i < M; i++)
        ds[i] = 10;
    (void)call(form, ds, &list, .25);
    for (int i = 0; i < M; i++) {
        float kept = scores[i], high = kept + 1e-3f, low = kept - 1e-3f;
        double up;

        scores[i] = high;
        up = call(form, unused, &list, 0);
        scores[i] = low;
        up -= call(form, unused, &list, 0);
        scores[i] = kept;
        CHECK_NEAR(10 + .25 * up / ((double)high - (double)low), (double)ds[i], 1e-5);
    }
}

TEST(loss_gradients_are_the_slopes_and_are_added)
{
    for (int form = 0; form < FORMS; form++) {
        check_slopes((enum form)form, weight);
        check_slopes((enum form)form, NULL);
    }
}

TEST(loss_values_worked_out_by_hand)
{
    const float scores[2] = {0, (float)M_LN2}, one[2] = {0, 1};
    float ds[2] = {0};
    struct loss_list list = {scores, one, NULL, 2, 0};
    int32_t order[2];

    CHECK_NEAR(log(2) + log(1.5), loss_point(ds, &list, 0), 1e-6);
    CHECK_NEAR(log(1.5), loss_pair_logistic(ds, &list, 0), 1e-6);
    CHECK_NEAR(1 - M_LN2, loss_pair_hinge(ds, &list, 0), 1e-6);
    CHECK_NEAR(log(1.5), loss_softmax(ds, &list, 0), 1e-6);
    CHECK_NEAR((1 - 1 / log2(3)) * log(1.5), loss_lambda(ds, &list, 0, order), 1e-6);
}

TEST(loss_of_an_outlier_is_clipped_and_teaches_nothing)
{
    const float scores[3] = {4, 0, -4}, last[3] = {0, 0, 1};
    float ds[3] = {0}, whole[3] = {0};
    struct loss_list list = {scores, last, NULL, 3, 0};
    double open = loss_softmax(whole, &list, 1);

    CHECK(open > 8 && whole[2] < -.99f);
    list.clip = 5;
    CHECK(loss_softmax(ds, &list, 1) == 5);
    CHECK(ds[0] == 0 && ds[1] == 0 && ds[2] == 0);
    list.clip = open + 1e-9;
    CHECK_NEAR(open, loss_softmax(ds, &list, 1), 1e-9);
    CHECK(memcmp(ds, whole, sizeof ds) == 0);
    /* Row by row: rows 0 and 2 lose 4.02 each, row 1 ln 2. */
    memset(ds, 0, sizeof ds);
    list.clip = 4;
    CHECK_NEAR(4 + 4 + log(2), loss_point(ds, &list, 1), 1e-6);
    CHECK(ds[0] == 0 && ds[1] > 0 && ds[2] == 0);
}

TEST(loss_of_lists_that_cannot_teach_is_zero)
{
    const float scores[3] = {1, 2, 3}, none[3] = {0}, same[3] = {1, 1, 1};
    float ds[3] = {0};
    const struct loss_list lists[] = {
        {scores, none, NULL, 3, 0}, {scores, labels, none, 3, 0}, {scores, same, NULL, 0, 0}};

    for (size_t i = 0; i < 3; i++) {
        for (int form = LOGISTIC; form < DISTIL; form++)
            CHECK(call((enum form)form, ds, &lists[i], 1) == 0);
        CHECK(!loss_has_pairs(&lists[i]) && !loss_has_positive(&lists[i]));
    }
    CHECK(ds[0] == 0 && ds[1] == 0 && ds[2] == 0);
    CHECK(loss_has_positive(&(struct loss_list){scores, same, NULL, 3, 0}));
    CHECK(!loss_has_pairs(&(struct loss_list){scores, same, NULL, 3, 0}));
}

TEST(loss_of_a_hinge_at_its_margin_has_no_slope)
{
    const float scores[2] = {0, 1}, one[2] = {0, 1};
    float ds[2] = {0};

    CHECK(loss_pair_hinge(ds, &(struct loss_list){scores, one, NULL, 2, 0}, 1) == 0);
    CHECK(ds[0] == 0 && ds[1] == 0);
}

TEST(loss_of_equal_scores_takes_the_first_to_stand_before_the_others)
{
    const float scores[3] = {2, 2, 2}, first[3] = {1, 0, 0}, last[3] = {0, 0, 1};
    struct loss_list list = {scores, first, NULL, 3, 0};
    float ds[3] = {0};
    int32_t order[3];

    CHECK_NEAR((1 - 1 / log2(3) + 1 - .5) * log(2), loss_lambda(ds, &list, 1, order), 1e-9);
    list.labels = last;
    CHECK_NEAR((1 - .5 + 1 / log2(3) - .5) * log(2), loss_lambda(ds, &list, 1, order), 1e-9);
}

TEST(loss_of_no_candidate_is_zero)
{
    const struct loss_list list = {labels, labels, NULL, 0, 0};
    float ds[1] = {3};

    for (int form = 0; form < FORMS; form++)
        CHECK(call((enum form)form, ds, &list, 1) == 0);
    CHECK(ds[0] == 3);
}

TEST(loss_stays_finite_for_scores_far_apart)
{
    const float scores[M] = {1e4f, -1e4f, 3e4f, -3e4f, 0, 1};
    const struct loss_list list = {scores, labels, weight, M, 0};

    for (int form = 0; form < FORMS; form++) {
        float ds[M] = {0};

        CHECK(isfinite(call((enum form)form, ds, &list, 1)));
        for (int i = 0; i < M; i++)
            CHECK(isfinite(ds[i]));
    }
}
