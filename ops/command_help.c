/* ops/command_help.c - the pages of help, made from the tables. */
#include "ops/command_line.h"

#include <stdio.h>
#include <string.h>

static void print_options(FILE *out, const struct option_row *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        char left[80];

        (void)snprintf(left, sizeof left, "--%s%s%s", options->name,
                       options->value_name == NULL ? "" : " ",
                       options->value_name == NULL ? "" : options->value_name);
        (void)fprintf(out, "  %-24s %s", left, options->help);
        if (options->fallback != NULL && options->type != OPTION_FLAG)
            (void)fprintf(out, " (default %s)", options->fallback);
        (void)fputc('\n', out);
    }
}

void command_help_one(FILE *out, const struct command *of)
{
    (void)fprintf(out, "freshet %s - %s\n\nUsage: freshet %s [OPTIONS]%s%s\n", of->name,
                  of->summary, of->name, of->arguments[0] == 0 ? "" : " ", of->arguments);
    if (of->help != NULL && of->help[0] != 0)
        (void)fprintf(out, "\n%s\n", of->help);
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
    (void)fputs("\nfreshet help COMMAND says more about one.\n\n"
                "Exit codes: 0 done, 1 the answer is no, 2 wrong usage or configuration, 3 a "
                "dependency could\nnot be reached, 4 bad data, 70 our own bug, 73 the state "
                "folder is in use, 75 replaced by\nanother instance.\n",
                out);
}
