/*
 * Tests features/redis_dataset: servers that cannot carry the protocol are refused, the record is
 * made once and read back whole, and a process that disagrees with it does not start.
 */
#include "features/redis_dataset.h"

#include "ops/hash.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 5000

static struct redis_server server;
static struct redis_target target;
static struct redis_keys keys;
static struct redis_connection *connection;

static void begin(const char *const *extra)
{
    struct error err;

    redis_server_start(&server, extra);
    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
}

static void end(void)
{
    redis_connection_destroy(connection);
    redis_server_stop(&server);
}

static struct redis_dataset wanted(struct dataset_partition *partitions, int count)
{
    struct redis_dataset d = {.shards = 64, .examples_partitions = 4, .max_future_skew_ms = 300000};
    struct event_schema *schema;
    struct error err;

    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    rules_init(&d.rules, schema, 0);
    event_schema_destroy(schema);
    for (int i = 0; i < count; i++)
        partitions[i] = (struct dataset_partition){
            .topic = "ev:en.ts", .partition = i, .start = 10 * i};
    d.partitions = partitions;
    d.partitions_count = count;
    return d;
}

TEST(redis_dataset_accepts_a_good_server_and_leaves_nothing_on_it)
{
    struct error err;

    begin(NULL);
    CHECK_STATUS(OK, redis_dataset_check_server(&target, &keys, TIMEOUT_MS, &err));
    CHECK_TEXT("0", REDIS_COMMAND(&server, "DBSIZE"));
    end();
}

TEST(redis_dataset_refuses_a_server_that_evicts)
{
    static const char *const evicting[] = {"--maxmemory-policy", "allkeys-lru", NULL};
    struct error err;

    begin(evicting);
    CHECK_STATUS(ERR_CONFIG, redis_dataset_check_server(&target, &keys, TIMEOUT_MS, &err));
    CHECK(strstr(err.text, "noeviction") != NULL);
    end();
}

TEST(redis_dataset_refuses_a_server_without_transactions)
{
    static const char *const without[] = {"--rename-command", "EXEC", "", NULL};
    struct error err;

    begin(without);
    CHECK_STATUS(ERR_CONFIG, redis_dataset_check_server(&target, &keys, TIMEOUT_MS, &err));
    end();
}

TEST(redis_dataset_is_created_once_and_read_back_whole)
{
    struct dataset_partition partitions[5];
    struct redis_dataset want, first, second;
    struct error err;

    begin(NULL);
    want = wanted(partitions, 5);
    CHECK_STATUS(ERR_NOT_FOUND, redis_dataset_load(&first, connection, &keys, TIMEOUT_MS, &err));
    CHECK_STATUS(OK, redis_dataset_open(&first, connection, &keys, &want, TIMEOUT_MS, &err));
    CHECK_STATUS(OK, redis_dataset_open(&second, connection, &keys, &want, TIMEOUT_MS, &err));
    CHECK(first.rules.seed != 0 && first.rules.seed == second.rules.seed);
    CHECK_TEXT(first.id, second.id);
    CHECK_INT(5, second.partitions_count);
    CHECK_INT(30, redis_dataset_partition(&second, "ev:en.ts", 3)->start);
    CHECK(redis_dataset_partition(&second, "ev:en.ts", 5) == NULL);
    CHECK(redis_dataset_partition(&second, "ev", 3) == NULL);
    CHECK(memcmp(first.rules.actions, want.rules.actions, sizeof want.rules.actions) == 0);
    CHECK_INT(want.rules.sequence_max, second.rules.sequence_max);
    CHECK_INT(want.rules.join_window_ms, second.rules.join_window_ms);
    redis_dataset_clear(&first);
    redis_dataset_clear(&second);
    end();
}

