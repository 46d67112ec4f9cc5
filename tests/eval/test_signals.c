/*
 * Tests eval/signals and eval/neighbours against counting by hand and by a plain model; that
 * no held-out event is in them; the same for any number of threads.
 */
#include "eval/signals.h"

#include "eval/neighbours.h"
#include "tests/eval/eval_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct eval_fixture f;
static struct error err;

static float weight_of(const struct neighbours *n, int32_t v, int32_t i)
{
    for (int64_t k = n->start[v]; k < n->start[v + 1]; k++)
        if (n->item[k] == i)
            return n->weight[k];
    return 0;
}

TEST(neighbours_of_one_history_by_hand)
{
    struct neighbours n;

    /* Training of u: a b c (rows 1 2 3); d and e are held out. v trains on a, c alone. */
    eval_fixture_load(&f, "u a\nu b\nu c\nu d\nu e\nv a\nv c\nv d\nv e\n", SPLIT_LEAVE_ONE_OUT, 2);
    CHECK_STATUS(OK, neighbours_make(&n, &f.split, NEIGHBOURS_BOTH, f.crew, &err));
    CHECK_NEAR(1, (double)weight_of(&n, 1, 2), 1e-6);
    CHECK_NEAR(.5 + 1, (double)weight_of(&n, 1, 3), 1e-6);
    CHECK_NEAR(.5, (double)weight_of(&n, 2, 1), 1e-6);
    CHECK_NEAR(.25 + .5, (double)weight_of(&n, 3, 1), 1e-6);
    CHECK(weight_of(&n, 3, 4) == 0 && weight_of(&n, 4, 3) == 0);
    neighbours_clear(&n);
    CHECK_STATUS(OK, neighbours_make(&n, &f.split, NEIGHBOURS_FORWARD, f.crew, &err));
    CHECK(weight_of(&n, 2, 1) == 0);
    CHECK_NEAR(1.5, (double)weight_of(&n, 1, 3), 1e-6);
    CHECK_NEAR(2.5, (double)n.total[1], 1e-6);
    neighbours_clear(&n);
    CHECK_STATUS(OK, neighbours_make(&n, &f.split, NEIGHBOURS_USERS, f.crew, &err));
    CHECK_NEAR(1 / sqrt(2), (double)weight_of(&n, 1, 2), 1e-6);
    CHECK_NEAR(1, (double)weight_of(&n, 1, 3), 1e-6);
    CHECK(weight_of(&n, 1, 1) == 0);
    neighbours_clear(&n);
    eval_fixture_clear(&f);
}

TEST(neighbours_are_the_same_for_any_number_of_threads)
{
    for (int form = NEIGHBOURS_BOTH; form <= NEIGHBOURS_USERS; form++) {
        struct neighbours one, three;
        struct crew *crew;

        eval_fixture_make(&f, SPLIT_TIME, 1);
        CHECK_STATUS(OK, crew_create(&crew, 3, &err));
        CHECK_STATUS(OK, neighbours_make(&one, &f.split, (enum neighbours_form)form, f.crew, &err));
        CHECK_STATUS(OK, neighbours_make(&three, &f.split, (enum neighbours_form)form, crew, &err));
        CHECK(memcmp(one.start, three.start, ((size_t)one.items + 1) * sizeof *one.start) == 0);
        CHECK(memcmp(one.weight, three.weight, (size_t)one.start[one.items] * sizeof *one.weight) ==
              0);
        CHECK(memcmp(one.item, three.item, (size_t)one.start[one.items] * sizeof *one.item) == 0);
        neighbours_clear(&one);
        neighbours_clear(&three);
        crew_destroy(crew);
        eval_fixture_clear(&f);
    }
}

/* What the header says, literally, for one target. */
static void check_target(const float *const of[SIGNAL_COUNT], int64_t target)
{
    const struct interactions *d = &f.data;
    double tau[3] = {fmax(100, (double)d->count / 20), fmax(100, (double)d->count / 100),
                     fmax(100, (double)d->count / 8)};
    enum signal decayed[3] = {SIGNAL_DECAYED, SIGNAL_FAST, SIGNAL_SLOW};

    for (int32_t v = 1; v < d->items; v++) {
        double count = 0, sums[3] = {0};

        for (int64_t e = 0; e < d->count; e++) {
            if (!split_trains(&f.split, e) || d->item[e] != v)
                continue;
            count++;
            for (int k = 0; k < 3 && d->order[e] < d->order[target]; k++)
                sums[k] += exp(-(double)(d->order[target] - d->order[e]) / tau[k]);
        }
        CHECK_NEAR(count, (double)of[SIGNAL_LIFETIME][v], 0);
        for (int k = 0; k < 3; k++)
            CHECK_NEAR(sums[k], (double)of[decayed[k]][v], 1e-4 * (1 + sums[k]));
    }
}

TEST(signals_of_each_target_are_what_the_header_says)
{
    struct signals_view *view;
    const float *of[SIGNAL_COUNT];

    eval_fixture_make(&f, SPLIT_LEAVE_ONE_OUT, 2);
    CHECK_STATUS(OK, signals_view_create(&view, f.signals, &err));
    for (int64_t i = 0; i < f.split.test.count; i++) {
        int64_t target = f.split.test.at[i], first = f.data.start[f.data.user[target]];
        double repeats = 0;

        signals_view_at(view, target, of);
        check_target(of, target);
        for (int32_t v = 0; v < f.data.items; v++)
            repeats += (double)of[SIGNAL_REPEATS][v];
        CHECK_NEAR((double)(target - first), repeats, 0);
        CHECK_NEAR(1, (double)of[SIGNAL_RECENCY][f.data.item[target - 1]], 0);
    }
    signals_view_destroy(view);
    eval_fixture_clear(&f);
}

TEST(signals_hold_nothing_of_validation_and_test)
{
    struct signals_view *views[2];
    const float *of[2][SIGNAL_COUNT];
    struct eval_fixture other;
    const char *shared = "u a\nu b\nu c\nv c\nv b\nv a\nw a\nw d\nw e\n";
    char content[200];

    /* Only held-out events differ, but the items are numbered alike. */
    (void)snprintf(content, sizeof content, "%su d\nv d\nu e\nv e\nw a\nw b\n", shared);
    eval_fixture_load(&f, content, SPLIT_LEAVE_ONE_OUT, 1);
    (void)snprintf(content, sizeof content, "%su b\nv a\nu d\nv d\nw c\nw e\n", shared);
    eval_fixture_load(&other, content, SPLIT_LEAVE_ONE_OUT, 1);
    CHECK_STATUS(OK, signals_view_create(&views[0], f.signals, &err));
    CHECK_STATUS(OK, signals_view_create(&views[1], other.signals, &err));
    for (int64_t i = 0; i < f.split.validation.count; i++) {
        signals_view_at(views[0], f.split.validation.at[i], of[0]);
        signals_view_at(views[1], other.split.validation.at[i], of[1]);
        for (int k = 0; k < SIGNAL_COUNT; k++)
            CHECK(memcmp(of[0][k], of[1][k], (size_t)f.data.items * sizeof(float)) == 0);
    }
    signals_view_destroy(views[0]);
    signals_view_destroy(views[1]);
    eval_fixture_clear(&f);
    eval_fixture_clear(&other);
}
