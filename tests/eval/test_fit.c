/*
 * Tests eval/fit: it learns an order, is the same bit for bit for one seed and thread count,
 * also over a checkpoint, and never sees a held-out event.
 */
#include "eval/fit.h"

#include "eval/full_ranking.h"
#include "eval/ranking_metrics.h"
#include "tests/eval/eval_fixture.h"
#include "tests/support/watched.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct eval_fixture f;
static struct error err;

static struct fit *begin(int threads)
{
    struct fit_options options;
    struct fit *fit;

    fit_options_init(&options, "small");
    options.epochs = 12;
    options.threads = threads;
    options.step_targets = 64;
    options.learning_rate = 3e-3f;
    CHECK_STATUS(OK, fit_create(&fit, &f.split, &options, &err));
    return fit;
}

static void run(struct fit *fit, int epochs)
{
    struct fit_epoch made;

    for (int i = 0; i < epochs; i++)
        CHECK_STATUS(OK, fit_epoch(fit, &made, NULL, &err));
}

static void check_same(struct fit *a, struct fit *b)
{
    for (int32_t i = 0; i < model_tensors_count(fit_model(a)); i++) {
        struct model_tensor x = model_tensor(fit_model(a), i), y = model_tensor(fit_model(b), i);

        CHECK(memcmp(x.data, y.data, x.count * sizeof *x.data) == 0);
    }
}

TEST(fit_learns_what_follows_what)
{
    struct fit *fit;
    struct fit_epoch first, last;
    double ndcg = 0, *ranks;

    eval_fixture_make(&f, SPLIT_LEAVE_ONE_OUT, 1);
    fit = begin(1);
    CHECK_STATUS(OK, fit_epoch(fit, &first, NULL, &err));
    CHECK_INT(f.split.train_count - EVAL_FIXTURE_USERS, first.targets);
    run(fit, 10);
    CHECK_STATUS(OK, fit_epoch(fit, &last, NULL, &err));
    CHECK(last.loss < .7 * first.loss && last.rejected == 0);
    ranks = calloc((size_t)f.split.test.count, sizeof *ranks);
    CHECK_STATUS(OK, full_ranking_network(ranks,
                                          &(struct full_ranking_world){.split = &f.split,
                                                                       .signals = f.signals,
                                                                       .crew = f.crew,
                                                                       .model = fit_model(fit)},
                                          &f.split.test, &err));
    for (int64_t i = 0; i < f.split.test.count; i++)
        ndcg += ranking_metrics_ndcg(ranks[i], 10) / (double)f.split.test.count;
    CHECK(ndcg > .7);
    free(ranks);
    fit_destroy(fit);
    eval_fixture_clear(&f);
}

TEST(fit_of_one_seed_and_thread_count_is_bit_for_bit_the_same)
{
    eval_fixture_make(&f, SPLIT_TIME, 1);
    for (int threads = 1; threads <= 2; threads++) {
        struct fit *a = begin(threads), *b = begin(threads);

        run(a, 2);
        run(b, 2);
        check_same(a, b);
        fit_destroy(a);
        fit_destroy(b);
    }
    eval_fixture_clear(&f);
}

TEST(fit_goes_on_from_a_checkpoint_as_if_it_had_never_stopped)
{
    struct state_file *state;
    struct fit *whole, *saved, *loaded;
    char path[300];

    (void)snprintf(path, sizeof path, "%s/state", test_folder());
    eval_fixture_make(&f, SPLIT_LEAVE_ONE_OUT, 1);
    whole = begin(2);
    saved = begin(2);
    loaded = begin(2);
    run(whole, 3);
    run(saved, 1);
    CHECK_STATUS(OK, state_file_begin(&state, path, &err));
    fit_save(saved, state);
    CHECK_STATUS(OK, state_file_commit(state, &err));
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(OK, fit_load(loaded, state, &err));
    CHECK_STATUS(OK, state_file_end(state, &err));
    state_file_close(state);
    CHECK_INT(1, fit_epochs(loaded));
    run(loaded, 2);
    check_same(whole, loaded);
    fit_destroy(whole);
    fit_destroy(saved);
    fit_destroy(loaded);
    eval_fixture_clear(&f);
}

