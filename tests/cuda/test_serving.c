/*
 * Tests kernels/cuda/forward where a server lives: no request allocates, once the largest was seen,
 * and rounding is tried elsewhere.
 */
#include "kernels/model.h"

#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/cuda/serving.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <string.h>

static struct jagged jagged;

TEST(cuda_serving_allocates_nothing_once_the_largest_request_was_seen)
{
    const struct jagged_size size = {40, 30};
    float scores[SERVING_SCORES_MAX], best[30];
    struct serving s = {0};
    int32_t rows[30];
    struct error err;
    int64_t before;

    serving_begin(&s, 0, 2);
    serving_model(&s);
    serving_cache(&s, 1 << 20);
    jagged_fill(&jagged, &s.config, &size, 1, 2);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    CHECK_STATUS(OK, model_score(s.model, s.workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK,
                 model_score_cached(s.model, s.workspace, s.cache, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_score(s.model, s.workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_next_top(s.model, s.workspace, &jagged.batch, 40, 30, rows, best, &err));
    before = cuemu_allocations();
    for (int32_t n = 40; n >= 0; n -= 13) {
        serving_shorten(&jagged, n, 30 - n / 2);
        CHECK_STATUS(OK, model_next_top(s.model, s.workspace, &jagged.batch, 40, 17 + n % 13, rows,
                                        best, &err));
        CHECK_STATUS(OK, model_score(s.model, s.workspace, &jagged.batch, scores, &err));
        CHECK_STATUS(
            OK, model_score_cached(s.model, s.workspace, s.cache, &jagged.batch, scores, &err));
        CHECK_STATUS(OK, model_prepare(s.model, &err)); /* new weights find room too */
    }
    CHECK_INT(before, cuemu_allocations());
    serving_end(&s);
}

TEST(cuda_rounding_is_measured_on_the_cpu_and_a_gpu_is_not_tried)
{
    const struct jagged_size size = {20, 9};
    float cpu[SERVING_SCORES_MAX], got[SERVING_SCORES_MAX];
    struct model_round_trial trial;
    struct serving s = {0};
    struct model *rounded;
    struct error err;

    serving_begin(&s, 0, 3);
    serving_model(&s);
    jagged_fill(&jagged, &s.config, &size, 1, 3);
    CHECK_STATUS(OK, model_round_try(s.model, &trial, &err));
    CHECK_TEXT("gpu", trial.way);
    CHECK(trial.right && !trial.faster);
    CHECK_STATUS(OK, model_copy_rounded(&rounded, s.model, &err));
    CHECK(model_is_rounded(rounded) && !model_is_rounded(s.model));
    CHECK_STATUS(OK, model_score(rounded, s.workspace, &jagged.batch, got, &err));
    models_score_on_cpu(rounded, &jagged.batch, cpu);
    CHECK(memcmp(cpu, got, (size_t)jagged.batch.N * sizeof *got) == 0);
    model_destroy(rounded);
    serving_end(&s);
}
