/*
 * tests/support/disk_steps.h - a crash, or a full disk, at each step of what is written.
 *
 * A step is a call of fsync, rename, mkdir, unlink, unlinkat or rmdir: between two of them nothing
 * changes but the content of files that nobody was told of yet. The test program defines these
 * calls itself, so code under test needs no hook.
 * Thread: one at a time.
 */
#ifndef TESTS_SUPPORT_DISK_STEPS_H
#define TESTS_SUPPORT_DISK_STEPS_H

#include "ops/status.h"

#include <stdbool.h>

/* Runs work in a child of its own that ends, as by kill -9, just before its step n (from 1). False:
 * work had fewer steps; *status is then what it returned. work must not use CHECK. */
bool disk_steps_crash(int n, enum status (*work)(void *context), void *context,
                      enum status *status);

/* Step n (from 1) fails from now on, once, with ENOSPC; 0: none does. */
void disk_steps_fail(int n);
/* Did it, since then? */
bool disk_steps_failed(void);

#endif
