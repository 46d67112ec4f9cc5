/*
 * Tests the rows of a training step: what the way back needs of norm, gate and SiLU, the gradients
 * of norm, gate, heads and tokens, and sums over the tokens of a table's row. Each kernel against
 * its formula, written out here in double, on 24 shapes with none, one and numbers that divide
 * nothing; what a kernel has no business to read or write holds NaN.
 *
 * Tolerances, of 1 + |want|: FEW where a number is made of a handful of roundings (each 6e-8 of
 * numbers up to 40), ROW where it holds a sum over a row of up to 320 channels.
 */
#include "kernels/cuda/ops_back.h"

#include "tests/cuda/device.h"
#include "tests/cuda/halves.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define FEW 1e-6
#define ROW 1e-5

/* Up to 320: a lane's first four channels and those that it comes back for, twice. */
static int32_t some_channels(struct random *random)
{
    return 16 * (1 + device_below(random, 20));
}

static void check(const char *what, const double *want, const float *on_device, int64_t count,
                  double tolerance)
{
    device_check_all(what, want, device_get(on_device, count), count, tolerance);
}

/* R rows of N random floats, pitch apart, with NaN between them. */
static float *rows_apart(struct random *random, int32_t R, int32_t N, int32_t pitch)
{
    float *rows = device_nans((int64_t)R * pitch);

    for (int64_t r = 0; r < R; r++)
        for (int32_t c = 0; c < N; c++)
            rows[r * pitch + c] = (float)(2 * random_unit(random) - 1);
    return rows;
}

/* Those of rows_apart(): what lies between the rows is NaN still. */
static void check_apart(const char *what, const double *want, const float *on_device, int32_t R,
                        int32_t N, int32_t pitch, double tolerance)
{
    float *got = device_get(on_device, (int64_t)R * pitch);

    for (int64_t r = 0; r < R; r++) {
        device_check_all(what, want + r * N, got + r * pitch, N, tolerance);
        for (int32_t c = N; c < pitch; c++)
            if (!isnan(got[r * pitch + c]))
                test_fail(__FILE__, __LINE__, "%s: want NaN between rows, got %.9g", what,
                          (double)got[r * pitch + c]);
    }
}

/* ---- tapes ---- */

/* normed (R, C) and rstd (R) of x (R, C). */
static void norm_of(double *normed, double *rstd, const float *x, int32_t R, int32_t C,
                    float epsilon)
{
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * C;
        double mean = 0, variance = 0;

        for (int32_t c = 0; c < C; c++)
            mean += (double)row[c] / C;
        for (int32_t c = 0; c < C; c++)
            variance += ((double)row[c] - mean) * ((double)row[c] - mean) / C;
        rstd[r] = 1 / sqrt(variance + (double)epsilon);
        for (int32_t c = 0; c < C; c++)
            normed[r * C + c] = ((double)row[c] - mean) * rstd[r];
    }
}

/* Row 0 of every fourth shape is of equal numbers, whose sums are exact. */
static float *rows_to_norm(int number, struct random *random, int32_t R, int32_t C)
{
    float *x = device_random_floats(random, (int64_t)R * C);

    for (int32_t c = 0; c < C && R > 0 && number % 4 == 1; c++)
        x[c] = .25f;
    return x;
}

static void norm_tape_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 40), C = some_channels(random);
    int64_t count = (int64_t)R * C;
    float *x = rows_to_norm(number, random, R, C), *out = device_floats(count);
    float *rstd = device_floats(R), epsilon = number % 3 == 0 ? .1f : 1e-6f;
    uint16_t *half = number % 2 == 0 ? NULL : halves_room(count);
    double *want = device_doubles(count), *want_rstd = device_doubles(R);
    struct error err;

    CHECK_STATUS(OK,
                 cuda_norm_tape(NULL, out, half, rstd, DEVICE_PUT(x, count), R, C, epsilon, &err));
    norm_of(want, want_rstd, x, R, C, epsilon);
    check("normed", want, out, count, ROW);
    check("rstd", want_rstd, rstd, R, ROW);
    if (half != NULL)
        halves_check_rounded("half", device_get(out, count), half, count);
}

