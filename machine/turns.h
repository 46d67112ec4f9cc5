/*
 * machine/turns.h - whose turn it is on a shard's connection.
 *
 * One request at a time: an EXEC ends every WATCH of its connection, so claims, commits and trims
 * take turns. Claims come first, for nothing is read before they are answered; trims alternate with
 * commits, so that neither starves.
 */
#ifndef MACHINE_TURNS_H
#define MACHINE_TURNS_H

#include "machine/machine_inside.h"

/* Fills shard->request and says so; false: nothing to ask now. */
bool turns_next(struct machine *machine, struct shard *shard);
void turns_reply(struct machine *machine, struct shard *shard, const struct store_reply *reply);
void turns_lost(struct machine *machine, struct shard *shard);
/* Queues a trim; false: too many wait already, or no memory. */
bool turns_add_trim(struct shard *shard, struct partition *partition, const struct store_id *ids,
                    int count);
/* A full outbox's rows are counted anew: another process may have trimmed it since the claim, and
 * where nothing is left no trim of ours would ever tell. */
void turns_recount(struct machine *machine);
void turns_clear(struct shard *shard); /* frees the trims */
/* When the shard will have something to ask by time alone; INT64_MAX: never. */
int64_t turns_wakeup_us(const struct machine *machine, const struct shard *shard);

#endif
