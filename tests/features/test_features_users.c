/* Tests `freshet features show`, `dump` and `size`, and key_scan, on a private redis-server. */
#include "features/features_main.h"

#include "features/item_tables.h"
#include "features/key_scan.h"
#include "features/redis_call.h"
#include "features/redis_dataset.h"
#include "features/user_store.h"
#include "ops/hash.h"
#include "ops/ops_main.h"
#include "tests/support/command_run.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USERS 2500 /* more than one batch of SCAN */

static const struct command *const *const commands[] = {features_commands, NULL};
static const struct config_row *const config_tables[] = {ops_config_rows, redis_config_rows,
                                                         features_config_rows, NULL};
static const struct doctor_check *const checks[] = {NULL};
static const struct command_tables tables = {commands, config_tables, checks, NULL};

static struct redis_server server;
static struct redis_connection *connection;
static struct redis_dataset dataset;
static struct redis_keys keys;
static struct command_result result;

static void write_user(void *context, struct text user, const struct user_value *value)
{
    static uint8_t bytes[USER_VALUE_BYTES_MAX];
    char key[REDIS_KEY_BYTES_MAX];
    int shard = rules_shard(&dataset.rules, user, dataset.shards);
    struct text arguments[] = {text_of("SET"),
                               {key, redis_key_user(&keys, shard, user, key)},
                               {(char *)bytes, user_value_encode(value, bytes, sizeof bytes)}};
    const struct redis_reply *reply;
    struct error err;

    (void)context;
    CHECK_STATUS(OK, redis_call(connection, 5000, arguments, 3, &reply, &err));
}

/* USERS users, u0 with a list and a click on it, the others with one view. */
static void fill(void)
{
    struct user_store *store;
    struct text rows[] = {text_of("i1"), text_of("i2")};
    struct event shown = {.kind = EVENT_IMPRESSION,
                          .user = text_of("u0"),
                          .rows = rows,
                          .rows_count = 2,
                          .time_ms = 1700000000000,
                          .request_id = text_of("r1")};
    enum outcome outcome;
    struct error err;

    CHECK_STATUS(OK, user_store_create(&store, &dataset.rules, &err));
    CHECK_STATUS(OK, user_store_apply(store, &shown, INT64_MIN, false, NULL, NULL, &outcome, &err));
    for (int i = 0; i < USERS; i++) {
        char name[16];
        struct event event = {.kind = EVENT_ACTION,
                              .item = text_of("i2"),
                              .action = i == 0 ? 2 : 1,
                              .time_ms = 1700000001000 + i};
        (void)snprintf(name, sizeof name, "u%d", i);
        event.user = text_of(name);
        CHECK_STATUS(OK,
                     user_store_apply(store, &event, INT64_MIN, false, NULL, NULL, &outcome, &err));
    }
    user_store_each(store, write_user, NULL);
    user_store_destroy(store);
}

static void begin(void)
{
    static struct redis_dataset wanted;
    struct event_schema *schema;
    struct redis_target target;
    struct error err;

    CHECK_STATUS(OK, hash_start(&err));
    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    wanted = (struct redis_dataset){
        .shards = 16, .value_format = 1, .example_format = 1, .examples_partitions = 4};
    rules_init(&wanted.rules, schema, 0);
    event_schema_destroy(schema);
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_call_wait_ready(connection, 5000, &err));
    CHECK_STATUS(OK, redis_dataset_open(&dataset, connection, &keys, &wanted, 5000, &err));
    fill();
}

static void end(void)
{
    redis_connection_destroy(connection);
    redis_dataset_clear(&dataset);
    redis_server_stop(&server);
}

static void run(const char *words)
{
    char line[600];

    (void)snprintf(line, sizeof line, "%s --set redis.url=%s", words, server.url);
    command_run(&result, &tables, line);
}

TEST(features_show_says_what_is_kept_of_a_user)
{
    char path[300], words[400];
    struct item_tables_options options;
    struct item_tables *items;
    struct error err;

    begin();
    run("features show u0");
    CHECK_INT(EXIT_DONE, result.code);
    CHECK(strstr(result.out, "user      u0\n") != NULL);
    CHECK(strstr(result.out, "click") != NULL && strstr(result.out, "list of 2") != NULL);
    run("features show nobody");
    CHECK_INT(EXIT_NO, result.code);
    run("features show nobody --json");
    CHECK_INT(EXIT_NO, result.code);
    CHECK_TEXT("{\"found\":false}\n", result.out);

    options = (struct item_tables_options){.seed = dataset.rules.seed};
    CHECK_STATUS(OK, item_tables_create(&items, &options, &err));
    (void)item_tables_index(items, rules_item_hash(&dataset.rules, text_of("i2")), text_of("i2"),
                            1);
    (void)snprintf(path, sizeof path, "%s/items", test_folder());
    CHECK_STATUS(OK, item_tables_save(items, path, &err));
    item_tables_destroy(items);
    (void)snprintf(words, sizeof words, "features show u0 --json --items %s", path);
    run(words);
    CHECK_INT(EXIT_DONE, result.code);
    CHECK(strstr(result.out, "\"item\":\"i2\",\"action\":\"click\"") != NULL);
    end();
}

