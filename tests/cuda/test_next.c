/*
 * Tests kernels/cuda of next-item scores: lengths of item rows, last states, scores of a whole
 * table and of listed rows, and the merging of the best, each against its formula in double.
 */
#include "kernels/cuda/ops.h"

#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 8

/* ---- formulas ---- */

static double dot_of(const float *a, const float *b, int32_t C)
{
    double sum = 0;

    for (int32_t c = 0; c < C; c++)
        sum += (double)a[c] * (double)b[c];
    return sum;
}

/* A row of zeros has a length, too, so that nothing is divided by 0. */
static double inverse_length_of(const float *row, int32_t C)
{
    return 1 / sqrt(dot_of(row, row, C) + 1e-12);
}

/* Rows of very different lengths, and now and then one of zeros. */
static float *rows_of_lengths(struct random *random, int32_t R, int32_t C)
{
    static const float lengths[] = {0, 1, 1e-3f, 100, 1, 1e-6f};
    float *rows = device_random_floats(random, (int64_t)R * C);

    for (int64_t r = 0; r < R; r++) {
        float length = lengths[device_below(random, 6)];

        for (int32_t c = 0; c < C; c++)
            rows[r * C + c] *= length;
    }
    return rows;
}

/* Each within so much of its own size: these are of sizes from 1e-3 to 1e6. */
static void check_sizes(const char *what, const double *want, const float *got, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(want[i] - (double)got[i]) <= 1e-5 * fabs(want[i])))
            test_fail(__FILE__, __LINE__, "%s[%lld]: want %.9g, got %.9g", what, (long long)i,
                      want[i], (double)got[i]);
}

/* Widths from one load on, to more than a warp takes in a turn. */
static int32_t some_width(struct random *random)
{
    return 4 * (1 + device_below(random, 70));
}

/* ---- lengths, states ---- */

static void norms_shape(int number, struct random *random)
{
    int32_t V = device_size(number, random, 60), C = some_width(random);
    float *emb = rows_of_lengths(random, V, C), *out = device_floats(V);
    double *want = device_doubles(V);
    struct error err;

    CHECK_STATUS(OK, cuda_next_norms(NULL, out, DEVICE_PUT(emb, (int64_t)V * C), V, C, &err));
    for (int64_t v = 0; v < V; v++)
        want[v] = inverse_length_of(emb + v * C, C);
    check_sizes("norms", want, device_get(out, V), V);
}

TEST(cuda_next_norms_are_lengths_turned_over)
{
    device_for_shapes(norms_shape);
}

/* Histories of no row, of fewer than context has, of those alone, and of more. */
static void states_shape(int number, struct random *random)
{
    int32_t B = device_size(number, random, REQUESTS_MAX), C = some_width(random);
    int32_t contexts = device_below(random, 4), start[REQUESTS_MAX + 1] = {0};
    float tau = .05f + (float)random_unit(random), *x, *out = device_floats((int64_t)B * C);
    double *want = device_doubles((int64_t)B * C);
    struct error err;

    for (int32_t b = 0; b < B; b++)
        start[b + 1] = start[b] + device_below(random, contexts + 4);
    x = rows_of_lengths(random, start[B], C);
    CHECK_STATUS(OK, cuda_next_states(NULL, out, DEVICE_PUT(x, (int64_t)start[B] * C),
                                      DEVICE_PUT(start, B + 1), contexts, B, C, 1 / tau, &err));
    for (int64_t b = 0; b < B; b++) {
        const float *last = x + ((int64_t)start[b + 1] - 1) * C;

        for (int32_t c = 0; c < C && start[b + 1] - start[b] > contexts; c++)
            want[b * C + c] = (double)last[c] * inverse_length_of(last, C) / (double)tau;
    }
    check_sizes("states", want, device_get(out, (int64_t)B * C), (int64_t)B * C);
}

TEST(cuda_next_states_are_last_rows_of_one_length)
{
    device_for_shapes(states_shape);
}

