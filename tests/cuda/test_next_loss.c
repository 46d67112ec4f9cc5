/*
 * Tests kernels/cuda/next_loss.cu: the loss of next items and all its gradients against the formula
 * of kernels/next.h, written down in double.
 *
 * Among the rows are some of zeros and some of length 1e-6, where the 1e-12 of the length counts:
 * their slopes are a million times as large. So a gradient is compared with the largest that its
 * row's length allows, scale / tau / length.
 */
#include "kernels/cuda/ops_back.h"

#include "kernels/trainer.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of 1 + |ref|, of a gradient 1 + the largest there may be. 5e-6 is the most that is seen: with a
 * tau of 1/100 a logit of 100 has 24 bits, and its share of a gradient is as wrong as they are. */
#define TOLERANCE 2e-5
#define BLOCK     128 /* threads of a block in next_loss.cu */

/* Sets of positions; rows of x and of emb are numbers below X and V. */
struct shape {
    int32_t k, S, K, C, X, V;
    float inverse_tau, scale;
    float *emb, *x, *target_bias, *negatives_bias;
    int32_t *row, *target, *set, *set_start, *negatives;
};

struct want {
    double *loss, *dx, *d_target, *d_negative, *unit, *share;
};

/* ---- the formula ---- */

static double inverse_length(const float *x, int32_t C)
{
    double squares = 1e-12;

    for (int32_t c = 0; c < C; c++)
        squares += (double)x[c] * (double)x[c];
    return 1 / sqrt(squares);
}

static double cosine(const float *x, const float *y, int32_t C)
{
    double dot = 0;

    for (int32_t c = 0; c < C; c++)
        dot += (double)x[c] * (double)y[c];
    return dot * inverse_length(x, C) * inverse_length(y, C);
}

/* to += by * the slope of cosine(x, y) by x. */
static void add_slope(double *to, double by, const float *x, const float *y, int32_t C)
{
    double of_x = inverse_length(x, C), of_y = inverse_length(y, C), along = cosine(x, y, C);

    for (int32_t c = 0; c < C; c++)
        to[c] += by * of_x * ((double)y[c] * of_y - along * (double)x[c] * of_x);
}

static void position_back(const struct want *want, const struct shape *s, int32_t p, double own,
                          const double *e)
{
    int64_t C = s->C, first = (int64_t)s->set[p] * s->K;
    const float *x = s->x + s->row[p] * C, *target = s->emb + s->target[p] * C;
    double total = own, step = (double)s->scale * (double)s->inverse_tau;

    for (int32_t k = 0; k < s->K; k++)
        total += e[k];
    add_slope(want->dx + s->row[p] * C, (own / total - 1) * step, x, target, s->C);
    add_slope(want->d_target + p * C, (own / total - 1) * step, target, x, s->C);
    for (int32_t k = 0; k < s->K; k++) {
        const float *item = s->emb + s->negatives[first + k] * C;
        double by = e[k] / total * step;

        want->share[(int64_t)p * s->K + k] = by;
        add_slope(want->dx + s->row[p] * C, by, x, item, s->C);
        add_slope(want->d_negative + (first + k) * C, by, item, x, s->C);
    }
    for (int32_t c = 0; c < s->C; c++)
        want->unit[p * C + c] = (double)x[c] * inverse_length(x, s->C);
}

/* Of all positions; back: gradients, too. */
static void formula(const struct want *want, const struct shape *s, bool back)
{
    double *e = device_doubles(s->K);

    for (int32_t p = 0; p < s->k; p++) {
        int64_t C = s->C, first = (int64_t)s->set[p] * s->K;
        const float *x = s->x + s->row[p] * C;
        double own = cosine(x, s->emb + s->target[p] * C, s->C) * (double)s->inverse_tau +
                     (double)s->target_bias[p];
        double others = 0;

        for (int32_t k = 0; k < s->K; k++) {
            int32_t item = s->negatives[first + k];

            e[k] = item == s->target[p]
                       ? 0
                       : exp(cosine(x, s->emb + item * C, s->C) * (double)s->inverse_tau +
                             (double)s->negatives_bias[first + k]);
            others += e[k];
        }
        want->loss[p] = -own + log(exp(own) + others);
        if (back)
            position_back(want, s, p, exp(own), e);
    }
}

/* ---- shapes ---- */

