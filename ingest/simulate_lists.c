/* ingest/simulate_lists.c - one small request a session. */
#include "ingest/simulate_lists.h"

#include "ops/clock.h"
#include "ops/http_client.h"
#include "ops/json_writer.h"
#include "ops/metric.h"
#include "schemas/rerank.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS    2000
#define ANSWER_MAX    (1024 * 1024)
#define URL_BYTES     512
#define REQUEST_BYTES 512
#define RECENT_WEIGHT 0.005 /* of the newest list: a memory of about 200 */

const char *const list_source_names[LIST_SOURCES] = {"model", "popularity", "random", "compared"};

METRIC_COUNTER_OF(lists_total, "freshet_simulate_lists_total",
                  "lists shown, or compared, by source", "source", list_source_names, LIST_SOURCES);
METRIC_GAUGE_OF(lists_ndcg, "freshet_simulate_ndcg",
                "NDCG of recent lists against the truth, by source", "source", list_source_names,
                LIST_SOURCES);
METRIC_COUNTER(lists_failed, "freshet_simulate_failed_total", "requests the scorer did not answer");
METRIC_HISTOGRAM(list_seconds, "freshet_simulate_request_seconds",
                 "time of a request, seen by the client", metric_buckets_latency);

struct scorer {
    char url[URL_BYTES]; /* "": none */
    struct http_client *client;
    struct rerank_parser *parser;
};

struct simulate_lists {
    struct simulate_lists_options options;
    struct random random;
    struct scorer serve, compare;
    struct list_quality quality[LIST_SOURCES];
    uint64_t failed;
    char request_id[REQUEST_ID_MAX + 1]; /* of the list last shown */
    char *trace;                         /* (TRACE_TEXT_MAX) */
};

static enum status open_scorer(struct scorer *scorer, const char *url, struct error *err)
{
    enum status status;

    if (url == NULL)
        return OK;
    if (snprintf(scorer->url, sizeof scorer->url, "%s/v1/recommend", url) >=
        (int)sizeof scorer->url)
        return error_set(err, ERR_CONFIG, "address of the scorer is too long");
    status = http_client_create(&scorer->client, TIMEOUT_MS, ANSWER_MAX, err);
    if (status == OK)
        status = rerank_parser_create(&scorer->parser, err);
    return status;
}

static void close_scorer(struct scorer *scorer)
{
    http_client_destroy(scorer->client);
    rerank_parser_destroy(scorer->parser);
}

enum status simulate_lists_create(struct simulate_lists **lists,
                                  const struct simulate_lists_options *options, struct error *err)
{
    struct simulate_lists *made = calloc(1, sizeof *made);
    enum status status = OK;

    *lists = NULL;
    if (made != NULL)
        made->trace = malloc(TRACE_TEXT_MAX);
    if (made == NULL || made->trace == NULL) {
        free(made);
        return error_set(err, ERR_NOMEM, "no memory for simulated lists");
    }
    made->options = *options;
    random_seed(&made->random, options->seed);
    status = open_scorer(&made->serve, options->serve_url, err);
    if (status == OK)
        status = open_scorer(&made->compare, options->compare_url, err);
    if (status != OK) {
        simulate_lists_destroy(made);
        return status;
    }
    *lists = made;
    return OK;
}

void simulate_lists_destroy(struct simulate_lists *lists)
{
    if (lists == NULL)
        return;
    close_scorer(&lists->serve);
    close_scorer(&lists->compare);
    free(lists->trace);
    free(lists);
}

/* Gain of a row is its chance to be clicked; the ideal list is the catalogue's best. */
static double ndcg_of(const struct world *world, int user, int64_t time_ms, const int *rows,
                      int count, int k)
{
    int best[WORLD_ROWS_MAX];
    double ideal = 0;
    double got = 0;

    world_best(world, user, time_ms, best, k);
    for (int i = 0; i < k; i++)
        ideal += world_chance(world, user, best[i], time_ms) / log2(i + 2.0);
    for (int i = 0; i < count && i < k; i++)
        got += world_chance(world, user, rows[i], time_ms) / log2(i + 2.0);
    return ideal > 0 ? got / ideal : 0;
}

static void measure(struct simulate_lists *lists, enum list_source source,
                    const struct world *world, int user, int64_t time_ms, const int *rows,
                    int count, int k)
{
    struct list_quality *q = &lists->quality[source];
    double ndcg = ndcg_of(world, user, time_ms, rows, count, k);
    double weight = fmax(RECENT_WEIGHT, 1.0 / (double)(q->count + 1));

    q->count++;
    q->ndcg_sum += ndcg;
    q->ndcg_recent += weight * (ndcg - q->ndcg_recent);
    metric_add_of(&lists_total, (int)source, 1);
    metric_set_of(&lists_ndcg, (int)source, q->ndcg_recent);
}

