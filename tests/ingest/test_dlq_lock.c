/* Tests ingest/dlq_lock against a real Redis: one at a time, and whoever stood still too long finds
 * out. Two commands at once: tests/integration/test_ingest_commands.sh. */
#include "ingest/dlq_lock.h"

#include "features/features_main.h"
#include "features/redis_dataset.h"
#include "features/redis_target.h"
#include "ops/clock.h"
#include "ops/hash.h"
#include "schemas/event.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 5000

static struct redis_server server;
static struct config *config;

static void make_dataset(void)
{
    struct redis_dataset wanted = {.shards = 4, .examples_partitions = 1}, made;
    struct redis_connection *connection;
    struct redis_target target;
    struct redis_keys keys;
    struct event_schema *schema;
    struct error err;

    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    rules_init(&wanted.rules, schema, 0);
    event_schema_destroy(schema);
    CHECK_STATUS(OK, redis_dataset_open(&made, connection, &keys, &wanted, TIMEOUT_MS, &err));
    redis_dataset_clear(&made);
    redis_connection_destroy(connection);
}

static void begin(void)
{
    static const struct config_row *const tables[] = {redis_config_rows, NULL};
    char set[200], *report;
    const char *const sets[] = {set};
    struct error err;

    redis_server_start(&server, NULL);
    (void)snprintf(set, sizeof set, "redis.url=%s", server.url);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, &err));
    free(report);
}

static void end(void)
{
    clock_fake_off();
    config_destroy(config);
    redis_server_stop(&server);
}

TEST(dlq_lock_is_for_one_at_a_time)
{
    struct dlq_lock *first, *second;
    struct error err;

    begin();
    CHECK_STATUS(ERR_NOT_FOUND, dlq_lock_take(&first, config, &err));
    make_dataset();
    CHECK_STATUS(OK, dlq_lock_take(&first, config, &err));
    CHECK(atoi(REDIS_COMMAND(&server, "PTTL", "fr{00}dlq")) > DLQ_LOCK_MS / 2);
    CHECK_STATUS(ERR_IN_USE, dlq_lock_take(&second, config, &err));
    CHECK(second == NULL);
    CHECK(strstr(err.text, "is at work, since 20") != NULL);
    CHECK(strstr(err.text, "Nothing was written") != NULL);
    dlq_lock_release(second);
    CHECK_STATUS(OK, dlq_lock_keep(first, &err));
    dlq_lock_release(first);
    CHECK_TEXT("(nil)", REDIS_COMMAND(&server, "GET", "fr{00}dlq"));
    CHECK_STATUS(OK, dlq_lock_take(&second, config, &err));
    dlq_lock_release(second);
    end();
}

TEST(dlq_lock_is_renewed_and_its_loss_is_found)
{
    struct dlq_lock *lock;
    struct error err;

    begin();
    make_dataset();
    clock_fake_set(INT64_C(1700000000000), 1000000);
    CHECK_STATUS(OK, dlq_lock_take(&lock, config, &err));
    CHECK_TEXT("1", REDIS_COMMAND(&server, "PEXPIRE", "fr{00}dlq", "30000"));
    CHECK_STATUS(OK, dlq_lock_keep(lock, &err)); /* too early to ask */
    CHECK(atoi(REDIS_COMMAND(&server, "PTTL", "fr{00}dlq")) <= 30000);
    clock_fake_advance_us(INT64_C(1000) * DLQ_LOCK_MS / 4);
    CHECK_STATUS(OK, dlq_lock_keep(lock, &err));
    CHECK(atoi(REDIS_COMMAND(&server, "PTTL", "fr{00}dlq")) > 30000);

    CHECK_TEXT("1", REDIS_COMMAND(&server, "DEL", "fr{00}dlq"));
    clock_fake_advance_us(INT64_C(1000) * DLQ_LOCK_MS / 4);
    CHECK_STATUS(ERR_REPLACED, dlq_lock_keep(lock, &err));
    CHECK(strstr(err.text, "its place was given up") != NULL);
    CHECK_TEXT("OK", REDIS_COMMAND(&server, "SET", "fr{00}dlq", "another 1"));
    CHECK_STATUS(ERR_REPLACED, dlq_lock_keep(lock, &err));
    CHECK(strstr(err.text, "another one is at work") != NULL);
    dlq_lock_release(lock);
    CHECK_TEXT("another 1", REDIS_COMMAND(&server, "GET", "fr{00}dlq")); /* it is not ours */
    end();
}

/* An owner that stood still takes nothing away: the key might be another's by then. */
TEST(dlq_lock_that_may_expire_is_left_to_do_so)
{
    struct dlq_lock *lock;
    struct error err;

    begin();
    make_dataset();
    clock_fake_set(INT64_C(1700000000000), 1000000);
    CHECK_STATUS(OK, dlq_lock_take(&lock, config, &err));
    clock_fake_advance_us(INT64_C(1000) * DLQ_LOCK_MS / 2);
    dlq_lock_release(lock);
    CHECK(strcmp("(nil)", REDIS_COMMAND(&server, "GET", "fr{00}dlq")) != 0);
    end();
}
