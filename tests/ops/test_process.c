/* Tests ops/process: exit codes, a program that does not exist, stopping one that ignores SIGTERM.
 */
#include "ops/process.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void log_path(char path[256])
{
    (void)snprintf(path, 256, "%s/child.log", test_folder());
}

static void wait_for(struct process *process)
{
    for (int i = 0; i < 1000 && !process_ended(process); i++)
        (void)usleep(10000);
    CHECK(process->ended);
}

TEST(process_reports_the_exit_code_and_keeps_the_log)
{
    const char *argv[] = {"sh", "-c", "echo one; echo two >&2; echo three; exit 7", NULL};
    struct process process;
    struct error err;
    char path[256], tail[64];

    log_path(path);
    CHECK_STATUS(OK, process_start(&process, "child", argv, path, &err));
    wait_for(&process);
    CHECK_INT(7, process.exit_code);
    process_log_tail(&process, 2, tail, sizeof tail);
    CHECK_TEXT("two\nthree\n", tail);
    process_log_tail(&process, 20, tail, sizeof tail);
    CHECK_TEXT("one\ntwo\nthree\n", tail);
    process_stop(&process, 0); /* of one that has ended: nothing to do */
}

TEST(process_names_a_program_that_does_not_exist)
{
    const char *argv[] = {"no-such-program-here", NULL};
    struct process process;
    struct error err;
    char path[256];

    log_path(path);
    CHECK_STATUS(ERR_NOT_FOUND, process_start(&process, "child", argv, path, &err));
    CHECK(strstr(err.text, "no-such-program-here") != NULL);
    CHECK(process_ended(&process));
}

TEST(process_that_ignores_sigterm_is_killed_with_its_group)
{
    const char *argv[] = {"sh", "-c", "trap '' TERM; sleep 600 & wait; sleep 600", NULL};
    struct process process;
    struct error err;
    char path[256];

    log_path(path);
    CHECK_STATUS(OK, process_start(&process, "child", argv, path, &err));
    process_stop(&process, 100);
    CHECK(process.ended);
    CHECK(process.exit_code == 128 + 9 || process.exit_code == 128 + 15);
}
