/* eval/ftrl.c - a table of hashed weights, each kept as z and n of FTRL-proximal. */
#include "eval/ftrl.h"

#include "kernels/sampler.h"
#include "ops/random.h"

#include <math.h>
#include <stdlib.h>

#define BITS      20
#define SLOTS     ((uint32_t)1 << BITS)
#define LAST      4
#define FEATURES  (LAST + 2)
#define NEGATIVES 4
#define ALPHA     .1
#define BETA      1.0
#define L1        .1
#define L2        1.0

struct ftrl {
    const struct split *split;
    int32_t V;
    float *z, *n, *w; /* (SLOTS); w is made when learning is over */
    float *log_count; /* (V) */
};

/* Mix of a place, a context and a candidate. Source: the finaliser of MurmurHash3. */
static uint32_t slot_of(uint32_t place, uint32_t context, uint32_t item)
{
    uint64_t h = ((uint64_t)context << 32 | item) + 0x9e3779b97f4a7c15u * (place + 1);

    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h >> (64 - BITS));
}

static int bit_length(int64_t count)
{
    int bits = 0;

    for (; count > 0; count >>= 1)
        bits++;
    return bits;
}

/* Contexts of a history: the last items, 0 where there is none, and its length. */
static void contexts_of(const int32_t *history, int64_t count, uint32_t contexts[FEATURES])
{
    for (int k = 0; k < LAST; k++)
        contexts[k] = k < count ? (uint32_t)history[count - 1 - k] : 0;
    contexts[LAST] = (uint32_t)bit_length(count);
    contexts[LAST + 1] = 0; /* the candidate alone */
}

static double weight_of(const struct ftrl *f, uint32_t slot)
{
    double z = (double)f->z[slot];

    if (fabs(z) <= L1)
        return 0;
    return -(z - (z > 0 ? L1 : -L1)) / ((BETA + sqrt((double)f->n[slot])) / ALPHA + L2);
}

static void learn_one(struct ftrl *f, const uint32_t contexts[FEATURES], int32_t item, double label)
{
    uint32_t slots[FEATURES];
    double weights[FEATURES], score = 0, g;

    for (int k = 0; k < FEATURES; k++) {
        slots[k] = slot_of((uint32_t)k, contexts[k], (uint32_t)item);
        weights[k] = weight_of(f, slots[k]);
        score += weights[k];
    }
    g = 1 / (1 + exp(-score)) - label;
    for (int k = 0; k < FEATURES; k++) {
        double n = (double)f->n[slots[k]];
        double sigma = (sqrt(n + g * g) - sqrt(n)) / ALPHA;

        f->z[slots[k]] += (float)(g - sigma * weights[k]);
        f->n[slots[k]] = (float)(n + g * g);
    }
}

static enum status learn(struct ftrl *f, uint64_t seed, struct error *err)
{
    const struct interactions *d = f->split->data;
    float *counts = calloc((size_t)f->V, sizeof *counts);
    struct sampler sampler = {0};
    struct random random;
    enum status status = OK;

    if (counts == NULL)
        return error_set(err, ERR_NOMEM, "no memory for counts of %d items", (int)f->V);
    for (int64_t e = 0; e < d->count; e++)
        counts[d->item[e]] += split_trains(f->split, e);
    status = sampler_set(&sampler, counts, f->V, err);
    random_seed(&random, seed);
    for (int64_t at = 0; status == OK && at < d->count; at++) {
        int64_t e = d->by_time[at], first = d->start[d->user[e]];
        uint32_t contexts[FEATURES];

        if (!split_trains(f->split, e))
            continue;
        contexts_of(d->item + first, e - first, contexts);
        learn_one(f, contexts, d->item[e], 1);
        for (int k = 0; k < NEGATIVES; k++) {
            int32_t item = sampler_draw(&sampler, &random, f->V);

            if (item != d->item[e])
                learn_one(f, contexts, item, 0);
        }
    }
    /* Negatives came in proportion to counts, so the logit is of the odds against them. */
    for (int32_t v = 0; v < f->V; v++)
        f->log_count[v] = logf(counts[v] + .1f);
    sampler_clear(&sampler);
    free(counts);
    return status;
}

enum status ftrl_create(struct ftrl **ftrl, const struct split *split, uint64_t seed,
                        struct error *err)
{
    struct ftrl *f = calloc(1, sizeof *f);
    enum status status = OK;

    *ftrl = NULL;
    if (f == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a linear model");
    f->split = split;
    f->V = split->data->items;
    f->z = calloc(SLOTS, sizeof *f->z);
    f->n = calloc(SLOTS, sizeof *f->n);
    f->w = calloc(SLOTS, sizeof *f->w);
    f->log_count = calloc((size_t)f->V, sizeof *f->log_count);
    if (f->z == NULL || f->n == NULL || f->w == NULL || f->log_count == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for a linear model");
    if (status == OK)
        status = learn(f, seed, err);
    if (status != OK) {
        ftrl_destroy(f);
        return status;
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        f->w[slot] = (float)weight_of(f, slot);
    *ftrl = f;
    return OK;
}

void ftrl_destroy(struct ftrl *f)
{
    if (f == NULL)
        return;
    free(f->z);
    free(f->n);
    free(f->w);
    free(f->log_count);
    free(f);
}

void ftrl_scores(const struct ftrl *f, const int32_t *history, int64_t count, float *scores)
{
    uint32_t contexts[FEATURES];

    contexts_of(history, count, contexts);
    for (int32_t v = 0; v < f->V; v++) {
        scores[v] = f->log_count[v];
        for (int k = 0; k < FEATURES; k++)
            scores[v] += f->w[slot_of((uint32_t)k, contexts[k], (uint32_t)v)];
    }
}
