/*
 * machine/claims.h - how a partition becomes ours, and how it is lost.
 *
 * Flow: assigned -> [token into every shard -> limits -> start -> init] -> reading
 *
 * A claim is always of all shards and always ends in a fresh assign: no record is read before
 * every shard has said how far it is.
 */
#ifndef MACHINE_CLAIMS_H
#define MACHINE_CLAIMS_H

#include "machine/machine_inside.h"

/* Throws away what is believed of the partition and claims it with a new token. */
void claims_begin(struct machine *machine, struct partition *partition);
/* Another owner has it: drop it, look again after a poll and a back-off. */
void claims_fence(struct machine *machine, struct partition *partition);
/* Partitions whose back-off is over. */
void claims_time(struct machine *machine);
/* When the next back-off ends; INT64_MAX: none. */
int64_t claims_wakeup_us(const struct machine *machine);

/* Fills the shard's next request of a claim; false: none is due. */
bool claims_turn(struct machine *machine, struct shard *shard);
/* turn: what was asked. reply NULL: the connection was lost or the request refused. */
void claims_reply(struct machine *machine, struct shard *shard, enum turn turn,
                  const struct store_reply *reply);
void claims_limits(struct machine *machine, struct partition *partition, int64_t low, int64_t high,
                   int64_t group_offset);

#endif
