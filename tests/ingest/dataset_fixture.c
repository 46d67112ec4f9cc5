/* tests/ingest/dataset_fixture.c - see dataset_fixture.h. */
#include "tests/ingest/dataset_fixture.h"

#include "ops/hash.h"
#include "schemas/event.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 5000

void dataset_fixture_open(struct dataset_fixture *f, const struct kafka_broker_topic *topics)
{
    struct error err;

    memset(f, 0, sizeof *f);
    redis_server_start(&f->server, NULL);
    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, redis_keys_init(&f->keys, "fr", &err));
    if (topics != NULL)
        CHECK_STATUS(OK, kafka_broker_start(&f->broker, topics, &err));
    (void)snprintf(f->options, sizeof f->options,
                   " --quiet --set redis.url=%s --set kafka.brokers=%s", f->server.url,
                   f->broker == NULL ? "127.0.0.1:1" : kafka_broker_address(f->broker));
}

void dataset_fixture_record(struct dataset_fixture *f, const struct dataset_partition *partitions,
                            int count)
{
    struct dataset_partition copy[8];
    struct redis_dataset wanted = {.shards = DATASET_FIXTURE_SHARDS,
                                   .examples_partitions = 1,
                                   .max_future_skew_ms = 300000,
                                   .partitions = copy,
                                   .partitions_count = count};
    struct redis_connection *connection;
    struct redis_dataset made;
    struct redis_target target;
    struct event_schema *schema;
    struct error err;

    CHECK(count <= (int)(sizeof copy / sizeof *copy));
    if (count > 0)
        memcpy(copy, partitions, (size_t)count * sizeof *copy);
    for (int i = 0; i < count; i++)
        (void)snprintf(copy[i].topic, sizeof copy[i].topic, "events");
    CHECK_STATUS(OK, redis_target_parse(&target, f->server.url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    rules_init(&wanted.rules, schema, 0);
    event_schema_destroy(schema);
    CHECK_STATUS(OK, redis_dataset_open(&made, connection, &f->keys, &wanted, TIMEOUT_MS, &err));
    redis_dataset_clear(&made);
    redis_connection_destroy(connection);
}

void dataset_fixture_apply(struct dataset_fixture *f, int shard, int32_t partition,
                           uint32_t log_number, int64_t next)
{
    struct store_state state = {
        .next = next, .watermark_ms = STORE_NO_WATERMARK, .last_offset = STORE_NO_OFFSET};
    char key[REDIS_KEY_BYTES_MAX], text[STORE_STATE_TEXT_MAX + 1];

    state.counts[OUTCOME_APPLIED] = next;
    key[redis_key_meta(&f->keys, shard, "events", partition, log_number, key)] = '\0';
    text[store_state_format(text, &state)] = '\0';
    CHECK_TEXT("1", REDIS_COMMAND(&f->server, "HSET", key, "state", text));
}

void dataset_fixture_close(struct dataset_fixture *f)
{
    if (f->broker != NULL)
        kafka_broker_stop(f->broker);
    redis_server_stop(&f->server);
    memset(f, 0, sizeof *f);
}
