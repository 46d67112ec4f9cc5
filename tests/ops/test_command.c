/*
 * Tests ops/command with tables of its own, each call in a child process whose output is read
 * from files: that is how a user sees it, exit code included.
 */
#include "ops/command.h"

#include "eval/eval_main.h"
#include "features/features_main.h"
#include "ingest/ingest_main.h"
#include "ops/file.h"
#include "ops/ops_main.h"
#include "retrain/retrain_main.h"
#include "scorer/serve_main.h"
#include "tests/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int run_show(struct command_line *line)
{
    (void)printf("flag=%d text=%s int=%lld real=%g duration=%lld given=%d json=%d arguments=%d",
                 command_flag(line, "flag"),
                 command_text(line, "text") == NULL ? "-" : command_text(line, "text"),
                 (long long)command_int(line, "int"), command_real(line, "real"),
                 (long long)command_duration_ms(line, "duration"), command_given(line, "int"),
                 command_json(line), command_arguments_count(line));
    for (int i = 0; i < command_arguments_count(line); i++)
        (void)printf(" [%s]", command_argument(line, i));
    (void)printf("\n");
    return EXIT_DONE;
}

static int run_config(struct command_line *line)
{
    const struct config *config = command_config(line);

    if (config == NULL)
        return EXIT_USAGE;
    CHECK(command_config(line) == config);
    (void)printf("threads=%lld\n", (long long)config_int(config, "a.threads"));
    return EXIT_DONE;
}

static int run_fail(struct command_line *line)
{
    struct error err;

    (void)error_set(&err, ERR_UNAVAILABLE, "redis \"x\": refused\a");
    return command_fail(line, &err);
}

/* Ends when it is told to, by descriptor and by flag. */
static int run_wait(struct command_line *line)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};

    (void)line;
    (void)printf("ready\n");
    (void)fflush(stdout);
    while (!command_stopping())
        (void)poll(&stop, 1, -1);
    if (command_arguments_count(line) == 1)
        for (;;)
            (void)pause(); /* hangs in its clean-up */
    return EXIT_DONE;
}

static int run_long(struct command_line *line)
{
    (void)line;
    for (int i = 0; i < 10000; i++)
        (void)printf("a result of many lines\n");
    return EXIT_DONE;
}

static const struct option_row show_options[] = {
    {"flag", OPTION_FLAG, NULL, NULL, "a flag"},
    {"text", OPTION_TEXT, "WORDS", NULL, "a text"},
    {"int", OPTION_INT, "N", "7", "an integer"},
    {"real", OPTION_REAL, "X", NULL, "a number"},
    {"duration", OPTION_DURATION, "TIME", "2s", "a duration"},
    {"choice", OPTION_CHOICE, "left|right", "left", "one of two"},
    {"long", OPTION_INT, "N", "9",
     "a text that is longer than a line of eighty eight columns has room for, so that it goes on "
     "in the next one"},
    {0},
};
static const struct command show = {.name = "show",
                                    .summary = "show what was given",
                                    .arguments = "[FILE...]",
                                    .help = "Examples:\n  freshet show a b",
                                    .arguments_max = 3,
                                    .options = show_options,
                                    .run = run_show};
static const struct command one = {.name = "group one",
                                   .summary = "the first",
                                   .arguments = "FILE",
                                   .arguments_min = 1,
                                   .arguments_max = 1,
                                   .run = run_fail};
static const struct command two = {
    .name = "group two", .summary = "the second", .arguments = "", .run = run_config};
static const struct command waiting = {
    .name = "wait", .summary = "wait", .arguments = "[X]", .arguments_max = 1, .run = run_wait};
static const struct command lengthy = {
    .name = "long", .summary = "print much", .arguments = "", .run = run_long};
static const struct command *const first_folder[] = {&show, &one, NULL};
static const struct command *const second_folder[] = {&two, &waiting, &lengthy, NULL};
static const struct command *const *const commands[] = {first_folder, second_folder, NULL};
static const struct config_row rows[] = {{"a.threads", CONFIG_INT, "2", 1, 64, NULL, "Threads."},
                                         {0}};
static const struct config_row *const config_tables[] = {rows, NULL};
static const struct doctor_check *const doctor_tables[] = {NULL};
static const struct command_tables tables = {commands, config_tables, doctor_tables, NULL};

static char out[16384], err_text[16384];

static void read_back(const char *name, char *into, size_t room)
{
    char path[200];
    char *bytes;
    size_t count;
    struct error err;

    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    CHECK_STATUS(OK, file_read(path, room - 1, &bytes, &count, &err));
    memcpy(into, bytes, count + 1);
    free(bytes);
}

