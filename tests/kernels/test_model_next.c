/*
 * Tests kernels/model_next: the best next items of a batch are, row by row and bit by bit, the
 * front of a sort of all next-item scores.
 */
#include "kernels/model.h"

#include "tests/kernels/best_first.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 40

static struct jagged jagged;
/* Every third row is the one before it once more: ties. */
static struct model *model_of(int32_t V, int32_t C, int contexts)
{
    struct model_config config;
    struct model *model;
    struct error err;

    CHECK(model_preset(&config, "small", V, 3));
    config.C = C;
    config.H = C / 16;
    config.L = 1;
    config.contexts = contexts;
    CHECK_STATUS(OK, model_create(&model, &config, test_seed(), &err));
    for (int32_t v = 3; v < V; v += 3)
        memcpy(model_item(model, v), model_item(model, v - 1), (size_t)C * sizeof(float));
    CHECK_STATUS(OK, model_prepare(model, &err));
    return model;
}

static void check_sorted(const struct batch *batch, int32_t V, int32_t pitch, const float *all,
                         int32_t k, const int32_t *rows, const float *best)
{
    int32_t *order = calloc((size_t)V + 1, sizeof *order);

    CHECK(order != NULL);
    for (int32_t b = 0; b < batch->B; b++) {
        bool none = batch->history_start[b + 1] == batch->history_start[b];
        const float *by = all + (int64_t)b * pitch;
        int32_t count = 0;

        for (int32_t v = 1; v < V && !none; v++)
            if (!isnan(by[v]))
                order[count++] = v;
        best_first(order, count, by);
        for (int32_t i = 0; i < k; i++) {
            CHECK_INT(i < count ? order[i] : -1, rows[(int64_t)b * k + i]);
            CHECK(best[(int64_t)b * k + i] == (i < count ? by[order[i]] : -INFINITY));
        }
    }
    free(order);
}

static void next_top_is_a_sort(int32_t V, int32_t C, int contexts, int32_t B, int32_t k)
{
    struct jagged_size sizes[REQUESTS_MAX];
    struct model *model = model_of(V, C, contexts);
    struct model_workspace *workspace = model_workspace_create();
    float *all = calloc((size_t)B * (size_t)V + 1, sizeof *all);
    float *best = calloc((size_t)B * (size_t)k + 1, sizeof *best), *scores;
    int32_t *rows = calloc((size_t)B * (size_t)k + 1, sizeof *rows);
    struct error err;

    CHECK(all != NULL && best != NULL && rows != NULL);
    for (int32_t b = 0; b < B; b++)
        sizes[b] = (struct jagged_size){b * 7 % 20, b % 3};
    jagged_fill(&jagged, model_config(model), sizes, B, test_seed() + (uint64_t)V);
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, all, &err));
    CHECK_STATUS(OK, model_next_top(model, workspace, &jagged.batch, V, k, rows, best, &err));
    check_sorted(&jagged.batch, V, V, all, k, rows, best);

    if (V > 2) { /* of the first rows alone */
        CHECK_STATUS(OK,
                     model_next_top(model, workspace, &jagged.batch, V / 2, k, rows, best, &err));
        check_sorted(&jagged.batch, V / 2, V, all, k, rows, best);
    }
    /* What it left in the workspace harms nobody. */
    scores = calloc((size_t)jagged.batch.N + 1, sizeof *scores);
    CHECK(scores != NULL);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    for (int32_t i = 0; i < jagged.batch.N; i++)
        CHECK(isfinite(scores[i]));
    free(scores);
    free(all);
    free(best);
    free(rows);
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(model_next_top_is_the_front_of_a_sort_of_all_scores)
{
    next_top_is_a_sort(1, 64, 0, 3, 5); /* the unknown row alone */
    next_top_is_a_sort(2, 64, 0, 3, 1);
    next_top_is_a_sort(40, 32, 0, 5, 200);  /* fewer rows than wanted */
    next_top_is_a_sort(257, 64, 0, 17, 13); /* one more than a block, one more than a group */
    next_top_is_a_sort(1500, 48, 3, 33, 100);
    next_top_is_a_sort(900, 128, 0, 2, MODEL_NEXT_TOP_MAX);
    next_top_is_a_sort(300, 64, 0, 0, 10); /* nobody */
    next_top_is_a_sort(300, 64, 0, 4, 0);  /* nothing */
}

TEST(model_next_top_leaves_rows_that_are_no_numbers_out)
{
    const struct jagged_size size = {9, 0};
    struct model *model = model_of(50, 32, 0);
    struct model_workspace *workspace = model_workspace_create();
    int32_t rows[50];
    float best[50];
    struct error err;

    jagged_fill(&jagged, model_config(model), &size, 1, test_seed());
    for (int32_t i = 0; i < jagged.batch.T; i++)
        jagged.item[i] = 1 + i % 3; /* none of those below */
    for (int32_t v = 10; v < 20; v++)
        model_item(model, v)[v] = NAN;
    CHECK_STATUS(OK, model_prepare(model, &err));
    CHECK_STATUS(OK, model_next_top(model, workspace, &jagged.batch, 50, 50, rows, best, &err));
    for (int i = 0; i < 50; i++) {
        CHECK(rows[i] != 0 && (rows[i] < 10 || rows[i] >= 20));
        CHECK((rows[i] == -1) == (i >= 39) && !isnan(best[i]));
    }
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(model_next_top_refuses_what_it_cannot_hold)
{
    const struct jagged_size size = {3, 0};
    struct model *model = model_of(9, 16, 0);
    struct model_workspace *workspace = model_workspace_create();
    int32_t row;
    float best;
    struct error err;

    jagged_fill(&jagged, model_config(model), &size, 1, test_seed());
    CHECK_STATUS(ERR_LIMIT, model_next_top(model, workspace, &jagged.batch, 9,
                                           MODEL_NEXT_TOP_MAX + 1, &row, &best, &err));
    CHECK_STATUS(ERR_LIMIT,
                 model_next_top(model, workspace, &jagged.batch, 9, -1, &row, &best, &err));
    CHECK_STATUS(ERR_LIMIT,
                 model_next_top(model, workspace, &jagged.batch, 10, 1, &row, &best, &err));
    CHECK_STATUS(ERR_LIMIT,
                 model_next_top(model, workspace, &jagged.batch, 0, 1, &row, &best, &err));
    jagged.history_start[1] = 2;
    CHECK_STATUS(ERR_LIMIT,
                 model_next_top(model, workspace, &jagged.batch, 9, 1, &row, &best, &err));
    model_workspace_destroy(workspace);
    model_destroy(model);
}
