/*
 * Tests `freshet model list`, `show` and `rollback` as a user runs them, ugly folders first.
 */
#include "retrain/model_main.h"

#include "ops/file.h"
#include "ops/json.h"
#include "retrain/publish.h"
#include "tests/retrain/command_fixture.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct command_result result;
static struct error err;

static const char *models(void)
{
    static char path[300];

    (void)snprintf(path, sizeof path, "%s/models", test_folder());
    return path;
}

/* words with --set model.folder=... behind them. */
static int run(const char *words)
{
    char line[600];

    (void)snprintf(line, sizeof line, "%s --set model.folder=%s", words, models());
    command_run(&result, &retrain_command_tables, line);
    return result.code;
}

/* v000001 of tables alone, v000002 and v000003 with a model. */
static void publish_three(void)
{
    static const struct follower_offset offsets[] = {{0, 3, 10}};
    struct learner *learner = retrain_learner();
    struct evaluation e = {.events = 50};
    char version[MODEL_VERSION_MAX];

    e.arms[EVALUATE_CHALLENGER].ndcg = .25;
    e.arms[EVALUATE_POPULARITY].ndcg = .125;
    retrain_feed(learner, 0, 60);
    retrain_train(learner, 1);
    CHECK_STATUS(OK, learner_ready(learner, &err));
    for (int i = 0; i < 3; i++) {
        struct publish_request request = {.root = models(),
                                          .preset = i == 0 ? NULL : "small",
                                          .model = i == 0 ? NULL : learner_model(learner),
                                          .tables = learner_tables(learner),
                                          .pool = learner_recalled_lists(learner),
                                          .evaluation = i == 0 ? NULL : &e,
                                          .item_seed = FIXTURE_SEED,
                                          .created_at_ms = FIXTURE_BEGIN_MS + i * 1000,
                                          .topics = {{"events", offsets, 1}},
                                          .topics_count = 1,
                                          .keep = 10};
        struct gate gate;

        gate_begin(&gate);
        CHECK_STATUS(OK, publish_bundle(&request, &gate, version, &err));
    }
    learner_destroy(learner);
}

static const char *current(void)
{
    static char version[MODEL_VERSION_MAX];

    CHECK_STATUS(OK, bundle_current(models(), version, &err));
    return version;
}

/* The last line of the output is one JSON object. */
static const struct json_node *json_of(struct json_parser *parser)
{
    char *end = result.out + strlen(result.out);
    const struct json_node *root;

    CHECK(end > result.out && end[-1] == '\n');
    end[-1] = 0;
    const char *line = strrchr(result.out, '\n');
    line = line == NULL ? result.out : line + 1;
    CHECK_STATUS(OK, json_parse(parser, text_of(line), &root, &err));
    return root;
}

TEST(model_list_without_a_folder_says_which)
{
    CHECK_INT(EXIT_USAGE, run("model list"));
    CHECK(strstr(result.err, models()) != NULL);
    CHECK(result.out[0] == 0);
    CHECK_INT(EXIT_USAGE, run("model list --json"));
    CHECK(strstr(result.out, "ERR_NOT_FOUND") != NULL);
}

TEST(model_list_of_an_empty_folder_says_who_publishes)
{
    CHECK_STATUS(OK, file_make_folders(models(), &err));
    CHECK_INT(EXIT_DONE, run("model list"));
    CHECK(strstr(result.out, "freshet retrain") != NULL);
    CHECK_INT(EXIT_DONE, run("model list --json"));
    CHECK_TEXT("{\"versions\":[]}\n", result.out);
}

