/*
 * Tests the end of a training step: sums of columns and of squares, what is added and multiplied
 * element by element, the optimizers. Each kernel against its formula, written out here in double,
 * on 24 shapes with none, one and numbers that divide nothing.
 *
 * What is loaded and stored 16 bytes at a time ends in one to three floats where a count is no
 * multiple of four: they are treated as all others, and nothing behind them is touched.
 *
 * Tolerances, of 1 + |want|: FEW where a number is made of a handful of roundings, each 6e-8 of
 * numbers not far from 1; SUM where it is a sum of hundreds, whose roundings add up as many steps
 * of a random walk.
 */
#include "kernels/cuda/ops_back.h"

#include "tests/cuda/device.h"
#include "tests/cuda/halves.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define FEW 1e-6
#define SUM 1e-5

/* 0, 1, 2, 3, ...; then more than a block. */
static int32_t count_of(int number, struct random *random)
{
    return number < 8 ? number : 1 + device_below(random, 2500);
}

static void check(const char *what, const double *want, const float *on_device, int64_t count,
                  double tolerance)
{
    device_check_all(what, want, device_get(on_device, count), count, tolerance);
}

/* 0 is among them. */
static float *sizes(struct random *random, int64_t count)
{
    float *floats = device_random_floats(random, count);

    for (int64_t i = 0; i < count; i++)
        floats[i] = device_below(random, 6) == 0 ? 0.0f : fabsf(floats[i]);
    return floats;
}

/* ---- element by element ---- */

static void element_shape(int number, struct random *random)
{
    int32_t count = count_of(number, random), fours = count / 4 * 4;
    float *x = device_random_floats(random, count), *y = device_random_floats(random, count);
    float *by = DEVICE_PUT(x, count), *product = DEVICE_PUT(y, count), *sum = DEVICE_PUT(y, count);
    float *rounded = DEVICE_PUT(y, count);
    uint16_t *half = halves_room(fours);
    double *want[2] = {device_doubles(count), device_doubles(count)};
    struct error err;

    CHECK_STATUS(OK, cuda_multiply(NULL, product, by, count, &err));
    CHECK_STATUS(OK, cuda_add(NULL, sum, by, count, &err));
    CHECK_STATUS(OK, cuda_multiply_half(NULL, half, rounded, by, fours, &err));
    for (int32_t i = 0; i < count; i++) {
        want[0][i] = (double)y[i] * (double)x[i];
        want[1][i] = (double)y[i] + (double)x[i];
    }
    check("product", want[0], product, count, FEW);
    check("sum", want[1], sum, count, FEW);
    check("product beside bf16", want[0], rounded, fours, FEW);
    halves_check_rounded("product", device_get(rounded, fours), half, fours);
}

TEST(cuda_updates_add_and_multiply_every_element)
{
    device_for_shapes(element_shape);
}

/* ---- sums ---- */

/* One launch, two, and the numbers between which that changes. Rows lie apart, with NaN between
 * them, and every third matrix begins behind a float: then nothing is 16-byte aligned. */
static void columns_shape(int number, struct random *random)
{
    const int32_t odd[] = {0, 1, CUDA_SUMS_ROWS, CUDA_SUMS_ROWS + 1, 2 * CUDA_SUMS_ROWS};
    int32_t R = number < 5 ? odd[number] : number % 2 * CUDA_SUMS_ROWS + device_below(random, 700);
    int32_t N = number == 5 ? 0 : 1 + device_below(random, 70);
    int32_t pitch = N + device_below(random, 5), behind = number % 3 == 0;
    int64_t count = (int64_t)R * pitch + behind;
    float *x = device_random_floats(random, count), *on_device;
    float *out = device_floats(N);
    float *scratch = R <= CUDA_SUMS_ROWS ? NULL : device_floats(cuda_sums_floats(R, N));
    double *want = device_doubles(N);
    struct error err;

    for (int64_t i = behind; i < count; i++)
        if ((i - behind) % pitch >= N)
            x[i] = NAN;
    for (int64_t r = 0; r < R; r++)
        for (int32_t c = 0; c < N; c++)
            want[c] += (double)x[behind + r * pitch + c];
    on_device = DEVICE_PUT(x, count);
    CHECK_STATUS(OK, cuda_column_sums(NULL, out, on_device == NULL ? NULL : on_device + behind,
                                      pitch, R, N, scratch, &err));
    check("sums", want, out, N, 2 * SUM);
}

TEST(cuda_updates_sum_columns_in_one_launch_and_in_two)
{
    device_for_shapes(columns_shape);
}