static int open_output(const char *name)
{
    char path[200];

    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
}

/* Starts `freshet WORDS...` with its output in files. */
static pid_t start(const char *words)
{
    int out_fd = open_output("out");
    int err_fd = open_output("err");
    pid_t child;

    CHECK(out_fd >= 0 && err_fd >= 0);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        static char line[1000] = "freshet ";
        char *argv[64];
        int argc = 0;
        char *rest = line;

        (void)strncat(line, words, sizeof line - 10);
        while ((argv[argc] = strsep(&rest, " ")) != NULL)
            if (argv[argc][0] != 0)
                argc++;
        (void)dup2(out_fd, STDOUT_FILENO);
        (void)dup2(err_fd, STDERR_FILENO);
        argc = command_main(argc, argv, &tables);
        (void)fflush(NULL);
        _exit(argc); /* what failing tests leaked before the fork is not judged here */
    }
    CHECK_INT(0, close(out_fd));
    CHECK_INT(0, close(err_fd));
    return child;
}

static int freshet(const char *words)
{
    int state;
    pid_t child = start(words);

    CHECK_INT(child, waitpid(child, &state, 0));
    read_back("out", out, sizeof out);
    read_back("err", err_text, sizeof err_text);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -WTERMSIG(state);
}

TEST(command_parses_options_before_and_after_arguments)
{
    CHECK_INT(0, freshet("show"));
    CHECK_TEXT("flag=0 text=- int=7 real=0 duration=2000 given=0 json=0 arguments=0\n", out);
    CHECK_INT(0, freshet("show a --flag --int 3 b --text=x=y --real -1.5 --duration 5m --json"));
    CHECK_TEXT("flag=1 text=x=y int=3 real=-1.5 duration=300000 given=1 json=1 arguments=2 [a] "
               "[b]\n",
               out);
    CHECK_INT(0, freshet("show --int 1 --int=2 -- --flag -x"));
    CHECK_TEXT("flag=0 text=- int=2 real=0 duration=2000 given=1 json=0 arguments=2 [--flag] "
               "[-x]\n",
               out);
    CHECK_INT(0, freshet("show -"));
    CHECK(strstr(out, "[-]") != NULL);
}

