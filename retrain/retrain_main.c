/* retrain/retrain_main.c - the table of this folder's commands, and its section of the config. */
#include "retrain/retrain_main.h"

#include "retrain/backtest_main.h"

#include <stddef.h>

const struct command *const retrain_commands[] = {
    &backtest_command,
    NULL,
};

const struct config_row retrain_config_rows[] = {
    {0},
};
