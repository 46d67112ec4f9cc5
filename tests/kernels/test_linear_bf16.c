/*
 * Tests kernels/linear_bf16: what rounding is, the bound of its error over random shapes, and the
 * products of pairs against the portable one. A machine without their instructions runs those in
 * software: make unit-wide.
 */
#include "kernels/ops.h"

#include "ops/random.h"
#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float of_bits(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

TEST(linear_bf16_round_is_to_nearest_and_to_even_and_keeps_what_is_no_number)
{
    static const uint32_t pairs[][2] = {
        {0, 0},
        {0x80000000, 0x80000000},
        {0x3f800000, 0x3f800000},
        {0x3f807fff, 0x3f800000}, /* just below the middle */
        {0x3f808000, 0x3f800000}, /* the middle: to even */
        {0x3f818000, 0x3f820000},
        {0xbf808001, 0xbf810000},
        {0x7f7fffff, 0x7f800000}, /* beyond the largest */
        {0x7f800000, 0x7f800000},
        {0xff800000, 0xff800000},
        {0x00000001, 0},
        {0x00018000, 0x00020000},
    };

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        float x[16] = {0};

        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
            x[k] = of_bits(pairs[k][0]);
        x[12] = of_bits(0x7fffffff);
        x[13] = of_bits(0x7f800001);
        ops_cpu_column(i)->linear_bf16_round(x, 16);
        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
            CHECK_INT(pairs[k][1], bits_of(x[k]));
        CHECK(isnan(x[12]) && isnan(x[13]));
    }
}

/* A product of these dims in every form. */
struct product {
    int32_t R, K, N;
    enum linear_after after;
    float *x, *w, *bias, *before; /* before: what ADD adds to */
};

static struct product product_of(struct random *random)
{
    struct product p = {.R = 1 + (int32_t)random_below(random, 80),
                        .K = 16 * (1 + (int32_t)random_below(random, 20)),
                        .N = 16 * (1 + (int32_t)random_below(random, 12)),
                        .after = (enum linear_after)random_below(random, 3)};
    size_t rows = (size_t)cpu_pad_rows(p.R);

    p.x = slopes_random(rows * (size_t)p.K, 1, random_u64(random));
    p.w = slopes_random((size_t)p.K * (size_t)p.N, .3, random_u64(random));
    p.bias = slopes_random((size_t)p.N, 1, random_u64(random));
    p.before = slopes_random(rows * (size_t)p.N, 1, random_u64(random));
    return p;
}

static void product_clear(struct product *p)
{
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->before);
}

static size_t outputs(const struct product *p)
{
    return (size_t)cpu_pad_rows(p->R) * (size_t)p->N;
}

/* The rounded product by one way: panels and pairs, both freed by the caller's end of the test. */
static float *run(const struct product *p, const struct ops *ops, enum linear_bf16_way way)
{
    size_t weights = (size_t)p->K * (size_t)p->N;
    size_t inputs = (size_t)cpu_pad_rows(p->R) * (size_t)p->K;
    float *panels = slopes_zeros(weights), *x = slopes_zeros(inputs);
    float *out = slopes_zeros(outputs(p));
    uint16_t *pairs = calloc((size_t)linear_bf16_pairs_count(p->K, p->N), sizeof *pairs);
    struct linear_bf16 w = {{panels, p->bias, p->K, p->N}, pairs};
    struct linear_call call = {p->after, 0, p->N, p->K, p->N};

    CHECK(pairs != NULL);
    ops->linear_pack(panels, p->w, p->N, p->K, p->N, 0);
    ops->linear_bf16_round(panels, (int64_t)weights);
    linear_bf16_pack(pairs, w.w);
    memcpy(x, p->x, inputs * sizeof *x);
    memcpy(out, p->before, outputs(p) * sizeof *out);
    if (way == LINEAR_BF16_PORTABLE) {
        ops->linear_bf16_round(x, (int64_t)inputs);
        ops->linear_forward(out, NULL, x, p->R, w.w, call);
    }
#if defined(__x86_64__)
    else if (way == LINEAR_BF16_AMX)
        linear_bf16_forward_amx(out, x, p->R, w, call);
    else
        linear_bf16_forward_avx512(out, x, p->R, w, call);
#endif
    free(panels);
    free(pairs);
    free(x);
    return out;
}

