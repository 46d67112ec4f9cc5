/*
 * Tests what is loaded and stored 16 bytes at a time where counts are no multiples of four: the
 * last one to three floats are treated as all others, and nothing behind them is touched.
 */
#include "kernels/cuda/ops_back.h"

#include "kernels/loss.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define TOLERANCE 2e-4 /* kernels/cuda/ops_back.h */

/* 0, 1, 2, 3, ...; then more than a block. */
static int32_t count_of(int number, struct random *random)
{
    return number < 8 ? number : 1 + device_below(random, 2500);
}

static void check(const char *what, const double *want, const float *on_device, int64_t count)
{
    float *got = device_get(on_device, count);

    device_check_all(what, want, got, count, TOLERANCE);
}

static void element_shape(int number, struct random *random)
{
    int32_t count = count_of(number, random);
    float *x = device_random_floats(random, count), *y = device_random_floats(random, count);
    float *by = DEVICE_PUT(x, count), *product = DEVICE_PUT(y, count), *sum = DEVICE_PUT(y, count);
    double *want[2] = {device_doubles(count), device_doubles(count)};
    struct error err;

    CHECK_STATUS(OK, cuda_multiply(NULL, product, by, count, &err));
    CHECK_STATUS(OK, cuda_add(NULL, sum, by, count, &err));
    for (int32_t i = 0; i < count; i++) {
        want[0][i] = (double)y[i] * (double)x[i];
        want[1][i] = (double)y[i] + (double)x[i];
    }
    check("product", want[0], product, count);
    check("sum", want[1], sum, count);
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
    double *want[3] = {device_doubles(n), device_doubles(n), device_doubles(n)};
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
    for (int i = 0; i < 3; i++)
        check("adamw", want[i], on[i], n);
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
    double *want = device_doubles(parts);
    struct error err;

    CHECK_STATUS(OK, cuda_squares(NULL, sums, DEVICE_PUT(x, n), n, &err));
    for (int64_t i = 0; i < n; i++)
        want[i / CUDA_SQUARES_PART] += (double)x[i] * (double)x[i];
    check("squares", want, sums, parts);
}

TEST(cuda_tails_of_squares_are_counted)
{
    device_for_shapes(squares_shape);
}

/* ---- rows wider than what a lane keeps of them, and lists longer than what a block shows ---- */

static void wide_shape(int number, struct random *random)
{
    int32_t R = number < 2 ? number : 1 + device_below(random, 12);
    int32_t C = 16 * (1 + device_below(random, 20)), pitch = C + 16 * device_below(random, 3);
    int64_t count = (int64_t)R * C;
    float *g = device_random_floats(random, count), *n = device_random_floats(random, count);
    float *u = device_random_floats(random, (int64_t)R * pitch);
    float *rstd = device_random_floats(random, R), *dx = device_random_floats(random, count);
    float *on_g = DEVICE_PUT(g, count), *on_n = DEVICE_PUT(n, count),
          *on_rstd = DEVICE_PUT(rstd, R);
    float *on_dx = DEVICE_PUT(dx, count), *d_o = device_floats(count);
    float *du = DEVICE_PUT(u, (int64_t)R * pitch), *got;
    double *want[3] = {device_doubles(count), device_doubles(count),
                       device_doubles((int64_t)R * pitch)};
    struct error err;

    CHECK_STATUS(OK, cuda_norm_backward(NULL, on_dx, on_g, on_n, on_rstd, R, C, &err));
    CHECK_STATUS(OK, cuda_gate_backward(NULL, du, d_o, on_g, on_n, on_rstd,
                                        DEVICE_PUT(u, (int64_t)R * pitch), pitch, R, C, &err));
    for (int64_t i = 0; i < (int64_t)R * pitch; i++)
        want[2][i] = (double)u[i]; /* between rows nothing changes */
    for (int64_t r = 0; r < R; r++) {
        double sum[2] = {0, 0}, product[2] = {0, 0};

        for (int64_t c = 0; c < C; c++) {
            double of[2] = {(double)g[r * C + c], 0};

            of[1] = of[0] * (double)u[r * pitch + c];
            for (int k = 0; k < 2; k++) {
                sum[k] += of[k] / C;
                product[k] += of[k] * (double)n[r * C + c] / C;
            }
        }
        for (int64_t c = 0; c < C; c++) {
            double of = (double)g[r * C + c], by = (double)n[r * C + c], s = (double)rstd[r];

            want[0][r * C + c] = (double)dx[r * C + c] + s * (of - sum[0] - by * product[0]);
            want[1][r * C + c] = s * (of * (double)u[r * pitch + c] - sum[1] - by * product[1]);
            want[2][r * pitch + c] = of * by;
        }
    }
    check("dx", want[0], on_dx, count);
    check("d_o", want[1], d_o, count);
    got = device_get(du, (int64_t)R * pitch);
    device_check_all("du", want[2], got, (int64_t)R * pitch, TOLERANCE);
}