/* Sizes around one part, too. What is no number shows in its own part alone. */
static void squares_shape(int number, struct random *random)
{
    int64_t n = (number % 3 == 2 ? CUDA_SQUARES_PART - 3 : 0) + count_of(number, random);
    int64_t parts = cuda_squares_count(n), odd = -1;
    float *x = device_random_floats(random, n), *sums = device_floats(parts), *got;
    double *want = device_doubles(parts);
    struct error err;

    if (n > 0 && number % 4 == 3) {
        odd = device_below(random, (int32_t)n);
        x[odd] = number % 8 == 3 ? NAN : -INFINITY;
    }
    CHECK_STATUS(OK, cuda_squares(NULL, sums, DEVICE_PUT(x, n), n, &err));
    for (int64_t i = 0; i < n; i++)
        want[i / CUDA_SQUARES_PART] += (double)x[i] * (double)x[i];
    got = device_get(sums, parts);
    for (int64_t i = 0; i < parts; i++)
        if (odd >= 0 && i == odd / CUDA_SQUARES_PART)
            CHECK(number % 8 == 3 ? isnan(got[i]) : got[i] == INFINITY);
        else
            CHECK_NEAR(want[i], (double)got[i], SUM * want[i]);
}

TEST(cuda_updates_count_every_square)
{
    device_for_shapes(squares_shape);
}

/* ---- AdamW ---- */

/* One shape's settings: large ones, so that each is seen in what moves, or those of a run. */
static struct cuda_adamw settings_of(int number, struct random *random)
{
    struct cuda_adamw s = {.rate = 1e-3f,
                           .beta1 = .9f,
                           .beta2 = .999f,
                           .epsilon = 1e-8f,
                           .decay = .01f,
                           .c1 = .1f,
                           .c2 = .001f,
                           .scale = 1};

    if (number % 4 == 3)
        return s;
    s.rate = .05f + .2f * (float)random_unit(random);
    s.beta1 = (float)random_unit(random);
    s.beta2 = (float)random_unit(random);
    s.epsilon = .05f + .2f * (float)random_unit(random);
    s.decay = (float)random_unit(random);
    s.c1 = .1f + .9f * (float)random_unit(random);
    s.c2 = .1f + .9f * (float)random_unit(random);
    s.scale = 2 * (float)random_unit(random);
    return s;
}

struct moved {
    double w, m, v;
};

static struct moved adamw_of(struct moved from, double gradient, const struct cuda_adamw *s)
{
    double g = (double)s->scale * gradient, rate = (double)s->rate;
    double beta1 = (double)s->beta1, beta2 = (double)s->beta2;
    struct moved to = {.m = beta1 * from.m + (1 - beta1) * g,
                       .v = beta2 * from.v + (1 - beta2) * g * g};

    to.w = from.w -
           rate * (to.m / (double)s->c1 / (sqrt(to.v / (double)s->c2) + (double)s->epsilon) +
                   (double)s->decay * from.w);
    return to;
}

/* w, m and v of n floats: on the host, on the device, and as they should be. m and v may be 0. */
struct moments {
    float *from[3], *on[3];
    double *want[3];
    int64_t n;
};

static struct moments some_moments(struct random *random, int64_t n)
{
    struct moments a = {.n = n};

    for (int i = 0; i < 3; i++) {
        a.from[i] = i == 2 ? sizes(random, n) : device_random_floats(random, n);
        a.want[i] = device_doubles(n);
    }
    for (int64_t k = 0; k < n; k++)
        if (a.from[2][k] == 0)
            a.from[1][k] = 0; /* as moments are: no first one without a second */
    for (int i = 0; i < 3; i++)
        a.on[i] = DEVICE_PUT(a.from[i], n);
    return a;
}

static void move(const struct moments *a, int64_t k, double gradient, const struct cuda_adamw *s)
{
    struct moved to = adamw_of(
        (struct moved){(double)a->from[0][k], (double)a->from[1][k], (double)a->from[2][k]},
        gradient, s);

    a->want[0][k] = to.w;
    a->want[1][k] = to.m;
    a->want[2][k] = to.v;
}

/* A step is as large as m / sqrt(v), times the rate: what is rounded are numbers of its size. */
static void check_moments(const struct moments *a)
{
    check("w", a->want[0], a->on[0], a->n, 4 * FEW);
    check("m", a->want[1], a->on[1], a->n, FEW);
    check("v", a->want[2], a->on[2], a->n, FEW);
}

static void adamw_shape(int number, struct random *random)
{
    struct cuda_adamw s = settings_of(number, random);
    int32_t n = count_of(number, random);
    struct moments a = some_moments(random, n);
    float *gradient = device_random_floats(random, n);
    struct error err;

    for (int32_t k = 0; k < n; k++) {
        if (device_below(random, 3) == 0)
            gradient[k] = 0; /* where the moments are 0, too, w decays and that is all */
        move(&a, k, (double)gradient[k], &s);
    }
    CHECK_STATUS(OK,
                 cuda_adamw(NULL, a.on[0], a.on[1], a.on[2], DEVICE_PUT(gradient, n), n, s, &err));
    check_moments(&a);
}

