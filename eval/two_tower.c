/* eval/two_tower.c - blocks of positions through kernels/next.h, rows updated at once. */
#include "eval/two_tower.h"

#include "kernels/ops.h"
#include "kernels/sampler.h"
#include "ops/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDE        64
#define ASKED       20
#define GAMMA       .9f
#define TAU         .05f
#define NEGATIVES   128
#define BLOCK       NEXT_POSITIONS_MAX
#define RATE        .03f
#define FORGET      1.0f
#define EPSILON     1e-6f
#define EPOCHS_MOST 15
#define INIT        .02

struct two_tower {
    const struct split *split;
    int32_t V;
    float *history;              /* P (V, WIDE) */
    float *items, *inverse_norm; /* Q (V, WIDE), (V) */
    float *sums[2];              /* (V) Adagrad's, of P and Q */
};

/* What learning needs beside the tables. */
struct learning {
    struct two_tower *t;
    const struct ops *ops;
    struct sampler sampler;
    struct random random;
    struct next_set set;
    struct rows rows[2]; /* gradients of P and Q */
    int64_t *events;     /* (train_count) that are targets */
    int64_t events_count;
    float *x, *dx; /* (BLOCK, WIDE) */
    int32_t negatives[NEGATIVES];
};

static float *table(size_t rows)
{
    return aligned_alloc(64, (rows * WIDE * sizeof(float) + 127) / 64 * 64);
}

static void sum_history(const struct two_tower *t, const int32_t *history, int64_t count, float *x)
{
    float weight = 1;

    memset(x, 0, WIDE * sizeof *x);
    for (int64_t k = 0; k < ASKED && k < count; k++, weight *= GAMMA) {
        const float *row = t->history + (int64_t)history[count - 1 - k] * WIDE;

        for (int c = 0; c < WIDE; c++)
            x[c] += weight * row[c];
    }
}

static enum status begin(struct learning *l, struct error *err)
{
    struct two_tower *t = l->t;
    const struct interactions *d = t->split->data;
    float *weights = calloc((size_t)t->V, sizeof *weights);
    enum status status = OK;

    l->events = malloc((size_t)(t->split->train_count + 1) * sizeof *l->events);
    l->x = table(BLOCK + CPU_ROW_PAD);
    l->dx = table(BLOCK + CPU_ROW_PAD);
    l->set = (struct next_set){.K = NEGATIVES, .C = WIDE, .V = t->V, .tau = TAU, .emb = t->items};
    l->set.negatives = l->negatives;
    l->set.memory = aligned_alloc(
        64, ((size_t)next_set_floats(NEGATIVES, WIDE) * sizeof(float) + 127) / 64 * 64);
    if (weights == NULL || l->events == NULL || l->x == NULL || l->dx == NULL ||
        l->set.memory == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for two towers");
    for (int64_t e = 0; status == OK && e < d->count; e++) {
        if (!split_trains(t->split, e))
            continue;
        weights[d->item[e]] = 1;
        if (e > d->start[d->user[e]])
            l->events[l->events_count++] = e;
    }
    if (status == OK) {
        memset(l->set.memory, 0, (size_t)next_set_floats(NEGATIVES, WIDE) * sizeof(float));
        memset(l->x, 0, (BLOCK + CPU_ROW_PAD) * WIDE * sizeof(float));
        status = sampler_set(&l->sampler, weights, t->V, err);
    }
    for (int i = 0; status == OK && i < 2; i++)
        status = rows_reserve(&l->rows[i], t->V, WIDE, BLOCK * ASKED + NEGATIVES + BLOCK, err);
    free(weights);
    return status;
}

static void update(struct learning *l, int side)
{
    struct two_tower *t = l->t;
    struct rows *g = &l->rows[side];
    float *rows = side == 0 ? t->history : t->items;

    for (int32_t i = 0; i < g->count; i++)
        l->ops->adagrad_update(rows + (int64_t)g->row_of[i] * WIDE, &t->sums[side][g->row_of[i]],
                               g->slots + (int64_t)i * WIDE, 1, WIDE, RATE, FORGET, EPSILON);
    rows_clear(g);
}

/* One block of target events. */
static void learn_block(struct learning *l, const int64_t *events, int32_t count)
{
    const struct interactions *d = l->t->split->data;
    int32_t rows[BLOCK], targets[BLOCK];
    struct next_positions positions = {l->x, rows, targets, count};

    for (int32_t i = 0; i < count; i++) {
        int64_t first = d->start[d->user[events[i]]];

        rows[i] = i;
        targets[i] = d->item[events[i]];
        sum_history(l->t, d->item + first, events[i] - first, l->x + (int64_t)i * WIDE);
    }
    for (int k = 0; k < NEGATIVES; k++)
        l->negatives[k] = sampler_draw(&l->sampler, &l->random, l->t->V);
    memset(l->dx, 0, BLOCK * WIDE * sizeof *l->dx);
    l->ops->next_begin(&l->set);
    (void)l->ops->next_loss(l->dx, &l->rows[1], &l->set, &positions, 1);
    l->ops->next_end(&l->rows[1], &l->set);
    for (int32_t i = 0; i < count; i++) {
        int64_t first = d->start[d->user[events[i]]];
        float weight = 1;

        for (int64_t k = 1; k <= ASKED && events[i] - k >= first; k++, weight *= GAMMA) {
            float *slot = rows_slot(&l->rows[0], d->item[events[i] - k]);

            for (int c = 0; c < WIDE; c++)
                slot[c] += weight * l->dx[(int64_t)i * WIDE + c];
        }
    }
    update(l, 0);
    update(l, 1);
}

static void learn(struct learning *l)
{
    int64_t count = l->events_count, epochs = count > 0 ? TWO_TOWER_POSITIONS / count + 1 : 0;

    epochs = epochs > EPOCHS_MOST ? EPOCHS_MOST : epochs;
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        int64_t most = count < TWO_TOWER_POSITIONS ? count : TWO_TOWER_POSITIONS;

        for (int64_t i = count - 1; i > 0; i--) {
            int64_t j = (int64_t)random_below(&l->random, (uint64_t)i + 1), moved = l->events[i];

            l->events[i] = l->events[j];
            l->events[j] = moved;
        }
        for (int64_t at = 0; at < most; at += BLOCK) {
            learn_block(l, l->events + at, (int32_t)(most - at < BLOCK ? most - at : BLOCK));
        }
    }
}

