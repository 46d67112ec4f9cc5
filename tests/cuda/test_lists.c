/*
 * Tests kernels/cuda/loss.cu: losses of lists and the bias of positions against the formulas of
 * kernels/loss.h, written down in double.
 *
 * Scores are quarters in half of the shapes, so that some are equal, margins are exactly 1 and no
 * loss of a row is as large as clip: what f32 decides is then what double decides.
 */
#include "kernels/cuda/ops_back.h"

#include "schemas/batch.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of 1 + |ref|; 7e-7 is the most that is seen of sums of 300 terms, slopes times 76. A probability
 * is e^(s - ln of the sum): at scores of 100 half a bit of that difference is 4e-6 of it, and
 * slopes of softmax and distil are off by up to 4e-5. */
#define TOLERANCE         3e-6
#define TOLERANCE_ENTROPY 1e-4
#define BLOCK             128 /* threads of a block in loss.cu */
#define LISTS_MAX         8

struct lists {
    int32_t B, N, start[LISTS_MAX + 1];
    float *scores, *label, *weight, *teacher; /* (N); the last two may be NULL */
    double clip, scale;
};

/* One of them, and what is wanted of it. */
struct list {
    int32_t m;
    const float *scores, *label, *weight, *teacher;
    double clip;
};

/* ---- the formulas ---- */

static double weight_of(const struct list *l, int32_t i)
{
    return l->weight == NULL ? 1 : (double)l->weight[i];
}

static double sigmoid(double s)
{
    return 1 / (1 + exp(-s));
}

static double point(double *slope, const struct list *l)
{
    double loss = 0;

    for (int32_t i = 0; i < l->m; i++) {
        double s = (double)l->scores[i], y = fmin((double)l->label[i], 1), w = weight_of(l, i);
        double lost = -(y * log(sigmoid(s)) + (1 - y) * log(sigmoid(-s)));

        if (l->clip > 0 && lost > l->clip) {
            loss += w * l->clip;
            continue;
        }
        loss += w * lost;
        slope[i] = w * (sigmoid(s) - y);
    }
    return loss;
}

static double pairs(double *slope, const struct list *l, bool hinge)
{
    double loss = 0, total = 0;

    for (int32_t i = 0; i < l->m; i++)
        for (int32_t j = 0; j < l->m; j++)
            total += l->label[i] > l->label[j] ? weight_of(l, i) * weight_of(l, j) : 0;
    for (int32_t i = 0; i < l->m && total > 0; i++) {
        for (int32_t j = 0; j < l->m; j++) {
            double margin = (double)l->scores[i] - (double)l->scores[j];
            double w = weight_of(l, i) * weight_of(l, j) / total, by;

            if (!(l->label[i] > l->label[j]))
                continue;
            loss += w * (hinge ? fmax(0, 1 - margin) : log1p(exp(-margin)));
            by = hinge ? (margin < 1 ? -1 : 0) : -sigmoid(-margin);
            slope[i] += w * by;
            slope[j] -= w * by;
        }
    }
    return loss;
}

static double logistic(double *slope, const struct list *l)
{
    return pairs(slope, l, false);
}

static double hinge(double *slope, const struct list *l)
{
    return pairs(slope, l, true);
}

/* -sum of want * ln softmax(scores); want sums to 1. */
static double entropy(double *slope, const struct list *l, const double *want)
{
    double total = 0, loss = 0;

    for (int32_t i = 0; i < l->m; i++)
        total += exp((double)l->scores[i]);
    for (int32_t i = 0; i < l->m; i++) {
        double p = exp((double)l->scores[i]) / total;

        loss -= want[i] * log(p);
        slope[i] = p - want[i];
    }
    return loss;
}

static double softmax(double *slope, const struct list *l)
{
    double *want = device_doubles(l->m), total = 0, loss;

    for (int32_t i = 0; i < l->m; i++)
        total += weight_of(l, i) * (double)l->label[i];
    if (!(total > 0))
        return 0;
    for (int32_t i = 0; i < l->m; i++)
        want[i] = weight_of(l, i) * (double)l->label[i] / total;
    loss = entropy(slope, l, want);
    if (!(l->clip > 0 && loss > l->clip))
        return loss;
    memset(slope, 0, (size_t)l->m * sizeof *slope);
    return l->clip;
}

