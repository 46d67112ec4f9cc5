/* ops/metric_private.h - what metric_render.c needs of metric.c and nobody else does. */
#ifndef OPS_METRIC_PRIVATE_H
#define OPS_METRIC_PRIVATE_H

#include "ops/metric.h"

#include <stdbool.h>

const struct metric *metric_first(void);
void metric_refresh(void);
bool metric_is_unset(const struct metric *metric, int label);
uint64_t metric_bucket_count(const struct metric *histogram, int label, int bucket);
double metric_label_sum(const struct metric *histogram, int label);

#endif