/* Positions of sets in order; some sets have none. */
static void cut_sets(struct shape *s, struct random *random)
{
    int32_t set = 0;

    s->set = device_room(s->k, sizeof *s->set);
    s->set_start = device_room(s->S + 1, sizeof *s->set_start);
    for (int32_t p = 0; p < s->k; p++) {
        set += device_below(random, 3) == 0 ? device_below(random, 3) : 0;
        set = set < s->S ? set : s->S - 1;
        s->set[p] = set;
        for (int32_t behind = set + 1; behind <= s->S; behind++)
            s->set_start[behind]++;
    }
}

/* Of lengths from a fortieth to forty, some of none, and some of next to none. */
static float *make_rows(int32_t rows, int32_t C, struct random *random)
{
    float *made = device_random_floats(random, (int64_t)rows * C);

    for (int64_t r = 0; r < rows; r++) {
        int32_t kind = device_below(random, 16);
        float by = kind < 2 ? 0 : kind == 2 ? 1e-6f : ldexpf(1, kind / 2 - 4);

        for (int32_t c = 0; c < C; c++)
            made[r * C + c] *= by / sqrtf((float)C);
    }
    return made;
}

/* Half of the states lie along their target or one of their negatives, or against it: logits of
 * 1 / tau, and of - 1 / tau. */
static void lay_along_items(const struct shape *s, struct random *random)
{
    for (int32_t p = 0; p < s->k; p++) {
        bool at_target = s->K == 0 || device_below(random, 2) == 0;
        int64_t drawn = (int64_t)s->set[p] * s->K + (s->K > 0 ? device_below(random, s->K) : 0);
        int64_t item = at_target ? s->target[p] : s->negatives[drawn];
        float by = device_below(random, 3) == 0 ? -.75f : .75f;

        for (int64_t c = 0; c < s->C && p % 2 == 0; c++)
            s->x[(int64_t)s->row[p] * s->C + c] = by * s->emb[item * s->C + c];
    }
}

/* Numbers of rows: each once where learning, else any. */
static int32_t *make_numbers(int32_t k, int32_t X, bool learning, struct random *random)
{
    int32_t *numbers = device_random_ints(random, k, 0, X), first = device_below(random, X);

    for (int32_t p = 0; p < k && learning; p++)
        numbers[p] = X - 1 - (first + p) % X;
    return numbers;
}

static float *make_biases(int number, int64_t count, struct random *random)
{
    float *biases = device_random_floats(random, count);

    for (int64_t i = 0; i < count; i++)
        biases[i] = number % 2 == 0 ? 0 : 6 + 6 * biases[i];
    return biases;
}

/* k, S, K and C are there. Few items, so that some are drawn twice, or are somebody's target. */
static void fill_shape(struct shape *s, int number, bool learning, struct random *random)
{
    const float taus[] = {20, 1, 100};

    s->X = s->k + 3;
    s->V = 2 + device_below(random, 2 + s->K);
    s->inverse_tau = taus[number % 3];
    s->scale = number % 5 < 3 ? .375f : -.25f;
    s->emb = make_rows(s->V, s->C, random);
    s->x = make_rows(s->X, s->C, random);
    s->row = make_numbers(s->k, s->X, learning, random);
    s->target = device_random_ints(random, s->k, 1, s->V);
    s->negatives = device_random_ints(random, (int64_t)s->S * s->K, 0, s->V);
    s->target_bias = make_biases(number, s->k, random);
    s->negatives_bias = make_biases(number, (int64_t)s->S * s->K, random);
    cut_sets(s, random);
    lay_along_items(s, random);
}

static struct cuda_next on_device(const struct shape *s)
{
    int64_t drawn = (int64_t)s->S * s->K;

    return (struct cuda_next){.k = s->k,
                              .S = s->S,
                              .K = s->K,
                              .C = s->C,
                              .inverse_tau = s->inverse_tau,
                              .scale = s->scale,
                              .emb = DEVICE_PUT(s->emb, (int64_t)s->V * s->C),
                              .x = DEVICE_PUT(s->x, (int64_t)s->X * s->C),
                              .row = DEVICE_PUT(s->row, s->k),
                              .target = DEVICE_PUT(s->target, s->k),
                              .set = DEVICE_PUT(s->set, s->k),
                              .set_start = DEVICE_PUT(s->set_start, s->S + 1),
                              .negatives = DEVICE_PUT(s->negatives, drawn),
                              .target_bias = DEVICE_PUT(s->target_bias, s->k),
                              .negatives_bias = DEVICE_PUT(s->negatives_bias, drawn)};
}

/* ---- the comparison ---- */

static float *unset(int64_t count)
{
    return DEVICE_PUT(device_nans(count), count);
}

