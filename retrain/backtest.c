/* retrain/backtest.c - one event at a time: rank by every arm, then apply it everywhere. */
#include "retrain/backtest.h"

#include "eval/ranking_metrics.h"
#include "features/user_store.h"
#include "ops/arena.h"
#include "ops/clock.h"
#include "ops/map64.h"
#include "retrain/baselines.h"
#include "retrain/examples.h"
#include "scorer/rank.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_MODEL      BASELINE_COUNT
#define COPIES         3 /* of a study */
#define ARMS           (BASELINE_COUNT + 1 + COPIES)
#define BOOTSTRAP_SEED 20130228
#define HOUR_MS        INT64_C(3600000)
#define MAP_ENTRIES    ((size_t)1 << 28)
#define PENDING_MAX    100000 /* shown lists whose labels may still come */
#define IDLE_MS        1000
#define ARENA_BLOCK    ((size_t)1 << 16)
#define ARENA_MAX      ((size_t)64 << 20)

/* What each arm made of each evaluated event. */
struct scores {
    float *hit[ARMS], *ndcg[ARMS];    /* (room) */
    float *auc[ARMS], *entropy[ARMS]; /* (room) NaN where there is none */
    uint64_t *user;
    int64_t count, room;
    double reciprocal[ARMS]; /* sums */
};

/* Weights that a study scores with. */
struct copy {
    const char *name;
    int64_t cadence_ms; /* 0: never renewed */
};
static const struct copy copies[COPIES] = {
    {"model_frozen", 0}, {"model_daily", 24 * HOUR_MS}, {"model_hourly", HOUR_MS}};

struct backtest {
    struct backtest_options options;
    struct rules rules;
    struct user_store *store;
    struct baselines *baselines;
    struct learner *learner;
    struct model *serving; /* the copy that scores, with a cadence */
    int64_t serving_since_ms;
    struct model *copies[COPIES];
    int64_t copied_ms[COPIES];
    struct rank_scratch *scratch;
    struct ranked *ranked; /* (BACKTEST_LISTED) */
    struct map64 *users, *items;
    struct map64 *asked; /* (user, item) that were evaluated, where nothing is learnt from them */
    struct arena *arena;
    struct examples *examples;
    struct logged *logged;
    int64_t evaluated_from_ms; /* INT64_MAX: nothing was yet */
    int64_t newest_ms;
    struct scores scores;
    int64_t watermark_ms;
    int64_t untrained; /* events since the last training */
    int64_t recalled;
    int64_t scoring_us, learning_us;
    struct backtest_result counts;
};

void backtest_options_init(struct backtest_options *options, const struct rules *rules)
{
    *options = (struct backtest_options){
        .k = 20, .model = true, .train_every = 32, .position_bias = -1};
    learner_options_init(&options->learner);
    options->learner.rules = rules;
}

enum status backtest_create(struct backtest **backtest, const struct backtest_options *options,
                            struct error *err)
{
    struct backtest *b = calloc(1, sizeof *b);
    enum status status = OK;

