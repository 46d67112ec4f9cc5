/*
 * tests/bench/bench_next.c - what the best next items of a request cost, by length of the table.
 *
 *     bench_next [V ...]    10000 100000 1000000
 *
 * Preset small, fresh weights, histories of 64, the best 200; on one thread. Of requests one by one
 * and of 16 at a time, which read the table once: microseconds of processor time a request beyond
 * those for a table of one row, the best of some calls. One line of JSON for each V.
 */
#include "kernels/model.h"
#include "kernels/ops.h"
#include "ops/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define K        200
#define HISTORY  64
#define REQUESTS 16
#define CALLS    12

static struct error err;

static void must(enum status status)
{
    if (status == OK)
        return;
    (void)fprintf(stderr, "bench_next: %s\n", err.text);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* Histories of the first items: their number does not depend on V. */
static void fill(struct batch *batch, int32_t B, struct random *random)
{
    static int32_t starts[REQUESTS + 1], none[REQUESTS + 1];
    static int32_t item[REQUESTS * HISTORY], action[REQUESTS * HISTORY];
    static int64_t time_ms[REQUESTS * HISTORY], request_ms[REQUESTS];

    for (int32_t b = 0; b < B; b++) {
        starts[b + 1] = (b + 1) * HISTORY;
        request_ms[b] = INT64_C(1700000000000);
        for (int32_t i = b * HISTORY; i < (b + 1) * HISTORY; i++) {
            item[i] = (int32_t)random_below(random, 1000);
            action[i] = 1;
            time_ms[i] = request_ms[b] - (int64_t)(starts[b + 1] - i) * 3600000;
        }
    }
    *batch = (struct batch){.B = B,
                            .T = B * HISTORY,
                            .history_start = starts,
                            .candidate_start = none,
                            .request_time_ms = request_ms,
                            .item = item,
                            .action = action,
                            .time_ms = time_ms};
}

static double best_us(const struct model *model, struct model_workspace *workspace, int32_t V,
                      int32_t B)
{
    static int32_t rows[REQUESTS * K];
    static float scores[REQUESTS * K];
    struct random random;
    struct batch batch;
    double best = 0;

    random_seed(&random, 1);
    fill(&batch, B, &random);
    for (int i = 0; i < CALLS; i++) {
        double begun = now_us(), took;

        must(model_next_top(model, workspace, &batch, V, K, rows, scores, &err));
        took = (now_us() - begun) / B;
        best = i == 0 || took < best ? took : best;
    }
    return best;
}

static void measure(int32_t V)
{
    struct model_workspace *workspace = model_workspace_create();
    struct model_config config;
    struct model *model;

    if (V < 1000 || !model_preset(&config, "small", V, 0))
        exit(2);
    must(model_create(&model, &config, 1, &err));
    (void)printf("{\"name\":\"next\",\"items\":%d,\"isa\":\"%s\",\"request_us\":%.0f,"
                 "\"of_%d_us\":%.0f}\n",
                 (int)V, ops_cpu()->name,
                 best_us(model, workspace, V, 1) - best_us(model, workspace, 1, 1), REQUESTS,
                 best_us(model, workspace, V, REQUESTS) - best_us(model, workspace, 1, REQUESTS));
    model_destroy(model);
    model_workspace_destroy(workspace);
}

int main(int argc, char **argv)
{
    const int32_t sizes[] = {10000, 100000, 1000000};

    for (int i = 1; i < argc; i++)
        measure((int32_t)strtol(argv[i], NULL, 10));
    for (size_t i = 0; argc == 1 && i < sizeof sizes / sizeof *sizes; i++)
        measure(sizes[i]);
    return 0;
}
