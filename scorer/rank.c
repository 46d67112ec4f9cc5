/*
 * scorer/rank.c - the engine: candidates -> raw counts -> batch -> model -> order.
 *
 * Reads top down: scratch, which candidates take part, their scores, their order. Nothing here
 * allocates once the scratch has seen its largest request.
 */
#include "scorer/rank.h"

#include "features/batch_builder.h"
#include "features/scalars.h"
#include "kernels/top_key.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The model scores a long list in pieces: candidates do not see each other, so pieces change no
 * bit. */
#define PIECE    BATCH_LIST_MAX
#define PREFETCH 8 /* items ahead: about the time of a cache miss */
/* Each source of recall brings as many, before what the user has seen is taken out. */
#define RECALL_EACH 300
/* New items that recall brings for the floor, and how many of the newest it looks at. */
#define RECALL_NEW      64
#define RECALL_NEW_LOOK 4096
#define RECALL_MAX      (2 * RECALL_EACH + RANK_NEXT_MAX + RECALL_NEW)
/* Places where a recalled item is noted, by a hash of its index: at most half full. */
#define ONCE_SLOTS 4096
/* Weight of popularity beside co-visitation where no model is at hand: the baseline "covisitation"
 * that reports show beside the model (data rules: both divided by their maximum). */
#define BASELINE_POPULARITY 0.3f

struct rank_scratch {
    struct item_scratch *items;
    struct batch_builder *builder;
    int builder_history_max;
    int builder_rows_max;
    struct model_workspace *workspace;
    int32_t popular[RECALL_EACH], related[RECALL_EACH]; /* sources, before they are one list */
    int32_t next[MODEL_NEXT_TOP_MAX];                   /* rows, then indices */
    float next_scores[MODEL_NEXT_TOP_MAX];
    int32_t once[ONCE_SLOTS];        /* indices + 1; 0: nobody */
    uint64_t negative[SEQUENCE_MAX]; /* items whose newest action by this user is negative */
    int negative_count;
    int capacity; /* of the arrays below */
    int32_t *indices;
    int32_t *given_at; /* position among the request's candidates; ITEM_NONE: recalled */
    int64_t *raw;      /* (capacity, RAW_COLUMNS) */
    float *scores;
    uint64_t *order; /* keys of places in the arrays above, best first once they are sorted */
    double covis_max, popularity_max; /* of the last score_by_counts() */
    /* Of rank_explain(), made by its first call: (RERANK_K_MAX) rows each. */
    int32_t *explained_indices;
    int64_t *explained_raw;
    float *explained_scalars, *explained_parts, *explained_scores;
};

enum status rank_scratch_create(struct rank_scratch **scratch, struct error *err)
{
    struct rank_scratch *made = calloc(1, sizeof *made);

    *scratch = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the ranker's scratch");
    made->items = item_scratch_create();
    made->workspace = model_workspace_create();
    if (made->items == NULL || made->workspace == NULL) {
        rank_scratch_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory for the ranker's scratch");
    }
    *scratch = made;
    return OK;
}

void rank_scratch_destroy(struct rank_scratch *scratch)
{
    if (scratch == NULL)
        return;
    item_scratch_destroy(scratch->items);
    batch_builder_destroy(scratch->builder);
    model_workspace_destroy(scratch->workspace);
    free(scratch->indices);
    free(scratch->given_at);
    free(scratch->raw);
    free(scratch->scores);
    free(scratch->order);
    free(scratch->explained_indices);
    free(scratch->explained_raw);
    free(scratch->explained_scalars);
    free(scratch->explained_parts);
    free(scratch->explained_scores);
    free(scratch);
}

/* Makes room for n candidates. What was there is lost, which suits a scratch. */
static enum status reserve(struct rank_scratch *s, int n, struct error *err)
{
    if (n <= s->capacity)
        return OK;
    free(s->indices);
    free(s->given_at);
    free(s->raw);
    free(s->scores);
    free(s->order);
    s->capacity = 0;
    s->indices = malloc((size_t)n * sizeof *s->indices);
    s->given_at = malloc((size_t)n * sizeof *s->given_at);
    s->raw = malloc((size_t)n * RAW_COLUMNS * sizeof *s->raw);
    s->scores = malloc((size_t)n * sizeof *s->scores);
    s->order = malloc((size_t)n * sizeof *s->order);
    if (s->indices == NULL || s->given_at == NULL || s->raw == NULL || s->scores == NULL ||
        s->order == NULL)
        return error_set(err, ERR_NOMEM, "no memory to rank %d candidates", n);
    s->capacity = n;
    return OK;
}