TEST(fit_does_not_see_held_out_events)
{
    const char *shared = "u a\nu b\nu c\nv c\nv b\nv a\nw a\nw d\nw e\n";
    struct eval_fixture other, kept;
    char content[200];
    struct fit *a, *b;

    (void)snprintf(content, sizeof content, "%su d\nv d\nu e\nv e\nw a\nw b\n", shared);
    eval_fixture_load(&f, content, SPLIT_LEAVE_ONE_OUT, 1);
    a = begin(1);
    run(a, 3);
    (void)snprintf(content, sizeof content, "%su b\nv a\nu d\nv d\nw c\nw e\n", shared);
    eval_fixture_load(&other, content, SPLIT_LEAVE_ONE_OUT, 1);
    kept = f;
    f = other;
    b = begin(1);
    run(b, 3);
    check_same(a, b);
    fit_destroy(a);
    fit_destroy(b);
    eval_fixture_clear(&other);
    eval_fixture_clear(&kept);
}

/* NDCG@10 of real users after some epochs on data with robots that walk a step as they do and then
 * choose what they are paid for. */
static double ndcg_beside_robots(int user_targets, int64_t *targets)
{
    struct fit_epoch made;
    struct fit_options options;
    double ndcg = 0, *ranks;
    int64_t real = 0;
    struct fit *fit;

    fit_options_init(&options, "small");
    options.epochs = 6;
    options.step_targets = 64;
    options.learning_rate = 3e-3f;
    options.user_targets = user_targets;
    CHECK_STATUS(OK, fit_create(&fit, &f.split, &options, &err));
    for (int i = 0; i < (WATCHED ? 1 : 6); i++)
        CHECK_STATUS(OK, fit_epoch(fit, &made, NULL, &err));
    *targets = made.targets;
    ranks = calloc((size_t)f.split.test.count, sizeof *ranks);
    CHECK_STATUS(OK, full_ranking_network(ranks,
                                          &(struct full_ranking_world){.split = &f.split,
                                                                       .signals = f.signals,
                                                                       .crew = f.crew,
                                                                       .model = fit_model(fit),
                                                                       .keep_seen = true,
                                                                       .repeats = true},
                                          &f.split.test, &err));
    for (int64_t i = 0; i < f.split.test.count; i++) {
        int32_t user = f.data.user[f.split.test.at[i]];

        if (f.data.start[user + 1] - f.data.start[user] > 2 * EVAL_FIXTURE_STEPS)
            continue;
        ndcg += ranking_metrics_ndcg(ranks[i], 10);
        real++;
    }
    CHECK_INT(EVAL_FIXTURE_USERS, real);
    free(ranks);
    fit_destroy(fit);
    return ndcg / (double)real;
}

TEST(fit_gives_robots_one_voice_each)
{
    char path[300];
    int64_t real = EVAL_FIXTURE_USERS * (EVAL_FIXTURE_STEPS - 3), targets, all;
    double capped, open;
    FILE *file;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    (void)snprintf(path, sizeof path, "%s/data", test_folder());
    eval_fixture_write(path, 8, false);
    file = fopen(path, "ae");
    CHECK(file != NULL);
    for (int i = 0; i < 2700; i++) {
        int item = i * 5 % EVAL_FIXTURE_ITEMS, robot = i % 2;

        (void)fprintf(file, "robot%d i%d\nrobot%d i%d\nrobot%d i%d\n", robot, item, robot,
                      (item + 1) % EVAL_FIXTURE_ITEMS, robot, i / 2 % 2 == 0 ? 3 : 14);
    }
    CHECK_INT(0, fclose(file));
    eval_fixture_read(&f, path, SPLIT_LEAVE_ONE_OUT, 1);
    capped = ndcg_beside_robots(20, &targets);
    CHECK(targets <= real + 2 * (20 + 128)); /* the last piece may overshoot */
    open = ndcg_beside_robots(1 << 30, &all);
    CHECK(all > 8 * real); /* they would take eight ninths of the time */
    CHECK(capped > open - .05 || WATCHED);
    eval_fixture_clear(&f);
}

TEST(fit_refuses_a_preset_that_is_none)
{
    struct fit_options options;
    struct fit *fit;

    eval_fixture_make(&f, SPLIT_TIME, 1);
    fit_options_init(&options, "tiny");
    options.epochs = 1;
    CHECK_STATUS(ERR_CONFIG, fit_create(&fit, &f.split, &options, &err));
    CHECK(fit == NULL);
    eval_fixture_clear(&f);
}
