/*
 * Tests eval/two_tower by what its formula says of histories, whatever was learnt: cosines, so
 * bounded; of one item the same however often it came; nothing beyond the last twenty. Then that it
 * learns what follows what, from training events alone, and data with nothing to learn from.
 */
#include "eval/two_tower.h"

#include "tests/eval/eval_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SEED      3
#define LAST      20 /* items of a history that count */
#define MOST      20 /* 1 / tau */
#define ITEMS_MAX (EVAL_FIXTURE_ITEMS + 1)

static struct eval_fixture f;
static struct error err;

static struct two_tower *fixture_tower(uint64_t seed)
{
    struct two_tower *tower;

    eval_fixture_make(&f, SPLIT_LEAVE_ONE_OUT, 1);
    CHECK_INT(ITEMS_MAX, f.data.items);
    CHECK_STATUS(OK, two_tower_create(&tower, &f.split, seed, &err));
    return tower;
}

TEST(two_tower_without_anything_to_learn_from_has_finite_scores)
{
    /* One training event a user: none has a history. One item alone. A user of one event. */
    static const char *const files[] = {"u a\nu b\nu c\nv b\nv c\nv a\n", "u a\nu a\nu a\nu a\n",
                                        "u a\nu b\nu c\nu d\nx z\n"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        float scores[ITEMS_MAX];
        struct two_tower *tower;
        int32_t one = 1;

        eval_fixture_load(&f, files[i], SPLIT_LEAVE_ONE_OUT, 1);
        CHECK_STATUS(OK, two_tower_create(&tower, &f.split, SEED, &err));
        two_tower_scores(tower, &one, 1, scores);
        for (int v = 0; v < f.data.items; v++)
            CHECK(fabsf(scores[v]) <= MOST * 1.0001f);
        two_tower_scores(tower, NULL, 0, scores);
        for (int v = 0; v < f.data.items; v++)
            CHECK(scores[v] == 0);
        two_tower_destroy(tower);
        eval_fixture_clear(&f);
    }
    two_tower_destroy(NULL);
}

TEST(two_tower_scores_are_cosines_of_the_last_twenty)
{
    struct two_tower *tower;
    int32_t history[3 * LAST];
    float scores[ITEMS_MAX], others[ITEMS_MAX];

    SKIP_WHERE_THREADS_ARE_WATCHED();
    tower = fixture_tower(SEED);
    for (int i = 0; i < 3 * LAST; i++)
        history[i] = 5;
    two_tower_scores(tower, history, 1, scores);
    for (int count = 2; count <= 3 * LAST; count++) { /* a longer arrow of one direction */
        two_tower_scores(tower, history, count, others);
        for (int v = 1; v < ITEMS_MAX; v++)
            CHECK_NEAR((double)scores[v], (double)others[v], 1e-3);
    }
    for (int i = 0; i < 3 * LAST; i++)
        history[i] = 1 + i * 7 % EVAL_FIXTURE_ITEMS;
    two_tower_scores(tower, history + 2 * LAST, LAST, scores);
    two_tower_scores(tower, history, 3 * LAST, others);
    CHECK(memcmp(scores, others, sizeof scores) == 0);
    two_tower_scores(tower, history + 2 * LAST + 1, LAST - 1, others);
    CHECK(memcmp(scores, others, sizeof scores) != 0); /* the twentieth counts */
    two_tower_destroy(tower);
    eval_fixture_clear(&f);
}

TEST(two_tower_learns_what_follows)
{
    struct two_tower *tower;
    int near = 0;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    tower = fixture_tower(SEED);
    for (int i = 0; i < EVAL_FIXTURE_ITEMS; i++) {
        float scores[ITEMS_MAX];
        int32_t from = eval_fixture_row(&f, i), to = eval_fixture_row(&f, i + 1);
        int above = 0;

        two_tower_scores(tower, &from, 1, scores);
        for (int v = 1; v < ITEMS_MAX; v++)
            above += v != from && scores[v] > scores[to];
        near += above < 3;
    }
    CHECK(near > EVAL_FIXTURE_ITEMS * 2 / 3); /* by chance an eighth would be */
    two_tower_destroy(tower);
    eval_fixture_clear(&f);
}

TEST(two_tower_is_the_same_for_one_seed_and_another_for_another)
{
    static const uint64_t seeds[] = {SEED, SEED, SEED + 1};
    float scores[3][ITEMS_MAX];
    int32_t history[] = {3, 1, 2};

    SKIP_WHERE_THREADS_ARE_WATCHED();
    for (int i = 0; i < 3; i++) {
        struct two_tower *tower = fixture_tower(seeds[i]);

        two_tower_scores(tower, history, 3, scores[i]);
        two_tower_destroy(tower);
        eval_fixture_clear(&f);
    }
    CHECK(memcmp(scores[0], scores[1], sizeof *scores) == 0);
    CHECK(memcmp(scores[0], scores[2], sizeof *scores) != 0);
}

TEST(two_tower_holds_nothing_of_validation_and_test)
{
    /* Only held-out events differ, but the items are numbered alike. */
    static const char shared[] = "u a\nu b\nu c\nv c\nv b\nv a\nw a\nw d\nw e\n";
    static const char *const held_out[] = {"u d\nv d\nu e\nv e\nw a\nw b\n",
                                           "u b\nv a\nu d\nv d\nw c\nw e\n"};
    float scores[2][ITEMS_MAX];

    for (int i = 0; i < 2; i++) {
        struct two_tower *tower;
        char content[200];

        (void)snprintf(content, sizeof content, "%s%s", shared, held_out[i]);
        eval_fixture_load(&f, content, SPLIT_LEAVE_ONE_OUT, 1);
        CHECK_STATUS(OK, two_tower_create(&tower, &f.split, SEED, &err));
        two_tower_scores(tower, (const int32_t[]){1, 2}, 2, scores[i]);
        CHECK_INT(6, f.data.items);
        two_tower_destroy(tower);
        eval_fixture_clear(&f);
    }
    CHECK(memcmp(scores[0], scores[1], 6 * sizeof(float)) == 0);
}
