/*
 * ops/command.c - from argv to a command's run(), and what a command may ask for meanwhile.
 */
#include "ops/command.h"

#include "ops/command_line.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/levenshtein.h"
#include "ops/log.h"
#include "ops/progress.h"
#include "ops/version.h"
#include "ops/vitals.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORDS_MAX       2 /* of a command's name */
#define CONFIG_FALLBACK "freshet.yaml"

static const struct command_tables *tables;

/* ---- being told to stop ---- */

static atomic_bool stopping;
static int stop_event = -1; /* written to once, never read: it stays readable */

static void on_stop(int signal_number)
{
    const uint64_t one = 1;

    if (atomic_exchange(&stopping, true))
        _exit(128 + signal_number);
    if (write(stop_event, &one, sizeof one) < 0)
        _exit(128 + signal_number); /* nobody would wake up */
}

static void catch_signals(void)
{
    static atomic_flag once = ATOMIC_FLAG_INIT;
    struct sigaction action = {.sa_handler = on_stop};
    struct sigaction before;

    if (atomic_flag_test_and_set(&once))
        return;
    stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_event < 0)
        return; /* the first signal then ends the process, as it does by default */
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    /* A closed terminal ends it in order too, unless nohup said otherwise. */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(SIGHUP, &action, NULL);
}

void command_ignore_stop(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};

    catch_signals(); /* so that nobody catches them later */
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

bool command_stopping(void)
{
    catch_signals();
    return atomic_load(&stopping);
}

int command_stop_descriptor(void)
{
    catch_signals();
    return stop_event;
}

/* ---- what was given ---- */

static const struct option_value *own_option(const struct command_line *line, const char *name,
                                             enum option_type type, bool any_type)
{
    const struct option_row *options = line->command->options;

    for (int i = 0; options != NULL && options[i].name != NULL; i++) {
        if (strcmp(options[i].name, name) != 0)
            continue;
        assert(any_type || options[i].type == type ||
               (type == OPTION_TEXT && options[i].type == OPTION_CHOICE));
        return &line->own[i];
    }
    assert(!"an option that its command does not have");
    return NULL;
}

bool command_flag(const struct command_line *line, const char *option)
{
    return own_option(line, option, OPTION_FLAG, false)->value.integer != 0;
}

const char *command_text(const struct command_line *line, const char *option)
{
    return own_option(line, option, OPTION_TEXT, false)->text;
}

int64_t command_int(const struct command_line *line, const char *option)
{
    return own_option(line, option, OPTION_INT, false)->value.integer;
}

double command_real(const struct command_line *line, const char *option)
{
    return own_option(line, option, OPTION_REAL, false)->value.real;
}

int64_t command_duration_ms(const struct command_line *line, const char *option)
{
    return own_option(line, option, OPTION_DURATION, false)->value.integer;
}

bool command_given(const struct command_line *line, const char *option)
{
    return own_option(line, option, OPTION_FLAG, true)->given;
}

int command_arguments_count(const struct command_line *line)
{
    return line->arguments_count;
}

const char *command_argument(const struct command_line *line, int index)
{
    assert(index >= 0 && index < line->arguments_count);
    return line->arguments[index];
}

bool command_json(const struct command_line *line)
{
    return line->json;
}

const char *command_program(const struct command_line *line)
{
    static char path[PATH_MAX];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof path - 1);

    (void)line;
    if (bytes <= 0)
        return "freshet"; /* no /proc: found in PATH, or not at all */
    path[bytes] = 0;
    return path;
}

/* ---- failing ---- */

int command_exit_code(enum status status)
{
    switch (status) {
    case OK:
        return EXIT_DONE;
    case ERR_REJECTED:
    case ERR_CANCELLED:
        return EXIT_NO;
    case ERR_CONFIG:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
        return EXIT_USAGE;
    case ERR_IO:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_FULL:
    case ERR_DEVICE:
        return EXIT_UNREACHABLE;
    case ERR_MALFORMED:
    case ERR_CORRUPT:
    case ERR_VERSION:
    case ERR_LIMIT:
        return EXIT_BAD_DATA;
    case ERR_IN_USE:
        return EXIT_IN_USE;
    case ERR_REPLACED:
        return EXIT_REPLACED;
    case ERR_NOMEM:
    case STATUS_COUNT:
        break;
    }
    return EXIT_BUG;
}

