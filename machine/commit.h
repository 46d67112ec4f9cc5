/*
 * machine/commit.h - one shard's commits: batch, read, apply, EXEC, and what the answers mean.
 *
 * Flow: backlog -> [batch -> uncached users -> rules -> letters -> EXEC -> verdicts] -> store
 *
 * Every commit covers all partitions this process reads. It is also the tick: an empty batch runs
 * the same checks.
 */
#ifndef MACHINE_COMMIT_H
#define MACHINE_COMMIT_H

#include "machine/machine_inside.h"

/* Fills the shard's next request of a commit; false: nothing is due, or it waits for letters. */
bool commit_turn(struct machine *machine, struct shard *shard);
/* turn: what was asked. reply NULL: the connection was lost or the request refused. */
void commit_reply(struct machine *machine, struct shard *shard, enum turn turn,
                  const struct store_reply *reply);
/* Gives up the plan, if there is one: what it was made on no longer holds. Records stay queued. */
void commit_abandon(struct shard *shard);
/* A batch was not answered: it may be larger than the connection lets through, or take longer than
 * the deadline. The next ones are half of it, and grow again. */
void commit_halve(struct shard *shard);
/* When something will be due by time alone; INT64_MAX: never. */
int64_t commit_wakeup_us(const struct machine *machine, const struct shard *shard);

#endif
