/*
 * Tests features/redis_nodes, and how connections and the store's lanes find their way, against
 * scripted sentinels and nodes (FAULTS 47, 55): what a real cluster says only for a moment.
 */
#include "features/redis_nodes.h"

#include "features/redis_call.h"
#include "features/redis_store.h"
#include "ops/clock.h"
#include "tests/support/redis_script.h"
#include "tests/test.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define SLOTS_OF(first, last, port)                                                                \
    "*3\r\n:" first "\r\n:" last "\r\n*2\r\n$9\r\n127.0.0.1\r\n:" port "\r\n"

static struct redis_script a, b; /* nodes, or a sentinel and a node */
static struct redis_target target;
static struct redis_nodes *nodes;
static struct error err;

static void parse(const char *scheme, const char *path)
{
    char url[100];

    (void)snprintf(url, sizeof url, "%s://127.0.0.1:%d%s", scheme, a.port, path);
    CHECK_STATUS(OK, redis_target_parse(&target, url, &err));
}

/* A cluster: all slots are a's. */
static void begin_cluster(void)
{
    redis_script_start(&a);
    redis_script_start(&b);
    redis_script_says(&a, "CLUSTER SLOTS", "*1\r\n" SLOTS_OF("0", "16383", "%d"), a.port);
    parse("redis+cluster", "");
    CHECK_STATUS(OK, redis_nodes_create(&nodes, &target, NULL, "test", &err));
}

static void end(void)
{
    redis_nodes_destroy(nodes);
    nodes = NULL;
    redis_script_stop(&a);
    redis_script_stop(&b);
}

static const char *get(const char *key)
{
    static char value[100];
    struct text got;

    CHECK_STATUS(OK, redis_nodes_get(nodes, 5000, text_of(key), &got, &err));
    (void)snprintf(value, sizeof value, "%.*s", TEXT_ARGS(got));
    return value;
}

TEST(redis_nodes_follow_a_key_that_has_moved_and_remember)
{
    begin_cluster();
    redis_script_says(&a, "GET {moved}", "-MOVED %d 127.0.0.1:%d\r\n", redis_slot(text_of("moved")),
                      b.port);
    redis_script_says(&b, "GET {moved}", "$1\r\nm\r\n");
    redis_script_says(&a, "GET {stays}", "$1\r\ns\r\n");
    CHECK_TEXT("m", get("{moved}"));
    CHECK_TEXT("s", get("{stays}"));
    CHECK_TEXT("m", get("{moved}"));
    CHECK_INT(1, redis_script_seen(&a, "GET {moved}"));
    CHECK_INT(2, redis_nodes_count(nodes));
    /* One to ask, one to work. */
    CHECK_INT(2, redis_script_clients(&a));
    CHECK_INT(1, redis_script_clients(&b));
    end();
}

TEST(redis_nodes_ask_for_a_key_that_is_moving_each_time)
{
    begin_cluster();
    redis_script_says(&a, "GET {k}", "-ASK %d 127.0.0.1:%d\r\n", redis_slot(text_of("k")), b.port);
    redis_script_says(&b, "ASKING", "+OK\r\n");
    redis_script_says(&b, "GET {k}", "$1\r\nv\r\n");
    CHECK_TEXT("v", get("{k}"));
    CHECK_TEXT("v", get("{k}"));
    CHECK_INT(2, redis_script_seen(&a, "GET {k}"));
    CHECK_INT(2, redis_script_seen(&b, "ASKING"));
    end();
}

TEST(redis_nodes_give_up_on_nodes_that_send_each_other_a_key)
{
    const struct text call[] = {{"GET", 3}, {"{k}", 3}};
    const struct redis_reply *reply;
    int slot = redis_slot(text_of("k"));

    begin_cluster();
    redis_script_says(&a, "GET {k}", "-MOVED %d 127.0.0.1:%d\r\n", slot, b.port);
    redis_script_says(&b, "GET {k}", "-MOVED %d 127.0.0.1:%d\r\n", slot, a.port);
    CHECK_STATUS(ERR_UNAVAILABLE, redis_nodes_call(nodes, 5000, call, 2, &reply, &err));
    CHECK_INT(REDIS_REDIRECTS_MAX + 1,
              redis_script_seen(&a, "GET {k}") + redis_script_seen(&b, "GET {k}"));
    end();
}

