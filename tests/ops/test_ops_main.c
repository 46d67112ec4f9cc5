/*
 * Tests the floor's own commands as a user calls them, the tables of all their rows, and the
 * runbooks: each file of ops/runbooks is compiled in.
 */
#include "ops/ops_main.h"

#include "ops/file.h"
#include "ops/json.h"
#include "ops/kafka_consumer.h"
#include "ops/runbook.h"
#include "ops/version.h"
#include "tests/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_fine(const struct config *config, struct doctor_finding *finding)
{
    doctor_ok(finding, "%s is fine", config_text(config, "log.level"));
}

static void check_ill(const struct config *config, struct doctor_finding *finding)
{
    (void)config;
    doctor_fail(finding, "heal it", "it is ill");
}

static void check_tired(const struct config *config, struct doctor_finding *finding)
{
    (void)config;
    doctor_warn(finding, "rest", "it is tired");
}

static void check_silent(const struct config *config, struct doctor_finding *finding)
{
    (void)config;
    doctor_unknown(finding, "let it speak", "it does not say");
}

static void check_told(const struct config *config, struct doctor_finding *finding)
{
    (void)config;
    doctor_note(finding, "it has to be so");
}

static int moot_runs;

static void check_moot(const struct config *config, struct doctor_finding *finding)
{
    (void)config;
    moot_runs++;
    doctor_ok(finding, "it was run");
}

static const struct doctor_check healthy[] = {{"one-fine", "is it fine", check_fine, NULL},
                                              {"two-tired", "is it awake", check_tired, NULL},
                                              {0}};
static const struct doctor_check ill[] = {{"three-ill", "is it healthy", check_ill, NULL},
                                          {"four-moot", "is it up", check_moot, "three-ill"},
                                          {"five-fine", "is it fine", check_fine, "one-fine"},
                                          {"six-silent", "what does it say", check_silent, NULL},
                                          {"seven-told", "what must be so", check_told, NULL},
                                          {0}};
static const struct doctor_check *const all_checks[] = {healthy, ill, NULL};
static const struct command *const *const commands[] = {ops_commands, NULL};
static const struct config_row *const config_tables[] = {ops_config_rows, kafka_config_rows, NULL};
static const struct command_tables tables = {commands, config_tables, all_checks, NULL};

static char out[1 << 17];

/* Standard output of `freshet WORDS...`, its errors dropped. Returns the exit code. */
static int freshet(const char *words)
{
    char path[200];
    char *bytes;
    size_t count;
    int state, fd;
    pid_t child;
    struct error err;

    (void)snprintf(path, sizeof path, "%s/out", test_folder());
    fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        static char line[1000] = "freshet ";
        char *argv[64], *rest = line;
        int argc = 0;
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

        (void)strncat(line, words, sizeof line - 10);
        while ((argv[argc] = strsep(&rest, " ")) != NULL)
            argc++;
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(nowhere, STDERR_FILENO);
        argc = command_main(argc, argv, &tables);
        (void)fflush(NULL);
        _exit(argc); /* what failing tests leaked before the fork is not judged here */
    }
    CHECK_INT(0, close(fd));
    CHECK_INT(child, waitpid(child, &state, 0));
    CHECK(WIFEXITED(state));
    CHECK_STATUS(OK, file_read(path, sizeof out - 1, &bytes, &count, &err));
    memcpy(out, bytes, count + 1);
    free(bytes);
    return WEXITSTATUS(state);
}

/* The last line is one JSON object. */
static void check_json(const char *words, int code)
{
    struct json_parser *parser = json_parser_create(1 << 17, 10000);
    const struct json_node *root;
    struct error err;
    char *newline;
    const char *last;

    CHECK_INT(code, freshet(words));
    CHECK(strlen(out) > 2 && out[strlen(out) - 1] == '\n');
    out[strlen(out) - 1] = 0;
    newline = strrchr(out, '\n');
    last = newline == NULL ? out : newline + 1;
    CHECK_STATUS(OK, json_parse(parser, text_of(last), &root, &err));
    CHECK(root->value.type == JSON_OBJECT);
    json_parser_destroy(parser);
}

