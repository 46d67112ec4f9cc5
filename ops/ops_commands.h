/* ops/ops_commands.h - the floor's commands that have a file of their own. For ops_main.c. */
#ifndef OPS_OPS_COMMANDS_H
#define OPS_OPS_COMMANDS_H

#include "ops/command.h"

extern const struct command config_check_command; /* config_main.c */
extern const struct command config_show_command;
extern const struct command doctor_command; /* doctor_main.c */

#endif
