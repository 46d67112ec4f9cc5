/*
 * Tests retrain/checkpoint: train, save, load in a new process image, go on: bit for bit what never
 * stopped; every kind of damage is refused by name; a crash or a full disk at any step leaves the
 * old checkpoint or the new one.
 */
#include "retrain/checkpoint.h"

#include "ops/file.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/disk_steps.h"
#include "tests/test.h"

#include <dirent.h>
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

/* ---- damage ---- */

static struct learner *small_learner(struct examples **examples)
{
    struct learner *learner = retrain_learner();

    *examples = new_examples();
    retrain_feed(learner, 0, 200);
    show(*examples, 150);
    retrain_train(learner, 2);
    return learner;
}

static enum status load(const char *folder)
{
    struct learner *learner = retrain_learner();
    struct examples *examples = new_examples();
    struct checkpoint_role role;
    enum status status = checkpoint_load(folder, &role, learner, examples, &err);

    learner_destroy(learner);
    examples_destroy(examples);
    return status;
}

/* A checkpoint of a small learner in the test's folder. */
static const char *saved(void)
{
    const char *folder = test_folder();
    struct examples *examples;
    struct learner *learner = small_learner(&examples);

    save(folder, 1, learner, examples);
    learner_destroy(learner);
    examples_destroy(examples);
    return folder;
}

/* Offsets that somebody wrote, with a hash that is right: partitions are indexes later. */
TEST(checkpoint_with_offsets_that_cannot_be_is_refused)
{
    static const struct follower_offset forged[] = {
        {-1, 0, 5}, {INT32_MIN, 0, 5}, {FOLLOWER_PARTITIONS_MAX, 0, 5}, {0, -1, 5}, {0, 6, 5}};

    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++)
        for (int examples_too = 0; examples_too < 2; examples_too++) {
            struct checkpoint_role role = role_after(1);
            const char *folder = saved();
            struct examples *examples;
            struct learner *learner = small_learner(&examples);

            (examples_too ? &role.examples : &role.events)->count = 1;
            (examples_too ? &role.examples : &role.events)->offsets[0] = forged[i];
            CHECK_STATUS(OK, checkpoint_save(folder, &role, learner, examples, &err));
            CHECK_STATUS(ERR_MALFORMED, load(folder));
            learner_destroy(learner);
            examples_destroy(examples);
        }
}

TEST(checkpoint_that_is_not_there_is_said_so)
{
    CHECK_STATUS(ERR_NOT_FOUND, load(test_folder()));
    CHECK_STATUS(ERR_NOT_FOUND, load(inside(test_folder(), "nowhere")));
}

TEST(checkpoint_pointer_that_names_none_is_refused_by_name)
{
    static const char *const names[] = {
        "", "\n", "state", "checkpoint-1/../..", "checkpoint-/x", "\xff\xff", "v000001\n"};
    const char *folder = saved();

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        retrain_write(inside(folder, "checkpoint"), names[i], strlen(names[i]));
        CHECK_STATUS(ERR_MALFORMED, load(folder));
        CHECK(strstr(err.text, "/checkpoint\"") != NULL);
    }
    /* One that is gone. */
    retrain_write(inside(folder, "checkpoint"), "checkpoint-9\n", 13);
    CHECK_STATUS(ERR_CORRUPT, load(folder));
    CHECK(strstr(err.text, "checkpoint-9/items") != NULL);
}

TEST(checkpoint_that_lacks_a_file_is_damaged_and_not_absent)
{
    static const char *const names[] = {"items", "base", "state"};
    const char *folder = saved();

    for (int i = 0; i < 3; i++) {
        char path[400], away[420];

        (void)snprintf(path, sizeof path, "%s", inside(current(folder), names[i]));
        (void)snprintf(away, sizeof away, "%s.away", path);
        CHECK_INT(0, rename(path, away));
        CHECK_STATUS(ERR_CORRUPT, load(folder));
        CHECK(strstr(err.text, path) != NULL);
        CHECK_INT(0, rename(away, path));
    }
    CHECK_STATUS(OK, load(folder));
}

TEST(checkpoint_refuses_truncations_and_flipped_bytes_and_names_the_file)
{
    static const char *const names[] = {"items", "base", "state"};
    const char *folder = saved();

    for (int i = 0; i < 3; i++) {
        char path[400];
        size_t bytes;
        char *whole;

        (void)snprintf(path, sizeof path, "%s", inside(current(folder), names[i]));
        whole = retrain_read(path, &bytes);
        for (size_t part = 0; part < 9; part++) {
            size_t cut = part < 2 ? part : part == 8 ? bytes - 1 : bytes * part / 8;

            retrain_write(path, whole, cut);
            CHECK(load(folder) != OK);
            CHECK(strstr(err.text, path) != NULL);
            whole[cut % bytes] ^= 16;
            retrain_write(path, whole, bytes);
            CHECK(load(folder) != OK);
            CHECK(strstr(err.text, path) != NULL);
            whole[cut % bytes] ^= 16;
        }
        whole = realloc(whole, bytes + 1);
        CHECK(whole != NULL);
        whole[bytes] = 0;
        retrain_write(path, whole, bytes + 1);
        CHECK(load(folder) != OK);
        retrain_write(path, whole, bytes);
        free(whole);
    }
    CHECK_STATUS(OK, load(folder));
}

