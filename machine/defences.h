/*
 * machine/defences.h - the protocol's defences, each of which can be compiled out by name.
 *
 * -DWITHOUT_<NAME> takes one away (ops/defence.h); `make mutants` builds the simulator without each
 * of them in turn and shows that it finds a wrong user, count or example
 * (tests/simulate/mutants.sh). A defence without which nothing goes wrong is no defence, or the
 * simulator is blind.
 */
#ifndef MACHINE_DEFENCES_H
#define MACHINE_DEFENCES_H

#include "ops/defence.h"

/* Another owner's token in m ends our commits (FENCED). */
#define DEFENCE_TOKEN DEFENCE(TOKEN)

/* The stored `next` is compared with the believed one at all. */
#define DEFENCE_NEXT DEFENCE(NEXT)

/* A stored `next` below the believed one is a rollback: rewind, never adopt it. */
#define DEFENCE_BEHIND DEFENCE(BEHIND)

/* What a lost EXEC wrote is not in the cache: APPLIED and AHEAD empty the shard's. */
#define DEFENCE_AHEAD DEFENCE(AHEAD)

/* Whoever takes a value over stamps the m of its old writer. */
#define DEFENCE_STAMP DEFENCE(STAMP)

/* The stamp is random; a counted one repeats after a rollback. */
#define DEFENCE_RANDOM_STAMP DEFENCE(RANDOM_STAMP)

/* The writer of a value moves to the tp that changed it last. */
#define DEFENCE_WRITER DEFENCE(WRITER)

/* Uncached users are watched before they are read. */
#define DEFENCE_WATCH DEFENCE(WATCH)

/* A claim's answer drops the cached users of its partition. */
#define DEFENCE_CLAIM_DROP DEFENCE(CLAIM_DROP)

/* A cached value near the end of its TTL is read again. */
#define DEFENCE_TTL_MARGIN DEFENCE(TTL_MARGIN)

/* Dead letters are acknowledged before the commit that passes them. */
#define DEFENCE_LETTERS_FIRST DEFENCE(LETTERS_FIRST)

/* A tick goes to every shard, quiet ones too. */
#define DEFENCE_TICK DEFENCE(TICK)

/* Reading starts at the minimum of `next`, not at the offset the group committed. */
#define DEFENCE_MINIMUM DEFENCE(MINIMUM)

/* The record at `last` must be the one that was seen. */
#define DEFENCE_LAST DEFENCE(LAST)

/* `to` is never below the shard's `next`. */
#define DEFENCE_TO_MAX DEFENCE(TO_MAX)

/* The length in a patch's reply tells that the value was gone. */
#define DEFENCE_LENGTH DEFENCE(LENGTH)

/* An erasure deletes the user's rows that still wait in an outbox. */
#define DEFENCE_FORGET DEFENCE(FORGET)

/* Records of an older assignment are dropped. */
#define DEFENCE_EPOCH DEFENCE(EPOCH)

#endif
