/*
 * Tests `freshet eval` as programs run it: the rows of --json, both protocols, all formats, the
 * same bits twice, interrupted and gone on with, wrong usage and bad files.
 */
#include "eval/eval_main.h"

#include "ops/file.h"
#include "ops/json.h"
#include "tests/eval/eval_fixture.h"
#include "tests/retrain/command_fixture.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct command_result result;

static const char *path_of(const char *name)
{
    static char path[300];

    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

static int run(const char *name, const char *options)
{
    char line[900];

    (void)snprintf(line, sizeof line, "eval %s %s", path_of(name), options);
    command_run(&result, &retrain_command_tables, line);
    return result.code;
}

static const struct json_node *row_named(const struct json_node *root, const char *name)
{
    const struct json_node *row = json_member(root, "rows")->child;

    while (row != NULL && !text_equal(json_text_or(json_member(row, "name"), ""), text_of(name)))
        row = row->next;
    CHECK(row != NULL);
    return row;
}

static double metric(const struct json_node *root, const char *row, const char *name)
{
    const struct json_node *value = json_member(row_named(root, row), name);

    CHECK(value != NULL);
    return json_real_or(value, -1);
}

/* What a run measured of time is cut off: it stands at the end. */
static void cut_times(char *json)
{
    char *at = strstr(json, "\"training_s\""), *curve = strstr(json, "\"curve\"");

    CHECK(at != NULL && curve != NULL);
    memmove(at, curve, strlen(curve) + 1);
}

TEST(eval_json_holds_the_rows_that_programs_read)
{
    static const char *const rows[] = {"model",         "network",      "popularity",
                                       "popularity_7d", "covisitation", "covisitation_only",
                                       "item_knn"};
    static const char *const metrics[] = {"hr@10", "ndcg@10", "ndcg@20",    "mrr",
                                          "auc",   "gauc",    "coverage@10"};
    struct json_parser *parser = json_parser_create(1 << 18, 16384);
    const struct json_node *root;

    eval_fixture_write(path_of("data"), 8, false);
    CHECK_INT(EXIT_DONE,
              run("data", "--format user-item --protocol leave-one-out --preset small "
                          "--epochs 8 --learning-rate 0.003 --seed 1 --threads 2 --bf16 --json"));
    root = command_run_json(&result, parser);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < sizeof metrics / sizeof *metrics; k++)
            CHECK(metric(root, rows[i], metrics[k]) >= 0 && metric(root, rows[i], metrics[k]) <= 1);
    CHECK_INT(EVAL_FIXTURE_USERS, json_int_or(json_member(root, "targets"), -1));
    CHECK_INT(0, json_int_or(json_member(root, "masked_targets"), -1));
    CHECK(json_real_or(json_member(root, "training_s"), -1) >= 0);
    CHECK_INT(8, json_int_or(json_member(json_member(root, "settings"), "epochs_planned"), -1));
    CHECK_NEAR(.1, json_real_or(json_member(json_member(root, "settings"), "dropout"), -1), 1e-6);
    CHECK(json_member(json_member(root, "settings"), "bf16") != NULL); /* false, but for a GPU */
    CHECK(json_member(json_member(root, "settings"), "fusion_alone") != NULL);
    CHECK(json_real_or(json_member(json_member(root, "settings"), "fusion_validation_ndcg@10"),
                       -1) > .2);
    CHECK(metric(root, "model_ensemble", "ndcg@10") > metric(root, "popularity", "ndcg@10") + .2);
    CHECK(metric(root, "model", "ndcg@10") > metric(root, "popularity", "ndcg@10") + .2);
    /* Probabilities through a pair fitted on as few validation targets: sixty. */
    CHECK(metric(root, "model", "ne@10") < 1 && metric(root, "network", "ne@10") < 1.2);
    CHECK(metric(root, "model", "ece@10") < .1);
    CHECK_NEAR(1, metric(root, "model", "pcoc@10"), .3);
    CHECK(json_member(row_named(root, "popularity"), "ne@10") == NULL);
    CHECK(metric(root, "model", "hr@10_ips") > metric(root, "popularity", "hr@10_ips"));
    json_parser_destroy(parser);
}

TEST(eval_of_one_seed_and_thread_count_is_bit_for_bit_the_same)
{
    static char first[sizeof result.out];
    const char *options = "--epochs 2 --threads 2 --seed 5 --json";

    eval_fixture_write(path_of("data"), 4, false);
    CHECK_INT(EXIT_DONE, run("data", options));
    cut_times(result.out);
    strcpy(first, result.out);
    CHECK_INT(EXIT_DONE, run("data", options));
    cut_times(result.out);
    CHECK_TEXT(first, result.out);
    CHECK_INT(EXIT_DONE, run("data", "--epochs 2 --threads 2 --seed 6 --json"));
    cut_times(result.out);
    CHECK(strcmp(first, result.out) != 0);
}