static double distil(double *slope, const struct list *l)
{
    double *want = device_doubles(l->m), total = 0;

    for (int32_t i = 0; i < l->m; i++)
        total += exp((double)l->teacher[i]);
    for (int32_t i = 0; i < l->m; i++)
        want[i] = exp((double)l->teacher[i]) / total;
    return entropy(slope, l, want);
}

static double gain(double label)
{
    return pow(2, label) - 1;
}

/* What a row of that label adds to a DCG where so many stand before it. */
static double counted(double label, int32_t before)
{
    return gain(label) / (log(before + 2) / log(2));
}

/* How many stand before i: larger keys, and of equal ones the first. */
static int32_t before(const float *keys, int32_t m, int32_t i)
{
    int32_t count = 0;

    for (int32_t j = 0; j < m; j++)
        count += keys[j] > keys[i] || (keys[j] == keys[i] && j < i);
    return count;
}

static double lambda(double *slope, const struct list *l)
{
    int32_t *place = device_room(l->m, sizeof *place);
    double ideal = 0, loss = 0;

    for (int32_t i = 0; i < l->m; i++) {
        place[i] = before(l->scores, l->m, i);
        ideal += counted((double)l->label[i], before(l->label, l->m, i));
    }
    for (int32_t i = 0; i < l->m; i++) {
        for (int32_t j = 0; j < l->m; j++) {
            double yi = (double)l->label[i], yj = (double)l->label[j], change;
            double margin = (double)l->scores[i] - (double)l->scores[j];

            if (!(yi > yj))
                continue;
            change = counted(yi, place[i]) + counted(yj, place[j]) - counted(yi, place[j]) -
                     counted(yj, place[i]);
            change = fabs(change) / ideal * weight_of(l, i) * weight_of(l, j);
            loss += change * log1p(exp(-margin));
            slope[i] -= change * sigmoid(-margin);
            slope[j] += change * sigmoid(-margin);
        }
    }
    return loss;
}

/* ---- shapes ---- */

static int32_t length_of(int number, int32_t b, int32_t B, struct random *random)
{
    const int32_t lengths[] = {BLOCK, BLOCK + 1, 2 * BLOCK, 300, BLOCK - 1, 2 * BLOCK + 3};

    if (number == 3) /* nothing but lists of none */
        return 0;
    if (number % 4 == 2 && b == B / 2)
        return lengths[number / 4];
    return number < 2 || device_below(random, 2) == 0 ? 1 + device_below(random, 40)
                                                      : device_below(random, 3);
}

/* Large ones of few rows, and in some shapes of all: a softmax has to be relative to a list's own.
 */
static float *make_scores(int number, int32_t N, struct random *random)
{
    float *scores = device_random_floats(random, N);

    for (int32_t i = 0; i < N; i++) {
        scores[i] = number % 2 == 0 ? (float)(device_below(random, 17) - 8) / 4 : 3 * scores[i];
        if (number % 3 == 1 && device_below(random, 4) == 0)
            scores[i] = device_below(random, 2) == 0 ? 100 : -100; /* e^100 is no float */
        if (number % 6 == 5)
            scores[i] -= 200;
    }
    return scores;
}

/* Every fourth list has labels of 0, and every fourth the same ones, or no weight. */
static void fill_list(struct lists *lists, int32_t b, struct random *random)
{
    int32_t of_labels = device_below(random, 4), of_weights = device_below(random, 4);

    for (int32_t i = lists->start[b]; i < lists->start[b + 1]; i++) {
        lists->label[i] = of_labels < 2 ? (float)of_labels : .5f * (float)device_below(random, 6);
        if (lists->weight != NULL && (of_weights == 0 || device_below(random, 4) == 0))
            lists->weight[i] = 0;
    }
}

