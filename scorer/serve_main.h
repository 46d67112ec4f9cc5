/*
 * scorer/serve_main.h - `freshet serve`, and the `serve` section of the configuration, doctor's
 * questions.
 */
#ifndef SCORER_SERVE_MAIN_H
#define SCORER_SERVE_MAIN_H

#include "ops/command.h"
#include "ops/config.h"
#include "ops/doctor.h"

extern const struct command *const scorer_commands[]; /* NULL-ended */
extern const struct config_row serve_config_rows[];   /* ends with a NULL key */
extern const struct config_rule serve_config_rules[]; /* ends with a NULL key */
extern const struct doctor_check serve_doctor_checks[];

#endif
