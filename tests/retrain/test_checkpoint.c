/*
 * Tests retrain/checkpoint: train, save, load in a new process image, go on: bit for bit what never
 * stopped; every kind of damage is refused by name; a crash or a full disk at any step leaves the
 * old checkpoint or the new one.
 */
#include "retrain/checkpoint.h"

#include "ops/file.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESUME "FRESHET_TEST_RESUME" /* set: this process is the one that goes on */

static struct error err;

static struct examples *new_examples(void)
{
    struct examples_options options = {
        .rules = retrain_rules(), .pending_max = 100, .idle_ms = 1000};
    struct examples *examples;

    CHECK_STATUS(OK, examples_create(&examples, &options, &err));
    return examples;
}

/* A shown list of three of the user's time `at`, that waits for its window. */
static void show(struct examples *examples, int at)
{
    uint64_t rows[3] = {retrain_item(at % 7), retrain_item(8 + at % 7), retrain_item(16 + at % 7)};
    int64_t raw[3 * RAW_COLUMNS];
    struct example shown = {.kind = EXAMPLE_SHOWN,
                            .id = 1000 + (uint64_t)at,
                            .user = retrain_user(at % FIXTURE_USERS),
                            .time_ms = retrain_time_ms(at),
                            .request_time_ms = retrain_time_ms(at),
                            .rows_count = 3,
                            .rows = rows,
                            .raw_columns = RAW_COLUMNS,
                            .raw = raw};
    struct example label = {.kind = EXAMPLE_LABEL,
                            .id = 1000 + (uint64_t)at,
                            .user = retrain_user(at % FIXTURE_USERS),
                            .time_ms = retrain_time_ms(at + 1),
                            .shown_at_ms = retrain_time_ms(at),
                            .row = at % 3,
                            .action = FIXTURE_CLICK};

    for (int i = 0; i < 3 * RAW_COLUMNS; i++)
        raw[i] = at + i;
    CHECK_STATUS(OK, examples_add(examples, &shown, NULL, 0, &err));
    CHECK_STATUS(OK, examples_add(examples, &label, NULL, 0, &err));
}

/* What is taken from examples when they ripen. */
static void ripen(void *learner, struct list *list)
{
    learner_shown(learner, list);
}

/* One part of the whole run, the same whoever makes it: events, lists, steps in turns. */
static void run_part(struct learner *learner, struct examples *examples, int part)
{
    for (int turn = 0; turn < 5; turn++) {
        int from = (part * 5 + turn) * 60;

        retrain_feed(learner, from, from + 60);
        for (int at = from; at < from + 60; at += 6)
            show(examples, at);
        CHECK_STATUS(OK, examples_ripen(examples, learner_tables(learner),
                                        retrain_time_ms(from) + retrain_rules()->join_window_ms, 0,
                                        ripen, learner, &err));
        retrain_train(learner, 3);
    }
}

static struct checkpoint_role role_after(int part)
{
    struct checkpoint_role role = {.rounds = part};

    role.events.count = role.examples.count = 2;
    for (int i = 0; i < 2; i++) {
        role.events.offsets[i] = (struct follower_offset){i, 3 + i, 100 * part + i};
        role.events.watermarks_ms[i] = i == 0 ? INT64_MIN : retrain_time_ms(part);
        role.examples.offsets[i] = (struct follower_offset){i, 0, 10 * part + i};
    }
    return role;
}

static void save(const char *folder, int part, struct learner *learner, struct examples *examples)
{
    struct checkpoint_role role = role_after(part);

    CHECK_STATUS(OK, checkpoint_save(folder, &role, learner, examples, &err));
}

static const char *inside(const char *folder, const char *name)
{
    static char path[4][400];
    static int next;
    char *into = path[next++ % 4];

    (void)snprintf(into, sizeof path[0], "%s/%s", folder, name);
    return into;
}

/* The folder that counts. */
static const char *current(const char *folder)
{
    size_t bytes;
    char *name = retrain_read(inside(folder, "checkpoint"), &bytes);
    const char *path;

    name[strcspn(name, "\n")] = 0;
    path = inside(folder, name);
    free(name);
    return path;
}

/* Loads folder, makes part 1, saves there. */
static void go_on(const char *folder)
{
    struct learner *learner = retrain_learner();
    struct examples *examples = new_examples();
    struct checkpoint_role role;

    CHECK_STATUS(OK, checkpoint_load(folder, &role, learner, examples, &err));
    CHECK_INT(1, role.rounds);
    CHECK_INT(2, role.events.count);
    CHECK_INT(101, role.events.offsets[1].next);
    CHECK_INT(4, role.events.offsets[1].from);
    CHECK(role.events.watermarks_ms[0] == INT64_MIN);
    CHECK_INT(11, role.examples.offsets[1].next);
    run_part(learner, examples, 1);
    save(folder, 2, learner, examples);
    learner_destroy(learner);
    examples_destroy(examples);
}

/* The same test, in a new image of the program. */
static void go_on_elsewhere(const char *folder, const char *test)
{
    int state;
    pid_t child;

    CHECK_INT(0, setenv(RESUME, folder, 1));
    (void)fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int out = open(inside(folder, "output"), O_CREAT | O_WRONLY | O_TRUNC, 0600);

        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(out, STDERR_FILENO);
        (void)execl("/proc/self/exe", "run", test, (char *)NULL);
        _exit(99);
    }
    CHECK_INT(0, unsetenv(RESUME));
    CHECK_INT(child, waitpid(child, &state, 0));
    CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    CHECK_INT(0, unlink(inside(folder, "output")));
}

TEST(checkpoint_goes_on_bit_for_bit_in_a_new_process)
{
    struct learner *learner;
    struct examples *examples;
    char whole[300], cut[300], a[400], b[400];

    if (getenv(RESUME) != NULL) {
        go_on(getenv(RESUME));
        return;
    }
    (void)snprintf(whole, sizeof whole, "%s/whole", test_folder());
    (void)snprintf(cut, sizeof cut, "%s/cut", test_folder());
    CHECK_STATUS(OK, file_make_folders(whole, &err));
    CHECK_STATUS(OK, file_make_folders(cut, &err));
    learner = retrain_learner();
    examples = new_examples();
    run_part(learner, examples, 0);
    CHECK(examples_pending(examples) > 0);
    CHECK(lists_kept(learner_shown_lists(learner)) > 0);
    save(cut, 1, learner, examples);
    save(whole, 1, learner, examples);
    run_part(learner, examples, 1);
    save(whole, 2, learner, examples);
    learner_destroy(learner);
    examples_destroy(examples);

    go_on_elsewhere(cut, "checkpoint_goes_on_bit_for_bit_in_a_new_process");
    (void)snprintf(a, sizeof a, "%s", current(whole));
    (void)snprintf(b, sizeof b, "%s", current(cut));
    retrain_check_same_folder(a, b);
}