/* The bound of kernels/linear_bf16.h. */
static double bound(const struct product *p, int32_t r, int32_t n, double want)
{
    double sum = 0;

    for (int32_t k = 0; k < p->K; k++)
        sum += fabs((double)p->x[(size_t)r * (size_t)p->K + (size_t)k] *
                    (double)p->w[(size_t)k * (size_t)p->N + (size_t)n]);
    return ldexp(1.01, -8) * sum * (p->after == LINEAR_SILU ? 1.1 : 1) +
           1e-5 * (1 + fabs(want)) * sqrt((double)p->K) / 8;
}

TEST(linear_bf16_error_stays_within_its_bound_for_any_shape)
{
    struct random random;
    double worst = 0;

    random_seed(&random, test_seed());
    for (int round = 0; round < 30; round++) {
        struct product p = product_of(&random);
        double *want = calloc((size_t)p.R * (size_t)p.N, sizeof *want);

        CHECK(want != NULL);
        for (int32_t i = 0; i < p.R * p.N; i++)
            want[i] = (double)p.before[i];
        linear_forward_ref(want, NULL, p.x, p.R, p.w, p.bias, p.K, p.N, p.after);
        for (int i = 0; ops_cpu_column(i) != NULL; i++) {
            float *out = run(&p, ops_cpu_column(i), LINEAR_BF16_PORTABLE);

            for (int32_t r = 0; r < p.R; r++)
                for (int32_t n = 0; n < p.N; n++) {
                    double truth = want[r * p.N + n], most = bound(&p, r, n, truth);
                    double error = fabs((double)out[r * p.N + n] - truth);

                    CHECK(error <= most);
                    worst = fmax(worst, error / most);
                }
            free(out);
        }
        free(want);
        product_clear(&p);
    }
    CHECK(worst > .05); /* it rounds at all, and the bound says something */
}

TEST(linear_bf16_products_of_pairs_are_the_portable_one)
{
    const struct ops *ops = ops_cpu();
    struct random random;

    if (linear_bf16_best() == LINEAR_BF16_PORTABLE)
        SKIP("this machine multiplies no bf16");
    random_seed(&random, test_seed());
    for (int round = 0; round < 30; round++) {
        struct product p = product_of(&random);
        float *want = run(&p, ops, LINEAR_BF16_PORTABLE);

        for (enum linear_bf16_way way = LINEAR_BF16_AVX512; way <= linear_bf16_best(); way++) {
            float *got = run(&p, ops, way);

            for (int32_t i = 0; i < p.R * p.N; i++)
                CHECK_NEAR((double)want[i], (double)got[i],
                           2e-5 * (1 + fabs((double)want[i])) * sqrt((double)p.K) / 8);
            free(got);
        }
        free(want);
        product_clear(&p);
    }
}

TEST(linear_bf16_rows_do_not_depend_on_their_place)
{
    const struct ops *ops = ops_cpu();
    struct random random;

    random_seed(&random, test_seed());
    for (enum linear_bf16_way way = LINEAR_BF16_PORTABLE; way <= linear_bf16_best(); way++) {
        struct product p = product_of(&random), one;
        float *all, *alone;

        p.R = 67;
        free(p.x);
        free(p.before);
        p.x = slopes_random((size_t)cpu_pad_rows(p.R) * (size_t)p.K, 1, test_seed());
        p.before = slopes_random(outputs(&p), 1, test_seed());
        all = run(&p, ops, way);
        one = p;
        one.R = 1;
        for (int32_t r = 0; r < p.R; r += 5) {
            one.x = slopes_random((size_t)cpu_pad_rows(1) * (size_t)p.K, 1, 1);
            one.before = slopes_random(outputs(&one), 1, 1);
            memcpy(one.x, p.x + (size_t)r * (size_t)p.K, (size_t)p.K * sizeof(float));
            memcpy(one.before, p.before + (size_t)r * (size_t)p.N, (size_t)p.N * sizeof(float));
            alone = run(&one, ops, way);
            CHECK(memcmp(alone, all + (size_t)r * (size_t)p.N, (size_t)p.N * sizeof(float)) == 0);
            free(alone);
            free(one.x);
            free(one.before);
        }
        free(all);
        product_clear(&p);
    }
}
