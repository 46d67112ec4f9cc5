/*
 * features/key_scan.h - walks all keys of a data set, a batch at a time, without stopping Redis.
 *
 * What SCAN promises: a key that is there from beginning to end is seen; one that comes or goes
 * meanwhile may be. SCAN may show a key twice; here each comes once (8 bytes of memory a key and
 * the table around it). In a cluster the nodes are walked one after another: a key whose slot moves
 * meanwhile counts as one that comes or goes.
 *
 * Thread: that of its nodes. Blocking: for the tools, not for a role.
 */
#ifndef FEATURES_KEY_SCAN_H
#define FEATURES_KEY_SCAN_H

#include "features/redis_keys.h"
#include "features/redis_nodes.h"

struct key_scan;

struct key_scan_key {
    enum redis_key_kind kind; /* never REDIS_KEY_OTHER */
    int shard;
    struct text key;
    struct text rest; /* the user, or what follows the 'm' or 'o' */
};

/* kind: that one, or REDIS_KEY_OTHER for all of the data set. Both pointers are borrowed until
 * key_scan_destroy(). Errors: ERR_NOMEM */
MUST_CHECK enum status key_scan_create(struct key_scan **scan, struct redis_nodes *nodes,
                                       const struct redis_keys *keys, enum redis_key_kind kind,
                                       struct error *err);
void key_scan_destroy(struct key_scan *scan); /* NULL is fine */

/**
 * The next batch, maybe an empty one. *batch is valid until the next call, also while other
 * commands run on the nodes. *more is false with the last one.
 * Errors: ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_MALFORMED, ERR_NOMEM
 */
MUST_CHECK enum status key_scan_next(struct key_scan *scan, int64_t timeout_ms,
                                     const struct key_scan_key **batch, int *count, bool *more,
                                     struct error *err);

#endif
