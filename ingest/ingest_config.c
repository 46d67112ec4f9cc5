/* ingest/ingest_config.c - the rows of ingest, and the data set that a configuration asks for. */
#include "ingest/ingest_config.h"

#include <inttypes.h>

const struct config_row ingest_config_rows[] = {
    {"ingest.admin", CONFIG_TEXT, "127.0.0.1:9091", 0, 0, NULL,
     "address of /readyz, /metrics and the like; port 0 takes any"},
    {"ingest.linger", CONFIG_DURATION, "2ms", 0, 10000, NULL,
     "how long a record waits for company in its transaction; longer costs freshness and saves "
     "Redis work"},
    {"ingest.batch", CONFIG_INT, "256", 1, 100000, NULL,
     "records of one shard that are committed without waiting longer"},
    {"ingest.batch_max", CONFIG_INT, "2048", 1, 100000, NULL,
     "records of one shard in one transaction, at most"},
    {"ingest.backlog", CONFIG_INT, "16384", 1, 10000000, NULL,
     "records that may wait for one shard before its partitions pause"},
    {"ingest.backlog_memory", CONFIG_BYTES, "256MiB", 1 << 20, 1e12, NULL,
     "memory of all waiting records"},
    {"ingest.cache", CONFIG_BYTES, "256MiB", 1 << 20, 1e12, NULL,
     "memory of users' values kept between commits; a user in it costs no read"},
    {"ingest.outbox", CONFIG_INT, "100000", 1, 1e9, NULL,
     "examples of one shard and partition that may wait for Kafka before the partition pauses"},
    {"ingest.poison_share", CONFIG_REAL, "0.2", 0, 1, NULL,
     "share of refused records above which /readyz, a metric and the log say that something "
     "upstream "
     "is wrong; ingest goes on; 0: never"},
    {"ingest.poison_window", CONFIG_DURATION, "1m", 1000, 86400e3, NULL,
     "the time over which that share is taken"},
    {"ingest.drain", CONFIG_DURATION, "15s", 0, 3600e3, NULL,
     "how long a clean end may take before what is left is left to the next owner"},
    {"redis.wait_replicas", CONFIG_INT, "0", 0, 16, NULL,
     "replicas that should have a tick before it is told to Kafka; never needed to be right"},
    {"redis.wait", CONFIG_DURATION, "100ms", 1, 10000, NULL,
     "how long to wait for them; less than half of redis.reply_timeout"},
    {0},
};

enum status ingest_config_check(const struct config *config, struct error *err)
{
    int64_t wait_ms = config_duration_ms(config, "redis.wait");
    int64_t reply_ms = config_duration_ms(config, "redis.reply_timeout");

    if (config_int(config, "redis.wait_replicas") == 0 || wait_ms < reply_ms / 2)
        return OK;
    return error_set(err, ERR_CONFIG,
                     "redis.wait: %" PRId64 "ms for replicas must be less than half of "
                     "redis.reply_timeout, %" PRId64 "ms: the connection would count as broken "
                     "while Redis still waits, and no tick would ever end",
                     wait_ms, reply_ms);
}

const struct config_rule ingest_config_rules[] = {
    {.key = "redis.wait", .check = ingest_config_check},
    {.key = NULL},
};

enum status ingest_wanted_dataset(struct redis_dataset *wanted, const struct config *config,
                                  const struct event_schema *schema, struct error *err)
{
    *wanted = (struct redis_dataset){
        .shards = (int)config_int(config, "dataset.shards"),
        .examples_partitions = (int)config_int(config, "dataset.examples_partitions"),
        .max_future_skew_ms = event_schema_max_future_skew_ms(schema),
    };
    return rules_from_config(&wanted->rules, schema, config, 0, err);
}
