/* Tests `freshet offsets reset` as far as nothing is written: what it says of each place, and what
 * it refuses. What is written, and what ingest makes of it: tests/integration/test_offsets.sh. */
#include "tests/ingest/command_fixture.h"
#include "tests/ingest/dataset_fixture.h"
#include "tests/support/command_run.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static const struct kafka_broker_topic topics[] = {{"events", 1}, {NULL, 0}};
static const struct dataset_partition known[] = {{.partition = 0, .start = 0}};
static struct dataset_fixture f;
static struct command_result result;

static int run(const char *options)
{
    char words[800];

    (void)snprintf(words, sizeof words, "offsets reset%s %s", f.options, options);
    command_run(&result, &ingest_command_tables, words);
    return result.code;
}

static void check(int code, const char *options, const char *text)
{
    if (run(options) != code ||
        (strstr(result.out, text) == NULL && strstr(result.err, text) == NULL))
        test_fail(__FILE__, __LINE__, "%s: %d, \"%s\" is not in: %s%s", options, result.code, text,
                  result.out, result.err);
}

static void begin(void)
{
    dataset_fixture_open(&f, topics);
    dataset_fixture_record(&f, known, 1);
    kafka_fill(kafka_broker_address(f.broker), "events", 0, 0, 10);
    for (int shard = 0; shard < DATASET_FIXTURE_SHARDS; shard++)
        dataset_fixture_apply(&f, shard, 0, 0, 6 + shard % 2);
}

TEST(offsets_reset_says_what_each_place_would_mean)
{
    begin();
    check(EXIT_DONE, "--partition 0 --to 6 --json",
          "\"from\":6,\"to\":6,\"log_number\":1,\"lost\":0,\"left_out\":0,\"again\":1");
    check(EXIT_DONE, "--partition 0 --to low --json", "\"left_out\":0,\"again\":7");
    check(EXIT_DONE, "--partition 0 --to high --json", "\"left_out\":4,\"again\":0");
    check(EXIT_DONE, "--partition 0 --to 2099-01-01T00:00:00Z --json", "\"to\":10");
    check(EXIT_DONE, "--partition 0 --to high", "left out: up to 4 records");
    check(EXIT_DONE, "--partition 0 --to high",
          "nothing was written: add --apply and --accept-loss");
    check(EXIT_DONE, "--partition 0 --to low", "nothing was written: add --apply\n");
    CHECK_TEXT("(nil)", REDIS_COMMAND(&f.server, "HGET", "fr{00}mevents:0:0", "token"));
    dataset_fixture_close(&f);
}

TEST(offsets_reset_refuses_what_is_not_there_and_writes_nothing)
{
    begin();
    check(EXIT_USAGE, "--partition 1 --to low", "no partition 1");
    check(EXIT_USAGE, "--partition 0 --to 11", "holds 0 to 10: 11 is outside");
    check(EXIT_USAGE, "--partition 0 --to -1", "-1 is outside");
    check(EXIT_USAGE, "--partition 0 --to soon", "a time with a zone");
    check(EXIT_USAGE, "--partition 0 --to low --apply --watch 1s", "--watch is at least 2s");
    check(EXIT_NO, "--partition 0 --to high --apply",
          "4 records and 0 rows for the trainer would be "
          "lost: add --accept-loss");
    CHECK_TEXT("(nil)", REDIS_COMMAND(&f.server, "HGET", "fr{00}mevents:0:0", "token"));
    CHECK_TEXT("(nil)", REDIS_COMMAND(&f.server, "HGET", "fr{00}mevents:0:0", "closed"));
    dataset_fixture_close(&f);
}
