/* ops/command_help.c - the pages of help, made from the tables. */
#include "ops/command_line.h"

#include <stdio.h>
#include <string.h>

const struct exit_code_row command_exit_codes[] = {
    {EXIT_DONE, "done"},
    {EXIT_NO, "the answer is no: a check failed, something differs, a gate refused, or it was "
              "interrupted"},
    {EXIT_USAGE, "wrong usage or configuration, or what they name is not there or does not fit: "
                 "waiting mends nothing"},
    {EXIT_UNREACHABLE,
     "something it depends on could not be reached or did not do its part; it may "
     "later"},
    {EXIT_BAD_DATA, "bad data: malformed, damaged, or beyond a limit"},
    {EXIT_BUG, "our own bug, or memory is out"},
    {EXIT_IN_USE,
     "another process is at work there (on the folder, the address, the partition, the "
     "log): stop it, or let it end"},
    {EXIT_REPLACED, "another instance took over: do not restart this one at once"},
    {0, NULL},
};

#define HELP_COLUMNS  88
#define OPTION_INDENT 27

/* Text with line feeds in it, broken between words. It begins at column at; later lines at indent.
 * Lines that are indented themselves, commands to copy, are left whole. */
static void put_wrapped(FILE *out, int at, int indent, const char *text, size_t bytes)
{
    const char *end = text + bytes;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline == NULL ? end : newline;
        bool whole = *text == ' ';

        while (stop - text > HELP_COLUMNS - at && !whole) {
            const char *cut = text + (HELP_COLUMNS - at);

            while (cut > text && *cut != ' ')
                cut--;
            if (cut == text)
                break; /* a word longer than the line */
            (void)fprintf(out, "%.*s\n%*s", (int)(cut - text), text, indent, "");
            text = cut + 1;
            at = indent;
        }
        (void)fprintf(out, "%.*s\n", (int)(stop - text), text);
        text = stop + 1;
        at = indent;
    }
}

static void print_options(FILE *out, const struct option_row *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        char left[80], right[800];
        int at;

        (void)snprintf(left, sizeof left, "--%s%s%s", options->name,
                       options->value_name == NULL ? "" : " ",
                       options->value_name == NULL ? "" : options->value_name);
        if (options->fallback != NULL && options->type != OPTION_FLAG)
            (void)snprintf(right, sizeof right, "%s (default %s)", options->help,
                           options->fallback);
        else
            (void)snprintf(right, sizeof right, "%s", options->help);
        at = fprintf(out, "  %-24s ", left);
        put_wrapped(out, at, OPTION_INDENT, right, strlen(right));
    }
}

void command_help_one(FILE *out, const struct command *of)
{
    (void)fprintf(out, "freshet %s - %s\n\nUsage: freshet %s [OPTIONS]%s%s\n", of->name,
                  of->summary, of->name, of->arguments[0] == 0 ? "" : " ", of->arguments);
    if (of->help != NULL && of->help[0] != 0) {
        (void)fputc('\n', out);
        put_wrapped(out, 0, 0, of->help, strlen(of->help));
    }
    if (of->options != NULL && of->options[0].name != NULL) {
        (void)fputs("\nOptions:\n", out);
        print_options(out, of->options);
    }
    (void)fputs("\nOptions of every command:\n", out);
    print_options(out, command_common_options());
}

static void print_names(FILE *out, const char *group)
{
    size_t bytes = group == NULL ? 0 : strlen(group);

    for (int i = 0; command_at(i) != NULL; i++) {
        const struct command *command = command_at(i);

        if (group != NULL &&
            (strncmp(command->name, group, bytes) != 0 || command->name[bytes] != ' '))
            continue;
        (void)fprintf(out, "  %-16s %s\n", command->name, command->summary);
    }
}

bool command_is_group(const char *name)
{
    size_t bytes = strlen(name);

    for (int i = 0; command_at(i) != NULL; i++)
        if (strncmp(command_at(i)->name, name, bytes) == 0 && command_at(i)->name[bytes] == ' ')
            return true;
    return false;
}

void command_help_group(FILE *out, const char *group)
{
    (void)fprintf(out, "Usage: freshet %s COMMAND [OPTIONS]\n\nCommands:\n", group);
    print_names(out, group);
    (void)fprintf(out, "\nfreshet %s COMMAND --help says more about one.\n", group);
}

void command_help_all(FILE *out)
{
    (void)fputs("freshet - a recommender that lives on a stream: events from Kafka, users in "
                "Redis, lists reranked in milliseconds\n\n"
                "Usage: freshet COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n",
                out);
    print_names(out, NULL);
    (void)fputs("\nfreshet help COMMAND says more about one.\n\nExit codes:\n", out);
    for (const struct exit_code_row *row = command_exit_codes; row->meaning != NULL; row++) {
        (void)fprintf(out, "  %-3d ", row->code);
        put_wrapped(out, 6, 6, row->meaning, strlen(row->meaning));
    }
}
