/* Tests ingest/dry_run on files: what is counted, what is said of it, and what it ends with. */
#include "ingest/dry_run.h"

#include "ops/file.h"
#include "tests/ingest/command_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct command_result result;

static int dry(const char *lines, const char *more)
{
    char path[200], words[600];
    struct error err;

    (void)snprintf(path, sizeof path, "%s/events", test_folder());
    CHECK_STATUS(OK, file_replace(path, lines, strlen(lines), &err));
    (void)snprintf(words, sizeof words, "ingest --dry-run %s%s", path, more);
    command_run(&result, &ingest_command_tables, words);
    return result.code;
}

static bool has(const char *text)
{
    return strstr(result.out, text) != NULL;
}

#define CLICK(item)                                                                                \
    "{\"type\":\"click\",\"user\":\"u\",\"item\":\"" item "\",\"ts\":1700000000000}\n"

TEST(dry_run_counts_by_outcome_and_shows_the_first_of_each)
{
    CHECK_INT(EXIT_DONE, dry(CLICK("a") CLICK("a") CLICK("b") "oops\n"
                                                              "{\"user\":\"u\",\"item\":\"i\","
                                                              "\"ts\":1700000000000}\n",
                             ""));
    CHECK(has("5 records, 1 user, 0 examples for the trainer; nothing was written\n"));
    CHECK(has("applied                   2"));
    CHECK(has("first at line 1: {\"type\":\"click\""));
    CHECK(has("duplicate                 1"));
    CHECK(has("not_json                  1"));
    CHECK(has("first at line 4: oops\n"));
    CHECK(has("no_action                 1"));
    CHECK(has("no examples: none of these events is an impression"));
}

TEST(dry_run_says_that_a_file_knows_no_future)
{
    CHECK_INT(EXIT_DONE, dry(CLICK("a"), ""));
    CHECK(has("future_time was not judged, for a file has no record times: 0 events are later"));
    CHECK_INT(EXIT_DONE, dry(CLICK("a") "{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\","
                                        "\"ts\":9000000000000}\n",
                             ""));
    CHECK(has("record times: 1 event is later than now by more than events.max_future_skew\n"));
    CHECK(has("applied                   2"));
    CHECK_INT(EXIT_DONE, dry(CLICK("a"), " --json"));
    CHECK(has("\"future_time_judged\":false,\"after_now\":0,"));
}

TEST(dry_run_json_has_the_same_numbers)
{
    CHECK_INT(EXIT_DONE, dry(CLICK("a") "oops\n", " --json"));
    CHECK(has("{\"records\":2,\"users\":1,\"examples\":0,"));
    CHECK(has("\"applied\":{\"count\":1,\"line\":1,"));
    CHECK(has("\"not_json\":{\"count\":1,\"line\":2,\"first\":\"oops\"}"));
}

TEST(dry_run_guesses_why_nothing_can_be_used)
{
    CHECK_INT(EXIT_NO,
              dry("{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\",\"ts\":1700000000}\n", ""));
    CHECK(has("most times are before 2000: seconds read as milliseconds?"));
    CHECK(has("nothing of it can be used\n"));
    CHECK_INT(EXIT_NO, dry("oops\n", " --format jsonl --limit 1"));
    CHECK(has("1 record, 0 users, "));
    CHECK_INT(EXIT_NO,
              dry("{\"u\":1}\n" CLICK("a") "{\"u\":2}\n", " --set events.mapping.user=/who"));
    CHECK(has("no user at /who, where events.mapping.user looks for it: the mapping does not fit"));
    CHECK_INT(EXIT_DONE, dry("{\"u\":1}\n{\"u\":2}\n" CLICK("a"), ""));
    CHECK(has("no user at /user, where events.mapping.user (its default) looks for it\n"));
}

TEST(dry_run_stops_at_its_limit)
{
    CHECK_INT(EXIT_DONE, dry(CLICK("a") CLICK("b") CLICK("c"), " --limit 2"));
    CHECK(has("2 records"));
}

TEST(dry_run_and_replay_take_the_same_forms_and_no_other)
{
    static const char *const forms[] = {"detect", "jsonl"};

    for (int i = 0; i < 2; i++) {
        char more[40];

        (void)snprintf(more, sizeof more, " --format %s", forms[i]);
        CHECK_INT(EXIT_DONE, dry(CLICK("a"), more));
    }
    CHECK_INT(EXIT_USAGE, dry(CLICK("a"), " --format josnl"));
    CHECK(
        strstr(
            result.err,
            "--format is \"josnl\", must be one of detect|jsonl|csv|user-item|pairs; did you mean "
            "\"jsonl\"?") != NULL);
    command_run(&result, &ingest_command_tables, "replay x --format parquet");
    CHECK_INT(EXIT_USAGE, result.code);
    CHECK(strstr(result.err, "must be one of detect|jsonl|csv|user-item|pairs") != NULL);
    CHECK_INT(EXIT_DONE, dry(CLICK("a"), " --form jsonl")); /* its name of before */
    command_run(&result, &ingest_command_tables, "replay x --forma jsonl");
    CHECK(strstr(result.err, "did you mean --format?") != NULL);
}

TEST(dry_run_is_not_mixed_with_what_writes)
{
    CHECK_INT(EXIT_USAGE, dry(CLICK("a"), " --rebuild"));
    CHECK_INT(EXIT_USAGE, dry(CLICK("a"), " --until-end"));
    CHECK_INT(EXIT_USAGE, dry(CLICK("a"), " --limit -1"));
    command_run(&result, &ingest_command_tables, "ingest --limit 5");
    CHECK_INT(EXIT_USAGE, result.code);
    CHECK(strstr(result.err, "--format and --limit are of --dry-run") != NULL);
    command_run(&result, &ingest_command_tables,
                "ingest --dry-run nothing --set kafka.brokers=127.0.0.1:1");
    CHECK_INT(EXIT_UNREACHABLE, result.code);
    CHECK(strstr(result.err, "no file of that name, so a topic: ") != NULL);
}

TEST(dry_run_names_what_is_neither_file_nor_topic)
{
    command_run(&result, &ingest_command_tables, "ingest --dry-run /nowhere/x.jsonl");
    CHECK_INT(EXIT_USAGE, result.code);
    CHECK(strstr(result.err, "/nowhere/x.jsonl") != NULL);
    CHECK(strstr(result.err, "100 %") == NULL); /* nothing of it was done */
}
