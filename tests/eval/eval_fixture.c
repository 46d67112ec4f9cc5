/* tests/eval/eval_fixture.c - see the header. */
#include "tests/eval/eval_fixture.h"

#include "ops/progress.h"
#include "ops/random.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;

void eval_fixture_write(const char *path, int noise, bool repeats)
{
    int last[EVAL_FIXTURE_USERS];
    static bool seen[EVAL_FIXTURE_USERS][EVAL_FIXTURE_ITEMS];
    FILE *file = fopen(path, "we");
    struct random random;

    CHECK(file != NULL);
    random_seed(&random, 17);
    memset(seen, 0, sizeof seen);
    for (int u = 0; u < EVAL_FIXTURE_USERS; u++)
        last[u] = (int)random_below(&random, EVAL_FIXTURE_ITEMS);
    for (int step = 0; step < EVAL_FIXTURE_STEPS; step++) {
        for (int u = 0; u < EVAL_FIXTURE_USERS; u++) {
            bool any = random_below(&random, (uint64_t)noise) == 0;
            int item = any ? (int)random_below(&random, EVAL_FIXTURE_ITEMS)
                           : (last[u] + 1) % EVAL_FIXTURE_ITEMS;

            while (!repeats && seen[u][item])
                item = (item + 1) % EVAL_FIXTURE_ITEMS;
            seen[u][item] = true;
            last[u] = item;
            (void)fprintf(file, "u%d i%d\n", u, item);
        }
    }
    CHECK_INT(0, fclose(file));
}

void eval_fixture_read(struct eval_fixture *f, const char *path, enum split_protocol protocol,
                       int threads)
{
    struct interactions_options options = {.form = INTERACTIONS_USER_ITEM};

    progress_quiet(true);
    CHECK_STATUS(OK, interactions_load(&f->data, path, &options, &err));
    CHECK_STATUS(OK, split_make(&f->split, &f->data, protocol, &err));
    CHECK_STATUS(OK, crew_create(&f->crew, threads, &err));
    CHECK_STATUS(OK, signals_create(&f->signals, &f->split, f->crew, &err));
}

void eval_fixture_make(struct eval_fixture *f, enum split_protocol protocol, int threads)
{
    char path[300];

    (void)snprintf(path, sizeof path, "%s/data", test_folder());
    eval_fixture_write(path, 8, false);
    eval_fixture_read(f, path, protocol, threads);
}

void eval_fixture_load(struct eval_fixture *f, const char *content, enum split_protocol protocol,
                       int threads)
{
    char path[300];

    (void)snprintf(path, sizeof path, "%s/data", test_folder());
    retrain_write(path, content, strlen(content));
    eval_fixture_read(f, path, protocol, threads);
}

int32_t eval_fixture_row(const struct eval_fixture *f, int i)
{
    char name[16];
    int32_t row;

    (void)snprintf(name, sizeof name, "i%d", i % EVAL_FIXTURE_ITEMS);
    row = interactions_item(&f->data, text_of(name));
    CHECK(row > 0);
    return row;
}

void eval_fixture_clear(struct eval_fixture *f)
{
    signals_destroy(f->signals);
    crew_destroy(f->crew);
    split_clear(&f->split);
    interactions_clear(&f->data);
}