TEST(cuda_wide_rows_go_back_through_norm_and_gate)
{
    device_for_shapes(wide_shape);
}

static void adagrad_shape(int number, struct random *random)
{
    int32_t V = number + 1, count = number / 2, C = 16 * (1 + device_below(random, 20));
    float *w = device_random_floats(random, (int64_t)V * C);
    float *slots = device_random_floats(random, (int64_t)count * C);
    float *sums = device_random_floats(random, V), *on_w = DEVICE_PUT(w, (int64_t)V * C), *on_sums;
    double *want = device_doubles((int64_t)V * C), *want_sums = device_doubles(V);
    int32_t row_of[DEVICE_SHAPES];
    struct error err;

    for (int32_t r = 0; r < V; r++) {
        want_sums[r] = (double)(sums[r] = fabsf(sums[r]));
        for (int64_t c = 0; c < C; c++)
            want[r * C + c] = (double)w[(int64_t)r * C + c];
    }
    for (int32_t s = 0; s < count; s++) {
        double squares = 0;

        row_of[s] = V - 1 - 2 * s;
        for (int64_t c = 0; c < C; c++)
            squares += 4 * (double)slots[s * C + c] * (double)slots[s * C + c] / C;
        want_sums[row_of[s]] = .5 * want_sums[row_of[s]] + squares;
        for (int64_t c = 0; c < C; c++)
            want[row_of[s] * (int64_t)C + c] -= .25 * 2 * (double)slots[s * C + c] /
                                                (sqrt(want_sums[row_of[s]]) + .125);
    }
    on_sums = DEVICE_PUT(sums, V);
    CHECK_STATUS(OK, cuda_adagrad(NULL, on_w, on_sums, DEVICE_PUT(slots, (int64_t)count * C),
                                  DEVICE_PUT(row_of, count), count, C, 2, .25f, .5f, .125f, &err));
    check("w", want, on_w, (int64_t)V * C);
    check("accumulator", want_sums, on_sums, V);
}

TEST(cuda_wide_rows_are_moved_by_adagrad)
{
    device_for_shapes(adagrad_shape);
}

/* Three lists: of up to 300, of one, and of none. */
static void losses_shape(int number, struct random *random)
{
    const enum cuda_loss kinds[] = {CUDA_LOSS_LOGISTIC, CUDA_LOSS_HINGE, CUDA_LOSS_LAMBDA};
    int32_t m = number % 4 == 0 ? 256 : 100 + device_below(random, 200), N = m + 1;
    int32_t start[] = {0, m, N, N}, order[300];
    float *scores = device_random_floats(random, N), *label = device_room(N, sizeof *label);
    float *weight = device_random_floats(random, N), *ds = device_room(N, sizeof *ds);
    float *loss = device_floats(3), *on_ds, *got_loss, *got;
    struct loss_list list = {.scores = scores, .labels = label, .m = m};
    double lost;
    struct cuda_lists lists = {.B = 3};
    struct error err;

    for (int32_t i = 0; i < N; i++) {
        label[i] = (float)device_below(random, 3);
        weight[i] = fabsf(weight[i]);
    }
    lists.start = DEVICE_PUT(start, 4);
    lists.scores = DEVICE_PUT(scores, N);
    lists.label = DEVICE_PUT(label, N);
    if (number % 2 == 0) {
        list.weight = weight;
        lists.weight = DEVICE_PUT(weight, N);
    }
    on_ds = DEVICE_PUT(ds, N);
    CHECK_STATUS(
        OK, cuda_loss(NULL, kinds[number % 3], loss, on_ds, lists, .5f, device_floats(N), &err));
    lost = number % 3 == 0   ? loss_pair_logistic(ds, &list, .5)
           : number % 3 == 1 ? loss_pair_hinge(ds, &list, .5)
                             : loss_lambda(ds, &list, .5, order);
    got_loss = device_get(loss, 3);
    CHECK_NEAR(lost, got_loss[0], TOLERANCE * (1 + lost));
    CHECK(got_loss[1] == 0 && got_loss[2] == 0);
    got = device_get(on_ds, N);
    for (int32_t i = 0; i < N; i++)
        if (!(fabs((double)ds[i] - (double)got[i]) <= TOLERANCE * (.01 + fabs((double)ds[i]))))
            test_fail(__FILE__, __LINE__, "ds[%d]: want %.9g, got %.9g", (int)i, (double)ds[i],
                      (double)got[i]);
}

TEST(cuda_tails_of_losses_are_looked_at_in_turns)
{
    device_for_some_shapes(6, losses_shape);
}
