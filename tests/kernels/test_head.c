/* Tests kernels/head on every instruction set this machine has, both heads; all dims differ. */
#include "kernels/ops.h"

#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { M = 7, ROWS = 12, C = 32, F = 5, Z = 80, R = 16, W = 48, CROSSES = 2 };

struct setting {
    struct head head;
    struct head_plain plain;
    float *x, *e, *f, *g, *mean, *scale, *w_f, *b_f;
    float *down[CROSSES], *up[CROSSES], *up_b[CROSSES], *mlp, *mlp_b, *w, *b;
};

static void setting_fill(struct setting *s, int32_t crosses)
{
    uint64_t seed = test_seed();

    s->x = slopes_random(ROWS * C, 1, seed++);
    s->e = slopes_random(ROWS * C, 1, seed++);
    memset(s->x + M * C, 0, (ROWS - M) * C * sizeof(float));
    memset(s->e + M * C, 0, (ROWS - M) * C * sizeof(float));
    s->f = slopes_random(M * F, 1, seed++);
    s->g = slopes_random(M, 1, seed++);
    s->mean = slopes_random(F, 1, seed++);
    s->scale = slopes_random(F, 1, seed++);
    s->w_f = slopes_random(F, 1, seed++);
    s->b_f = slopes_random(1, 1, seed++);
    s->mlp = slopes_random((size_t)Z * W, .1, seed++);
    s->mlp_b = slopes_random(W, .5, seed++);
    s->w = slopes_random(2 * Z + W, .3, seed++);
    s->b = slopes_random(1, 1, seed++);
    s->head = (struct head){.C = C,
                            .F = F,
                            .Z = Z,
                            .R = R,
                            .W = W,
                            .crosses = crosses,
                            .mean = s->mean,
                            .scale = s->scale,
                            .w_f = s->w_f,
                            .b_f = s->b_f,
                            .w = s->w,
                            .b = s->b};
    for (int l = 0; l < CROSSES; l++) {
        s->down[l] = slopes_random((size_t)Z * R, .1, seed++);
        s->up[l] = slopes_random((size_t)R * Z, .1, seed++);
        s->up_b[l] = slopes_random(Z, .3, seed++);
        s->plain.down[l] = s->down[l];
        s->plain.up[l] = s->up[l];
        s->head.up[l].forward.bias = s->up_b[l];
    }
    s->plain.mlp = s->mlp;
    s->head.mlp.forward.bias = s->mlp_b;
}

static void setting_clear(struct setting *s)
{
    float *all[] = {s->x,   s->e,   s->f,     s->g, s->mean, s->scale,
                    s->w_f, s->b_f, s->mlp_b, s->w, s->b,    s->mlp};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    for (int l = 0; l < CROSSES; l++) {
        free(s->down[l]);
        free(s->up[l]);
        free(s->up_b[l]);
    }
}

static struct head_linear packed(const struct ops *ops, const float *w, const float *bias,
                                 int32_t inputs, int32_t outputs)
{
    float *forward = slopes_zeros((size_t)inputs * (size_t)outputs);
    float *back = slopes_zeros((size_t)inputs * (size_t)outputs);

    ops->linear_pack(forward, w, outputs, inputs, outputs, 0);
    ops->linear_pack(back, w, outputs, outputs, inputs, 1);
    return (struct head_linear){{forward, bias, inputs, outputs}, {back, NULL, outputs, inputs}};
}

static void unpack(struct head_linear *linear)
{
    free((void *)(uintptr_t)linear->forward.panels);
    free((void *)(uintptr_t)linear->transposed.panels);
}

static double loss(void *context)
{
    struct setting *s = context;
    double scores[M];

    head_forward_ref(scores, s->x, s->e, s->f, M, &s->head, &s->plain);
    return slopes_dot(scores, s->g, M);
}