/* What usually helps; the text itself names the thing. */
static const char *remedy_of(const struct command_line *line, enum status status)
{
    switch (status) {
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
        return "is it running, and is its address right? `freshet doctor` looks at everything";
    case ERR_CONFIG:
        if (strcmp(line->command->name, "config check") == 0)
            return NULL; /* it has looked */
        return "`freshet config check` looks at the configuration, `freshet doctor` at the servers";
    case ERR_IN_USE:
        return "another process is at work there: stop it, let it end, or give this one a place of "
               "its own";
    case ERR_REPLACED:
        return "another instance has taken over; do not restart this one at once";
    default:
        return NULL;
    }
}

static void print_json_failure(const struct command_line *line, const char *text,
                               enum status status)
{
    char buffer[1024];
    struct json_writer w;

    if (!line->json)
        return;
    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    json_text(&w, "error", text_of(text));
    json_text(&w, "status", text_of(status_name(status)));
    json_object_end(&w);
    (void)printf("%.*s\n", (int)w.used, w.at);
}

static void print_failure(const struct command_line *line, const char *text, enum status status)
{
    char shown[1024]; /* a file's words may be in it: nothing that a terminal acts on */
    size_t i = 0;

    for (; text[i] != 0 && i + 1 < sizeof shown; i++)
        shown[i] = iscntrl((unsigned char)text[i]) && text[i] != '\n' ? '?' : text[i];
    shown[i] = 0;
    (void)fflush(stdout);
    (void)fprintf(stderr, "freshet %s: %s\n", line->command->name, shown);
    print_json_failure(line, text, status);
}

int command_fail(const struct command_line *line, const struct error *err)
{
    const char *remedy = remedy_of(line, err->status);

    print_failure(line, err->text, err->status);
    if (remedy != NULL)
        (void)fprintf(stderr, "  %s\n", remedy);
    return command_exit_code(err->status);
}

int command_misused(const struct command_line *line, const char *fmt, ...)
{
    char text[640];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    print_failure(line, text, ERR_CONFIG);
    (void)fprintf(stderr, "  freshet %s --help shows how it is used\n", line->command->name);
    return EXIT_USAGE;
}

/* ---- configuration ---- */

const char *command_config_path(const struct command_line *line)
{
    const char *variable = getenv("FRESHET_CONFIG");

    if (line->config_path != NULL)
        return line->config_path;
    if (variable != NULL && variable[0] != 0)
        return variable;
    return access(CONFIG_FALLBACK, F_OK) == 0 ? CONFIG_FALLBACK : NULL;
}

static bool table_has(const char *key)
{
    for (int i = 0; tables->config_tables[i] != NULL; i++)
        for (const struct config_row *row = tables->config_tables[i]; row->key != NULL; row++)
            if (strcmp(row->key, key) == 0)
                return true;
    return false;
}

static enum status start_log(const struct command_line *line, const struct config *config,
                             struct error *err)
{
    static const char *const formats[] = {"auto", "json", "text"};
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_AUTO;
    char *key;
    enum status status;

    if (!table_has("log.level"))
        return OK; /* tables of a test */
    (void)log_level_of(line->log_level != NULL ? line->log_level : config_text(config, "log.level"),
                       &level);
    for (int i = 0; i < 3; i++)
        if (strcmp(config_text(config, "log.format"), formats[i]) == 0)
            format = (enum log_format)i;
    log_start(line->command->name, level, format);
    vitals_watch();
    if (!config_given(config, "log.user_key"))
        return OK;
    status = config_secret(config, "log.user_key", &key, err);
    if (status != OK)
        return status;
    log_set_user_key(text_of(key));
    free(key);
    return OK;
}

const struct config *command_config(struct command_line *line)
{
    char *report = NULL;
    struct error err;
    enum status status;

    if (line->config != NULL)
        return line->config;
    status = config_load(&line->config, tables->config_tables, command_config_path(line),
                         line->sets, line->sets_count, &report, &err);
    if (report != NULL)
        (void)fputs(report, stderr); /* mistakes; or warnings, when it could be loaded */
    if (report != NULL && status != OK) {
        (void)fprintf(stderr, "freshet %s: the configuration cannot be used\n",
                      line->command->name);
        print_json_failure(line, err.text, status);
        free(report);
        return NULL;
    }
    free(report);
    if (status == OK)
        status = start_log(line, line->config, &err);
    if (status == OK)
        return line->config;
    config_destroy(line->config);
    line->config = NULL;
    (void)command_fail(line, &err);
    return NULL;
}

/* ---- main ---- */

const struct command_tables *command_tables(void)
{
    return tables;
}

