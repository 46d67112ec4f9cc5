/* scorer/server.c - the path of one request, from top to bottom of this file. */
#include "scorer/server.h"

#include "features/rules.h"
#include "features/scalars.h"
#include "kernels/backend.h"
#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "ops/queue.h"
#include "schemas/rerank.h"
#include "schemas/trace.h"
#include "scorer/rank.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAITING_MAX_DEFAULT     256
#define WAITING_MAX_LIMIT       65536
#define BUDGET_MS_DEFAULT       200
#define REDIS_BUDGET_MS_DEFAULT 15
#define SCORERS_MAX             64
/* RERANK_K_MAX rows, each an id of 256 bytes escaped to six times that, and its scalars by name. */
#define ANSWER_BYTES     (2 * 1024 * 1024)
#define TRACE_BYTES      (128 * 1024)
#define POP_US           100000
#define LOOK_FIRST_US    INT64_C(1000000)
#define LOOK_LAST_US     INT64_C(10000000)
#define RECENT_MAX       32
#define RECENT_ITEMS     5
#define RETRY_AFTER      "Retry-After: 1\n"
#define NO_MEMORY_LOG_MS 60000

static const char *const endpoint_names[] = {"rerank", "recommend"};
enum endpoint { ENDPOINT_RERANK, ENDPOINT_RECOMMEND, ENDPOINTS };
static const char *const refused_names[] = {"malformed", "too_large", "overload", "deadline",
                                            "failed"};
enum refused {
    REFUSED_MALFORMED,
    REFUSED_TOO_LARGE,
    REFUSED_OVERLOAD,
    REFUSED_DEADLINE,
    REFUSED_FAILED,
    REFUSED_COUNT
};

METRIC_COUNTER_OF(requests, "freshet_serve_requests_total", "requests received", "endpoint",
                  endpoint_names, ENDPOINTS);
METRIC_COUNTER_OF(answers, "freshet_serve_answers_total",
                  "lists answered, by how degraded they are", "degraded", degraded_names,
                  DEGRADED_COUNT);
METRIC_COUNTER_OF(refusals, "freshet_serve_refused_total", "requests refused", "reason",
                  refused_names, REFUSED_COUNT);
METRIC_HISTOGRAM(request_seconds, "freshet_serve_request_seconds",
                 "arrival of a request to its answer", metric_buckets_latency);
METRIC_HISTOGRAM(rank_seconds, "freshet_serve_rank_seconds", "ranking alone",
                 metric_buckets_latency);
METRIC_HISTOGRAM(candidates_size, "freshet_serve_candidates", "candidates a request",
                 metric_buckets_size);

/* One request at work. */
struct job {
    struct user_read read; /* first: the reader gives it back */
    struct server *server;
    struct http_request *http;
    struct rerank_parser *parser;
    struct rerank_request request; /* texts live in the parser until the job is free again */
    enum endpoint endpoint;
    int64_t arrived_us;
    int64_t deadline_us;
    int64_t arrived_at_ms;
    char drawn_id[33]; /* when the request brought none */
};

struct recent {
    int64_t at_ms;
    enum endpoint endpoint;
    enum degraded degraded;
    bool baseline;
    uint64_t user;
    char version[MODEL_VERSION_MAX + 24];
    int count;
    char items[RECENT_ITEMS][48];
};

struct server {
    struct server_options options;
    struct action_row actions[ACTIONS_MAX];
    struct job *jobs;
    struct queue *idle;
    struct queue *ready;
    pthread_t threads[SCORERS_MAX];
    int threads_count;
    atomic_bool draining;
    atomic_bool suspected; /* a request failed on the device since it was last looked at */
    int64_t look_wait_us, look_due_us; /* of server_check() alone */
    uint64_t recent_seed;

    pthread_mutex_t recent_lock;
    struct recent recent[RECENT_MAX];
    uint64_t recent_count;
};