/* ---- which candidates take part ---- */

static bool among(const uint64_t *items, int count, uint64_t item)
{
    for (int i = 0; i < count; i++)
        if (items[i] == item)
            return true;
    return false;
}

/* Walks from the newest entry, so an item's first mention is its newest action. */
static void find_negative(const struct ranker *ranker, struct rank_scratch *s,
                          const struct rank_request *request)
{
    bool any = false;

    s->negative_count = 0;
    if (ranker->actions == NULL)
        return;
    for (int i = 0; i < request->history_count && !any; i++)
        any = ranker->actions[request->history[i].action % ACTIONS_MAX].negative;
    if (!any)
        return; /* almost every user: nothing to compare below */
    for (int i = request->history_count - 1; i >= 0; i--) {
        uint64_t item = request->history[i].item;
        bool newer = false;

        for (int j = i + 1; j < request->history_count && !newer; j++)
            newer = request->history[j].item == item;
        if (!newer && ranker->actions[request->history[i].action % ACTIONS_MAX].negative &&
            s->negative_count < SEQUENCE_MAX)
            s->negative[s->negative_count++] = item;
    }
}

static bool seen(const struct rank_request *request, uint64_t item)
{
    for (int i = 0; i < request->history_count; i++)
        if (request->history[i].item == item)
            return true;
    return false;
}

static bool takes_part(const struct ranker *ranker, const struct rank_scratch *s,
                       const struct rank_request *request, int32_t index)
{
    uint64_t item;

    if (index == ITEM_NONE)
        return true;
    if (item_tables_gone(ranker->tables, index))
        return false;
    item = item_tables_hash(ranker->tables, index);
    return !among(s->negative, s->negative_count, item) &&
           (request->keep_seen || !seen(request, item));
}

static bool is_new(const struct item_tables *tables, const struct rank_floor *floor, int32_t index)
{
    return index != ITEM_NONE &&
           item_tables_clicks(tables, index) + item_tables_shown(tables, index) < floor->until;
}

/* The newest items that a model can say something of: indices are in the order they came. */
static int recall_new(const struct item_tables *tables, const struct rank_floor *floor,
                      int32_t *into)
{
    int32_t last = item_tables_count(tables);
    int32_t first = last > RECALL_NEW_LOOK ? last - RECALL_NEW_LOOK : 0;
    int count = 0;

    for (int32_t i = last - 1; floor->share > 0 && i >= first && count < RECALL_NEW; i--)
        if (is_new(tables, floor, i) && item_tables_row(tables, i) != 0 &&
            !item_tables_gone(tables, i))
            into[count++] = i;
    return count;
}

/* Appends an item unless it was before; returns how many there are then. */
static int join(struct rank_scratch *s, int32_t *into, int count, int32_t index)
{
    uint32_t at = (uint32_t)index * 2654435761u >> 20;

    _Static_assert(ONCE_SLOTS == 1 << 12 && 2 * RECALL_MAX <= ONCE_SLOTS, "a slot is 12 bits");
    while (s->once[at] != 0 && s->once[at] != index + 1)
        at = (at + 1) % ONCE_SLOTS;
    if (s->once[at] != 0)
        return count;
    s->once[at] = index + 1;
    into[count] = index;
    return count + 1;
}

/* One of each source in turn, so that none is behind all of another; no item twice. */
static int recall(const struct ranker *ranker, struct rank_scratch *s,
                  const struct item_query *query, int next_count, int32_t *into)
{
    int popular_count = item_tables_popular(ranker->tables, s->items, query, RECALL_EACH,
                                            s->popular);
    int related_count = item_tables_related(ranker->tables, s->items, query, RECALL_EACH,
                                            s->related);
    int count = 0;

    memset(s->once, 0, sizeof s->once);
    for (int i = 0; i < related_count; i++)
        (void)join(s, into, 0, s->related[i]); /* noted: they have places of their own */
    for (int i = 0; i < RECALL_EACH || i < next_count; i++) {
        if (i < related_count)
            into[count++] = s->related[i];
        if (i < popular_count)
            count = join(s, into, count, s->popular[i]);
        if (i < next_count)
            count = join(s, into, count, s->next[i]);
    }
    return count;
}

