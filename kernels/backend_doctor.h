/*
 * kernels/backend_doctor.h - what `freshet config check` and `freshet doctor` say of the device:
 * serve and retrain end with exit code 3 where FRESHET_BACKEND asks for one that is not there.
 */
#ifndef KERNELS_BACKEND_DOCTOR_H
#define KERNELS_BACKEND_DOCTOR_H

#include "ops/config.h"
#include "ops/doctor.h"

extern const struct config_rule backend_config_rules[];   /* ends with a NULL key */
extern const struct doctor_check backend_doctor_checks[]; /* ends with a NULL name */

#endif
