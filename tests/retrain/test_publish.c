/*
 * Tests retrain/publish: what is in a bundle, that a refusal leaves nothing, and that `current`
 * names a whole bundle after a crash, or with a full disk, at any step.
 */
#include "retrain/publish.h"

#include "kernels/model_file.h"
#include "ops/file.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/disk_steps.h"
#include "tests/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;
static struct gate gate;
static char version[MODEL_VERSION_MAX];
static struct learner *learner;

static struct publish_request request_of(const char *root, bool with_model)
{
    static const struct follower_offset offsets[] = {{0, 3, 10}, {1, 0, 20}};

    return (struct publish_request){
        .root = root,
        .preset = with_model ? "small" : NULL,
        .model = with_model ? learner_model(learner) : NULL,
        .tables = learner_tables(learner),
        .pool = learner_recalled_lists(learner),
        .item_seed = FIXTURE_SEED,
        .seed = 1,
        .created_at_ms = FIXTURE_BEGIN_MS,
        .trained_until_ms = retrain_time_ms(99),
        .topics = {{"events", offsets, 2}, {"examples", offsets, 1}},
        .topics_count = 2,
        .keep = 3,
    };
}

static void learn(void)
{
    learner = retrain_learner();
    retrain_feed(learner, 0, 200);
    retrain_train(learner, 2);
    CHECK_STATUS(OK, learner_ready(learner, &err));
}

static void forget(void)
{
    learner_destroy(learner);
    learner = NULL;
}

static const char *root(void)
{
    static char path[300];

    (void)snprintf(path, sizeof path, "%s/models", test_folder());
    return path;
}

static enum status publish(const struct publish_request *request)
{
    gate_begin(&gate);
    return publish_bundle(request, &gate, version, &err);
}

static struct manifest *verified_current(void)
{
    static struct manifest manifest;
    char name[MODEL_VERSION_MAX];

    CHECK_STATUS(OK, bundle_current(root(), name, &err));
    CHECK_STATUS(OK, bundle_verify(root(), name, &manifest, &err));
    return &manifest;
}

static int versions_in(const char *folder, bool unfinished)
{
    DIR *list = opendir(folder);
    struct dirent *entry;
    int count = 0;

    CHECK(list != NULL);
    while ((entry = readdir(list)) != NULL)
        count += unfinished ? strncmp(entry->d_name, ".new-", 5) == 0 : entry->d_name[0] == 'v';
    CHECK_INT(0, closedir(list));
    return count;
}

TEST(publish_of_tables_alone_is_the_first_bundle)
{
    struct publish_request request;
    struct manifest *manifest;

    learn();
    request = request_of(root(), false); /* the folder is made */
    CHECK_STATUS(OK, publish(&request));
    CHECK_TEXT("v000001", version);
    manifest = verified_current();
    CHECK_TEXT("", manifest->parent);
    CHECK(!model_file_present(manifest));
    CHECK_INT(1, manifest->files_count);
    CHECK_INT(3, manifest->offsets_count);
    CHECK_TEXT("examples", manifest->offsets[2].topic);
    CHECK_INT(20, manifest->offsets[1].to);
    CHECK_INT(3, manifest->offsets[0].from);
    CHECK_INT(0, manifest->metrics_count);
    forget();
}

