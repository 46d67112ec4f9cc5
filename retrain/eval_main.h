/* retrain/eval_main.h - the command `freshet eval`. */
#ifndef RETRAIN_EVAL_MAIN_H
#define RETRAIN_EVAL_MAIN_H

#include "ops/command.h"

extern const struct command eval_command;

#endif