/* Asks one scorer; false when it gave no list. Rows that name no item of the world are left out. */
static bool ask(struct simulate_lists *lists, struct scorer *scorer, const struct world *world,
                int user, int rows_max, int *rows, int *count, struct rerank_answer *answer)
{
    char body[REQUEST_BYTES];
    char name[WORLD_NAME_BYTES];
    struct json_writer w;
    struct text reply;
    struct error err;
    int code;

    *count = 0;
    if (scorer->url[0] == 0)
        return false;
    world_user_name(user, name);
    json_writer_init(&w, body, sizeof body);
    json_object_begin(&w);
    json_text(&w, "user", text_of(name));
    json_int(&w, "k", rows_max);
    json_text(&w, "seen", text_of("keep"));
    json_object_end(&w);
    if (http_client_post(scorer->client, scorer->url, json_writer_text(&w), &code, &reply, &err) !=
            OK ||
        code != 200 || rerank_answer_parse(scorer->parser, reply, answer, &err) != OK) {
        lists->failed++;
        metric_add(&lists_failed, 1);
        return false;
    }
    for (int i = 0; i < answer->items_count && *count < rows_max; i++) {
        int item = world_item_of(world, answer->items[i].item);

        if (item >= 0)
            rows[(*count)++] = item;
    }
    /* A trace has a row for every item of the answer: with one left out it would not fit. */
    if (*count != answer->items_count)
        answer->trace = (struct text){0};
    return *count > 0;
}

static void draw(struct simulate_lists *lists, int rows_max, struct world_shown *shown)
{
    shown->rows_count = 0;
    while (shown->rows_count < rows_max) {
        int item = (int)random_below(&lists->random, (uint64_t)lists->options.items);
        bool twice = false;

        for (int i = 0; i < shown->rows_count && !twice; i++)
            twice = shown->rows[i] == item;
        if (!twice)
            shown->rows[shown->rows_count++] = item;
    }
}

/* What the frontend echoes must outlive the answer it came in. */
static void keep_echo(struct simulate_lists *lists, const struct rerank_answer *answer,
                      struct world_shown *shown)
{
    (void)snprintf(lists->request_id, sizeof lists->request_id, "%.*s",
                   TEXT_ARGS(answer->request_id));
    shown->request_id = text_of(lists->request_id);
    if (answer->trace.bytes > 0 && answer->trace.bytes <= TRACE_TEXT_MAX) {
        memcpy(lists->trace, answer->trace.at, answer->trace.bytes);
        shown->trace = (struct text){lists->trace, answer->trace.bytes};
    }
}

static void compare(struct simulate_lists *lists, const struct world *world, int user,
                    int64_t time_ms, int rows_max)
{
    struct rerank_answer answer;
    int rows[WORLD_ROWS_MAX];
    int count;

    if (random_unit(&lists->random) >= lists->options.compare)
        return;
    if (ask(lists, &lists->compare, world, user, rows_max, rows, &count, &answer))
        measure(lists, LIST_COMPARED, world, user, time_ms, rows, count, rows_max);
}

void simulate_lists_choose(void *context, const struct world *world, int user, int64_t time_ms,
                           int rows_max, struct world_shown *shown)
{
    struct simulate_lists *lists = context;
    enum list_source source = LIST_RANDOM;
    struct rerank_answer answer;
    bool explored = random_unit(&lists->random) < lists->options.explore;

    assert(rows_max <= WORLD_ROWS_MAX);
    if (!explored) {
        int64_t begun_us = clock_monotonic_us();

        if (ask(lists, &lists->serve, world, user, rows_max, shown->rows, &shown->rows_count,
                &answer)) {
            bool model = answer.arm != NULL && strcmp(answer.arm, "model") == 0;

            source = model ? LIST_MODEL : LIST_POPULARITY;
            keep_echo(lists, &answer, shown);
            metric_observe(&list_seconds, (double)(clock_monotonic_us() - begun_us) * 1e-6);
        }
    }
    if (source == LIST_RANDOM)
        draw(lists, rows_max, shown);
    measure(lists, source, world, user, time_ms, shown->rows, shown->rows_count, rows_max);
    if (lists->compare.url[0] != 0)
        compare(lists, world, user, time_ms, rows_max);
}

struct list_quality simulate_lists_quality(const struct simulate_lists *lists,
                                           enum list_source source)
{
    return lists->quality[source];
}

uint64_t simulate_lists_failed(const struct simulate_lists *lists)
{
    return lists->failed;
}
