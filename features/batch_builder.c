/*
 * features/batch_builder.c - arrays that grow to the largest batch so far and are used again.
 */
#include "features/batch_builder.h"

#include "features/scalars.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct batch_builder {
    struct batch_builder_options options;
    struct batch batch; /* what is handed out; points into the arrays below */
    int32_t B, T, N;
    int32_t B_room, T_room, N_room;
    bool contexts;        /* a request of this batch has said some */
    bool labelled, nexts; /* a request of this batch has brought them */

    int32_t *history_start;   /* (B + 1) */
    int64_t *request_time_ms; /* (B) */
    int32_t *context;         /* (B, BATCH_CONTEXTS) */
    int32_t *candidate_start; /* (B + 1) */
    int32_t *item;            /* (T) */
    int32_t *action;          /* (T) */
    int64_t *time_ms;         /* (T) */
    int32_t *next_item;       /* (T) */
    int32_t *candidate_item;  /* (N) */
    float *scalars;           /* (N, scalars_count) */
    float *label;             /* (N) */
    float *weight;            /* (N) */
    int32_t *position;        /* (N) */
};

enum status batch_builder_create(struct batch_builder **builder,
                                 const struct batch_builder_options *options, struct error *err)
{
    struct batch_builder *made;

    assert(scalars_count <= BATCH_SCALARS_MAX);
    *builder = NULL;
    if (options->history_max < 1 || options->history_max > BATCH_HISTORY_MAX ||
        options->rows_max < 1)
        return error_set(err, ERR_LIMIT, "batches of histories of %d over %d item rows",
                         options->history_max, options->rows_max);
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a batch builder");
    made->options = *options;
    *builder = made;
    return OK;
}

void batch_builder_destroy(struct batch_builder *builder)
{
    if (builder == NULL)
        return;
    free(builder->history_start);
    free(builder->request_time_ms);
    free(builder->context);
    free(builder->candidate_start);
    free(builder->item);
    free(builder->action);
    free(builder->time_ms);
    free(builder->next_item);
    free(builder->candidate_item);
    free(builder->scalars);
    free(builder->label);
    free(builder->weight);
    free(builder->position);
    free(builder);
}

void batch_builder_reset(struct batch_builder *builder)
{
    builder->B = builder->T = builder->N = 0;
    builder->labelled = builder->nexts = builder->contexts = false;
}

int batch_window_first(uint32_t running, int count, int history_max)
{
    uint32_t step = BATCH_WINDOW_STEP;
    uint32_t oldest = running - (uint32_t)count; /* number of the oldest entry, modulo 2^32 */
    int first;

    assert(count >= 0 && history_max >= 1);
    while (step > 1 && (int)step > history_max / 2)
        step /= 2;
    if (count < 2 * (int)step && count <= history_max)
        return 0; /* nothing slides, or, after an erasure, there is too little to lose any of it */
    first = (int)((step - oldest % step) % step);
    if (count - first > history_max)
        first += (count - first - history_max + (int)step - 1) / (int)step * (int)step;
    return first < count ? first : count;
}

/* ---- room ---- */

/* Grows one array; false: out of memory, and it is as before. */
static bool grow(void *array, size_t count, size_t bytes_each)
{
    void *old, *grown;

    memcpy(&old, array, sizeof old);
    grown = realloc(old, count * bytes_each);
    if (grown == NULL)
        return false;
    memcpy(array, &grown, sizeof grown);
    return true;
}

static int32_t larger(int32_t room, int32_t needed)
{
    int32_t wanted = room == 0 ? 64 : room;

    while (wanted < needed)
        wanted *= 2; /* needed is at most 2^20 */
    return wanted;
}

static bool make_room(struct batch_builder *b, int32_t B, int32_t T, int32_t N)
{
    if (B > b->B_room) {
        size_t room = (size_t)larger(b->B_room, B);
        if (!grow(&b->history_start, room + 1, sizeof *b->history_start) ||
            !grow(&b->candidate_start, room + 1, sizeof *b->candidate_start) ||
            !grow(&b->request_time_ms, room, sizeof *b->request_time_ms) ||
            !grow(&b->context, room * BATCH_CONTEXTS, sizeof *b->context))
            return false;
        b->B_room = (int32_t)room;
    }
    if (T > b->T_room) {
        size_t room = (size_t)larger(b->T_room, T);
        if (!grow(&b->item, room, sizeof *b->item) || !grow(&b->action, room, sizeof *b->action) ||
            !grow(&b->time_ms, room, sizeof *b->time_ms) ||
            !grow(&b->next_item, room, sizeof *b->next_item))
            return false;
        b->T_room = (int32_t)room;
    }
    if (N > b->N_room) {
        size_t room = (size_t)larger(b->N_room, N);
        if (!grow(&b->candidate_item, room, sizeof *b->candidate_item) ||
            !grow(&b->scalars, room, (size_t)scalars_count * sizeof *b->scalars) ||
            !grow(&b->label, room, sizeof *b->label) ||
            !grow(&b->weight, room, sizeof *b->weight) ||
            !grow(&b->position, room, sizeof *b->position))
            return false;
        b->N_room = (int32_t)room;
    }
    return true;
}

