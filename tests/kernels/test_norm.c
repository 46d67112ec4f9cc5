/* Tests kernels/norm on every instruction set this machine has. */
#include "kernels/ops.h"

#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#define R 5
#define C 48

struct setting {
    float *x, *g;
    float epsilon;
};

static double loss(void *context)
{
    struct setting *s = context;
    double out[R * C];

    norm_forward_ref(out, NULL, s->x, R, C, s->epsilon);
    return slopes_dot(out, s->g, R * C);
}

TEST(norm_rows_follow_the_reference)
{
    float *x = slopes_random(R * C, 3, test_seed()), *out = slopes_zeros(R * C), rstd[R];
    double want[R * C], want_rstd[R];

    for (int c = 0; c < C; c++) {
        x[c] += 1000;     /* a mean far from 0 */
        x[C + c] = 0;     /* padding */
        x[2 * C + c] = 7; /* no deviation at all */
    }
    norm_forward_ref(want, want_rstd, x, R, C, 1e-6f);
    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        ops_cpu_column(i)->norm_forward(out, rstd, x, R, C, 1e-6f);
        for (int k = 0; k < R * C; k++)
            CHECK_NEAR(want[k], (double)out[k], k < C ? 1e-4 : 1e-5);
        for (int r = 0; r < R; r++)
            CHECK_NEAR(1, (double)rstd[r] / want_rstd[r], 1e-4);
        ops_cpu_column(i)->norm_forward(out, NULL, x, 0, C, 1e-6f);
    }
    free(x);
    free(out);
}

TEST(norm_gradient_is_the_slope_and_is_added)
{
    struct setting s = {slopes_random(R * C, 1, test_seed()),
                        slopes_random(R * C, 1, test_seed() + 1), .1f};

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        float *out = slopes_zeros(R * C), *dx = slopes_zeros(R * C), rstd[R];

        ops->norm_forward(out, rstd, s.x, R, C, s.epsilon);
        for (int k = 0; k < R * C; k++)
            dx[k] = 2;
        ops->norm_backward_add(dx, s.g, out, rstd, R, C);
        for (int k = 0; k < R * C; k++)
            dx[k] -= 2;
        slopes_check(loss, &s, s.x, dx, R * C, 2e-5);
        free(out);
        free(dx);
    }
    free(s.x);
    free(s.g);
}