/* Scratch of one scorer thread. */
#define SEEN_SLOTS (4 * 8192) /* power of two, above 2 * RERANK_CANDIDATES_MAX */
_Static_assert(SEEN_SLOTS > 2 * RERANK_CANDIDATES_MAX, "the table of duplicates would fill up");
struct scorer {
    struct server *server;
    struct rank_scratch *scratch;
    struct rules rules; /* for the item hash alone */
    uint64_t seen[SEEN_SLOTS];
    uint32_t seen_in[SEEN_SLOTS]; /* number of the request that wrote the slot */
    uint32_t number;
    int32_t candidates[RERANK_CANDIDATES_MAX];
    int32_t given[RERANK_CANDIDATES_MAX]; /* position in the request of each that is no duplicate */
    struct ranked ranked[RERANK_K_MAX];
    struct ranked_item items[RERANK_K_MAX];
    struct trace trace;
    char trace_text[TRACE_BYTES];
    struct rank_explanation explanation;
    const char *scalar_names[BUNDLE_SCALARS_MAX];
    char answer[ANSWER_BYTES];
};

/* ---- 1. a request arrives (HTTP thread) ---- */

static void refuse(struct http_request *http, enum refused why, int code, const char *text)
{
    metric_add_of(&refusals, (int)why, 1);
    if (code == 503)
        http_answer(http, code, "application/json", text_of(text), RETRY_AFTER);
    else
        http_answer_error(http, code, text);
}

static void release(struct job *job)
{
    bool pushed = queue_push(job->server->idle, job);

    assert(pushed); /* the queue has room for every job there is */
    (void)pushed;
}

static void sequence_read(struct user_read *read);

static void name_request(struct job *job)
{
    uint8_t bytes[16];

    if (job->request.request_id.bytes > 0)
        return;
    hash_random_bytes(bytes, sizeof bytes);
    hash_hex(job->drawn_id, bytes, sizeof bytes);
    job->request.request_id = text_of(job->drawn_id);
}

static void begin(struct server *server, struct http_request *http, enum endpoint endpoint)
{
    struct job *job;
    struct error err;
    enum status status;
    int64_t budget_ms;

    metric_add_of(&requests, (int)endpoint, 1);
    job = atomic_load(&server->draining) ? NULL : queue_pop(server->idle, 0);
    if (job == NULL) {
        refuse(http, REFUSED_OVERLOAD, 503, "{\"error\":\"too many requests at work\"}");
        return;
    }
    status = rerank_parse(job->parser, http_request_body(http), endpoint == ENDPOINT_RECOMMEND,
                          &job->request, &err);
    if (status != OK) {
        bool large = status == ERR_LIMIT;

        release(job);
        refuse(http, large ? REFUSED_TOO_LARGE : REFUSED_MALFORMED, large ? 413 : 400, err.text);
        return;
    }
    job->http = http;
    job->endpoint = endpoint;
    job->arrived_us = http_request_arrived_us(http);
    job->arrived_at_ms = clock_wall_ms();
    budget_ms = job->request.deadline_ms > 0 ? job->request.deadline_ms : server->options.budget_ms;
    job->deadline_us = job->arrived_us + budget_ms * 1000;
    name_request(job);
    metric_observe(&candidates_size, job->request.candidates_count);
    job->read.user = job->request.user;
    job->read.done = sequence_read;
    job->read.deadline_us = clock_monotonic_us() + server->options.redis_budget_ms * 1000;
    user_reader_submit(server->options.reader, &job->read);
}

static void handle_rerank(struct http_request *http, void *context)
{
    begin(context, http, ENDPOINT_RERANK);
}

static void handle_recommend(struct http_request *http, void *context)
{
    begin(context, http, ENDPOINT_RECOMMEND);
}

const struct http_route server_routes[] = {
    {"POST", "/v1/rerank", handle_rerank},
    {"POST", "/v1/recommend", handle_recommend},
    {0},
};

/* ---- 2. its user's sequence is there (reader's thread) ---- */

static void sequence_read(struct user_read *read)
{
    struct job *job = (struct job *)read;

    if (!queue_push(job->server->ready, job)) {
        refuse(job->http, REFUSED_OVERLOAD, 503, "{\"error\":\"shutting down\"}");
        release(job);
    }
}

/* ---- 3. ranking (scorer thread) ---- */