/* ---- one request ---- */

/* The model's row of an item: 0 when the tables or the model do not know it. */
static int32_t known_row(const struct batch_builder *b, int32_t row)
{
    return row > 0 && row < b->options.rows_max ? row : BATCH_ITEM_UNKNOWN;
}

static void put_history(struct batch_builder *b, const struct item_tables *tables,
                        const struct user_entry *history, int count, bool next_items)
{
    for (int i = 0; i < count; i++) {
        int32_t at = b->T + i;
        int32_t index = item_tables_find(tables, history[i].item);

        b->item[at] = known_row(b, item_tables_row(tables, index));
        b->action[at] = history[i].action;
        b->time_ms[at] = history[i].time_ms;
        b->next_item[at] = BATCH_ITEM_NONE;
        if (next_items && i > 0 && b->item[at] != BATCH_ITEM_UNKNOWN)
            b->next_item[at - 1] = b->item[at];
    }
}

static void put_candidates(struct batch_builder *b, const struct item_tables *tables,
                           const struct batch_request *request)
{
    int count = request->candidates_count;
    bool labelled = request->labels != NULL;

    for (int i = 0; i < count; i++) {
        int32_t at = b->N + i;

        b->candidate_item[at] = known_row(b, item_tables_row(tables, request->candidates[i]));
        b->label[at] = labelled ? request->labels[i] : 0;
        b->weight[at] = labelled ? 1 : 0;
        b->position[at] = request->positions == NULL ? 0 : request->positions[i];
    }
    if (request->raw != NULL)
        scalars_compute(b->scalars + (size_t)b->N * (size_t)scalars_count, request->raw, count);
    else if (count > 0)
        memset(b->scalars + (size_t)b->N * (size_t)scalars_count, 0,
               (size_t)count * (size_t)scalars_count * sizeof *b->scalars);
}

enum status batch_builder_add(struct batch_builder *builder, const struct item_tables *tables,
                              const struct batch_request *request, struct error *err)
{
    int count = request->history_count;
    uint32_t running = request->running;
    int first, used;

    while (count > 0 && request->history[count - 1].time_ms > request->request_time_ms) {
        count--;
        running--;
    }
    first = batch_window_first(running, count, builder->options.history_max);
    used = count - first;
    if (request->candidates_count < 0 || request->candidates_count > BATCH_LIST_MAX)
        return error_set(err, ERR_LIMIT, "a list of %d candidates, at most %d",
                         request->candidates_count, BATCH_LIST_MAX);
    if (builder->B >= BATCH_REQUESTS_MAX || builder->T > BATCH_TOKENS_MAX - used ||
        builder->N > BATCH_CANDIDATES_MAX - request->candidates_count)
        return error_set(err, ERR_LIMIT, "a batch of %d requests is full", builder->B);
    if (!make_room(builder, builder->B + 1, builder->T + used,
                   builder->N + request->candidates_count))
        return error_set(err, ERR_NOMEM, "no memory for a batch of %d requests", builder->B + 1);

    put_history(builder, tables, request->history + first, used, request->next_items);
    put_candidates(builder, tables, request);
    builder->history_start[builder->B] = builder->T;
    builder->candidate_start[builder->B] = builder->N;
    builder->request_time_ms[builder->B] = request->request_time_ms;
    for (int i = 0; i < BATCH_CONTEXTS; i++)
        builder->context[builder->B * BATCH_CONTEXTS + i] = request->context == NULL
                                                                ? 0
                                                                : request->context[i];
    builder->contexts |= request->context != NULL;
    builder->B++;
    builder->T += used;
    builder->N += request->candidates_count;
    builder->history_start[builder->B] = builder->T;
    builder->candidate_start[builder->B] = builder->N;
    builder->labelled |= request->labels != NULL;
    builder->nexts |= request->next_items;
    return OK;
}

const struct batch *batch_builder_batch(struct batch_builder *builder)
{
    static const int32_t no_requests[1] = {0};
    bool none = builder->B == 0;

    builder->batch = (struct batch){
        .B = builder->B,
        .T = builder->T,
        .N = builder->N,
        .F = scalars_count,
        .history_start = none ? no_requests : builder->history_start,
        .item = builder->item,
        .action = builder->action,
        .time_ms = builder->time_ms,
        .request_time_ms = builder->request_time_ms,
        .candidate_start = none ? no_requests : builder->candidate_start,
        .candidate_item = builder->candidate_item,
        .scalars = builder->scalars,
        .next_item = builder->nexts ? builder->next_item : NULL,
        .label = builder->labelled ? builder->label : NULL,
        .weight = builder->labelled ? builder->weight : NULL,
        .position = builder->labelled ? builder->position : NULL,
        .context = builder->contexts ? builder->context : NULL,
    };
    return &builder->batch;
}
