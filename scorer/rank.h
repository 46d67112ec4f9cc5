/*
 * scorer/rank.h - the engine without any I/O: recall, batch, model, fusion, order, rules.
 *
 * Flow: request, user's sequence, item tables, model -> [rank] -> ordered items, raw counts
 *
 * serve answers with it and retrain judges a challenger with it: the very code that will serve.
 * Thread: a ranker (weights and tables) is read-only and shared; a rank_scratch is of one thread.
 */
#ifndef SCORER_RANK_H
#define SCORER_RANK_H

#include "features/item_tables.h"
#include "kernels/model.h"
#include "ops/status.h"
#include "schemas/bundle.h"
#include "schemas/rerank.h"

#include <stdbool.h>
#include <stdint.h>

/* Borrowed parts: whoever fills it keeps them alive. */
struct ranker {
    const struct model *model;        /* NULL: popularity and co-visitation only */
    const struct item_tables *tables; /* NULL: nothing is known: order as given */
    const struct action_row *actions; /* [ACTIONS_MAX], for negative actions */
    struct kv_cache *histories;       /* K and V from request to request; NULL: none is kept.
                                         Scores are the same to the bit (on a GPU: kernels/model.h) */
    int trained_rows;                 /* model rows below it were given out when the weights were
                                         published: recall by next items names no others, for a later
                                         delta's have no weights of their own. 0: all are known */
};

struct rank_scratch;
MUST_CHECK enum status rank_scratch_create(struct rank_scratch **scratch, struct error *err);
void rank_scratch_destroy(struct rank_scratch *scratch);

/* What has been shown and chosen fewer than `until` times together is new; of the k places that
 * share, rounded down, is for new items: the best of them take the last places where the order
 * alone gives them fewer. Recall then brings the newest of them, too. share 0: no such floor. */
struct rank_floor {
    double share; /* 0..1 */
    int64_t until;
};

/* Recall brings co-visited and popular items, and those of the model's best next-item scores: so
 * many, or where it is RANK_NEXT_AUTO, RANK_NEXT_DEFAULT unless the tables have given out more than
 * RANK_NEXT_ROWS rows: the model looks at all of them for a request, which of 64 channels takes
 * a millisecond for 50,000 (tests/bench/bench_next.c). For a user without history, and without a
 * model, there are none. */
#define RANK_NEXT_AUTO    (-1)
#define RANK_NEXT_DEFAULT 200
#define RANK_NEXT_MAX     500
#define RANK_NEXT_ROWS    50000
/* What is said, of tables that have given out so many rows. */
static inline int rank_next_of(int said, int rows)
{
    return said != RANK_NEXT_AUTO ? said : rows > RANK_NEXT_ROWS ? 0 : RANK_NEXT_DEFAULT;
}

struct rank_next {
    const struct model *model;
    struct model_workspace *workspace;
    const struct item_tables *tables;
    int trained_rows; /* as a ranker's */
};
/**
 * The items of the best next-item scores after the one history of the batch, best first: rank()'s,
 * and those of the lists that retrain makes. What the user has is among them. Of wanted and
 * history_count together, at most MODEL_NEXT_TOP_MAX, those that have a row of their own.
 * Shapes: indices, scores (MODEL_NEXT_TOP_MAX); scores are scratch.
 * Errors: as model_next_top()
 */
MUST_CHECK enum status rank_next_items(const struct rank_next *next, const struct batch *batch,
                                       int wanted, int history_count, int32_t *indices,
                                       float *scores, int *count, struct error *err);

struct rank_request {
    struct rank_floor floor;
    int recall_next;                  /* RANK_NEXT_AUTO..RANK_NEXT_MAX */
    const struct user_entry *history; /* oldest first */
    int history_count;
    uint32_t running;
    bool history_known; /* false: it could not be read (DEGRADED_NO_HISTORY) */
    int64_t now_ms;
    const uint8_t *context;    /* (BATCH_CONTEXTS) codes (schemas/context.h), or NULL */
    const int32_t *candidates; /* (n) indices; NULL: recall finds them */
    int candidates_count;
    int k;
    bool keep_seen;
    bool baseline; /* the popularity arm: no model */
};

struct ranked {
    int32_t candidate; /* position among the request's candidates; recall: ITEM_NONE */
    int32_t index;     /* of the tables, or ITEM_NONE */
    float score;
    const int64_t *raw; /* (RAW_COLUMNS) as used; valid until the scratch's next call */
};

/**
 * Fills ranked[0..k) best first and returns their number in *count. Items whose newest action by
 * this user is negative, and items that are gone, are left out; ties keep the given order.
 * An unknown candidate scores as the shared unknown row; without a model it keeps its place
 * behind the known ones. The floor changes places, never a score.
 * Errors: ERR_LIMIT (too many candidates), ERR_NOMEM, ERR_DEVICE
 */
MUST_CHECK enum status rank(const struct ranker *ranker, struct rank_scratch *scratch,
                            const struct rank_request *request, struct ranked *ranked, int *count,
                            enum degraded *degraded, struct error *err);

/* What a score was made of: what it would lose without one thing. The model's head multiplies its
 * inputs, so its parts are differences to the score without the user's history, and without the
 * item's counts; they do not add up to it. Without a model the score is the sum of its parts. */
#define RANK_PARTS 2
struct rank_explanation {
    const char *names[RANK_PARTS];
    float *scalars; /* (count, scalars_count) in the order of scalar_rows */
    float *parts;   /* (count, RANK_PARTS) */
};
/**
 * Explains what rank() has just given with this scratch and request. The arrays are the scratch's,
 * until its next call. count 0, and a ranker without tables, give none: scalars is NULL.
 * Errors: ERR_NOMEM, ERR_DEVICE
 */
MUST_CHECK enum status rank_explain(const struct ranker *ranker, struct rank_scratch *scratch,
                                    const struct rank_request *request, const struct ranked *ranked,
                                    int count, struct rank_explanation *explanation,
                                    struct error *err);

/* Scores only, in the order given (evaluation, golden requests). */
MUST_CHECK enum status rank_scores(const struct ranker *ranker, struct rank_scratch *scratch,
                                   const struct rank_request *request, float *scores,
                                   struct error *err);

#endif
