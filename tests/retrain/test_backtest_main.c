/*
 * Tests `freshet backtest` as a user runs it: what programs read from --json, that the same seed
 * gives the same figures, bad files and options.
 */
#include "retrain/backtest_main.h"

#include "ops/json.h"
#include "tests/retrain/command_fixture.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS 300

static struct command_result result;

static const char *path_of(const char *name)
{
    static char path[300];

    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

static void write_events(int bad_lines)
{
    FILE *file = fopen(path_of("events.jsonl"), "we");

    CHECK(file != NULL);
    for (int i = 0; i < EVENTS; i++) {
        struct event event = retrain_event(i);

        (void)fprintf(file,
                      "{\"type\":\"click\",\"user\":\"%.*s\",\"item\":\"%.*s\",\"ts\":%lld}\n",
                      TEXT_ARGS(event.user), TEXT_ARGS(event.item), (long long)event.time_ms);
        if (i < bad_lines)
            (void)fprintf(file, "{\"type\":\n");
    }
    CHECK_INT(0, fclose(file));
}

/* Events [first, last) whose user has not chosen the item before. */
static int choices(int first, int last)
{
    static bool seen[FIXTURE_USERS][FIXTURE_ITEMS];
    int count = 0;

    memset(seen, 0, sizeof seen);
    for (int i = 0; i < last; i++) {
        struct event event = retrain_event(i);
        bool *known = &seen[atoi(event.user.at + 1)][atoi(event.item.at + 1)];

        count += i >= first && !*known;
        *known = true;
    }
    return count;
}

static int run(const char *options)
{
    char line[600];

    (void)snprintf(line, sizeof line, "backtest %s %s", path_of("events.jsonl"), options);
    command_run(&result, &retrain_command_tables, line);
    return result.code;
}

/* What a run measured of time is cut off. */
static void cut_times(char *json)
{
    char *at = strstr(json, "\"score_ms\"");

    CHECK(at != NULL);
    *at = 0;
}

TEST(backtest_json_holds_the_rows_that_programs_read)
{
    static const char *const names[] = {"\"name\":\"popularity\"", "\"name\":\"popularity_7d\"",
                                        "\"name\":\"covisitation\"",
                                        "\"name\":\"covisitation_only\""};
    struct json_parser *parser = json_parser_create(1 << 16, 4096);
    const struct json_node *root;

    write_events(3);
    CHECK_INT(EXIT_DONE, run("--baselines --json"));
    for (int i = 0; i < 4; i++)
        CHECK(strstr(result.out, names[i]) != NULL);
    CHECK(strstr(result.out, "\"name\":\"model\"") == NULL);
    CHECK(strstr(result.out, "\"hr@20\":") != NULL && strstr(result.out, "\"ndcg@20\":") != NULL);
    root = command_run_json(&result, parser);
    CHECK_INT(EVENTS, json_int_or(json_member(root, "events"), -1));
    CHECK_INT(3, json_int_or(json_member(root, "refused"), -1));
    CHECK_INT(FIXTURE_USERS, json_int_or(json_member(root, "users"), -1));
    CHECK_INT(choices(EVENTS / 2, EVENTS), json_int_or(json_member(root, "evaluated"), -1));
    CHECK_INT(EVENTS - choices(0, EVENTS), json_int_or(json_member(root, "repeated"), -1));
    json_parser_destroy(parser);
}

TEST(backtest_of_the_model_is_the_same_for_the_same_seed)
{
    static struct command_result first;

    write_events(0);
    CHECK_INT(EXIT_DONE, run("--every 64 --json --seed 7 --k 5"));
    CHECK(strstr(result.out, "\"name\":\"model\"") != NULL);
    CHECK(strstr(result.out, "\"model_gain_ndcg\":{\"difference\":") != NULL);
    CHECK(strstr(result.out, "\"hr@5\":") != NULL);
    cut_times(result.out);
    first = result;
    CHECK_INT(EXIT_DONE, run("--every 64 --json --seed 7 --k 5"));
    cut_times(result.out);
    CHECK_TEXT(first.out, result.out);
    /* Another seed changes the model and nothing else. */
    CHECK_INT(EXIT_DONE, run("--every 64 --json --seed 8 --k 5"));
    cut_times(result.out);
    CHECK(strcmp(first.out, result.out) != 0);
    *strstr(first.out, "\"model_gain_hr\"") = 0;
    CHECK(strncmp(first.out, result.out, strlen(first.out)) == 0);
}

TEST(backtest_table_is_for_people)
{
    write_events(0);
    CHECK_INT(EXIT_DONE, run("--baselines"));
    CHECK(strstr(result.out, "300 events (0 lines refused), 40 users") != NULL);
    CHECK(strstr(result.out, "covisitation_only") != NULL);
}

TEST(backtest_evaluates_what_it_is_told_to)
{
    struct json_parser *parser = json_parser_create(1 << 16, 4096);
    const struct json_node *root;

    write_events(0);
    CHECK_INT(EXIT_DONE, run("--baselines --json --first 290 --last 295"));
    root = command_run_json(&result, parser);
    CHECK_INT(295, json_int_or(json_member(root, "events"), -1));
    CHECK_INT(choices(290, 295), json_int_or(json_member(root, "evaluated"), -1));
    CHECK_INT(EXIT_DONE, run("--baselines --json --first 299"));
    root = command_run_json(&result, parser);
    CHECK_INT(choices(299, 300), json_int_or(json_member(root, "evaluated"), -1));
    json_parser_destroy(parser);
}

/* Zeros in every row would look like a result. */
TEST(backtest_refuses_to_evaluate_nothing)
{
    static const char *const misused[] = {"--first -1", "--last -1", "--from 1", "--from -0.1"};

    write_events(0);
    CHECK_INT(EXIT_USAGE, run("--baselines --first 300"));
    CHECK(strstr(result.err, "holds 300") != NULL);
    CHECK_TEXT("", result.out);
    CHECK_INT(EXIT_USAGE, run("--baselines --json --first 290 --last 200"));
    CHECK(strstr(result.err, "is read up to event 200") != NULL);
    for (size_t i = 0; i < sizeof misused / sizeof misused[0]; i++) {
        CHECK_INT(EXIT_USAGE, run(misused[i]));
        CHECK_TEXT("", result.out);
    }
}

TEST(backtest_of_no_events_is_bad_data)
{
    static const char refused[] = "{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\",\"ts\":17}\n";
    struct json_parser *parser = json_parser_create(1 << 16, 4096);
    struct text why;

    retrain_write(path_of("events.jsonl"), "", 0);
    CHECK_INT(EXIT_BAD_DATA, run("--baselines --json --format jsonl"));
    CHECK(json_member(command_run_json(&result, parser), "error") != NULL);
    CHECK_INT(EXIT_BAD_DATA, run("--format jsonl"));
    retrain_write(path_of("events.jsonl"), refused, sizeof refused - 1);
    CHECK_INT(EXIT_BAD_DATA, run("--baselines --json --format jsonl"));
    why = json_text_or(json_member(command_run_json(&result, parser), "error"), "");
    CHECK(memmem(why.at, why.bytes, "--dry-run", 9) != NULL);
    json_parser_destroy(parser);
}

TEST(backtest_names_what_is_wrong)
{
    command_run(&result, &retrain_command_tables, "backtest");
    CHECK_INT(EXIT_USAGE, result.code);
    command_run(&result, &retrain_command_tables, "backtest -");
    CHECK_INT(EXIT_USAGE, result.code);
    CHECK(strstr(result.err, "read twice") != NULL);
    command_run(&result, &retrain_command_tables, "backtest /nowhere/x.csv --json");
    CHECK_INT(EXIT_USAGE, result.code);
    CHECK(strstr(result.out, "/nowhere/x.csv") != NULL);
    write_events(0);
    CHECK_INT(EXIT_USAGE, run("--k 0"));
    CHECK_INT(EXIT_USAGE, run("--every 0"));
    CHECK_INT(EXIT_USAGE, run("--set model.preset=huge"));
    CHECK(run("--threads 0") != EXIT_DONE && strstr(result.err, "thread") != NULL);
}

TEST(backtest_study_shows_what_fresh_weights_are_worth)
{
    static const char *const names[] = {"model", "model_frozen", "model_daily", "model_hourly"};
    char options[400], wanted[60], *svg;
    size_t bytes;

    write_events(0);
    (void)snprintf(options, sizeof options, "--study --every 16 --plot %s/study.svg --json",
                   test_folder());
    CHECK_INT(EXIT_DONE, run(options));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(wanted, sizeof wanted, "\"name\":\"%s\",\"hr@20\":", names[i]);
        CHECK(strstr(result.out, wanted) != NULL);
    }
    CHECK(strstr(result.out, "\"progressive\":{\"hr\":[") != NULL);
    CHECK(strstr(result.out, "\"ne\":") != NULL && strstr(result.out, "\"auc\":") != NULL);
    svg = retrain_read(path_of("study.svg"), &bytes);
    CHECK(strstr(svg, "model_frozen") != NULL && strstr(svg, "</svg>") != NULL);
    free(svg);
}

