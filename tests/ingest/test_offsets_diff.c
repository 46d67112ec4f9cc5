/* Tests `freshet offsets diff`, `list` and `reset` where they cannot know anything: no Redis, and
 * words that mean nothing. With servers: tests/integration/test_offsets.sh. */
#include "tests/ingest/command_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <string.h>

#define NOWHERE " --set redis.url=redis://127.0.0.1:1 --set kafka.brokers=127.0.0.1:1"

static struct command_result result;

static void check(int code, const char *words, const char *why)
{
    command_run(&result, &ingest_command_tables, words);
    if (code != result.code || strstr(result.err, why) == NULL)
        test_fail(__FILE__, __LINE__, "%s: %d, %s", words, result.code, result.err);
    CHECK_TEXT("", result.out);
}

TEST(offsets_diff_without_redis_says_so_and_forecasts_nothing)
{
    check(EXIT_UNREACHABLE, "offsets diff" NOWHERE, "is its address right?");
}

TEST(offsets_reset_wants_a_place_and_one_mode)
{
    check(EXIT_USAGE, "offsets reset --to low" NOWHERE, "--partition and --to");
    check(EXIT_USAGE, "offsets reset --partition 0" NOWHERE, "--partition and --to");
    check(EXIT_USAGE, "offsets reset --partition x --to low" NOWHERE, "must be an integer");
    check(EXIT_USAGE, "offsets reset --partition 0 --to low --apply --dry-run" NOWHERE, "either");
    check(EXIT_USAGE, "offsets reset --partition 0 --to low --watch 5" NOWHERE, "--watch");
}
