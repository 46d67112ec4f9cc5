/* tests/ingest/command_fixture.c - see command_fixture.h. */
#include "tests/ingest/command_fixture.h"

#include "features/features_main.h"
#include "features/redis_target.h"
#include "ingest/ingest_config.h"
#include "ingest/ingest_main.h"
#include "ops/kafka_consumer.h"
#include "ops/ops_main.h"

static const struct command *const *const commands[] = {ingest_commands, NULL};
static const struct config_row *const config_tables[] = {ops_config_rows,
                                                         kafka_config_rows,
                                                         redis_config_rows,
                                                         events_config_rows,
                                                         features_config_rows,
                                                         ingest_config_rows,
                                                         NULL};
static const struct doctor_check *const checks[] = {NULL};
const struct command_tables ingest_command_tables = {commands, config_tables, checks, NULL};