TEST(eval_takes_csv_and_events_and_both_protocols)
{
    FILE *csv = fopen(path_of("data.csv"), "we"), *events = fopen(path_of("data.jsonl"), "we");

    CHECK(csv != NULL && events != NULL);
    (void)fprintf(csv, "rating,movieId,timestamp,userId\n");
    for (int i = 0; i < 600; i++) {
        struct event event = retrain_event(i);

        (void)fprintf(csv, "3,%.*s,%lld,%.*s\n", TEXT_ARGS(event.item),
                      (long long)event.time_ms / 1000, TEXT_ARGS(event.user));
        (void)fprintf(events,
                      "{\"type\":\"click\",\"user\":\"%.*s\",\"item\":\"%.*s\",\"ts\":%lld}\n",
                      TEXT_ARGS(event.user), TEXT_ARGS(event.item), (long long)event.time_ms);
    }
    CHECK(fclose(csv) == 0 && fclose(events) == 0);
    CHECK_INT(EXIT_DONE, run("data.csv", "--format csv --protocol time-split --epochs 1 --json"));
    CHECK(strstr(result.out, "\"timed\":true") != NULL);
    CHECK_INT(EXIT_DONE, run("data.jsonl", "--format jsonl --protocol time-split --epochs 1 "
                                           "--keep-seen --json"));
    CHECK(strstr(result.out, "\"masked_targets\":0") != NULL);
    CHECK_INT(EXIT_DONE, run("data.jsonl", "--format jsonl --baselines"));
    CHECK(strstr(result.out, "item_knn") != NULL && strstr(result.out, "\nnetwork") == NULL);
}

/* The words that replay, backtest and dry runs take, too. */
TEST(eval_tells_the_form_of_a_file)
{
    FILE *csv = fopen(path_of("told.csv"), "we"), *events = fopen(path_of("told.jsonl"), "we");

    CHECK(csv != NULL && events != NULL);
    (void)fprintf(csv, "\nuserId,movieId,timestamp\n");
    for (int i = 0; i < 200; i++) {
        (void)fprintf(csv, "u%d,i%d,%d\n", i % 20, i * 7 % 31, 1000 + i);
        (void)fprintf(events,
                      "{\"type\":\"click\",\"user\":\"u%d\",\"item\":\"i%d\",\"ts\":%d000}\n",
                      i % 20, i * 7 % 31, 1700000000 + i);
    }
    CHECK(fclose(csv) == 0 && fclose(events) == 0);
    eval_fixture_write(path_of("data"), 8, false);
    CHECK_INT(EXIT_DONE, run("data", "--format pairs --baselines --json"));
    CHECK(strstr(result.out, "\"timed\":false") != NULL);
    CHECK_INT(EXIT_DONE, run("data", "--format detect --baselines --json"));
    CHECK(strstr(result.out, "\"timed\":false") != NULL);
    CHECK_INT(EXIT_DONE, run("told.csv", "--format detect --baselines --json"));
    CHECK(strstr(result.out, "\"timed\":true") != NULL);
    CHECK_INT(EXIT_DONE, run("told.jsonl", "--format detect --baselines --json"));
    CHECK(strstr(result.out, "\"timed\":true") != NULL);
    CHECK(run("missing", "--format detect") != EXIT_DONE);
}

TEST(eval_writes_a_plot_of_the_learning_curve)
{
    char options[500], *svg;
    size_t bytes;

    eval_fixture_write(path_of("data"), 8, false);
    (void)snprintf(options, sizeof options, "--epochs 3 --plot %s/curve.svg", test_folder());
    CHECK_INT(EXIT_DONE, run("data", options));
    svg = retrain_read(path_of("curve.svg"), &bytes);
    CHECK(strstr(svg, "<svg") == svg && strstr(svg, "</svg>") != NULL);
    CHECK(strstr(svg, "polyline") != NULL);
    free(svg);
}

TEST(eval_stops_early_where_validation_gets_no_better)
{
    struct json_parser *parser = json_parser_create(1 << 18, 16384);
    const struct json_node *root;

    eval_fixture_write(path_of("data"), 1, false); /* nothing in it but chance */
    CHECK_INT(EXIT_DONE, run("data", "--epochs 40 --patience 3 --learning-rate 0.01 --json"));
    root = command_run_json(&result, parser);
    CHECK(json_int_or(json_member(root, "epochs"), -1) < 40);
    CHECK_INT(json_int_or(json_member(root, "best_epoch"), -1) + 3,
              json_int_or(json_member(root, "epochs"), -1));
    json_parser_destroy(parser);
}

TEST(eval_refuses_wrong_usage_and_bad_files)
{
    static const char *const wrong[] = {
        "--format xml",
        "--protocol guess",
        "--preset tiny",
        "--threads 0",
        "--epochs -1",
        "--warmup 2147483648",
        "--warmup 99999999999999",
        "--patience 4294967296",
        "--step 4294967297",
        "--negatives-block 4294967297",
        "--dropout 1",
        "--plot no/such/folder/x.svg",
        "--checkpoint no/such/folder/x",
    };

    eval_fixture_write(path_of("data"), 8, false);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_INT(EXIT_USAGE, run("data", wrong[i]));
    CHECK(run("missing", "--json") != EXIT_DONE);
    CHECK(strstr(result.out, "\"error\"") != NULL);
    retrain_write(path_of("empty"), "", 0);
    CHECK_INT(EXIT_BAD_DATA, run("empty", "--seed 1"));
    retrain_write(path_of("lonely"), "a 1\nb 2\nc 3\n", 12);
    CHECK_INT(EXIT_BAD_DATA, run("lonely", "--seed 1"));
    retrain_write(path_of("again"), "a 1\na 2\na 1\nb 2\nb 3\nb 2\nc 3\nc 1\nc 3\n", 36);
    CHECK_INT(EXIT_BAD_DATA, run("again", "--baselines"));
    CHECK(strstr(result.err, "--keep-seen") != NULL);
}

