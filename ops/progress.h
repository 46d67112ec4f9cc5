/*
 * ops/progress.h - a progress bar on standard error for long work: one line that is
 * redrawn on a terminal, a plain line every 10 s elsewhere, nothing with --quiet.
 * Thread: one a struct; progress_quiet() before threads.
 */
#ifndef OPS_PROGRESS_H
#define OPS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* "replaying" */
    const char *unit; /* "events" */
    int64_t begun_us;
    int64_t next_us;
    double fraction; /* the last that was told; < 0: none */
    int drawn;       /* times the line was drawn */
    bool terminal;
};

/* Shows nothing from here on (--quiet). */
void progress_quiet(bool quiet);

void progress_begin(struct progress *progress, const char *what, const char *unit);
/* fraction 0..1, or < 0 when unknown; cheap, may be called for every event. */
void progress_show(struct progress *progress, double fraction, uint64_t done);
void progress_end(struct progress *progress, uint64_t done);
/* The same; what was broken off (whole: false) stays at the share that it came to. */
void progress_finish(struct progress *progress, bool whole, uint64_t done);

#endif
