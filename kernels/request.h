/*
 * kernels/request.h - one request of a batch, as the ops see it.
 *
 * Flow: batch -> [request] -> embed -> ...
 *
 * Requests are computed one after the other: what one needs then fits the cache, and none can
 * change a bit of another.
 */
#ifndef KERNELS_REQUEST_H
#define KERNELS_REQUEST_H

#include "schemas/batch.h"

#include <stddef.h>

struct request {
    int32_t n, m;  /* history tokens, candidates */
    int32_t token; /* the first of them in the batch's arrays */
    int32_t candidate;
    int32_t index;  /* of the request */
    int64_t now_ms; /* the request's time */
    const struct batch *batch;
};

static inline struct request request_of(const struct batch *batch, int32_t b)
{
    return (struct request){
        .n = batch->history_start[b + 1] - batch->history_start[b],
        .m = batch->candidate_start[b + 1] - batch->candidate_start[b],
        .token = batch->history_start[b],
        .candidate = batch->candidate_start[b],
        .index = b,
        .now_ms = batch->request_time_ms[b],
        .batch = batch,
    };
}

#endif