TEST(eval_goes_on_from_a_checkpoint_but_not_from_one_of_other_options)
{
    char options[500];

    eval_fixture_write(path_of("data"), 8, false);
    retrain_write(path_of("state"), "not a checkpoint", 16);
    (void)snprintf(options, sizeof options, "--epochs 2 --checkpoint %s/state", test_folder());
    CHECK_INT(EXIT_BAD_DATA, run("data", options));
    CHECK_INT(0, unlink(path_of("state")));
    CHECK_INT(EXIT_DONE, run("data", options));
    CHECK(access(path_of("state"), F_OK) != 0); /* done: nothing to go on with */
}

/* Users of two tastes, each of a category; in the last tenth of the time they choose items that
 * nobody chose before. */
static void write_tastes(void)
{
    FILE *events = fopen(path_of("tastes"), "w"), *items;

    CHECK(events != NULL);
    (void)fprintf(events, "ts,user,item\n");
    for (int t = 0; t < 60; t++)
        for (int user = 0; user < 40; user++)
            (void)fprintf(events, "%d,u%d,%s%d\n", 1000000 + t * 1000 + user, user,
                          user % 2 == 0 ? "left" : "right",
                          t < 54 ? (t * 7 + user * 3) % 25 : 25 + (t * 5 + user) % 20);
    CHECK(fclose(events) == 0);
    items = fopen(path_of("items"), "w");
    CHECK(items != NULL);
    for (int i = 0; i < 45; i++)
        (void)fprintf(items,
                      "{\"item\":\"left%d\",\"category\":\"L\",\"text\":\"number %d\"}\n"
                      "{\"item\":\"right%d\",\"category\":\"R\",\"text\":\"number %d\"}\n",
                      i, i + 100, i, i + 100);
    CHECK(fclose(items) == 0);
}

static double of_slice(const struct json_node *root, const char *slice, const char *row)
{
    const struct json_node *at = json_member(root, "slices")->child;

    while (at != NULL && !text_equal(json_text_or(json_member(at, "name"), ""), text_of(slice)))
        at = at->next;
    CHECK(at != NULL);
    return json_real_or(json_member(json_member(at, "hr@10"), row), -1);
}

/* Brand-new items: missed by the network, found among their like from what the catalogue says. */
static void check_new_items(const char *more)
{
    struct json_parser *parser = json_parser_create(1 << 18, 16384);
    const struct json_node *root, *among;
    char options[600];

    (void)snprintf(options, sizeof options,
                   "--format csv --protocol time-split --epochs 12 --learning-rate 0.003 --json "
                   "--items %s%s",
                   path_of("items"), more);
    CHECK_INT(EXIT_DONE, run("tastes", options));
    root = command_run_json(&result, parser);
    among = json_member(root, "among_new");
    CHECK_INT(40, json_int_or(json_member(among, "items"), -1));
    CHECK_INT(40, json_int_or(json_member(among, "described"), -1));
    CHECK(json_int_or(json_member(among, "targets"), -1) > 100);
    CHECK_NEAR(.25, json_real_or(json_member(among, "chance_hr@10"), -1), 1e-6);
    CHECK(json_real_or(json_member(among, "hr@10"), -1) > .4); /* .5 by taste alone */
    CHECK(of_slice(root, "item: not in training", "model") == 0);
    CHECK(of_slice(root, "item: not in training", "model_cold") >= 0);
    CHECK(of_slice(root, "item: not in training", "model_floor") >
          of_slice(root, "item: not in training", "model_cold") - .05); /* most are found anyway */
    CHECK(metric(root, "model_cold", "hr@10") >= 0);
    CHECK(metric(root, "model_floor", "coverage@10") > .1);
    json_parser_destroy(parser);
}

TEST(eval_finds_items_that_training_never_saw_by_their_like)
{
    write_tastes();
    check_new_items("");
    check_new_items(" --text");
}

TEST(eval_refuses_items_that_are_not_of_the_data)
{
    FILE *file;

    write_tastes();
    CHECK_INT(EXIT_USAGE, run("tastes", "--format csv --text"));
    file = fopen(path_of("others"), "w");
    CHECK(file != NULL && fputs("{\"item\":\"nobody\"}\n", file) >= 0 && fclose(file) == 0);
    {
        char options[400];

        (void)snprintf(options, sizeof options, "--format csv --epochs 1 --items %s",
                       path_of("others"));
        CHECK(run("tastes", options) != EXIT_DONE);
    }
    CHECK(strstr(result.err, "says nothing of the items of the data") != NULL);
}
