/*
 * Tests eval/neighbours against counting every pair of events, for all three forms and both splits,
 * and what it leaves out where users, items and rows are large. By hand, and for several threads:
 * tests/eval/test_signals.c.
 */
#include "eval/neighbours.h"

#include "tests/eval/eval_fixture.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN_MAX 32
#define KEPT      400
#define NEWEST    300
#define EVENTS    5000 /* of an item, that item-kNN looks at */

static struct eval_fixture f;
static struct error err;

/* ---- every pair of events -------------------------------------------------------------------- */

static double plain[PLAIN_MAX][PLAIN_MAX];

static bool has(int32_t user, int32_t item)
{
    for (int64_t e = f.data.start[user]; e < f.split.train_end[user]; e++)
        if (f.data.item[e] == item)
            return true;
    return false;
}

static void count_windows(int after, double before)
{
    const struct interactions *d = &f.data;

    for (int64_t a = 0; a < d->count; a++)
        for (int64_t b = 0; b < d->count; b++) {
            int64_t far = b > a ? b - a : a - b;

            if (a == b || d->user[a] != d->user[b] || !split_trains(&f.split, a) ||
                !split_trains(&f.split, b) || far > after)
                continue;
            plain[d->item[a]][d->item[b]] += (b > a ? 1.0 : before) / (double)far;
        }
}

static void count_users(void)
{
    for (int v = 1; v < f.data.items; v++)
        for (int i = 1; i < f.data.items; i++) {
            int both = 0, of[2] = {0};

            for (int32_t u = 0; u < f.data.users; u++) {
                both += has(u, v) && has(u, i);
                of[0] += has(u, v);
                of[1] += has(u, i);
            }
            if (v != i && both > 0)
                plain[v][i] = both / sqrt((double)of[0] * of[1]);
        }
}

static void count_plainly(enum neighbours_form form)
{
    CHECK(f.data.items <= PLAIN_MAX);
    memset(plain, 0, sizeof plain);
    if (form == NEIGHBOURS_USERS)
        count_users();
    else
        count_windows(form == NEIGHBOURS_BOTH ? 5 : 10, form == NEIGHBOURS_BOTH ? .5 : 0);
}

static void check_rows(const struct neighbours *n)
{
    CHECK_INT(f.data.items, n->items);
    CHECK_INT(0, n->start[0]);
    for (int v = 0; v < f.data.items; v++) {
        double total = 0;
        int there = 0;

        for (int i = 0; i < f.data.items; i++) {
            total += plain[v][i];
            there += plain[v][i] > 0;
        }
        CHECK_INT(there, n->start[v + 1] - n->start[v]);
        CHECK_NEAR(total, (double)n->total[v], 1e-4 * (1 + total));
        for (int64_t k = n->start[v]; k < n->start[v + 1]; k++) {
            CHECK_NEAR(plain[v][n->item[k]], (double)n->weight[k], 1e-5 * (1 + total));
            CHECK(k == n->start[v] || n->weight[k - 1] > n->weight[k] ||
                  (n->weight[k - 1] == n->weight[k] && n->item[k - 1] < n->item[k]));
        }
    }
}

TEST(neighbours_are_what_every_pair_of_events_comes_to)
{
    for (int protocol = 0; protocol < SPLIT_PROTOCOLS; protocol++) {
        char path[300];

        (void)snprintf(path, sizeof path, "%s/data%d", test_folder(), protocol);
        eval_fixture_write(path, 2, true); /* items come again, also at once */
        eval_fixture_read(&f, path, (enum split_protocol)protocol, 2);
        for (int form = NEIGHBOURS_BOTH; form <= NEIGHBOURS_USERS; form++) {
            struct neighbours n;

            count_plainly((enum neighbours_form)form);
            CHECK_STATUS(OK,
                         neighbours_make(&n, &f.split, (enum neighbours_form)form, f.crew, &err));
            check_rows(&n);
            neighbours_clear(&n);
            neighbours_clear(&n);
        }
        eval_fixture_clear(&f);
    }
}

TEST(neighbours_of_lonely_events_are_none)
{
    for (int form = NEIGHBOURS_BOTH; form <= NEIGHBOURS_USERS; form++) {
        struct neighbours n;

        eval_fixture_load(&f, "u a\nu b\nu c\nv d\n", SPLIT_LEAVE_ONE_OUT, 4);
        CHECK_STATUS(OK, neighbours_make(&n, &f.split, (enum neighbours_form)form, f.crew, &err));
        CHECK(n.items == 5 && n.start[5] == 0);
        for (int v = 0; v < n.items; v++)
            CHECK(n.total[v] == 0);
        neighbours_clear(&n);
        eval_fixture_clear(&f);
    }
}

