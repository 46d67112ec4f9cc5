/*
 * Tests kernels/cuda of bf16: the rounding bit by bit, products against sums in double of rounded
 * numbers, next-item scores of it, norm and gate that write it.
 */
#include "kernels/cuda/blas.h"
#include "kernels/cuda/ops.h"

#include "kernels/gate.h"
#include "kernels/norm.h"
#include "tests/cuda/device.h"
#include "tests/cuda/halves.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- rounding ---- */

static void rounding_shape(int number, struct random *random)
{
    const float odd[] = {NAN,     INFINITY, -INFINITY, 0.0f,        -0.0f,       1e-42f,
                         -1e-45f, 3.4e38f,  -3.39e38f, 1.00390625f, 1.01171875f, -1.00390625f};
    int64_t count = 4 * (int64_t)(number < 2 ? number : 1 + device_below(random, 400));
    const uint32_t full = 0x7fffffff; /* a NaN that rounding up would make a 0 */
    float *x = device_random_floats(random, count);
    uint16_t *out = halves_room(count);
    struct error err;

    for (int64_t i = 0; i < count; i++)
        if (device_below(random, 3) == 0)
            x[i] = odd[device_below(random, 12)];
    if (count > 0)
        memcpy(&x[count - 1], &full, sizeof full);
    CHECK_STATUS(OK, cuda_half(NULL, out, DEVICE_PUT(x, count), count, &err));
    halves_check_rounded("half", x, out, count);
}

TEST(cuda_half_is_the_nearest_bf16)
{
    device_for_shapes(rounding_shape);
}

/* ---- products ---- */

static void product_shape(int number, struct random *random)
{
    int32_t R = number < 2 ? number : 1 + device_below(random, 30),
            K = 1 + device_below(random, 40);
    int32_t N = 1 + device_below(random, 60), pitch = N + device_below(random, 5);
    int add = number % 2;
    uint16_t *x = halves_random(random, (int64_t)R * K), *got_half;
    uint16_t *w = halves_random(random, (int64_t)K * pitch),
             *out_half = halves_room((int64_t)R * N);
    float *start = device_random_floats(random, (int64_t)R * N), *got;
    float *out = DEVICE_PUT(start, (int64_t)R * N);
    struct blas_half on_x = {DEVICE_PUT(x, (int64_t)R * K), K};
    struct blas_half on_w = {DEVICE_PUT(w, (int64_t)K * pitch), pitch};
    double *want = device_doubles((int64_t)R * N);
    cublasHandle_t blas;
    struct error err;

    CHECK_STATUS(OK, blas_open(&err));
    CHECK_STATUS(OK, blas_create(&blas, NULL, &err));
    CHECK_STATUS(OK, blas_product_half(blas, out, N, 0, on_x, on_w, R, K, N, add, &err));
    CHECK_STATUS(OK, blas_product_half(blas, out_half, N, 1, on_x, on_w, R, K, N, 0, &err));
    CHECK_STATUS(OK, cuda_half(NULL, halves_room(4), DEVICE_PUT(((float[4]){0}), 4), 4, &err));
    got = device_get(out, (int64_t)R * N);
    got_half = halves_get(out_half, (int64_t)R * N);
    for (int32_t r = 0; r < R; r++) {
        for (int32_t n = 0; n < N; n++) {
            double sum = 0;

            for (int32_t k = 0; k < K; k++)
                sum += (double)halves_float(x[r * K + k]) * (double)halves_float(w[k * pitch + n]);
            CHECK_NEAR(sum, (double)halves_float(got_half[r * N + n]),
                       HALVES_STEP * (1e-3 + fabs(sum)));
            want[r * N + n] = sum + (add ? (double)start[r * N + n] : 0);
        }
    }
    device_check_all("product", want, got, (int64_t)R * N, 1e-5);
    blas_destroy(blas);
}

TEST(cuda_half_products_are_sums_in_f32_of_rounded_numbers)
{
    device_for_shapes(product_shape);
}

/* Rows of a matrix that may lie turned over, further apart than they are long. */
struct halves {
    uint16_t *at;
    int32_t pitch;
    bool turned;
};

static struct halves some_halves(struct random *random, int32_t rows, int32_t columns)
{
    struct halves h = {.turned = device_below(random, 2) == 1};

    h.pitch = (h.turned ? rows : columns) + device_below(random, 5);
    h.pitch += h.pitch == 0; /* cuBLAS refuses 0, of nothing, too */
    h.at = halves_random(random, (int64_t)(h.turned ? columns : rows) * h.pitch);
    return h;
}

static double half_at(struct halves h, int32_t row, int32_t column)
{
    return (double)halves_float(h.turned ? h.at[column * h.pitch + row]
                                         : h.at[row * h.pitch + column]);
}

static struct blas_half put_halves(struct halves h, int32_t rows, int32_t columns)
{
    return (struct blas_half){DEVICE_PUT(h.at, (int64_t)(h.turned ? columns : rows) * h.pitch),
                              h.pitch};
}

