/* tests/support/disk_steps.c - the calls, counted. The program's own symbols go before libc's. */
#include "tests/support/disk_steps.h"

#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CRASHED 177

static int crash_in, fail_in; /* steps left, this one included; 0: never */
static bool failed;

/* False: the step shall fail. */
static bool may_step(void)
{
    if (crash_in > 0 && --crash_in == 0)
        _exit(CRASHED);
    if (fail_in == 0 || --fail_in > 0)
        return true;
    failed = true;
    errno = ENOSPC;
    return false;
}

int fsync(int fd)
{
    return may_step() ? (int)syscall(SYS_fsync, fd) : -1;
}

int rename(const char *from, const char *to)
{
    return may_step() ? (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) : -1;
}

int mkdir(const char *path, mode_t mode)
{
    return may_step() ? (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode) : -1;
}

int unlink(const char *path)
{
    return may_step() ? (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0) : -1;
}

int unlinkat(int folder, const char *path, int flags)
{
    return may_step() ? (int)syscall(SYS_unlinkat, folder, path, flags) : -1;
}

int rmdir(const char *path)
{
    return may_step() ? (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR) : -1;
}

bool disk_steps_crash(int n, enum status (*work)(void *context), void *context, enum status *status)
{
    int state;
    pid_t child;

    CHECK(n > 0);
    (void)fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        crash_in = n;
        _exit((int)work(context));
    }
    CHECK_INT(child, waitpid(child, &state, 0));
    CHECK(WIFEXITED(state));
    *status = (enum status)WEXITSTATUS(state);
    return WEXITSTATUS(state) == CRASHED;
}

void disk_steps_fail(int n)
{
    fail_in = n;
    failed = false;
}

bool disk_steps_failed(void)
{
    return failed;
}