static void make_lists(struct lists *lists, int number, struct random *random)
{
    int32_t longest = 0;

    *lists = (struct lists){.B = number < 2 ? number : 2 + device_below(random, LISTS_MAX - 1)};
    for (int32_t b = 0; b < lists->B; b++) {
        int32_t m = length_of(number, b, lists->B, random);

        lists->start[b + 1] = lists->start[b] + m;
        longest = m > longest ? m : longest;
    }
    lists->N = lists->start[lists->B];
    lists->scores = make_scores(number, lists->N, random);
    lists->label = device_random_floats(random, lists->N);
    if (number % 4 > 1) {
        lists->weight = device_random_floats(random, lists->N);
        for (int32_t i = 0; i < lists->N; i++)
            lists->weight[i] = fabsf(lists->weight[i]);
    }
    if (number % 8 != 0)
        lists->teacher = make_scores(number + 1, lists->N, random);
    for (int32_t b = 0; b < lists->B; b++)
        fill_list(lists, b, random);
    lists->clip = number % 5 < 2 ? 0 : 1.125; /* softplus of a quarter is none */
    /* A list's slopes are of 1 / m, and are to count beside the 1 of the tolerance. */
    lists->scale = (number % 6 < 3 ? .25 : -.25) * (4 + longest);
}

/* ---- the comparison ---- */

struct kind {
    const char *name;
    enum cuda_loss kind;
    double (*of)(double *slope, const struct list *list);
    double tolerance;
};

static void run_kind(float **loss, float **ds, const struct kind *kind, const struct lists *lists,
                     const float *held)
{
    const float unset[LISTS_MAX] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    struct cuda_lists on_device = {.B = lists->B,
                                   .start = DEVICE_PUT(lists->start, lists->B + 1),
                                   .scores = DEVICE_PUT(lists->scores, lists->N),
                                   .label = DEVICE_PUT(lists->label, lists->N),
                                   .clip = (float)lists->clip};
    float *discount = kind->kind == CUDA_LOSS_LAMBDA ? device_floats(lists->N) : NULL;
    float *on_loss = DEVICE_PUT(unset, lists->B), *on_ds = DEVICE_PUT(held, lists->N);
    struct error err;

    if (lists->weight != NULL)
        on_device.weight = DEVICE_PUT(lists->weight, lists->N);
    if (lists->teacher != NULL)
        on_device.teacher = DEVICE_PUT(lists->teacher, lists->N);
    CHECK_STATUS(OK, cuda_loss(NULL, kind->kind, on_loss, on_ds, on_device, (float)lists->scale,
                               discount, &err));
    *loss = device_get(on_loss, lists->B);
    *ds = device_get(on_ds, lists->N);
}

static struct list list_of(const struct lists *lists, int32_t b)
{
    int32_t first = lists->start[b];

    return (struct list){lists->start[b + 1] - first,
                         lists->scores + first,
                         lists->label + first,
                         lists->weight == NULL ? NULL : lists->weight + first,
                         lists->teacher == NULL ? NULL : lists->teacher + first,
                         lists->clip};
}

static void check_kind(const struct kind *kind, const struct lists *lists, struct random *random)
{
    float *held = device_random_floats(random, lists->N), *loss, *ds;

    run_kind(&loss, &ds, kind, lists, held);
    for (int32_t b = 0; b < lists->B; b++) {
        struct list list = list_of(lists, b);
        int32_t first = lists->start[b];
        double *want = device_doubles(list.m), lost = kind->of(want, &list);
        bool taught = lost != 0;

        for (int32_t i = 0; i < list.m; i++) {
            taught = taught || want[i] != 0;
            want[i] = (double)held[first + i] + lists->scale * want[i];
        }
        device_check_all(kind->name, &lost, loss + b, 1, kind->tolerance);
        device_check_all(kind->name, want, ds + first, list.m, kind->tolerance);
        if (!taught)
            CHECK(loss[b] == 0 &&
                  memcmp(ds + first, held + first, (size_t)list.m * sizeof *ds) == 0);
    }
}

static void rows_shape(int number, struct random *random)
{
    const struct kind kinds[] = {{"point", CUDA_LOSS_POINT, point, TOLERANCE},
                                 {"softmax", CUDA_LOSS_SOFTMAX, softmax, TOLERANCE_ENTROPY},
                                 {"distil", CUDA_LOSS_DISTIL, distil, TOLERANCE_ENTROPY}};
    struct lists lists;

    make_lists(&lists, number, random);
    for (int i = 0; i < (lists.teacher == NULL ? 2 : 3); i++)
        check_kind(&kinds[i], &lists, random);
}

