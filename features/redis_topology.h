/*
 * features/redis_topology.h - which node holds what: one server, the primary that sentinels name,
 * or the nodes of a cluster by slot.
 *
 * No I/O and no clock of its own: connections ask on their way (features/redis_connection.c) and
 * hand the answers in. All connections of a store share one topology, so that when a node dies one
 * of them asks and the others wait for its answer.
 *
 *     connection wants slot s -> [way] -> NODE: connect, greet, work
 *                                      -> GUIDE: ask a sentinel or any node, [answer], then again
 *                                      -> WAIT: another connection is asking
 *     it fails -> [doubt] -> the next way is GUIDE, and the next guide in turn
 *
 * One slot a shard. Every key carries its shard as hash tag, so a shard lies in one slot, on one
 * node, and a shard's connection leads there: WATCH, MULTI and EXEC work as on a single server.
 *
 * Why a slot that moves loses and doubles nothing. While a slot migrates from A to B its keys go
 * one by one (MIGRATE: gone from A and there at B in one step). A node looks a command's keys up
 * when it is queued, and all keys of a transaction again at EXEC, in the same step that carries it
 * out. Then:
 *
 * - At A, EXEC is carried out only if every key that it names is at A; else it is answered ASK
 *   (TRYAGAIN, when some are), and nothing of it is done. A patch of a user that has gone, or an
 *   HSET of an m that has gone, is refused while queueing already and aborts the rest. A key that
 *   never was there counts as gone: A cannot tell. So there is no second m, and no half commit.
 * - At B, whoever does not say ASKING is sent back to A. We never say it for a WATCH or a
 *   transaction, only for what may as well be done twice (features/redis_nodes.h). (With it B would
 *   take a transaction whose keys have all come, but a new user's key has not and never will: it is
 *   TRYAGAIN until the end, so nothing is won by it.)
 * - A key that is WATCHed and leaves is changed: EXEC answers nil, or ASK. When the slot is B's, A
 *   answers MOVED to EXEC, whatever was watched. There is no way to watch at A and write at B: a
 *   new connection begins with WATCH and reads m again.
 *
 * A shard whose slot moves therefore goes on for as long as all its keys of a batch are still at A,
 * then waits, backing off, until B has the slot; the others never notice. Its transactions stand
 * still for as long as redis-cli needs for the rest of that one slot. What reads one key (serve,
 * the tools) follows ASK with ASKING: such a command sees the key wherever it is.
 *
 * A failover of A in the middle of that leaves keys on both sides, as for every user of a cluster
 * (slots that migrate are not replicated as such before Redis 8): an m that is absent is a rollback
 * to nothing, and the shard is read again from its recorded start, or refused.
 *
 * Acknowledged writes that a failover loses come back as BEHIND (DESIGN 3), with sentinels as in a
 * cluster. An old primary that does not know yet that it is one no longer takes our writes until it
 * is told; they go with it.
 *
 * Thread: one at a time for each topology, and for all the connections that share it.
 */
#ifndef FEATURES_REDIS_TOPOLOGY_H
#define FEATURES_REDIS_TOPOLOGY_H

#include "features/redis_reply.h"
#include "features/redis_target.h"
#include "features/redis_tls.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

#define REDIS_SLOTS         16384
#define REDIS_NODES_MAX     256 /* primaries of a cluster */
#define REDIS_REDIRECTS_MAX 5   /* followed at once; then it backs off and asks anew */

/* CRC-16 (XMODEM) of the hash tag, or of the whole key where it has none, modulo 16384. */
int redis_slot(struct text key);
int redis_slot_of_shard(int shard);

/* Of "MOVED 3999 10.0.0.5:6381", "ASK ...". */
struct redis_moved {
    int slot;
    struct redis_address address;
};
/* from: who said so, for one that names no host. False when it is neither. */
bool redis_moved_parse(struct redis_moved *moved, struct text message,
                       const struct redis_address *from);

struct redis_topology;
/* Copies the target. Errors: ERR_NOMEM, ERR_CONFIG (unusable certificates) */
MUST_CHECK enum status redis_topology_create(struct redis_topology **topology,
                                             const struct redis_target *target, struct error *err);
void redis_topology_destroy(struct redis_topology *topology); /* NULL is fine */
const struct redis_target *redis_topology_target(const struct redis_topology *topology);
/* Certificates for connections, NULL where there is no TLS. */
struct redis_tls *redis_topology_tls(const struct redis_topology *topology);
/* redis_target_refresh() of its target, redis_tls_refresh() of its certificates. */
MUST_CHECK enum status redis_topology_refresh(struct redis_topology *topology, struct error *err);

enum redis_way { REDIS_WAY_NODE, REDIS_WAY_GUIDE, REDIS_WAY_WAIT };
struct redis_route {
    struct redis_address address; /* NODE, GUIDE */
    uint64_t version;             /* of what is known */
};
/* Where to connect to now for a slot. After GUIDE the caller owes an answer or a silence. */
enum redis_way redis_topology_way(struct redis_topology *topology, int slot, int64_t now_us,
                                  struct redis_route *route);
/* What to ask a guide, as words; returns how many (at most 3). */
int redis_topology_question(const struct redis_topology *topology, struct text words[3]);
/**
 * A guide's answer. Errors: ERR_UNAVAILABLE (it knows of no such primary, or of no slots: the next
 * guide may), ERR_MALFORMED: nothing has changed then; ERR_LIMIT (more primaries than
 * REDIS_NODES_MAX). A silence is still owed.
 */
MUST_CHECK enum status redis_topology_answer(struct redis_topology *topology,
                                             const struct redis_address *guide,
                                             const struct redis_reply *reply, struct error *err);
/* The guide did not answer, or not usably. True: there is another one to ask at once. */
bool redis_topology_silent(struct redis_topology *topology);
/* A node of that version failed: ask before the next one goes there. */
void redis_topology_doubt(struct redis_topology *topology, uint64_t version);
/* A node said MOVED. Only a cluster's topology heeds it. */
void redis_topology_moved(struct redis_topology *topology, const struct redis_moved *moved);

/* What is believed, however doubtful. False: nothing yet. */
bool redis_topology_where(const struct redis_topology *topology, int slot,
                          struct redis_address *address);
/* Nodes that hold slots: a slot of each, at most REDIS_NODES_MAX. Returns how many. */
int redis_topology_slots(const struct redis_topology *topology, int slots[REDIS_NODES_MAX]);

#endif