/* Fills indices with those that take part; returns their number. */
static int select_candidates(const struct ranker *ranker, struct rank_scratch *s,
                             const struct rank_request *request, const int32_t *given,
                             int given_count)
{
    int count = 0;

    find_negative(ranker, s, request);
    for (int i = 0; i < given_count; i++) {
        if (i + PREFETCH < given_count && given[i + PREFETCH] != ITEM_NONE)
            item_tables_prefetch(ranker->tables, given[i + PREFETCH]);
        if (!takes_part(ranker, s, request, given[i]))
            continue;
        s->given_at[count] = request->candidates == NULL ? ITEM_NONE : i;
        s->indices[count++] = given[i];
    }
    return count;
}

/* ---- their scores ---- */

static enum status ready_builder(const struct model *model, struct rank_scratch *s,
                                 struct error *err)
{
    struct batch_builder_options options = {.history_max = model_history_max(model),
                                            .rows_max = model_config(model)->V};

    if (s->builder != NULL && s->builder_history_max == options.history_max &&
        s->builder_rows_max == options.rows_max)
        return OK;
    batch_builder_destroy(s->builder);
    s->builder = NULL;
    s->builder_history_max = options.history_max;
    s->builder_rows_max = options.rows_max;
    return batch_builder_create(&s->builder, &options, err);
}

/* rows.candidates_count scores, piece by piece. */
static enum status score_rows(const struct ranker *ranker, struct rank_scratch *s,
                              struct batch_request rows, float *scores, struct error *err)
{
    enum status status = ready_builder(ranker->model, s, err);
    int count = rows.candidates_count;

    for (int at = 0; at < count && status == OK; at += PIECE) {
        struct batch_request piece = rows;

        piece.candidates = rows.candidates + at;
        piece.raw = rows.raw == NULL ? NULL : rows.raw + (ptrdiff_t)at * RAW_COLUMNS;
        piece.candidates_count = count - at < PIECE ? count - at : PIECE;
        batch_builder_reset(s->builder);
        status = batch_builder_add(s->builder, ranker->tables, &piece, err);
        if (status == OK)
            status = model_score_cached(ranker->model, s->workspace, ranker->histories,
                                        batch_builder_batch(s->builder), scores + at, err);
    }
    return status;
}

static struct batch_request rows_of(const struct rank_request *request, const int32_t *indices,
                                    const int64_t *raw, int count)
{
    return (struct batch_request){.history = request->history,
                                  .history_count = request->history_count,
                                  .running = request->running,
                                  .request_time_ms = request->now_ms,
                                  .context = request->context,
                                  .candidates = indices,
                                  .raw = raw,
                                  .candidates_count = count};
}

static double covisitation_of(const int64_t *raw)
{
    return (double)raw[RAW_COVIS] / sqrt(1.0 + (double)raw[RAW_CLICKS]);
}

/* The two parts of a score without a model, as score_by_counts() adds them. */
static void count_parts(const struct rank_scratch *s, const int64_t *raw, double parts[RANK_PARTS])
{
    parts[0] = s->covis_max > 0 ? covisitation_of(raw) / s->covis_max : 0;
    parts[1] = s->popularity_max > 0
                   ? (double)BASELINE_POPULARITY * (double)raw[RAW_POP_7D] / s->popularity_max
                   : 0;
}

/* Co-visitation over the root of popularity, and 7-day popularity, each divided by its maximum. */
static void score_by_counts(struct rank_scratch *s, int count)
{
    s->covis_max = s->popularity_max = 0;
    for (int i = 0; i < count; i++) {
        const int64_t *raw = s->raw + (ptrdiff_t)i * RAW_COLUMNS;

        s->covis_max = fmax(s->covis_max, covisitation_of(raw));
        s->popularity_max = fmax(s->popularity_max, (double)raw[RAW_POP_7D]);
    }
    for (int i = 0; i < count; i++) {
        double parts[RANK_PARTS];

        count_parts(s, s->raw + (ptrdiff_t)i * RAW_COLUMNS, parts);
        s->scores[i] = (float)(parts[0] + parts[1]);
    }
}

