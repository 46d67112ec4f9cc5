/* ops/process.c - fork, exec, and the ways a child ends. */
#include "ops/process.h"

#include "ops/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_US     10000
#define TAIL_READ   (64 * 1024)
#define EXEC_FAILED 127

/* In the child: nothing here may allocate or lock, other threads' locks may be held. */
static _Noreturn void become(const char *const *argv, int log, int report, pid_t parent)
{
    int failure;

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXEC_FAILED); /* the parent died before the line above */
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    failure = errno;
    (void)!write(report, &failure, sizeof failure);
    _exit(EXEC_FAILED);
}

enum status process_start(struct process *process, const char *name, const char *const *argv,
                          const char *log_path, struct error *err)
{
    int report[2];
    int failure = 0;
    pid_t parent = getpid();
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ssize_t got;

    *process = (struct process){0};
    (void)snprintf(process->name, sizeof process->name, "%s", name);
    (void)snprintf(process->log_path, sizeof process->log_path, "%s", log_path);
    if (log < 0)
        return error_set(err, ERR_IO, "could not open \"%s\": %s", log_path, strerror(errno));
    if (pipe2(report, O_CLOEXEC) != 0) {
        (void)close(log);
        return error_set(err, ERR_IO, "could not make a pipe: %s", strerror(errno));
    }
    process->pid = fork();
    if (process->pid == 0)
        become(argv, log, report[1], parent);
    (void)close(log);
    (void)close(report[1]);
    if (process->pid < 0) {
        process->pid = 0;
        (void)close(report[0]);
        return error_set(err, ERR_IO, "could not start %s: %s", name, strerror(errno));
    }
    (void)setpgid(process->pid, process->pid); /* also here: whoever of the two comes first */
    do
        got = read(report[0], &failure, sizeof failure); /* closed by a successful exec */
    while (got < 0 && errno == EINTR);
    (void)close(report[0]);
    if (got != (ssize_t)sizeof failure)
        return OK;
    (void)waitpid(process->pid, NULL, 0);
    process->pid = 0;
    return error_set(err, failure == ENOENT ? ERR_NOT_FOUND : ERR_IO, "could not run \"%s\": %s",
                     argv[0], strerror(failure));
}

bool process_ended(struct process *process)
{
    int state;
    pid_t got;

    if (process->pid == 0)
        return true;
    got = waitpid(process->pid, &state, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return false;
    process->ended = true;
    process->exit_code = got < 0            ? -1
                         : WIFEXITED(state) ? WEXITSTATUS(state)
                                            : 128 + WTERMSIG(state);
    process->pid = 0;
    return true;
}

void process_signal(const struct process *process, int signal)
{
    if (process->pid > 0)
        (void)kill(-process->pid, signal);
}

void process_stop(struct process *process, int64_t grace_ms)
{
    int64_t until_us = clock_monotonic_us() + grace_ms * 1000;

    process_signal(process, SIGTERM);
    while (!process_ended(process)) {
        if (clock_monotonic_us() >= until_us)
            process_signal(process, SIGKILL);
        (void)usleep(POLL_US);
    }
}

void process_log_tail(const struct process *process, int lines, char *into, size_t bytes)
{
    static char text[TAIL_READ];
    int file = open(process->log_path, O_RDONLY | O_CLOEXEC);
    off_t end = file < 0 ? 0 : lseek(file, 0, SEEK_END);
    off_t from = end > TAIL_READ ? end - TAIL_READ : 0;
    ssize_t got = file < 0 ? 0 : pread(file, text, sizeof text, from);
    ssize_t at = got;

    assert(bytes >= 1);
    if (file >= 0)
        (void)close(file);
    if (got < 0)
        got = at = 0;
    while (at > 0) {
        if (text[at - 1] == '\n' && at != got && lines-- <= 1)
            break;
        at--;
    }
    (void)snprintf(into, bytes, "%.*s", (int)(got - at), text + at);
}
