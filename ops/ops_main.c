/* ops/ops_main.c - the tables, and the commands `version` and `runbook`. */
#include "ops/ops_main.h"

#include "ops/demo.h"

#include "ops/json_writer.h"
#include "ops/levenshtein.h"
#include "ops/ops_commands.h"
#include "ops/runbook.h"
#include "ops/version.h"

#include <stdio.h>
#include <string.h>

const struct config_row ops_config_rows[] = {
    {.key = "log.level",
     .type = CONFIG_CHOICE,
     .fallback = "info",
     .choices = "debug|info|warn|error",
     .help = "Least level that is logged; --log-level is above it."},
    {.key = "log.format",
     .type = CONFIG_CHOICE,
     .fallback = "auto",
     .choices = "auto|json|text",
     .help = "One JSON object a line, or text for people; auto is text on a terminal."},
    {.key = "log.user_key",
     .type = CONFIG_SECRET,
     .help = "Key that hashes user ids in logs; give all roles the same to follow one user through "
             "them. Without it every process draws its own."},
    {0},
};

/* ---- version ---- */

static int run_version(struct command_line *line)
{
    char buffer[2048];
    struct json_writer w;
    const char *name, *number;

    if (!command_json(line)) {
        (void)printf("freshet %s\n  built by %s\n", version_text(), version_compiler());
        for (int i = 0; (name = version_library(i, &number)) != NULL; i++)
            (void)printf("  %-16s %s\n", name, number);
        return EXIT_DONE;
    }
    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    json_text(&w, "version", text_of(version_text()));
    json_text(&w, "compiler", text_of(version_compiler()));
    json_key(&w, "libraries");
    json_object_begin(&w);
    for (int i = 0; (name = version_library(i, &number)) != NULL; i++)
        json_text(&w, name, text_of(number));
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", (int)w.used, w.at);
    return json_writer_ok(&w) ? EXIT_DONE : EXIT_BUG;
}

static const struct command version_command = {
    .name = "version",
    .summary = "which build this is, and of which libraries",
    .arguments = "",
    .help = "Examples:\n  freshet version\n  freshet version --json",
    .run = run_version,
};

/* ---- runbook ---- */

/* The page's first line without "# ". */
static struct text title_of(const struct runbook *book)
{
    struct text title = book->page;
    const char *newline = memchr(title.at, '\n', title.bytes);

    if (newline != NULL)
        title.bytes = (size_t)(newline - title.at);
    if (title.bytes > 2 && memcmp(title.at, "# ", 2) == 0)
        title = (struct text){title.at + 2, title.bytes - 2};
    return title;
}

static int list_runbooks(const struct command_line *line)
{
    char buffer[4096];
    struct json_writer w;

    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    json_key(&w, "runbooks");
    json_array_begin(&w);
    for (int i = 0; runbook_at(i) != NULL; i++) {
        struct text title = title_of(runbook_at(i));

        if (!command_json(line))
            (void)printf("  %-16s %.*s\n", runbook_at(i)->name, TEXT_ARGS(title));
        json_object_begin(&w);
        json_text(&w, "name", text_of(runbook_at(i)->name));
        json_text(&w, "title", title);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    if (command_json(line))
        (void)printf("%.*s\n", (int)w.used, w.at);
    return json_writer_ok(&w) ? EXIT_DONE : EXIT_BUG;
}

static void print_runbook(const struct command_line *line, const struct runbook *book)
{
    char buffer[64 * 1024];
    struct json_writer w;

    if (!command_json(line)) {
        (void)fwrite(book->page.at, 1, book->page.bytes, stdout);
        return;
    }
    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    json_text(&w, "name", text_of(book->name));
    json_text(&w, "page", book->page);
    json_object_end(&w);
    (void)printf("%.*s\n", (int)w.used, w.at);
}

/* Does the page speak of a word, such as the reason that /readyz or a log line names? */
static bool speaks_of(const struct runbook *book, const char *word)
{
    char name[64];
    size_t bytes = strlen(word);

    if (bytes < 4 || bytes >= sizeof name)
        return false;
    if (memmem(book->page.at, book->page.bytes, word, bytes) != NULL)
        return true;
    for (size_t i = 0; i <= bytes; i++)
        name[i] = word[i] == '-' ? '_' : word[i];
    return memmem(book->page.at, book->page.bytes, name, bytes) != NULL;
}

/* Its name, or a log's word of the same letters: kafka_down. */
static bool is_called(const struct runbook *book, const char *word)
{
    const char *name = book->name;

    for (; *word != 0 && (*word == '_' ? '-' : *word) == *name; word++)
        name++;
    return *word == 0 && *name == 0;
}

static int run_runbook(struct command_line *line)
{
    struct levenshtein_nearest nearest = {0};
    char known[400] = ""; /* a test shows that they fit */
    size_t used = 0;
    int pages = 0; /* that speak of it */
    const struct runbook *page = NULL;
    const char *name;

    if (command_arguments_count(line) == 0)
        return list_runbooks(line);
    name = command_argument(line, 0);
    for (int i = 0; runbook_at(i) != NULL; i++) {
        if (is_called(runbook_at(i), name)) {
            print_runbook(line, runbook_at(i));
            return EXIT_DONE;
        }
        levenshtein_offer(&nearest, name, runbook_at(i)->name);
    }
    for (int i = 0; runbook_at(i) != NULL; i++)
        if (speaks_of(runbook_at(i), name)) {
            page = runbook_at(i);
            pages++;
            used += (size_t)snprintf(known + used, sizeof known - used, "%s`freshet runbook %s`",
                                     used == 0 ? "" : ", ", runbook_at(i)->name);
        }
    if (pages == 1) {
        print_runbook(line, page);
        return EXIT_DONE;
    }
    if (pages > 0)
        return command_misused(line, "no runbook is called \"%.60s\"; it stands in %s", name,
                               known);
    if (nearest.name != NULL)
        return command_misused(line, "no runbook is called \"%.60s\"; did you mean \"%s\"?", name,
                               nearest.name);
    for (int i = 0; runbook_at(i) != NULL; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ",
                                 runbook_at(i)->name);
    return command_misused(line, "no runbook is called \"%.60s\"; there are %s", name, known);
}

static const struct command runbook_command = {
    .name = "runbook",
    .summary = "what to do when something is wrong",
    .arguments = "[NAME]",
    .help =
        "Prints a runbook; without a name, lists them. Alerts and log lines name theirs; a word "
        "that a page explains, such as the reason on /readyz, leads to it.\n\n"
        "Examples:\n  freshet runbook\n  freshet runbook redis-down\n"
        "  freshet runbook state_damaged",
    .arguments_max = 1,
    .run = run_runbook,
};

const struct command *const ops_commands[] = {
    &demo_command,
    &doctor_command,
    &config_check_command,
    &config_show_command,
    &runbook_command,
    &version_command,
    NULL,
};
