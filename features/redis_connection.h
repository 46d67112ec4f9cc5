/*
 * features/redis_connection.h - the door to hiredis: one connection to one Redis server.
 *
 * Two ways to use it. A poll loop over many connections (ingest: one a shard) appends commands,
 * steps each connection when its descriptor is ready or its time has come, and takes replies as
 * they arrive. A program that wants one answer calls the blocking functions of redis_call.h.
 *
 * Commands are formatted here by hand into one output buffer: hiredis' own formatting costs
 * 0.7-1.5 us a command, this 0.1-0.2 (LIMITS.md 2a). Replies are bounded (features/redis_reply.h):
 * a hostile or broken server costs bounded memory and the connection (FAULTS 57).
 *
 * A connection heals itself: after a failure it waits (jittered, doubling, at most 10 s), then
 * connects, authenticates (the secret is read again: it may have been rotated) and selects its
 * database again. What was in flight is lost and the caller sees it by the epoch, which counts the
 * times the connection became ready: replies belong to commands of the same epoch only, and nothing
 * is sent twice.
 *
 * It finds its node by itself: with sentinels or a cluster it asks on its way where that is, again
 * after every failure (features/redis_topology.h). In a cluster it leads to the node of one slot.
 *
 * Thread: one at a time for each connection.
 */
#ifndef FEATURES_REDIS_CONNECTION_H
#define FEATURES_REDIS_CONNECTION_H

#include "features/redis_reply.h"
#include "features/redis_target.h"
#include "features/redis_topology.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_limits {
    int64_t connect_ms; /* look up, connect, authenticate, select; 0: 3000 */
    int64_t reply_ms;   /* without a byte of the oldest reply owed, and six times that for the whole
                         * of it, which a server that drips would else never end; 0: 10000 */
    size_t output_bytes; /* commands not yet written; 0: 64 MiB */
    size_t reply_bytes;  /* one reply with all it holds; 0: 64 MiB */
    int reply_elements;  /* of one array; 0: 1,048,576 */
    int64_t backoff_ms;  /* the longest wait between attempts; 0: 10000 */
};

struct redis_connection;
/* Starts connecting at the first step. name: CLIENT SETNAME, may be NULL. In a cluster: to the node
 * of shard 0, which holds the data set's record. */
MUST_CHECK enum status redis_connection_create(struct redis_connection **connection,
                                               const struct redis_target *target,
                                               const struct redis_limits *limits, const char *name,
                                               struct error *err);
/* To the node of a slot, by a topology that others share and that outlives it. */
MUST_CHECK enum status redis_connection_create_in(struct redis_connection **connection,
                                                  struct redis_topology *topology, int slot,
                                                  const struct redis_limits *limits,
                                                  const char *name, struct error *err);
void redis_connection_destroy(struct redis_connection *connection); /* NULL is fine */

/* What poll() is to wait for: the descriptor (-1 while there is none), POLLIN and POLLOUT, and
 * the moment by which step must be called even so. */
int redis_connection_descriptor(const struct redis_connection *connection);
short redis_connection_wants(const struct redis_connection *connection);
int64_t redis_connection_due_us(const struct redis_connection *connection);
/* Connects, writes, reads, notices deadlines. Never blocks: names are looked up elsewhere
 * (features/redis_resolve.h). */
void redis_connection_step(struct redis_connection *connection, int64_t now_us);

bool redis_connection_ready(const struct redis_connection *connection);
/* 0 before it was ever ready; changes each time it becomes ready anew. */
uint64_t redis_connection_epoch(const struct redis_connection *connection);
/* Replies still owed for what was appended in this epoch. */
int redis_connection_owed(const struct redis_connection *connection);
/* Why it is not ready, or was not the last time. */
const struct error *redis_connection_why(const struct redis_connection *connection);
/* Drops the connection now (an answer made no sense); it heals like after any failure. */
void redis_connection_fail(struct redis_connection *connection, enum status status,
                           const char *why);

/* What an error reply says about where things are. MOVED is noted in the topology; MOVED of this
 * connection's own slot, READONLY and CLUSTERDOWN drop the connection, which then looks for the
 * right node: true. Any other reply: false. */
bool redis_connection_heed(struct redis_connection *connection, const struct redis_reply *reply);
/* Where it leads to, or last did. */
const struct redis_address *redis_connection_address(const struct redis_connection *connection);
/* Leaves for this node, and until it fails stays there, whoever has the slot; then for the slot's.
 */
void redis_connection_pin(struct redis_connection *connection, int slot,
                          const struct redis_address *address);

/* One command: begin with the number of arguments, then exactly that many. Only when ready;
 * false once the output limit is reached (nothing was appended then: begin refuses). */
bool redis_begin(struct redis_connection *connection, int arguments, size_t bytes_about);
void redis_argument(struct redis_connection *connection, const void *bytes, size_t count);
void redis_argument_text(struct redis_connection *connection, const char *zero_ended);
void redis_argument_int(struct redis_connection *connection, int64_t value);
/* The next reply, NULL when none has fully arrived. Valid until the next call on it. Any step may
 * have read replies, one that was meant to write, too: ask until NULL behind the last step before
 * waiting for the descriptor, which tells only what was not read yet. */
const struct redis_reply *redis_connection_reply(struct redis_connection *connection);
/* Bytes written and read since creation, for metrics. */
void redis_connection_traffic(const struct redis_connection *connection, uint64_t *written,
                              uint64_t *read);

#endif
