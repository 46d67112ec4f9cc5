/*
 * retrain/retrain_main.h - the commands and settings of this folder.
 */
#ifndef RETRAIN_RETRAIN_MAIN_H
#define RETRAIN_RETRAIN_MAIN_H

#include "ops/command.h"
#include "ops/config.h"

extern const struct command *const retrain_commands[]; /* NULL-ended */
extern const struct config_row retrain_config_rows[];  /* ends with a NULL key */

#endif
