/*
 * tests/ingest/dataset_fixture.h - a data set of four shards in a private Redis, and the embedded
 * broker beside it, for commands that look at both.
 *
 * What shards have applied is written by hand, as ingest would have left it.
 */
#ifndef TESTS_INGEST_DATASET_FIXTURE_H
#define TESTS_INGEST_DATASET_FIXTURE_H

#include "features/redis_dataset.h"
#include "features/store.h"
#include "ops/kafka_admin.h"
#include "tests/support/redis_server.h"

#define DATASET_FIXTURE_SHARDS 4

struct dataset_fixture {
    struct redis_server server;
    struct redis_keys keys;
    struct kafka_broker *broker; /* NULL: none */
    char options[600];           /* of a command: " --set redis.url=... --set kafka.brokers=..." */
};

/* Redis alone: nothing is recorded yet. topics: of the embedded broker, NULL: there is none. */
void dataset_fixture_open(struct dataset_fixture *f, const struct kafka_broker_topic *topics);
/* Records the data set, with these partitions of topic "events". */
void dataset_fixture_record(struct dataset_fixture *f, const struct dataset_partition *partitions,
                            int count);
/* What a shard has applied of a partition: next, and as many events as next says. */
void dataset_fixture_apply(struct dataset_fixture *f, int shard, int32_t partition,
                           uint32_t log_number, int64_t next);
void dataset_fixture_close(struct dataset_fixture *f);

#endif