TEST(cuda_rows_of_a_norm_keep_their_deviation)
{
    device_for_shapes(norm_tape_shape);
}

/* y beside nothing, y beside its bf16, and that alone. */
static void gate_tape_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 40), C = some_channels(random);
    int32_t pitch = C + 4 * device_below(random, 3);
    int64_t count = (int64_t)R * C;
    float *o = rows_to_norm(number, random, R, C), *u = rows_apart(random, R, C, pitch);
    float *y = number % 3 == 2 ? NULL : device_floats(count), *rstd = device_floats(R);
    float *normed = device_floats(count), epsilon = number % 2 == 0 ? .1f : 1e-6f;
    uint16_t *half = number % 3 == 0 ? NULL : halves_room(count);
    double *want = device_doubles(count), *want_rstd = device_doubles(R);
    struct error err;

    CHECK_STATUS(OK, cuda_gate_tape(NULL, y, half, normed, rstd, DEVICE_PUT(o, count),
                                    DEVICE_PUT(u, (int64_t)R * pitch), pitch, R, C, epsilon, &err));
    norm_of(want, want_rstd, o, R, C, epsilon);
    check("normed", want, normed, count, ROW);
    check("rstd", want_rstd, rstd, R, ROW);
    for (int64_t i = 0; i < count; i++)
        want[i] *= (double)u[i / C * pitch + i % C];
    if (y != NULL)
        check("y", want, y, count, ROW);
    if (half != NULL && y != NULL)
        halves_check_rounded("half", device_get(y, count), half, count);
    if (half != NULL)
        halves_check_near("half", want, half, count);
}

TEST(cuda_rows_of_a_gate_keep_their_norm_and_deviation)
{
    device_for_shapes(gate_tape_shape);
}

/* Far out, too: e^-a is infinite in float, or nothing beside 1. */
static void silu_tape_shape(int number, struct random *random)
{
    const float far[] = {100, -100, 1e4f, -1e4f, 3e38f, -3e38f, 30, -30};
    int32_t R = device_size(number, random, 40), N = 4 * (1 + device_below(random, 40));
    int32_t pitch = N + 4 * device_below(random, 3);
    float *x = rows_apart(random, R, N, pitch), *bias = device_random_floats(random, N);
    float *slope = DEVICE_PUT(device_nans((int64_t)R * pitch), (int64_t)R * pitch), *out;
    double *want[2] = {device_doubles((int64_t)R * N), device_doubles((int64_t)R * N)};
    struct error err;

    for (int64_t r = 0; r < R; r++)
        for (int32_t c = 0; c < N; c++)
            if (device_below(random, 8) == 0)
                x[r * pitch + c] = far[device_below(random, 8)];
    out = DEVICE_PUT(x, (int64_t)R * pitch);
    CHECK_STATUS(OK, cuda_silu_tape(NULL, out, slope, pitch, DEVICE_PUT(bias, N), R, N, &err));
    for (int64_t i = 0; i < (int64_t)R * N; i++) {
        double a = (double)x[i / N * pitch + i % N] + (double)bias[i % N], s = 1 / (1 + exp(-a));

        want[0][i] = a * s;
        want[1][i] = s * (1 + a * (1 - s));
    }
    /* The slope's 1 - s loses 6e-8, of which a makes up to 16 times as much. */
    check_apart("silu", want[0], out, R, N, pitch, 5e-6);
    check_apart("slope", want[1], slope, R, N, pitch, 5e-6);
}

TEST(cuda_rows_of_silu_keep_their_slope)
{
    device_for_shapes(silu_tape_shape);
}

/* ---- back through norm and gate ---- */

