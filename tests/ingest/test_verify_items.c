/* Tests ingest/verify_items: tables that count what is in the log, tables that do not, and those
 * that cannot be compared. Tables of a real trainer: tests/faults/test_event_faults.sh. */
#include "ingest/verify_items.h"

#include "features/item_tables.h"
#include "ops/hash.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"
#include "schemas/event.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED       77
#define AT_MS      INT64_C(1700000000000)
#define TIMEOUT_MS 20000

static struct redis_dataset dataset;
static struct offsets_partition partition;
static struct offsets offsets;
static struct event_schema *schema;

static void prepare(void)
{
    struct error err;

    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    dataset = (struct redis_dataset){.shards = 4, .max_future_skew_ms = 300000};
    rules_init(&dataset.rules, schema, SEED);
    partition = (struct offsets_partition){.partition = 0, .start = 0};
    offsets = (struct offsets){.shards = 4, .count = 1, .list = &partition};
}

/* i1 clicked twice, i2 as often as said; up to `next` of partition 0, or of none. */
static const char *save_tables(uint64_t seed, int clicks, int64_t next)
{
    static char path[300];
    const struct item_tables_options options = {.items_max = 100, .seed = seed};
    const struct item_file_offset end = {0, next};
    struct item_tables *tables;
    struct error err;

    (void)snprintf(path, sizeof path, "%s/items", test_folder());
    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    for (int i = 0; i < 2 + clicks; i++) {
        struct text name = text_of(i < 2 ? "i1" : "i2");
        int32_t index = item_tables_index(tables, hash64_text(name, seed), name, AT_MS);

        item_tables_observe(tables, index, AT_MS + i, NULL, 0);
    }
    item_tables_set_offsets(tables, &end, next < 0 ? 0 : 1);
    CHECK_STATUS(OK, item_tables_save(tables, path, &err));
    item_tables_destroy(tables);
    return path;
}

TEST(verify_items_refuses_tables_that_cannot_be_compared)
{
    struct verify_items *items = NULL;
    struct error err;

    prepare();
    verify_items_close(NULL);
    CHECK_STATUS(ERR_NOT_FOUND,
                 verify_items_open(&items, "/nowhere/items", "events", &dataset, &offsets, &err));
    CHECK_STATUS(ERR_CONFLICT, verify_items_open(&items, save_tables(SEED + 1, 1, 4), "events",
                                                 &dataset, &offsets, &err));
    CHECK(strstr(err.text, "of another data set") != NULL);
    CHECK_STATUS(ERR_CONFLICT, verify_items_open(&items, save_tables(SEED, 1, -1), "events",
                                                 &dataset, &offsets, &err));
    CHECK(strstr(err.text, "do not say up to where") != NULL);
    CHECK(items == NULL);
    event_schema_destroy(schema);
}

static enum status note(void *context, struct text name, int64_t clicks, int64_t shown,
                        struct error *err)
{
    char *told = context;
    size_t used = strlen(told);

    (void)err;
    (void)snprintf(told + used, 200 - used, "%.*s:%d:%d ", TEXT_ARGS(name), (int)clicks,
                   (int)shown);
    return OK;
}

TEST(verify_items_hands_out_what_the_tables_hold)
{
    struct verify_items *items;
    char told[200] = "";
    int64_t from, to;
    struct error err;

    prepare();
    partition.start = 1;
    CHECK_STATUS(
        OK, verify_items_open(&items, save_tables(SEED, 3, 9), "events", &dataset, &offsets, &err));
    CHECK(verify_items_range(items, 0, &from, &to));
    CHECK_INT(1, from); /* of a checkpoint: where the data set began */
    CHECK_INT(9, to);
    CHECK(!verify_items_range(items, 1, &from, &to));
    CHECK_STATUS(OK, verify_items_each(items, note, told, &err));
    CHECK_TEXT("i1:2:0 i2:3:0 ", told);
    verify_items_close(items);
    event_schema_destroy(schema);
}