TEST(publish_puts_evaluation_gate_and_weights_into_the_bundle)
{
    struct evaluation e = {.events = 50};
    struct publish_request request;
    struct manifest *manifest;
    struct model *model;
    char path[500];

    learn();
    request = request_of(root(), true);
    request.evaluation = &e;
    e.arms[EVALUATE_CHALLENGER].ndcg = .25;
    e.arms[EVALUATE_POPULARITY].hit_rate = .125;
    e.rounded.measured = true;
    e.rounded.ndcg = .2495;
    e.rounded.most = .0007;
    CHECK_STATUS(OK, publish(&request));
    CHECK_STATUS(OK, publish(&request));
    CHECK_TEXT("v000002", version);
    manifest = verified_current();
    CHECK_TEXT("v000001", manifest->parent);
    CHECK_TEXT("small", manifest->preset);
    CHECK(strstr(manifest->gate, "golden lists") != NULL);
    CHECK_INT(3 + 2 * (EVALUATE_ARMS - 1), manifest->metrics_count); /* there was no champion */
    CHECK_TEXT("evaluated", manifest->metrics[0].name);
    CHECK(manifest->metrics[0].value == 50);
    CHECK_TEXT("ndcg@10", manifest->metrics[1].name);
    CHECK(manifest->metrics[1].value == .25);
    CHECK_TEXT("popularity.hr@10", manifest->metrics[6].name);
    CHECK(manifest->metrics[6].value == .125);
    CHECK_TEXT(BUNDLE_BF16_CHANGE, manifest->metrics[7].name);
    CHECK_NEAR(-.0005, manifest->metrics[7].value, 1e-12);
    CHECK_TEXT(BUNDLE_BF16_MOST, manifest->metrics[8].name);
    CHECK(manifest->metrics[8].value == .0007);

    /* The weights come back bit for bit. */
    (void)snprintf(path, sizeof path, "%s/%s/%s", root(), version, MODEL_FILE_NAME);
    CHECK_STATUS(OK, model_file_load(&model, path, manifest, &err));
    CHECK_INT(model_config(learner_model(learner))->V, model_config(model)->V);
    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor a = model_tensor(model, i);
        struct model_tensor b = model_tensor(learner_model(learner), i);
        CHECK(a.count == b.count && memcmp(a.data, b.data, a.count * sizeof *a.data) == 0);
    }
    model_destroy(model);
    forget();
}

TEST(publish_leaves_what_was_current_when_the_files_score_otherwise)
{
    struct publish_request request;
    struct model_tensor tensor;

    learn();
    request = request_of(root(), true);
    CHECK_STATUS(OK, publish(&request));
    /* What is packed for scoring is of before this change, what is written of after it. */
    tensor = model_tensor(learner_model(learner), 0);
    for (size_t at = 0; at < tensor.count; at++)
        tensor.data[at] += (float)(at % 5);
    tensor = model_tensor(learner_model(learner), 3);
    for (size_t at = 0; at < tensor.count; at++)
        tensor.data[at] += (float)(at % 5);
    CHECK_STATUS(OK, publish(&request));
    CHECK(!gate.passed && strstr(gate.refusal, "golden lists") != NULL);
    CHECK_TEXT("", version);
    CHECK_TEXT("v000001", verified_current()->version);
    CHECK_INT(1, versions_in(root(), false));
    CHECK_STATUS(OK, learner_ready(learner, &err));
    forget();
}

TEST(publish_goes_on_after_a_rollback_and_over_foreign_folders)
{
    struct publish_request request;
    char path[500];

    learn();
    request = request_of(root(), false);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(OK, publish(&request));
    CHECK_STATUS(OK, bundle_set_current(root(), "v000001", &err));
    (void)snprintf(path, sizeof path, "%s/v000004", root());
    CHECK_STATUS(OK, file_make_folders(path, &err));
    CHECK_STATUS(OK, publish(&request));
    CHECK_TEXT("v000005", version);
    CHECK_TEXT("v000001", verified_current()->parent);
    forget();
}

TEST(publish_keeps_as_many_as_asked_for_and_the_parent)
{
    struct publish_request request;

    learn();
    request = request_of(root(), false);
    for (int i = 0; i < 7; i++) {
        request.created_at_ms++;
        CHECK_STATUS(OK, publish(&request));
    }
    CHECK_INT(3, versions_in(root(), false));
    CHECK_TEXT("v000006", verified_current()->parent);
    forget();
}

TEST(publish_into_what_is_no_folder_is_an_error_that_names_it)
{
    struct publish_request request;

    learn();
    retrain_write(root(), "x", 1);
    request = request_of(root(), false);
    CHECK_STATUS(ERR_IO, publish(&request));
    CHECK(strstr(err.text, root()) != NULL);
    forget();
}