/* One row: gradient of the norm's input, from g of its output. */
static void through_norm(double *dx, const double *g, const float *normed, double rstd, int32_t C)
{
    double mean = 0, product = 0;

    for (int32_t c = 0; c < C; c++) {
        mean += g[c] / C;
        product += g[c] * (double)normed[c] / C;
    }
    for (int32_t c = 0; c < C; c++)
        dx[c] = rstd * (g[c] - mean - (double)normed[c] * product);
}

static void norm_back_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 40), C = some_channels(random);
    int64_t count = (int64_t)R * C;
    float *g = device_random_floats(random, count), *n = device_random_floats(random, count);
    float *rstd = device_random_floats(random, R), *dx = device_random_floats(random, count);
    float *on_device = DEVICE_PUT(dx, count);
    double *want = device_doubles(count), *row = device_doubles(C);
    struct error err;

    CHECK_STATUS(OK, cuda_norm_backward(NULL, on_device, DEVICE_PUT(g, count), DEVICE_PUT(n, count),
                                        DEVICE_PUT(rstd, R), R, C, &err));
    for (int64_t r = 0; r < R; r++) {
        for (int32_t c = 0; c < C; c++)
            row[c] = (double)g[r * C + c];
        through_norm(want + r * C, row, n + r * C, (double)rstd[r], C);
        for (int32_t c = 0; c < C; c++)
            want[r * C + c] += (double)dx[r * C + c];
    }
    check("dx", want, on_device, count, ROW);
}

TEST(cuda_rows_go_back_through_a_norm)
{
    device_for_shapes(norm_back_shape);
}

static void gate_back_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 40), C = some_channels(random);
    int32_t pitch = C + 4 * device_below(random, 3);
    int64_t count = (int64_t)R * C, apart = (int64_t)R * pitch;
    float *dy = device_random_floats(random, count), *n = device_random_floats(random, count);
    float *u = rows_apart(random, R, C, pitch), *rstd = device_random_floats(random, R);
    float *du = DEVICE_PUT(device_nans(apart), apart), *d_o = device_floats(count);
    double *want[2] = {device_doubles(count), device_doubles(count)}, *row = device_doubles(C);
    struct error err;

    CHECK_STATUS(OK,
                 cuda_gate_backward(NULL, du, d_o, DEVICE_PUT(dy, count), DEVICE_PUT(n, count),
                                    DEVICE_PUT(rstd, R), DEVICE_PUT(u, apart), pitch, R, C, &err));
    for (int64_t r = 0; r < R; r++) {
        for (int32_t c = 0; c < C; c++) {
            row[c] = (double)dy[r * C + c] * (double)u[r * pitch + c];
            want[0][r * C + c] = (double)dy[r * C + c] * (double)n[r * C + c];
        }
        through_norm(want[1] + r * C, row, n + r * C, (double)rstd[r], C);
    }
    check_apart("du", want[0], du, R, C, pitch, FEW);
    check("d_o", want[1], d_o, count, ROW);
}

TEST(cuda_rows_go_back_through_a_gate)
{
    device_for_shapes(gate_back_shape);
}

/* ---- back through the heads ---- */

static void scalars_shape(int number, struct random *random)
{
    int32_t N = device_size(number, random, 60), F = number == 2 ? 0 : 1 + device_below(random, 40);
    int64_t count = (int64_t)N * F;
    float *scalars = device_random_floats(random, count), *mean = device_random_floats(random, F);
    float *scale = device_random_floats(random, F), *f = device_floats(count);
    double *want = device_doubles(count);
    struct error err;

    CHECK_STATUS(OK, cuda_head_scalars(NULL, f, DEVICE_PUT(scalars, count), DEVICE_PUT(mean, F),
                                       DEVICE_PUT(scale, F), N, F, &err));
    for (int64_t i = 0; i < count; i++)
        want[i] = ((double)scalars[i] - (double)mean[i % F]) * (double)scale[i % F];
    check("f", want, f, count, FEW);
}

TEST(cuda_rows_of_scalars_are_scaled)
{
    device_for_shapes(scalars_shape);
}

