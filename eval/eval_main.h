/*
 * eval/eval_main.h - the commands of this folder.
 */
#ifndef EVAL_MAIN_H
#define EVAL_MAIN_H

#include "ops/command.h"

extern const struct command *const eval_commands[]; /* NULL-ended */

#endif
