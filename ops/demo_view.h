/*
 * ops/demo_view.h - what the demo knows at one moment, and its two faces: a terminal screen and
 * JSON for the web page. Thread: one writes; demo_page.c copies under its lock.
 */
#ifndef OPS_DEMO_VIEW_H
#define OPS_DEMO_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMO_SAMPLES_MAX  600  /* one a second, or as many of a longer run */
#define DEMO_VERDICTS_MAX 16   /* the newest */
#define DEMO_SLOW_S       30.0 /* behind for less is a start, or one slow moment */

/* Quality of lists against the truth; NAN where there was none. */
struct demo_sample {
    double at_s;
    double model, popularity, frozen;
};

/* What the gate said, in its own words; the first line is the verdict. */
struct demo_verdict {
    double at_s;
    char text[240];
};

struct demo_numbers {
    const char *phase; /* "starting", "the past", "live", "after the shift", "done" */
    double elapsed_s, total_s;
    const char *broker; /* "embedded broker (librdkafka's mock)" or the address given */
    char page_url[64];
    char serve_url[64], retrain_url[64];    /* for who wants to ask by hand */
    char config[160];                       /* the file the roles were given */
    int ingest_pid, retrain_pid, serve_pid; /* for who wants to kill one */
    int restarts;
    /* ingest */
    double delivered, applied, duplicates, late, dropped, erased, dead;
    double waiting; /* ingest's own lag; NAN: it knows none now */
    double logged;  /* records in Kafka at the end, whoever wrote them; -1: not known */
    double events_per_s;
    double fresh_p50_s, fresh_p99_s; /* record timestamp to applied; -1: none yet */
    /* serve */
    double lists, lists_per_s, degraded;
    double request_p50_s, request_p99_s;
    char version[96];
    double model_age_s; /* -1: no bundle yet */
    bool model_present;
    double swaps;
    /* retrain */
    double published, refused;
    double drift;            /* worst PSI of the watched series */
    double behind, behind_s; /* records it has not read; for how long it has been behind, 0: not */
    double behind_most_s;    /* the longest in this run; below DEMO_SLOW_S it explains nothing */
    double published_at_s;   /* the last bundle with a model; -1: none */
    int verdicts_count;
    struct demo_verdict verdicts[DEMO_VERDICTS_MAX]; /* oldest first */
    char gate_report[2048];                          /* the last gate's, every line */
    /* quality against the truth */
    struct demo_sample now;
    double shift_at_s; /* when the taste shifted, -1: not yet */
    int samples_count;
    struct demo_sample samples[DEMO_SAMPLES_MAX];
};

/* A sample more; a full table keeps every second one. Call it once a second. */
void demo_view_sample(struct demo_numbers *n);
/* The first line of a report, if it is another than the last; returns whether it was. */
bool demo_view_verdict(struct demo_numbers *n, const char *report);

/* One screen of text, cursor home first: at most rows lines, each shorter than columns, so that
 * nothing wraps or scrolls (below 60 by 20 it is cut). Returns the bytes. */
size_t demo_view_screen(const struct demo_numbers *n, int columns, int rows, char *into,
                        size_t bytes);
/* What to try from another terminal, while it runs. */
size_t demo_view_hints(const struct demo_numbers *n, char *into, size_t bytes);
/* Records that are in Kafka, by the demo's own users or by others, and not yet counted. */
double demo_view_behind(const struct demo_numbers *n);
/* The same while it runs: what ingest says, for its counters are up to a second older than
 * delivered; the difference only where it says nothing. Never below 0. */
double demo_view_waiting(const struct demo_numbers *n);
/* Is every record counted once? Others may have written beside the demo's users. */
bool demo_view_exact(const struct demo_numbers *n);
/* The sum at the end, and whose records they were. */
size_t demo_view_sum(const struct demo_numbers *n, char *into, size_t bytes);
/* Why the model's lists are worse than popularity's, as far as can be seen: where the trainer was
 * behind, or the gate published nothing since the taste shifted. Nothing when they are not worse.
 */
size_t demo_view_why(const struct demo_numbers *n, double model, double popularity, char *into,
                     size_t bytes);
/* One line for a log that is no terminal. */
size_t demo_view_line(const struct demo_numbers *n, char *into, size_t bytes);
/* The same as JSON, with the samples. */
size_t demo_view_json(const struct demo_numbers *n, char *into, size_t bytes);

#endif
