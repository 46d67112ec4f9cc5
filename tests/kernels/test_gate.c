/* Tests kernels/gate on every instruction set this machine has. */
#include "kernels/ops.h"

#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <stdlib.h>

#define R     3
#define C     32
#define PITCH 80 /* of u and its gradient */

struct setting {
    float *o, *u, *g;
};

static double loss(void *context)
{
    struct setting *s = context;
    double y[R * C];

    gate_forward_ref(y, s->o, s->u, PITCH, R, C, .25f);
    return slopes_dot(y, s->g, R * C);
}

TEST(gate_follows_the_reference_and_its_gradients_are_the_slopes)
{
    struct setting s = {slopes_random(R * C, 1, test_seed()),
                        slopes_random(R * PITCH, 1, test_seed() + 1),
                        slopes_random(R * C, 1, test_seed() + 2)};
    double want[R * C];

    gate_forward_ref(want, s.o, s.u, PITCH, R, C, .25f);
    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        float *y = slopes_zeros(R * C), *bare = slopes_zeros(R * C), *on = slopes_zeros(R * C);
        float *du = slopes_zeros(R * PITCH), *d_o = slopes_zeros(R * C), rstd[R];

        ops->gate_forward(y, on, rstd, s.o, s.u, PITCH, R, C, .25f);
        ops->gate_forward(bare, NULL, NULL, s.o, s.u, PITCH, R, C, .25f);
        for (int k = 0; k < R * C; k++) {
            CHECK_NEAR(want[k], (double)y[k], 1e-5);
            CHECK(y[k] == bare[k]);
        }
        ops->gate_backward(du, PITCH, d_o, s.g, on, rstd, s.u, PITCH, R, C);
        slopes_check(loss, &s, s.o, d_o, R * C, 2e-5);
        slopes_check(loss, &s, s.u, du, R * PITCH, 2e-5); /* 0 between the rows */
        free(y);
        free(bare);
        free(on);
        free(du);
        free(d_o);
    }
    free(s.o);
    free(s.u);
    free(s.g);
}
