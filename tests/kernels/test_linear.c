/* Tests kernels/linear on every instruction set this machine has; R, K and N all differ. */
#include "kernels/ops.h"

#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define R    17
#define ROWS 24 /* padded */
#define K    32
#define N    48

struct setting {
    float *x, *w, *bias, *g;
    enum linear_after after;
};

static struct setting setting_of(enum linear_after after)
{
    struct setting s = {slopes_random((size_t)ROWS * K, 1, test_seed()),
                        slopes_random((size_t)K * N, .3, test_seed() + 1),
                        slopes_random(N, 1, test_seed() + 2),
                        slopes_random((size_t)ROWS * N, 1, test_seed() + 3), after};

    memset(s.g + R * N, 0, (size_t)(ROWS - R) * N * sizeof(float));
    return s;
}

static void setting_clear(struct setting *s)
{
    free(s->x);
    free(s->w);
    free(s->bias);
    free(s->g);
}

static double loss(void *context)
{
    struct setting *s = context;
    double out[R * N] = {0};

    linear_forward_ref(out, NULL, s->x, R, s->w, s->bias, K, N, s->after);
    return slopes_dot(out, s->g, (size_t)R * N);
}

TEST(linear_follows_the_reference_with_all_that_may_follow)
{
    for (int form = LINEAR_SET; form <= LINEAR_SILU; form++) {
        struct setting s = setting_of((enum linear_after)form);
        double want[R * N], slopes[R * N];

        for (int i = 0; ops_cpu_column(i) != NULL; i++) {
            const struct ops *ops = ops_cpu_column(i);
            float *panels = slopes_zeros((size_t)K * N), *out = slopes_zeros((size_t)ROWS * N);
            float *slope = slopes_zeros((size_t)ROWS * N);
            struct linear w = {panels, s.bias, K, N};

            for (int k = 0; k < R * N; k++)
                out[k] = (float)(want[k] = k % 5);
            linear_forward_ref(want, slopes, s.x, R, s.w, s.bias, K, N, s.after);
            ops->linear_pack(panels, s.w, N, K, N, 0);
            ops->linear_forward(out, form == LINEAR_SILU ? slope : NULL, s.x, ROWS, w,
                                (struct linear_call){s.after, 0, N, K, N});
            for (int k = 0; k < R * N; k++) {
                CHECK_NEAR(want[k], (double)out[k], 1e-5 * (1 + fabs(want[k])));
                if (form == LINEAR_SILU)
                    CHECK_NEAR(slopes[k], (double)slope[k], 1e-5);
            }
            free(panels);
            free(out);
            free(slope);
        }
        setting_clear(&s);
    }
}

TEST(linear_part_of_the_columns_is_that_part_to_the_bit)
{
    struct setting s = setting_of(LINEAR_SILU);

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        float *panels = slopes_zeros((size_t)K * N), *all = slopes_zeros((size_t)ROWS * N);
        float *part = slopes_zeros((size_t)ROWS * 64);
        struct linear w = {panels, s.bias, K, N};

        ops->linear_pack(panels, s.w, N, K, N, 0);
        ops->linear_forward(all, NULL, s.x, ROWS, w, (struct linear_call){LINEAR_SILU, 0, N, K, N});
        ops->linear_forward(part, NULL, s.x, ROWS, w,
                            (struct linear_call){LINEAR_SILU, 16, 32, K, 64});
        for (int r = 0; r < ROWS; r++) {
            CHECK(memcmp(part + r * 64, all + r * N + 16, 32 * sizeof(float)) == 0);
            for (int c = 32; c < 64; c++)
                CHECK(part[r * 64 + c] == 0);
        }
        free(panels);
        free(all);
        free(part);
    }
    setting_clear(&s);
}

TEST(linear_rows_do_not_depend_on_their_place)
{
    struct setting s = setting_of(LINEAR_SILU);
    float *same = slopes_zeros((size_t)600 * K);

    for (int r = 0; r < 600; r++)
        memcpy(same + r * K, s.x, K * sizeof(float));
    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        float *panels = slopes_zeros((size_t)K * N), *out = slopes_zeros((size_t)600 * N);
        struct linear w = {panels, s.bias, K, N};

        ops->linear_pack(panels, s.w, N, K, N, 0);
        ops->linear_forward(out, NULL, same, 600, w, (struct linear_call){LINEAR_SILU, 0, N, K, N});
        for (int r = 1; r < 600; r++)
            CHECK(memcmp(out, out + r * N, N * sizeof(float)) == 0);
        free(panels);
        free(out);
    }
    free(same);
    setting_clear(&s);
}

TEST(linear_gradients_are_the_slopes)
{
    struct setting s = setting_of(LINEAR_SET);

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        float *back = slopes_zeros((size_t)K * N), *dx = slopes_zeros((size_t)ROWS * K);
        float *dw = slopes_zeros((size_t)K * N), *db = slopes_zeros(N);
        float *scratch = slopes_zeros((size_t)ROWS * CPU_PANEL);
        struct linear w = {back, NULL, N, K};

        ops->linear_pack(back, s.w, N, N, K, 1);
        ops->linear_forward(dx, NULL, s.g, ROWS, w, (struct linear_call){LINEAR_SET, 0, K, N, K});
        ops->linear_weights_add(dw, db, s.x, K, s.g, N, ROWS, K, N, scratch);
        slopes_check(loss, &s, s.x, dx, (size_t)R * K, 2e-5);
        slopes_check(loss, &s, s.w, dw, (size_t)K * N, 2e-5);
        slopes_check(loss, &s, s.bias, db, N, 2e-5);
        ops->linear_weights_add(dw, NULL, s.x, K, s.g, N, ROWS, K, N, scratch);
        for (int k = 0; k < K * N; k++)
            dw[k] /= 2; /* it was added a second time */
        slopes_check(loss, &s, s.w, dw, 40, 2e-5);
        free(back);
        free(dx);
        free(dw);
        free(db);
        free(scratch);
    }
    setting_clear(&s);
}

TEST(linear_scale_multiplies)
{
    float *x = slopes_random(64, 1, 1), *y = slopes_random(64, 1, 2), *z = slopes_random(64, 1, 2);

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        memcpy(y, z, 64 * sizeof *y);
        ops_cpu_column(i)->linear_scale(y, x, 64);
        for (int k = 0; k < 64; k++)
            CHECK(y[k] == z[k] * x[k]);
    }
    free(x);
    free(y);
    free(z);
}