    *backtest = NULL;
    if (b == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a backtest");
    b->options = *options;
    b->rules = *options->learner.rules;
    b->options.learner.rules = &b->rules;
    b->watermark_ms = b->newest_ms = INT64_MIN;
    b->evaluated_from_ms = INT64_MAX;
    b->arena = arena_create(ARENA_BLOCK, ARENA_MAX);
    b->asked = map64_create(0, MAP_ENTRIES);
    b->users = map64_create(0, MAP_ENTRIES);
    b->items = map64_create(0, MAP_ENTRIES);
    b->ranked = calloc(BACKTEST_LISTED, sizeof *b->ranked);
    if (b->users == NULL || b->items == NULL || b->asked == NULL || b->ranked == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for a backtest");
    if (status == OK)
        status = baselines_create(&b->baselines, err);
    if (status == OK)
        status = user_store_create(&b->store, &b->rules, err);
    if (status == OK)
        status = rank_scratch_create(&b->scratch, err);
    if (status == OK)
        status = learner_create(&b->learner, &b->options.learner, err);
    if (status == OK)
        status = examples_create(&b->examples,
                                 &(struct examples_options){.rules = &b->rules,
                                                            .pending_max = PENDING_MAX,
                                                            .idle_ms = IDLE_MS},
                                 err);
    if (status == OK)
        status = logged_create(&b->logged, err);
    if (status != OK) {
        backtest_destroy(b);
        return status;
    }
    *backtest = b;
    return OK;
}

void backtest_destroy(struct backtest *b)
{
    if (b == NULL)
        return;
    for (int arm = 0; arm < ARMS; arm++) {
        free(b->scores.hit[arm]);
        free(b->scores.ndcg[arm]);
        free(b->scores.auc[arm]);
        free(b->scores.entropy[arm]);
    }
    free(b->scores.user);
    free(b->ranked);
    map64_destroy(b->users);
    map64_destroy(b->items);
    map64_destroy(b->asked);
    arena_destroy(b->arena);
    examples_destroy(b->examples);
    logged_destroy(b->logged);
    baselines_destroy(b->baselines);
    user_store_destroy(b->store);
    rank_scratch_destroy(b->scratch);
    learner_destroy(b->learner);
    model_destroy(b->serving);
    for (int i = 0; i < COPIES; i++)
        model_destroy(b->copies[i]);
    free(b);
}

/* ---- numbers for users and items ---- */

static enum status number_of(struct map64 *map, uint64_t hash, int32_t *number, struct error *err)
{
    uint32_t known = (uint32_t)map64_count(map);

    if (!map64_get(map, hash, &known) && map64_put(map, hash, known) != OK)
        return error_set(err, ERR_NOMEM, "no memory for another user or item");
    *number = (int32_t)known;
    return OK;
}

/* ---- scoring ---- */

static enum status make_room(struct scores *scores, struct error *err)
{
    int64_t room = scores->room == 0 ? 4096 : 2 * scores->room;
    float **columns[4 * ARMS];
    uint64_t *users;

    if (scores->count < scores->room)
        return OK;
    for (int arm = 0; arm < ARMS; arm++) {
        columns[4 * arm] = &scores->hit[arm];
        columns[4 * arm + 1] = &scores->ndcg[arm];
        columns[4 * arm + 2] = &scores->auc[arm];
        columns[4 * arm + 3] = &scores->entropy[arm];
    }
    for (int i = 0; i < 4 * ARMS; i++) {
        float *grown = realloc(*columns[i], (size_t)room * sizeof *grown);

        if (grown == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %lld events", (long long)room);
        *columns[i] = grown;
    }
    users = realloc(scores->user, (size_t)room * sizeof *users);
    if (users == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %lld events", (long long)room);
    scores->user = users;
    scores->room = room;
    return OK;
}

/* What one arm of the model's made of an event. */
struct judged {
    double rank, auc, entropy;
};

/* Place of the target in an answer, the user's own items left out; a miss when it is not there. */
static void judge(const struct backtest *b, const struct item_tables *tables, int32_t user,
                  uint64_t target, int count, struct judged *judged)
{
    double total = 0, own = NAN;
    int place = 0, others = 0;

    *judged = (struct judged){RANKING_METRICS_MISS, .5, NAN};
    for (int i = 0; i < count; i++) {
        uint64_t item = item_tables_hash(tables, b->ranked[i].index);
        double score = (double)b->ranked[i].score - (double)b->ranked[0].score;
        uint32_t number;

        if (item == target) {
            judged->rank = place;
            own = score;
        } else if (map64_get(b->items, item, &number) &&
                   baselines_seen(b->baselines, user, (int32_t)number)) {
            continue; /* the sequence holds the newest items alone; the rule means all */
        } else {
            place += isnan(own);
            others++;
        }
        total += exp(score);
    }
    if (isnan(own) || others == 0)
        return;
    judged->auc = 1 - judged->rank / others;
    judged->entropy = (log(total) - own) / log(others + 1.0);
}

static enum status rank_by_model(struct backtest *b, const struct event *event, int32_t user,
                                 uint64_t target, const struct model *model, struct judged *judged,
                                 struct error *err)
{
    const struct user_value *value = user_store_get(b->store, event->user);
    struct ranker ranker = {.model = learner_progress(b->learner)->lists > 0 ? model : NULL,
                            .tables = learner_tables(b->learner),
                            .actions = b->rules.actions};
    struct rank_request request = {.history_known = true,
                                   .now_ms = event->time_ms,
                                   .k = BACKTEST_LISTED,
                                   .recall_next = b->options.recall_next};
    enum degraded degraded;
    enum status status;
    int count = 0;

    if (value != NULL) {
        request.history = value->entries;
        request.history_count = value->count;
        request.running = value->running;
    }
    status = learner_ready(b->learner, err);
    if (status == OK)
        status = rank(&ranker, b->scratch, &request, b->ranked, &count, &degraded, err);
    if (status == OK)
        judge(b, ranker.tables, user, target, count, judged);
    return status;
}

/* The copies that are due, as of this event. */
static enum status renew_copies(struct backtest *b, int64_t now_ms, struct error *err)
{
    for (int i = 0; i < COPIES; i++) {
        enum status status;

        if (b->copies[i] != NULL &&
            (copies[i].cadence_ms == 0 || now_ms - b->copied_ms[i] < copies[i].cadence_ms))
            continue;
        status = learner_ready(b->learner, err);
        model_destroy(b->copies[i]);
        b->copies[i] = NULL;
        if (status == OK)
            status = model_copy(&b->copies[i], learner_model(b->learner), err);
        if (status != OK)
            return status;
        b->copied_ms[i] = now_ms;
    }
    return OK;
}

/* By the model and, in a study, its copies. */
static enum status rank_by_models(struct backtest *b, const struct event *event, int32_t user,
                                  struct judged judged[ARMS], struct error *err)
{
    uint64_t target = rules_item_hash(&b->rules, event->item);
    int64_t begun_us = clock_monotonic_us();
    const struct model *newest = b->options.cadence_ms > 0 ? b->serving : learner_model(b->learner);
    enum status status = rank_by_model(b, event, user, target, newest, &judged[ROW_MODEL], err);

    b->recalled += status == OK && isfinite(judged[ROW_MODEL].rank);
    b->scoring_us += clock_monotonic_us() - begun_us;
    if (status == OK && b->options.study)
        status = renew_copies(b, event->time_ms, err);
    for (int i = 0; status == OK && b->options.study && i < COPIES; i++)
        status = rank_by_model(b, event, user, target, b->copies[i], &judged[ROW_MODEL + 1 + i],
                               err);
    return status;
}

/* Rows of the result. */
static int arms_of(const struct backtest *b)
{
    return !b->options.model ? BASELINE_COUNT : b->options.study ? ARMS : ROW_MODEL + 1;
}

static enum status evaluate(struct backtest *b, const struct event *event, int32_t user,
                            int32_t item, struct error *err)
{
    struct judged judged[ARMS];
    double ranks[BASELINE_COUNT];
    enum status status = make_room(&b->scores, err);
    int64_t at = b->scores.count;

    if (status == OK)
        status = baselines_rank(b->baselines, user, item, ranks, err);
    if (status != OK)
        return status;
    for (int arm = 0; arm < BASELINE_COUNT; arm++)
        judged[arm] = (struct judged){ranks[arm], NAN, NAN};
    b->counts.brand_new += ranks[0] == RANKING_METRICS_MISS;
    if (b->options.model)
        status = rank_by_models(b, event, user, judged, err);
    if (status != OK)
        return status;
    for (int arm = 0; arm < arms_of(b); arm++) {
        b->scores.hit[arm][at] = (float)ranking_metrics_hit(judged[arm].rank, b->options.k);
        b->scores.ndcg[arm][at] = (float)ranking_metrics_ndcg(judged[arm].rank, b->options.k);
        b->scores.auc[arm][at] = (float)judged[arm].auc;
        b->scores.entropy[arm][at] = (float)judged[arm].entropy;
        b->scores.reciprocal[arm] += ranking_metrics_reciprocal(judged[arm].rank);
    }
    b->scores.user[at] = (uint64_t)user;
    b->scores.count++;
    return OK;
}

/* ---- learning ---- */

/* A shown list whose labels are complete: judged, then learnt from. */
struct ripening {
    struct backtest *backtest;
    enum status status;
    struct error *err;
};

static void ripe(void *context, struct list *list)
{
    struct ripening *r = context;
    struct backtest *b = r->backtest;
    const struct learner_progress *progress = learner_progress(b->learner);

    if (r->status == OK && list->time_ms >= b->evaluated_from_ms && progress->lists > 0) {
        r->status = learner_ready(b->learner, r->err);
        if (r->status == OK)
            r->status = logged_add(
                b->logged, list, learner_tables(b->learner),
                b->options.cadence_ms > 0 ? b->serving : learner_model(b->learner), r->err);
    }
    learner_shown(b->learner, list);
}

static enum status ripen(struct backtest *b, int64_t now_ms, struct error *err)
{
    struct ripening ripening = {b, OK, err};
    enum status status = examples_ripen(b->examples, learner_tables(b->learner), now_ms, 0, ripe,
                                        &ripening, err);

    return status == OK ? ripening.status : status;
}

/* The example that ingest would have sent. */
struct sending {
    struct backtest *backtest;
    enum status status;
    struct error *err;
};

static void send(void *context, const uint8_t *bytes, size_t count)
{
    struct sending *s = context;
    struct backtest *b = s->backtest;
    struct example example;

    if (s->status != OK)
        return;
    arena_reset(b->arena);
    s->status = example_decode(&example, bytes, count, b->arena, s->err);
    if (s->status == OK)
        s->status = examples_add(b->examples, &example, learner_shown_lists(b->learner), 0, s->err);
}

/* An impression without trace: its counts are those of now, before anyone can click. */
static enum status note(struct backtest *b, const struct event *event, struct error *err)
{
    uint64_t rows[EVENT_ROWS_MAX];
    uint64_t user = rules_user_hash(&b->rules, event->user);
    size_t bytes = (size_t)event->rows_count * RAW_COLUMNS * sizeof(int64_t);
    enum status status;
    int64_t *raw;

    arena_reset(b->arena);
    raw = arena_alloc(b->arena, bytes);
    if (raw == NULL)
        return error_set(err, ERR_NOMEM, "no memory for counts of an impression");
    for (int i = 0; i < event->rows_count; i++)
        rows[i] = rules_item_hash(&b->rules, event->rows[i]);
    status = learner_raw(b->learner, user, event->time_ms, rows, event->rows_count, raw, err);
    if (status == OK)
        examples_note(b->examples, user, event->time_ms, rows, event->rows_count, raw);
    return status;
}

static enum status train(struct backtest *b, int64_t now_ms, struct error *err)
{
    int64_t begun_us = clock_monotonic_us();
    enum status status = ripen(b, b->newest_ms, err);
    bool worked = true;

    while (status == OK && worked) {
        status = learner_step(b->learner, INT64_MAX, &worked, err);
        if (status == ERR_REJECTED)
            status = OK; /* counted; the model is as it was */
    }
    if (status == OK)
        status = learner_settle(b->learner, err);
    if (status == OK && b->options.cadence_ms > 0 &&
        (b->serving == NULL || now_ms - b->serving_since_ms >= b->options.cadence_ms)) {
        status = learner_ready(b->learner, err);
        model_destroy(b->serving);
        b->serving = NULL;
        if (status == OK)
            status = model_copy(&b->serving, learner_model(b->learner), err);
        b->serving_since_ms = now_ms;
    }
    b->learning_us += clock_monotonic_us() - begun_us;
    return status;
}

/* What the learner is told of an event, and when. */
static enum status observe(struct backtest *b, const struct event *event, struct error *err)
{
    int64_t begun_us = clock_monotonic_us();
    enum status status = OK;

    if (event->kind == EVENT_IMPRESSION && event->trace.bytes == 0)
        status = note(b, event, err);
    if (event->kind == EVENT_ERASE)
        examples_erase(b->examples, rules_user_hash(&b->rules, event->user), event->time_ms);
    if (status == OK)
        status = learner_event(b->learner, event, NULL, err);
    b->learning_us += clock_monotonic_us() - begun_us;
    return status;
}

static enum status learn(struct backtest *b, const struct event *event, struct error *err)
{
    struct sending sending = {b, OK, err};
    enum outcome outcome;
    enum status status = OK;

    b->newest_ms = event->time_ms > b->newest_ms ? event->time_ms : b->newest_ms;
    if (b->options.model)
        status = observe(b, event, err);
    if (status == OK)
        status = user_store_apply(b->store, event, b->watermark_ms, false,
                                  b->options.model ? send : NULL, &sending, &outcome, err);
    b->watermark_ms = rules_watermark(b->watermark_ms, event->time_ms, event->time_ms, 0);
    status = status == OK ? sending.status : status;
    if (status == OK && b->options.model && ++b->untrained >= b->options.train_every) {
        b->untrained = 0;
        status = train(b, event->time_ms, err);
    }
    return status;
}

/* Whether this choice was asked for before, where nothing else would remember it. */
static enum status asked_before(struct backtest *b, int32_t user, int32_t item, bool *before,
                                struct error *err)
{
    uint64_t key = (uint64_t)user << 32 | (uint32_t)item;

    *before = map64_get(b->asked, key, NULL);
    return *before || map64_put(b->asked, key, 0) == OK
               ? OK
               : error_set(err, ERR_NOMEM, "no memory for another choice");
}

static enum status ask_frozen(struct backtest *b, const struct event *event, int32_t user,
                              int32_t item, struct error *err)
{
    bool before = baselines_seen(b->baselines, user, item);
    enum status status = before ? OK : asked_before(b, user, item, &before, err);

    b->counts.repeated += before;
    return status != OK || before ? status : evaluate(b, event, user, item, err);
}

enum status backtest_item(struct backtest *b, const struct item *item, struct error *err)
{
    return b->learner == NULL ? OK : learner_item(b->learner, item, err);
}

enum status backtest_event(struct backtest *b, const struct event *event, bool evaluated,
                           struct error *err)
{
    bool frozen = evaluated && b->options.frozen;
    int32_t user, item;
    enum status status;

    b->counts.events++;
    if (evaluated && b->evaluated_from_ms == INT64_MAX)
        b->evaluated_from_ms = event->time_ms;
    if (event->kind != EVENT_ACTION)
        return frozen ? OK : learn(b, event, err);
    status = number_of(b->users, rules_user_hash(&b->rules, event->user), &user, err);
    if (status == OK)
        status = number_of(b->items, rules_item_hash(&b->rules, event->item), &item, err);
    if (status != OK)
        return status;
    if (!b->rules.actions[event->action].history || b->rules.actions[event->action].negative)
        return frozen ? OK : learn(b, event, err);
    if (frozen)
        return ask_frozen(b, event, user, item, err);
    if (baselines_seen(b->baselines, user, item)) {
        b->counts.repeated++;
        return learn(b, event, err);
    }
    if (evaluated)
        status = evaluate(b, event, user, item, err);
    if (status == OK)
        status = baselines_learn(b->baselines, user, item, event->time_ms, err);
    return status == OK ? learn(b, event, err) : status;
}

/* ---- the result ---- */

/* Of what is a number; NaN of nothing. */
static double mean(const float *values, int64_t from, int64_t to)
{
    double sum = 0;
    int64_t count = 0;

    for (int64_t i = from; i < to; i++) {
        if (isnan(values[i]))
            continue;
        sum += (double)values[i];
        count++;
    }
    return count > 0 ? sum / (double)count : NAN;
}

static void fill_spans(const struct backtest *b, int arm, struct backtest_row *row)
{
    const struct scores *s = &b->scores;

    for (int i = 0; s->count >= BACKTEST_SPANS && i < BACKTEST_SPANS; i++) {
        int64_t from = s->count * i / BACKTEST_SPANS, to = s->count * (i + 1) / BACKTEST_SPANS;

        row->spans[i] = (struct backtest_span){.hit_rate = mean(s->hit[arm], from, to),
                                               .ndcg = mean(s->ndcg[arm], from, to),
                                               .auc = mean(s->auc[arm], from, to),
                                               .entropy = mean(s->entropy[arm], from, to)};
    }
}

static enum status fill_row(const struct backtest *b, int arm, struct backtest_row *row,
                            struct error *err)
{
    const struct scores *s = &b->scores;
    enum status status = OK;

    (void)snprintf(row->name, sizeof row->name, "%s",
                   arm > ROW_MODEL    ? copies[arm - ROW_MODEL - 1].name
                   : arm == ROW_MODEL ? "model"
                                      : baseline_names[arm]);
    row->hit_rate = s->count > 0 ? mean(s->hit[arm], 0, s->count) : 0;
    row->ndcg = s->count > 0 ? mean(s->ndcg[arm], 0, s->count) : 0;
    row->auc = mean(s->auc[arm], 0, s->count);
    row->entropy = mean(s->entropy[arm], 0, s->count);
    row->reciprocal = s->count > 0 ? s->reciprocal[arm] / (double)s->count : 0;
    fill_spans(b, arm, row);
    if (arm == ROW_MODEL || !b->options.model)
        return OK;
    status = bootstrap_paired(s->hit[ROW_MODEL], s->hit[arm], s->user, s->count, BOOTSTRAP_ROUNDS,
                              BOOTSTRAP_SEED, &row->hit_rate_gain, err);
    if (status == OK)
        status = bootstrap_paired(s->ndcg[ROW_MODEL], s->ndcg[arm], s->user, s->count,
                                  BOOTSTRAP_ROUNDS, BOOTSTRAP_SEED, &row->ndcg_gain, err);
    return status;
}

enum status backtest_result(struct backtest *b, struct backtest_result *result, struct error *err)
{
    enum status status = OK;

    *result = b->counts;
    result->k = b->options.k;
    result->evaluated = b->scores.count;
    result->users = (int64_t)map64_count(b->users);
    result->items = (int64_t)map64_count(b->items);
    result->rows_count = arms_of(b);
    result->model_row = b->options.model ? ROW_MODEL : -1;
    result->spans_count = b->scores.count >= BACKTEST_SPANS ? BACKTEST_SPANS : 0;
    result->scoring_s = (double)b->scoring_us / 1e6;
    result->learning_s = (double)b->learning_us / 1e6;
    result->learning = *learner_progress(b->learner);
    result->waiting = examples_pending(b->examples);
    if (b->scores.count > 0)
        result->recalled_share = (double)b->recalled / (double)b->scores.count;
    for (int arm = 0; arm < result->rows_count && status == OK; arm++)
        status = fill_row(b, arm, &result->rows[arm], err);
    return status == OK ? logged_result(b->logged, b->options.position_bias, &result->logged, err)
                        : status;
}