/* Lists of four items of which the second is clicked, each with a request of its own. */
static void write_lists(int lists)
{
    FILE *file = fopen(path_of("events.jsonl"), "we");

    CHECK(file != NULL);
    for (int i = 0; i < lists; i++) {
        long long ts = FIXTURE_BEGIN_MS + (long long)i * 20000;

        (void)fprintf(file,
                      "{\"type\":\"impression\",\"user\":\"u%d\",\"ts\":%lld,\"request_id\":"
                      "\"r%d\",\"items\":[\"i%d\",\"i%d\",\"i%d\",\"i%d\"]}\n",
                      i % FIXTURE_USERS, ts, i, i % 7, 7 + i % 5, 12 + i % 3, 15);
        (void)fprintf(file,
                      "{\"type\":\"click\",\"user\":\"u%d\",\"ts\":%lld,\"request_id\":\"r%d\","
                      "\"item\":\"i%d\"}\n",
                      i % FIXTURE_USERS, ts + 1000, i, 7 + i % 5);
    }
    CHECK_INT(0, fclose(file));
}

TEST(backtest_judges_and_learns_from_lists_that_were_shown)
{
    struct json_parser *parser = json_parser_create(1 << 16, 4096);
    const struct json_node *lists, *row;

    write_lists(300);
    CHECK_INT(EXIT_DONE, run("--json --every 16 --set features.join_window=10s"));
    lists = json_member(command_run_json(&result, parser), "lists");
    CHECK(lists != NULL);
    /* Those of the second half but for the last ones, whose labels may still come. */
    CHECK(json_int_or(json_member(lists, "judged"), -1) > 130);
    CHECK(json_int_or(json_member(lists, "judged"), -1) ==
          json_int_or(json_member(lists, "clicks"), -1));
    row = json_member(lists, "rows")->child;
    CHECK(text_equal(json_text_or(json_member(row, "name"), ""), text_of("model")));
    /* The model knows who is clicked after as many lists; the order that was shown does not. */
    CHECK(json_real_or(json_member(row, "ndcg@10"), -1) > .9);
    CHECK(json_real_or(json_member(row, "ndcg@10_ips"), -1) > .9);
    row = row->next;
    CHECK(text_equal(json_text_or(json_member(row, "name"), ""), text_of("as_shown")));
    CHECK_NEAR(.6309, json_real_or(json_member(row, "ndcg@10"), -1), 1e-3);
    CHECK(json_real_or(json_member(json_member(row, "model_gain_ndcg"), "low"), -1) > 0);
    json_parser_destroy(parser);
    CHECK_INT(EXIT_DONE, run("--every 16 --set features.join_window=10s"));
    CHECK(strstr(result.out, "shown lists") != NULL && strstr(result.out, "as_shown") != NULL);
}