TEST(redis_dataset_keeps_the_first_start_of_a_partition)
{
    struct dataset_partition partitions[1];
    struct redis_dataset want, d;
    struct error err;
    int64_t start = 77;

    begin(NULL);
    want = wanted(partitions, 0);
    CHECK_STATUS(OK, redis_dataset_open(&d, connection, &keys, &want, TIMEOUT_MS, &err));
    for (int round = 0; round < 2; round++, start = 99) {
        CHECK_STATUS(OK, redis_dataset_add_partition(&d, connection, &keys, "t", 9, &start,
                                                     TIMEOUT_MS, &err));
        CHECK_INT(77, start);
    }
    redis_dataset_clear(&d);
    CHECK_STATUS(OK, redis_dataset_load(&d, connection, &keys, TIMEOUT_MS, &err));
    CHECK_INT(77, redis_dataset_partition(&d, "t", 9)->start);
    redis_dataset_clear(&d);
    end();
}

TEST(redis_dataset_refuses_another_configuration)
{
    struct dataset_partition partitions[1];
    struct redis_dataset want, d;
    struct error err;

    begin(NULL);
    want = wanted(partitions, 0);
    CHECK_STATUS(OK, redis_dataset_open(&d, connection, &keys, &want, TIMEOUT_MS, &err));
    redis_dataset_clear(&d);
    want.shards = 32;
    CHECK_STATUS(ERR_CONFLICT, redis_dataset_open(&d, connection, &keys, &want, TIMEOUT_MS, &err));
    CHECK(strstr(err.text, "shards") != NULL && d.partitions == NULL);
    want = wanted(partitions, 0);
    want.rules.actions[2].label += 1;
    CHECK_STATUS(ERR_CONFLICT, redis_dataset_open(&d, connection, &keys, &want, TIMEOUT_MS, &err));
    end();
}

TEST(redis_dataset_refuses_a_damaged_record)
{
    static const char *const damage[][2] = {
        {"shards", "x"},
        {"shards", "0"},
        {"shards", "5000"},
        {"seed", "12"},
        {"id", "short"},
        {"actions", "a:b"},
        {"actions", "a:0:1:1:1:1\n"},
        {"sequence_max", "-1"},
        {"start:t:x", "1"},
        {"start:t:1", "-5"},
        {"log:t:1", "4096"},
        {"late_max_ms", "99999999999999999999"},
        {"format", "2"},
        {"format", ""},
    };
    struct dataset_partition partitions[1];
    struct redis_dataset want, d;
    struct error err;

    begin(NULL);
    want = wanted(partitions, 0);
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        (void)REDIS_COMMAND(&server, "FLUSHALL");
        CHECK_STATUS(OK, redis_dataset_open(&d, connection, &keys, &want, TIMEOUT_MS, &err));
        redis_dataset_clear(&d);
        (void)REDIS_COMMAND(&server, "HSET", "fr{00}set", damage[i][0], damage[i][1]);
        enum status status = redis_dataset_load(&d, connection, &keys, TIMEOUT_MS, &err);
        CHECK(status == ERR_MALFORMED || status == ERR_VERSION);
        CHECK(d.partitions == NULL);
    }
    (void)REDIS_COMMAND(&server, "HDEL", "fr{00}set", "format");
    CHECK(redis_dataset_load(&d, connection, &keys, TIMEOUT_MS, &err) != OK);
    (void)REDIS_COMMAND(&server, "DEL", "fr{00}set");
    (void)REDIS_COMMAND(&server, "HSET", "fr{00}set", "start:t:1", "5"); /* see redis_store */
    CHECK_STATUS(ERR_NOT_FOUND, redis_dataset_load(&d, connection, &keys, TIMEOUT_MS, &err));
    CHECK_STATUS(OK, redis_dataset_open(&d, connection, &keys, &want, TIMEOUT_MS, &err));
    redis_dataset_clear(&d);
    (void)REDIS_COMMAND(&server, "SET", "fr{00}set", "text");
    CHECK_STATUS(ERR_MALFORMED, redis_dataset_load(&d, connection, &keys, TIMEOUT_MS, &err));
    end();
}