static void dot_back_shape(int number, struct random *random)
{
    int32_t N = device_size(number, random, 40), C = some_channels(random);
    int64_t count = (int64_t)N * C;
    float *x = device_random_floats(random, count), *e = device_random_floats(random, count);
    float *ds = device_random_floats(random, N), *dx = device_floats(count);
    float *de = device_floats(count);
    double *want[2] = {device_doubles(count), device_doubles(count)};
    struct error err;

    CHECK_STATUS(OK, cuda_head_dot_backward(NULL, dx, de, DEVICE_PUT(ds, N), DEVICE_PUT(x, count),
                                            DEVICE_PUT(e, count), N, C, &err));
    for (int64_t i = 0; i < count; i++) {
        want[0][i] = (double)ds[i / C] * (double)e[i] / sqrt(C);
        want[1][i] = (double)ds[i / C] * (double)x[i] / sqrt(C);
    }
    check("dx", want[0], dx, count, FEW);
    check("de", want[1], de, count, FEW);
}

TEST(cuda_rows_go_back_through_the_dot_head)
{
    device_for_shapes(dot_back_shape);
}

/* Both of numbers of Z alone: the outer product that a cross head begins with, and a cross layer.
 */
static void cross_back_shape(int number, struct random *random)
{
    int32_t N = device_size(number, random, 40), Z = 4 * (1 + device_below(random, 60));
    int64_t count = (int64_t)N * Z;
    float *from[4], *on[4], *bias = device_random_floats(random, Z);
    float *ds = device_random_floats(random, N), *t = device_floats(count);
    float *outer = device_floats(count), *on_bias = DEVICE_PUT(bias, Z);
    double *want[3] = {device_doubles(count), device_doubles(count), device_doubles(count)};
    struct error err;

    for (int i = 0; i < 4; i++) { /* dz, g, z, wide */
        from[i] = device_random_floats(random, count);
        on[i] = DEVICE_PUT(from[i], count);
    }
    CHECK_STATUS(OK, cuda_head_outer(NULL, outer, DEVICE_PUT(ds, N), on_bias, N, Z, &err));
    CHECK_STATUS(
        OK, cuda_head_cross_backward(NULL, on[0], t, on[1], on[2], on[3], on_bias, N, Z, &err));
    for (int64_t i = 0; i < count; i++) {
        double g = (double)from[1][i];

        want[0][i] = (double)ds[i / Z] * (double)bias[i % Z];
        want[1][i] = (double)from[0][i] + g * ((double)from[3][i] + (double)bias[i % Z]);
        want[2][i] = g * (double)from[2][i];
    }
    check("outer", want[0], outer, count, FEW);
    check("dz", want[1], on[0], count, FEW);
    check("t", want[2], t, count, FEW);
}

TEST(cuda_rows_go_back_through_a_cross_layer)
{
    device_for_shapes(cross_back_shape);
}

static void inputs_back_shape(int number, struct random *random)
{
    int32_t N = device_size(number, random, 40), C = some_channels(random);
    int32_t Z = 2 * C + 4 * device_below(random, 5);
    int64_t count = (int64_t)N * C;
    float *x = device_random_floats(random, count), *e = device_random_floats(random, count);
    float *dz = rows_apart(random, N, 2 * C, Z), *dx = device_floats(count);
    float *de = device_floats(count); /* dx and de are set: what stood there is not read */
    double *want[2] = {device_doubles(count), device_doubles(count)};
    struct error err;

    CHECK_STATUS(OK, cuda_head_inputs_backward(NULL, dx, de, DEVICE_PUT(dz, (int64_t)N * Z),
                                               DEVICE_PUT(x, count), DEVICE_PUT(e, count), N, C, Z,
                                               &err));
    for (int64_t i = 0; i < count; i++) {
        const float *own = dz + i / C * Z + i % C;

        want[0][i] = (double)own[0] + (double)own[C] * (double)e[i];
        want[1][i] = (double)own[C] * (double)x[i];
    }
    check("dx", want[0], dx, count, FEW);
    check("de", want[1], de, count, FEW);
}