/* ---- what is large --------------------------------------------------------------------------- */

static char *large; /* a file's content, as it grows */
static size_t large_bytes;

static void begin_large(void)
{
    large = calloc(1, 1 << 20);
    large_bytes = 0;
    CHECK(large != NULL);
}

static void say(int user, const char *kind, int item)
{
    large_bytes += (size_t)snprintf(large + large_bytes, (1 << 20) - large_bytes, "u%d %s%d\n",
                                    user, kind, item);
}

static void end_large(void)
{
    CHECK(large_bytes + 1 < 1 << 20);
    eval_fixture_load(&f, large, SPLIT_LEAVE_ONE_OUT, 2);
    free(large);
}

static int32_t row_of(const char *name)
{
    int32_t row = interactions_item(&f.data, text_of(name));

    CHECK(row > 0);
    return row;
}

static double weight_of(const struct neighbours *n, int32_t v, int32_t i)
{
    for (int64_t k = n->start[v]; k < n->start[v + 1]; k++)
        if (n->item[k] == i)
            return (double)n->weight[k];
    return 0;
}

TEST(neighbours_keep_the_heaviest_of_a_row_and_the_sum_of_all)
{
    struct neighbours n;
    int32_t hub;

    begin_large();
    for (int u = 0; u < KEPT + 50; u++) { /* hub, then an item of its own; the first fifty twice */
        say(u, "hub", 0);
        say(u, "x", u);
        if (u < 50) {
            say(u, "hub", 0);
            say(u, "x", u);
        }
        say(u, "z", 0);
        say(u, "z", 1);
    }
    end_large();
    CHECK_STATUS(OK, neighbours_make(&n, &f.split, NEIGHBOURS_FORWARD, f.crew, &err));
    hub = row_of("hub0");
    CHECK_INT(KEPT, n.start[hub + 1] - n.start[hub]);
    /* Fifty of 1 + 1/3 + 1 and once 1/2 of the hub itself, which was cut off with none. */
    CHECK_NEAR(400 + 50 * (2 + 1.0 / 3 + .5), (double)n.total[hub], .01);
    CHECK_INT(hub, n.item[n.start[hub]]); /* 50 x 1/2 */
    for (int u = 0; u < 50; u++) {
        char name[16];

        (void)snprintf(name, sizeof name, "x%d", u);
        CHECK_NEAR(2 + 1.0 / 3, weight_of(&n, hub, row_of(name)), 1e-5);
    }
    neighbours_clear(&n);
    eval_fixture_clear(&f);
}

TEST(neighbours_by_users_look_at_the_newest_of_a_long_history)
{
    struct neighbours n;

    begin_large();
    for (int i = 0; i < NEWEST + 50 + 2; i++) /* the last two are held out */
        say(0, "x", i);
    end_large();
    CHECK_STATUS(OK, neighbours_make(&n, &f.split, NEIGHBOURS_USERS, f.crew, &err));
    CHECK(weight_of(&n, row_of("x349"), row_of("x50")) == 1);
    CHECK(weight_of(&n, row_of("x349"), row_of("x49")) == 0);
    CHECK(weight_of(&n, row_of("x0"), row_of("x50")) == 1); /* an old item's row is of them, too */
    CHECK_INT(NEWEST, n.start[row_of("x0") + 1] - n.start[row_of("x0")]);
    CHECK_INT(NEWEST - 1, n.start[row_of("x50") + 1] - n.start[row_of("x50")]);
    neighbours_clear(&n);
    eval_fixture_clear(&f);
}

TEST(neighbours_by_users_of_a_very_popular_item_are_estimated)
{
    struct neighbours n;
    int32_t hub, often;

    begin_large();
    for (int u = 0; u < EVENTS + 1000; u++) { /* every second event of the hub is looked at */
        say(u, "hub", 0);
        say(u, "o", 0);
        say(u, "z", 0);
        say(u, "z", 1);
    }
    end_large();
    CHECK_STATUS(OK, neighbours_make(&n, &f.split, NEIGHBOURS_USERS, f.crew, &err));
    hub = row_of("hub0");
    often = row_of("o0");
    CHECK_NEAR(1, weight_of(&n, hub, often), 1e-6);
    CHECK_NEAR(1, weight_of(&n, often, hub), 1e-6);
    CHECK_INT(1, n.start[hub + 1] - n.start[hub]);
    neighbours_clear(&n);
    eval_fixture_clear(&f);
}
