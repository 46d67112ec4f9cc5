/* tests/kernels/jagged.h - random jagged batches with every array filled. */
#ifndef TESTS_KERNELS_JAGGED_H
#define TESTS_KERNELS_JAGGED_H

#include "kernels/model.h"

#define JAGGED_REQUESTS_MAX 64
#define JAGGED_ROWS_MAX     4096

struct jagged_size {
    int32_t n, m;
};

/* Owns the arrays that batch points to; do not copy the struct. */
struct jagged {
    struct batch batch;
    int32_t history_start[JAGGED_REQUESTS_MAX + 1], candidate_start[JAGGED_REQUESTS_MAX + 1];
    int64_t request_time_ms[JAGGED_REQUESTS_MAX];
    int32_t item[JAGGED_ROWS_MAX], action[JAGGED_ROWS_MAX], next_item[JAGGED_ROWS_MAX];
    int64_t time_ms[JAGGED_ROWS_MAX];
    int32_t candidate_item[JAGGED_ROWS_MAX], position[JAGGED_ROWS_MAX];
    float scalars[JAGGED_ROWS_MAX * 8], label[JAGGED_ROWS_MAX], weight[JAGGED_ROWS_MAX];
    float teacher[JAGGED_ROWS_MAX];
    int32_t context[JAGGED_REQUESTS_MAX * BATCH_CONTEXTS];
};

/* Switches of a model, one after the other, then all of them; 0 none. The caller makes room for
 * config->contexts in P. */
#define SWITCHES 6
void switches_set(struct model_config *config, int number);

/* count requests of these sizes for a model of this config (F at most 8). */
void jagged_fill(struct jagged *jagged, const struct model_config *config,
                 const struct jagged_size *sizes, int32_t count, uint64_t seed);

/* out = request b of from, alone. */
void jagged_one(struct jagged *out, const struct jagged *from, int32_t b);

#endif
