/* Tests ingest/dlq_lock against a real Redis: one at a time, and whoever stood still too long finds
 * out. Two commands at once: tests/integration/test_ingest_commands.sh. */
#include "ingest/dlq_lock.h"

#include "features/redis_target.h"
#include "ops/clock.h"
#include "tests/ingest/dataset_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct dataset_fixture f;
static struct config *config;

static void begin(void)
{
    static const struct config_row *const tables[] = {redis_config_rows, NULL};
    char set[200], *report;
    const char *const sets[] = {set};
    struct error err;

    dataset_fixture_open(&f, NULL);
    (void)snprintf(set, sizeof set, "redis.url=%s", f.server.url);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, &err));
    free(report);
}

static void end(void)
{
    clock_fake_off();
    config_destroy(config);
    dataset_fixture_close(&f);
}

TEST(dlq_lock_is_for_one_at_a_time)
{
    struct dlq_lock *first, *second;
    struct error err;

    begin();
    CHECK_STATUS(ERR_NOT_FOUND, dlq_lock_take(&first, config, &err));
    dataset_fixture_record(&f, NULL, 0);
    CHECK_STATUS(OK, dlq_lock_take(&first, config, &err));
    CHECK(atoi(REDIS_COMMAND(&f.server, "PTTL", "fr{00}dlq")) > DLQ_LOCK_MS / 2);
    CHECK_STATUS(ERR_IN_USE, dlq_lock_take(&second, config, &err));
    CHECK(second == NULL);
    CHECK(strstr(err.text, "is at work, since 20") != NULL);
    CHECK(strstr(err.text, "Nothing was written") != NULL);
    dlq_lock_release(second);
    CHECK_STATUS(OK, dlq_lock_keep(first, &err));
    dlq_lock_release(first);
    CHECK_TEXT("(nil)", REDIS_COMMAND(&f.server, "GET", "fr{00}dlq"));
    CHECK_STATUS(OK, dlq_lock_take(&second, config, &err));
    dlq_lock_release(second);
    end();
}

TEST(dlq_lock_is_renewed_and_its_loss_is_found)
{
    struct dlq_lock *lock;
    struct error err;

    begin();
    dataset_fixture_record(&f, NULL, 0);
    clock_fake_set(INT64_C(1700000000000), 1000000);
    CHECK_STATUS(OK, dlq_lock_take(&lock, config, &err));
    CHECK_TEXT("1", REDIS_COMMAND(&f.server, "PEXPIRE", "fr{00}dlq", "30000"));
    CHECK_STATUS(OK, dlq_lock_keep(lock, &err)); /* too early to ask */
    CHECK(atoi(REDIS_COMMAND(&f.server, "PTTL", "fr{00}dlq")) <= 30000);
    clock_fake_advance_us(INT64_C(1000) * DLQ_LOCK_MS / 4);
    CHECK_STATUS(OK, dlq_lock_keep(lock, &err));
    CHECK(atoi(REDIS_COMMAND(&f.server, "PTTL", "fr{00}dlq")) > 30000);

    CHECK_TEXT("1", REDIS_COMMAND(&f.server, "DEL", "fr{00}dlq"));
    clock_fake_advance_us(INT64_C(1000) * DLQ_LOCK_MS / 4);
    CHECK_STATUS(ERR_REPLACED, dlq_lock_keep(lock, &err));
    CHECK(strstr(err.text, "its place was given up") != NULL);
    CHECK_TEXT("OK", REDIS_COMMAND(&f.server, "SET", "fr{00}dlq", "another 1"));
    CHECK_STATUS(ERR_REPLACED, dlq_lock_keep(lock, &err));
    CHECK(strstr(err.text, "another one is at work") != NULL);
    dlq_lock_release(lock);
    CHECK_TEXT("another 1", REDIS_COMMAND(&f.server, "GET", "fr{00}dlq")); /* it is not ours */
    end();
}

/* An owner that stood still takes nothing away: the key might be another's by then. */
TEST(dlq_lock_that_may_expire_is_left_to_do_so)
{
    struct dlq_lock *lock;
    struct error err;

    begin();
    dataset_fixture_record(&f, NULL, 0);
    clock_fake_set(INT64_C(1700000000000), 1000000);
    CHECK_STATUS(OK, dlq_lock_take(&lock, config, &err));
    clock_fake_advance_us(INT64_C(1000) * DLQ_LOCK_MS / 2);
    dlq_lock_release(lock);
    CHECK(strcmp("(nil)", REDIS_COMMAND(&f.server, "GET", "fr{00}dlq")) != 0);
    end();
}

/* A key that expires between the two questions: here PEXPIRE is SETNX, which answers 0 as well. */
TEST(dlq_lock_that_is_not_renewed_is_lost)
{
    static const char *const renamed[] = {
        "--rename-command", "PEXPIRE", "LATER", "--rename-command", "SETNX", "PEXPIRE", NULL};
    struct dlq_lock *lock;
    struct error err;

    begin();
    redis_server_stop(&f.server);
    redis_server_restart(&f.server, renamed);
    dataset_fixture_record(&f, NULL, 0);
    clock_fake_set(INT64_C(1700000000000), 1000000);
    CHECK_STATUS(OK, dlq_lock_take(&lock, config, &err));
    clock_fake_advance_us(INT64_C(1000) * DLQ_LOCK_MS / 4);
    CHECK_STATUS(ERR_REPLACED, dlq_lock_keep(lock, &err));
    CHECK(strstr(err.text, "its place was given up") != NULL);
    dlq_lock_release(lock);
    end();
}
