/* tests/ingest/command_fixture.h - ingest's commands and all rows of their configuration, for
 * tests/support/command_run.h. */
#ifndef TESTS_INGEST_COMMAND_FIXTURE_H
#define TESTS_INGEST_COMMAND_FIXTURE_H

#include "ops/command.h"

extern const struct command_tables ingest_command_tables;

#endif