/* ---- scores ---- */

/* A load's four neighbours may be of two rows, or of four; several blocks. */
static void scale_shape(int number, struct random *random)
{
    int32_t B = device_size(number, random, 5);
    int32_t V = number % 6 == 5 ? 300 + device_below(random, 600) : 1 + number % 11 * (number % 4);
    int64_t count = (int64_t)B * V;
    float *scores = device_random_floats(random, count), *by = device_random_floats(random, V);
    float *on_device = DEVICE_PUT(scores, count), *got;
    double *want = device_doubles(count);
    struct error err;

    CHECK_STATUS(OK, cuda_next_scale(NULL, on_device, NULL, B, 0, &err)); /* no table: no scores */
    CHECK_STATUS(OK, cuda_next_scale(NULL, on_device, DEVICE_PUT(by, V), B, V, &err));
    got = device_get(on_device, count);
    for (int64_t i = 0; i < count; i++) {
        CHECK((i % V == 0) == (got[i] == -INFINITY));
        want[i] = (double)scores[i] * (double)by[i % V];
        if (i % V == 0)
            got[i] = (float)want[i]; /* checked above */
    }
    check_sizes("scaled", want, got, count);
}

TEST(cuda_next_scale_is_of_each_row_but_the_unknown)
{
    device_for_shapes(scale_shape);
}

/* Requests that list nothing, a row twice, rows that are none; states and rows of zeros. */
static void listed_shape(int number, struct random *random)
{
    int32_t B = device_size(number, random, REQUESTS_MAX), V = 1 + device_below(random, 30);
    int32_t C = some_width(random), start[REQUESTS_MAX + 1] = {0}, *listed;
    float *states = rows_of_lengths(random, B, C), *emb = rows_of_lengths(random, V, C);
    float *norms = device_random_floats(random, V), *out, *got;
    struct error err;

    for (int32_t b = 0; b < B; b++)
        start[b + 1] = start[b] + (number == 2 ? 0 : device_below(random, 20));
    listed = device_random_ints(random, start[B], -2, V + 2);
    out = device_floats(start[B]);
    CHECK_STATUS(OK, cuda_next_listed(NULL, out, DEVICE_PUT(states, (int64_t)B * C),
                                      DEVICE_PUT(emb, (int64_t)V * C), DEVICE_PUT(norms, V),
                                      DEVICE_PUT(start, B + 1), DEVICE_PUT(listed, start[B]), B, V,
                                      C, &err));
    got = device_get(out, start[B]);
    for (int64_t b = 0; b < B; b++) {
        const float *state = states + b * C;

        for (int32_t i = start[b]; i < start[b + 1]; i++) {
            int64_t v = listed[i] >= 0 && listed[i] < V ? listed[i] : 0;
            const float *row = emb + v * C;
            double by = (double)norms[v];
            /* No sum of f32 is nearer than a share of what is added up. */
            double size = sqrt(dot_of(state, state, C) * dot_of(row, row, C)) * fabs(by);

            CHECK_NEAR(dot_of(state, row, C) * by, (double)got[i], 2e-6 * size);
        }
    }
}

TEST(cuda_next_listed_are_products_of_rows_of_the_table)
{
    device_for_shapes(listed_shape);
}

/* ---- the best of lists, and what they say ---- */

