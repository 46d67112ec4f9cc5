/*
 * Tests kernels/cuda: each kernel against its op's reference in double, on random shapes with
 * none, one, numbers that divide nothing, empty histories and ids outside their tables.
 */
#include "kernels/cuda/blas.h"
#include "kernels/cuda/ops.h"

#include "kernels/attention.h"
#include "kernels/gate.h"
#include "kernels/norm.h"
#include "tests/cuda/attended.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-4 /* the project's for an op in f32; what is seen is far below it */

/* ---- embed ---- */

static void embed_reference(double *x, double *e, int32_t C, int32_t V, int32_t A,
                            float *const *tables, int32_t *const *ids, int32_t T, int32_t N)
{
    for (int64_t r = 0; r < (int64_t)T + N; r++) {
        int32_t item = ids[0][r] >= 0 && ids[0][r] < V ? ids[0][r] : 0, action = ids[1][r];

        for (int32_t c = 0; c < C; c++) {
            double scaled = sqrt(C) * (double)tables[0][item * C + c];

            x[r * C + c] = scaled + (double)tables[2][ids[2][r] * C + c] +
                           (double)tables[3][ids[3][r] * C + c];
            if (action >= 0 && action < A)
                x[r * C + c] += (double)tables[1][action * C + c];
            if (r >= T)
                e[(r - T) * C + c] = scaled;
        }
    }
}

static void embed_shape(int number, struct random *random)
{
    int32_t C = 16 * (1 + device_below(random, 6)), V = 1 + device_below(random, 40), A = 5;
    int32_t T = device_size(number, random, 60), N = device_size(number, random, 30);
    int32_t rows[] = {V, A, BUCKET_GAPS, BUCKET_HOURS};
    int32_t *ids[] = {device_random_ints(random, T + N, -3, V + 3),
                      device_random_ints(random, T + N, -1, A + 2),
                      device_random_ints(random, T + N, 0, BUCKET_GAPS),
                      device_random_ints(random, T + N, 0, BUCKET_HOURS)};
    float *tables[4], *on_device[4], *x = device_floats((int64_t)(T + N) * C);
    float *e = device_floats((int64_t)N * C), *got_x, *got_e;
    double *want_x = device_doubles((int64_t)(T + N) * C), *want_e = device_doubles((int64_t)N * C);
    struct cuda_tokens tokens = {.T = T, .N = N};
    struct error err;

    for (int i = 0; i < 4; i++) {
        tables[i] = device_random_floats(random, (int64_t)rows[i] * C);
        on_device[i] = DEVICE_PUT(tables[i], (int64_t)rows[i] * C);
    }
    tokens.item = DEVICE_PUT(ids[0], T + N);
    tokens.action = DEVICE_PUT(ids[1], T + N);
    tokens.gap = DEVICE_PUT(ids[2], T + N);
    tokens.hour = DEVICE_PUT(ids[3], T + N);
    CHECK_STATUS(OK, cuda_embed(NULL, x, e,
                                (struct cuda_tables){C, V, A, on_device[0], on_device[1],
                                                     on_device[2], on_device[3], NULL},
                                tokens, &err));
    embed_reference(want_x, want_e, C, V, A, tables, ids, T, N);
    got_x = device_get(x, (int64_t)(T + N) * C);
    got_e = device_get(e, (int64_t)N * C);
    device_check_all("x", want_x, got_x, (int64_t)(T + N) * C, 1e-6);
    device_check_all("e", want_e, got_e, (int64_t)N * C, 1e-6);
}

TEST(cuda_embed_is_the_sum_of_its_tables)
{
    device_for_shapes(embed_shape);
}

/* ---- norm and gate ---- */

