/*
 * Tests kernels/cuda of next-item scores: lengths of item rows, last states, scores of a whole
 * table and of listed rows, and the merging of the best, each against its formula in double; then
 * those of whole models against the CPU's.
 */
#include "kernels/cuda/ops.h"
#include "kernels/model.h"
#include "kernels/network.h"

#include "tests/cuda/device.h"
#include "tests/cuda/serving.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 20 /* more than a block of states */

static struct jagged jagged;

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

/* ---- whole models ---- */

/* model_next_all() on the CPU. */
static void next_on_cpu(const struct model *model, const struct batch *batch, float *scores)
{
    struct network_state state = model_network(model);
    const struct model_config *config = &state.network->config;
    float *norms = malloc((size_t)config->V * sizeof *norms);

    CHECK(norms != NULL);
    state.network->ops->next_norms(norms, state.network->emb, config->V, config->C);
    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, config->contexts);
        float *to = scores + (int64_t)b * config->V;
        struct network_pass pass;
        size_t bytes;
        void *memory;

        request.m = 0;
        bytes = network_pass_bytes(config, state.layout->Z, request.n, 0, false, false);
        memory = aligned_alloc(64, (bytes + 127) / 64 * 64);
        CHECK(memory != NULL);
        memset(memory, 0, (bytes + 127) / 64 * 64);
        memset(to, 0, (size_t)config->V * sizeof *to);
        network_pass_begin(&pass, state.network, &request, false, true, false, memory);
        if (request.n > config->contexts) {
            network_forward(&pass, NULL, 0, 0);
            state.network->ops->next_scores(
                to, network_states(&pass) + (int64_t)(request.n - 1) * config->C,
                state.network->emb, norms, config->V, config->C, 1 / config->tau);
        }
        to[0] = -INFINITY;
        free(memory);
    }
    free(norms);
}

/* Those of requests' candidates, as they stand in the scores of all rows. */
static void check_listed(const float *all, const float *listed)
{
    for (int32_t b = 0; b < jagged.batch.B; b++)
        for (int32_t i = jagged.candidate_start[b]; i < jagged.candidate_start[b + 1]; i++)
            if (jagged.candidate_item[i] > 0 && jagged.candidate_item[i] < 40)
                serving_near(all[b * 40 + jagged.candidate_item[i]], listed[i]);
            else
                CHECK(isfinite(listed[i]));
}

/* The unknown row's is -INFINITY, the others' near to these. */
static void check_next(const float *want, const float *got)
{
    for (int32_t i = 0; i < jagged.batch.B * 40; i++)
        if (i % 40 == 0)
            CHECK(got[i] == -INFINITY);
        else
            serving_near(want[i], got[i]);
}

TEST(cuda_next_item_scores_are_those_of_the_cpu)
{
    const struct jagged_size sizes[] = {{17, 6}, {0, 3}, {40, 1}, {5, 0}};
    float cpu[4 * 40], gpu[4 * 40], listed[SERVING_SCORES_MAX];
    struct serving s = {0};
    struct error err;

    for (int number = 0; number < 4; number++) {
        serving_begin(&s, number, test_seed() + (uint64_t)number);
        s.config.contexts = number == 2 ? 3 : 0;
        s.config.P += s.config.contexts;
        serving_model(&s);
        jagged_fill(&jagged, &s.config, sizes, 4, test_seed());
        jagged.candidate_item[2] = 40; /* outside the table: the unknown row */
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), (uint64_t)number);
        next_on_cpu(s.model, &jagged.batch, cpu);
        CHECK_STATUS(OK, model_next_all(s.model, s.workspace, &jagged.batch, gpu, &err));
        CHECK_STATUS(OK, model_next_candidates(s.model, s.workspace, &jagged.batch, listed, &err));
        check_next(cpu, gpu);
        check_listed(gpu, listed);
    }
    serving_end(&s);
}

/* Not those of f32, but within two roundings of 2^-9 each, of a cosine / tau. */
static void check_rounded(const float *f32, const float *rounded, float tau)
{
    double largest = 0;

    for (int32_t i = 0; i < jagged.batch.B * 40; i++) {
        double error = i % 40 == 0 ? 0 : fabs((double)f32[i] - (double)rounded[i]);

        CHECK_NEAR(0, error, 1.0 / 256 / (double)tau);
        CHECK(i % 40 > 0 || rounded[i] == -INFINITY);
        largest = fmax(largest, error);
    }
    CHECK(largest > 1e-4); /* or it was f32 after all */
}

/* The table lies there a second time only where that was asked for; a score is of bf16 then, and
 * of f32 again after the next change of the weights. */
