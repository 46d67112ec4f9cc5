/* Tests `freshet offsets list`: what it shows of shards that have read, have not, were reset, are
 * damaged; and without Kafka. What ingest itself leaves: tests/integration/test_offsets.sh. */
#include "tests/ingest/command_fixture.h"
#include "tests/ingest/dataset_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static const struct kafka_broker_topic topics[] = {{"events", 3}, {NULL, 0}};
static struct dataset_fixture f;
static struct command_result result;

static int run(const char *options)
{
    char words[800];

    (void)snprintf(words, sizeof words, "offsets list%s%s", f.options, options);
    command_run(&result, &ingest_command_tables, words);
    return result.code;
}

static void check_says(const char *text)
{
    if (strstr(result.out, text) == NULL)
        test_fail(__FILE__, __LINE__, "\"%s\" is not in: %s", text, result.out);
}

TEST(offsets_list_tells_what_was_read_and_what_was_not)
{
    static const struct dataset_partition known[] = {
        {.partition = 0, .start = 5}, {.partition = 1, .start = 7}, {.partition = 2, .start = 9}};

    dataset_fixture_open(&f, topics);
    dataset_fixture_record(&f, known, 3);
    (void)REDIS_COMMAND(&f.server, "HSET", "fr{00}set", "log:events:2", "2", "skipped:events:2",
                        "4");
    for (int shard = 0; shard < DATASET_FIXTURE_SHARDS; shard++)
        dataset_fixture_apply(&f, shard, 0, 0, 10 + shard);
    CHECK_INT(EXIT_DONE, run(" --json"));
    check_says("\"partition\":0,\"log_number\":0,\"start\":5,\"next\":10,\"next_max\":13,");
    check_says("\"applied\":46,");
    check_says("\"partition\":1,\"log_number\":0,\"start\":7,\"next\":7,\"next_max\":-1,");
    check_says("\"begun\":false,");
    check_says("\"partition\":2,\"log_number\":2,\"start\":9,\"next\":9,\"next_max\":-1,");
    check_says("\"skipped\":4,");
    CHECK_INT(EXIT_DONE, run(""));
    check_says("(some shards: up to 13)");
    check_says("next is that of the shard that is furthest behind; each shard commits by itself");
    check_says("(the log ends before it: `freshet offsets diff`)"); /* nothing is in the topic */
    check_says("(not read yet)");
    check_says("(reset: ingest begins at 9)  (4 skipped by resets)");
    CHECK(strstr(result.out, " -1 ") == NULL);
    dataset_fixture_close(&f);
}

/* Of the shards that are left the one without an m begins at the recorded start. */
TEST(offsets_list_names_what_is_absent_closed_or_damaged)
{
    static const struct dataset_partition known[] = {{.partition = 0, .start = 5}};

    dataset_fixture_open(&f, topics);
    dataset_fixture_record(&f, known, 1);
    for (int shard = 1; shard < DATASET_FIXTURE_SHARDS; shard++)
        dataset_fixture_apply(&f, shard, 0, 0, 20);
    CHECK_INT(EXIT_DONE, run(" --json"));
    check_says("\"start\":5,\"next\":5,\"next_max\":20,");
    (void)REDIS_COMMAND(&f.server, "SET", "fr{00}mevents:0:0", "no hash");
    CHECK_INT(EXIT_DONE, run(" --json"));
    check_says("\"next\":20,\"next_max\":20,");
    check_says("\"damaged_shards\":1,");
    CHECK_INT(EXIT_DONE, run(""));
    check_says("(keys damaged)");
    (void)REDIS_COMMAND(&f.server, "HSET", "fr{01}mevents:0:0", "closed", "", "state", "closed");
    CHECK_INT(EXIT_DONE, run(""));
    check_says("(a reset was broken off: `freshet offsets diff`)");
    dataset_fixture_close(&f);
}

TEST(offsets_list_needs_redis_and_not_kafka)
{
    static const struct dataset_partition known[] = {{.partition = 0, .start = 5}};

    dataset_fixture_open(&f, NULL);
    CHECK_INT(EXIT_USAGE, run(""));
    CHECK(strstr(result.err, "freshet ingest") != NULL);
    dataset_fixture_record(&f, known, 0);
    CHECK_INT(EXIT_DONE, run(""));
    check_says("no partition has been read yet: start `freshet ingest`");
    check_says("the ends are not known: ");
    CHECK_INT(EXIT_DONE, run(" --json"));
    CHECK_TEXT(
        "{\"partitions\":[],\"totals\":{\"applied\":0,\"duplicate\":0,\"late\":0,\"dropped\":0,"
        "\"erased\":0,\"dead\":0,\"lag\":0}}\n",
        result.out);
    dataset_fixture_close(&f);
}
