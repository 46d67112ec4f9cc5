/*
 * ops/runbook.h - what to do when something is wrong: the pages of ops/runbooks, compiled in,
 * so that they are there on a machine that has nothing but the binary.
 * Thread: the main thread.
 */
#ifndef OPS_RUNBOOK_H
#define OPS_RUNBOOK_H

#include "ops/text.h"

struct runbook {
    const char *name; /* "redis-down" */
    struct text page; /* Markdown; its first line is "# Title" */
};

/* Index 0..; NULL past the end. */
const struct runbook *runbook_at(int index);

#endif
