/*
 * ops/doctor_main.c - `freshet doctor`: runs all checks of all folders.
 *
 * Goes on after a failure: an operator wants the whole list. The exit code is 1 when a check
 * failed, else 3 when one could not be made; warnings alone are 0.
 */
#include "ops/json_writer.h"
#include "ops/log.h"
#include "ops/ops_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESULT_BYTES_MAX ((size_t)256 * 1024)

static const char *const words[] = {"ok", "warn", "FAIL", "skip", "??", "note"};
static const char *const json_words[] = {"ok", "warn", "fail", "skip", "unknown", "note"};
static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m",
                                      "\033[2m",  "\033[35m", "\033[2m"};

static void print_finding(const struct doctor_check *check, const struct doctor_finding *finding)
{
    bool colour = isatty(STDOUT_FILENO) != 0;

    (void)printf("%s%-4s%s  %-18s %s\n", colour ? colours[finding->result] : "",
                 words[finding->result], colour ? "\033[0m" : "", check->name, finding->text);
    if (finding->remedy[0] != 0)
        (void)printf("      %-18s do: %s\n", "", finding->remedy);
    (void)fflush(stdout); /* the next check may take seconds */
}

static void write_finding(struct json_writer *w, const struct doctor_check *check,
                          const struct doctor_finding *finding)
{
    json_object_begin(w);
    json_text(w, "check", text_of(check->name));
    json_text(w, "result", text_of(json_words[finding->result]));
    json_text(w, "text", text_of(finding->text));
    if (finding->remedy[0] != 0)
        json_text(w, "remedy", text_of(finding->remedy));
    json_object_end(w);
}

#define CHECKS_MAX 64

/* Names of checks that failed. */
struct failed {
    const char *names[CHECKS_MAX];
    int count;
};

static void run_check(const struct doctor_check *check, const struct config *config,
                      struct failed *failed, struct doctor_finding *finding)
{
    for (int i = 0; i < failed->count && check->needs != NULL; i++)
        if (strcmp(failed->names[i], check->needs) == 0) {
            doctor_unknown(finding, NULL, "not looked at: \"%s\" failed", check->needs);
            return;
        }
    check->run(config, finding);
    if (finding->result == DOCTOR_FAIL && failed->count < CHECKS_MAX)
        failed->names[failed->count++] = check->name;
}

static const struct doctor_check source = {.name = "configuration"};

/* Whose settings are looked at: who forgot --config is told of defaults, not of mistakes. */
static void find_source(struct command_line *line, struct doctor_finding *finding)
{
    const struct config *config = command_config(line);
    const char *path = command_config_path(line);
    struct config_entry entry;
    int given = 0;

    for (int i = 0; config_entry(config, i, &entry); i++)
        given += entry.given;
    if (path != NULL)
        doctor_note(finding, "settings are those of %.300s", path);
    else
        doctor_note(
            finding,
            "no configuration file: %d settings are given otherwise, the rest are defaults, "
            "such as Kafka at %.200s; --config FILE or FRESHET_CONFIG names a file",
            given, config_text(config, "kafka.brokers"));
}

static int run_doctor(struct command_line *line)
{
    const struct doctor_check *const *tables = command_tables()->doctor_tables;
    const struct config *config = command_config(line);
    const char *only = command_text(line, "only");
    char *buffer;
    struct failed failed = {0};
    struct json_writer w;
    int counts[DOCTOR_RESULTS] = {0}, made = 0;

    if (config == NULL)
        return EXIT_USAGE;
    if (!log_wanted(LOG_DEBUG)) /* what clients log is what the findings say */
        log_start("doctor", LOG_ERROR, LOG_AUTO);
    buffer = malloc(RESULT_BYTES_MAX);
    if (buffer == NULL)
        return EXIT_BUG;
    json_writer_init(&w, buffer, RESULT_BYTES_MAX);
    json_object_begin(&w);
    json_key(&w, "checks");
    json_array_begin(&w);
    if (only == NULL) {
        struct doctor_finding finding;

        find_source(line, &finding);
        write_finding(&w, &source, &finding);
        if (!command_json(line))
            print_finding(&source, &finding);
    }
    for (int i = 0; tables[i] != NULL; i++) {
        for (const struct doctor_check *check = tables[i]; check->name != NULL; check++) {
            struct doctor_finding finding = {0};

            if (only != NULL && strstr(check->name, only) == NULL)
                continue;
            run_check(check, config, &failed, &finding);
            counts[finding.result]++;
            made++;
            write_finding(&w, check, &finding);
            if (!command_json(line))
                print_finding(check, &finding);
        }
    }
    json_array_end(&w);
    json_bool(&w, "complete", counts[DOCTOR_UNKNOWN] == 0);
    json_bool(&w, "healthy", counts[DOCTOR_FAIL] == 0);
    json_object_end(&w);
    if (made == 0) {
        free(buffer);
        return command_misused(line, "no check has \"%.80s\" in its name", only);
    }
    if (command_json(line))
        (void)printf("%.*s\n", (int)w.used, w.at);
    else
        (void)printf("%d ok, %d warnings, %d failed, %d could not be looked at, %d do not apply\n",
                     counts[DOCTOR_OK], counts[DOCTOR_WARN], counts[DOCTOR_FAIL],
                     counts[DOCTOR_UNKNOWN], counts[DOCTOR_SKIP]);
    free(buffer);
    return counts[DOCTOR_FAIL] > 0      ? EXIT_NO
           : counts[DOCTOR_UNKNOWN] > 0 ? EXIT_UNREACHABLE
                                        : EXIT_DONE;
}

static const struct option_row options[] = {
    {"only", OPTION_TEXT, "NAME", NULL, "only checks with this in their name"},
    {0},
};

const struct command doctor_command = {
    .name = "doctor",
    .summary = "look at all that freshet needs: configuration, clock, Kafka, Redis, models",
    .arguments = "",
    .help =
        "Changes nothing. Each check says what it saw and, when that is not right, what to do. "
        "What could not be looked at says ?? and why (with --json, \"unknown\"); a note looks at "
        "nothing and says what has to be so.\n\n"
        "Exit codes: 0 everything was looked at, and nothing failed (warnings may be there); 1 a "
        "check failed; 3 none failed, but one could not be made.\n\n"
        "Examples:\n  freshet doctor\n  freshet doctor --config prod.yaml --only kafka\n"
        "  freshet doctor --json",
    .options = options,
    .run = run_doctor,
};
