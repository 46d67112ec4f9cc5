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
    int32_t n, m;     /* tokens in front of the candidates: context, then history; candidates */
    int32_t contexts; /* the first of n: tokens of the request's context, without time or item */
    int32_t token;    /* token j >= contexts is number token + j of the batch's arrays */
    int32_t candidate;
    int32_t index;  /* of the request */
    int64_t now_ms; /* the request's time */
    const struct batch *batch;
};

static inline struct request request_with(const struct batch *batch, int32_t b, int32_t contexts)
{
    return (struct request){
        .n = batch->history_start[b + 1] - batch->history_start[b] + contexts,
        .m = batch->candidate_start[b + 1] - batch->candidate_start[b],
        .contexts = contexts,
        .token = batch->history_start[b] - contexts,
        .candidate = batch->candidate_start[b],
        .index = b,
        .now_ms = batch->request_time_ms[b],
        .batch = batch,
    };
}

/* For a model without context tokens. */
static inline struct request request_of(const struct batch *batch, int32_t b)
{
    return request_with(batch, b, 0);
}

/* Code of context token j; what the batch does not say, or no table knows, is 0. */
static inline int32_t request_context(const struct request *request, int32_t j)
{
    const int32_t *context = request->batch->context;
    int32_t code = context == NULL ? 0 : context[(int64_t)request->index * BATCH_CONTEXTS + j];

    return code > 0 && code < BATCH_CONTEXT_CODES ? code : 0;
}

#endif