/* ---- the whole ---- */

static bool uses_model(const struct ranker *ranker, const struct rank_request *request)
{
    return ranker->model != NULL && !request->baseline;
}

/* How many items the model's next-item scores are asked for. */
static int next_wanted(const struct ranker *ranker, const struct rank_request *request)
{
    assert(request->recall_next >= RANK_NEXT_AUTO && request->recall_next <= RANK_NEXT_MAX);
    if (!uses_model(ranker, request) || request->history_count == 0)
        return 0;
    return rank_next_of(request->recall_next, item_tables_rows(ranker->tables));
}

enum status rank_next_items(const struct rank_next *next, const struct batch *batch, int wanted,
                            int history_count, int32_t *indices, float *scores, int *count,
                            struct error *err)
{
    int rows = item_tables_rows(next->tables), V = model_config(next->model)->V;
    int asked = wanted + history_count; /* what the user has is among the best */
    enum status status;

    asked = asked > MODEL_NEXT_TOP_MAX ? MODEL_NEXT_TOP_MAX : asked;
    /* Rows behind are nobody's, or a new item's that no training has seen: the unknown's noise. */
    rows = rows < V ? rows : V;
    if (next->trained_rows > 0 && next->trained_rows < rows)
        rows = next->trained_rows;
    *count = 0;
    status = model_next_top(next->model, next->workspace, batch, rows, asked, indices, scores, err);
    for (int i = 0; status == OK && i < asked; i++) {
        int32_t row = indices[i], index = item_tables_at_row(next->tables, row);

        if (index != ITEM_NONE && item_tables_row(next->tables, index) == row)
            indices[(*count)++] = index;
    }
    return status;
}

/* Those that take part, into next. */
static enum status recall_next(const struct ranker *ranker, struct rank_scratch *s,
                               const struct rank_request *request, int *count, struct error *err)
{
    int wanted = next_wanted(ranker, request), found;
    struct rank_next next = {
        .model = ranker->model, .tables = ranker->tables, .trained_rows = ranker->trained_rows};
    enum status status;

    *count = 0;
    if (wanted == 0)
        return OK;
    status = ready_builder(ranker->model, s, err);
    if (status != OK)
        return status;
    next.workspace = s->workspace;
    struct batch_request history = rows_of(request, NULL, NULL, 0);
    batch_builder_reset(s->builder);
    status = batch_builder_add(s->builder, ranker->tables, &history, err);
    if (status == OK)
        status = rank_next_items(&next, batch_builder_batch(s->builder), wanted,
                                 request->history_count, s->next, s->next_scores, &found, err);
    if (status != OK)
        return status;
    find_negative(ranker, s, request);
    for (int i = 0; i < found && *count < wanted; i++)
        if (takes_part(ranker, s, request, s->next[i]))
            s->next[(*count)++] = s->next[i];
    return OK;
}

/* All sources of recall as one list. */
static enum status recall_all(const struct ranker *ranker, struct rank_scratch *s,
                              const struct rank_request *request, const struct item_query *query,
                              int32_t *into, int *count, struct error *err)
{
    int32_t fresh[RECALL_NEW];
    int fresh_count = recall_new(ranker->tables, &request->floor, fresh), next_count;
    enum status status = recall_next(ranker, s, request, &next_count, err);

    if (status != OK)
        return status;
    *count = recall(ranker, s, query, next_count, into);
    for (int i = 0; i < fresh_count; i++)
        *count = join(s, into, *count, fresh[i]);
    return OK;
}