TEST(redis_nodes_wait_for_a_cluster_that_changes)
{
    const struct text call[] = {{"GET", 3}, {"{k}", 3}};
    const struct redis_reply *reply;

    begin_cluster();
    redis_script_says(&a, "GET {k}", "-TRYAGAIN x\r\n");
    CHECK_STATUS(ERR_UNAVAILABLE, redis_nodes_call(nodes, 200, call, 2, &reply, &err));
    CHECK(redis_script_seen(&a, "GET {k}") > 1);
    end();
}

TEST(redis_nodes_are_one_where_there_is_one_server)
{
    int numbers[REDIS_NODES_MAX], count;

    redis_script_start(&a);
    redis_script_start(&b);
    redis_script_says(&a, "GET", "-MOVED 5 127.0.0.1:%d\r\n", b.port);
    parse("redis", "");
    CHECK_STATUS(OK, redis_nodes_create(&nodes, &target, NULL, NULL, &err));
    CHECK_INT(redis_nodes_number_of(nodes, 1), redis_nodes_number_of(nodes, 16383));
    CHECK_STATUS(OK, redis_nodes_all(nodes, 5000, numbers, &count, &err));
    CHECK_INT(1, count);

    struct text value;

    CHECK(redis_nodes_get(nodes, 5000, text_of("{k}"), &value, &err) != OK);
    CHECK_INT(0, redis_script_clients(&b));
    end();
}

/* ---- sentinels ---- */

/* a is the sentinel, b the node. */
static void begin_sentinel(const char *role)
{
    redis_script_start(&a);
    redis_script_start(&b);
    redis_script_says(&a, "SENTINEL GET-MASTER-ADDR-BY-NAME prime",
                      "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05d\r\n", b.port);
    redis_script_says(&b, "ROLE", "*1\r\n$%zu\r\n%s\r\n", strlen(role), role);
    parse("redis+sentinel", "/prime");
}

TEST(redis_connection_takes_no_replica_for_the_primary)
{
    struct redis_connection *connection;

    begin_sentinel("slave");
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(ERR_UNAVAILABLE, redis_call_wait_ready(connection, 300, &err));
    CHECK(strstr(err.text, "replica") != NULL);
    redis_script_says(&b, "ROLE", "*1\r\n$6\r\nmaster\r\n");
    CHECK_STATUS(OK, redis_call_wait_ready(connection, 20000, &err));
    CHECK_INT(b.port, redis_connection_address(connection)->port);
    redis_connection_destroy(connection);
    end();
}

TEST(redis_connection_says_when_no_sentinel_knows_the_name)
{
    struct redis_connection *connection;

    begin_sentinel("master");
    redis_script_says(&a, "SENTINEL GET-MASTER-ADDR-BY-NAME prime", "*-1\r\n");
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(ERR_UNAVAILABLE, redis_call_wait_ready(connection, 300, &err));
    CHECK(strstr(err.text, "prime") != NULL && strstr(err.text, "sentinel") != NULL);
    redis_connection_destroy(connection);

    /* A server that is no sentinel is a mistake that no waiting mends. */
    redis_script_says(&a, "SENTINEL GET-MASTER-ADDR-BY-NAME prime", "-ERR unknown command\r\n");
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(ERR_CONFIG, redis_call_wait_ready(connection, 60000, &err));
    redis_connection_destroy(connection);
    end();
}

/* ---- the store's lanes ---- */

static struct redis_store *store;
static struct redis_store_event event;

static bool next_event(int64_t patience_ms)
{
    int64_t until_us = clock_monotonic_us() + patience_ms * 1000;

    while (!redis_store_next(store, &event)) {
        struct pollfd ready = {.fd = redis_store_descriptor(store), .events = POLLIN};

        if (clock_monotonic_us() >= until_us)
            return false;
        (void)poll(&ready, 1, 5);
        redis_store_step(store, clock_monotonic_us());
    }
    return true;
}

static void open_store(void)
{
    static struct redis_keys keys;
    struct redis_store_options options = {
        .target = &target, .keys = &keys, .topic = "ev", .shards = 1};

    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_store_create(&store, &options, &err));
    CHECK(next_event(20000));
    CHECK_INT(REDIS_STORE_CONNECTED, event.kind);
}

static void trim(void)
{
    static const struct store_request request = {.kind = STORE_TRIM, .tp = 1};

    redis_store_send(store, &request);
    CHECK(next_event(20000));
}