/* An outlier is what loses more than clip: with the loss itself as clip, a list teaches as without.
 */
static void at_clip_shape(int number, struct random *random)
{
    const struct kind kind = {"softmax", CUDA_LOSS_SOFTMAX, softmax, TOLERANCE_ENTROPY};
    struct lists lists;
    float *loss[3], *ds[3], *held;

    make_lists(&lists, number, random);
    if (lists.B == 0)
        return;
    held = device_random_floats(random, lists.N);
    lists.B = 1;
    lists.clip = 0;
    run_kind(&loss[0], &ds[0], &kind, &lists, held);
    if (!(loss[0][0] > 0))
        return;
    for (int i = 1; i < 3; i++) {
        lists.clip = (double)(i == 1 ? loss[0][0] : nextafterf(loss[0][0], 0));
        run_kind(&loss[i], &ds[i], &kind, &lists, held);
    }
    CHECK(loss[1][0] == loss[0][0] && loss[2][0] < loss[0][0]);
    CHECK(memcmp(ds[1], ds[0], (size_t)lists.N * sizeof *held) == 0);
    CHECK(memcmp(ds[2], held, (size_t)lists.N * sizeof *held) == 0);
}

TEST(cuda_lists_that_lose_clip_teach_and_those_that_lose_more_do_not)
{
    device_for_shapes(at_clip_shape);
}

TEST(cuda_lists_of_rows_lose_what_the_formulas_say)
{
    device_for_shapes(rows_shape);
}

static void pairs_shape(int number, struct random *random)
{
    const struct kind kinds[] = {{"logistic", CUDA_LOSS_LOGISTIC, logistic, TOLERANCE},
                                 {"hinge", CUDA_LOSS_HINGE, hinge, TOLERANCE},
                                 {"lambda", CUDA_LOSS_LAMBDA, lambda, TOLERANCE}};
    struct lists lists;

    make_lists(&lists, number, random);
    for (int i = 0; i < 3; i++)
        check_kind(&kinds[i], &lists, random);
}

TEST(cuda_lists_of_pairs_lose_what_the_formulas_say)
{
    device_for_shapes(pairs_shape);
}

/* ---- positions ---- */

/* Candidates shown all over, all at one position, or at the first two alone. */
static void position_shape(int number, struct random *random)
{
    const int32_t many[] = {BLOCK - 1, BLOCK, BLOCK + 1, 300};
    int32_t N = number % 4 == 3 ? many[number / 4 % 4] : device_size(number, random, 60);
    int32_t count = number == 4 ? BATCH_POSITION_MAX + 1 : number < 2 ? number : number / 2;
    int32_t *position = device_random_ints(random, N, 0, count > 0 ? count : 1), *on_position;
    float *scores = device_random_floats(random, N), *bias = device_random_floats(random, count);
    float *ds = device_random_floats(random, N), *unset = device_room(count, sizeof *unset);
    float *on_scores = DEVICE_PUT(scores, N), *on_dbias;
    double *want[2] = {device_doubles(N), device_doubles(count)};
    struct error err;

    for (int32_t i = 0; i < N && number % 3 == 2; i++)
        position[i] = number % 2 == 0 ? count - 1 : i % 2 < count ? i % 2 : 0;
    for (int32_t p = 0; p < count; p++)
        unset[p] = NAN;
    on_position = DEVICE_PUT(position, N);
    on_dbias = DEVICE_PUT(unset, count);
    CHECK_STATUS(OK,
                 cuda_position_add(NULL, on_scores, DEVICE_PUT(bias, count), on_position, N, &err));
    CHECK_STATUS(
        OK, cuda_position_backward(NULL, on_dbias, DEVICE_PUT(ds, N), on_position, N, count, &err));
    for (int32_t i = 0; i < N; i++) {
        want[0][i] = (double)scores[i] + (double)bias[position[i]];
        want[1][position[i]] += position[i] > 1 ? (double)ds[i] : 0;
    }
    device_check_all("scores", want[0], device_get(on_scores, N), N, TOLERANCE);
    device_check_all("dbias", want[1], device_get(on_dbias, count), count, TOLERANCE);
}

TEST(cuda_positions_are_added_and_learnt_from_behind_the_first)
{
    device_for_shapes(position_shape);
}