TEST(model_list_shows_every_bundle_and_the_current_one)
{
    struct json_parser *parser = json_parser_create(1 << 16, 4096);
    const struct json_node *list;

    publish_three();
    CHECK_INT(EXIT_DONE, run("model list"));
    CHECK(strstr(result.out, "=>  v000003") != NULL);
    CHECK(strstr(result.out, "v000001          2023-11-14 22:13:20  tables") != NULL);
    CHECK(strstr(result.out, "small     NDCG@10 0.2500, popularity 0.1250") != NULL);
    CHECK(strstr(result.out, "v000001") < strstr(result.out, "v000002"));

    CHECK_INT(EXIT_DONE, run("model list --json"));
    list = json_member(json_of(parser), "versions");
    CHECK(list != NULL && strstr(result.out, "\"version\":\"v000002\",\"current\":false") != NULL);
    CHECK(strstr(result.out, "\"version\":\"v000003\",\"current\":true,\"parent\":\"v000002\"") !=
          NULL);
    CHECK(strstr(result.out, "\"ndcg@10\":0.25") != NULL);
    json_parser_destroy(parser);
}

TEST(model_list_names_a_damaged_bundle_and_lists_the_others)
{
    char path[500];

    publish_three();
    (void)snprintf(path, sizeof path, "%s/v000002/items", models());
    retrain_write(path, "x", 1);
    CHECK_INT(EXIT_DONE, run("model list"));
    CHECK(strstr(result.out, "v000001") != NULL && strstr(result.out, "v000003") != NULL);
    CHECK(strstr(result.out, "v000002") == NULL && strstr(result.err, "v000002") != NULL);
}

TEST(model_show_prints_data_metrics_files_and_gate)
{
    struct json_parser *parser = json_parser_create(1 << 16, 4096);

    publish_three();
    CHECK_INT(EXIT_DONE, run("model show"));
    CHECK(strstr(result.out, "version   v000003 (parent v000002)") != NULL);
    CHECK(strstr(result.out, "metric    ndcg@10 0.25") != NULL);
    CHECK(strstr(result.out, "data      events/0 [3, 10)") != NULL);
    CHECK(strstr(result.out, "file      weights.safetensors") != NULL);
    CHECK(strstr(result.out, "golden lists within") != NULL);
    CHECK_INT(EXIT_DONE, run("model show v000001"));
    CHECK(strstr(result.out, "none: item tables alone") != NULL);
    CHECK(strstr(result.out, "none was asked") != NULL);
    CHECK_INT(EXIT_DONE, run("model show v000002 --json"));
    CHECK(json_member(json_of(parser), "files") != NULL);
    CHECK(strstr(result.out, "\"version\":\"v000002\"") != NULL);
    json_parser_destroy(parser);
}

TEST(model_show_of_none_names_it)
{
    CHECK_STATUS(OK, file_make_folders(models(), &err));
    CHECK_INT(EXIT_USAGE, run("model show"));
    publish_three();
    CHECK_INT(EXIT_USAGE, run("model show v000009"));
    CHECK(strstr(result.err, "v000009") != NULL && strstr(result.err, "model list") != NULL);
    CHECK_INT(EXIT_BAD_DATA, run("model show ../models/v000001"));
    CHECK_INT(EXIT_USAGE, run("model show v000001 v000002"));
}

TEST(model_rollback_goes_to_the_parent_or_where_it_is_told)
{
    publish_three();
    CHECK_INT(EXIT_DONE, run("model rollback"));
    CHECK(strstr(result.out, "current is now v000002, before it was v000003") != NULL);
    CHECK(strstr(result.out, "next round whose model passes the gate replaces it") != NULL);
    CHECK(strstr(result.out, "retrain.every: 30d, retrain.drift_every: 30d and") != NULL);
    CHECK_TEXT("v000002", current());
    CHECK_INT(EXIT_DONE, run("model rollback v000003 --json"));
    CHECK_TEXT("{\"from\":\"v000002\",\"to\":\"v000003\"}\n", result.out);
    CHECK_TEXT("v000003", current());
    CHECK_INT(EXIT_DONE, run("model rollback v000001"));
    /* The first one has no parent. */
    CHECK_INT(EXIT_USAGE, run("model rollback"));
    CHECK(strstr(result.err, "no parent") != NULL);
    CHECK_TEXT("v000001", current());
}

