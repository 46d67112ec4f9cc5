/* retrain/evaluate.c - four rankings of each held-out choice. */
#include "retrain/evaluate.h"

#include "eval/ranking_metrics.h"
#include "features/scalars.h"
#include "ops/hash.h"
#include "ops/map64.h"
#include "scorer/rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct evaluator {
    struct evaluator_options options;
    struct map64 *list_of; /* of a choice, its number among the pool's fresh ones */
    struct {
        double trained, served, squares;
    } sums[BATCH_SCALARS_MAX];
    struct item_tables *tables;
    struct rank_scratch *scratch;
    struct item_scratch *items;
    struct ranked ranked[EVALUATE_K];
    int32_t popular[EVALUATE_K + SEQUENCE_MAX];
    int at, end; /* positions of the holdout */
    float *ndcg[EVALUATE_ARMS], *hits[EVALUATE_ARMS];
    float *rounded; /* NDCG */
    uint64_t *users;
    int64_t count;
    struct evaluation evaluation;
};

#define X(id, name) name,
const char *const evaluate_arm_names[EVALUATE_ARMS] = {EVALUATE_ARM_LIST(X)};
#undef X

static uint64_t choice_key(uint64_t user, int64_t time_ms)
{
    return hash64_mix(user, (uint64_t)time_ms);
}

static enum status find_lists(struct evaluator *e, struct error *err)
{
    const struct lists *pool = e->options.pool;
    int count = pool == NULL ? 0 : lists_fresh(pool);

    e->list_of = map64_create(0, (size_t)count + 1);
    if (e->list_of == NULL)
        return error_set(err, ERR_NOMEM, "no memory to find %d lists", count);
    for (int i = 0; i < count; i++) {
        const struct list *list = lists_fresh_at(pool, i);

        if (list->time_ms < e->options.window.from_ms || list->id != 0)
            continue;
        if (map64_put(e->list_of, choice_key(list->user, list->time_ms), (uint32_t)i) != OK)
            return error_set(err, ERR_NOMEM, "no memory to find %d lists", count);
    }
    return OK;
}

enum status evaluator_create(struct evaluator **evaluator, const struct evaluator_options *options,
                             struct error *err)
{
    struct evaluator *e = calloc(1, sizeof *e);
    enum status status = OK;
    size_t most;

    *evaluator = NULL;
    if (e == NULL)
        return error_set(err, ERR_NOMEM, "no memory to evaluate");
    e->options = *options;
    e->at = options->window.from;
    e->end = holdout_count(options->holdout);
    e->evaluation.has_champion = options->champion != NULL;
    e->evaluation.answers = options->window.answers;
    e->evaluation.from_ms = INT64_MAX;
    most = (size_t)(e->end - e->at) + 1;
    e->users = calloc(most, sizeof *e->users);
    e->rounded = calloc(most, sizeof *e->rounded);
    e->items = item_scratch_create();
    for (int arm = 0; arm < EVALUATE_ARMS; arm++) {
        e->ndcg[arm] = calloc(most, sizeof *e->ndcg[arm]);
        e->hits[arm] = calloc(most, sizeof *e->hits[arm]);
        if (e->ndcg[arm] == NULL || e->hits[arm] == NULL)
            status = ERR_NOMEM;
    }
    if (status != OK || e->users == NULL || e->rounded == NULL || e->items == NULL)
        status = error_set(err, ERR_NOMEM, "no memory to evaluate %zu events", most);
    if (status == OK)
        status = rank_scratch_create(&e->scratch, err);
    if (status == OK)
        status = find_lists(e, err);
    if (status == OK)
        status = holdout_tables(options->holdout, options->sequences, options->window.from,
                                &e->tables, err);
    if (status != OK) {
        evaluator_destroy(e);
        return status;
    }
    *evaluator = e;
    return OK;
}

void evaluator_destroy(struct evaluator *e)
{
    if (e == NULL)
        return;
    for (int arm = 0; arm < EVALUATE_ARMS; arm++) {
        free(e->ndcg[arm]);
        free(e->hits[arm]);
    }
    free(e->users);
    free(e->rounded);
    map64_destroy(e->list_of);
    item_scratch_destroy(e->items);
    rank_scratch_destroy(e->scratch);
    item_tables_destroy(e->tables);
    free(e);
}