static void check_column(struct setting *s, const struct ops *ops)
{
    struct head head = s->head;
    float *tape = slopes_zeros((size_t)head_tape_floats(M, C, Z, R, W, CROSSES));
    float *dx = slopes_zeros(ROWS * C), *de = slopes_zeros(ROWS * C), *dw_f = slopes_zeros(F);
    float *db_f = slopes_zeros(1), *dmlp = slopes_zeros((size_t)Z * W), *dmlp_b = slopes_zeros(W);
    float *dw = slopes_zeros(2 * Z + W), *db = slopes_zeros(1), scores[M];
    float *ddown = slopes_zeros((size_t)2 * Z * R), *dup = slopes_zeros((size_t)2 * Z * R);
    float *dup_b = slopes_zeros(2 * Z);
    struct head_gradient g = {.w_f = dw_f,
                              .b_f = db_f,
                              .down = {ddown, ddown + Z * R},
                              .up = {dup, dup + Z * R},
                              .up_bias = {dup_b, dup_b + Z},
                              .mlp = dmlp,
                              .mlp_bias = dmlp_b,
                              .w = dw,
                              .b = db};
    float *joined = slopes_zeros((size_t)head_join_floats(Z, R, W));
    double want[M];

    for (int l = 0; l < CROSSES; l++) {
        head.down[l] = packed(ops, s->down[l], NULL, Z, R);
        head.up[l] = packed(ops, s->up[l], s->up_b[l], R, Z);
    }
    head.mlp = packed(ops, s->mlp, s->mlp_b, Z, W);
    head_forward_ref(want, s->x, s->e, s->f, M, &s->head, &s->plain);
    ops->head_forward(scores, s->x, s->e, s->f, M, &head, tape);
    for (int i = 0; i < M; i++)
        CHECK_NEAR(want[i], (double)scores[i], 2e-5 * (1 + fabs(want[i])));
    if (head.crosses > 0)
        ops->head_join(&head, &s->plain, joined);
    ops->head_score(scores, s->x, s->e, s->f, M, &head, tape);
    for (int i = 0; i < M; i++)
        CHECK_NEAR(want[i], (double)scores[i], 2e-5 * (1 + fabs(want[i])));
    ops->head_forward(scores, s->x, s->e, s->f, M, &head, tape);
    ops->head_backward(&g, dx, de, s->g, s->x, s->e, s->f, M, &head, tape);
    slopes_check(loss, s, s->x, dx, (size_t)M * C, 1e-4);
    slopes_check(loss, s, s->e, de, (size_t)M * C, 1e-4);
    slopes_check(loss, s, s->w_f, dw_f, F, 1e-4);
    slopes_check(loss, s, s->b_f, db_f, 1, 1e-4);
    slopes_check(loss, s, s->w, dw, 2 * Z + W, 1e-4);
    slopes_check(loss, s, s->b, db, 1, 1e-4);
    slopes_check(loss, s, s->mlp + 300, dmlp + 300, 100, 1e-4);
    slopes_check(loss, s, s->mlp_b, dmlp_b, W, 1e-4);
    for (int l = 0; l < CROSSES; l++) {
        slopes_check(loss, s, s->down[l] + 500, g.down[l] + 500, 100, 1e-4);
        slopes_check(loss, s, s->up[l] + 500, g.up[l] + 500, 100, 1e-4);
        slopes_check(loss, s, s->up_b[l], g.up_bias[l], Z, 1e-4);
        unpack(&head.down[l]);
        unpack(&head.up[l]);
    }
    unpack(&head.mlp);
    for (int i = M * C; i < ROWS * C; i++)
        CHECK(dx[i] == 0 && de[i] == 0);
    free(joined);
    free(tape);
    free(dx);
    free(de);
    free(dw_f);
    free(db_f);
    free(dmlp);
    free(dmlp_b);
    free(dw);
    free(db);
    free(ddown);
    free(dup);
    free(dup_b);
}

TEST(head_scores_follow_the_reference_and_gradients_are_the_slopes)
{
    for (int32_t crosses = 0; crosses <= CROSSES; crosses++) {
        struct setting s;

        setting_fill(&s, crosses);
        for (int i = 0; ops_cpu_column(i) != NULL; i++)
            check_column(&s, ops_cpu_column(i));
        setting_clear(&s);
    }
}