TEST(features_show_names_what_is_wrong)
{
    char key[REDIS_KEY_BYTES_MAX];
    size_t bytes;

    begin();
    bytes = redis_key_user(&keys, rules_shard(&dataset.rules, text_of("u7"), 16), text_of("u7"),
                           key);
    key[bytes] = '\0';
    (void)REDIS_COMMAND(&server, "SET", key, "rubbish");
    run("features show u7");
    CHECK_INT(EXIT_BAD_DATA, result.code);
    run("features dump --json");
    CHECK_INT(EXIT_BAD_DATA, result.code);
    CHECK(strstr(result.err, "cannot be read") != NULL);
    run("features show u7 --items nowhere");
    CHECK(result.code != EXIT_DONE);
    (void)REDIS_COMMAND(&server, "FLUSHALL");
    run("features show u7");
    CHECK(result.code != EXIT_DONE && result.code != EXIT_BUG);
    end();
}

TEST(features_dump_has_every_user_once)
{
    static char lines[1 << 18];
    int seen[USERS] = {0};
    int count = 0;
    char *rest = lines, *line;

    begin();
    run("features dump --json");
    CHECK_INT(EXIT_DONE, result.code);
    memcpy(lines, result.out, sizeof lines);
    CHECK(strlen(result.out) == sizeof result.out - 1 || strstr(result.out, "\"unreadable\":0"));
    while ((line = strsep(&rest, "\n")) != NULL) {
        int user;
        if (rest == NULL || sscanf(line, "{\"user\":\"u%d\"", &user) != 1)
            continue;
        CHECK(user >= 0 && user < USERS);
        CHECK_INT(0, seen[user]++);
        count++;
    }
    CHECK(count > 900); /* as many as the buffer of the test holds */
    end();
}

TEST(features_size_measures_by_kind)
{
    char wanted[64];

    begin();
    run("features size --json");
    CHECK_INT(EXIT_DONE, result.code);
    (void)snprintf(wanted, sizeof wanted, "{\"users\":{\"keys\":%d,\"bytes\":", USERS);
    CHECK(strstr(result.out, wanted) != NULL);
    CHECK(strstr(result.out, "\"set\":{\"keys\":1,") != NULL);
    run("features size");
    CHECK(strstr(result.out, "bytes each") != NULL);
    end();
}

TEST(features_size_plans_without_redis)
{
    command_run(&result, &tables,
                "features size --users 1000 --items 10 --json --set redis.url=redis://127.0.0.1:1");
    CHECK_INT(EXIT_DONE, result.code);
    CHECK(strstr(result.out, "\"users\":1000,") != NULL);
    command_run(&result, &tables, "features size --users -5");
    CHECK_INT(EXIT_USAGE, result.code);
    command_run(&result, &tables, "features scalars --json");
    CHECK_INT(EXIT_DONE, result.code);
    CHECK(strstr(result.out, "\"name\":\"covis\",\"scope\":\"pair\"") != NULL);
}

TEST(key_scan_gives_each_key_once_and_only_ours)
{
    const struct key_scan_key *batch;
    struct redis_target target;
    struct redis_nodes *nodes;
    struct key_scan *scan;
    struct error err;
    int count, users = 0, sets = 0;
    bool more = true;

    begin();
    (void)REDIS_COMMAND(&server, "SET", "other{00}u1", "x");
    (void)REDIS_COMMAND(&server, "SET", "fr{zz}u1", "x");
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_nodes_create(&nodes, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, key_scan_create(&scan, nodes, &keys, REDIS_KEY_OTHER, &err));
    while (more) {
        CHECK_STATUS(OK, key_scan_next(scan, 5000, &batch, &count, &more, &err));
        for (int i = 0; i < count; i++) {
            users += batch[i].kind == REDIS_KEY_USER;
            sets += batch[i].kind == REDIS_KEY_SET;
            CHECK(batch[i].kind != REDIS_KEY_OTHER);
            if (batch[i].kind == REDIS_KEY_USER)
                CHECK_INT(rules_shard(&dataset.rules, batch[i].rest, 16), batch[i].shard);
        }
    }
    CHECK_INT(USERS, users);
    CHECK_INT(1, sets);
    key_scan_destroy(scan);
    key_scan_destroy(NULL);
    redis_nodes_destroy(nodes);
    end();
}
