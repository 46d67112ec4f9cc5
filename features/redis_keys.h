/*
 * features/redis_keys.h - the names of all keys in Redis, in one place.
 *
 *     <ns>{NN}u<user>          one user's value (schemas/user_value.h)
 *     <ns>{NN}m<topic>:<p>:<n> what is applied of a topic-partition in this shard, a hash
 *     <ns>{NN}o<topic>:<p>:<n> the outbox of that topic-partition in this shard, a stream
 *     <ns>{00}set              the data set's record
 *     <ns>{00}dlq              who replays dead letters now; expires
 *
 * {NN} is the shard in two hexadecimal digits or more; the braces make it the hash tag of Redis
 * Cluster from the first day. n is the log number: a changed log that was accepted raises it.
 * ns is at most 8 bytes of letters, digits, '-' and '_', so that two data sets share a Redis.
 */
#ifndef FEATURES_REDIS_KEYS_H
#define FEATURES_REDIS_KEYS_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDIS_NAMESPACE_MAX  8
#define REDIS_NAMESPACE      "fr"
#define REDIS_TOPIC_MAX      249
#define REDIS_KEY_BYTES_MAX  (REDIS_NAMESPACE_MAX + 8 + 1 + REDIS_TOPIC_MAX + 24)
#define REDIS_SHARDS_MAX     4096
#define REDIS_SHARDS_DEFAULT 64

/* A namespace, checked once. */
struct redis_keys {
    char ns[REDIS_NAMESPACE_MAX + 1];
};
/* Errors: ERR_CONFIG (too long, or a byte that is not allowed) */
MUST_CHECK enum status redis_keys_init(struct redis_keys *keys, const char *ns, struct error *err);

/* Each writes the key and returns its bytes; into has room for REDIS_KEY_BYTES_MAX. user is at
 * most USER_ID_MAX bytes, topic at most REDIS_TOPIC_MAX. */
size_t redis_key_user(const struct redis_keys *keys, int shard, struct text user, char *into);
size_t redis_key_meta(const struct redis_keys *keys, int shard, const char *topic,
                      int32_t partition, uint32_t log_number, char *into);
size_t redis_key_outbox(const struct redis_keys *keys, int shard, const char *topic,
                        int32_t partition, uint32_t log_number, char *into);
size_t redis_key_set(const struct redis_keys *keys, char *into);
size_t redis_key_dlq(const struct redis_keys *keys, char *into);

/* What a key found by SCAN is. */
enum redis_key_kind {
    REDIS_KEY_OTHER,
    REDIS_KEY_USER,
    REDIS_KEY_META,
    REDIS_KEY_OUTBOX,
    REDIS_KEY_SET
};
/* rest: the user, or what follows the 'm' or 'o'. */
enum redis_key_kind redis_key_parse(const struct redis_keys *keys, struct text key, int *shard,
                                    struct text *rest);

#endif
