/* tests/retrain/command_fixture.c - see command_fixture.h. */
#include "tests/retrain/command_fixture.h"

#include "eval/eval_main.h"
#include "features/features_main.h"
#include "kernels/model_rows.h"
#include "ops/ops_main.h"
#include "retrain/retrain_main.h"
#include "schemas/event.h"
#include "scorer/serve_main.h"

static const struct command *const *const commands[] = {retrain_commands, eval_commands, NULL};
static const struct config_row *const config_tables[] = {ops_config_rows,
                                                         events_config_rows,
                                                         features_config_rows,
                                                         model_config_rows,
                                                         serve_config_rows,
                                                         retrain_config_rows,
                                                         NULL};
static const struct doctor_check *const checks[] = {NULL};
const struct command_tables retrain_command_tables = {commands, config_tables, checks, NULL};