static enum status place_by_rank(struct evaluator *e, const struct model *model,
                                 const struct rank_request *request, uint64_t target, double *place,
                                 struct error *err)
{
    struct ranker ranker = {
        .model = model, .tables = e->tables, .actions = e->options.rules->actions};
    enum degraded degraded;
    int count;
    enum status status = rank(&ranker, e->scratch, request, e->ranked, &count, &degraded, err);

    *place = RANKING_METRICS_MISS;
    for (int i = 0; status == OK && i < count; i++)
        if (item_tables_hash(e->tables, e->ranked[i].index) == target)
            *place = i;
    return status;
}

/* Popularity alone, without what the user has. */
static double place_by_popularity(struct evaluator *e, const struct sequences_view *before,
                                  int64_t now_ms, uint64_t target)
{
    struct item_query query = {
        .now_ms = now_ms, .history = before->entries, .history_count = before->count};
    int count = item_tables_popular(e->tables, e->items, &query, EVALUATE_K + before->count,
                                    e->popular);
    int place = 0;

    for (int i = 0; i < count; i++) {
        uint64_t item = item_tables_hash(e->tables, e->popular[i]);

        if (item == target)
            return place;
        place += !sequences_view_has(before, item);
    }
    return RANKING_METRICS_MISS;
}

/* Share of the other rows that the scalar puts below row 0. */
static double place_by_scalar(const float *scalars, int rows, int scalar)
{
    float own = scalars[scalar];
    double below = 0;

    for (int i = 1; i < rows; i++) {
        float other = scalars[i * scalars_count + scalar];

        below += other < own ? 1 : other == own ? .5 : 0;
    }
    return below / (rows - 1);
}

/* The list's rows in the tables of the walk. They have other indices there as soon as an item was
 * described between two that were seen. */
static bool find_rows(const struct evaluator *e, const struct list *list, int32_t *indices)
{
    for (int i = 0; i < list->rows_count; i++) {
        if (list->rows[i] < 0 || list->rows[i] >= item_tables_count(e->options.tables))
            return false;
        indices[i] = item_tables_find(e->tables,
                                      item_tables_hash(e->options.tables, list->rows[i]));
    }
    return true;
}

/* The choice's list as training will see it beside the same rows as serving sees them now. */
static enum status compare_scalars(struct evaluator *e, const struct holdout_event *event,
                                   const struct sequences_view *before, struct error *err)
{
    struct item_query query = {
        .now_ms = event->time_ms, .history = before->entries, .history_count = before->count};
    int32_t indices[LIST_ROWS_MAX];
    const struct list *list;
    enum status status = OK;
    int64_t *raw;
    float *scalars;
    uint32_t at;

    if (!map64_get(e->list_of, choice_key(event->user, event->time_ms), &at))
        return OK;
    list = lists_fresh_at(e->options.pool, (int)at);
    if (list->rows_count < 2 || !find_rows(e, list, indices) ||
        item_tables_hash(e->options.tables, list->rows[0]) != event->item)
        return OK;
    raw = malloc((size_t)list->rows_count * RAW_COLUMNS * sizeof *raw);
    scalars = malloc(2 * (size_t)list->rows_count * (size_t)scalars_count * sizeof *scalars);
    if (raw == NULL || scalars == NULL)
        status = error_set(err, ERR_NOMEM, "no memory to compare %d rows", list->rows_count);
    if (status == OK)
        status = item_tables_raw(e->tables, e->items, &query, indices, list->rows_count, raw, err);
    if (status == OK) {
        float *served = scalars + (ptrdiff_t)list->rows_count * scalars_count;

        scalars_compute(scalars, list->raw, list->rows_count);
        scalars_compute(served, raw, list->rows_count);
        for (int f = 0; f < scalars_count; f++) {
            double trained_at = place_by_scalar(scalars, list->rows_count, f);
            double served_at = place_by_scalar(served, list->rows_count, f);

            e->sums[f].trained += trained_at;
            e->sums[f].served += served_at;
            e->sums[f].squares += (trained_at - served_at) * (trained_at - served_at);
        }
        e->evaluation.compared++;
    }
    free(raw);
    free(scalars);
    return status;
}

