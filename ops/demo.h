/*
 * ops/demo.h - `freshet demo`: the whole loop on one machine, live, in two minutes.
 */
#ifndef OPS_DEMO_H
#define OPS_DEMO_H

#include "ops/command.h"

extern const struct command demo_command;

#endif
