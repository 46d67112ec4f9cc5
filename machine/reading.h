/*
 * machine/reading.h - records coming from Kafka: which are ours, which are new, whose log it is.
 *
 * Flow: Kafka -> [reading] -> backlog of a shard, dead letters
 */
#ifndef MACHINE_READING_H
#define MACHINE_READING_H

#include "machine/machine_inside.h"

/* Sets the partition to read from what all its shards believe: position, watermark, the records
 * that must be in the log. Returns the offset to assign. Every shard's state is known. */
int64_t reading_begin(struct machine *machine, struct partition *partition);

/* Errors: ERR_NOMEM */
MUST_CHECK enum status reading_record(struct machine *machine, const struct machine_record *record,
                                      struct error *err);

#endif
