/* Tests kernels/embed and kernels/bucket on every instruction set this machine has. */
#include "kernels/ops.h"

#include "tests/kernels/jagged.h"
#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

enum { C = 32, V = 9, A = 4 };

static struct jagged jagged;

static struct embed tables_of(float *block)
{
    return (struct embed){.C = C,
                          .V = V,
                          .A = A,
                          .emb = block,
                          .act = block + V * C,
                          .gap = block + (V + A) * C,
                          .hour = block + (V + A + BUCKET_GAPS) * C,
                          .context = block + (V + A + BUCKET_GAPS + BUCKET_HOURS) * C};
}

#define CONTEXTS   2
#define TABLE_ROWS (V + A + BUCKET_GAPS + BUCKET_HOURS + CONTEXTS * BATCH_CONTEXT_CODES)

struct setting {
    struct embed tables;
    struct request request;
    const float *g; /* of x, then of e */
    double *out;
};

static double loss(void *context)
{
    struct setting *s = context;
    size_t rows = (size_t)cpu_pad_rows(s->request.n) + (size_t)cpu_pad_rows(s->request.m);
    double *e = s->out + rows * C;

    embed_forward_ref(s->out, e, &s->tables, &s->request);
    return slopes_dot(s->out, s->g, (rows + (size_t)cpu_pad_rows(s->request.m)) * C);
}

static void check_request(struct setting *s, float *block, const struct ops *ops)
{
    int32_t history = cpu_pad_rows(s->request.n), candidates = cpu_pad_rows(s->request.m);
    size_t rows = (size_t)history + (size_t)candidates;
    float *x = slopes_random(rows * C, 9, 1), *e = slopes_random((size_t)candidates * C, 9, 2);
    float *g = slopes_random((rows + (size_t)candidates) * C, 1, 3);
    float *gradient = slopes_zeros((size_t)TABLE_ROWS * C);
    struct rows demb = {0};
    struct embed_gradient into;
    struct error err;

    s->out = calloc((rows + (size_t)candidates + 1) * C, sizeof *s->out);
    s->g = g;
    (void)loss(s);
    ops->embed_history(x, &s->tables, &s->request);
    ops->embed_candidates(x + history * C, e, &s->tables, &s->request, 0, s->request.m);
    for (size_t k = 0; k < rows * C; k++)
        CHECK_NEAR(s->out[k], (double)x[k], 1e-5);
    for (size_t k = 0; k < (size_t)candidates * C; k++)
        CHECK_NEAR(s->out[rows * C + k], (double)e[k], 1e-5);
    if (s->request.m > 2) { /* a part of the candidates is that part */
        ops->embed_candidates(x, e, &s->tables, &s->request, 1, 2);
        for (size_t k = 0; k < (size_t)2 * C; k++)
            CHECK_NEAR(s->out[(size_t)(history + 1) * C + k], (double)x[k], 1e-5);
    }
    CHECK_STATUS(OK, rows_reserve(&demb, V, C, V, &err));
    into = (struct embed_gradient){.act = gradient + V * C,
                                   .gap = gradient + (V + A) * C,
                                   .hour = gradient + (V + A + BUCKET_GAPS) * C,
                                   .context = gradient + (V + A + BUCKET_GAPS + BUCKET_HOURS) * C,
                                   .emb = &demb};
    ops->embed_backward(&into, g, g + rows * C, &s->tables, &s->request);
    for (int v = 0; v < V; v++)
        memcpy(gradient + v * C, rows_slot(&demb, v), C * sizeof(float));
    for (int r = 0; r < TABLE_ROWS; r++)
        slopes_check(loss, s, block + r * C + r % C, gradient + r * C + r % C, 1, 1e-4);
    rows_release(&demb);
    free(s->out);
    free(x);
    free(e);
    free(g);
    free(gradient);
}

TEST(embed_rows_follow_the_reference_and_gradients_are_the_slopes)
{
    const struct jagged_size sizes[] = {{0, 3}, {13, 5}, {4, 0}};
    const struct model_config config = {.V = V + 2, .A = A + 1}; /* some are out of the tables */
    float *block = slopes_random((size_t)TABLE_ROWS * C, 1, test_seed());

    jagged_fill(&jagged, &config, sizes, 3, test_seed());
    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        for (int32_t b = 0; b < 6; b++) {
            struct setting s = {.tables = tables_of(block),
                                .request = request_with(&jagged.batch, b / 2, b % 2 * CONTEXTS)};

            check_request(&s, block, ops_cpu_column(i));
        }
    }
    free(block);
}

