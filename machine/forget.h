/*
 * machine/forget.h - an erasure's rows in the outboxes: those not relayed yet go with the user.
 *
 * Flow: batch, users -> [forget: read the outboxes, page by page] -> rules -> EXEC with XDEL
 *
 * A commit that erases reads every outbox of its shard of the partitions that are read here, keeps
 * the ids of the rows that hold anything of the user at or before the erasure, and deletes them in
 * the EXEC that erases: so there is no moment in which the value is gone and a row is not. What
 * the same batch would have appended before the erasure is left out. A row that the relay has
 * already given to Kafka is followed there by the erase record. An outbox of a partition that
 * another process reads is left alone: only a user whose events lie in two partitions has rows in
 * two, and the trainer drops those by the erase record.
 */
#ifndef MACHINE_FORGET_H
#define MACHINE_FORGET_H

#include "machine/machine_inside.h"

/* Does the batch erase anybody? Then its next stage is STAGE_ROWS. */
bool forget_wanted(const struct shard *shard);
/* Makes the request for the next page. */
void forget_ask(struct shard *shard);
/* Takes a page. False: no memory. */
MUST_CHECK bool forget_take(struct shard *shard, const struct store_reply *reply);
/* Was that the last page? */
bool forget_read_all(const struct shard *shard);
/* A record of this user erased up to time_ms: the batch's own rows before it go. */
void forget_emitted(struct shard *shard, uint64_t user, int64_t time_ms);
/* Puts the deletes into the EXEC request; users whose value is unusable keep their rows: their
 * erase record went to the dead letters. False: no memory. */
MUST_CHECK bool forget_put(struct shard *shard);
/* The EXEC was carried out: what it deleted no longer waits. */
void forget_settle(struct shard *shard);

#endif
