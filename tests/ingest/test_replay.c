/* Tests `freshet replay` before it produces anything: what is misused, and a Kafka that is not
 * there. */
#include "ops/clock.h"
#include "ops/file.h"
#include "tests/ingest/command_fixture.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct command_result result;

static int replay(const char *more)
{
    static const char event[] = "{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\",\"ts\":"
                                "1700000000000}\n";
    char path[200], words[600];
    struct error err;

    (void)snprintf(path, sizeof path, "%s/e.jsonl", test_folder());
    CHECK_STATUS(OK, file_replace(path, event, sizeof event - 1, &err));
    (void)snprintf(words, sizeof words, "replay %s --set kafka.brokers=127.0.0.1:1%s", path, more);
    command_run(&result, &ingest_command_tables, words);
    return result.code;
}

/* Not after half a minute of waiting for each record to be given up. */
TEST(replay_to_no_broker_fails_before_it_has_read_the_file)
{
    int64_t begun_us = clock_monotonic_us();

    CHECK_INT(EXIT_UNREACHABLE, replay(""));
    CHECK(clock_monotonic_us() - begun_us < (int64_t)25 * 1000000);
    CHECK(strstr(result.err, "kafka.brokers 127.0.0.1:1: ") != NULL);
    CHECK(strstr(result.err, "is its address right?") != NULL);
    CHECK(strstr(result.err, "not delivered") == NULL && strstr(result.err, "%") == NULL);
    CHECK_TEXT("", result.out);
}

TEST(replay_refuses_what_is_no_speed)
{
    CHECK_INT(EXIT_USAGE, replay(" --speed fast"));
    CHECK_INT(EXIT_USAGE, replay(" --speed -1"));
    CHECK_INT(EXIT_USAGE, replay(" --speed 5/m"));
    CHECK_INT(EXIT_USAGE, replay(" --limit -1"));
    CHECK_INT(EXIT_USAGE, replay(" --from -1"));
}
