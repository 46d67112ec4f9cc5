/*
 * tests/bench/bench_train.c - training throughput of the small model, on one thread unless asked.
 *
 *     bench_train [T ITEMS [BLOCK [SECONDS [THREADS]]]] [--json]    128 3400 16 2 1: the peers' job
 *
 * The job of the peers' training benchmark: synthetic users, sequences of T tokens without
 * padding, every position predicts the next item, sampled softmax with 128 uniform negatives for
 * every BLOCK positions (16; 0 = one set a batch), dense AdamW on all tensors, 16 sequences a
 * step, batch assembly inside the clock.
 *
 * An example is one position with its target. --json: one JSON object instead of figures.
 */
#include "kernels/ops.h"
#include "kernels/trainer.h"
#include "ops/random.h"

#include "tests/bench/figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USERS         1000
#define ITEMS         3400
#define T_MAX         128
#define BATCH         16
#define WARM_STEPS    3
#define STEPS_MAX     2000
#define SECONDS       2.0
#define MEAN_OF_STEPS 5

struct data {
    int32_t T, items;
    int32_t *item;    /* (USERS, T + 1) */
    int32_t *action;  /* (USERS, T) */
    int64_t *time_ms; /* (USERS, T) */
};

/* What one batch is assembled into. */
struct assembly {
    struct batch batch;
    int32_t history_start[BATCH + 1], candidate_start[BATCH + 1];
    int64_t request_time_ms[BATCH];
    int32_t *item, *action, *next_item;
    int64_t *time_ms;
};

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

_Noreturn static void fail(const char *why)
{
    (void)fprintf(stderr, "bench_train: %s\n", why);
    exit(1);
}

static void *allocate(size_t count, size_t bytes)
{
    void *at = calloc(count, bytes);

    if (at == NULL)
        fail("no memory");
    return at;
}

/* The next item is near three times the last one: learnable, by no counting of single items. */
static void data_fill(struct data *d, int32_t T, int32_t items)
{
    struct random random;

    *d = (struct data){.T = T, .items = items};
    d->item = allocate((size_t)USERS * ((size_t)T + 1), sizeof *d->item);
    d->action = allocate((size_t)USERS * (size_t)T, sizeof *d->action);
    d->time_ms = allocate((size_t)USERS * (size_t)T, sizeof *d->time_ms);
    random_seed(&random, 1);
    for (int64_t u = 0; u < USERS; u++) {
        int64_t at = 1700000000000, item = (int64_t)random_below(&random, (uint64_t)items);

        for (int64_t t = 0; t < T; t++) {
            d->item[u * (T + 1) + t] = 1 + (int32_t)item;
            d->action[u * T + t] = 1 + (int32_t)random_below(&random, 7);
            d->time_ms[u * T + t] = at;
            at += 1000 * (int64_t)exp(11 * random_unit(&random));
            item = (3 * item + 1 + (int64_t)random_below(&random, 39)) % items;
        }
        d->item[u * (T + 1) + T] = 1 + (int32_t)item;
    }
}

static void assemble(struct assembly *a, const struct data *d, struct random *random)
{
    int32_t T = d->T;

    for (int32_t b = 0; b < BATCH; b++) {
        int64_t u = (int64_t)random_below(random, USERS);

        for (int32_t t = 0; t < T; t++) {
            a->item[b * T + t] = d->item[u * (T + 1) + t];
            a->next_item[b * T + t] = d->item[u * (T + 1) + t + 1];
            a->action[b * T + t] = d->action[u * T + t];
            a->time_ms[b * T + t] = d->time_ms[u * T + t];
        }
        a->history_start[b + 1] = (b + 1) * T;
        a->request_time_ms[b] = a->time_ms[b * T + T - 1];
    }
    a->batch = (struct batch){.B = BATCH,
                              .T = BATCH * T,
                              .history_start = a->history_start,
                              .item = a->item,
                              .action = a->action,
                              .time_ms = a->time_ms,
                              .request_time_ms = a->request_time_ms,
                              .candidate_start = a->candidate_start,
                              .next_item = a->next_item};
}

static void check(enum status status, const struct error *err)
{
    if (status != OK)
        fail(err->text);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static double seconds[STEPS_MAX], losses[STEPS_MAX];
    struct assembly a = {0};
    struct model_config config;
    struct trainer_config settings;
    struct trainer_objective next;
    struct trainer_losses lost;
    struct trainer *trainer;
    struct model *model;
    struct random random;
    struct data data;
    double limit, end, last = 0;
    int T, items, steps = 0;
    bool json = argc > 1 && strcmp(argv[argc - 1], "--json") == 0;
    struct error err;

    argc -= json;
    T = argc > 2 ? atoi(argv[1]) : T_MAX;
    items = argc > 2 ? atoi(argv[2]) : ITEMS;
    limit = argc > 4 ? atof(argv[4]) : SECONDS;
    if (argc == 2 || T < 1 || T > T_MAX || items < 2) {
        (void)fprintf(stderr, "usage: bench_train [T(1..128) ITEMS [BLOCK [SECONDS [THREADS]]]]\n");
        return 2;
    }
    data_fill(&data, T, items);
    a.item = allocate((size_t)BATCH * (size_t)data.T, sizeof *a.item);
    a.action = allocate((size_t)BATCH * (size_t)data.T, sizeof *a.action);
    a.next_item = allocate((size_t)BATCH * (size_t)data.T, sizeof *a.next_item);
    a.time_ms = allocate((size_t)BATCH * (size_t)data.T, sizeof *a.time_ms);
    if (!model_preset(&config, "small", data.items + 1, 0) ||
        !trainer_objective_preset(&next, "next"))
        fail("a preset is missing");
    next.negatives_block = argc > 3 ? atoi(argv[3]) : 16;
    trainer_defaults(&settings);
    settings.threads = argc > 5 ? atoi(argv[5]) : 1;
    check(model_create(&model, &config, 1, &err), &err);
    check(trainer_create(&trainer, model, &settings, &err), &err);
    random_seed(&random, 2);
    end = now() + 1e9;
    for (; steps < STEPS_MAX && now() < end; steps++) {
        double start = now();

        assemble(&a, &data, &random);
        check(trainer_step(trainer, model, &a.batch, &next, &lost, &err), &err);
        seconds[steps] = now() - start;
        losses[steps] = lost.next;
        if (steps == WARM_STEPS)
            end = now() + limit;
    }
    for (int i = 0; i < MEAN_OF_STEPS && i < steps; i++)
        last += losses[steps - 1 - i] / MEAN_OF_STEPS;
    qsort(seconds + WARM_STEPS, (size_t)(steps - WARM_STEPS), sizeof *seconds, ascending);
    end = BATCH / seconds[WARM_STEPS + (steps - WARM_STEPS) / 2];
    if (json) {
        (void)printf("{\"name\":\"train\",\"seqs_per_s\":%.1f,\"seqs_per_s_best\":%.1f}\n", end,
                     BATCH / seconds[WARM_STEPS]);
        return 0;
    }
    (void)printf("%d steps, loss %.4f to %.4f, %s, negatives of every %d positions\n", steps,
                 losses[0], last, ops_cpu()->name, (int)next.negatives_block);
    figure_report("train_sequences_per_s", end, "sequences/s", "best of the steps",
                  BATCH / seconds[WARM_STEPS]);
    figure_report("train_examples_per_s", end * data.T, "positions/s", "", 0);
    return 0;
}
