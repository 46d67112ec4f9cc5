/* features/features_main.h - the commands of this folder and its section of the configuration. */
#ifndef FEATURES_FEATURES_MAIN_H
#define FEATURES_FEATURES_MAIN_H

#include "ops/command.h"

extern const struct command *const features_commands[]; /* NULL-ended */
extern const struct config_row features_config_rows[];  /* ends with a NULL key */

#endif
