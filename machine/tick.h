/*
 * machine/tick.h - once a second every shard is looked at, and Kafka is told how far all are.
 *
 * A tick is a number. Each shard answers it with its next commit, an empty one if nothing waits;
 * when all have, the minimum of `next` is what Kafka hears (a hint) and what the relay's marks say.
 */
#ifndef MACHINE_TICK_H
#define MACHINE_TICK_H

#include "machine/machine_inside.h"

void tick_time(struct machine *machine);
/* Emits hints and marks of the last tick all shards have answered. */
void tick_answered(struct machine *machine);
/* Draining: true when everything is committed and was ticked once more. */
bool tick_drained(const struct machine *machine);

#endif
