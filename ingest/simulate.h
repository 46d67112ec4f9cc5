/*
 * ingest/simulate.h - `freshet simulate`: synthetic users into Kafka, or into a file.
 */
#ifndef INGEST_SIMULATE_H
#define INGEST_SIMULATE_H

#include "ops/command.h"

extern const struct command simulate_command;

#endif
