/* features/features_main.h - the commands of this folder and its section of the configuration,
 * doctor's questions to Redis. */
#ifndef FEATURES_FEATURES_MAIN_H
#define FEATURES_FEATURES_MAIN_H

#include "ops/command.h"
#include "ops/doctor.h"

extern const struct command *const features_commands[]; /* NULL-ended */
extern const struct config_row features_config_rows[];  /* ends with a NULL key */
extern const struct doctor_check redis_doctor_checks[];

#endif