TEST(checkpoint_of_another_data_set_or_model_is_refused_by_name)
{
    struct rules other = *retrain_rules();
    struct learner_options options;
    struct learner *learner;
    struct examples *examples = new_examples();
    struct checkpoint_role role;
    const char *folder = saved();

    other.seed++;
    retrain_learner_options(&options);
    options.rules = &other;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    CHECK_STATUS(ERR_CONFLICT, checkpoint_load(folder, &role, learner, examples, &err));
    CHECK(strstr(err.text, current(folder)) != NULL);
    learner_destroy(learner);

    retrain_learner_options(&options);
    options.preset = "medium";
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    CHECK_STATUS(ERR_CONFLICT, checkpoint_load(folder, &role, learner, examples, &err));
    CHECK(strstr(err.text, current(folder)) != NULL);
    learner_destroy(learner);
    examples_destroy(examples);
}

TEST(checkpoint_of_more_users_than_fit_now_keeps_the_newest)
{
    struct learner_options options;
    struct learner *learner;
    struct examples *examples = new_examples();
    struct checkpoint_role role;
    const char *folder = saved();

    retrain_learner_options(&options);
    options.users_max = 8;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    CHECK_STATUS(OK, checkpoint_load(folder, &role, learner, examples, &err));
    CHECK_INT(8, sequences_users(learner_sequences(learner)));
    retrain_feed(learner, 200, 300);
    learner_destroy(learner);
    examples_destroy(examples);
}

TEST(checkpoint_comes_back_when_the_model_grew_but_no_step_was_made)
{
    struct learner *learner = retrain_learner();
    struct examples *examples = new_examples();
    const char *folder = test_folder();
    bool worked;

    retrain_feed(learner, 0, 300);
    CHECK_STATUS(OK, learner_step(learner, INT64_MIN, &worked, &err)); /* nothing before it */
    CHECK(!worked);
    CHECK(model_config(learner_model(learner))->V > 1);
    save(folder, 1, learner, examples);
    CHECK_STATUS(OK, load(folder));
    learner_destroy(learner);
    examples_destroy(examples);
}

/* ---- crashes ---- */

struct saving {
    const char *folder;
    struct learner *learner;
    struct examples *examples;
    int part;
};

static enum status try_to_save(void *context)
{
    struct saving *s = context;
    struct checkpoint_role role = role_after(s->part);

    return checkpoint_save(s->folder, &role, s->learner, s->examples, &err);
}

static int rounds_in(const char *folder)
{
    struct learner *learner = retrain_learner();
    struct examples *examples = new_examples();
    struct checkpoint_role role;

    CHECK_STATUS(OK, checkpoint_load(folder, &role, learner, examples, &err));
    CHECK_INT(100 * role.rounds, role.events.offsets[0].next);
    learner_destroy(learner);
    examples_destroy(examples);
    return (int)role.rounds;
}

static int folders_in(const char *folder)
{
    DIR *list = opendir(folder);
    struct dirent *entry;
    int count = 0;

    CHECK(list != NULL);
    while ((entry = readdir(list)) != NULL)
        count += strncmp(entry->d_name, "checkpoint-", 11) == 0;
    CHECK_INT(0, closedir(list));
    return count;
}

TEST(checkpoint_is_the_old_or_the_new_one_after_a_crash_at_any_step)
{
    struct saving saving = {.folder = saved()};
    enum status status;
    int steps = 0, now, before = 1;

    saving.learner = small_learner(&saving.examples);
    do {
        saving.part = before + 1;
        steps++;
        bool crashed = disk_steps_crash(steps, try_to_save, &saving, &status);
        now = rounds_in(saving.folder);
        CHECK(now == before || now == saving.part);
        before = now;
        if (!crashed)
            break;
    } while (true);
    CHECK_STATUS(OK, status);
    CHECK_INT(saving.part, now);
    CHECK(steps > 10);
    CHECK_INT(1, folders_in(saving.folder)); /* nothing that crashes left stays */
    learner_destroy(saving.learner);
    examples_destroy(saving.examples);
}

TEST(checkpoint_is_the_old_or_the_new_one_when_the_disk_is_full_at_any_step)
{
    struct saving saving = {.folder = saved()};
    int before = 1;

    saving.learner = small_learner(&saving.examples);
    for (int step = 1; step < 1000; step++) {
        saving.part = before + 1;
        disk_steps_fail(step);
        enum status status = try_to_save(&saving);
        bool failed = disk_steps_failed();
        disk_steps_fail(0);
        int now = rounds_in(saving.folder);
        CHECK(now == before || now == saving.part);
        CHECK(status == ERR_IO || now == saving.part);
        before = now;
        if (!failed) {
            CHECK_STATUS(OK, status);
            break;
        }
    }
    CHECK_INT(saving.part, before);
    CHECK_INT(1, folders_in(saving.folder));
    learner_destroy(saving.learner);
    examples_destroy(saving.examples);
}