static void norm_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 40), C = 16 * (1 + device_below(random, 9));
    int64_t count = (int64_t)R * C;
    float *x = device_random_floats(random, count), *u = device_random_floats(random, 4 * count);
    float *on_device = DEVICE_PUT(x, count), *u_device = DEVICE_PUT(u, 4 * count);
    float *out = device_floats(count), *got;
    double *want = device_doubles(count);
    struct error err;

    CHECK_STATUS(OK, cuda_norm(NULL, out, on_device, R, C, 1e-6f, &err));
    norm_forward_ref(want, NULL, x, R, C, 1e-6f);
    got = device_get(out, count);
    device_check_all("norm", want, got, count, 1e-5);

    CHECK_STATUS(OK, cuda_gate(NULL, out, on_device, u_device, 4 * C, R, C, .1f, &err));
    gate_forward_ref(want, x, u, 4 * C, R, C, .1f);
    got = device_get(out, count);
    device_check_all("gate", want, got, count, 1e-5);

    CHECK_STATUS(OK, cuda_norm(NULL, on_device, on_device, R, C, 1e-6f, &err)); /* in place */
    norm_forward_ref(want, NULL, x, R, C, 1e-6f);
    got = device_get(on_device, count);
    device_check_all("norm in place", want, got, count, 1e-5);
}

TEST(cuda_norm_and_gate_are_those_of_the_references)
{
    device_for_shapes(norm_shape);
}

/* ---- products ---- */

static double after_of(double a, enum cuda_after after)
{
    return after == CUDA_AFTER_SILU ? a / (1 + exp(-a)) : a;
}

static void product_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 30), K = 1 + device_below(random, 40);
    int32_t N = 4 + 4 * device_below(random, 18), pitch = N + 4 * device_below(random, 3);
    int add = number % 2;
    enum cuda_after after = number % 3 == 0 ? CUDA_AFTER_BIAS : CUDA_AFTER_SILU;
    float *x = device_random_floats(random, (int64_t)R * (K + 2));
    float *w = device_random_floats(random, (int64_t)K * pitch);
    float *start = device_random_floats(random, (int64_t)R * pitch);
    float *bias = device_random_floats(random, N), *got;
    float *out = DEVICE_PUT(start, (int64_t)R * pitch);
    struct blas_matrix on_x = {DEVICE_PUT(x, (int64_t)R * (K + 2)), K + 2};
    struct blas_matrix on_w = {DEVICE_PUT(w, (int64_t)K * pitch), pitch};
    double *want = device_doubles((int64_t)R * pitch);
    cublasHandle_t blas;
    struct error err;

    CHECK_STATUS(OK, blas_open(&err));
    CHECK_STATUS(OK, blas_create(&blas, NULL, &err));
    CHECK_STATUS(OK, blas_product(blas, out, pitch, on_x, on_w, R, K, N, add, &err));
    CHECK_STATUS(OK, cuda_after(NULL, out, pitch, DEVICE_PUT(bias, N), R, N, after, &err));
    for (int64_t r = 0; r < R; r++) {
        for (int32_t n = 0; n < pitch; n++) {
            double sum = add ? (double)start[r * pitch + n] : 0;

            for (int32_t k = 0; n < N && k < K; k++)
                sum += (double)x[r * (K + 2) + k] * (double)w[(int64_t)k * pitch + n];
            want[r * pitch + n] = n < N
                                      ? after_of(sum + (double)bias[n], after)
                                      : (double)start[r * pitch + n]; /* between rows: as it was */
        }
    }
    got = device_get(out, (int64_t)R * pitch);
    device_check_all("product", want, got, (int64_t)R * pitch, 1e-5);
    blas_destroy(blas);
}

TEST(cuda_products_are_row_major_with_bias_and_silu_after)
{
    device_for_shapes(product_shape);
}

/* ---- attention ---- */

