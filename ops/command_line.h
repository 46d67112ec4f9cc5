/*
 * ops/command_line.h - a parsed command line, its parser and its help.
 * For ops/command*.c only.
 */
#ifndef OPS_COMMAND_LINE_H
#define OPS_COMMAND_LINE_H

#include "ops/command.h"
#include "ops/config_value.h"

#include <stdio.h>

#define COMMAND_OPTIONS_MAX   64
#define COMMAND_ARGUMENTS_MAX 4096
#define COMMAND_SETS_MAX      64

struct option_value {
    const char *text; /* given or fallback; NULL: absent */
    struct config_value value;
    bool given;
};

struct command_line {
    const struct command *command;
    struct option_value own[COMMAND_OPTIONS_MAX]; /* in the order of command->options */
    const char **arguments;
    int arguments_count;
    bool help, json, quiet;
    const char *config_path;
    const char *log_level;
    const char *sets[COMMAND_SETS_MAX];
    int sets_count;
    struct config *config; /* NULL until asked for */
};

/* Parses what follows the command's name. Prints what is wrong, with the nearest option, and
 * returns false then. arguments must have room for argc. */
bool command_line_parse(struct command_line *line, int argc, char **argv);

/* The command named by the first words of argv ("offsets list" takes two); *words gets how
 * many. NULL when there is none. */
const struct command *command_named(char **argv, int argc, int *words);

/* Those that every command has; ends with a NULL name. */
const struct option_row *command_common_options(void);

void command_help_all(FILE *out);                           /* freshet --help */
void command_help_group(FILE *out, const char *group);      /* freshet offsets --help */
void command_help_one(FILE *out, const struct command *of); /* freshet replay --help */
bool command_is_group(const char *name);

/* Walks all commands of all tables: index 0.. ; NULL past the end. */
const struct command *command_at(int index);

#endif
