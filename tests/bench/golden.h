/*
 * tests/bench/golden.h - weights, requests and scores that another implementation wrote, so that
 * a comparison of speed is one of the same work.
 *
 * A folder holds meta.json, weights.safetensors and request_K.json: the plain model of peers
 * (dot head, one scalar), see README of kernels/.
 */
#ifndef TESTS_BENCH_GOLDEN_H
#define TESTS_BENCH_GOLDEN_H

#include "kernels/model.h"

#define GOLDEN_REQUESTS_MAX 64

struct golden_request {
    struct batch batch;
    int32_t history_start[2], candidate_start[2];
    int64_t request_time_ms;
    int32_t *item, *action, *candidate_item;
    int64_t *time_ms;
    float *scalars;
    double *scores; /* what they should be */
};

struct golden {
    struct model_config config;
    int32_t n, m, requests_count;
    struct model *model;
    struct golden_request requests[GOLDEN_REQUESTS_MAX];
};

/* Errors: ERR_IO, ERR_NOT_FOUND, ERR_MALFORMED, ERR_LIMIT, ERR_NOMEM. Owner: golden_clear(). */
MUST_CHECK enum status golden_load(struct golden *golden, const char *folder, struct error *err);
void golden_clear(struct golden *golden);

#endif
