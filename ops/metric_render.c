/*
 * ops/metric_render.c - everything registered, as Prometheus text exposition 0.0.4.
 *
 * Reads while others count: a histogram's own buckets are summed once and its _count is
 * made from them, so that the two always agree.
 */
#include "ops/metric.h"
#include "ops/metric_private.h"
#include "ops/status.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct output {
    char *at;
    size_t bytes; /* capacity, the zero included */
    size_t used;  /* what would be used, also when it is more */
};

static void put(struct output *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void put(struct output *out, const char *fmt, ...)
{
    size_t left = out->used < out->bytes ? out->bytes - out->used : 0;
    va_list args;
    int more;

    va_start(args, fmt);
    more = vsnprintf(left == 0 ? NULL : out->at + out->used, left, fmt, args);
    va_end(args);
    out->used += more < 0 ? 0 : (size_t)more;
}

/* Shortest form people write for bounds (0.005, 1, 30); values get all their digits. */
static void put_value(struct output *out, double value, int digits)
{
    if (isnan(value))
        put(out, "NaN");
    else if (isinf(value))
        put(out, value > 0 ? "+Inf" : "-Inf");
    else
        put(out, "%.*g", digits, value);
}

static void put_histogram(struct output *out, const struct metric *metric, int label)
{
    const char *name = metric->name;
    const char *key = metric->label;
    const char *value = key == NULL ? "" : metric->label_values[label];
    uint64_t below = 0;

    for (int i = 0; i <= metric->buckets->count; i++) {
        below += metric_bucket_count(metric, label, i);
        if (key == NULL)
            put(out, "%s_bucket{le=\"", name);
        else
            put(out, "%s_bucket{%s=\"%s\",le=\"", name, key, value);
        put_value(out, i < metric->buckets->count ? metric->buckets->upper[i] : INFINITY, 10);
        put(out, "\"} %llu\n", (unsigned long long)below);
    }
    if (key == NULL)
        put(out, "%s_sum ", name);
    else
        put(out, "%s_sum{%s=\"%s\"} ", name, key, value);
    put_value(out, metric_label_sum(metric, label), 17);
    if (key == NULL)
        put(out, "\n%s_count %llu\n", name, (unsigned long long)below);
    else
        put(out, "\n%s_count{%s=\"%s\"} %llu\n", name, key, value, (unsigned long long)below);
}

static void put_metric(struct output *out, const struct metric *metric)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};

    put(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
        kinds[metric->kind]);
    for (int label = 0; label < metric->labels_count; label++) {
        if (metric_is_unset(metric, label))
            continue;
        if (metric->kind == METRIC_HISTOGRAM_KIND) {
            put_histogram(out, metric, label);
            continue;
        }
        if (metric->label == NULL)
            put(out, "%s ", metric->name);
        else
            put(out, "%s{%s=\"%s\"} ", metric->name, metric->label, metric->label_values[label]);
        if (metric->kind == METRIC_COUNTER_KIND)
            put(out, "%llu", (unsigned long long)metric_count_of(metric, label));
        else
            put_value(out, metric_value_of(metric, label), 17);
        put(out, "\n");
    }
}

/* Who has the metrics of a prefix; relay is ingest's. */
static const struct {
    const char *role, *prefix;
} owners[] = {
    {"ingest", "freshet_ingest_"},   {"ingest", "freshet_relay_"},      {"serve", "freshet_serve_"},
    {"retrain", "freshet_retrain_"}, {"simulate", "freshet_simulate_"},
};
static const char *our_role; /* NULL: all are told */

void metric_of_role(const char *role)
{
    our_role = NULL;
    for (size_t i = 0; role != NULL && i < sizeof owners / sizeof owners[0]; i++)
        if (strcmp(owners[i].role, role) == 0)
            our_role = owners[i].role;
}

static bool is_told(const struct metric *metric)
{
    for (size_t i = 0; our_role != NULL && i < sizeof owners / sizeof owners[0]; i++)
        if (strncmp(metric->name, owners[i].prefix, strlen(owners[i].prefix)) == 0)
            return strcmp(owners[i].role, our_role) == 0;
    return true;
}

size_t metric_render(char *into, size_t bytes)
{
    struct output out = {into, bytes, 0};

    metric_refresh();
    for (const struct metric *metric = metric_first(); metric != NULL; metric = metric->next)
        if (is_told(metric))
            put_metric(&out, metric);
    return out.used;
}