/* kernels/cuda/top.cu: falling scores, then rising rows, are rising words. */
static uint64_t word_of(float score, int32_t row)
{
    uint32_t bits;

    memcpy(&bits, &score, sizeof bits);
    bits = (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
    return (uint64_t)bits << 32 | (uint32_t)row;
}

static int rising(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

struct best {
    float score;
    int32_t row;
};

/* From the definition of the order alone: scores, then rows. */
static int better_first(const void *a, const void *b)
{
    const struct best *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Lists (B, room, k) of which `lists` hold words, many of them none at all; what they are of goes
 * to all (B, lists * k), whose counts are of what was something. */
static uint64_t *fill_lists(struct cuda_top top, int32_t lists, struct best *all, int32_t *counts,
                            struct random *random)
{
    static const float odd[] = {INFINITY, -INFINITY, 0, 1e-42f, -1e-42f, 3e38f, -3e38f, 2};
    uint64_t *words = device_room((int64_t)top.B * top.room * top.k, sizeof *words);

    for (int64_t b = 0; b < top.B; b++) {
        counts[b] = 0;
        for (int32_t l = 0; l < lists; l++) {
            uint64_t *list = words + (b * top.room + l) * top.k;
            int32_t some = device_below(random, 3) == 0 ? device_below(random, top.k + 1) : top.k;

            for (int32_t i = 0; i < top.k; i++) {
                struct best one = {device_below(random, 3) == 0 ? odd[device_below(random, 8)]
                                                                : (float)(random_unit(random) - .5),
                                   1 + l * top.k + i};

                list[i] = i < some ? word_of(one.score, one.row) : ~(uint64_t)0;
                if (i < some)
                    all[b * lists * top.k + counts[b]++] = one;
            }
            qsort(list, (size_t)top.k, sizeof *list, rising);
        }
    }
    return words;
}

static void check_merged(struct cuda_top top, const struct best *all, int64_t a_request,
                         const int32_t *counts, const float *rows, const float *scores)
{
    for (int64_t b = 0; b < top.B; b++)
        for (int32_t i = 0; i < top.k; i++) {
            bool none = i >= counts[b];
            const struct best *want = all + b * a_request + i;
            int32_t row;

            memcpy(&row, rows + b * top.k + i, sizeof row);
            if (row != (none ? -1 : want->row))
                test_fail(__FILE__, __LINE__, "request %d place %d: want %d, got %d", (int)b,
                          (int)i, none ? -1 : (int)want->row, (int)row);
            CHECK(scores[b * top.k + i] == (none ? -INFINITY : want->score));
        }
}

/* Of one list, which stays where it is, to as many as need three rounds; room for more of them. */
static void merge_shape(int number, struct random *random)
{
    struct cuda_top top = {
        .B = device_size(number, random, 4), .k = 1 + device_below(random, 9), .width = 2};
    int32_t lists = number < 4 ? 1 + number / 2 : 1 + device_below(random, 40), rounds = 0, *counts;
    uint64_t *on[2], *first, *second;
    int64_t count = (int64_t)top.B * top.k, a_request = (int64_t)lists * top.k, words;
    float *rows = device_floats(count), *scores = device_floats(count);
    struct best *all = device_room(top.B * a_request, sizeof *all);
    struct error err;

    while (top.width < 2 * top.k || (top.width < 64 && device_below(random, 2) == 0))
        top.width *= 2;
    top.room = lists + device_below(random, 3);
    words = (int64_t)top.B * top.room * top.k;
    counts = device_room(top.B, sizeof *counts);
    on[0] = first = device_put(fill_lists(top, lists, all, counts, random), words, sizeof *first);
    on[1] = second = (uint64_t *)(void *)device_floats(2 * words);
    CHECK_STATUS(OK, cuda_top_merge(NULL, &on[0], &on[1], top, lists, &err));
    for (int32_t left = lists; left > 1; rounds++)
        left = (left + top.width / top.k - 1) / (top.width / top.k);
    if (top.B > 0) /* or nothing is done at all */
        CHECK(on[0] == (rounds % 2 == 0 ? first : second) && on[1] != on[0]);
    CHECK_STATUS(OK, cuda_top_rows(NULL, (int32_t *)(void *)rows, scores, on[0], top, &err));
    for (int64_t b = 0; b < top.B; b++)
        qsort(all + b * a_request, (size_t)counts[b], sizeof *all, better_first);
    check_merged(top, all, a_request, counts, device_get(rows, count), device_get(scores, count));
}

TEST(cuda_next_top_merges_lists_to_the_best_of_all)
{
    device_for_shapes(merge_shape);
}
