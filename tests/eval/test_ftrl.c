/*
 * Tests eval/ftrl against the algorithm as it is printed, over a table of (place, context, item)
 * in which nothing collides; that held-out events teach nothing; data with next to nothing in it.
 */
#include "eval/ftrl.h"

#include "kernels/sampler.h"
#include "tests/eval/eval_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ITEMS_MAX 16 /* rows, 0 among them */
#define PLACES    6
#define SEED      5

static struct eval_fixture f;
static struct error err;

/* Six weights of a decision: the last four items, the bit length of the history, the item alone. */
struct plain {
    double z[PLACES][ITEMS_MAX][ITEMS_MAX], n[PLACES][ITEMS_MAX][ITEMS_MAX];
};

static double plain_weight(const struct plain *p, int place, int context, int item)
{
    double z = p->z[place][context][item], n = p->n[place][context][item];
    const double alpha = .1, beta = 1, l1 = .1, l2 = 1;

    return fabs(z) <= l1 ? 0 : -(z - copysign(l1, z)) / ((beta + sqrt(n)) / alpha + l2);
}

static void plain_contexts(const int32_t *history, int64_t count, int contexts[PLACES])
{
    for (int k = 0; k < 4; k++)
        contexts[k] = k < count ? history[count - 1 - k] : 0;
    contexts[4] = count == 0 ? 0 : (int)floor(log2((double)count)) + 1;
    contexts[5] = 0;
}

static double plain_logit(const struct plain *p, const int contexts[PLACES], int item)
{
    double sum = 0;

    for (int k = 0; k < PLACES; k++)
        sum += plain_weight(p, k, contexts[k], item);
    return sum;
}

static void plain_learn(struct plain *p, const int contexts[PLACES], int item, double label)
{
    double g = 1 / (1 + exp(-plain_logit(p, contexts, item))) - label;

    for (int k = 0; k < PLACES; k++) {
        double *z = &p->z[k][contexts[k]][item], *n = &p->n[k][contexts[k]][item];
        double w = plain_weight(p, k, contexts[k], item);

        *z += g - (sqrt(*n + g * g) - sqrt(*n)) / .1 * w;
        *n += g * g;
    }
}

/* Learns as ftrl_create() does, negatives drawn in the same order. counts (V) are left. */
static void plain_make(struct plain *p, float *counts)
{
    const struct interactions *d = &f.data;
    struct sampler sampler = {0};
    struct random random;

    memset(p, 0, sizeof *p);
    memset(counts, 0, ITEMS_MAX * sizeof *counts);
    CHECK(d->items <= ITEMS_MAX);
    for (int64_t e = 0; e < d->count; e++)
        counts[d->item[e]] += split_trains(&f.split, e) ? 1 : 0;
    CHECK_STATUS(OK, sampler_set(&sampler, counts, d->items, &err));
    random_seed(&random, SEED);
    for (int64_t at = 0; at < d->count; at++) {
        int64_t e = d->by_time[at], first = d->start[d->user[e]];
        int contexts[PLACES];

        if (!split_trains(&f.split, e))
            continue;
        plain_contexts(d->item + first, e - first, contexts);
        plain_learn(p, contexts, d->item[e], 1);
        for (int k = 0; k < 4; k++) {
            int32_t other = sampler_draw(&sampler, &random, d->items);

            if (other != d->item[e])
                plain_learn(p, contexts, other, 0);
        }
    }
    sampler_clear(&sampler);
}

/* Users on rings of seven items, who stay for a while or leave early. */
static void load(const char *held_out)
{
    char content[8000];
    size_t used = 0;

    for (int step = 0; step < 12; step++)
        for (int u = 0; u < 20; u++)
            if (step < 3 + u % 10)
                used += (size_t)snprintf(content + used, sizeof content - used, "u%d i%d\n", u,
                                         (u + step + (u * step % 5 == 0)) % 7);
    (void)snprintf(content + used, sizeof content - used, "%s", held_out);
    eval_fixture_load(&f, content, SPLIT_LEAVE_ONE_OUT, 1);
}

