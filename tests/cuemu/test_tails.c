/*
 * Tests what is loaded and stored 16 bytes at a time where counts are no multiples of four: the
 * last one to three floats are treated as all others, and nothing behind them is touched.
 */
#include "kernels/cuda/ops_back.h"

#include "tests/cuemu/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define TOLERANCE 2e-4 /* kernels/cuda/ops_back.h */

static double *doubles(int64_t count)
{
    double *made = calloc((size_t)count + 1, sizeof *made);

    CHECK(made != NULL);
    return made;
}

/* 0, 1, 2, 3, ...; then more than a block. */
static int32_t count_of(int number, struct random *random)
{
    return number < 8 ? number : 1 + device_below(random, 2500);
}

static void check(const char *what, const double *want, const float *on_device, int64_t count)
{
    float *got = device_get(on_device, count);

    device_check_all(what, want, got, count, TOLERANCE);
    free(got);
}

static void element_shape(int number, struct random *random)
{
    int32_t count = count_of(number, random);
    float *x = device_random_floats(random, count), *y = device_random_floats(random, count);
    float *by = DEVICE_PUT(x, count), *product = DEVICE_PUT(y, count), *sum = DEVICE_PUT(y, count);
    double *want[2] = {doubles(count), doubles(count)};
    struct error err;

    CHECK_STATUS(OK, cuda_multiply(NULL, product, by, count, &err));
    CHECK_STATUS(OK, cuda_add(NULL, sum, by, count, &err));
    for (int32_t i = 0; i < count; i++) {
        want[0][i] = (double)y[i] * (double)x[i];
        want[1][i] = (double)y[i] + (double)x[i];
    }
    check("product", want[0], product, count);
    check("sum", want[1], sum, count);
    free(x);
    free(y);
    free(want[0]);
    free(want[1]);
}

TEST(cuda_tails_of_sums_and_products_are_whole)
{
    device_for_shapes(element_shape);
}

static void adamw_shape(int number, struct random *random)
{
    const struct cuda_adamw s = {.125f, .5f, .75f, .25f, .5f, .5f, .25f, 2};
    int32_t n = count_of(number, random);
    float *from[4], *on[4];
    double *want[3] = {doubles(n), doubles(n), doubles(n)};
    struct error err;

    for (int i = 0; i < 4; i++) {
        from[i] = device_random_floats(random, n);
        for (int32_t k = 0; k < n && i == 2; k++)
            from[i][k] = fabsf(from[i][k]);
        on[i] = DEVICE_PUT(from[i], n);
    }
    CHECK_STATUS(OK, cuda_adamw(NULL, on[0], on[1], on[2], on[3], n, s, &err));
    for (int32_t k = 0; k < n; k++) {
        double g = 2 * (double)from[3][k];

        want[1][k] = .5 * (double)from[1][k] + .5 * g;
        want[2][k] = .75 * (double)from[2][k] + .25 * g * g;
        want[0][k] = (1 - .125 * .5) * (double)from[0][k] -
                     .125 / .5 * want[1][k] / (sqrt(want[2][k]) / sqrt(.25) + .25);
    }
    for (int i = 0; i < 3; i++) {
        check("adamw", want[i], on[i], n);
        free(want[i]);
    }
    for (int i = 0; i < 4; i++)
        free(from[i]);
}

TEST(cuda_tails_of_adamw_move_as_the_rest)
{
    device_for_shapes(adamw_shape);
}

/* Sizes around one part, too. */
static void squares_shape(int number, struct random *random)
{
    int64_t n = (number % 3 == 2 ? CUDA_SQUARES_PART - 3 : 0) + count_of(number, random);
    int64_t parts = cuda_squares_count(n);
    float *x = device_random_floats(random, n), *sums = device_floats(parts);
    double *want = doubles(parts);
    struct error err;

    CHECK_STATUS(OK, cuda_squares(NULL, sums, DEVICE_PUT(x, n), n, &err));
    for (int64_t i = 0; i < n; i++)
        want[i / CUDA_SQUARES_PART] += (double)x[i] * (double)x[i];
    check("squares", want, sums, parts);
    free(x);
    free(want);
}

TEST(cuda_tails_of_squares_are_counted)
{
    device_for_shapes(squares_shape);
}

/* Four neighbours may be of two rows, or of four. */
static void scale_shape(int number, struct random *random)
{
    int32_t B = number == 0 ? 0 : 1 + device_below(random, 5), V = 1 + number % 11 * (number % 4);
    int64_t count = (int64_t)B * V;
    float *scores = device_random_floats(random, count), *by = device_random_floats(random, V);
    float *on_device = DEVICE_PUT(scores, count), *got;
    double *want = doubles(count);
    struct error err;

    CHECK_STATUS(OK, cuda_next_scale(NULL, on_device, DEVICE_PUT(by, V), B, V, &err));
    got = device_get(on_device, count);
    for (int64_t i = 0; i < count; i++) {
        CHECK((i % V == 0) == (got[i] == -INFINITY));
        want[i] = (double)scores[i] * (double)by[i % V];
        if (i % V == 0)
            got[i] = (float)want[i]; /* checked above */
    }
    device_check_all("scaled", want, got, count, TOLERANCE);
    free(scores);
    free(by);
    free(got);
    free(want);
}

TEST(cuda_tails_of_next_item_scores_are_scaled)
{
    device_for_shapes(scale_shape);
}
