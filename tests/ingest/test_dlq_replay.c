/* Tests `freshet dlq show` and `dlq replay` where nothing needs a server: what is misused. What
 * they do with letters is in tests/integration/test_ingest_commands.sh. */
#include "schemas/event.h"
#include "tests/ingest/command_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <string.h>

static struct command_result result;

static void check_misused(const char *words, const char *why)
{
    command_run(&result, &ingest_command_tables, words);
    CHECK_INT(EXIT_USAGE, result.code);
    if (strstr(result.err, why) == NULL)
        test_fail(__FILE__, __LINE__, "%s: %s", words, result.err);
    CHECK_TEXT("", result.out);
}

TEST(dlq_names_the_reasons_there_are)
{
    check_misused("dlq show --reason bad_tme", "did you mean \"bad_time\"?");
    check_misused("dlq replay --reason bad_tme", "did you mean \"bad_time\"?");
    check_misused("dlq show --reason xyzzyxyzzy", "there are not_json, oversize, ");
    check_misused("dlq show --reason none", "no reason is called \"none\"");
    for (int i = 1; i < REFUSAL_COUNT; i++) {
        check_misused("dlq replay --reason xyzzyxyzzy", refusal_names[i]);
        CHECK(strstr(result.err, ", bad_schema\n") != NULL); /* the last, not cut */
    }
}

TEST(dlq_replay_refuses_what_contradicts_itself)
{
    check_misused("dlq replay --apply --dry-run", "either --dry-run, which is the default, or");
    check_misused("dlq replay --limit 0", "--limit is 1..1000000");
    check_misused("dlq replay --limit 1000001", "--limit is 1..1000000");
    check_misused("dlq replay --partition -1 --apply", "--partition is 0 or more");
    check_misused("dlq replay --partition 2147483648", "--partition is 0 or more");
    check_misused("dlq replay --offset -1", "--offset is 0 or more");
    check_misused("dlq replay --offset x", "--offset is \"x\", must be an integer");
}

TEST(dlq_says_that_kafka_does_not_answer)
{
    command_run(&result, &ingest_command_tables, "dlq replay --set kafka.brokers=127.0.0.1:1");
    CHECK_INT(EXIT_UNREACHABLE, result.code);
    CHECK(strstr(result.err, "is it running, and is its address right?") != NULL);
}