static void produce(const struct config *config)
{
    static const char *const events[][2] = {{"u1", "i1"}, {"u2", "i1"}, {"u1", "i2"}};
    struct kafka_producer_options options;
    struct kafka_producer *producer;
    char value[200];
    struct error err;

    kafka_producer_options_from(&options, config);
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (int i = 0; i < 3; i++) {
        struct kafka_message message = {.topic = "events", .timestamp_ms = AT_MS + i};

        (void)snprintf(value, sizeof value,
                       "{\"type\":\"click\",\"user\":\"%s\",\"item\":\"%s\",\"ts\":%lld}",
                       events[i][0], events[i][1], (long long)AT_MS + i);
        message.key = text_of(events[i][0]);
        message.value = text_of(value);
        CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
    }
    CHECK_STATUS(OK, kafka_producer_flush(producer, TIMEOUT_MS, &err));
    kafka_producer_close(producer, 0);
}

/* Of user u1, who chooses i1, then i2. */
static struct verify_items_counts compare_masked(const struct config *config, int clicks,
                                                 int passes, struct robot_limits robots,
                                                 int histories)
{
    struct verify_items_counts counts = {0};
    struct verify_history *history;
    struct verify_items *items;
    struct error err;

    CHECK_STATUS(OK, verify_history_create(&history, &err));
    CHECK_STATUS(OK, verify_items_open(&items, save_tables(SEED, clicks, 3), "events", &dataset,
                                       &offsets, &err));
    CHECK_STATUS(OK,
                 verify_items_run(items, config, schema, passes, &robots, history, &counts, &err));
    CHECK_INT(histories, verify_history_count(history));
    verify_items_close(items);
    verify_history_destroy(history);
    return counts;
}

static struct verify_items_counts compare(const struct config *config, int clicks, int passes,
                                          int histories)
{
    return compare_masked(config, clicks, passes,
                          (struct robot_limits){.minute_max = 60, .item_max = 1}, histories);
}

TEST(verify_items_compares_with_the_log_in_any_number_of_passes)
{
    static const struct config_row *const rows[] = {kafka_config_rows, NULL};
    static const struct kafka_broker_topic topics[] = {{"events", 1}, {NULL, 0}};
    struct verify_items_counts counts;
    struct kafka_broker *broker;
    struct config *config;
    char set[100], *report;
    const char *const sets[] = {set};
    struct error err;

    prepare();
    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    (void)snprintf(set, sizeof set, "kafka.brokers=%s", kafka_broker_address(broker));
    CHECK_STATUS(OK, config_load(&config, rows, NULL, sets, 1, &report, &err));
    free(report);
    produce(config);
    for (int passes = 1; passes <= 3; passes += 2) {
        counts = compare(config, 1, passes, 0);
        CHECK_INT(2, counts.items);
        CHECK_INT(2, counts.equal);
        CHECK_INT(0, counts.different);
        counts = compare(config, 2, passes, 1);
        CHECK_INT(1, counts.equal);
        CHECK_INT(1, counts.different);
        counts = compare(config, 0, passes, 1); /* in the log alone */
        CHECK_INT(1, counts.items);
        CHECK_INT(1, counts.different);
        CHECK_INT(0, counts.masked);
        for (int limit = 0; limit < 2; limit++) { /* beyond a limit: in the log alone */
            counts = compare_masked(
                config, 0, passes, (struct robot_limits){.minute_max = 1 - limit, .day_max = limit},
                0);
            CHECK_INT(1, counts.equal);
            CHECK_INT(0, counts.different);
            CHECK_INT(1, counts.masked);
            CHECK_INT(0, counts.by_limits);
            for (int clicks = 1; clicks <= 2; clicks++) { /* tables of before there were limits */
                counts = compare_masked(
                    config, clicks, passes,
                    (struct robot_limits){.minute_max = 1 - limit, .day_max = limit}, 1);
                CHECK_INT(1, counts.different);
                CHECK_INT(2 - clicks, counts.by_limits);
            }
        }
    }
    config_destroy(config);
    kafka_broker_stop(broker);
    (void)close(command_stop_descriptor()); /* a process has one; this test is one */
    event_schema_destroy(schema);
}