TEST(publish_refuses_to_guess_what_a_damaged_pointer_meant)
{
    struct publish_request request;
    char path[500];

    learn();
    request = request_of(root(), false);
    CHECK_STATUS(OK, publish(&request));
    (void)snprintf(path, sizeof path, "%s/current", root());
    retrain_write(path, "../../etc\n", 10);
    CHECK_STATUS(ERR_MALFORMED, publish(&request));
    CHECK(strstr(err.text, "../../etc") != NULL);
    forget();
}

/* ---- crashes ---- */

/* What one attempt left costs the next one steps, so numbers are tried on for a while after the
 * first that was beyond the end. */
#define BEYOND 15

static enum status try_to_publish(void *context)
{
    return publish(context);
}

/* `current` is whole, and is `before` or newer by as much as was tried. */
static void check_whole(int before, int64_t *created_at_ms)
{
    struct manifest *manifest = verified_current();

    CHECK(manifest->files_count == 2 && model_file_present(manifest));
    CHECK(atoi(manifest->version + 1) >= before);
    CHECK(manifest->created_at_ms >= *created_at_ms);
    *created_at_ms = manifest->created_at_ms;
}

TEST(publish_leaves_a_whole_bundle_current_after_a_crash_at_any_step)
{
    struct publish_request request;
    enum status status;
    int64_t created_at_ms = 0;
    int steps = 0, before, beyond = 0;

    learn();
    request = request_of(root(), true);
    CHECK_STATUS(OK, publish(&request));
    while (beyond < BEYOND) {
        before = atoi(verified_current()->version + 1);
        request.created_at_ms++;
        if (!disk_steps_crash(++steps, try_to_publish, &request, &status)) {
            CHECK_STATUS(OK, status);
            CHECK(verified_current()->created_at_ms == request.created_at_ms);
            beyond++;
        }
        check_whole(before, &created_at_ms);
    }
    CHECK(steps > 25 + BEYOND);
    CHECK_INT(0, versions_in(root(), true));
    forget();
}

TEST(publish_leaves_a_whole_bundle_current_when_the_disk_is_full_at_any_step)
{
    struct publish_request request;
    int64_t created_at_ms = 0;
    int beyond = 0;

    learn();
    request = request_of(root(), true);
    CHECK_STATUS(OK, publish(&request));
    for (int step = 1; beyond < BEYOND; step++) {
        int before = atoi(verified_current()->version + 1);
        enum status status;

        request.created_at_ms++;
        disk_steps_fail(step);
        status = publish(&request);
        beyond += !disk_steps_failed();
        disk_steps_fail(0);
        check_whole(before, &created_at_ms);
        /* What is said is what is true: the trainer goes on from it. */
        CHECK((status == OK) == (created_at_ms == request.created_at_ms));
        CHECK(status == OK || status == ERR_IO);
        if (status == OK)
            CHECK_TEXT(version, verified_current()->version);
    }
    forget();
}

TEST(publish_of_a_delta_replaces_it_or_leaves_the_old_one)
{
    struct item_tables *read;
    struct publish_request request;
    uint64_t sequence = 0, before = 1;
    char path[500], items[500];

    learn();
    request = request_of(root(), false);
    CHECK_STATUS(OK, publish(&request));
    (void)snprintf(path, sizeof path, "%s/%s", root(), BUNDLE_DELTA_NAME);
    (void)snprintf(items, sizeof items, "%s/%s/%s", root(), version, BUNDLE_ITEMS_NAME);
    CHECK_STATUS(OK, publish_delta(root(), learner_tables(learner), version, before, &err));
    for (uint64_t n = 2; n < 14; n++) {
        enum status status;

        retrain_feed(learner, 200 + (int)n, 201 + (int)n);
        disk_steps_fail((int)n - 1);
        status = publish_delta(root(), learner_tables(learner), version, n, &err);
        CHECK(status == (disk_steps_failed() ? ERR_IO : OK));
        disk_steps_fail(0);
        CHECK_STATUS(OK, item_tables_load(&read, items, &err));
        CHECK_STATUS(OK, item_tables_apply_delta(read, path, version, &sequence, &err));
        CHECK(sequence == n || (status != OK && sequence == before));
        before = sequence;
        item_tables_destroy(read);
    }
    CHECK(sequence == 13);
    forget();
}
