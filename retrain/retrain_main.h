/*
 * retrain/retrain_main.h - the commands and settings of this folder.
 */
#ifndef RETRAIN_RETRAIN_MAIN_H
#define RETRAIN_RETRAIN_MAIN_H

#include "ops/command.h"
#include "retrain/role.h"

extern const struct command *const retrain_commands[]; /* NULL-ended */
/* The section `retrain` is retrain_config_rows of retrain/role.h. */

#endif
