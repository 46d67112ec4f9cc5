/*
 * Tests kernels/cuda/graphs where a server uses them: the bits of plain launches, for few shapes,
 * whatever happens to weights and memory.
 */
#include "kernels/cuda/graphs.h"
#include "kernels/model.h"

#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/cuda/serving.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <string.h>

static struct jagged jagged;

/* The same bits without graphs, from the same workspace; replayed: how many graphs were launched.
 */
static void check_graph(const struct model *model, struct model_workspace *workspace,
                        int64_t replayed)
{
    float plain[SERVING_SCORES_MAX], graph[SERVING_SCORES_MAX];
    struct error err;
    int64_t before = cuemu_replays();

    CHECK(jagged.batch.N <= SERVING_SCORES_MAX);
    graphs_allow(true);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, graph, &err));
    CHECK_INT(before + replayed, cuemu_replays());
    graphs_allow(false);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, plain, &err));
    CHECK_INT(before + replayed, cuemu_replays());
    serving_same(plain, graph, jagged.batch.N);
}

TEST(cuda_graphs_give_the_bits_of_plain_launches)
{
    const struct jagged_size sizes[][3] = {
        {{17, 20}, {0, 3}, {33, 1}}, {{9, 5}, {1, 0}, {0, 9}}, {{40, 70}, {0, 0}, {20, 2}}};
    struct serving s = {0};
    struct error err;

    cuemu_need_emulator();
    for (int number = 0; number < 2; number++) {
        serving_begin(&s, number, test_seed());
        s.config.C = 32;
        s.config.L = 1 + number;
        s.config.contexts = number == 1 ? 2 : 0;
        s.config.P += s.config.contexts;
        serving_model(&s);
        if (number == 1)
            CHECK_STATUS(OK, model_round(s.model, &err));
        for (int i = 0; i < 4; i++) { /* a shape comes back with other numbers in it */
            cuemu_schedule((enum cuemu_order)(i % CUEMU_ORDERS), (uint64_t)i);
            jagged_fill(&jagged, &s.config, sizes[i % 3], number == 0 ? 1 : 3 - i % 2, (uint64_t)i);
            check_graph(s.model, s.workspace, 1);
        }
    }
    serving_end(&s);
}

/* A graph reads weights where they lie: in place they are the new ones, elsewhere it is another. */
TEST(cuda_graphs_follow_weights_and_memory)
{
    const struct jagged_size small = {9, 12}, large = {40, 100};
    float first[SERVING_SCORES_MAX], second[SERVING_SCORES_MAX];
    struct serving s = {0};
    struct model *other;
    struct error err;

    cuemu_need_emulator();
    serving_begin(&s, 0, 3);
    serving_model(&s);
    other = models_rough(&s.config, 4);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &s.config, &small, 1, 3);
    check_graph(s.model, s.workspace, 1);
    check_graph(other, s.workspace, 1);
    CHECK_STATUS(OK, model_score(s.model, s.workspace, &jagged.batch, first, &err));
    serving_learn(&s);
    graphs_allow(true);
    CHECK_STATUS(OK, model_score(s.model, s.workspace, &jagged.batch, second, &err));
    CHECK(memcmp(first, second, (size_t)jagged.batch.N * sizeof *first) != 0);
    check_graph(s.model, s.workspace, 1);
    CHECK_STATUS(OK, model_grow_items(s.model, 900, &err));
    CHECK_STATUS(OK, model_prepare(s.model, &err));
    jagged.candidate_item[3] = 877;
    check_graph(s.model, s.workspace, 1);
    jagged_fill(&jagged, &s.config, &large, 1, 3); /* memory grows: old graphs write elsewhere */
    check_graph(s.model, s.workspace, 1);
    jagged_fill(&jagged, &s.config, &small, 1, 3);
    check_graph(s.model, s.workspace, 1);
    model_destroy(other);
    serving_end(&s);
}

