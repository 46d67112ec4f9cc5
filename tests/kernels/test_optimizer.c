/* Tests kernels/optimizer on every instruction set this machine has. */
#include "kernels/ops.h"

#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 48, C = 16 };

TEST(adamw_follows_the_reference_and_coasting_is_a_gradient_of_zero)
{
    struct adamw settings = {.rate = .01f, .beta1 = .9f, .beta2 = .98f, .epsilon = 1e-8f};
    float *g = slopes_random(N, 1, test_seed()), *zeros = slopes_zeros(N);

    settings.decay = .1f;
    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        float *w = slopes_random(N, 1, 5), *m = slopes_zeros(N), *v = slopes_zeros(N);
        double want_w[N], want_m[N] = {0}, want_v[N] = {0};

        for (int k = 0; k < N; k++)
            want_w[k] = (double)w[k];
        for (int step = 1; step <= 10; step++) {
            bool coast = step % 3 == 0;

            settings.c1 = (float)(1 - pow(.9, step));
            settings.c2 = (float)(1 - pow(.98, step));
            if (coast)
                ops->adamw_coast(w, m, v, N, &settings);
            else
                ops->adamw_update(w, m, v, g, .5f, N, &settings);
            adamw_update_ref(want_w, want_m, want_v, coast ? zeros : g, .5f, N, &settings);
        }
        for (int k = 0; k < N; k++) {
            CHECK_NEAR(want_w[k], (double)w[k], 1e-5);
            CHECK_NEAR(want_m[k], (double)m[k], 1e-6);
            CHECK_NEAR(want_v[k], (double)v[k], 1e-6);
        }
        free(w);
        free(m);
        free(v);
    }
    free(g);
    free(zeros);
}

TEST(adagrad_follows_the_reference_and_forgets)
{
    float *g = slopes_random(C, 1, test_seed());

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        float *w = slopes_random(C, 1, 5), accumulator = 0;
        double want_w[C], want = 0;

        for (int c = 0; c < C; c++)
            want_w[c] = (double)w[c];
        for (int step = 0; step < 20; step++) {
            ops_cpu_column(i)->adagrad_update(w, &accumulator, g, .5f, C, .05f, .9f, 1e-6f);
            adagrad_update_ref(want_w, &want, g, .5f, C, .05f, .9f, 1e-6f);
        }
        CHECK_NEAR(want, (double)accumulator, 1e-4);
        for (int c = 0; c < C; c++)
            CHECK_NEAR(want_w[c], (double)w[c], 1e-5);
        free(w);
    }
    free(g);
}

TEST(squares_sum_adds_all_and_shows_what_is_not_finite)
{
    float *x = slopes_random(4096 + 16, 1, 1);

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        double want = 0;

        for (int k = 0; k < 4096 + 16; k++)
            want += (double)x[k] * (double)x[k];
        CHECK_NEAR(1, ops->squares_sum(x, 4096 + 16) / want, 1e-6);
        CHECK(ops->squares_sum(x, 0) == 0);
        x[4100] = NAN;
        CHECK(!isfinite(ops->squares_sum(x, 4096 + 16)));
        x[4100] = INFINITY;
        CHECK(!isfinite(ops->squares_sum(x, 4096 + 16)));
        x[4100] = 1;
        ops->gradients_add(x, x, 16);
        ops->gradients_add(x, x, 0);
    }
    free(x);
}
