/* features/features_commands.h - the commands of this folder, for its table alone. */
#ifndef FEATURES_FEATURES_COMMANDS_H
#define FEATURES_FEATURES_COMMANDS_H

#include "ops/command.h"

extern const struct command features_show_command;
extern const struct command features_dump_command;
extern const struct command features_size_command;

#endif
