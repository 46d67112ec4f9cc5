/*
 * schemas/rerank.h - POST /v1/rerank and /v1/recommend: request and answer.
 *
 *     {"request_id":"r9","user":"u1","candidates":["i7","i3"],"k":20,"seen":"keep",
 *      "explain":false,"deadline_ms":50,"context":{...}}
 *  -> {"request_id":"r9","model_version":"v3+17","arm":"model","degraded":"none","cold":false,
 *      "trace":"...","items":[{"item":"i7","score":1.25}, ...]}
 *
 * With "explain": true each item also has "scalars", an object of the numbers that the model was
 * given, and "parts", an object of what made the score (scorer/rank.h).
 *
 * Only `user` must be there, and for rerank `candidates`, which may be empty. recommend refuses
 * candidates: recall finds them. Ids are texts, or integers, which count as their decimal text
 * (as in events). `seen` is "keep" or "drop"; without it rerank keeps and recommend drops the items
 * of the user's sequence. `context` is an object of texts and integers, of which those are read
 * that rerank_parser_contexts() names; unknown members are ignored; null counts as absent.
 *
 * Bounds: body RERANK_BYTES_MAX, candidates 0..RERANK_CANDIDATES_MAX, k 1..RERANK_K_MAX (above:
 * ERR_LIMIT -> 413), deadline 0..RERANK_DEADLINE_MAX_MS. Duplicates are handed on: whoever ranks
 * keeps a duplicate's first place.
 */
#ifndef SCHEMAS_RERANK_H
#define SCHEMAS_RERANK_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/context.h"
#include "schemas/event.h"
#include "schemas/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RERANK_CANDIDATES_MAX  10000
#define RERANK_K_MAX           EVENT_ROWS_MAX
#define RERANK_K_DEFAULT       20
#define RERANK_BYTES_MAX       (4 * 1024 * 1024)
#define RERANK_DEADLINE_MAX_MS 60000

/* How much of the full answer this one is. Order matters: worse comes later. */
/* clang-format off */
#define DEGRADED_LIST(X)                                                          \
    X(NONE,       "none",       "model, fresh sequence")                          \
    X(CACHED,     "cached",     "model, user's sequence from the local cache")    \
    X(NO_HISTORY, "no_history", "model, sequence could not be read")              \
    X(POPULARITY, "popularity", "no model: co-visitation and popularity")         \
    X(AS_GIVEN,   "as_given",   "no tables: the order of the candidates")
enum degraded {
#define X(id, name, help) DEGRADED_##id,
    DEGRADED_LIST(X)
#undef X
    DEGRADED_COUNT
};
/* clang-format on */
extern const char *const degraded_names[DEGRADED_COUNT];

struct rerank_request {
    struct text request_id; /* empty: the server draws one */
    struct text user;
    const struct text *candidates; /* (candidates_count) */
    int candidates_count;
    int k;
    bool keep_seen;                  /* false: items in the user's sequence are left out */
    bool explain;                    /* adds scalars and parts of each row to the answer */
    int64_t deadline_ms;             /* budget from arrival; 0: the server's default */
    uint8_t context[BATCH_CONTEXTS]; /* codes (schemas/context.h); 0: not said */
};

struct rerank_parser; /* scratch of one thread */
MUST_CHECK enum status rerank_parser_create(struct rerank_parser **parser, struct error *err);
void rerank_parser_destroy(struct rerank_parser *parser);
/* From here on these members of `context` are read. Errors: ERR_NOMEM */
MUST_CHECK enum status rerank_parser_contexts(struct rerank_parser *parser,
                                              const struct context_names *names, struct error *err);
/* Texts live until the parser's next call. recommend: candidates are refused.
 * Errors: ERR_MALFORMED, ERR_LIMIT (too many candidates, k or body too large), ERR_NOMEM */
MUST_CHECK enum status rerank_parse(struct rerank_parser *parser, struct text body, bool recommend,
                                    struct rerank_request *request, struct error *err);

struct ranked_item {
    struct text item;
    float score; /* null in the answer when it is not finite */
};

/* Names, and a row of numbers for each item: (items_count, count). */
struct rerank_columns {
    const char *const *names; /* (count) */
    int count;
    const float *values;
};

struct rerank_answer {
    struct text request_id;
    const char *model_version; /* "" without a bundle */
    const char *arm;           /* "model", "popularity" */
    enum degraded degraded;
    struct text trace; /* empty: none */
    const struct ranked_item *items;
    int items_count;
    bool cold;                            /* the user has no sequence */
    struct rerank_columns scalars, parts; /* where explained; count 0: none. Not parsed. */
};
/* Returns the bytes of the JSON, or 0 when it does not fit. */
size_t rerank_answer_encode(const struct rerank_answer *answer, char *into, size_t bytes);
/* For clients of ours (demo, simulate, tests): into arrays of the parser, until its next call. A
 * score that is null is NAN.
 * Errors: ERR_MALFORMED, ERR_LIMIT, ERR_NOMEM */
MUST_CHECK enum status rerank_answer_parse(struct rerank_parser *parser, struct text body,
                                           struct rerank_answer *answer, struct error *err);

#endif