TEST(cuda_updates_of_adamw_are_its_formula)
{
    device_for_shapes(adamw_shape);
}

/* Rows with a gradient and without, whatever the number below 0 that says so; all with and none
 * with; one slot of two rows. Slots that nobody names hold NaN. */
static void adamw_rows_shape(int number, struct random *random)
{
    const int32_t none[] = {-1, -2, INT32_MIN};
    struct cuda_adamw s = settings_of(number, random);
    int32_t V = device_size(number, random, 40), C = 4 * (1 + device_below(random, 40));
    int32_t slots = number % 5 == 2 ? 0 : 1 + device_below(random, 20), chance = number % 5 == 3;
    struct moments a = some_moments(random, (int64_t)V * C);
    float *gradient = device_nans((int64_t)slots * C);
    int32_t *slot_of = device_room(V, sizeof *slot_of);
    struct error err;

    for (int64_t r = 0; r < V; r++) {
        slot_of[r] = none[device_below(random, 3)];
        if (slots > 0 && (chance || device_below(random, 2) == 0))
            slot_of[r] = device_below(random, slots);
        for (int32_t c = 0; c < C && slot_of[r] >= 0; c++)
            gradient[(int64_t)slot_of[r] * C + c] = (float)(2 * random_unit(random) - 1);
    }
    for (int64_t i = 0; i < a.n; i++) {
        int64_t slot = slot_of[i / C];

        move(&a, i, slot < 0 ? 0 : (double)gradient[slot * C + i % C], &s);
    }
    CHECK_STATUS(OK, cuda_adamw_rows(NULL, a.on[0], a.on[1], a.on[2],
                                     DEVICE_PUT(gradient, (int64_t)slots * C),
                                     DEVICE_PUT(slot_of, V), V, C, s, &err));
    check_moments(&a);
}

TEST(cuda_updates_of_adamw_move_rows_without_a_gradient_too)
{
    device_for_shapes(adamw_rows_shape);
}

/* ---- Adagrad ---- */

/* Rows that are not named stay as they are; one of zeros, whose accumulator is 0, too, stays where
 * it is. */
static void adagrad_shape(int number, struct random *random)
{
    int32_t count = device_size(number, random, 30), V = count + device_below(random, 10);
    int32_t C = 16 * (1 + device_below(random, 20)),
            *row_of = device_distinct_ints(random, count, V);
    float scale = 2 * (float)random_unit(random), rate = .3f * (float)random_unit(random);
    float forget = (float)random_unit(random), epsilon = number % 2 == 0 ? .125f : 1e-6f;
    float *w = device_random_floats(random, (int64_t)V * C), *sums = sizes(random, V);
    float *slots = device_random_floats(random, (int64_t)count * C), *on_sums;
    float *on_w = DEVICE_PUT(w, (int64_t)V * C);
    double *want = device_doubles((int64_t)V * C), *want_sums = device_doubles(V);
    struct error err;

    for (int32_t s = 0; s < count; s += 7) {
        sums[row_of[s]] = 0;
        for (int64_t c = 0; c < C; c++)
            slots[(int64_t)s * C + c] = 0;
    }
    for (int64_t i = 0; i < (int64_t)V * C; i++)
        want[i] = (double)w[i];
    for (int32_t r = 0; r < V; r++)
        want_sums[r] = (double)sums[r];
    for (int64_t s = 0; s < count; s++) {
        double *sum = &want_sums[row_of[s]];

        *sum *= (double)forget;
        for (int32_t c = 0; c < C; c++)
            *sum += pow((double)scale * (double)slots[s * C + c], 2) / C;
        for (int32_t c = 0; c < C; c++)
            want[(int64_t)row_of[s] * C + c] -= (double)rate * (double)scale *
                                                (double)slots[s * C + c] /
                                                (sqrt(*sum) + (double)epsilon);
    }
    on_sums = DEVICE_PUT(sums, V);
    CHECK_STATUS(OK, cuda_adagrad(NULL, on_w, on_sums, DEVICE_PUT(slots, (int64_t)count * C),
                                  DEVICE_PUT(row_of, count), count, C, scale, rate, forget, epsilon,
                                  &err));
    check("w", want, on_w, (int64_t)V * C, 4 * FEW);
    check("accumulator", want_sums, on_sums, V, 4 * FEW);
}

TEST(cuda_updates_of_adagrad_are_its_formula)
{
    device_for_shapes(adagrad_shape);
}
