/*
 * ops/process.h - child processes that never outlive us.
 *
 * A child runs in a process group of its own, with its output in a log file, and is killed by the
 * kernel when we die (PR_SET_PDEATHSIG), however we die.
 * Thread: one; children are waited for by pid, never by "any child".
 */
#ifndef OPS_PROCESS_H
#define OPS_PROCESS_H

#include "ops/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    char name[24];
    char log_path[512];
    pid_t pid; /* 0: not running */
    bool ended;
    int exit_code; /* of an ended one; 128 + signal when a signal ended it */
};

/**
 * Starts argv[0] (a path, or a name looked up in PATH); both outputs go to log_path.
 * Errors: ERR_NOT_FOUND (no such program), ERR_IO
 */
MUST_CHECK enum status process_start(struct process *process, const char *name,
                                     const char *const *argv, const char *log_path,
                                     struct error *err);
/* Has it ended? Does not wait. */
bool process_ended(struct process *process);
void process_signal(const struct process *process, int signal);
/* SIGTERM to the group, then SIGKILL after grace_ms; returns when it is gone. */
void process_stop(struct process *process, int64_t grace_ms);
/* The last lines of its log, at most bytes - 1 of them; a zero-ended text. */
void process_log_tail(const struct process *process, int lines, char *into, size_t bytes);

#endif
