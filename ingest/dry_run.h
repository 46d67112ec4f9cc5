/*
 * ingest/dry_run.h - `freshet ingest --dry-run`: what would be applied, rejected, and why.
 *
 * Flow: file or topic -> [decode, rules over the memory store] -> counts with first examples
 *
 * Nothing is written anywhere: not to Redis, not to Kafka, no offset either.
 */
#ifndef INGEST_DRY_RUN_H
#define INGEST_DRY_RUN_H

#include "ops/command.h"

/* The source is the option --dry-run: a file if there is one of that name, else a topic, whose
 * partitions are read from their start to their present end. Returns an exit code. */
int dry_run(struct command_line *line, const struct config *config);

#endif
