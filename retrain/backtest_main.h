/*
 * retrain/backtest_main.h - the command `freshet backtest`.
 */
#ifndef RETRAIN_BACKTEST_MAIN_H
#define RETRAIN_BACKTEST_MAIN_H

#include "ops/command.h"

extern const struct command backtest_command;

#endif
