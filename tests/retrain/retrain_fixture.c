/* tests/retrain/retrain_fixture.c - see the header. */
#include "tests/retrain/retrain_fixture.h"

#include "ops/file.h"
#include "ops/hash.h"
#include "tests/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (64u << 20)

const struct rules *retrain_rules(void)
{
    static struct rules rules;
    struct event_schema *schema;
    struct error err;

    if (rules.sequence_max == 0) {
        CHECK_STATUS(OK, event_schema_default(&schema, &err));
        rules_init(&rules, schema, FIXTURE_SEED);
        event_schema_destroy(schema);
    }
    return &rules;
}

void retrain_learner_options(struct learner_options *options)
{
    learner_options_init(options);
    options->rules = retrain_rules();
    options->users_max = 1000;
    options->step_lists = 4;
    options->step_replay = 2;
    options->step_sequences = 4;
    options->recalled_rows = 8;
    options->holdout_max = 4000;
}

struct learner *retrain_learner(void)
{
    struct learner_options options;
    struct learner *learner;
    struct error err;

    retrain_learner_options(&options);
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    return learner;
}

int64_t retrain_time_ms(int i)
{
    return FIXTURE_BEGIN_MS + (int64_t)i * FIXTURE_STEP_MS;
}

struct event retrain_event(int i)
{
    static char user[16], item[16];
    uint64_t drawn = hash64_mix((uint64_t)i, 77);
    int who = (int)(drawn % FIXTURE_USERS);
    int what = (int)(drawn >> 20) % FIXTURE_ITEMS;

    what = what < 0 ? -what : what;
    if ((drawn >> 52) % 8 != 0) /* mostly of the own taste */
        what = what - what % FIXTURE_TASTES + who % FIXTURE_TASTES;
    (void)snprintf(user, sizeof user, "u%d", who);
    (void)snprintf(item, sizeof item, "i%d", what);
    return (struct event){.kind = EVENT_ACTION,
                          .action = FIXTURE_CLICK,
                          .time_ms = retrain_time_ms(i),
                          .user = text_of(user),
                          .item = text_of(item)};
}

void retrain_feed(struct learner *learner, int from, int to)
{
    struct error err;

    for (int i = from; i < to; i++) {
        struct event event = retrain_event(i);

        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    }
}

void retrain_train(struct learner *learner, int steps)
{
    struct error err;

    for (int i = 0; i < steps; i++) {
        bool worked;

        CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
        CHECK(worked || i > 0); /* what is not new is not learnt again */
    }
    CHECK_STATUS(OK, learner_settle(learner, &err));
}

static uint64_t named(char letter, int number, bool user)
{
    char name[16];

    (void)snprintf(name, sizeof name, "%c%d", letter, number);
    return user ? rules_user_hash(retrain_rules(), text_of(name))
                : rules_item_hash(retrain_rules(), text_of(name));
}

uint64_t retrain_user(int user)
{
    return named('u', user, true);
}

uint64_t retrain_item(int item)
{
    return named('i', item, false);
}

char *retrain_read(const char *path, size_t *bytes)
{
    struct error err;
    char *text;

    CHECK_STATUS(OK, file_read(path, FILE_BYTES_MAX, &text, bytes, &err));
    return text;
}

void retrain_write(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wbe");

    CHECK(file != NULL);
    CHECK(fwrite(bytes, 1, count, file) == count);
    CHECK_INT(0, fclose(file));
}

static int files_in(const char *folder)
{
    DIR *list = opendir(folder);
    struct dirent *entry;
    int count = 0;

    CHECK(list != NULL);
    while ((entry = readdir(list)) != NULL)
        count += entry->d_name[0] != '.';
    CHECK_INT(0, closedir(list));
    return count;
}

static void check_same_file(const char *a, const char *b, const char *name)
{
    char path_a[512], path_b[512];
    size_t bytes_a, bytes_b;
    char *of_a, *of_b;

    (void)snprintf(path_a, sizeof path_a, "%s/%s", a, name);
    (void)snprintf(path_b, sizeof path_b, "%s/%s", b, name);
    of_a = retrain_read(path_a, &bytes_a);
    of_b = retrain_read(path_b, &bytes_b);
    CHECK_INT(bytes_a, bytes_b);
    for (size_t at = 0; at < bytes_a; at++)
        if (of_a[at] != of_b[at])
            test_fail(__FILE__, __LINE__, "\"%s\" differs at byte %zu of %zu", name, at, bytes_a);
    free(of_a);
    free(of_b);
}

void retrain_check_same_folder(const char *a, const char *b)
{
    DIR *list = opendir(a);
    struct dirent *entry;

    CHECK(list != NULL);
    CHECK_INT(files_in(a), files_in(b));
    while ((entry = readdir(list)) != NULL)
        if (entry->d_name[0] != '.')
            check_same_file(a, b, entry->d_name);
    CHECK_INT(0, closedir(list));
}
