/*
 * ops/command_line.c - the parser: a loop over words, not getopt(), which permutes, stops at
 * the first mistake and cannot name the nearest option.
 */
#include "ops/command_line.h"

#include "ops/levenshtein.h"
#include "ops/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Options of every command. */
static const struct option_row common[] = {
    {"help", OPTION_FLAG, NULL, NULL, "this help"},
    {"json", OPTION_FLAG, NULL, NULL, "print the result as one JSON object, on the last line"},
    {"config", OPTION_TEXT, "FILE", NULL,
     "configuration (else $FRESHET_CONFIG, else freshet.yaml when it is here)"},
    {"set", OPTION_TEXT, "KEY=VALUE", NULL, "one value of the configuration; may be repeated"},
    {"log-level", OPTION_TEXT, "LEVEL", NULL, "debug, info, warn or error"},
    {"quiet", OPTION_FLAG, NULL, NULL, "no progress"},
    {0}};

const struct option_row *command_common_options(void)
{
    return common;
}

static const struct option_row *find(const struct option_row *options, const char *name,
                                     size_t bytes)
{
    for (; options != NULL && options->name != NULL; options++)
        if (strlen(options->name) == bytes && strncmp(options->name, name, bytes) == 0)
            return options;
    return NULL;
}

/* What options were called before: still taken, and told nowhere. */
static const char *const renamed[][2] = {{"form", "format"}};

static const struct option_row *find_own(const struct option_row *options, const char *name,
                                         size_t bytes)
{
    const struct option_row *found = find(options, name, bytes);

    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0] && found == NULL; i++)
        if (strlen(renamed[i][0]) == bytes && strncmp(renamed[i][0], name, bytes) == 0)
            found = find(options, renamed[i][1], strlen(renamed[i][1]));
    return found;
}

static void unknown_option(const struct command_line *line, const char *typed)
{
    struct levenshtein_nearest nearest = {0};
    char shown[80];

    config_value_printable(shown, sizeof shown, typed);
    shown[strcspn(shown, "=")] = 0;
    for (const struct option_row *row = common; row->name != NULL; row++)
        levenshtein_offer(&nearest, shown, row->name);
    for (const struct option_row *row = line->command->options; row != NULL && row->name != NULL;
         row++)
        levenshtein_offer(&nearest, shown, row->name);
    (void)command_misused(
        line, "unknown option --%s%s%s%s", shown, nearest.name == NULL ? "" : "; did you mean --",
        nearest.name == NULL ? "" : nearest.name, nearest.name == NULL ? "" : "?");
}

/* Checks a value by its type; the words of the refusal are the configuration's. */
static bool parse_value(const struct option_row *option, const char *text,
                        struct config_value *value, char why[CONFIG_WHY_BYTES])
{
    static const enum config_type types[] = {
        [OPTION_FLAG] = CONFIG_BOOL,         [OPTION_TEXT] = CONFIG_TEXT,
        [OPTION_INT] = CONFIG_INT,           [OPTION_REAL] = CONFIG_REAL,
        [OPTION_DURATION] = CONFIG_DURATION, [OPTION_CHOICE] = CONFIG_CHOICE,
    };
    const struct config_row row = {.key = option->name,
                                   .type = types[option->type],
                                   .choices = option->type == OPTION_CHOICE ? option->value_name
                                                                            : NULL};

    return config_value_parse(&row, text, value, why);
}

static bool take_common(struct command_line *line, const struct option_row *option,
                        const char *value)
{
    enum log_level level;

    if (strcmp(option->name, "help") == 0)
        line->help = true;
    else if (strcmp(option->name, "json") == 0)
        line->json = true;
    else if (strcmp(option->name, "quiet") == 0)
        line->quiet = true;
    else if (strcmp(option->name, "config") == 0)
        line->config_path = value;
    else if (strcmp(option->name, "log-level") == 0 && !log_level_of(value, &level))
        return command_misused(line, "--log-level must be debug, info, warn or error") == 0;
    else if (strcmp(option->name, "log-level") == 0)
        line->log_level = value;
    else if (line->sets_count == COMMAND_SETS_MAX)
        return command_misused(line, "--set more than %d times", COMMAND_SETS_MAX) == 0;
    else
        line->sets[line->sets_count++] = value;
    return true;
}

static bool take_own(struct command_line *line, const struct option_row *option, const char *text)
{
    struct option_value *own = &line->own[option - line->command->options];
    char why[CONFIG_WHY_BYTES];

    if (!parse_value(option, text, &own->value, why)) {
        (void)command_misused(line, "--%s %s", option->name, why);
        return false;
    }
    own->text = text;
    own->given = true;
    return true;
}

/* One word that starts with "--"; *used gets whether the next word was its value. */
static bool take_option(struct command_line *line, const char *word, const char *next_word,
                        bool *used)
{
    const char *name = word + 2;
    size_t bytes = strcspn(name, "=");
    const char *value = name[bytes] == '=' ? name + bytes + 1 : NULL;
    const struct option_row *option = find_own(line->command->options, name, bytes);
    bool own = option != NULL;

    *used = false;
    if (option == NULL)
        option = find(common, name, bytes);
    if (option == NULL) {
        unknown_option(line, name);
        return false;
    }
    if (option->type == OPTION_FLAG && value != NULL) {
        (void)command_misused(line, "--%s takes no value", option->name);
        return false;
    }
    if (option->type == OPTION_FLAG)
        value = "true";
    if (value == NULL && next_word != NULL) {
        value = next_word;
        *used = true;
    }
    if (value == NULL) {
        (void)command_misused(line, "--%s needs a value: --%s %s", option->name, option->name,
                              option->value_name == NULL ? "VALUE" : option->value_name);
        return false;
    }
    return own ? take_own(line, option, value) : take_common(line, option, value);
}

static void take_fallbacks(struct command_line *line)
{
    const struct option_row *options = line->command->options;
    char why[CONFIG_WHY_BYTES];

    for (int i = 0; options != NULL && options[i].name != NULL; i++) {
        assert(i < COMMAND_OPTIONS_MAX);
        assert(find(common, options[i].name, strlen(options[i].name)) == NULL);
        if (options[i].fallback == NULL)
            continue;
        line->own[i].text = options[i].fallback;
        if (!parse_value(&options[i], options[i].fallback, &line->own[i].value, why))
            assert(!"a fallback that its own option refuses");
    }
}

static bool check_arguments(const struct command_line *line)
{
    const struct command *command = line->command;

    if (line->arguments_count >= command->arguments_min &&
        line->arguments_count <= command->arguments_max)
        return true;
    if (line->arguments_count > command->arguments_max) {
        char shown[80];

        config_value_printable(shown, sizeof shown, line->arguments[command->arguments_max]);
        (void)command_misused(line, "unexpected argument \"%s\"", shown);
    } else {
        (void)command_misused(line, "missing argument: freshet %s %s", command->name,
                              command->arguments);
    }
    return false;
}

bool command_line_parse(struct command_line *line, int argc, char **argv)
{
    bool options = true;

    take_fallbacks(line);
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        bool used;

        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && strcmp(word, "-h") == 0) {
            line->help = true;
        } else if (options && strncmp(word, "--", 2) == 0) {
            if (!take_option(line, word, i + 1 < argc ? argv[i + 1] : NULL, &used))
                return false;
            i += used;
        } else if (options && word[0] == '-' && word[1] != 0) {
            unknown_option(line, word + 1);
            return false;
        } else {
            line->arguments[line->arguments_count++] = word;
        }
    }
    return line->help || check_arguments(line);
}