enum status two_tower_create(struct two_tower **tower, const struct split *split, uint64_t seed,
                             struct error *err)
{
    struct two_tower *t = calloc(1, sizeof *t);
    struct learning l = {.t = t, .ops = ops_cpu()};
    size_t V = (size_t)split->data->items;
    enum status status;

    *tower = NULL;
    if (t == NULL)
        return error_set(err, ERR_NOMEM, "no memory for two towers");
    t->split = split;
    t->V = (int32_t)V;
    t->history = table(V);
    t->items = table(V);
    t->inverse_norm = calloc(V + 16, sizeof *t->inverse_norm);
    t->sums[0] = calloc(V, sizeof **t->sums);
    t->sums[1] = calloc(V, sizeof **t->sums);
    if (t->history == NULL || t->items == NULL || t->inverse_norm == NULL || t->sums[0] == NULL ||
        t->sums[1] == NULL) {
        two_tower_destroy(t);
        return error_set(err, ERR_NOMEM, "no memory for two towers of %zu items", V);
    }
    random_seed(&l.random, seed);
    for (size_t i = 0; i < V * WIDE; i++) {
        t->history[i] = (float)(INIT * random_normal(&l.random));
        t->items[i] = (float)(INIT * random_normal(&l.random));
    }
    status = begin(&l, err);
    if (status == OK) {
        learn(&l);
        l.ops->next_norms(t->inverse_norm, t->items, t->V, WIDE);
    }
    sampler_clear(&l.sampler);
    rows_release(&l.rows[0]);
    rows_release(&l.rows[1]);
    free(l.events);
    free(l.x);
    free(l.dx);
    free(l.set.memory);
    if (status == OK)
        *tower = t;
    else
        two_tower_destroy(t);
    return status;
}

void two_tower_destroy(struct two_tower *t)
{
    if (t == NULL)
        return;
    free(t->history);
    free(t->items);
    free(t->inverse_norm);
    free(t->sums[0]);
    free(t->sums[1]);
    free(t);
}

void two_tower_scores(const struct two_tower *t, const int32_t *history, int64_t count,
                      float *scores)
{
    _Alignas(64) float x[WIDE];

    if (count == 0) {
        memset(scores, 0, (size_t)t->V * sizeof *scores);
        return;
    }
    sum_history(t, history, count, x);
    ops_cpu()->next_scores(scores, x, t->items, t->inverse_norm, t->V, WIDE, 1 / TAU);
}
