/*
 * features/redis_nodes.h - a connection to each node that holds keys of ours, for whoever reads
 * many shards: serve, the relay, the tools. On a single server, or behind sentinels, that is one
 * connection.
 *
 * Nothing here watches (that is redis_store's and redis_dataset's, each on one connection) and
 * what is sent may be sent twice: reads, and `offsets reset`'s HSET and DEL. So a command that is
 * answered ASK may follow its key to the node that it is moving to.
 *
 * Thread: one at a time.
 */
#ifndef FEATURES_REDIS_NODES_H
#define FEATURES_REDIS_NODES_H

#include "features/redis_connection.h"

struct redis_nodes;
/* Errors: ERR_NOMEM. name: CLIENT SETNAME, may be NULL. */
MUST_CHECK enum status redis_nodes_create(struct redis_nodes **nodes,
                                          const struct redis_target *target,
                                          const struct redis_limits *limits, const char *name,
                                          struct error *err);
void redis_nodes_destroy(struct redis_nodes *nodes); /* NULL is fine */

/* The connection to the node that holds a slot, as far as is known, made when there is none. It may
 * not be ready, or on its way. Stays good until destroy; another call may give another one. */
struct redis_connection *redis_nodes_of(struct redis_nodes *nodes, int slot);
/* The same by number, for arrays beside it and for poll: 0..count - 1, number 0 is the node of the
 * data set's record. */
int redis_nodes_number_of(struct redis_nodes *nodes, int slot);
int redis_nodes_count(const struct redis_nodes *nodes);
struct redis_connection *redis_nodes_at(struct redis_nodes *nodes, int number);

/* Makes the connections to all nodes that are known to hold slots, so that the first command for
 * each need not wait. */
void redis_nodes_meet(struct redis_nodes *nodes);

/* What an error reply says to do with the command that it answers. */
enum redis_heed {
    REDIS_HEED_ERROR, /* nothing about places: it is an error, or no error at all */
    REDIS_HEED_AGAIN, /* send it again, to the node of its slot: that is known now */
    REDIS_HEED_ASK,   /* send it to *asking, behind ASKING: its key is on its way */
    REDIS_HEED_LATER, /* the cluster is changing: try again in a moment */
};
/* from: the connection that the reply came by; asking: set with REDIS_HEED_ASK. */
enum redis_heed redis_nodes_heed(struct redis_nodes *nodes, struct redis_connection *from,
                                 const struct redis_reply *reply, int *asking);

/* ---- blocking ---- */

/**
 * Sends one command that may be sent twice to the node of its first argument that has a hash tag
 * (or to number 0), and follows it: at most REDIS_REDIRECTS_MAX times, and within timeout_ms.
 * Errors: those of redis_call
 */
MUST_CHECK enum status redis_nodes_call(struct redis_nodes *nodes, int64_t timeout_ms,
                                        const struct text *arguments, int arguments_count,
                                        const struct redis_reply **reply, struct error *err);
/* GET. value->at == NULL: no such key. Valid until the next call. */
MUST_CHECK enum status redis_nodes_get(struct redis_nodes *nodes, int64_t timeout_ms,
                                       struct text key, struct text *value, struct error *err);
/* Numbers of the nodes that hold slots now, each once: for what concerns all of them. */
MUST_CHECK enum status redis_nodes_all(struct redis_nodes *nodes, int64_t timeout_ms,
                                       int numbers[REDIS_NODES_MAX], int *count, struct error *err);

#endif