/* Within 1e-5 of the sum of magnitudes: what a sum in f32 may lose, and one in bf16 never holds. */
static void form_shape(int number, struct random *random)
{
    int32_t R = number < 2 ? number : 1 + device_below(random, 30);
    int32_t K = number == 2 ? 0 : 1 + device_below(random, 90), N = 1 + device_below(random, 40);
    int add = number / 2 % 2;
    int64_t count = (int64_t)R * N;
    struct halves x = some_halves(random, R, K), w = some_halves(random, K, N);
    float *start = device_random_floats(random, count), *out = DEVICE_PUT(start, count), *got;
    cublasHandle_t blas;
    struct error err;

    CHECK_STATUS(OK, blas_open(&err));
    CHECK_STATUS(OK, blas_create(&blas, NULL, &err));
    CHECK_STATUS(
        OK, blas_product_half_of(blas, out, N, 0, put_halves(x, R, K),
                                 x.turned ? BLAS_TRANSPOSED : BLAS_AS_IT_IS, put_halves(w, K, N),
                                 w.turned ? BLAS_TRANSPOSED : BLAS_AS_IT_IS, R, K, N, add, &err));
    CHECK_STATUS(OK, cuda_half(NULL, halves_room(4), DEVICE_PUT(((float[4]){0}), 4), 4, &err));
    got = device_get(out, count);
    for (int64_t i = 0; i < count; i++) {
        double sum = add ? (double)start[i] : 0, size = fabs(sum);

        for (int32_t k = 0; k < K; k++) {
            double term = half_at(x, (int32_t)(i / N), k) * half_at(w, k, (int32_t)(i % N));

            sum += term;
            size += fabs(term);
        }
        CHECK_NEAR(sum, (double)got[i], 1e-5 * size);
    }
    blas_destroy(blas);
}

TEST(cuda_half_products_of_turned_matrices)
{
    device_for_shapes(form_shape);
}

/* ---- next items ---- */

static void listed_shape(int number, struct random *random)
{
    int32_t B = number == 0 ? 0 : 1 + device_below(random, 5), V = 1 + device_below(random, 20);
    int32_t C = 16 * (1 + device_below(random, 12)), start[8] = {0}, listed[64] = {0};
    uint16_t *states = halves_random(random, (int64_t)B * C);
    uint16_t *emb = halves_random(random, (int64_t)V * C);
    float *norms = device_random_floats(random, V), *got, *out;
    struct error err;

    for (int32_t b = 0; b < B; b++)
        start[b + 1] = start[b] + (number == 1 ? 0 : device_below(random, 12));
    for (int32_t i = 0; i < start[B]; i++)
        listed[i] = device_below(random, V + 2) - 1;
    out = device_floats(start[B]);
    CHECK_STATUS(OK, cuda_next_listed_half(NULL, out, DEVICE_PUT(states, (int64_t)B * C),
                                           DEVICE_PUT(emb, (int64_t)V * C), DEVICE_PUT(norms, V),
                                           DEVICE_PUT(start, B + 1), DEVICE_PUT(listed, start[B]),
                                           B, V, C, &err));
    CHECK_STATUS(OK, cuda_half(NULL, halves_room(4), DEVICE_PUT(((float[4]){0}), 4), 4, &err));
    got = device_get(out, start[B]);
    for (int32_t b = 0; b < B; b++) {
        for (int32_t i = start[b]; i < start[b + 1]; i++) {
            int32_t v = listed[i] >= 0 && listed[i] < V ? listed[i] : 0;
            double sum = 0, size = 0;

            for (int32_t c = 0; c < C; c++) {
                double term = (double)halves_float(states[b * C + c]) *
                              (double)halves_float(emb[v * C + c]) * (double)norms[v];

                sum += term;
                size += fabs(term);
            }
            CHECK_NEAR(sum, (double)got[i], 1e-5 * size);
        }
    }
}

TEST(cuda_half_listed_next_items_are_sums_in_f32_of_rounded_numbers)
{
    device_for_shapes(listed_shape);
}

/* ---- norm and gate ---- */

static void norm_shape(int number, struct random *random)
{
    int32_t R = number < 2 ? number : 1 + device_below(random, 40);
    int32_t C = 16 * (1 + device_below(random, 12));
    int64_t count = (int64_t)R * C;
    float *x = device_random_floats(random, count), *u = device_random_floats(random, 4 * count);
    float *on_device = DEVICE_PUT(x, count);
    uint16_t *normed = halves_room(count), *gated = halves_room(count);
    double *want = device_doubles(count);
    struct error err;

    CHECK_STATUS(OK, cuda_norm_half(NULL, normed, on_device, R, C, 1e-6f, &err));
    CHECK_STATUS(OK, cuda_gate_half(NULL, gated, on_device, DEVICE_PUT(u, 4 * count), 4 * C, R, C,
                                    .1f, &err));
    norm_forward_ref(want, NULL, x, R, C, 1e-6f);
    halves_check_near("norm", want, normed, count);
    gate_forward_ref(want, x, u, 4 * C, R, C, .1f);
    halves_check_near("gate", want, gated, count);
}

TEST(cuda_half_norm_and_gate_are_those_of_the_references)
{
    device_for_shapes(norm_shape);
}
