/*
 * features/redis_store.h - carries out the requests of features/store.h over Redis: one connection
 * a shard, one pipeline a request, one descriptor for the poll loop.
 *
 * Flow: machine -> [request -> RESP -> Redis -> replies] -> machine
 *
 * It decides nothing. What each request sends is written in features/store.h; field `b` of an
 * outbox row holds the example's bytes. READONLY, MOVED and CLUSTERDOWN mean that the connection
 * leads to the wrong node: it is dropped, and reported as lost. ASK and TRYAGAIN mean that the
 * shard's slot is on its way to another node: REFUSED, like LOADING (features/redis_topology.h says
 * why nothing else is right).
 * Thread: one.
 */
#ifndef FEATURES_REDIS_STORE_H
#define FEATURES_REDIS_STORE_H

#include "features/redis_connection.h"
#include "features/redis_keys.h"
#include "features/store.h"

struct redis_store_options {
    const struct redis_target *target;
    const struct redis_keys *keys;
    const char *topic; /* of events: part of the keys m and o */
    int shards;
    struct redis_limits limits;
};

struct redis_store;
/* Copies the options. Errors: ERR_NOMEM, ERR_IO (no descriptor), ERR_LIMIT */
MUST_CHECK enum status redis_store_create(struct redis_store **store,
                                          const struct redis_store_options *options,
                                          struct error *err);
void redis_store_destroy(struct redis_store *store); /* NULL is fine */

/* Readable when a step is due because of some connection; and the moment a step is due anyway: at
 * once (0) while redis_store_next() has not said that nothing is left. */
int redis_store_descriptor(const struct redis_store *store);
int64_t redis_store_due_us(const struct redis_store *store);
void redis_store_step(struct redis_store *store, int64_t now_us);

enum redis_store_event_kind {
    REDIS_STORE_CONNECTED,
    REDIS_STORE_DISCONNECTED, /* with what was in flight on it */
    REDIS_STORE_REPLY
};
struct redis_store_event {
    enum redis_store_event_kind kind;
    int shard;
    struct store_reply reply; /* valid until the next call of redis_store_next */
};
/* What happened, shard by shard; false when nothing is left. */
bool redis_store_next(struct redis_store *store, struct redis_store_event *event);

/* Sends a request on its shard's connection: the shard must have been reported CONNECTED and have
 * nothing in flight. The request stays borrowed until its REPLY or DISCONNECTED. */
void redis_store_send(struct redis_store *store, const struct store_request *request);

int redis_store_connected(const struct redis_store *store); /* shards that are */
/* Why the first shard that is not connected is not, or else why the last write of one was refused;
 * "" when all is well. */
const char *redis_store_why(const struct redis_store *store);

#endif