/* Selects, counts and scores; *count candidates are then in the scratch. */
static enum status prepare(const struct ranker *ranker, struct rank_scratch *s,
                           const struct rank_request *request, int *count, struct error *err)
{
    struct item_query query = {
        .now_ms = request->now_ms,
        .history = request->history,
        .history_count = request->history_count,
    };
    int32_t recalled[RECALL_MAX];
    const int32_t *given = request->candidates;
    int given_count = request->candidates_count;
    enum status status;

    if (given_count > RERANK_CANDIDATES_MAX)
        return error_set(err, ERR_LIMIT, "%d candidates, at most %d", given_count,
                         RERANK_CANDIDATES_MAX);
    if (given == NULL) {
        status = recall_all(ranker, s, request, &query, recalled, &given_count, err);
        if (status != OK)
            return status;
        given = recalled;
    }
    status = reserve(s, given_count, err);
    if (status != OK)
        return status;
    *count = select_candidates(ranker, s, request, given, given_count);
    status = item_tables_raw(ranker->tables, s->items, &query, s->indices, *count, s->raw, err);
    if (status != OK)
        return status;
    if (uses_model(ranker, request))
        return score_rows(ranker, s, rows_of(request, s->indices, s->raw, *count), s->scores, err);
    score_by_counts(s, *count);
    return OK;
}

/* An item nobody has ever seen stays behind all known ones: its score is that of the shared unknown
 * row and says nothing about it. Ties keep the given order. A score that is no number is the worst.
 */
static uint64_t order_key(const struct rank_scratch *s, int32_t at)
{
    if (s->indices[at] == ITEM_NONE)
        return top_key_last(at);
    return top_key(isnan(s->scores[at]) ? -INFINITY : s->scores[at], at);
}

static bool is_new_key(const struct ranker *ranker, const struct rank_scratch *s,
                       const struct rank_floor *floor, uint64_t key)
{
    return is_new(ranker->tables, floor, s->indices[top_key_row(key)]);
}

/* New items into the last of the k best places, which are sorted; the rest are in any order. */
static void keep_floor(const struct ranker *ranker, const struct rank_scratch *s,
                       const struct rank_floor *floor, int n, int k)
{
    uint64_t *order = s->order;
    int wanted = (int)(floor->share * k), last = k;

    for (int i = 0; i < k; i++)
        wanted -= is_new_key(ranker, s, floor, order[i]);
    for (; wanted > 0; wanted--) {
        int best = -1, out = last - 1;
        uint64_t moved;

        for (int i = k; i < n; i++)
            if (is_new_key(ranker, s, floor, order[i]) && (best < 0 || order[i] < order[best]))
                best = i;
        while (out >= 0 && is_new_key(ranker, s, floor, order[out]))
            out--;
        if (best < 0 || out < 0)
            break;
        moved = order[out];
        order[out] = order[best];
        order[best] = moved;
        last = out;
    }
    top_key_sort(order, k);
}

static enum degraded how_degraded(const struct ranker *ranker, const struct rank_request *request)
{
    if (ranker->tables == NULL)
        return DEGRADED_AS_GIVEN;
    if (!uses_model(ranker, request))
        return request->baseline ? DEGRADED_NONE : DEGRADED_POPULARITY;
    return request->history_known ? DEGRADED_NONE : DEGRADED_NO_HISTORY;
}

/* Without tables nothing is known of any item: the list comes back as it was given. */
static int rank_as_given(const struct rank_request *request, struct ranked *ranked)
{
    static const int64_t nothing[RAW_COLUMNS];
    int count = request->candidates == NULL ? 0 : request->candidates_count;

    if (count > request->k)
        count = request->k;
    for (int i = 0; i < count; i++)
        ranked[i] = (struct ranked){.candidate = i, .index = ITEM_NONE, .raw = nothing};
    return count;
}

enum status rank(const struct ranker *ranker, struct rank_scratch *scratch,
                 const struct rank_request *request, struct ranked *ranked, int *count,
                 enum degraded *degraded, struct error *err)
{
    enum status status;
    int n = 0;

    assert(request->k >= 0);
    *count = 0;
    *degraded = how_degraded(ranker, request);
    if (ranker->tables == NULL) {
        *count = rank_as_given(request, ranked);
        return OK;
    }
    status = prepare(ranker, scratch, request, &n, err);
    if (status != OK)
        return status;
    for (int i = 0; i < n; i++)
        scratch->order[i] = order_key(scratch, i);
    *count = n < request->k ? n : request->k;
    if (*count < n) /* few are asked for, and sorting all takes several times as long */
        top_key_select(scratch->order, n, *count);
    top_key_sort(scratch->order, *count);
    if (request->floor.share > 0)
        keep_floor(ranker, scratch, &request->floor, n, *count);
    for (int i = 0; i < *count; i++) {
        int32_t at = top_key_row(scratch->order[i]);

        ranked[i] = (struct ranked){
            .candidate = scratch->given_at[at],
            .index = scratch->indices[at],
            .score = scratch->scores[at],
            .raw = scratch->raw + (ptrdiff_t)at * RAW_COLUMNS,
        };
    }
    return OK;
}