TEST(cuda_next_item_scores_of_a_rounded_model)
{
    const struct jagged_size sizes[] = {{7, 6}, {0, 3}, {3, 1}, {5, 9}};
    static float layers[4 * 40], gpu[4 * 40], again[4 * 40], listed[SERVING_SCORES_MAX];
    struct serving s = {0};
    struct error err;
    int64_t before;

    cuemu_need_emulator();
    cuemu_schedule(CUEMU_IN_ORDER, 3);
    serving_begin(&s, 1, test_seed());
    serving_model(&s);
    jagged_fill(&jagged, &s.config, sizes, 4, test_seed());
    CHECK_STATUS(OK, model_round_next(s.model, &err)); /* nothing: it is not rounded */
    CHECK_STATUS(OK, model_round(s.model, &err));
    CHECK_STATUS(OK, model_next_all(s.model, s.workspace, &jagged.batch, layers, &err));
    before = cuemu_allocations();
    CHECK_STATUS(OK, model_round_next(s.model, &err));
    CHECK_STATUS(OK, model_round_next(s.model, &err));
    CHECK_INT(before + 1, cuemu_allocations());
    CHECK_STATUS(OK, model_next_all(s.model, s.workspace, &jagged.batch, gpu, &err));
    CHECK_STATUS(OK, model_next_candidates(s.model, s.workspace, &jagged.batch, listed, &err));
    before = cuemu_allocations();
    CHECK_STATUS(OK, model_next_all(s.model, s.workspace, &jagged.batch, again, &err));
    CHECK_INT(before, cuemu_allocations());
    serving_same(gpu, again, 4 * 40);
    check_rounded(layers, gpu, s.config.tau);
    check_listed(gpu, listed);
    CHECK_STATUS(OK, model_prepare(s.model, &err));
    next_on_cpu(s.model, &jagged.batch, layers);
    CHECK_STATUS(OK, model_next_all(s.model, s.workspace, &jagged.batch, gpu, &err));
    check_next(layers, gpu);
    serving_end(&s);
}

/* The front of a sort of what the device says of all rows, which is the same product, in slices of
 * another shape. */
static void check_next_top(const struct model *model, struct model_workspace *workspace, int32_t k)
{
    int32_t V = model_config(model)->V, B = jagged.batch.B;
    float *all = calloc((size_t)B * (size_t)V, sizeof *all);
    float *best = calloc((size_t)B * (size_t)k, sizeof *best);
    int32_t *rows = calloc((size_t)B * (size_t)k, sizeof *rows);
    struct error err;

    CHECK(all != NULL && best != NULL && rows != NULL);
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, all, &err));
    CHECK_STATUS(OK, model_next_top(model, workspace, &jagged.batch, V, k, rows, best, &err));
    for (int32_t b = 0; b < B; b++) {
        bool none = jagged.history_start[b + 1] == jagged.history_start[b];

        for (int32_t i = 0; i < k; i++) {
            int32_t row = rows[(int64_t)b * k + i], better = 0;
            float score = best[(int64_t)b * k + i];

            if (none || i >= V - 1) {
                CHECK(row == -1 && score == -INFINITY);
                continue;
            }
            CHECK(row > 0 && row < V);
            serving_near(all[(int64_t)b * V + row], score);
            for (int32_t v = 1; v < V; v++)
                better += all[(int64_t)b * V + v] >
                          score +
                              SERVING_TOLERANCE * (1 + fabsf(score)); /* surely in front of it */
            CHECK(better <= i);
            for (int32_t j = 0; j < i; j++)
                CHECK(rows[(int64_t)b * k + j] != row);
            CHECK(i == 0 || score <= best[(int64_t)b * k + i - 1]);
        }
    }
    free(all);
    free(best);
    free(rows);
}

TEST(cuda_next_top_is_the_front_of_a_sort_of_all)
{
    const struct jagged_size sizes[] = {{17, 6}, {0, 3}, {20, 1}, {5, 0}};
    const int32_t ks[] = {30, 7, 60};
    struct serving s = {0};

    for (int number = 0; number < 3; number++) {
        serving_begin(&s, number, test_seed() + (uint64_t)number);
        s.config.contexts = number == 2 ? 3 : 0;
        s.config.P += s.config.contexts;
        s.config.V = number == 0 ? 2500 : 40; /* of the emulator three slices (rules.mk) */
        serving_model(&s);
        jagged_fill(&jagged, &s.config, sizes, 4, test_seed());
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), (uint64_t)number);
        check_next_top(s.model, s.workspace, ks[number]);
    }
    serving_end(&s);
}
