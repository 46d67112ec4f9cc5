/*
 * ops/metric.h - counters, gauges and fixed-bucket histograms, as Prometheus text.
 *
 * Every metric is declared once, at file scope, and registers itself before main:
 *
 *     METRIC_COUNTER(applied, "freshet_ingest_applied_total", "events applied");
 *     METRIC_COUNTER_OF(dead, "freshet_ingest_dead_total", "dead letters", "reason", reason_names,
 * N); METRIC_HISTOGRAM(latency, "freshet_serve_request_seconds", "...", metric_buckets_latency);
 *     metric_add(&applied, 1);  metric_add_of(&dead, reason, 1);  metric_observe(&latency, s);
 *
 * Counters and histograms have one cell a thread (padded to a cache line), summed
 * by the reader: an increment is one relaxed add on a line nobody else writes. A thread
 * that ends hands its cell to the next one that starts; what it counted stays.
 * Label values come from closed sets known at compile time, so the number of series
 * is constant whatever a client sends.
 * Thread: any.
 */
#ifndef OPS_METRIC_H
#define OPS_METRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRIC_LABELS_MAX  64 /* values of one label */
#define METRIC_BUCKETS_MAX 24
#define METRIC_THREADS_MAX 64 /* cells; more threads share the last one, atomically */

enum metric_kind { METRIC_COUNTER_KIND, METRIC_GAUGE_KIND, METRIC_HISTOGRAM_KIND };

struct metric_buckets {
    int count;
    double upper[METRIC_BUCKETS_MAX];
};
extern const struct metric_buckets metric_buckets_latency; /* seconds, 100 us .. 30 s */
extern const struct metric_buckets metric_buckets_size;    /* 1 .. 1e6 */

struct metric_cells; /* private */

struct metric {
    const char *name; /* freshet_<folder>_<what>[_total|_seconds|_bytes] */
    const char *help;
    enum metric_kind kind;
    const char *label;               /* NULL: no label */
    const char *const *label_values; /* (labels_count) */
    int labels_count;                /* 1 without a label */
    bool optional; /* a gauge's series that is not set is left out, instead of told as 0 */
    const struct metric_buckets *buckets;
    struct metric_cells *cells; /* made at registration */
    struct metric *next;
};

void metric_register(struct metric *metric);
void metric_add(struct metric *counter, uint64_t n);
void metric_add_of(struct metric *counter, int label, uint64_t n);
void metric_set(struct metric *gauge, double value);
void metric_set_of(struct metric *gauge, int label, double value);
/* Only of an optional gauge: its series is left out until it is set again, and its value is NaN. */
void metric_unset(struct metric *gauge);
void metric_unset_of(struct metric *gauge, int label);
/* NaN is not counted; a negative value (a clock that jumped) counts as 0. */
void metric_observe(struct metric *histogram, double value);
void metric_observe_of(struct metric *histogram, int label, double value);
/* Called at the start of each metric_render(), for gauges that are read when asked for. */
void metric_on_render(void (*refresh)(void));

/* For tests, `demo` and bench: what a reader sees now. */
uint64_t metric_count(const struct metric *counter);
uint64_t metric_count_of(const struct metric *counter, int label);
double metric_value(const struct metric *gauge);
double metric_value_of(const struct metric *gauge, int label);
uint64_t metric_observations(const struct metric *histogram);
double metric_sum(const struct metric *histogram);
double metric_quantile(const struct metric *histogram, double q); /* within a bucket's width; 0
                                                                   * when nothing was observed */
/* By name, over everything registered; NULL when there is none. */
const struct metric *metric_find(const char *name);
void metric_reset_all(void); /* tests only */

/* Of the metrics that only one role has (freshet_ingest_, freshet_serve_, ...) those of the others
 * are left out by metric_render() from here on: one program holds them all, and a role would tell
 * zeros of what it never does. A name that is none of the roles, and NULL: nothing is left out.
 * Before threads. */
void metric_of_role(const char *role);

/* Prometheus text exposition 0.0.4 of everything registered. Returns the bytes needed
 * (without the zero); writes at most bytes. Call again with more when it did not fit. */
size_t metric_render(char *into, size_t bytes);

#define METRIC_DECLARE_(id, ...)                                                                   \
    static struct metric id = {__VA_ARGS__};                                                       \
    __attribute__((constructor)) static void id##_metric_register(void)                            \
    {                                                                                              \
        metric_register(&id);                                                                      \
    }                                                                                              \
    _Static_assert(1, "")
#define METRIC_COUNTER(id, text_name, text_help)                                                   \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_COUNTER_KIND,         \
                    .labels_count = 1)
#define METRIC_COUNTER_OF(id, text_name, text_help, text_label, values, count)                     \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_COUNTER_KIND,         \
                    .label = text_label, .label_values = values, .labels_count = count)
#define METRIC_GAUGE(id, text_name, text_help)                                                     \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_GAUGE_KIND,           \
                    .labels_count = 1)
#define METRIC_GAUGE_OF(id, text_name, text_help, text_label, values, count)                       \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_GAUGE_KIND,           \
                    .label = text_label, .label_values = values, .labels_count = count)
/* What is there at times only: where 0 would be a figure that nobody has measured. */
#define METRIC_GAUGE_OPTIONAL(id, text_name, text_help)                                            \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_GAUGE_KIND,           \
                    .labels_count = 1, .optional = true)
#define METRIC_GAUGE_OPTIONAL_OF(id, text_name, text_help, text_label, values, count)              \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_GAUGE_KIND,           \
                    .label = text_label, .label_values = values, .labels_count = count,            \
                    .optional = true)
#define METRIC_HISTOGRAM(id, text_name, text_help, bounds)                                         \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_HISTOGRAM_KIND,       \
                    .labels_count = 1, .buckets = &bounds)
#define METRIC_HISTOGRAM_OF(id, text_name, text_help, bounds, text_label, values, count)           \
    METRIC_DECLARE_(id, .name = text_name, .help = text_help, .kind = METRIC_HISTOGRAM_KIND,       \
                    .label = text_label, .label_values = values, .labels_count = count,            \
                    .buckets = &bounds)

#endif