TEST(ftrl_scores_are_those_of_the_printed_algorithm)
{
    static const int32_t histories[][6] = {{1}, {7, 2}, {3, 3, 3, 3, 3, 3}, {6, 5, 4, 3, 2, 1}};
    static const int64_t counts[] = {1, 2, 6, 6};
    static struct plain plain;
    float shown[ITEMS_MAX], scores[ITEMS_MAX];
    double heaviest = 0;
    struct ftrl *ftrl;

    load("");
    plain_make(&plain, shown);
    CHECK_STATUS(OK, ftrl_create(&ftrl, &f.split, SEED, &err));
    for (int h = -1; h < 4; h++) { /* -1: no history at all */
        int64_t count = h < 0 ? 0 : counts[h];
        int contexts[PLACES];

        ftrl_scores(ftrl, h < 0 ? NULL : histories[h], count, scores);
        plain_contexts(h < 0 ? NULL : histories[h], count, contexts);
        for (int v = 0; v < f.data.items; v++) {
            double logit = plain_logit(&plain, contexts, v);

            heaviest = fmax(heaviest, fabs(logit));
            CHECK_NEAR(log((double)shown[v] + .1) + logit, (double)scores[v], 1e-4);
        }
    }
    CHECK(heaviest > .3); /* it has learnt something to compare */
    ftrl_destroy(ftrl);
    eval_fixture_clear(&f);
}

/* Who leaves an item goes to the next one: it must stand above what is as popular. */
TEST(ftrl_learns_what_follows)
{
    float scores[EVAL_FIXTURE_ITEMS + 1];
    struct ftrl *ftrl;
    int first = 0, asked = 0;

    eval_fixture_make(&f, SPLIT_LEAVE_ONE_OUT, 1);
    CHECK_STATUS(OK, ftrl_create(&ftrl, &f.split, SEED, &err));
    for (int i = 0; i < EVAL_FIXTURE_ITEMS; i++) {
        int32_t from = eval_fixture_row(&f, i), to = eval_fixture_row(&f, i + 1);
        int above = 0;

        ftrl_scores(ftrl, &from, 1, scores);
        for (int v = 1; v < f.data.items; v++)
            above += scores[v] > scores[to];
        first += above == 0;
        asked++;
    }
    CHECK(first > asked / 2);
    ftrl_destroy(ftrl);
    eval_fixture_clear(&f);
}

TEST(ftrl_holds_nothing_of_validation_and_test)
{
    /* Validation and test of two users differ; the items are numbered alike. */
    static const char *const held_out[] = {"x i0\nx i1\nx i2\nx i3\nx i4\n",
                                           "x i0\nx i1\nx i2\nx i5\nx i6\n"};
    float scores[2][ITEMS_MAX];

    for (int i = 0; i < 2; i++) {
        struct ftrl *ftrl;

        load(held_out[i]);
        CHECK_STATUS(OK, ftrl_create(&ftrl, &f.split, SEED, &err));
        ftrl_scores(ftrl, (const int32_t[]){1, 2, 3}, 3, scores[i]);
        CHECK_INT(8, f.data.items);
        ftrl_destroy(ftrl);
        eval_fixture_clear(&f);
    }
    CHECK(memcmp(scores[0], scores[1], 8 * sizeof(float)) == 0);
}

TEST(ftrl_of_one_item_and_of_single_events_has_finite_scores)
{
    static const char *const files[] = {"u a\nu a\nu a\n", "u a\nu b\nu c\nv d\n"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        float scores[ITEMS_MAX];
        struct ftrl *ftrl;

        eval_fixture_load(&f, files[i], SPLIT_LEAVE_ONE_OUT, 1);
        CHECK_STATUS(OK, ftrl_create(&ftrl, &f.split, SEED, &err));
        ftrl_scores(ftrl, NULL, 0, scores);
        for (int v = 0; v < f.data.items; v++)
            CHECK(isfinite(scores[v]));
        CHECK_NEAR(log(.1), (double)scores[0], 1e-5); /* nobody chooses the unknown item */
        ftrl_destroy(ftrl);
        eval_fixture_clear(&f);
    }
    ftrl_destroy(NULL);
}
