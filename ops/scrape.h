/*
 * ops/scrape.h - reads another process' /metrics: what the demo's screen and tests know of a role.
 *
 * Understands the Prometheus text that ops/metric.h writes, and no more.
 * Thread: one.
 */
#ifndef OPS_SCRAPE_H
#define OPS_SCRAPE_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>

#define SCRAPE_BYTES_MAX (1024 * 1024)

/* The value of one series: "freshet_x_total" or "freshet_x_total{outcome=\"applied\"}", written
 * exactly as it stands in the text. otherwise: when there is no such series. */
double scrape_value(struct text metrics, const char *series, double otherwise);

/* Sum over all label values of a metric, 0 when it is absent. */
double scrape_sum(struct text metrics, const char *name);

/* Quantile q of a histogram, interpolated in its bucket; -1 when it has no observation. before:
 * an older text of the same process, to look at what came since (empty: from its start). */
double scrape_quantile(struct text metrics, struct text before, const char *histogram, double q);

#endif
