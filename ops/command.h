/*
 * ops/command.h - subcommands: options, help with examples, exit codes, --json.
 *
 * Every command understands --help, --json, --config FILE, --set KEY=VALUE (repeatable),
 * --log-level LEVEL, --quiet. With --json its result is one JSON object, alone on the last
 * line of standard output; logs and progress go to standard error.
 *
 * Options stand before or after the arguments, as --name VALUE or --name=VALUE; "--" ends
 * them. One given twice counts as given last.
 * Thread: the main thread, but for command_stopping().
 */
#ifndef OPS_COMMAND_H
#define OPS_COMMAND_H

#include "ops/config.h"
#include "ops/doctor.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

/* What a program that calls us may rely on. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_NO = 1,          /* the answer is no: a refused gate, a failed check */
    EXIT_USAGE = 2,       /* wrong usage or configuration, or what they name is not there */
    EXIT_UNREACHABLE = 3, /* a dependency could not be reached */
    EXIT_BAD_DATA = 4,
    EXIT_BUG = 70,
    EXIT_IN_USE = 73,   /* another process is at work on it: folder, address, partition, log */
    EXIT_REPLACED = 75, /* another instance took over: do not restart at once */
};

/* Each code's one meaning, for --help; the table of docs/operating.md says the same. */
struct exit_code_row {
    int code;
    const char *meaning;
};
extern const struct exit_code_row command_exit_codes[]; /* ends with a NULL meaning */

enum option_type {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_INT,
    OPTION_REAL,
    OPTION_DURATION,
    OPTION_CHOICE, /* a text; value_name has the words, "a|b|c" */
};

struct option_row {
    const char *name; /* "speed" for --speed; the table ends with a NULL name */
    enum option_type type;
    const char *value_name; /* "EVENTS/S" */
    const char *fallback;   /* NULL: absent unless given */
    const char *help;
};

struct command_line; /* parsed */

struct command {
    const char *name;      /* "replay", or "offsets list" for a command in a group */
    const char *summary;   /* one line, lower case, no full stop */
    const char *arguments; /* "FILE [FILE...]" or "" */
    const char *help;      /* paragraphs, then "Examples:" lines */
    int arguments_min, arguments_max;
    const struct option_row *options;      /* NULL: none of its own */
    int (*run)(struct command_line *line); /* returns an exit_code */
};

/* The option must be in the command's table with that type (else an assert). Without a
 * fallback an absent number is 0, an absent text NULL. */
bool command_flag(const struct command_line *line, const char *option);
/* Also of a choice; NULL if absent. */
const char *command_text(const struct command_line *line, const char *option);
int64_t command_int(const struct command_line *line, const char *option);
double command_real(const struct command_line *line, const char *option);
int64_t command_duration_ms(const struct command_line *line, const char *option);
bool command_given(const struct command_line *line, const char *option);
int command_arguments_count(const struct command_line *line);
const char *command_argument(const struct command_line *line, int index);
bool command_json(const struct command_line *line);
const char *command_program(const struct command_line *line); /* path of our own binary */

/* The configuration of this call: loaded at first use; prints every mistake and returns NULL
 * when it cannot be used (the command then returns EXIT_USAGE). The file is --config, else
 * FRESHET_CONFIG, else freshet.yaml in the current folder when there is one. Starts the log
 * as log.* says. */
const struct config *command_config(struct command_line *line);
const char *command_config_path(const struct command_line *line); /* NULL: no file */

/* Prints "freshet NAME: text" with a remedy and returns the exit code that fits the status.
 * With --json also prints {"error", "status"} as the result. */
int command_fail(const struct command_line *line, const struct error *err);
int command_exit_code(enum status status);
/* Wrong usage that only the command can see; returns EXIT_USAGE. */
int command_misused(const struct command_line *line, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* SIGTERM or SIGINT has come: true from then on; a second one ends the process at once.
 * Until one of these two is called for the first time, the first signal ends it. Any thread. */
bool command_stopping(void);
/* A descriptor that becomes readable then, for poll loops. */
int command_stop_descriptor(void);
/* From here on nothing interrupts: for a clean-up of bounded length. A second signal, which ends a
 * process at once, would leave behind what is being cleaned up. */
void command_ignore_stop(void);

/* What the root knows and the floor must not: all commands, config rows and checks. Each is a
 * NULL-ended list of a folder's tables: adding a folder is adding a line to freshet.c. */
struct command_tables {
    const struct command *const *const *commands;    /* each table ends with NULL */
    const struct config_row *const *config_tables;   /* each table ends with a NULL key */
    const struct doctor_check *const *doctor_tables; /* each table ends with a NULL name */
    const struct config_rule *const *rule_tables;    /* each table ends with a NULL key */
};
/* freshet.c's main(): finds the command, parses, runs. */
int command_main(int argc, char **argv, const struct command_tables *tables);
const struct command_tables *command_tables(void); /* those given to command_main */

#endif