TEST(cuda_graphs_are_of_few_shapes_and_large_requests_go_without)
{
    const int32_t given[][4] = {{1, 0, 1, 0},
                                {1, 64, 65, 64},
                                {2, 65, 200, 300},
                                {9, 4096, 1, 4097},
                                {64, 4096, 4096, 65536}},
                  rounded[][4] = {{1, 64, 64, 64},
                                  {1, 64, 128, 64},
                                  {8, 128, 256, 512},
                                  {16, 4096, 64, 8192},
                                  {64, 4096, 4096, 65536}},
                  large[][4] = {
                      {65, 1, 1, 1}, {1, 4097, 1, 4097}, {1, 1, 4097, 1}, {1, 1, 1, 65537}};

    for (int i = 0; i < 5; i++) {
        int32_t B = given[i][0], T = given[i][1], N = given[i][2], tokens = given[i][3];

        CHECK(graphs_shape(&B, &T, &N, &tokens));
        CHECK_INT(rounded[i][0], B);
        CHECK_INT(rounded[i][1], T);
        CHECK_INT(rounded[i][2], N);
        CHECK_INT(rounded[i][3], tokens);
    }
    for (int i = 0; i < 4; i++) {
        int32_t B = large[i][0], T = large[i][1], N = large[i][2], tokens = large[i][3];

        CHECK(!graphs_shape(&B, &T, &N, &tokens));
        CHECK(B == large[i][0] && T == large[i][1] && N == large[i][2] && tokens == large[i][3]);
    }
}

/* More empty requests than a graph is made for: launch by launch, by the same workspace. */
TEST(cuda_graphs_leave_what_is_too_large_to_plain_launches)
{
    struct jagged_size size = {3, 4};
    static int32_t starts[2][GRAPHS_B + 2];
    static int64_t times[GRAPHS_B + 1];
    struct serving s = {0};

    cuemu_need_emulator();
    serving_begin(&s, 0, 8);
    serving_model(&s);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &s.config, &size, 1, 8);
    for (int b = 0; b <= GRAPHS_B; b++) {
        starts[0][b + 1] = 3;
        starts[1][b + 1] = 4;
        times[b] = jagged.request_time_ms[0];
    }
    jagged.batch.B = GRAPHS_B + 1;
    jagged.batch.history_start = starts[0];
    jagged.batch.candidate_start = starts[1];
    jagged.batch.request_time_ms = times;
    check_graph(s.model, s.workspace, 0);
    jagged.batch.B = GRAPHS_B;
    check_graph(s.model, s.workspace, 1);
    serving_end(&s);
}

/* Whatever call it was, that request and GRAPHS_REST more go launch by launch, not all from then
 * on.
 */
TEST(cuda_graphs_are_tried_again_after_a_refused_call)
{
    const struct jagged_size size = {9, 12};
    struct serving s = {0};
    int64_t before;

    cuemu_need_emulator();
    serving_begin(&s, 0, 5);
    serving_model(&s);
    jagged_fill(&jagged, &s.config, &size, 1, 5);
    check_graph(s.model, s.workspace, 1);
    jagged_fill(&jagged, &s.config, &(struct jagged_size){9, 90}, 1, 5);
    check_graph(s.model, s.workspace, 1);
    graphs_allow(true);
    for (int64_t call = 1; call < 60; call++) {
        float scores[SERVING_SCORES_MAX];
        struct error err;
        bool met;

        before = cuemu_replays();
        cuemu_fail(call, CUEMU_REFUSED);
        (void)(model_score(s.model, s.workspace, &jagged.batch, scores, &err) == OK);
        met = cuemu_failed() != NULL;
        cuemu_fail(0, CUEMU_REFUSED);
        CHECK(met); /* one of them is the graph's launch */
        if (cuemu_replays() != before)
            continue;
        for (int i = 0; i <= GRAPHS_REST; i++)
            CHECK_STATUS(OK, model_score(s.model, s.workspace, &jagged.batch, scores, &err));
        CHECK(cuemu_replays() > before);
        break;
    }
    graphs_allow(false);
    serving_end(&s);
}
