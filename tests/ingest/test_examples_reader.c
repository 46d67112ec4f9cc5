/*
 * Tests ingest/examples_reader on a private redis-server and the embedded broker: rows of the
 * outboxes and of the topic, each of ours handed on, and none of another data set, of an older log,
 * or of a record that is not applied yet.
 */
#include "ingest/examples_reader.h"

#include "features/redis_target.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_producer.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS 2
#define OURS   "0123456789abcdef0123456789abcdef"
#define OTHERS "fedcba9876543210fedcba9876543210"

static const struct kafka_broker_topic topics[] = {{"examples", 2}, {NULL, 0}};

static struct redis_server server;
static struct kafka_broker *broker;
static struct config *config;
static struct redis_nodes *nodes;
static struct redis_keys keys;
static struct error err;

/* One partition, log number 1; shard 0 has applied all below 10, shard 1 all below 20. */
static int64_t next_of[SHARDS] = {10, 20};
static struct offsets_partition partition = {.partition = 3, .log_number = 1, .next_of = next_of};
static struct offsets offsets = {.shards = SHARDS, .count = 1, .list = &partition};
static struct redis_dataset dataset = {.id = OURS, .shards = SHARDS};

static char seen[2000]; /* what was handed on, each with a blank behind it */

static enum status visit(void *context, struct text example, struct error *why)
{
    size_t used = strlen(seen);

    (void)context;
    if (text_equal(example, text_of("stop")))
        return error_set(why, ERR_CANCELLED, "enough");
    (void)snprintf(seen + used, sizeof seen - used, "%.*s ", TEXT_ARGS(example));
    return OK;
}

static void begin(void)
{
    static const struct config_row *const tables[] = {kafka_config_rows, NULL};
    struct redis_target target;
    char set[128];
    const char *sets[] = {set};
    char *report;

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    (void)snprintf(set, sizeof set, "kafka.brokers=%s", kafka_broker_address(broker));
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, &err));
    free(report);
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_nodes_create(&nodes, &target, NULL, "test", &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    seen[0] = '\0';
}

static void end(void)
{
    redis_nodes_destroy(nodes);
    config_destroy(config);
    kafka_broker_stop(broker);
    redis_server_stop(&server);
}

static void send(struct kafka_producer *producer, int to, const char *origin, const char *value)
{
    struct kafka_message message = {
        .topic = "examples", .partition = to, .value = text_of(value), .header = text_of(origin)};

    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
}

static void fill_topic(void)
{
    struct kafka_producer_options options = {.brokers = kafka_broker_address(broker)};
    struct kafka_producer *producer;

    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    send(producer, 0, OURS " 3 1 0 10-7", "a");  /* of record 9, which is applied */
    send(producer, 0, OURS " 3 1 0 11-7", "-1"); /* of record 10, which is not */
    send(producer, 0, OURS " 3 1 1 20-7", "b");
    send(producer, 0, OURS " 3 0 0 5-7", "-2");   /* an older log */
    send(producer, 0, OURS " 4 1 0 5-7", "-3");   /* a partition nobody knows */
    send(producer, 0, OURS " 3 1 2 5-7", "-4");   /* a shard there is not */
    send(producer, 0, OTHERS " 3 1 0 5-7", "-5"); /* another data set */
    send(producer, 0, "rubbish", "-6");
    send(producer, 0, OURS " 3 1 -1 0-0", "mark");
    send(producer, 1, OURS " 3 1 0 10-7", "a"); /* once more: at least once */
    CHECK_STATUS(OK, kafka_producer_flush(producer, 30000, &err));
    kafka_producer_close(producer, 0);
}

static enum status read_all(struct examples_reader_counts *counts)
{
    const struct examples_reader_options options = {.config = config,
                                                    .nodes = nodes,
                                                    .keys = &keys,
                                                    .dataset = &dataset,
                                                    .offsets = &offsets,
                                                    .visit = visit};

    return examples_reader_read(&options, counts, &err);
}

TEST(examples_reader_hands_on_what_is_ours_and_counts_the_rest)
{
    struct examples_reader_counts counts;

    begin();
    fill_topic();
    (void)REDIS_COMMAND(&server, "XADD", "fr{00}oevents:3:1", "9-1", "e", "waiting");
    (void)REDIS_COMMAND(&server, "XADD", "fr{00}oevents:3:1", "12-1", "e", "-7"); /* not applied */
    (void)REDIS_COMMAND(&server, "XADD", "fr{01}oevents:3:1", "20-1", "e", "too");
    (void)REDIS_COMMAND(&server, "XADD", "fr{00}oevents:3:0", "1-1", "e", "-8"); /* an older log */
    CHECK_STATUS(OK, read_all(&counts));
    CHECK(strncmp(seen, "waiting too ", 12) == 0); /* the outboxes first */
    CHECK(strstr(seen, "a b ") != NULL && strstr(seen, "-") == NULL &&
          strstr(seen, "mark") == NULL);
    CHECK_INT(5, counts.rows);
    CHECK_INT(3, counts.waiting);
    CHECK_INT(7, counts.foreign);
    CHECK(!counts.cut);
    end();
}

/* More than a page, and rows of one record. */
TEST(examples_reader_reads_outboxes_of_several_pages)
{
    struct examples_reader_counts counts;
    char id[32];

    begin();
    for (int i = 0; i < 600; i++) {
        (void)snprintf(id, sizeof id, "%d-%d", 1 + i / 100, 1 + i);
        (void)REDIS_COMMAND(&server, "XADD", "fr{01}oevents:3:1", id, "e", "x");
    }
    CHECK_STATUS(OK, read_all(&counts));
    CHECK_INT(600, counts.rows);
    CHECK_INT(600, counts.waiting);
    CHECK_INT(1200, (int64_t)strlen(seen));
    end();
}

TEST(examples_reader_ends_with_its_visitor_and_refuses_rows_that_are_none)
{
    struct examples_reader_counts counts;

    begin();
    (void)REDIS_COMMAND(&server, "XADD", "fr{00}oevents:3:1", "9-1", "e", "stop");
    CHECK_STATUS(ERR_CANCELLED, read_all(&counts));
    (void)REDIS_COMMAND(&server, "DEL", "fr{00}oevents:3:1");
    (void)REDIS_COMMAND(&server, "XADD", "fr{00}oevents:3:1", "9-1", "e", "x", "f", "y");
    CHECK_STATUS(ERR_MALFORMED, read_all(&counts));
    end();
}