TEST(cuda_rows_go_back_through_a_cross_heads_inputs)
{
    device_for_shapes(inputs_back_shape);
}

/* ---- rows of tables ---- */

/* Histories alone and candidates alone, too. */
static void embed_back_shape(int number, struct random *random)
{
    int32_t T = number % 5 == 2 ? 0 : device_size(number, random, 40), C = some_channels(random);
    int32_t N = number % 5 == 3 ? 0 : device_size(number, random, 30);
    int64_t history = (int64_t)T * C, candidates = (int64_t)N * C, count = history + candidates;
    float *dx = device_random_floats(random, count), *de = device_random_floats(random, candidates);
    float *out = device_floats(count);
    double *want = device_doubles(count);
    struct error err;

    CHECK_STATUS(OK, cuda_embed_backward(NULL, out, DEVICE_PUT(dx, count),
                                         DEVICE_PUT(de, candidates), T, N, C, &err));
    for (int64_t i = 0; i < count; i++)
        want[i] = sqrt(C) * ((double)dx[i] + (i < history ? 0 : (double)de[i - history]));
    check("item rows", want, out, count, FEW);
}

TEST(cuda_rows_of_tokens_become_gradients_of_item_rows)
{
    device_for_shapes(embed_back_shape);
}

#define SEGMENTS_MAX 40
#define ORDER_MAX    1000 /* at most 30 a segment, but for one */

/* Segments of none, of one, of a few, and one of many in every shape; they may begin behind 0. */
static int32_t some_segments(struct random *random, int32_t *start, int32_t count)
{
    int32_t many = count > 0 ? device_below(random, count) : 0;

    start[0] = device_below(random, 3);
    for (int32_t s = 0; s < count; s++) {
        int32_t rows = device_below(random, 3) == 0 ? 0 : 1 + device_below(random, 8);

        start[s + 1] = start[s] + (s == many ? 150 + device_below(random, 100) : rows);
    }
    CHECK(start[count] <= ORDER_MAX);
    return start[count];
}

/* With an order a row is of many segments, and of one twice; half of the rows are of none. Without
 * one it is the row of its number, and those in front of the first segment are of none. */
static void segments_shape(int number, struct random *random)
{
    int32_t count = device_size(number, random, SEGMENTS_MAX),
            C = 4 * (1 + device_below(random, 40));
    int32_t start[SEGMENTS_MAX + 1] = {0}, end = some_segments(random, start, count);
    bool ordered = number % 2 == 1;
    int32_t rows = ordered ? 2 + device_below(random, 20) : end;
    int32_t *order = device_random_ints(random, end, 0, (rows + 1) / 2);
    float *in = device_random_floats(random, (int64_t)rows * C), *got;
    float *out = device_floats((int64_t)count * C);
    double sum, size;
    struct error err;

    for (int64_t i = 0; i < (int64_t)rows * C; i++) {
        if (ordered && i / C >= (rows + 1) / 2)
            in[i] = NAN;
        if (!ordered && i / C < start[0])
            in[i] = NAN;
    }
    CHECK_STATUS(OK, cuda_segments(NULL, out, DEVICE_PUT(in, (int64_t)rows * C),
                                   ordered ? DEVICE_PUT(order, end) : NULL,
                                   DEVICE_PUT(start, count + 1), count, C, &err));
    got = device_get(out, (int64_t)count * C);
    for (int64_t at = 0; at < (int64_t)count * C; at++) {
        sum = size = 0;
        for (int32_t i = start[at / C]; i < start[at / C + 1]; i++) {
            double term = (double)in[(int64_t)(ordered ? order[i] : i) * C + at % C];

            sum += term;
            size += fabs(term);
        }
        /* Of the magnitudes, which bound every partial sum: up to 250 roundings of 6e-8 of them,
         * mostly one way where the same rows come again. An empty segment is 0. */
        CHECK_NEAR(sum, (double)got[at], 1e-5 * size);
    }
}

TEST(cuda_rows_of_segments_are_added_up)
{
    device_for_shapes(segments_shape);
}