TEST(backtest_that_is_frozen_learns_nothing_from_what_it_is_asked)
{
    static struct command_result frozen;
    struct json_parser *parser = json_parser_create(1 << 16, 4096);
    const struct json_node *root;

    write_events(0);
    CHECK_INT(EXIT_DONE, run("--json --baselines --frozen --first 200"));
    root = command_run_json(&result, parser);
    CHECK_INT(choices(200, EVENTS), json_int_or(json_member(root, "evaluated"), -1));
    /* No step is made of what is asked for, live or not the steps before it are the same. */
    CHECK_INT(EXIT_DONE, run("--json --frozen --first 200 --last 260 --every 50"));
    frozen = result;
    CHECK_INT(EXIT_DONE, run("--json --first 200 --last 260 --every 50"));
    CHECK(strncmp(strstr(frozen.out, "\"steps\""), strstr(result.out, "\"steps\""), 10) != 0);
    CHECK_INT(EXIT_USAGE, run("--frozen --study"));
    json_parser_destroy(parser);
}

/* With what the catalogue says, and a model of every switch that a file can feed: other figures,
 * the same ones twice. */
TEST(backtest_takes_what_is_said_of_items_and_the_switches_of_the_model)
{
    static char first[sizeof result.out];
    char options[500];
    FILE *items;

    write_events(0);
    CHECK_INT(EXIT_DONE, run("--json --from 0.7 --every 100"));
    cut_times(result.out);
    (void)snprintf(first, sizeof first, "%s", result.out);
    items = fopen(path_of("items.jsonl"), "we");
    CHECK(items != NULL);
    for (int i = 0; i < FIXTURE_ITEMS; i++)
        (void)fprintf(items, "{\"item\":\"i%d\",\"category\":\"c%d\",\"text\":\"number %d\"}\n", i,
                      i % 3, i);
    CHECK_INT(0, fclose(items));
    (void)snprintf(options, sizeof options,
                   "--json --from 0.7 --every 100 --items %s --set model.text=32 "
                   "--set model.attention=softmax --set model.position_bias=false "
                   "--set model.time_bias=false",
                   path_of("items.jsonl"));
    CHECK_INT(EXIT_DONE, run(options));
    cut_times(result.out);
    CHECK(strcmp(first, result.out) != 0);
    (void)snprintf(first, sizeof first, "%s", result.out);
    CHECK_INT(EXIT_DONE, run(options));
    cut_times(result.out);
    CHECK_TEXT(first, result.out);
    CHECK(run("--json --set model.text=17") != EXIT_DONE);
    CHECK(run("--json --set model.contexts=a/b") != EXIT_DONE);
    CHECK(run("--json --items /nowhere/items") != EXIT_DONE);
}