/* Maps candidates to the tables' indices; a duplicate keeps its first place only. */
static int map_candidates(struct scorer *s, const struct served *served,
                          const struct rerank_request *request)
{
    int count = 0;

    s->number++;
    for (int i = 0; i < request->candidates_count; i++) {
        uint64_t hash = rules_item_hash(&s->rules, request->candidates[i]);
        uint32_t slot = (uint32_t)(hash * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (SEEN_SLOTS - 1);

        while (s->seen_in[slot] == s->number && s->seen[slot] != hash)
            slot = (slot + 1) & (SEEN_SLOTS - 1);
        if (s->seen_in[slot] == s->number)
            continue;
        s->seen_in[slot] = s->number;
        s->seen[slot] = hash;
        s->given[count] = i;
        s->candidates[count++] = served == NULL ? ITEM_NONE
                                                : item_tables_find(served->tables, hash);
    }
    return count;
}

static int64_t request_now(const struct server *server, const struct job *job,
                           const struct served *served)
{
    int64_t newest;

    if (!server->options.stream_clock || served == NULL)
        return job->arrived_at_ms;
    /* Replays of old data: the newest time we know of, the user's own included. */
    newest = item_tables_newest_ms(served->tables);
    if (job->read.history_count > 0 &&
        job->read.history[job->read.history_count - 1].time_ms > newest)
        newest = job->read.history[job->read.history_count - 1].time_ms;
    return newest;
}

static bool in_holdout(const struct server *server, struct text user)
{
    /* A fixed seed: the same users in every process and after every restart. */
    return (double)(hash64_text(user, 0x686f6c64) >> 11) * 0x1p-53 < server->options.holdout;
}

static void fill_items(struct scorer *s, const struct job *job, const struct served *served,
                       int count)
{
    for (int i = 0; i < count; i++) {
        const struct ranked *r = &s->ranked[i];

        assert(served != NULL || job->request.candidates_count > 0); /* else nothing is recalled */
        s->items[i].score = r->score;
        s->items[i].item = job->request.candidates_count > 0
                               ? job->request.candidates[s->given[r->candidate]]
                               : item_tables_name(served->tables, r->index);
    }
}

static struct text make_trace(struct scorer *s, const struct served *served,
                              const struct rank_request *request, int count)
{
    size_t bytes;

    if (served == NULL || count == 0)
        return (struct text){0};
    s->trace.request_time_ms = request->now_ms;
    (void)snprintf(s->trace.model_version, sizeof s->trace.model_version, "%.*s",
                   MODEL_VERSION_MAX - 1, served->version);
    s->trace.rows_count = count;
    memcpy(s->trace.context, request->context, sizeof s->trace.context);
    for (int i = 0; i < count; i++)
        memcpy(s->trace.raw[i], s->ranked[i].raw, sizeof s->trace.raw[i]);
    bytes = trace_encode(&s->trace, s->trace_text, sizeof s->trace_text);
    return (struct text){s->trace_text, bytes};
}

/* The ladder's rung: what ranking says, or how the sequence was had, whichever is worse. */
static enum degraded worse(enum degraded ranked, enum user_read_outcome read)
{
    if (read == USER_READ_CACHED && ranked < DEGRADED_CACHED)
        return DEGRADED_CACHED;
    if (read == USER_READ_FAILED && ranked < DEGRADED_NO_HISTORY)
        return DEGRADED_NO_HISTORY;
    return ranked;
}

static void remember(struct server *server, const struct job *job, const struct rerank_answer *a)
{
    struct recent *recent;

    (void)pthread_mutex_lock(&server->recent_lock);
    recent = &server->recent[server->recent_count++ % RECENT_MAX];
    *recent = (struct recent){
        .at_ms = job->arrived_at_ms,
        .endpoint = job->endpoint,
        .degraded = a->degraded,
        .baseline = strcmp(a->arm, "model") != 0,
        .user = hash64_text(job->request.user, server->recent_seed),
        .count = a->items_count < RECENT_ITEMS ? a->items_count : RECENT_ITEMS,
    };
    (void)snprintf(recent->version, sizeof recent->version, "%s", a->model_version);
    for (int i = 0; i < recent->count; i++)
        (void)snprintf(recent->items[i], sizeof recent->items[i], "%.*s",
                       TEXT_ARGS(a->items[i].item));
    (void)pthread_mutex_unlock(&server->recent_lock);
}

/* The scalars and the parts of each score; after the trace was made of the same rows. */
static enum status explain(struct scorer *s, const struct ranker *ranker,
                           const struct rank_request *request, struct rerank_answer *answer,
                           struct error *err)
{
    enum status status = rank_explain(ranker, s->scratch, request, s->ranked, answer->items_count,
                                      &s->explanation, err);

    if (status != OK || s->explanation.scalars == NULL)
        return status;
    for (int i = 0; i < scalars_count; i++)
        s->scalar_names[i] = scalar_rows[i].name;
    answer->scalars = (struct rerank_columns){s->scalar_names, scalars_count,
                                              s->explanation.scalars};
    answer->parts = (struct rerank_columns){s->explanation.names, RANK_PARTS, s->explanation.parts};
    return OK;
}

static enum status rank_by(struct scorer *s, struct job *job, const struct served *served,
                           const struct model *model, struct rerank_answer *answer,
                           struct error *err)
{
    struct server *server = s->server;
    struct ranker ranker = {.model = model,
                            .tables = served == NULL ? NULL : served->tables,
                            .trained_rows = served == NULL ? 0 : served->trained_rows,
                            .actions = server->actions,
                            .histories = server->options.histories};
    struct rank_request request = {
        .history = job->read.history,
        .history_count = job->read.history_count,
        .running = job->read.running,
        .history_known = job->read.outcome != USER_READ_FAILED,
        .now_ms = request_now(server, job, served),
        .k = job->request.k,
        .keep_seen = job->request.keep_seen,
        .baseline = in_holdout(server, job->request.user),
        .floor = server->options.floor,
        .recall_next = server->options.recall_next,
        .context = job->request.context,
    };
    enum status status;
    int count = 0;

    s->rules.seed = served == NULL ? 0 : served->item_seed;
    if (job->endpoint == ENDPOINT_RERANK) {
        request.candidates = s->candidates;
        request.candidates_count = map_candidates(s, served, &job->request);
    }
    status = rank(&ranker, s->scratch, &request, s->ranked, &count, &answer->degraded, err);
    if (status != OK)
        return status;
    fill_items(s, job, served, count);
    answer->degraded = worse(answer->degraded, job->read.outcome);
    answer->arm = request.baseline || ranker.model == NULL ? "popularity" : "model";
    answer->items = s->items;
    answer->items_count = count;
    answer->trace = make_trace(s, served, &request, count);
    answer->cold = job->read.history_count == 0;
    return job->request.explain ? explain(s, &ranker, &request, answer, err) : OK;
}

static struct log_limit no_memory_limit;

static bool has_device(const struct server *server)
{
    return server->options.backend != NULL && server->options.backend->works != NULL;
}

/* What the device refuses, or has no memory for, is ranked without the model; who runs the server
 * looks whether the device works at all. */
static enum status rank_job(struct scorer *s, struct job *job, const struct served *served,
                            struct rerank_answer *answer, struct error *err)
{
    enum status status = rank_by(s, job, served, served == NULL ? NULL : served->model, answer,
                                 err);

    if (status != ERR_DEVICE && status != ERR_NOMEM)
        return status;
    if (!has_device(s->server)) {
        if (log_every(&no_memory_limit, NO_MEMORY_LOG_MS))
            log_event(LOG_ERROR, "ranked_without_model", err->text);
    } else if (!atomic_exchange(&s->server->suspected, true)) {
        log_event(LOG_ERROR, "device_failed", err->text,
                  log_text("runbook", "freshet runbook gpu-failed"));
    }
    return rank_by(s, job, served, NULL, answer, err);
}

static void answer_job(struct scorer *s, struct job *job)
{
    const struct served *served;
    struct rerank_answer answer = {.request_id = job->request.request_id, .model_version = ""};
    struct error err;
    enum status status;
    int64_t begun_us = clock_monotonic_us();
    size_t bytes = 0;

    if (begun_us >= job->deadline_us) {
        refuse(job->http, REFUSED_DEADLINE, 504, "the deadline passed before scoring");
        return;
    }
    served = served_acquire(s->server->options.slot);
    if (served != NULL)
        answer.model_version = served->version;
    status = rank_job(s, job, served, &answer, &err);
    metric_observe(&rank_seconds, (double)(clock_monotonic_us() - begun_us) * 1e-6);
    if (status == OK)
        bytes = rerank_answer_encode(&answer, s->answer, sizeof s->answer);
    if (bytes == 0 && status == OK) {
        refuse(job->http, REFUSED_TOO_LARGE, 413,
               job->request.explain
                   ? "the answer is too large: explain fewer rows, with a smaller k"
                   : "the answer is too large: ask with a smaller k");
    } else if (bytes == 0) {
        log_event(LOG_ERROR, "rank_failed", err.text);
        refuse(job->http, REFUSED_FAILED, 500, "could not rank");
    } else {
        remember(s->server, job, &answer);
        metric_add_of(&answers, (int)answer.degraded, 1);
        metric_observe(&request_seconds, (double)(clock_monotonic_us() - job->arrived_us) * 1e-6);
        http_answer(job->http, 200, "application/json", (struct text){s->answer, bytes}, NULL);
    }
    served_release(s->server->options.slot, served);
}

static void *score_loop(void *context)
{
    struct scorer *s = context;
    struct job *job;

    for (;;) {
        job = queue_pop(s->server->ready, POP_US);
        if (job == NULL) {
            if (atomic_load(&s->server->draining) && queue_count(s->server->ready) == 0 &&
                queue_count(s->server->idle) == s->server->options.waiting_max)
                break;
            continue;
        }
        answer_job(s, job);
        release(job);
    }
    rank_scratch_destroy(s->scratch);
    free(s);
    return NULL;
}

/* ---- the public functions ---- */

static void apply_defaults(struct server_options *o)
{
    if (o->threads == 0)
        o->threads = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1;
    if (o->threads < 1)
        o->threads = 1;
    if (o->threads > SCORERS_MAX)
        o->threads = SCORERS_MAX;
    if (o->waiting_max == 0)
        o->waiting_max = WAITING_MAX_DEFAULT;
    if (o->budget_ms == 0)
        o->budget_ms = BUDGET_MS_DEFAULT;
    if (o->redis_budget_ms == 0)
        o->redis_budget_ms = REDIS_BUDGET_MS_DEFAULT;
    assert(o->waiting_max >= 1 && o->waiting_max <= WAITING_MAX_LIMIT);
}

static enum status create_jobs(struct server *server, struct error *err)
{
    int n = server->options.waiting_max;

    server->jobs = calloc((size_t)n, sizeof server->jobs[0]);
    server->idle = queue_create(n);
    server->ready = queue_create(n);
    if (server->jobs == NULL || server->idle == NULL || server->ready == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d requests at work", n);
    for (int i = 0; i < n; i++) {
        enum status status = rerank_parser_create(&server->jobs[i].parser, err);

        if (status == OK)
            status = rerank_parser_contexts(server->jobs[i].parser, &server->options.contexts, err);
        if (status != OK)
            return status;
        server->jobs[i].server = server;
        release(&server->jobs[i]);
    }
    return OK;
}

static enum status start_scorer(struct server *server, struct error *err)
{
    struct scorer *s = calloc(1, sizeof *s);
    enum status status;

    if (s == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a scorer thread");
    s->server = server;
    status = rank_scratch_create(&s->scratch, err);
    if (status == OK &&
        pthread_create(&server->threads[server->threads_count], NULL, score_loop, s) != 0)
        status = error_set(err, ERR_NOMEM, "could not start a scorer thread");
    if (status != OK) {
        rank_scratch_destroy(s->scratch);
        free(s);
        return status;
    }
    server->threads_count++;
    return OK;
}

enum status server_create(struct server **server, const struct server_options *options,
                          struct error *err)
{
    struct server *made = calloc(1, sizeof *made);
    enum status status;

    *server = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the server");
    made->options = *options;
    apply_defaults(&made->options);
    (void)pthread_mutex_init(&made->recent_lock, NULL);
    hash_random_bytes(&made->recent_seed, sizeof made->recent_seed);
    for (int code = 0; code < ACTIONS_MAX; code++) {
        const struct action_row *row = event_schema_action(options->schema, (uint8_t)code);

        if (row != NULL)
            made->actions[code] = *row;
    }
    status = create_jobs(made, err);
    for (int i = 0; i < made->options.threads && status == OK; i++)
        status = start_scorer(made, err);
    if (status != OK) {
        server_destroy(made);
        return status;
    }
    *server = made;
    return OK;
}

void server_drain(struct server *server, int64_t timeout_ms)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;

    atomic_store(&server->draining, true);
    while (queue_count(server->idle) < server->options.waiting_max &&
           clock_monotonic_us() < until_us)
        (void)usleep(1000);
}

void server_destroy(struct server *server)
{
    if (server == NULL)
        return;
    atomic_store(&server->draining, true);
    for (int i = 0; i < server->threads_count; i++)
        (void)pthread_join(server->threads[i], NULL);
    for (int i = 0; server->jobs != NULL && i < server->options.waiting_max; i++)
        rerank_parser_destroy(server->jobs[i].parser);
    queue_destroy(server->idle);
    queue_destroy(server->ready);
    free(server->jobs);
    (void)pthread_mutex_destroy(&server->recent_lock);
    free(server);
}

/* While a shortage lasts, looks and their log lines come less and less often. */
static bool look_due(struct server *server)
{
    int64_t now_us = clock_monotonic_us();

    if (now_us < server->look_due_us)
        return false;
    if (server->look_wait_us == 0 || now_us - server->look_due_us > server->look_wait_us)
        server->look_wait_us = LOOK_FIRST_US;
    else
        server->look_wait_us *= 2;
    if (server->look_wait_us > LOOK_LAST_US)
        server->look_wait_us = LOOK_LAST_US;
    server->look_due_us = now_us + server->look_wait_us;
    return true;
}

enum status server_check(struct server *server, bool suspected, struct error *err)
{
    enum status status;
    bool failed;

    if (!has_device(server) ||
        (!suspected && (!atomic_load(&server->suspected) || !look_due(server))))
        return OK;
    failed = atomic_exchange(&server->suspected, false);
    status = backend_works(server->options.backend, err);
    if (status == ERR_NOMEM && failed) /* no answer yet: it is looked at again */
        atomic_store(&server->suspected, true);
    if (status == OK && failed)
        log_event(LOG_INFO, "device_works", "what it refused was one call; serves on");
    return status == ERR_DEVICE ? status : OK; /* short of memory is not lost */
}

size_t server_recent(struct server *server, char *into, size_t bytes)
{
    struct json_writer w;
    uint64_t first;

    json_writer_init(&w, into, bytes);
    json_array_begin(&w);
    (void)pthread_mutex_lock(&server->recent_lock);
    first = server->recent_count > RECENT_MAX ? server->recent_count - RECENT_MAX : 0;
    for (uint64_t i = server->recent_count; i > first; i--) {
        const struct recent *r = &server->recent[(i - 1) % RECENT_MAX];
        char user[17];

        (void)snprintf(user, sizeof user, "%016llx", (unsigned long long)r->user);
        json_object_begin(&w);
        json_int(&w, "at_ms", r->at_ms);
        json_text(&w, "user", text_of(user));
        json_text(&w, "endpoint", text_of(endpoint_names[r->endpoint]));
        json_text(&w, "arm", text_of(r->baseline ? "popularity" : "model"));
        json_text(&w, "degraded", text_of(degraded_names[r->degraded]));
        json_text(&w, "version", text_of(r->version));
        json_key(&w, "items");
        json_array_begin(&w);
        for (int k = 0; k < r->count; k++)
            json_put_text(&w, text_of(r->items[k]));
        json_array_end(&w);
        json_object_end(&w);
    }
    (void)pthread_mutex_unlock(&server->recent_lock);
    json_array_end(&w);
    return json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}
