/*
 * schemas/batch.h - a jagged batch of requests: what features/ fills and kernels/ reads.
 *
 * Flow: event -> sequence -> [features/ fills it] -> [kernels/ scores it or trains on it] -> rank
 *
 * One struct for serving and training, so that both see a user in the same way. It lies
 * in schemas/ because neither of the two folders may include the other.
 *
 * Dims, here and in every kernel header:
 *     B requests   T history tokens of all requests   N candidates of all requests
 *     F scalar features a candidate   V rows of the item table
 * Request b owns tokens history_start[b] .. history_start[b + 1] - 1, oldest first, and
 * candidates candidate_start[b] .. candidate_start[b + 1] - 1. Both may be none.
 *
 * Times are raw milliseconds. The gap bucket, the hour of the week and the buckets of the
 * attention bias are derived from them in one place, kernels/bucket.h, and nowhere else.
 * Whoever fills a batch cuts the history (the newest, its start a multiple of 32 of the
 * user's running count) and drops events after the request's time.
 */
#ifndef SCHEMAS_BATCH_H
#define SCHEMAS_BATCH_H

#include <stdint.h>

#define BATCH_REQUESTS_MAX   4096      /* B */
#define BATCH_HISTORY_MAX    2048      /* tokens of one request; a model may take fewer */
#define BATCH_TOKENS_MAX     (1 << 20) /* T */
#define BATCH_CANDIDATES_MAX (1 << 20) /* N; of one request at most BATCH_LIST_MAX */
#define BATCH_LIST_MAX       4096
#define BATCH_SCALARS_MAX    64 /* F */
#define BATCH_CONTEXTS       4  /* context tokens a request; a model may take fewer */
#define BATCH_CONTEXT_CODES  64 /* values of each, 0: not known */
#define BATCH_POSITION_MAX   64 /* shown positions beyond it share the last one's bias */

/* Item rows: 0 is the shared row of every item without a row of its own. */
#define BATCH_ITEM_UNKNOWN 0
#define BATCH_ITEM_NONE    (-1) /* in next_item only: no target at this token */

/* Action codes: 1.. are the user's, from configuration. 0 is the learned "target" action
 * that candidates carry; a history never holds it. */
#define BATCH_ACTION_TARGET 0

/**
 * Shapes: beside each pointer. An array marked "or NULL" may be left out.
 * Units: times in Unix milliseconds (UTC); labels and weights as configured for the action.
 * Owner: every array is borrowed; whoever filled the batch keeps them alive while it is used.
 * Thread: read-only once filled.
 *
 * An item row outside 0..V-1 is taken as row 0, so a table that grew since the batch was
 * filled, or shrank, cannot make anyone read out of bounds.
 */
struct batch {
    int32_t B, T, N, F;

    const int32_t *history_start; /* (B + 1), from 0 to T */
    const int32_t *item;          /* (T) item row of each token */
    const int32_t *action;        /* (T) action code */
    const int64_t *time_ms;       /* (T) ascending within a request */

    const int64_t *request_time_ms; /* (B) not before the last token's time */

    const int32_t *candidate_start; /* (B + 1), from 0 to N */
    const int32_t *candidate_item;  /* (N) item row */
    const float *scalars;           /* (N, F) raw scalar features; NULL when F is 0 */

    /* Training only. */
    const int32_t *next_item; /* (T) row of the item that came next or BATCH_ITEM_NONE, or NULL */
    const float *label;       /* (N) 0 = shown, not clicked; more = better, or NULL */
    const float *weight;      /* (N) of the candidate's row in the loss, or NULL for all 1 */
    const int32_t *position;  /* (N) where it was shown, from 1; 0 = not known, or NULL */
    const float *teacher;     /* (N) the champion's scores, for distillation, or NULL */

    const int32_t *context; /* (B, BATCH_CONTEXTS) codes of where it is asked from, or NULL */
};

#endif
