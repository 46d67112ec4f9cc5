/*
 * ingest/defences.h - the protocol's defences, each of which can be compiled out by name.
 *
 * -DWITHOUT_<NAME> takes one away; `make mutants` builds the simulator without each of them in
 * turn and shows that it finds a wrong user, count or example (tests/simulate/mutants.sh). A
 * defence without which nothing goes wrong is no defence, or the simulator is blind.
 */
#ifndef INGEST_DEFENCES_H
#define INGEST_DEFENCES_H

/* clang-format off */
/* Another owner's token in m ends our commits (FENCED). */
#ifdef WITHOUT_TOKEN
#define DEFENCE_TOKEN 0
#else
#define DEFENCE_TOKEN 1
#endif

/* The stored `next` is compared with the believed one at all. */
#ifdef WITHOUT_NEXT
#define DEFENCE_NEXT 0
#else
#define DEFENCE_NEXT 1
#endif

/* A stored `next` below the believed one is a rollback: rewind, never adopt it. */
#ifdef WITHOUT_BEHIND
#define DEFENCE_BEHIND 0
#else
#define DEFENCE_BEHIND 1
#endif

/* What a lost EXEC wrote is not in the cache: APPLIED and AHEAD empty the shard's. */
#ifdef WITHOUT_AHEAD
#define DEFENCE_AHEAD 0
#else
#define DEFENCE_AHEAD 1
#endif

/* Whoever takes a value over stamps the m of its old writer. */
#ifdef WITHOUT_STAMP
#define DEFENCE_STAMP 0
#else
#define DEFENCE_STAMP 1
#endif

/* The stamp is random; a counted one repeats after a rollback. */
#ifdef WITHOUT_RANDOM_STAMP
#define DEFENCE_RANDOM_STAMP 0
#else
#define DEFENCE_RANDOM_STAMP 1
#endif

/* The writer of a value moves to the tp that changed it last. */
#ifdef WITHOUT_WRITER
#define DEFENCE_WRITER 0
#else
#define DEFENCE_WRITER 1
#endif

/* Uncached users are watched before they are read. */
#ifdef WITHOUT_WATCH
#define DEFENCE_WATCH 0
#else
#define DEFENCE_WATCH 1
#endif

/* A claim's answer drops the cached users of its partition. */
#ifdef WITHOUT_CLAIM_DROP
#define DEFENCE_CLAIM_DROP 0
#else
#define DEFENCE_CLAIM_DROP 1
#endif

/* A cached value near the end of its TTL is read again. */
#ifdef WITHOUT_TTL_MARGIN
#define DEFENCE_TTL_MARGIN 0
#else
#define DEFENCE_TTL_MARGIN 1
#endif

/* Dead letters are acknowledged before the commit that passes them. */
#ifdef WITHOUT_LETTERS_FIRST
#define DEFENCE_LETTERS_FIRST 0
#else
#define DEFENCE_LETTERS_FIRST 1
#endif

/* A tick goes to every shard, quiet ones too. */
#ifdef WITHOUT_TICK
#define DEFENCE_TICK 0
#else
#define DEFENCE_TICK 1
#endif

/* Reading starts at the minimum of `next`, not at the offset the group committed. */
#ifdef WITHOUT_MINIMUM
#define DEFENCE_MINIMUM 0
#else
#define DEFENCE_MINIMUM 1
#endif

/* The record at `last` must be the one that was seen. */
#ifdef WITHOUT_LAST
#define DEFENCE_LAST 0
#else
#define DEFENCE_LAST 1
#endif

/* `to` is never below the shard's `next`. */
#ifdef WITHOUT_TO_MAX
#define DEFENCE_TO_MAX 0
#else
#define DEFENCE_TO_MAX 1
#endif

/* The length in a patch's reply tells that the value was gone. */
#ifdef WITHOUT_LENGTH
#define DEFENCE_LENGTH 0
#else
#define DEFENCE_LENGTH 1
#endif

/* An erasure deletes the user's rows that still wait in an outbox. */
#ifdef WITHOUT_FORGET
#define DEFENCE_FORGET 0
#else
#define DEFENCE_FORGET 1
#endif

/* Records of an older assignment are dropped. */
#ifdef WITHOUT_EPOCH
#define DEFENCE_EPOCH 0
#else
#define DEFENCE_EPOCH 1
#endif
/* clang-format on */

#endif