/* Request b by the CPU's reference, which wants padded rows of its own. */
static void check_request(const struct attended *a, int32_t b, const float *got)
{
    int32_t n = a->history_start[b + 1] - a->history_start[b], C = a->C;
    int32_t m = a->candidate_start[b + 1] - a->candidate_start[b], padded = cpu_pad_rows(n);
    float *z = device_room((int64_t)(padded + m) * 4 * C, sizeof *z);
    uint8_t *buckets = device_room((int64_t)attention_buckets_bytes(n), 1);
    double *want = device_doubles((int64_t)(padded + m) * C);
    const float *history = a->z + (int64_t)a->history_start[b] * 4 * C;
    const float *candidates = a->z + (int64_t)(a->T + a->candidate_start[b]) * 4 * C;
    struct attention attention = {.form = a->form == CUDA_ATTENTION_SILU ? ATTENTION_SILU
                                                                         : ATTENTION_SOFTMAX,
                                  .n = n,
                                  .C = C,
                                  .H = a->H,
                                  .P = a->P,
                                  .r_pos = a->r_pos,
                                  .r_time = a->r_time,
                                  .buckets = buckets};

    memcpy(z, history, (size_t)n * 4 * (size_t)C * sizeof *z);
    memcpy(z + (int64_t)padded * 4 * C, candidates, (size_t)m * 4 * (size_t)C * sizeof *z);
    attention_buckets_base(buckets, a->time_ms + a->history_start[b], n, a->request_time_ms[b]);
    attention_forward_ref(want, &attention, z, m);
    device_check_all("history", want, got + (int64_t)a->history_start[b] * C, (int64_t)n * C,
                     TOLERANCE);
    device_check_all("candidates", want + (int64_t)padded * C,
                     got + (int64_t)(a->T + a->candidate_start[b]) * C, (int64_t)m * C, TOLERANCE);
}

static void attention_shape(int number, struct random *random)
{
    static struct attended a;
    float *o, *z, *got;
    struct error err;

    attended_fill(&a, number, ATTENDED_HISTORY_MAX, random);
    o = device_floats((int64_t)(a.T + a.N) * a.C);
    z = DEVICE_PUT(a.z, (int64_t)(a.T + a.N) * 4 * a.C);
    CHECK_STATUS(OK, cuda_attention(NULL, o, z,
                                    (struct cuda_attention){
                                        .form = a.form,
                                        .T = a.T,
                                        .C = a.C,
                                        .H = a.H,
                                        .r_pos = DEVICE_PUT(a.r_pos, a.P + 1),
                                        .r_time = DEVICE_PUT(a.r_time, BUCKET_COUNT),
                                        .history_start = DEVICE_PUT(a.history_start, a.B + 1),
                                        .time_ms = DEVICE_PUT(a.time_ms, a.T),
                                        .request_time_ms = DEVICE_PUT(a.request_time_ms, a.B)},
                                    DEVICE_PUT(a.tiles, a.tiles_count), a.tiles_count, &err));
    got = device_get(o, (int64_t)(a.T + a.N) * a.C);
    for (int32_t b = 0; b < a.B; b++)
        check_request(&a, b, got);
}

TEST(cuda_attention_is_that_of_the_reference)
{
    device_for_shapes(attention_shape);
}

/* ---- head ---- */

static void cross_head_shape(int number, struct random *random)
{
    int32_t N = device_size(number, random, 20), C = 16 * (1 + device_below(random, 3));
    int32_t F = device_below(random, 9), Z = (2 * C + F + 15) / 16 * 16, W = 16 * (1 + number % 3);
    float *x = device_random_floats(random, (int64_t)N * C);
    float *e = device_random_floats(random, (int64_t)N * C);
    float *f = device_random_floats(random, (int64_t)N * F + 1);
    float *mean = device_random_floats(random, F + 1), *scale = device_random_floats(random, F + 1);
    float *wide = device_random_floats(random, (int64_t)N * Z);
    float *bias = device_random_floats(random, Z), *hidden_bias = device_random_floats(random, W);
    float *hidden = device_random_floats(random, (int64_t)N * W);
    float *w = device_random_floats(random, 2 * Z + W), b = .25f;
    float *z = device_floats((int64_t)N * Z), *scores = device_floats(N), *now = NULL, *got;
    uint16_t *half = number % 2 == 0 ? NULL : (uint16_t *)(void *)device_floats((int64_t)N * Z / 2);
    double *want = device_doubles(N), *row = device_doubles(Z);
    struct error err;

    CHECK_STATUS(OK, cuda_head_inputs(NULL, z, half, DEVICE_PUT(x, (int64_t)N * C),
                                      DEVICE_PUT(e, (int64_t)N * C), DEVICE_PUT(f, (int64_t)N * F),
                                      DEVICE_PUT(mean, F), DEVICE_PUT(scale, F), N, C, F, Z, &err));
    got = device_get(z, (int64_t)N * Z);
    now = DEVICE_PUT(got, (int64_t)N * Z);
    CHECK_STATUS(OK, cuda_head_cross(NULL, now, half, z, DEVICE_PUT(wide, (int64_t)N * Z),
                                     DEVICE_PUT(bias, Z), N, Z, &err));
    CHECK_STATUS(OK, cuda_head_scores(NULL, scores, z, now, DEVICE_PUT(hidden, (int64_t)N * W),
                                      DEVICE_PUT(hidden_bias, W), DEVICE_PUT(w, 2 * Z + W),
                                      DEVICE_PUT(&b, 1), N, Z, W, &err));
    for (int64_t i = 0; i < N; i++) {
        memset(row, 0, (size_t)Z * sizeof *row);
        for (int32_t c = 0; c < C; c++) {
            row[c] = (double)x[i * C + c];
            row[C + c] = (double)x[i * C + c] * (double)e[i * C + c];
        }
        for (int32_t k = 0; k < F; k++)
            row[2 * C + k] = ((double)f[i * F + k] - (double)mean[k]) * (double)scale[k];
        want[i] = (double)b;
        for (int32_t k = 0; k < Z; k++)
            want[i] += row[k] * (double)w[k] +
                       (row[k] * ((double)wide[i * Z + k] + (double)bias[k]) + row[k]) *
                           (double)w[Z + k];
        for (int32_t k = 0; k < W; k++)
            want[i] += after_of((double)hidden[i * W + k] + (double)hidden_bias[k],
                                CUDA_AFTER_SILU) *
                       (double)w[2 * Z + k];
    }
    got = device_get(scores, N);
    device_check_all("scores", want, got, N, 2e-5);
}

