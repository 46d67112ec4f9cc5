/*
 * Tests ingest/relay on a private redis-server and the embedded broker: rows are acknowledged
 * before they are handed over to be trimmed, a shard is looked through again when its connection
 * was made anew, and what a partition given up had on its way is nobody's.
 */
#include "ingest/relay.h"

#include "features/redis_target.h"
#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "tests/support/kafka.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <poll.h>
#include <string.h>

#define SHARDS 2

static const struct kafka_broker_topic topics[] = {{"examples", 2}, {NULL, 0}};

static struct redis_server server;
static struct kafka_broker *broker;
static struct redis_target target;
static struct redis_keys keys;
static struct relay *relay;
static struct relay_trim trim;
static struct error err;

static void begin(void)
{
    struct kafka_producer_options producer = {0};
    struct relay_options options = {.target = &target,
                                    .keys = &keys,
                                    .dataset_id = "0123456789abcdef0123456789abcdef",
                                    .events_topic = "events",
                                    .examples_topic = "examples",
                                    .shards = SHARDS,
                                    .examples_partitions = 2,
                                    .producer = &producer};

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    producer.brokers = kafka_broker_address(broker);
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, relay_start(&relay, &options, &err));
}

static void end(void)
{
    relay_stop(relay);
    kafka_broker_stop(broker);
    redis_server_stop(&server);
}

/* Waits until rows were acknowledged and are ours to delete. */
static void await_trim(void)
{
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    struct pollfd ready = {.fd = relay_descriptor(relay), .events = POLLIN};

    while (!relay_take_trim(relay, &trim)) {
        CHECK(clock_monotonic_us() < until_us);
        (void)poll(&ready, 1, 100);
    }
}

static void await_idle(void)
{
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;

    while (!relay_idle(relay)) {
        CHECK(clock_monotonic_us() < until_us);
        (void)poll(NULL, 0, 5);
    }
}

static void add(const char *shard_key, const char *id)
{
    (void)REDIS_COMMAND(&server, "XADD", shard_key, id, "e", "a row");
}

TEST(relay_hands_over_what_kafka_acknowledged)
{
    begin();
    add("fr{00}oevents:3:1", "9-1");
    add("fr{00}oevents:3:1", "9-2");
    add("fr{01}oevents:3:1", "7-1");
    add("fr{00}oevents:3:0", "1-1"); /* an older log: not ours */
    relay_partition(relay, 3, 1);
    for (int shards = 0; shards < SHARDS; shards++) {
        await_trim();
        CHECK_INT(3, trim.partition);
        CHECK_INT(trim.shard == 0 ? 2 : 1, trim.count);
        CHECK_INT(trim.shard == 0 ? 9 : 7, (int)trim.ids[0].high);
        (void)REDIS_COMMAND(&server, "DEL",
                            trim.shard == 0 ? "fr{00}oevents:3:1" : "fr{01}oevents:3:1");
        relay_trimmed(relay, trim.partition, trim.shard);
    }
    await_idle();
    CHECK(!relay_take_trim(relay, &trim));
    CHECK_STATUS(OK, relay_health(relay, &err));
    end();
}

/* A failover that lost a trim brought the row back. Nobody tells of it: it is no commit's. */
TEST(relay_looks_again_where_a_connection_was_made_anew)
{
    begin();
    relay_partition(relay, 3, 1);
    await_idle();
    add("fr{01}oevents:3:1", "7-1");
    CHECK(relay_idle(relay));
    relay_reconnected(relay, 1);
    await_trim();
    CHECK_INT(1, trim.shard);
    CHECK_INT(1, trim.count);
    (void)REDIS_COMMAND(&server, "DEL", "fr{01}oevents:3:1");
    relay_trimmed(relay, trim.partition, trim.shard);
    await_idle();
    end();
}

TEST(relay_forgets_what_is_on_its_way_from_a_partition_given_up)
{
    begin();
    add("fr{00}oevents:3:1", "9-1");
    relay_partition(relay, 3, 1);
    await_trim();
    relay_forget(relay, 3);
    relay_reconnected(relay, 0); /* it looks at nothing that is not ours */
    await_idle();
    CHECK(!relay_take_trim(relay, &trim));
    relay_partition(relay, 3, 1); /* ours again: the row is still there */
    await_trim();
    CHECK_INT(1, trim.count);
    end();
}

TEST(relay_says_why_it_does_not_get_on)
{
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;

    begin();
    redis_server_kill(&server);
    relay_partition(relay, 3, 1);
    while (relay_health(relay, &err) == OK) {
        CHECK(clock_monotonic_us() < until_us);
        (void)poll(NULL, 0, 20);
    }
    CHECK_STATUS(ERR_UNAVAILABLE, relay_health(relay, &err));
    CHECK(err.text[0] != '\0');
    redis_server_restart(&server, NULL);
    relay_reconnected(relay, 0); /* nothing is there: an answer is enough to be well again */
    await_idle();
    CHECK_STATUS(OK, relay_health(relay, &err));
    add("fr{00}oevents:3:1", "9-1");
    relay_reconnected(relay, 0);
    await_trim();
    CHECK_INT(9, (int)trim.ids[0].high);
    CHECK_STATUS(OK, relay_health(relay, &err));
    end();
}