/* ---- why ---- */

static enum status reserve_explained(struct rank_scratch *s, struct error *err)
{
    size_t k = RERANK_K_MAX;

    if (s->explained_scores != NULL)
        return OK;
    free(s->explained_indices);
    free(s->explained_raw);
    free(s->explained_scalars);
    free(s->explained_parts);
    s->explained_indices = malloc(k * sizeof *s->explained_indices);
    s->explained_raw = malloc(k * RAW_COLUMNS * sizeof *s->explained_raw);
    s->explained_scalars = malloc(k * (size_t)scalars_count * sizeof *s->explained_scalars);
    s->explained_parts = malloc(k * RANK_PARTS * sizeof *s->explained_parts);
    if (s->explained_indices != NULL && s->explained_raw != NULL && s->explained_scalars != NULL &&
        s->explained_parts != NULL)
        s->explained_scores = malloc(k * sizeof *s->explained_scores);
    if (s->explained_scores == NULL)
        return error_set(err, ERR_NOMEM, "no memory to explain %d rows", RERANK_K_MAX);
    return OK;
}

/* The rows once more without the history, and without their counts. */
static enum status leave_out(const struct ranker *ranker, struct rank_scratch *s,
                             const struct rank_request *request, const struct ranked *ranked,
                             int count, struct error *err)
{
    for (int part = 0; part < RANK_PARTS; part++) {
        struct batch_request rows = rows_of(request, s->explained_indices, s->explained_raw, count);
        enum status status;

        if (part == 0) {
            rows.history_count = 0;
            rows.running = 0;
        } else {
            rows.raw = NULL;
        }
        status = score_rows(ranker, s, rows, s->explained_scores, err);
        if (status != OK)
            return status;
        for (int i = 0; i < count; i++)
            s->explained_parts[i * RANK_PARTS + part] = ranked[i].score - s->explained_scores[i];
    }
    return OK;
}

enum status rank_explain(const struct ranker *ranker, struct rank_scratch *scratch,
                         const struct rank_request *request, const struct ranked *ranked, int count,
                         struct rank_explanation *explanation, struct error *err)
{
    struct rank_scratch *s = scratch;
    bool model = uses_model(ranker, request);
    enum status status;

    assert(count >= 0 && count <= RERANK_K_MAX);
    *explanation = (struct rank_explanation){
        .names = {model ? "history" : "covisitation", model ? "counts" : "popularity"}};
    if (count == 0 || ranker->tables == NULL)
        return OK;
    status = reserve_explained(s, err);
    if (status != OK)
        return status;
    for (int i = 0; i < count; i++) {
        s->explained_indices[i] = ranked[i].index;
        memcpy(s->explained_raw + (ptrdiff_t)i * RAW_COLUMNS, ranked[i].raw,
               RAW_COLUMNS * sizeof *s->explained_raw);
    }
    scalars_compute(s->explained_scalars, s->explained_raw, count);
    if (model)
        status = leave_out(ranker, s, request, ranked, count, err);
    for (int i = 0; i < count && !model; i++) {
        double parts[RANK_PARTS];

        count_parts(s, ranked[i].raw, parts);
        for (int part = 0; part < RANK_PARTS; part++)
            s->explained_parts[i * RANK_PARTS + part] = (float)parts[part];
    }
    explanation->scalars = s->explained_scalars;
    explanation->parts = s->explained_parts;
    return status;
}

enum status rank_scores(const struct ranker *ranker, struct rank_scratch *scratch,
                        const struct rank_request *request, float *scores, struct error *err)
{
    enum status status;
    int n = 0;

    assert(ranker->tables != NULL && request->candidates != NULL);
    for (int i = 0; i < request->candidates_count; i++)
        scores[i] = -INFINITY; /* what takes no part */
    status = prepare(ranker, scratch, request, &n, err);
    if (status != OK)
        return status;
    for (int i = 0; i < n; i++)
        scores[scratch->given_at[i]] = scratch->scores[i];
    return OK;
}