TEST(command_refuses_wrong_usage_with_exit_code_2)
{
    static const char *const cases[][2] = {
        {"show --in 3", "unknown option --in; did you mean --int?"},
        {"show --sett=a", "unknown option --sett; did you mean --set?"},
        {"show -z", "unknown option --z"},
        {"show --int", "--int needs a value: --int N"},
        {"show --int x", "--int is \"x\", must be an integer"},
        {"show --duration 5", "--duration is \"5\" without a unit"},
        {"show --duration -1", "--duration is -1, must not be negative"},
        {"show --flag=1", "--flag takes no value"},
        {"show --log-level loud", "--log-level must be"},
        {"show a b c d", "unexpected argument \"d\""},
        {"group one", "missing argument: freshet group one FILE"},
        {"shwo", "unknown command \"shwo\"; did you mean \"show\"?"},
        {"group too", "unknown command \"group too\"; did you mean \"group two\"?"},
        {"group", "Usage: freshet group COMMAND"},
        {"", "Usage: freshet COMMAND"},
        {"\x1b[2J", "unknown command \"?[2J\""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_INT(EXIT_USAGE, freshet(cases[i][0]));
        if (strstr(err_text, cases[i][1]) == NULL)
            test_fail(__FILE__, __LINE__, "want \"%s\" in \"%s\"", cases[i][1], err_text);
        CHECK_TEXT("", out);
    }
}

/* The same words in help and in the documents, each code once. */
TEST(command_exit_codes_have_one_meaning_each)
{
    static char page[256 * 1024];
    char row[300], *bytes;
    size_t count;
    struct error err;

    CHECK_STATUS(OK, file_read("docs/operating.md", sizeof page - 1, &bytes, &count, &err));
    CHECK_INT(0, freshet("--help"));
    for (int i = 0; command_exit_codes[i].meaning != NULL; i++) {
        (void)snprintf(row, sizeof row, "| %d | %s |\n", command_exit_codes[i].code,
                       command_exit_codes[i].meaning);
        CHECK(strstr(bytes, row) != NULL);
        (void)snprintf(row, sizeof row, "\n  %-3d %.20s", command_exit_codes[i].code,
                       command_exit_codes[i].meaning);
        CHECK(strstr(out, row) != NULL);
        for (int j = 0; j < i; j++)
            CHECK(command_exit_codes[j].code != command_exit_codes[i].code);
    }
    for (int status = OK; status < STATUS_COUNT; status++) {
        int known = 0;

        for (int i = 0; command_exit_codes[i].meaning != NULL; i++)
            known += command_exit_codes[i].code == command_exit_code((enum status)status);
        CHECK_INT(1, known);
    }
    free(bytes);
}

/* Nothing is wider than a terminal but commands to copy. */
TEST(command_help_wraps_between_words)
{
    CHECK_INT(0, freshet("show --help"));
    CHECK(strstr(out,
                 "  --long N                 a text that is longer than a line of eighty eight "
                 "columns has\n                           room for, so that it goes on in the "
                 "next one (default 9)\n") != NULL);
    for (const char *at = out; *at != 0; at += strcspn(at, "\n") + (at[strcspn(at, "\n")] == '\n'))
        CHECK(strcspn(at, "\n") <= 88);
}

/* Paragraphs are broken where they are printed: one that was broken by hand is broken twice. Lines
 * to copy are indented; a point of a list begins with "-". */
TEST(command_helps_leave_line_breaks_to_the_printer)
{
    static const struct command *const *const folders[] = {ops_commands,     features_commands,
                                                           ingest_commands,  scorer_commands,
                                                           retrain_commands, eval_commands};

    for (size_t t = 0; t < sizeof folders / sizeof folders[0]; t++)
        for (int i = 0; folders[t][i] != NULL; i++)
            for (const char *at = strchr(folders[t][i]->help, '\n'); at != NULL;
                 at = strchr(at + 1, '\n'))
                if (at[1] != '\0' && at[1] != '\n' && at[1] != ' ' && at[1] != '-' &&
                    at[-1] != '\n' && at[-1] != ':')
                    test_fail(__FILE__, __LINE__, "%s: \"%.40s\"", folders[t][i]->name, at + 1);
}

TEST(command_help_is_the_result_and_shows_examples)
{
    static const char *const ways[] = {"help show", "show --help", "show -h",
                                       "show a b c d --help"};

    for (int i = 0; i < 4; i++) {
        CHECK_INT(0, freshet(ways[i]));
        CHECK(strstr(out, "Usage: freshet show [OPTIONS] [FILE...]") != NULL);
        CHECK(strstr(out, "Examples:\n  freshet show a b") != NULL);
        CHECK(strstr(out, "--duration TIME") != NULL && strstr(out, "(default 2s)") != NULL);
        CHECK(strstr(out, "--set KEY=VALUE") != NULL);
        CHECK_TEXT("", err_text);
    }
    CHECK_INT(0, freshet("--help"));
    CHECK(strstr(out, "group two") != NULL && strstr(out, "Exit codes") != NULL);
    CHECK_INT(0, freshet("group --help"));
    CHECK(strstr(out, "the second") != NULL && strstr(out, "show what") == NULL);
    CHECK_INT(0, freshet("group help some.key"));
    CHECK(strstr(out, "the second") != NULL);
    CHECK_INT(0, freshet("help group two"));
    CHECK(strstr(out, "freshet group two - the second") != NULL);
    CHECK_INT(EXIT_USAGE, freshet("help nothing"));
    CHECK_INT(0, freshet("--version"));
    CHECK(strncmp(out, "freshet ", 8) == 0);
}

TEST(command_failure_has_words_a_remedy_a_code_and_json)
{
    CHECK_INT(EXIT_UNREACHABLE, freshet("group one x"));
    CHECK(strncmp(err_text, "freshet group one: redis \"x\": refused?\n", 39) == 0);
    CHECK(strstr(err_text, "freshet doctor") != NULL);
    CHECK_TEXT("", out);
    CHECK_INT(EXIT_UNREACHABLE, freshet("group one x --json"));
    CHECK_TEXT("{\"error\":\"redis \\\"x\\\": refused\\u0007\",\"status\":\"ERR_UNAVAILABLE\"}\n",
               out);
    CHECK_INT(EXIT_USAGE, freshet("show --json --int x"));
    CHECK(strncmp(out, "{\"error\":", 9) == 0);
}

TEST(command_takes_a_choice_and_no_other_word)
{
    CHECK_INT(0, freshet("show --choice right"));
    CHECK_INT(EXIT_USAGE, freshet("show --choice rihgt"));
    CHECK(strstr(err_text, "--choice is \"rihgt\", must be one of left|right; did you mean "
                           "\"right\"?") != NULL);
    CHECK_INT(0, freshet("show --help"));
    CHECK(strstr(out, "--choice left|right") != NULL);
    CHECK(strstr(out, "one of two (default left)") != NULL);
}

TEST(command_loads_the_configuration_it_is_given)
{
    char words[300], path[200];
    struct error err;

    CHECK_INT(0, freshet("group two"));
    CHECK_TEXT("threads=2\n", out);
    CHECK_INT(0, freshet("group two --set a.threads=5 --set a.threads=6"));
    CHECK_TEXT("threads=6\n", out);
    (void)snprintf(path, sizeof path, "%s/c.yaml", test_folder());
    CHECK_STATUS(OK, file_replace(path, "a: {threads: 9}\n", 16, &err));
    (void)snprintf(words, sizeof words, "group two --config %s", path);
    CHECK_INT(0, freshet(words));
    CHECK_TEXT("threads=9\n", out);
    CHECK_INT(0, setenv("FRESHET_CONFIG", path, 1));
    CHECK_INT(0, freshet("group two"));
    CHECK_TEXT("threads=9\n", out);
    CHECK_INT(0, unsetenv("FRESHET_CONFIG"));
    CHECK_INT(EXIT_USAGE, freshet("group two --config /nonexistent/x.yaml"));
    CHECK(strstr(err_text, "/nonexistent/x.yaml") != NULL);
    CHECK_INT(EXIT_USAGE, freshet("group two --set a.thread=1 --set a.threads=0"));
    CHECK(strstr(err_text, "did you mean \"a.threads\"?\n") != NULL);
    CHECK(strstr(err_text, "a.threads is 0, allowed is 1..64\n") != NULL);
}

TEST(command_exit_codes_cover_every_status)
{
    for (int i = 0; i < STATUS_COUNT; i++)
        CHECK((command_exit_code((enum status)i) == EXIT_DONE) == (i == OK));
    CHECK_INT(EXIT_IN_USE, command_exit_code(ERR_IN_USE));
    CHECK_INT(EXIT_REPLACED, command_exit_code(ERR_REPLACED));
    CHECK_INT(EXIT_BAD_DATA, command_exit_code(ERR_MALFORMED));
    CHECK_INT(EXIT_NO, command_exit_code(ERR_REJECTED));
}

/* Waits for the child's "ready": its output is a file, so this looks until it is there. */
static void wait_until_ready(void)
{
    const struct timespec pause_ns = {.tv_nsec = 2000000};

    for (int i = 0; i < 5000; i++) {
        read_back("out", out, sizeof out);
        if (strcmp(out, "ready\n") == 0)
            return;
        (void)nanosleep(&pause_ns, NULL);
    }
    test_fail(__FILE__, __LINE__, "the child is not ready");
}

TEST(command_stops_at_the_first_signal_and_dies_at_the_second)
{
    static const int signals[] = {SIGTERM, SIGINT};
    int state;
    pid_t child;

    for (int i = 0; i < 2; i++) {
        child = start("wait");
        wait_until_ready();
        CHECK_INT(0, kill(child, signals[i]));
        CHECK_INT(child, waitpid(child, &state, 0));
        CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    }
    child = start("wait x");
    wait_until_ready();
    CHECK_INT(0, kill(child, SIGTERM));
    while (waitpid(child, &state, WNOHANG) == 0)
        CHECK_INT(0, kill(child, SIGINT)); /* SIGTERM may not have been seen yet */
    CHECK(WIFEXITED(state) && WEXITSTATUS(state) >= 128);
}

static int code_on_a_full_disk(const char *first, const char *second)
{
    int state;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        char words[2][40];
        char *argv[] = {(char[]){"freshet"}, words[0], words[1], NULL};
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

        (void)snprintf(words[0], sizeof words[0], "%s", first);
        (void)snprintf(words[1], sizeof words[1], "%s", second == NULL ? "" : second);
        if (second == NULL)
            argv[2] = NULL;
        (void)dup2(full, STDOUT_FILENO);
        (void)dup2(full, STDERR_FILENO);
        _exit(command_main(second == NULL ? 2 : 3, argv, &tables));
    }
    CHECK_INT(child, waitpid(child, &state, 0));
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

/* Also one that is longer than the buffer, of which the last flush knows nothing. */
TEST(command_says_when_its_result_did_not_reach_the_reader)
{
    CHECK_INT(EXIT_UNREACHABLE, code_on_a_full_disk("show", NULL));
    CHECK_INT(EXIT_UNREACHABLE, code_on_a_full_disk("long", NULL));
    CHECK_INT(EXIT_UNREACHABLE, code_on_a_full_disk("help", NULL));
    CHECK_INT(EXIT_UNREACHABLE, code_on_a_full_disk("--version", NULL));
    CHECK_INT(EXIT_UNREACHABLE, code_on_a_full_disk("help", "show"));
    CHECK_INT(EXIT_UNREACHABLE, code_on_a_full_disk("show", "--help"));
    CHECK_INT(EXIT_USAGE, code_on_a_full_disk("nonsense", NULL));
}