TEST(cuda_cross_head_is_that_of_its_formula)
{
    device_for_shapes(cross_head_shape);
}

static void dot_head_shape(int number, struct random *random)
{
    int32_t N = device_size(number, random, 30), C = 16 * (1 + device_below(random, 5));
    int32_t F = device_below(random, 5);
    float *x = device_random_floats(random, (int64_t)N * C);
    float *e = device_random_floats(random, (int64_t)N * C);
    float *f = device_random_floats(random, (int64_t)N * F), b = -.5f;
    float *mean = device_random_floats(random, F), *scale = device_random_floats(random, F);
    float *w = device_random_floats(random, F), *scores = device_floats(N), *got;
    double *want = device_doubles(N);
    struct error err;

    CHECK_STATUS(OK, cuda_head_dot(NULL, scores, DEVICE_PUT(x, (int64_t)N * C),
                                   DEVICE_PUT(e, (int64_t)N * C), DEVICE_PUT(f, (int64_t)N * F),
                                   DEVICE_PUT(mean, F), DEVICE_PUT(scale, F), DEVICE_PUT(w, F),
                                   DEVICE_PUT(&b, 1), N, C, F, &err));
    for (int64_t i = 0; i < N; i++) {
        want[i] = (double)b;
        for (int32_t c = 0; c < C; c++)
            want[i] += (double)x[i * C + c] * (double)e[i * C + c] / sqrt(C);
        for (int32_t k = 0; k < F; k++)
            want[i] += ((double)f[i * F + k] - (double)mean[k]) * (double)scale[k] * (double)w[k];
    }
    got = device_get(scores, N);
    device_check_all("scores", want, got, N, 1e-5);
}

TEST(cuda_dot_head_is_that_of_its_formula)
{
    device_for_shapes(dot_head_shape);
}

/* ---- the best of each request's scores ---- */

static const float *sorted_by; /* of better_first() */