TEST(redis_store_follows_a_slot_to_its_new_node)
{
    begin_cluster();
    redis_script_says(&a, "XLEN", "-MOVED %d 127.0.0.1:%d\r\n", redis_slot_of_shard(0), b.port);
    redis_script_says(&b, "XLEN", ":7\r\n");
    open_store();
    trim();
    CHECK_INT(REDIS_STORE_DISCONNECTED, event.kind); /* whatever was in flight: ask again */
    CHECK(next_event(20000));
    CHECK_INT(REDIS_STORE_CONNECTED, event.kind);
    trim();
    CHECK_INT(REDIS_STORE_REPLY, event.kind);
    CHECK_INT(STORE_OK, event.reply.result);
    CHECK_INT(7, event.reply.outbox.rows);
    CHECK_INT(1, redis_script_seen(&a, "CLUSTER SLOTS")); /* MOVED said it all */
    redis_store_destroy(store);
    end();
}

TEST(redis_store_refuses_while_a_slot_moves_and_stays_where_it_is)
{
    begin_cluster();
    redis_script_says(&a, "XLEN", "-ASK %d 127.0.0.1:%d\r\n", redis_slot_of_shard(0), b.port);
    open_store();
    for (int i = 0; i < 2; i++) {
        trim();
        CHECK_INT(REDIS_STORE_REPLY, event.kind);
        CHECK_INT(STORE_REFUSED, event.reply.result);
        redis_script_says(&a, "XLEN", "-TRYAGAIN x\r\n");
    }
    CHECK_INT(0, redis_script_clients(&b));
    redis_store_destroy(store);
    end();
}

TEST(redis_store_asks_the_sentinels_again_when_its_primary_is_one_no_more)
{
    struct redis_script c;

    begin_sentinel("master");
    redis_script_start(&c);
    redis_script_says(&c, "ROLE", "*1\r\n$6\r\nmaster\r\n");
    redis_script_says(&c, "XLEN", ":3\r\n");
    redis_script_says(&b, "XLEN", "-READONLY You can't write against a read only replica.\r\n");
    open_store();
    redis_script_says(&a, "SENTINEL GET-MASTER-ADDR-BY-NAME prime",
                      "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05d\r\n", c.port);
    trim();
    CHECK_INT(REDIS_STORE_DISCONNECTED, event.kind);
    CHECK(next_event(20000));
    CHECK_INT(REDIS_STORE_CONNECTED, event.kind);
    trim();
    CHECK_INT(3, event.reply.outbox.rows);
    redis_store_destroy(store);
    redis_script_stop(&c);
    end();
}

TEST(redis_store_leaves_a_node_that_says_the_cluster_is_down)
{
    begin_cluster();
    redis_script_says(&a, "XLEN", "-CLUSTERDOWN The cluster is down\r\n");
    redis_script_says(&b, "XLEN", ":1\r\n");
    open_store();
    /* The others have given its slots to b. */
    redis_script_says(&a, "CLUSTER SLOTS", "*1\r\n" SLOTS_OF("0", "16383", "%d"), b.port);
    trim();
    CHECK_INT(REDIS_STORE_DISCONNECTED, event.kind);
    CHECK(next_event(20000));
    trim();
    CHECK_INT(1, event.reply.outbox.rows);
    redis_store_destroy(store);
    end();
}

/* Without the stream's last id the next EXEC could append below it: Redis has no rollback. */
TEST(redis_store_claims_nothing_whose_outbox_has_just_left)
{
    static const struct store_request claim = {.kind = STORE_CLAIM, .tp = 1};

    begin_cluster();
    redis_script_says(&a, "UNWATCH", "+OK\r\n");
    redis_script_says(&a, "MULTI", "+OK\r\n");
    redis_script_says(&a, "HSET", "+QUEUED\r\n");
    redis_script_says(&a, "HMGET", "+QUEUED\r\n");
    redis_script_says(&a, "XLEN", "+QUEUED\r\n");
    redis_script_says(&a, "EXEC", "*3\r\n:0\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n:4\r\n");
    redis_script_says(&a, "XINFO", "-ASK %d 127.0.0.1:%d\r\n", redis_slot_of_shard(0), b.port);
    open_store();
    redis_store_send(store, &claim);
    CHECK(next_event(20000));
    CHECK_INT(STORE_REFUSED, event.reply.result);
    redis_store_destroy(store);
    end();
}