static enum status judge(struct evaluator *e, const struct holdout_event *event,
                         const struct sequences_view *before, struct error *err)
{
    struct rank_request request = {.recall_next = e->options.recall_next,
                                   .history = before->entries,
                                   .history_count = before->count,
                                   .running = before->running,
                                   .history_known = true,
                                   .now_ms = event->time_ms,
                                   .k = EVALUATE_K};
    double place[EVALUATE_ARMS], rounded = RANKING_METRICS_MISS;
    enum status status = place_by_rank(e, e->options.challenger, &request, event->item,
                                       &place[EVALUATE_CHALLENGER], err);

    place[EVALUATE_CHAMPION] = RANKING_METRICS_MISS;
    if (status == OK && e->options.champion != NULL)
        status = place_by_rank(e, e->options.champion, &request, event->item,
                               &place[EVALUATE_CHAMPION], err);
    if (status == OK)
        status = place_by_rank(e, NULL, &request, event->item, &place[EVALUATE_COVISITATION], err);
    if (status == OK && e->options.rounded != NULL)
        status = place_by_rank(e, e->options.rounded, &request, event->item, &rounded, err);
    if (status != OK)
        return status;
    e->rounded[e->count] = (float)ranking_metrics_ndcg(rounded, EVALUATE_K);
    place[EVALUATE_POPULARITY] = place_by_popularity(e, before, event->time_ms, event->item);
    for (int arm = 0; arm < EVALUATE_ARMS; arm++) {
        e->ndcg[arm][e->count] = (float)ranking_metrics_ndcg(place[arm], EVALUATE_K);
        e->hits[arm][e->count] = (float)ranking_metrics_hit(place[arm], EVALUATE_K);
    }
    e->users[e->count++] = event->user;
    if (event->time_ms < e->evaluation.from_ms)
        e->evaluation.from_ms = event->time_ms;
    if (event->time_ms > e->evaluation.to_ms)
        e->evaluation.to_ms = event->time_ms;
    return OK;
}

enum status evaluator_walk(struct evaluator *e, int most, bool *done, struct error *err)
{
    enum status status = OK;

    for (int judged = 0; judged < most && e->at < e->end && status == OK; e->at++) {
        const struct holdout_event *event = holdout_at(e->options.holdout, e->at);

        if (holdout_judges(&e->options.window, event) &&
            event->time_ms >= e->options.window.from_ms) {
            struct user_entry entry = {
                .item = event->item, .time_ms = event->time_ms, .action = event->action};
            struct sequences_view before = sequences_before(e->options.sequences, event->user,
                                                            &entry);

            if (!sequences_view_has(&before, event->item)) {
                status = judge(e, event, &before, err);
                if (status == OK)
                    status = compare_scalars(e, event, &before, err);
                judged++;
            }
        }
        holdout_enter(e->tables, e->options.sequences, event);
    }
    *done = e->at == e->end;
    return status;
}

static double mean(const float *values, int64_t count)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += (double)values[i];
    return count > 0 ? sum / (double)count : 0;
}

static void fill_scalars(const struct evaluator *e, struct evaluation *evaluation)
{
    double n = (double)e->evaluation.compared;

    for (int f = 0; f < scalars_count && n > 0; f++) {
        double trained = e->sums[f].trained / n, served = e->sums[f].served / n;
        double variance = e->sums[f].squares / n - (trained - served) * (trained - served);

        evaluation->scalars[f].trained = trained;
        evaluation->scalars[f].served = served;
        evaluation->scalars[f].error = variance > 0 ? sqrt(variance / n) : 0;
    }
}

enum status evaluator_result(struct evaluator *e, struct evaluation *evaluation, struct error *err)
{
    enum status status = OK;

    *evaluation = e->evaluation;
    evaluation->events = e->count;
    fill_scalars(e, evaluation);
    for (int arm = 0; arm < EVALUATE_ARMS && status == OK; arm++) {
        evaluation->arms[arm].ndcg = mean(e->ndcg[arm], e->count);
        evaluation->arms[arm].hit_rate = mean(e->hits[arm], e->count);
        status = bootstrap_paired(e->ndcg[EVALUATE_CHALLENGER], e->ndcg[arm], e->users, e->count,
                                  BOOTSTRAP_ROUNDS, e->options.seed, &evaluation->arms[arm].gain,
                                  err);
        evaluation->users = evaluation->arms[arm].gain.groups;
    }
    if (status == OK && e->options.rounded != NULL) {
        evaluation->rounded.measured = true;
        evaluation->rounded.ndcg = mean(e->rounded, e->count);
        status = bootstrap_paired(e->ndcg[EVALUATE_CHALLENGER], e->rounded, e->users, e->count,
                                  BOOTSTRAP_ROUNDS, e->options.seed, &evaluation->rounded.loss,
                                  err);
        evaluation->rounded.most = fmax(fabs(evaluation->rounded.loss.low),
                                        fabs(evaluation->rounded.loss.high));
    }
    return status;
}