const struct command *command_at(int index)
{
    for (int i = 0; tables->commands[i] != NULL; i++)
        for (const struct command *const *at = tables->commands[i]; *at != NULL; at++)
            if (index-- == 0)
                return *at;
    return NULL;
}

const struct command *command_named(char **argv, int argc, int *words)
{
    char name[160];

    for (*words = argc < WORDS_MAX ? argc : WORDS_MAX; *words > 0; (*words)--) {
        if (*words == 2)
            (void)snprintf(name, sizeof name, "%.70s %.70s", argv[0], argv[1]);
        else
            (void)snprintf(name, sizeof name, "%.140s", argv[0]);
        for (int i = 0; command_at(i) != NULL; i++)
            if (strcmp(command_at(i)->name, name) == 0)
                return command_at(i);
    }
    return NULL;
}

static int unknown_command(char **argv, int argc)
{
    struct levenshtein_nearest nearest = {0};
    char typed[160], shown[160];

    (void)snprintf(typed, sizeof typed, "%.70s%s%.70s", argv[0],
                   argc > 1 && argv[1][0] != '-' ? " " : "",
                   argc > 1 && argv[1][0] != '-' ? argv[1] : "");
    for (int i = 0; command_at(i) != NULL; i++) {
        levenshtein_offer(&nearest, typed, command_at(i)->name);
        levenshtein_offer(&nearest, argv[0], command_at(i)->name);
    }
    config_value_printable(shown, sizeof shown, command_is_group(argv[0]) ? typed : argv[0]);
    (void)fprintf(stderr, "freshet: unknown command \"%s\"%s%s%s\n", shown,
                  nearest.name == NULL ? "" : "; did you mean \"",
                  nearest.name == NULL ? "" : nearest.name, nearest.name == NULL ? "" : "\"?");
    (void)fputs("  freshet --help lists all commands\n", stderr);
    return EXIT_USAGE;
}

/* freshet help, freshet help X, freshet --help, freshet X --help for a group X. */
static int help(int argc, char **argv)
{
    const struct command *command;
    int words;

    if (argc == 0) {
        command_help_all(stdout);
        return EXIT_DONE;
    }
    command = command_named(argv, argc, &words);
    if (command != NULL)
        command_help_one(stdout, command);
    else if (command_is_group(argv[0]))
        command_help_group(stdout, argv[0]);
    else
        return unknown_command(argv, argc);
    return EXIT_DONE;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct command_line line = {.command = command};
    int code = EXIT_USAGE;

    line.arguments = calloc((size_t)argc + 1, sizeof *line.arguments);
    if (line.arguments == NULL)
        return EXIT_BUG;
    if (command_line_parse(&line, argc, argv)) {
        progress_quiet(line.quiet);
        if (line.help) {
            command_help_one(stdout, command);
            code = EXIT_DONE;
        } else {
            code = command->run(&line);
        }
    }
    config_destroy(line.config);
    free(line.arguments);
    return code;
}

static int dispatch(int argc, char **argv)
{
    const struct command *command;
    int words;

    if (argc < 2) {
        command_help_all(stderr);
        return EXIT_USAGE;
    }
    if (is_help(argv[1]))
        return help(argc - 2, argv + 2);
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("freshet %s\n", version_text());
        return EXIT_DONE;
    }
    command = command_named(argv + 1, argc - 1, &words);
    if (command != NULL)
        return run(command, argc - 1 - words, argv + 1 + words);
    if (!command_is_group(argv[1]))
        return unknown_command(argv + 1, argc - 1);
    if (argc > 2 && is_help(argv[2])) {
        command_help_group(stdout, argv[1]);
        return EXIT_DONE;
    }
    if (argc == 2) {
        command_help_group(stderr, argv[1]);
        return EXIT_USAGE;
    }
    return unknown_command(argv + 1, argc - 1);
}

/* The same for every word there is: a result that did not reach its reader is none. What was longer
 * than the buffer failed before the last flush, which then has nothing left to fail with. */
int command_main(int argc, char **argv, const struct command_tables *all)
{
    struct error err;
    int code;

    tables = all;
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of the write */
    if (hash_start(&err) != OK) {
        (void)fprintf(stderr, "freshet: %s\n", err.text);
        return EXIT_BUG;
    }
    code = dispatch(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout) != 0) && code == EXIT_DONE) {
        (void)fputs("freshet: the result could not be written, or not all of it\n", stderr);
        code = EXIT_UNREACHABLE;
    }
    return code;
}