/* z of rows x from the tables, against norm and product one after the other. */
static void check_folded(const float *z, const float *x, int32_t rows, const float *w1,
                         const float *b1)
{
    double *normed = calloc((size_t)rows * C + 1, sizeof *normed);
    double *want = calloc((size_t)rows * 4 * C + 1, sizeof *want);
    float *input = slopes_zeros((size_t)rows * C + 1);

    norm_forward_ref(normed, NULL, x, rows, C, 1e-6f);
    for (size_t k = 0; k < (size_t)rows * C; k++)
        input[k] = (float)normed[k];
    linear_forward_ref(want, NULL, input, rows, w1, b1, C, 4 * C, LINEAR_SILU);
    for (size_t k = 0; k < (size_t)rows * 4 * C; k++)
        CHECK_NEAR(want[k], (double)z[k], 2e-5 * (1 + fabs(want[k])));
    free(normed);
    free(want);
    free(input);
}

/* Every row at once, then a part of the history and one of the candidates. */
static void check_folded_request(const struct ops *ops, const struct embed *tables,
                                 const struct request *request, const float *w1, const float *b1)
{
    int32_t n = request->n, m = request->m, N = 4 * C;
    size_t rows = (size_t)cpu_pad_rows(n) + (size_t)cpu_pad_rows(m) + 1;
    float *x = slopes_zeros(rows * C), *e = slopes_zeros(rows * C), *z = slopes_zeros(rows * 4 * C);
    float *part = slopes_zeros(rows * 4 * C);
    int32_t context_rows = tables->context != NULL ? CONTEXTS * BATCH_CONTEXT_CODES : 0;
    float *memory = slopes_zeros((size_t)embed_fold_floats(tables, context_rows));
    struct embed_folded folded;

    ops->embed_fold(&folded, tables, context_rows, w1, b1, memory);
    ops->embed_history(x, tables, request);
    ops->embed_history_folded(z, x, tables, &folded, request, 0, 1e-6f);
    check_folded(z, x, n, w1, b1);
    for (int32_t first = 1; first < n; first += 5) {
        ops->embed_history_folded(part, x + first * C, tables, &folded, request, first, 1e-6f);
        CHECK(memcmp(part, z + first * N, (size_t)(n - first) * 4 * C * sizeof *z) == 0);
    }
    ops->embed_candidates(x, e, tables, request, 0, m);
    ops->embed_candidates_folded(z, x, tables, &folded, request, 0, m, 1e-6f);
    check_folded(z, x, m, w1, b1);
    for (int32_t first = 1; first < m; first += 2) {
        ops->embed_candidates_folded(part, x + first * C, tables, &folded, request, first, 1,
                                     1e-6f);
        CHECK(memcmp(part, z + first * N, (size_t)(4 * C) * sizeof *z) == 0);
    }
    free(x);
    free(e);
    free(z);
    free(part);
    free(memory);
}

TEST(embed_folded_rows_are_those_of_norm_and_product)
{
    const struct jagged_size sizes[] = {{0, 3}, {13, 5}, {4, 0}};
    const struct model_config config = {.V = V + 2, .A = A + 1};
    float *block = slopes_random((size_t)TABLE_ROWS * C, 1, test_seed());
    float *w1 = slopes_random((size_t)(4 * C * C), .3, 4),
          *b1 = slopes_random((size_t)(4 * C), 1, 5);

    jagged_fill(&jagged, &config, sizes, 3, test_seed());
    for (int k = 0; k < 4 * C * C; k++)
        w1[k] += .5f; /* a mean that must not matter */
    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        for (int32_t b = 0; b < 6; b++) {
            struct embed tables = tables_of(block);
            struct request request = request_with(&jagged.batch, b / 2, b % 2 * CONTEXTS);

            if (request.contexts == 0)
                tables.context = NULL;
            check_folded_request(ops_cpu_column(i), &tables, &request, w1, b1);
        }
    }
    free(block);
    free(w1);
    free(b1);
}

TEST(bucket_is_the_bit_length_of_whole_seconds)
{
    CHECK_INT(0, bucket_of(999, 0));
    CHECK_INT(1, bucket_of(1000, 0));
    CHECK_INT(1, bucket_of(1999, 0));
    CHECK_INT(0, bucket_of(0, 1000));
    CHECK_INT(0, bucket_of(INT64_MIN, INT64_MAX));
    CHECK_INT(31, bucket_of(INT64_MAX, INT64_MIN));
    for (int k = 1; k < 40; k++) {
        CHECK_INT(k < 31 ? k : 31, bucket_of((INT64_C(1) << (k - 1)) * 1000, 0));
        CHECK_INT(k < 31 ? k : 31, bucket_of((INT64_C(1) << k) * 1000 - 1, 0));
    }
}

TEST(bucket_hour_counts_from_thursday_midnight_both_ways)
{
    CHECK_INT(0, bucket_hour(0));
    CHECK_INT(0, bucket_hour(3599999));
    CHECK_INT(1, bucket_hour(3600000));
    CHECK_INT(0, bucket_hour(INT64_C(168) * 3600000));
    CHECK_INT(167, bucket_hour(-1));
    CHECK_INT(0, bucket_hour(INT64_C(-168) * 3600000));
    CHECK(bucket_hour(INT64_MIN) >= 0 && bucket_hour(INT64_MIN) < 168);
}
