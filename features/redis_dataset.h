/*
 * features/redis_dataset.h - the data set's record `<ns>{00}set`: what was chosen once and must
 * never differ between the processes that share these keys.
 *
 * One hash, written by one transaction when ingest first starts, extended by one field for each
 * partition that is added later:
 *
 *    format             1
 *    id                 32 hexadecimal digits, random
 *    seed               16 hexadecimal digits, random: of user, item and request hashes. Whoever
 *                       names items must not be able to make two of them collide, so it is secret
 *    shards             V
 *    value_format, example_format
 *    examples_partitions
 *    created_at_ms
 *    sequence_max, joins_max, join_window_ms, late_max_ms, max_future_skew_ms
 *    actions            name:code:history:negative:exposure:label, one a line
 *    start:<topic>:<p>  where this data set begins in a partition
 *    log:<topic>:<p>    log number of the partition (absent: 0)
 *    skipped:<topic>:<p>  records that resets have left out (absent: 0)
 *
 * A process whose configuration says otherwise refuses to start; what the rules depend on is
 * changed by `migrate`, never by editing a file.
 */
#ifndef FEATURES_REDIS_DATASET_H
#define FEATURES_REDIS_DATASET_H

#include "features/redis_connection.h"
#include "features/redis_keys.h"
#include "features/redis_nodes.h"
#include "features/rules.h"

#define DATASET_FORMAT         1
#define DATASET_PARTITIONS_MAX 4096

struct dataset_partition {
    char topic[REDIS_TOPIC_MAX + 1];
    int32_t partition;
    uint32_t log_number;
    int64_t start;
    int64_t skipped; /* records that `freshet offsets reset` has left out, in all */
};

struct redis_dataset {
    char id[33];
    int shards;
    int value_format, example_format;
    int examples_partitions;
    int64_t created_at_ms;
    int64_t max_future_skew_ms;
    struct rules rules; /* seed and settings, as every role must use them */
    int partitions_count;
    struct dataset_partition *partitions; /* owned */
};
void redis_dataset_clear(struct redis_dataset *dataset);

/**
 * Checks that this server can carry the protocol, before anything is written: version 6.0.9 or
 * newer, maxmemory-policy noeviction (where CONFIG or INFO says), a primary, and that WATCH,
 * MULTI and EXEC work as they must on one connection and abort on another one's write (a proxy
 * that spreads a connection over servers fails here; FAULTS 49, 52). Uses keys below
 * `<ns>{00}probe`, which expire.
 * Errors: ERR_CONFIG with the remedy, ERR_UNAVAILABLE, ERR_TIMEOUT
 */
MUST_CHECK enum status redis_dataset_check_server(const struct redis_target *target,
                                                  const struct redis_keys *keys, int64_t timeout_ms,
                                                  struct error *err);

/* Errors: ERR_NOT_FOUND (there is no data set under this namespace), ERR_MALFORMED, ERR_VERSION,
 * ERR_UNAVAILABLE, ERR_TIMEOUT */
MUST_CHECK enum status redis_dataset_load(struct redis_dataset *dataset,
                                          struct redis_connection *connection,
                                          const struct redis_keys *keys, int64_t timeout_ms,
                                          struct error *err);
/* The same for those who must not wait: asks (false: nothing was sent), and takes the reply to it
 * once that has come. */
MUST_CHECK bool redis_dataset_ask(struct redis_connection *connection,
                                  const struct redis_keys *keys);
MUST_CHECK enum status redis_dataset_answer(struct redis_dataset *dataset,
                                            const struct redis_keys *keys,
                                            const struct redis_reply *reply, struct error *err);
/**
 * Loads it, or creates it from *wanted (rules.seed 0: a random one is drawn; partitions: their
 * start offsets). Two processes that start together agree: one creates, the other loads.
 * Errors: those of load, ERR_CONFLICT (what is stored differs from *wanted: the text names the
 *         first setting that does)
 */
MUST_CHECK enum status redis_dataset_open(struct redis_dataset *dataset,
                                          struct redis_connection *connection,
                                          const struct redis_keys *keys,
                                          const struct redis_dataset *wanted, int64_t timeout_ms,
                                          struct error *err);
/* Records where a partition begins unless that is recorded already; *start is what is stored. */
MUST_CHECK enum status redis_dataset_add_partition(struct redis_dataset *dataset,
                                                   struct redis_connection *connection,
                                                   const struct redis_keys *keys, const char *topic,
                                                   int32_t partition, int64_t *start,
                                                   int64_t timeout_ms, struct error *err);
#define DATASET_LOG_MAX 0xfff /* log numbers of a partition */
/* Lets a partition begin anew: its start, its log number (under which no shard has an m yet) and
 * what was skipped, in one transaction, which ends a WATCH of this connection.
 * epoch: of the connection, when WATCH was answered.
 * Errors: ERR_IN_USE (what the caller watches has changed: nothing was written), those of
 *         redis_transaction_begin() and redis_transaction_exec() */
MUST_CHECK enum status redis_dataset_restart_partition(struct redis_connection *connection,
                                                       uint64_t epoch,
                                                       const struct redis_keys *keys,
                                                       const struct dataset_partition *anew,
                                                       int64_t timeout_ms, struct error *err);
/* NULL when not recorded. */
const struct dataset_partition *redis_dataset_partition(const struct redis_dataset *dataset,
                                                        const char *topic, int32_t partition);

/* Connects, loads, hands the connection over: what retrain and doctor begin with. It leads to the
 * node of the record. */
MUST_CHECK enum status redis_dataset_connect(struct redis_dataset *dataset,
                                             struct redis_connection **connection,
                                             struct redis_keys *keys, const struct config *config,
                                             int64_t timeout_ms, struct error *err);
/* The same for what reads all shards. */
MUST_CHECK enum status redis_dataset_connect_nodes(struct redis_dataset *dataset,
                                                   struct redis_nodes **nodes,
                                                   struct redis_keys *keys,
                                                   const struct config *config, int64_t timeout_ms,
                                                   struct error *err);

#endif
