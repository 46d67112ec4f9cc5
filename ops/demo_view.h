/*
 * ops/demo_view.h - what the demo knows at one moment, and its two faces: a terminal screen and
 * JSON for the web page. Thread: one writes; demo_page.c copies under its lock.
 */
#ifndef OPS_DEMO_VIEW_H
#define OPS_DEMO_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMO_SAMPLES_MAX 600 /* one a second */

/* Quality of lists against the truth; NAN where there was none. */
struct demo_sample {
    double at_s;
    double model, popularity, frozen;
};

struct demo_numbers {
    const char *phase; /* "starting", "the past", "live", "after the shift", "done" */
    double elapsed_s, total_s;
    const char *broker; /* "embedded broker (librdkafka's mock)" or the address given */
    char page_url[64];
    /* ingest */
    double delivered, applied, duplicates, late, dropped, erased, dead;
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
    double drift;   /* worst PSI of the watched series */
    char gate[240]; /* the last gate's verdict in words */
    /* quality against the truth */
    struct demo_sample now;
    double shift_at_s; /* when the taste shifted, -1: not yet */
    int samples_count;
    struct demo_sample samples[DEMO_SAMPLES_MAX];
};

/* One screen of text, cursor home first. Returns the bytes. */
size_t demo_view_screen(const struct demo_numbers *n, int columns, char *into, size_t bytes);
/* One line for a log that is no terminal. */
size_t demo_view_line(const struct demo_numbers *n, char *into, size_t bytes);
/* The same as JSON, with the samples. */
size_t demo_view_json(const struct demo_numbers *n, char *into, size_t bytes);

#endif
