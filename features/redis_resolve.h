/*
 * features/redis_resolve.h - from a host's name to its address, without waiting for it.
 *
 * Flow: connection -> [numeric? else ask: the name's lookup, shared] -> address -> connect
 *
 * getaddrinfo() waits: for the whole of resolv.conf's timeouts when no name server answers (5 s
 * twice for each of them), and it cannot be cut short. A loop of 64 connections that called it in
 * turn stood still for minutes. So each lookup has a thread of its own, which nobody waits for: who
 * asks is told "not yet", asks again, and gives up by a deadline of its own; the thread ends when
 * getaddrinfo() does, also after all who asked have gone.
 *
 * One lookup at a time for a name, shared by all connections of the process. Its outcome serves
 * everybody for RESOLVE_KEEP_MS from when it was first taken, so that connections which lost one
 * server cost one lookup, and a name that moves is seen within that. What nobody has taken yet is
 * kept for RESOLVE_UNTAKEN_MS: a name server slower than a connection's deadline still gets it
 * connected, at the attempt after.
 *
 * At most RESOLVE_NAMES_MAX names and RESOLVE_THREADS_MAX lookups at a time; more wait their turn.
 */
#ifndef FEATURES_REDIS_RESOLVE_H
#define FEATURES_REDIS_RESOLVE_H

#include "ops/status.h"

#include <stdint.h>

#define RESOLVE_ADDRESS_MAX 64 /* numeric, with an interface's name behind a local IPv6 address */
#define RESOLVE_NAMES_MAX   512
#define RESOLVE_THREADS_MAX 16
#define RESOLVE_KEEP_MS     1000
#define RESOLVE_UNTAKEN_MS  30000

enum redis_resolved { REDIS_RESOLVED, REDIS_RESOLVING, REDIS_UNRESOLVED };
/**
 * The numeric address of a host, IPv4 if it has one. A numeric host is its own, at once.
 * Never waits. RESOLVING: ask again in a few milliseconds. UNRESOLVED: *err says why
 * (ERR_UNAVAILABLE; ERR_NOMEM without memory or a thread); the next question after RESOLVE_KEEP_MS
 * is a new lookup.
 * Thread: any.
 */
enum redis_resolved redis_resolve(const char *host, int64_t now_us,
                                  char address[RESOLVE_ADDRESS_MAX], struct error *err);

/* For tests: who looks names up, in the place of getaddrinfo(); NULL: that again. Forgets all
 * names but those being looked up. It runs on the lookup's thread and may wait. */
typedef enum status redis_resolve_lookup(const char *host, char address[RESOLVE_ADDRESS_MAX],
                                         struct error *err);
void redis_resolve_by(redis_resolve_lookup *lookup);

#endif
