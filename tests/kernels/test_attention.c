/*
 * Tests kernels/attention on every instruction set this machine has: both forms, with and without
 * history, with and without candidates; n, m, C, H and P all differ.
 */
#include "kernels/ops.h"

#include "ops/random.h"
#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { C = 32, H = 2, P = 40 };

struct setting {
    struct attention a;
    int32_t n, m, rows;
    float *z, *g, *r_pos, *r_time;
    uint8_t *buckets;
    double *out;
};

static void setting_fill(struct setting *s, enum attention_form form, int32_t n, int32_t m)
{
    struct random random;
    int64_t time_ms[P], now = 1;

    s->n = n;
    s->m = m;
    s->rows = cpu_pad_rows(n) + cpu_pad_rows(m);
    s->z = slopes_random((size_t)s->rows * 4 * C, .7, test_seed());
    s->g = slopes_random((size_t)s->rows * C, 1, test_seed() + 1);
    s->r_pos = slopes_random(P + 1, .5, test_seed() + 2);
    s->r_time = slopes_random(BUCKET_COUNT, .5, test_seed() + 3);
    s->buckets = calloc((size_t)attention_buckets_bytes(n) + 1, 1);
    s->out = calloc((size_t)s->rows * C + 1, sizeof *s->out);
    for (int32_t r = 0; r < s->rows; r++) /* padding rows carry no gradient */
        if ((r >= n && r < cpu_pad_rows(n)) || r >= cpu_pad_rows(n) + m)
            memset(s->g + r * C, 0, C * sizeof(float));
    random_seed(&random, test_seed());
    for (int32_t j = 0; j < n; j++)
        time_ms[j] = now += (int64_t)exp(20 * random_unit(&random));
    s->a = (struct attention){.form = form,
                              .n = n,
                              .C = C,
                              .H = H,
                              .P = P,
                              .r_pos = s->r_pos,
                              .r_time = s->r_time,
                              .buckets = s->buckets,
                              .packed = slopes_zeros((size_t)attention_packed_floats(n, C)),
                              .scratch = slopes_zeros((size_t)attention_gradient_floats(n, m, C))};
    attention_buckets_base(s->buckets, time_ms, n, now + 3600000);
}

static void setting_clear(struct setting *s)
{
    free(s->z);
    free(s->g);
    free(s->r_pos);
    free(s->r_time);
    free(s->buckets);
    free(s->out);
    free(s->a.packed);
    free(s->a.scratch);
}

static double loss(void *context)
{
    struct setting *s = context;

    attention_forward_ref(s->out, &s->a, s->z, s->m);
    return slopes_dot(s->out, s->g, (size_t)s->rows * C);
}

/* As loss, but only candidates' rows count. */
static double loss_of_candidates(void *context)
{
    struct setting *s = context;
    int32_t first = cpu_pad_rows(s->n) * C;

    attention_forward_ref(s->out, &s->a, s->z, s->m);
    return slopes_dot(s->out + first, s->g + first, (size_t)s->rows * C - (size_t)first);
}

static const int32_t shapes[][2] = {{0, 3}, {1, 1}, {5, 0}, {16, 2}, {17, 7}, {24, 13}, {40, 5}};
#define SHAPES (sizeof shapes / sizeof *shapes)

TEST(attention_follows_the_reference)
{
    for (size_t k = 0; k < 2 * SHAPES; k++) {
        struct setting s;
        int32_t history;

        setting_fill(&s, (enum attention_form)(k & 1), shapes[k / 2][0], shapes[k / 2][1]);
        history = cpu_pad_rows(s.n);
        attention_forward_ref(s.out, &s.a, s.z, s.m);
        for (int i = 0; ops_cpu_column(i) != NULL; i++) {
            const struct ops *ops = ops_cpu_column(i);
            float *o = slopes_zeros((size_t)s.rows * C);

            ops->attention_pack(&s.a, s.z);
            ops->attention_forward(o, &s.a, s.z, history, 0);
            ops->attention_forward(o + history * C, &s.a, s.z + history * 4 * C, s.rows - history,
                                   ATTENTION_CANDIDATES);
            for (int32_t r = 0; r < history + s.m; r++)
                for (int32_t c = 0; c < C && (r < s.n || r >= history); c++)
                    CHECK_NEAR(s.out[r * C + c], (double)o[r * C + c],
                               2e-5 * (1 + fabs(s.out[r * C + c])));
            free(o);
        }
        setting_clear(&s);
    }
}

/* Gradients of what the caller made dz from; step picks some of the elements. */
static void check_gradients(struct setting *s, slopes_function *f, int32_t history_rows)
{
    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        float *dz = slopes_zeros((size_t)s->rows * 4 * C), *dr_pos = slopes_zeros(P + 1);
        float *dr_time = slopes_zeros(BUCKET_COUNT);
        struct attention_gradient gradient = {dz, dr_pos, dr_time};

        /* What an earlier call left behind must not matter. */
        memset(s->a.scratch, 0x7f,
               (size_t)attention_gradient_floats(s->n, s->m, C) * sizeof(float));
        ops_cpu_column(i)->attention_backward(&gradient, s->g, &s->a, s->z, s->m, history_rows);
        for (int32_t r = 0; r < s->rows; r += 1 + (i > 0))
            slopes_check(f, s, s->z + r * 4 * C + C, dz + r * 4 * C + C, 3 * C, 1e-4);
        slopes_check(f, s, s->r_pos, dr_pos, P + 1, 1e-4);
        slopes_check(f, s, s->r_time, dr_time, BUCKET_COUNT, 1e-4);
        free(dz);
        free(dr_pos);
        free(dr_time);
    }
}

TEST(attention_gradients_are_the_slopes)
{
    static const int32_t few[][2] = {{0, 2}, {1, 1}, {5, 0}, {14, 3}};

    for (size_t k = 0; k < 8; k++) {
        struct setting s;

        setting_fill(&s, (enum attention_form)(k & 1), few[k / 2][0], few[k / 2][1]);
        check_gradients(&s, loss, 1);
        setting_clear(&s);
    }
}

TEST(attention_gradients_of_candidates_alone_are_the_slopes)
{
    for (int form = 0; form < 2; form++) {
        struct setting s;

        setting_fill(&s, (enum attention_form)form, 7, 4);
        check_gradients(&s, loss_of_candidates, 0);
        setting_clear(&s);
    }
}

TEST(attention_buckets_are_the_time_rules)
{
    const int64_t time_ms[] = {1000, 1000, 1999, 2000, 500000, 400000}; /* the last out of order */
    uint8_t *buckets = calloc((size_t)attention_buckets_bytes(6), 1);
    int64_t pitch = attention_pitch(6);

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        memset(buckets, 99, (size_t)attention_buckets_bytes(6));
        ops_cpu_column(i)->attention_buckets(buckets, time_ms, 6, INT64_C(1) << 60);
        CHECK_INT(0, buckets[pitch]);
        CHECK_INT(0, buckets[2 * pitch]);
        CHECK_INT(1, buckets[3 * pitch]);
        CHECK_INT(0, buckets[3 * pitch + 2]);
        CHECK_INT(0, buckets[5 * pitch + 4]);
        CHECK_INT(9, buckets[5 * pitch]); /* 399 s */
        CHECK_INT(31, buckets[12 * pitch]);
        CHECK_INT(0, buckets[12 * pitch + 6]); /* beyond the history */
    }
    free(buckets);
}