/* Rows of C, each the gradient of a row of from: number[i], or i. */
static void check_rows(const char *what, const double *want, const float *on_rows, int32_t count,
                       const struct shape *s, const float *from, const int32_t *number)
{
    float *got = device_get(on_rows, (int64_t)count * s->C);

    for (int64_t i = 0; i < count; i++) {
        int64_t r = number == NULL ? i : number[i];
        double step = fabs((double)s->scale) * (double)s->inverse_tau;
        double bound = TOLERANCE * (1 + step * inverse_length(from + r * s->C, s->C));

        for (int64_t c = i * s->C; c < (i + 1) * s->C; c++)
            if (!(fabs(want[c] - (double)got[c]) <= bound))
                test_fail(__FILE__, __LINE__, "%s[%lld]: want %.9g, got %.9g", what, (long long)c,
                          want[c], (double)got[c]);
    }
}

static void check_learning(const struct shape *s, const struct want *want, struct random *random)
{
    int64_t of_x = (int64_t)s->X * s->C, of_k = (int64_t)s->k * s->C, shares = (int64_t)s->k * s->K;
    float *held = device_random_floats(random, of_x), *dx = DEVICE_PUT(held, of_x);
    float *loss = unset(s->k), *d_target = unset(of_k), *unit = unset(of_k), *share = unset(shares);
    float *d_negative = unset((int64_t)s->S * s->K * s->C);
    struct cuda_next next = on_device(s);
    struct error err;

    CHECK_STATUS(OK, cuda_next_loss(NULL, loss, dx, d_target, unit, share, next, &err));
    CHECK_STATUS(OK, cuda_next_negatives(NULL, d_negative, unit, share, next, &err));
    formula(want, s, true);
    for (int64_t i = 0; i < of_x; i++)
        want->dx[i] += (double)held[i];
    device_check_all("loss", want->loss, device_get(loss, s->k), s->k, TOLERANCE);
    device_check_all("unit", want->unit, device_get(unit, of_k), of_k, TOLERANCE);
    device_check_all("share", want->share, device_get(share, shares), shares, TOLERANCE);
    check_rows("dx", want->dx, dx, s->X, s, s->x, NULL);
    check_rows("d_target", want->d_target, d_target, s->k, s, s->emb, s->target);
    check_rows("d_negative", want->d_negative, d_negative, s->S * s->K, s, s->emb, s->negatives);
}

static void check_loss_alone(const struct shape *s, const struct want *want)
{
    float *loss = unset(s->k);
    struct error err;

    CHECK_STATUS(OK, cuda_next_loss(NULL, loss, NULL, NULL, NULL, NULL, on_device(s), &err));
    formula(want, s, false);
    device_check_all("loss", want->loss, device_get(loss, s->k), s->k, TOLERANCE);
}

static void check(const struct shape *s, bool learning, struct random *random)
{
    struct want want = {.loss = device_doubles(s->k),
                        .dx = device_doubles((int64_t)s->X * s->C),
                        .d_target = device_doubles((int64_t)s->k * s->C),
                        .d_negative = device_doubles((int64_t)s->S * s->K * s->C),
                        .unit = device_doubles((int64_t)s->k * s->C),
                        .share = device_doubles((int64_t)s->k * s->K)};

    if (learning)
        check_learning(s, &want, random);
    else
        check_loss_alone(s, &want);
}

static void next_shape(int number, struct random *random)
{
    const int32_t negatives[] = {3, 1, 0, 2, 33, BLOCK + 1, 7, BLOCK, 1, 200, 31};
    const int32_t channels[] = {16, 4, 12, 48, 132, 260, 508, 516, 1024};
    struct shape s = {.k = device_size(number, random, 12),
                      .S = number == 0 ? 0 : 1 + device_below(random, 5),
                      .K = negatives[number % 11],
                      .C = channels[number % 9]};
    bool learning = number % 4 != 3;

    if (number == 4) /* sets without any position */
        s.k = 0;
    if (number == 10)
        s.k = 60;
    fill_shape(&s, number, learning, random);
    check(&s, learning, random);
}

TEST(cuda_next_loss_is_that_of_its_formula_and_so_are_its_gradients)
{
    device_for_shapes(next_shape);
}

/* All of the memory that a block may ask for. */
static void largest_shape(int number, struct random *random)
{
    struct shape s = {.k = 1, .S = 1, .K = TRAINER_NEGATIVES_MAX, .C = MODEL_CHANNELS_MAX};

    fill_shape(&s, number, false, random);
    check(&s, false, random);
}

TEST(cuda_next_loss_takes_as_many_negatives_and_channels_as_there_may_be)
{
    device_for_some_shapes(1, largest_shape);
}
