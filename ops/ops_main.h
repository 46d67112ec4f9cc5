/*
 * ops/ops_main.h - the commands of the floor: version, config, doctor, runbook; the `log`
 * section of the configuration; the checks that need no other folder.
 */
#ifndef OPS_OPS_MAIN_H
#define OPS_OPS_MAIN_H

#include "ops/command.h"
#include "ops/config.h"
#include "ops/doctor.h"

extern const struct command *const ops_commands[];    /* NULL-ended */
extern const struct config_row ops_config_rows[];     /* ends with a NULL key */
extern const struct config_rule ops_config_rules[];   /* ends with a NULL key */
extern const struct doctor_check ops_doctor_checks[]; /* ends with a NULL name */
extern const struct doctor_check kafka_doctor_checks[];
extern const struct doctor_check kafka_acl_checks[]; /* doctor_kafka_acl.c */

#endif
