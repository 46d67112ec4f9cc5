/* tests/retrain/command_fixture.h - retrain's commands that need no server, and the rows of their
 * configuration, for tests/support/command_run.h. */
#ifndef TESTS_RETRAIN_COMMAND_FIXTURE_H
#define TESTS_RETRAIN_COMMAND_FIXTURE_H

#include "ops/command.h"

extern const struct command_tables retrain_command_tables;

#endif
