/*
 * retrain/model_main.h - the commands `freshet model list | show | rollback`.
 */
#ifndef RETRAIN_MODEL_MAIN_H
#define RETRAIN_MODEL_MAIN_H

#include "ops/command.h"

extern const struct command model_list_command;
extern const struct command model_show_command;
extern const struct command model_rollback_command;

#endif