TEST(every_command_of_the_floor_answers_with_json)
{
    check_json("version --json", 0);
    CHECK(strstr(out, "\"zlib\":\"") != NULL);
    check_json("config check --json", 0);
    check_json("config check --json --set log.levle=x", EXIT_USAGE);
    check_json("config show --json", 0);
    CHECK(strstr(out, "\"kafka.brokers\":{\"value\":\"127.0.0.1:9092\",\"origin\":\"default\"}") !=
          NULL);
    check_json("runbook --json", 0);
    check_json("runbook redis-down --json", 0);
    check_json("runbook redis-dwn --json", EXIT_USAGE);
    check_json("runbook state_damaged --json", 0); /* a word that one page explains */
    CHECK(strstr(out, "\"state-lost\"") != NULL);
    check_json("runbook log-changed --json", 0);
    CHECK(strstr(out, "\"state-lost\"") != NULL);
    check_json("runbook kafka_down --json", 0); /* two pages speak of it, one is called so */
    CHECK(strstr(out, "{\"name\":\"kafka-down\",") != NULL);
    check_json("runbook stays_behind --json", 0);
    CHECK(strstr(out, "{\"name\":\"retrain-behind\",") != NULL);
    check_json("runbook nosuch --json", EXIT_USAGE);
    for (int i = 0; runbook_at(i) != NULL; i++) /* all of them, none cut */
        CHECK(strstr(out, runbook_at(i)->name) != NULL);
    check_json("doctor --json", EXIT_NO);
    CHECK(strstr(out, "{\"check\":\"three-ill\",\"result\":\"fail\",\"text\":\"it is ill\","
                      "\"remedy\":\"heal it\"}") != NULL);
    CHECK(strstr(out,
                 "{\"check\":\"six-silent\",\"result\":\"unknown\",\"text\":\"it does not say\"") !=
          NULL);
    CHECK(strstr(out, "\"complete\":false,\"healthy\":false}") != NULL);
}

TEST(doctor_fails_for_failures_and_not_for_warnings)
{
    CHECK_INT(EXIT_NO, freshet("doctor"));
    CHECK(strstr(out, "ok    one-fine           info is fine\n") != NULL);
    CHECK(strstr(out, "do: rest\n") != NULL);
    CHECK(strstr(out, "2 ok, 1 warnings, 1 failed, 2 could not be looked at, 0 do not apply\n") !=
          NULL);
    CHECK(strstr(out, "??    four-moot          not looked at: \"three-ill\" failed") != NULL);
    CHECK_INT(0, moot_runs); /* what it needs failed */
    CHECK_INT(0, freshet("doctor --only two"));
    CHECK_INT(0, freshet("doctor --only seven")); /* a note is no check */
    CHECK(strstr(out, "note  seven-told         it has to be so\n") != NULL);
    CHECK_INT(EXIT_USAGE, freshet("doctor --only nothing-of-that-name"));
    CHECK_INT(EXIT_USAGE, freshet("doctor --set log.level=loud"));
}

TEST(doctor_says_first_whose_settings_it_looks_at)
{
    char path[200], words[240];
    struct error err;

    CHECK_INT(EXIT_NO, freshet("doctor --set log.level=warn --set kafka.brokers=k1:9092"));
    CHECK(strncmp(out,
                  "note  configuration      no configuration file: 2 settings are given otherwise, "
                  "the rest are defaults, such as Kafka at k1:9092; ",
                  100) == 0);
    check_json("doctor --json", EXIT_NO);
    CHECK(strstr(out, "{\"checks\":[{\"check\":\"configuration\",\"result\":\"note\",\"text\":\"no "
                      "configuration file: 0 settings") != NULL);
    (void)snprintf(path, sizeof path, "%s/f.yaml", test_folder());
    CHECK_STATUS(OK, file_replace(path, "log: {level: warn}\n", 19, &err));
    (void)snprintf(words, sizeof words, "doctor --config %s", path);
    CHECK_INT(EXIT_NO, freshet(words));
    CHECK(strncmp(out, "note  configuration      settings are those of /", 48) == 0);
    CHECK(strstr(out, path) != NULL);
    CHECK_INT(0, freshet("doctor --only two"));
    CHECK(strstr(out, "configuration") == NULL);
}

TEST(doctor_warns_of_a_size_beyond_the_memory_there_is)
{
    static const struct config_row rows[] = {
        {"test.small", CONFIG_BYTES, "1MiB", 0, 1e15, NULL, "a size"},
        {"test.cache", CONFIG_BYTES, "2MiB", 0, 1e15, NULL, "another"},
        {.key = NULL}};
    static const struct config_row *const with_sizes[] = {rows, NULL};
    static const char *const sets[] = {"test.cache=900000GiB"};
    struct doctor_finding finding = {0};
    const struct doctor_check *check = ops_doctor_checks;
    struct config *config;
    char *report;
    struct error err;

    while (strcmp(check->name, "memory") != 0)
        check++;
    for (int given = 0; given < 2; given++) {
        CHECK_STATUS(OK, config_load(&config, with_sizes, NULL, sets, given, &report, &err));
        check->run(config, &finding);
        CHECK_INT(given ? DOCTOR_WARN : DOCTOR_OK, finding.result);
        CHECK(strstr(finding.text, given
                                       ? "test.cache is 900000GiB (921600000 MiB), more than this "
                                         "machine's memory of "
                                       : "the largest setting, test.cache, is 2 MiB") != NULL);
        config_destroy(config);
    }
}