static int better_first(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;

    if (sorted_by[i] != sorted_by[j])
        return sorted_by[i] > sorted_by[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* Few values, so ties, and odd ones among others. */
static void make_odd(float *scores, int64_t count, struct random *random)
{
    const float odd[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-42f, -1e-42f, 3e38f};

    for (int64_t i = 0; i < count; i++) {
        if (device_below(random, 3) == 0)
            scores[i] = odd[device_below(random, 8)];
        else if (device_below(random, 3) == 0)
            scores[i] = (float)device_below(random, 4);
    }
}

/* As forward.c does it: slice after slice of a table, the best before beside each. */
static void top_by_slices(struct cuda_top top, const float *scores, const float *inverse_norm,
                          int32_t V, int32_t slice, int32_t *rows, float *best)
{
    uint64_t *lists, *other;
    struct error err;

    top.room = 1 + (slice + top.width - 1) / top.width;
    lists = (uint64_t *)(void *)device_floats(2 * (int64_t)top.B * top.room * top.k);
    other = (uint64_t *)(void *)device_floats(2 * (int64_t)top.B * top.room * top.k);
    for (int32_t first = 0, count; first < V; first += count) {
        int32_t before = first > 0;
        float *part;

        count = V - first < slice ? V - first : slice;
        part = device_room((int64_t)top.B * count, sizeof *part);
        for (int64_t b = 0; b < top.B; b++)
            memcpy(part + b * count, scores + b * V + first, (size_t)count * sizeof *part);
        CHECK_STATUS(OK, cuda_top_parts(NULL, lists + (int64_t)before * top.k,
                                        DEVICE_PUT(part, (int64_t)top.B * count),
                                        DEVICE_PUT(inverse_norm + first, count), top, first, count,
                                        &err));
        CHECK_STATUS(OK, cuda_top_merge(NULL, &lists, &other, top,
                                        before + (count + top.width - 1) / top.width, &err));
    }
    CHECK_STATUS(OK, cuda_top_rows(NULL, rows, best, lists, top, &err));
}

static void check_top(struct cuda_top top, const float *scores, const float *inverse_norm,
                      int32_t V, const float *rows, const float *best)
{
    float *scaled = device_room(V, sizeof *scaled);
    int32_t *order = device_room(V, sizeof *order);

    for (int64_t b = 0; b < top.B; b++) {
        int32_t count = 0;

        for (int32_t v = 0; v < V; v++) {
            scaled[v] = scores[b * V + v] * inverse_norm[v];
            if (v > 0 && !isnan(scaled[v]))
                order[count++] = v;
        }
        sorted_by = scaled;
        qsort(order, (size_t)count, sizeof *order, better_first);
        for (int32_t i = 0; i < top.k; i++) {
            float score = i < count ? scaled[order[i]] : -INFINITY;
            int32_t row;

            memcpy(&row, rows + b * top.k + i, sizeof row);
            if (row != (i < count ? order[i] : -1))
                test_fail(__FILE__, __LINE__, "request %d place %d: want %d, got %d", (int)b,
                          (int)i, i < count ? (int)order[i] : -1, (int)row);
            CHECK(best[b * top.k + i] == score);
        }
    }
}

static void top_shape(int number, struct random *random)
{
    struct cuda_top top = {.B = device_size(number, random, 4), .k = device_below(random, 20)};
    int32_t V = number < 4 ? 1 + number / 2 : 1 + device_below(random, 400), slice;
    float *scores = device_random_floats(random, (int64_t)top.B * V);
    float *inverse_norm = device_random_floats(random, V), *got, *got_rows;
    int32_t *rows = (int32_t *)(void *)device_floats((int64_t)top.B * top.k);
    float *best = device_floats((int64_t)top.B * top.k);

    top.width = 2;
    while (top.width < 2 * top.k || device_below(random, 2) == 0)
        top.width *= 2;
    top.width = top.width > 128 ? 128 : top.width;
    slice = top.width * (1 + device_below(random, 5));
    make_odd(scores, (int64_t)top.B * V, random);
    make_odd(inverse_norm, number % 4 == 0 ? V : 0, random);
    top_by_slices(top, scores, inverse_norm, V, slice, rows, best);
    got_rows = device_get((const float *)(const void *)rows, (int64_t)top.B * top.k);
    got = device_get(best, (int64_t)top.B * top.k);
    check_top(top, scores, inverse_norm, V, got_rows, got);
}

TEST(cuda_top_is_a_stable_sort_of_what_are_numbers)
{
    device_for_shapes(top_shape);
    CHECK(cuda_top_width(0) == 1024 && cuda_top_width(256) == 1024 && cuda_top_width(257) == 2048);
    CHECK(cuda_top_width(CUDA_TOP_K_MAX) == CUDA_TOP_WIDTH);
}
