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
#include "tests/cuda/halves.h"
#include "tests/kernels/best_first.h"
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
            if (ids[2][r] == CUDA_GAP_CONTEXT) {
                x[r * C + c] = (double)tables[4][ids[3][r] * C + c];
                continue;
            }
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
    int32_t C = 16 * (1 + device_below(random, 20)), V = 1 + device_below(random, 40), A = 5;
    int32_t T = device_size(number, random, 60), N = device_size(number, random, 30);
    int32_t rows[] = {V, A, BUCKET_GAPS, BUCKET_HOURS, BUCKET_HOURS}; /* context's: any number */
    int32_t *ids[] = {device_random_ints(random, T + N, -3, V + 3),
                      device_random_ints(random, T + N, -1, A + 2),
                      device_random_ints(random, T + N, 0, BUCKET_GAPS),
                      device_random_ints(random, T + N, 0, BUCKET_HOURS)};
    float *tables[5], *on_device[5], *x = device_floats((int64_t)(T + N) * C);
    float *e = device_floats((int64_t)N * C), *got_x, *got_e;
    double *want_x = device_doubles((int64_t)(T + N) * C), *want_e = device_doubles((int64_t)N * C);
    struct cuda_tokens tokens = {.T = T, .N = N};
    struct error err;

    for (int32_t r = 0; r < T; r++) /* every third row of a history is one of context */
        ids[2][r] = number % 2 == 1 && device_below(random, 3) == 0 ? CUDA_GAP_CONTEXT : ids[2][r];
    for (int i = 0; i < 5; i++) {
        tables[i] = device_random_floats(random, (int64_t)rows[i] * C);
        on_device[i] = DEVICE_PUT(tables[i], (int64_t)rows[i] * C);
    }
    tokens.item = DEVICE_PUT(ids[0], T + N);
    tokens.action = DEVICE_PUT(ids[1], T + N);
    tokens.gap = DEVICE_PUT(ids[2], T + N);
    tokens.hour = DEVICE_PUT(ids[3], T + N);
    CHECK_STATUS(
        OK, cuda_embed(NULL, x, e,
                       (struct cuda_tables){C, V, A, on_device[0], on_device[1], on_device[2],
                                            on_device[3], number % 2 == 1 ? on_device[4] : NULL},
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

/* A batch as it lies on the device: of each history the first rows in pages, where there are any,
 * the others and the candidates in z, and rows of nobody behind them. What is in no page, or of
 * nobody, holds NaN. */
#define POOL_PAGES   40
#define NOBODYS_ROWS 20

struct laid {
    int32_t kept[ATTENDED_REQUESTS_MAX], row_start[ATTENDED_REQUESTS_MAX + 1];
    int32_t page_start[ATTENDED_REQUESTS_MAX + 1], *slots;
    int32_t T, rows, pitch;
    float *z, *pool;
    struct cuda_tile tiles[64 + ATTENDED_REQUESTS_MAX];
    int32_t tiles_count;
};

/* Pages in any order; a kept history's last one is not full. */
static void lay_pages(struct laid *l, const struct attended *a, struct random *random)
{
    int32_t C = a->C;

    l->pitch = CUDA_PAGE_ROWS * 2 * C + 4 * device_below(random, 3);
    l->pool = device_nans((int64_t)POOL_PAGES * l->pitch);
    l->slots = device_distinct_ints(random, POOL_PAGES, POOL_PAGES);
    for (int32_t b = 0; b < a->B; b++) {
        for (int32_t j = 0; j < l->kept[b]; j++) {
            int32_t slot = l->slots[l->page_start[b] + j / CUDA_PAGE_ROWS];
            const float *row = a->z + (int64_t)(a->history_start[b] + j) * 4 * C;
            float *to = l->pool + (int64_t)slot * l->pitch + (int64_t)(j % CUDA_PAGE_ROWS) * 2 * C;

            memcpy(to, row + C, (size_t)C * sizeof *to);
            memcpy(to + C, row + 3 * (int64_t)C, (size_t)C * sizeof *to);
        }
    }
}

static void lay(struct laid *l, const struct attended *a, bool pages, struct random *random)
{
    int64_t width = 4 * (int64_t)a->C;

    memset(l, 0, sizeof *l);
    for (int32_t b = 0; b < a->B; b++) {
        int32_t n = a->history_start[b + 1] - a->history_start[b];

        l->kept[b] = pages ? device_below(random, n + 1) : 0;
        l->row_start[b + 1] = l->row_start[b] + n - l->kept[b];
        l->page_start[b + 1] = l->page_start[b] +
                               (l->kept[b] + CUDA_PAGE_ROWS - 1) / CUDA_PAGE_ROWS;
    }
    l->T = l->row_start[a->B];
    l->rows = l->T + a->N + NOBODYS_ROWS;
    l->z = device_nans(l->rows * width);
    for (int32_t b = 0; b < a->B; b++) {
        int32_t rows = l->row_start[b + 1] - l->row_start[b];

        memcpy(l->z + l->row_start[b] * width, a->z + (a->history_start[b] + l->kept[b]) * width,
               (size_t)(rows * width) * sizeof *l->z);
        attended_tiles(l->tiles, &l->tiles_count, b, l->row_start[b], rows);
        attended_tiles(l->tiles, &l->tiles_count, b, l->T + a->candidate_start[b],
                       a->candidate_start[b + 1] - a->candidate_start[b]);
    }
    memcpy(l->z + l->T * width, a->z + a->T * width, (size_t)(a->N * width) * sizeof *l->z);
    attended_tiles(l->tiles, &l->tiles_count, CUDA_REQUEST_NONE, l->T + a->N, NOBODYS_ROWS);
    if (pages)
        lay_pages(l, a, random);
}

/* Request b by the CPU's reference, which wants padded rows of its own. */
static void check_request(const struct attended *a, const struct laid *l, int32_t b,
                          const float *got, double tolerance)
{
    int32_t n = a->history_start[b + 1] - a->history_start[b], C = a->C, kept = l->kept[b];
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
    device_check_all("history", want + (int64_t)kept * C, got + (int64_t)l->row_start[b] * C,
                     (int64_t)(n - kept) * C, tolerance);
    device_check_all("candidates", want + (int64_t)padded * C,
                     got + (int64_t)(l->T + a->candidate_start[b]) * C, (int64_t)m * C, tolerance);
}

static void check_attended(const struct attended *a, struct random *random, bool pages,
                           double tolerance)
{
    static struct laid l;
    float *o, *got;
    struct cuda_attention attention;
    struct error err;

    lay(&l, a, pages, random);
    o = device_floats((int64_t)l.rows * a->C);
    attention = attended_on_device(a);
    attention.T = l.T;
    if (pages)
        attention.pages = (struct cuda_pages){
            .at = DEVICE_PUT(l.pool, (int64_t)POOL_PAGES * l.pitch),
            .pitch = l.pitch,
            .row_start = DEVICE_PUT(l.row_start, a->B + 1),
            .page_start = DEVICE_PUT(l.page_start, a->B + 1),
            .slots = DEVICE_PUT(l.slots, POOL_PAGES)};
    CHECK_STATUS(OK, cuda_attention(NULL, o, DEVICE_PUT(l.z, (int64_t)l.rows * 4 * a->C), attention,
                                    DEVICE_PUT(l.tiles, l.tiles_count), l.tiles_count, &err));
    got = device_get(o, (int64_t)l.rows * a->C);
    for (int32_t b = 0; b < a->B; b++)
        check_request(a, &l, b, got, tolerance);
    for (int64_t i = (int64_t)(l.T + a->N) * a->C; i < (int64_t)l.rows * a->C; i++)
        CHECK_NEAR(0, (double)got[i], 0); /* of nobody */
}

static void attended_shape(int number, struct random *random, bool pages)
{
    static struct attended a;

    attended_fill(&a, number, ATTENDED_HISTORY_MAX, random);
    check_attended(&a, random, pages, TOLERANCE);
}

static void attention_shape(int number, struct random *random)
{
    attended_shape(number, random, false);
}

TEST(cuda_attention_is_that_of_the_reference)
{
    device_for_shapes(attention_shape);
}

static void paged_shape(int number, struct random *random)
{
    attended_shape(number, random, true);
}

TEST(cuda_attention_reads_the_front_of_histories_from_pages)
{
    device_for_shapes(paged_shape);
}

/* Softmax of rows whose scores lie hundreds apart: each is relative to the largest of its own row,
 * a neighbour's would leave it nothing. Such a score is rounded by 1e-5, its weight by as much. */
#define STEEP 100.0f
static void steep_shape(int number, struct random *random)
{
    static struct attended a;

    attended_fill(&a, number, ATTENDED_HISTORY_MAX, random);
    a.form = CUDA_ATTENTION_SOFTMAX;
    for (int64_t r = 0; r < a.T + a.N; r++) {
        float factor = STEEP * (float)(device_below(random, 3) - 1);

        for (int32_t c = 0; c < a.C; c++)
            a.z[(r * 4 + 2) * a.C + c] *= factor;
    }
    check_attended(&a, random, false, 5e-4);
}

TEST(cuda_attention_of_a_row_is_relative_to_its_own_largest)
{
    device_for_shapes(steep_shape);
}

/* ---- head ---- */

/* What the cross head reads, C and F at random, Z and W any multiples of 4 that fit. */
struct crossed {
    int32_t N, C, F, Z, W;
    float *x, *e, *scalars, *mean, *scale; /* (N, C) twice, (N, F), (F) twice */
    float *wide, *bias;                    /* (N, Z), (Z) */
    float *hidden, *hidden_bias, *w;       /* (N, W), (W), (2 Z + W) */
};

static struct crossed some_crossed(int number, struct random *random)
{
    struct crossed h = {.N = device_size(number, random, 20)};

    h.C = 16 * (1 + device_below(random, 10));
    h.F = device_below(random, 40);
    h.Z = (2 * h.C + h.F + 3) / 4 * 4 + 4 * device_below(random, 4);
    h.W = 4 * (1 + device_below(random, 60));
    h.x = device_random_floats(random, (int64_t)h.N * h.C);
    h.e = device_random_floats(random, (int64_t)h.N * h.C);
    h.scalars = device_random_floats(random, (int64_t)h.N * h.F);
    h.mean = device_random_floats(random, h.F);
    h.scale = device_random_floats(random, h.F);
    h.wide = device_random_floats(random, (int64_t)h.N * h.Z);
    h.bias = device_random_floats(random, h.Z);
    h.hidden = device_random_floats(random, (int64_t)h.N * h.W);
    h.hidden_bias = device_random_floats(random, h.W);
    h.w = device_random_floats(random, 2 * h.Z + h.W);
    return h;
}

/* z and now (N, Z), scores (N): now begins as z. */
static void crossed_reference(const struct crossed *h, double *z, double *now, double *scores)
{
    int32_t C = h->C, F = h->F, Z = h->Z, W = h->W;

    for (int64_t i = 0; i < h->N; i++) {
        double *row = z + i * Z; /* zeros behind the scalars */

        for (int32_t c = 0; c < C; c++) {
            row[c] = (double)h->x[i * C + c];
            row[C + c] = (double)h->x[i * C + c] * (double)h->e[i * C + c];
        }
        for (int32_t k = 0; k < F; k++)
            row[2 * C + k] = ((double)h->scalars[i * F + k] - (double)h->mean[k]) *
                             (double)h->scale[k];
        scores[i] = .25;
        for (int32_t k = 0; k < Z; k++) {
            now[i * Z + k] = row[k] * ((double)h->wide[i * Z + k] + (double)h->bias[k]) + row[k];
            scores[i] += row[k] * (double)h->w[k] + now[i * Z + k] * (double)h->w[Z + k];
        }
        for (int32_t k = 0; k < W; k++)
            scores[i] += (double)h->w[2 * Z + k] *
                         after_of((double)h->hidden[i * W + k] + (double)h->hidden_bias[k],
                                  CUDA_AFTER_SILU);
    }
}

/* Every second time with bf16 beside it: the nearest of each float. A score is a sum of up to 1000
 * terms, each below 4: 2e-5 of 1 + |score|; what it is made of, a few roundings. */
static void cross_head_shape(int number, struct random *random)
{
    struct crossed h = some_crossed(number, random);
    int32_t N = h.N, C = h.C, F = h.F, Z = h.Z, W = h.W;
    int64_t count = (int64_t)N * Z;
    float *z = device_floats(count), *scores = device_floats(N), *now = NULL, *got, b = .25f;
    uint16_t *half = number % 2 == 0 ? NULL : halves_room(count);
    double *want[3] = {device_doubles(count), device_doubles(count), device_doubles(N)};
    struct error err;

    crossed_reference(&h, want[0], want[1], want[2]);
    CHECK_STATUS(OK, cuda_head_inputs(NULL, z, half, DEVICE_PUT(h.x, (int64_t)N * C),
                                      DEVICE_PUT(h.e, (int64_t)N * C),
                                      DEVICE_PUT(h.scalars, (int64_t)N * F), DEVICE_PUT(h.mean, F),
                                      DEVICE_PUT(h.scale, F), N, C, F, Z, &err));
    got = device_get(z, count);
    device_check_all("z", want[0], got, count, 1e-6);
    if (half != NULL)
        halves_check_rounded("z", got, half, count);
    now = DEVICE_PUT(got, count);
    CHECK_STATUS(OK, cuda_head_cross(NULL, now, half, z, DEVICE_PUT(h.wide, count),
                                     DEVICE_PUT(h.bias, Z), N, Z, &err));
    got = device_get(now, count);
    device_check_all("now", want[1], got, count, 1e-6);
    if (half != NULL)
        halves_check_rounded("now", got, half, count);
    CHECK_STATUS(OK, cuda_head_scores(NULL, scores, z, now, DEVICE_PUT(h.hidden, (int64_t)N * W),
                                      DEVICE_PUT(h.hidden_bias, W), DEVICE_PUT(h.w, 2 * Z + W),
                                      DEVICE_PUT(&b, 1), N, Z, W, &err));
    device_check_all("scores", want[2], device_get(scores, N), N, 2e-5);
}

TEST(cuda_cross_head_is_that_of_its_formula)
{
    device_for_shapes(cross_head_shape);
}

static void dot_head_shape(int number, struct random *random)
{
    int32_t N = device_size(number, random, 30), C = 16 * (1 + device_below(random, 20));
    int32_t F = device_below(random, 40); /* more than lanes */
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
        best_first(order, count, scaled);
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