TEST(model_rollback_dry_run_names_both_and_changes_nothing)
{
    publish_three();
    CHECK_INT(EXIT_DONE, run("model rollback --dry-run"));
    CHECK(strstr(result.out, "=>  v000003") != NULL && strstr(result.out, "    v000002") != NULL);
    CHECK(strstr(result.out, "NDCG@10 0.2500, popularity 0.1250") != NULL);
    CHECK(strstr(result.out, "current would be v000002, and is v000003; nothing was") != NULL);
    CHECK(strstr(result.out, "To hold it, stop `freshet retrain`") != NULL);
    CHECK_TEXT("v000003", current());
    CHECK_INT(EXIT_DONE, run("model rollback v000001 --dry-run --json"));
    CHECK(strstr(result.out, "{\"applied\":false,\"from\":\"v000003\",\"to\":\"v000001\"") != NULL);
    CHECK(strstr(result.out, "\"ndcg@10\":0.25") != NULL);
    CHECK_TEXT("v000003", current());
    CHECK_INT(EXIT_USAGE, run("model rollback v000007 --dry-run"));
    CHECK_TEXT("v000003", current());
}

TEST(model_rollback_refuses_a_version_that_is_missing)
{
    publish_three();
    CHECK_INT(EXIT_USAGE, run("model rollback v000007"));
    CHECK(strstr(result.err, "v000007") != NULL);
    CHECK(strstr(result.err, "freshet model list") != NULL); /* what to do */
    CHECK_TEXT("v000003", current());
    CHECK_INT(EXIT_BAD_DATA, run("model rollback ../models/v000001 --json"));
    CHECK_TEXT("v000003", current());
    CHECK_INT(EXIT_BAD_DATA, run("model rollback .new-v000004"));
    CHECK_TEXT("v000003", current());
}

TEST(model_rollback_refuses_a_damaged_bundle_and_a_missing_parent)
{
    char path[500];
    size_t bytes;
    char *weights;

    publish_three();
    (void)snprintf(path, sizeof path, "%s/v000002/weights.safetensors", models());
    weights = retrain_read(path, &bytes);
    weights[bytes - 1] ^= 1;
    retrain_write(path, weights, bytes);
    free(weights);
    CHECK_INT(EXIT_BAD_DATA, run("model rollback"));
    CHECK(strstr(result.err, "sha256") != NULL && strstr(result.err, "v000002") != NULL);
    CHECK_TEXT("v000003", current());
    (void)snprintf(path, sizeof path, "%s/v000002", models());
    CHECK_STATUS(OK, file_remove_tree(path, &err));
    CHECK_INT(EXIT_USAGE, run("model rollback"));
    CHECK_TEXT("v000003", current());
    /* One whose own name is damaged can still be left. */
    (void)snprintf(path, sizeof path, "%s/v000003/manifest.json", models());
    retrain_write(path, "{", 1);
    CHECK_INT(EXIT_BAD_DATA, run("model rollback"));
    CHECK_INT(EXIT_DONE, run("model rollback v000001"));
    CHECK_TEXT("v000001", current());
}

TEST(model_rollback_out_of_a_damaged_pointer_needs_a_name)
{
    char path[500];

    publish_three();
    (void)snprintf(path, sizeof path, "%s/current", models());
    retrain_write(path, "\xff\n", 2);
    CHECK_INT(EXIT_BAD_DATA, run("model rollback"));
    CHECK_INT(EXIT_DONE, run("model list"));
    CHECK(strstr(result.out, "v000002") != NULL && strstr(result.out, "=>") == NULL);
    CHECK(strstr(result.err, "none is current") != NULL);
    CHECK_INT(EXIT_DONE, run("model rollback v000002"));
    CHECK(strstr(result.out, "current is now v000002, before there was none") != NULL);
    CHECK_TEXT("v000002", current());
    CHECK(remove(path) == 0);
    CHECK_INT(EXIT_DONE, run("model rollback v000003 --json"));
    CHECK_TEXT("v000003", current());
}
