/* Tests `freshet offsets diff`, `list` and `reset` where they cannot know anything: no Redis, and
 * words that mean nothing. With servers: tests/integration/test_offsets.sh. */
#include "features/features_main.h"
#include "features/redis_target.h"
#include "ingest/ingest_config.h"
#include "ingest/ingest_main.h"
#include "ops/kafka_consumer.h"
#include "ops/ops_main.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <string.h>

#define NOWHERE " --set redis.url=redis://127.0.0.1:1 --set kafka.brokers=127.0.0.1:1"

static const struct command *const *const commands[] = {ingest_commands, NULL};
static const struct config_row *const config_tables[] = {ops_config_rows,
                                                         kafka_config_rows,
                                                         redis_config_rows,
                                                         events_config_rows,
                                                         features_config_rows,
                                                         ingest_config_rows,
                                                         NULL};
static const struct doctor_check *const checks[] = {NULL};
static const struct command_tables tables = {commands, config_tables, checks, NULL};

static struct command_result result;

static void check(int code, const char *words, const char *why)
{
    command_run(&result, &tables, words);
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
