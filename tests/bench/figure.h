/*
 * tests/bench/figure.h - what a benchmark says: one line for people, one object for
 * build/bench.jsonl.
 *
 *     {"name":"http_rerank_p99_ms","value":3.1,"unit":"ms","limit_name":"issue","limit":8,"ratio":.39}
 *
 * limit: the bare building block or the peer measured in the same run, or the promise; 0: none.
 */
#ifndef TESTS_BENCH_FIGURE_H
#define TESTS_BENCH_FIGURE_H

#include "ops/status.h"

void figure_report(const char *name, double value, const char *unit, const char *limit_name,
                   double limit);

/* Sorts values in place and returns their q-quantile. */
double figure_quantile(double *values, int count, double q);

/* A step of a benchmark that must work: prints why it did not and ends the program with 1. */
void figure_must(enum status status, const struct error *err);

/* Resident memory of a process in MB (pid 0: this one); 0 when it cannot be read. */
double figure_rss_mb(int pid);

#endif
