/*
 * tests/support/command_run.h - runs a command line as a user would, in a child of its own, and
 * keeps what it printed.
 */
#ifndef TESTS_SUPPORT_COMMAND_RUN_H
#define TESTS_SUPPORT_COMMAND_RUN_H

#include "ops/command.h"
#include "ops/json.h"

struct command_result {
    int code;
    char out[1 << 18]; /* standard output, cut to what fits */
    char err[1 << 14]; /* standard error */
};

/* words: separated by blanks, without "freshet". Fails the test when it could not be run or was
 * ended by a signal. */
void command_run(struct command_result *result, const struct command_tables *tables,
                 const char *words);

/* The object that it printed with --json, alone. It lives as long as the parser and the result. */
const struct json_node *command_run_json(struct command_result *result, struct json_parser *parser);

#endif