/* Neither right nor wrong: who asks for 0 wants to know that it was looked at. */
TEST(doctor_does_not_call_right_what_it_could_not_look_at)
{
    CHECK_INT(EXIT_UNREACHABLE, freshet("doctor --only six"));
    CHECK(strstr(out, "??    six-silent         it does not say\n") != NULL);
    CHECK(strstr(out, "do: let it speak\n") != NULL);
    CHECK(strstr(out, "0 ok, 0 warnings, 0 failed, 1 could not be looked at, 0 do not apply\n") !=
          NULL);
    check_json("doctor --json --only six", EXIT_UNREACHABLE);
    CHECK(strstr(out, "\"complete\":false,\"healthy\":true}") != NULL);
    check_json("doctor --json --only two", EXIT_DONE);
    CHECK(strstr(out, "\"complete\":true,\"healthy\":true}") != NULL);
}

TEST(doctor_checks_of_the_floor_look_without_crashing)
{
    static const char *const sets[] = {"log.user_key=file:/nonexistent/secret"};
    struct doctor_finding finding;
    struct config *config;
    char *report;
    struct error err;

    CHECK_STATUS(OK, config_load(&config, config_tables, NULL, sets, 1, &report, &err));
    for (const struct doctor_check *check = ops_doctor_checks; check->name != NULL; check++) {
        memset(&finding, 0, sizeof finding);
        check->run(config, &finding);
        CHECK(finding.text[0] != 0);
        CHECK((finding.remedy[0] != 0) ==
              (finding.result == DOCTOR_WARN || finding.result == DOCTOR_FAIL));
        if (strcmp(check->name, "secrets") == 0)
            CHECK(finding.result == DOCTOR_FAIL);
    }
    config_destroy(config);
}

TEST(doctor_warns_of_a_secret_that_others_can_read)
{
    char path[200], set[260];
    const char *sets[] = {set};
    struct doctor_finding finding = {0};
    struct config *config;
    char *report;
    struct error err;

    (void)snprintf(path, sizeof path, "%s/key", test_folder());
    (void)snprintf(set, sizeof set, "log.user_key=file:%s", path);
    CHECK_STATUS(OK, file_replace(path, "k", 1, &err)); /* 0644 */
    CHECK_STATUS(OK, config_load(&config, config_tables, NULL, sets, 1, &report, &err));
    for (const struct doctor_check *check = ops_doctor_checks; check->name != NULL; check++)
        if (strcmp(check->name, "secrets") == 0)
            check->run(config, &finding);
    CHECK(finding.result == DOCTOR_WARN);
    config_destroy(config);
}

/* FAULTS 67: a secret that cannot be read; only `check` asks for all of them. */
TEST(config_check_reads_the_secrets_and_show_does_not)
{
    CHECK_INT(EXIT_USAGE, freshet("config check --set log.user_key=file:/nonexistent/secret"));
    CHECK_INT(EXIT_USAGE, freshet("config check --set log.user_key=env:FRESHET_TEST_NO_SUCH"));
    CHECK_INT(0, freshet("config check --set log.user_key=env:PATH"));
    check_json("config check --json --set log.user_key=file:/nonexistent/secret", EXIT_USAGE);
    CHECK(strstr(out, "secret of log.user_key: could not open") != NULL);
    CHECK_INT(0, freshet("config show --set kafka.security.password=file:/nonexistent/secret"));
    CHECK(strstr(out, "password: file:/nonexistent/secret") != NULL);
}

TEST(config_check_and_show_do_what_they_say)
{
    CHECK_INT(0, freshet("config check"));
    CHECK_INT(EXIT_USAGE, freshet("config check --set log.level=loud"));
    CHECK_INT(0, freshet("config show --set log.level=debug --origin"));
    CHECK(strstr(out, "\n  level: debug  # from --set\n") != NULL);
}

TEST(runbook_has_every_page_of_its_folder)
{
    DIR *folder = opendir("ops/runbooks");
    struct dirent *entry;
    int files = 0, pages = 0;

    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL)
        files += strstr(entry->d_name, ".md") != NULL;
    (void)closedir(folder);
    for (; runbook_at(pages) != NULL; pages++) {
        struct text page = runbook_at(pages)->page;

        CHECK(page.bytes > 200 && memcmp(page.at, "# ", 2) == 0);
        CHECK(page.at[page.bytes - 1] == '\n');
    }
    CHECK_INT(files, pages);
    CHECK(runbook_at(-1) == NULL);
    CHECK_INT(0, freshet("runbook"));
    CHECK(strstr(out, "redis-down       Redis does not answer\n") != NULL);
    CHECK_INT(0, freshet("runbook redis-down"));
    CHECK(strncmp(out, "# Redis does not answer\n", 24) == 0);
}

TEST(version_knows_its_libraries)
{
    const char *number;
    int count = 0;

    CHECK(version_text()[0] != 0 && version_compiler()[0] != 0);
    while (version_library(count, &number) != NULL) {
        CHECK(number[0] >= '0' && number[0] <= '9');
        count++;
    }
    CHECK(count == 10 || count == 11); /* OpenSSL where it was found */
}
