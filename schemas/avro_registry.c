/*
 * schemas/avro_registry.c - a table of ids, and the thread that fills it.
 *
 * The caller's thread owns the table's shape: it alone adds and drops rows, and drops none that is
 * being asked for, so the other one may keep a row's number over a question without the lock. A
 * plan is handed over under the lock and never changes after that.
 *
 *     row:  ASKED --an answer--> READY | REFUSED --(time)--> ASKED
 *             \-----no answer--> ASKED, later
 *
 * Refused rows make room for others first, and are then remembered as 16 bytes each: a row has the
 * reason's text, what is remembered only that there was one. Ids fall into sets of four, of which
 * the one that is to be asked for again soonest gives way.
 */
#include "schemas/avro_registry.h"

#include "ops/clock.h"
#include "ops/file.h"
#include "ops/http_client.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_MS        3000
#define ANSWER_BYTES_MAX (4 * AVRO_SCHEMA_BYTES_MAX)
#define ANSWER_NODES_MAX 4096
#define FAILED_FIRST_US  250000
#define FAILED_LAST_US   10000000
#define REFUSED_FIRST_US 10000000
#define REFUSED_LAST_US  300000000
#define LOG_AGAIN_MS     10000
#define SLEEP_MS         1000
#define PATH_BYTES       1024
#define AVRO_CODE_FIRST  40400 /* "not found" of the registry itself */
#define AVRO_CODE_LAST   40499
#define HTTP_NOT_FOUND   404
#define HTTP_OK          200
#define NO_ROW           (-1)
#define WAYS             4
#define SETS_BITS        14 /* sets of WAYS: AVRO_REFUSED_MAX ids */
#define UNKNOWN_EVERY_US (1000000 / AVRO_UNKNOWN_PER_S)

#define ANY_ID   1
#define TOLD_MAX 20 /* refusals in a period: ids come from strangers */
#define TOLD_US  60000000

enum result {
    RESULT_READ,
    RESULT_UNKNOWN,
    RESULT_REFUSED,
    RESULT_NO_ANSWER,
    RESULT_UNASKED,
    RESULTS
};
static const char *const result_names[RESULTS] = {"read", "unknown", "refused", "no_answer",
                                                  "unasked"};
METRIC_COUNTER_OF(asked_total, "freshet_avro_schemas_total",
                  "questions for an Avro schema, by what came of them", "result", result_names,
                  RESULTS);

enum row_state { ROW_FREE, ROW_ASKED, ROW_READY, ROW_REFUSED };

struct row {
    enum row_state state;
    uint32_t id;
    struct avro_plan *plan;
    struct error why; /* the refusal, or why there is no answer yet */
    bool answered;    /* REFUSED, or ASKED and a question was answered by nothing */
    int failures, refusals;
    int64_t due_us; /* ASKED: when the question is put; REFUSED: when it is put again */
    uint64_t used;  /* by the caller; the lowest was not used for longest */
};

/* A refused id without a row. */
struct refused {
    int64_t due_us; /* 0: free */
    uint32_t id;
    uint16_t refusals;
    uint16_t status;
};
_Static_assert((WAYS << SETS_BITS) == AVRO_REFUSED_MAX, "as the header says");

struct avro_registry {
    const struct event_schema *schema;
    /* The caller's alone. */
    struct refused *refused; /* (1 << SETS_BITS, WAYS), NULL until there are any */
    struct log_limit unasked_limit;
    const struct avro_plan *last; /* of the last id: nearly always the next one's, too */
    uint32_t last_id;
    uint64_t uses;
    bool running;
    pthread_t thread;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t asked, answered;
    struct row rows[AVRO_IDS_MAX];
    bool ending;
    int64_t unknown_us; /* so far ids that came to nothing have used up their rate */
    /* The thread's alone. */
    struct http_client *client;
    struct json_parser *parser;
    struct log_limit log_limit;
    int64_t told_us; /* when this period began */
    int told;
};

/* ---- the thread: one question ---- */

/* The folder's file. ERR_NOT_FOUND: it has none. */
static enum status read_file(const struct avro_registry *r, uint32_t id, char **avsc, size_t *bytes,
                             struct error *err)
{
    char path[PATH_BYTES];
    int written = snprintf(path, sizeof path, "%s/%u.avsc", r->schema->schemas, (unsigned)id);

    if (written < 0 || written >= (int)sizeof path)
        return error_set(err, ERR_NOT_FOUND, "path of events.schemas is too long");
    return file_read(path, AVRO_SCHEMA_BYTES_MAX, avsc, bytes, err);
}

static enum status open_client(struct avro_registry *r, struct error *err)
{
    char *secret = NULL;
    enum status status = OK;

    if (r->client == NULL)
        status = http_client_create(&r->client, ANSWER_MS, ANSWER_BYTES_MAX, err);
    if (status == OK && r->parser == NULL) {
        r->parser = json_parser_create(ANSWER_BYTES_MAX, ANSWER_NODES_MAX);
        if (r->parser == NULL)
            status = error_set(err, ERR_NOMEM, "no memory to ask the schema registry");
    }
    if (status != OK || r->schema->config == NULL ||
        !config_given(r->schema->config, "events.registry_auth"))
        return status;
    /* Each time, so that a rotated file is seen. */
    status = config_secret(r->schema->config, "events.registry_auth", &secret, err);
    if (status == OK)
        http_client_authorize(r->client, secret);
    free(secret);
    return status;
}

/* What the registry answered: the schema's text, in the parser's memory. */
static enum status judge_answer(struct avro_registry *r, int code, struct text body,
                                struct text *avsc, struct error *err)
{
    const struct json_node *root = NULL;
    struct error unread;
    bool json = json_parse(r->parser, body, &root, &unread) == OK;
    int64_t error_code = json ? json_int_or(json_member(root, "error_code"), 0) : 0;
    struct text type;

    if (code == HTTP_NOT_FOUND && error_code >= AVRO_CODE_FIRST && error_code <= AVRO_CODE_LAST)
        return error_set(err, ERR_NOT_FOUND, "the registry has no such id");
    if (code != HTTP_OK || !json)
        return error_set(err, ERR_UNAVAILABLE, "the registry %s answers %d%s", r->schema->registry,
                         code, code == HTTP_OK ? " without JSON" : "");
    type = json_text_or(json_member(root, "schemaType"), "AVRO");
    if (!text_equal(type, text_of("AVRO")))
        return error_set(err, ERR_MALFORMED, "it is of type %.*s, not AVRO",
                         (int)(type.bytes < 32 ? type.bytes : 32), type.at);
    if (json_member(root, "references") != NULL &&
        json_member(root, "references")->children_count > 0)
        return error_set(err, ERR_MALFORMED, "it refers to other schemas of the registry");
    *avsc = json_text_or(json_member(root, "schema"), "");
    if (avsc->bytes == 0)
        return error_set(err, ERR_UNAVAILABLE, "the registry %s answers without a schema",
                         r->schema->registry);
    return OK;
}

static enum status ask(struct avro_registry *r, uint32_t id, struct text *avsc, struct error *err)
{
    size_t base = strlen(r->schema->registry);
    struct text body = {NULL, 0};
    char url[PATH_BYTES];
    int code = 0, written;
    enum status status = open_client(r, err);

    while (base > 0 && r->schema->registry[base - 1] == '/')
        base--;
    written = snprintf(url, sizeof url, "%.*s/schemas/ids/%u", (int)base, r->schema->registry,
                       (unsigned)id);
    if (status == OK && (written < 0 || written >= (int)sizeof url))
        status = error_set(err, ERR_UNAVAILABLE, "events.registry is too long");
    if (status == OK)
        status = http_client_get(r->client, url, &code, &body, err);
    if (status != OK) /* a secret that is missing says nothing of the schema, either */
        return err->status = ERR_UNAVAILABLE;
    return judge_answer(r, code, body, avsc, err);
}

/* OK, ERR_NOT_FOUND, ERR_MALFORMED, or ERR_UNAVAILABLE for all else: nothing else is a no. */
static enum status fetch(struct avro_registry *r, uint32_t id, struct avro_plan **plan,
                         struct error *err)
{
    struct text avsc = {NULL, 0};
    char *file = NULL;
    enum status status = error_set(err, ERR_NOT_FOUND, "events.schemas has no such file");

    if (r->schema->schemas != NULL)
        status = read_file(r, id, &file, &avsc.bytes, err);
    avsc.at = file;
    if (status == ERR_NOT_FOUND && r->schema->registry != NULL)
        status = ask(r, id, &avsc, err);
    if (status == OK)
        status = avro_plan_create(plan, r->schema, avsc, err);
    free(file);
    if (status == ERR_LIMIT)
        status = err->status = ERR_MALFORMED; /* larger than any of ours may be */
    if (status != OK && status != ERR_NOT_FOUND && status != ERR_MALFORMED)
        status = err->status = ERR_UNAVAILABLE;
    return status == OK ? OK : error_prefix(err, "Avro schema %u", (unsigned)id);
}

static int64_t back_off(int64_t first_us, int64_t last_us, int times)
{
    int64_t wait_us = first_us;

    for (int i = 1; i < times && wait_us < last_us; i++)
        wait_us *= 2;
    return wait_us < last_us ? wait_us : last_us;
}

/* So many are told one by one, so that each of a few schemas is named with its fault. */
static bool may_tell(struct avro_registry *r)
{
    int64_t now_us = clock_monotonic_us();

    if (r->told == 0 || now_us - r->told_us >= TOLD_US) {
        r->told_us = now_us;
        r->told = 0;
    }
    return r->told++ < TOLD_MAX;
}

static void tell(struct avro_registry *r, const struct row *row, enum status status)
{
    metric_add_of(&asked_total,
                  status == OK              ? RESULT_READ
                  : status == ERR_NOT_FOUND ? RESULT_UNKNOWN
                  : status == ERR_MALFORMED ? RESULT_REFUSED
                                            : RESULT_NO_ANSWER,
                  1);
    if (status == OK)
        log_event(LOG_INFO, "avro_schema", "an Avro schema was read", log_int("id", row->id));
    else if (status != ERR_UNAVAILABLE && may_tell(r))
        log_event(LOG_WARN, "avro_schema_refused", row->why.text, log_int("id", row->id),
                  log_text("runbook", "freshet runbook avro-schemas"));
    else if (status == ERR_UNAVAILABLE && log_every(&r->log_limit, LOG_AGAIN_MS))
        log_event(LOG_WARN, "avro_schema_unknown", row->why.text, log_int("id", row->id),
                  log_text("runbook", "freshet runbook avro-schemas"));
}

/* Under the lock. */
static void take_answer(struct avro_registry *r, struct row *row, enum status status,
                        struct avro_plan *plan, const struct error *why)
{
    int64_t now_us = clock_monotonic_us();

    row->answered = status != OK;
    if (status == OK) {
        row->state = ROW_READY;
        row->plan = plan;
        row->refusals = 0;
    } else if (status == ERR_UNAVAILABLE) {
        row->why = *why;
        row->due_us = now_us + back_off(FAILED_FIRST_US, FAILED_LAST_US, ++row->failures);
    } else {
        row->why = *why;
        row->state = ROW_REFUSED;
        if (r->unknown_us < now_us - (int64_t)AVRO_UNKNOWN_BURST * UNKNOWN_EVERY_US)
            r->unknown_us = now_us - (int64_t)AVRO_UNKNOWN_BURST * UNKNOWN_EVERY_US;
        r->unknown_us += UNKNOWN_EVERY_US;
        row->due_us = now_us + back_off(REFUSED_FIRST_US, REFUSED_LAST_US, ++row->refusals);
    }
    tell(r, row, status);
    (void)pthread_cond_broadcast(&r->answered);
}

/* Waits up to so long on a condition of CLOCK_MONOTONIC. */
static void wait_for(struct avro_registry *r, pthread_cond_t *condition, int64_t wait_us)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_us / 1000000;
    until.tv_nsec += wait_us % 1000000 * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(condition, &r->lock, &until);
}

/* The row whose question is due for longest, or NO_ROW and when there is one. */
static int next_due(const struct avro_registry *r, int64_t *wait_us)
{
    int64_t now_us = clock_monotonic_us(), earliest_us = now_us + SLEEP_MS * 1000;
    int found = NO_ROW;

    for (int i = 0; i < AVRO_IDS_MAX; i++)
        if (r->rows[i].state == ROW_ASKED && r->rows[i].due_us < earliest_us) {
            earliest_us = r->rows[i].due_us;
            found = i;
        }
    *wait_us = earliest_us - now_us;
    return *wait_us <= 0 ? found : NO_ROW;
}

static void *run(void *context)
{
    struct avro_registry *r = context;

    (void)pthread_mutex_lock(&r->lock);
    while (!r->ending) {
        struct avro_plan *plan = NULL;
        struct error why = {0};
        enum status status;
        int64_t wait_us;
        int at = next_due(r, &wait_us);

        if (at == NO_ROW) {
            wait_for(r, &r->asked, wait_us);
            continue;
        }
        (void)pthread_mutex_unlock(&r->lock);
        status = fetch(r, r->rows[at].id, &plan, &why); /* the id of a row stays */
        (void)pthread_mutex_lock(&r->lock);
        take_answer(r, &r->rows[at], status, plan, &why);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the caller ---- */

enum status avro_registry_ask_any(struct avro_registry *r, struct error *err)
{
    struct text avsc;
    enum status status;

    assert(!r->running); /* what is used here is the thread's */
    if (r->schema->registry == NULL)
        return OK;
    status = ask(r, ANY_ID, &avsc, err);
    return status == ERR_NOT_FOUND || status == ERR_MALFORMED ? OK : status;
}

enum status avro_registry_create(struct avro_registry **registry, const struct event_schema *schema,
                                 struct error *err)
{
    struct avro_registry *made = calloc(1, sizeof *made);
    pthread_condattr_t monotonic;

    *registry = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for Avro schemas");
    made->schema = schema;
    made->unknown_us = INT64_MIN;
    (void)pthread_mutex_init(&made->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&made->asked, &monotonic);
    (void)pthread_cond_init(&made->answered, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    *registry = made;
    return OK;
}

void avro_registry_destroy(struct avro_registry *r)
{
    if (r == NULL)
        return;
    if (r->running) {
        (void)pthread_mutex_lock(&r->lock);
        r->ending = true;
        (void)pthread_cond_signal(&r->asked);
        (void)pthread_mutex_unlock(&r->lock);
        (void)pthread_join(r->thread, NULL);
    }
    for (int i = 0; i < AVRO_IDS_MAX; i++)
        avro_plan_destroy(r->rows[i].plan);
    free(r->refused);
    http_client_destroy(r->client);
    json_parser_destroy(r->parser);
    (void)pthread_cond_destroy(&r->asked);
    (void)pthread_cond_destroy(&r->answered);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

static enum status begin(struct avro_registry *r, struct error *err)
{
    if (r->running)
        return OK;
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        return error_set(err, ERR_NOMEM, "no thread to ask for Avro schemas");
    r->running = true;
    return OK;
}

/* ---- ids that were refused and have no row any more ---- */

static struct refused *set_of(const struct avro_registry *r, uint32_t id)
{
    return r->refused + WAYS * (size_t)(id * UINT32_C(2654435769) >> (32 - SETS_BITS));
}

static const struct refused *recall(const struct avro_registry *r, uint32_t id)
{
    for (int i = 0; r->refused != NULL && i < WAYS; i++)
        if (set_of(r, id)[i].due_us != 0 && set_of(r, id)[i].id == id)
            return &set_of(r, id)[i];
    return NULL;
}

/* Without memory for it, it is asked for again, at the rate of all. */
static void remember(struct avro_registry *r, const struct row *row)
{
    struct refused *set, *place;

    if (r->refused == NULL)
        r->refused = calloc(AVRO_REFUSED_MAX, sizeof *r->refused);
    if (r->refused == NULL)
        return;
    set = place = set_of(r, row->id);
    for (int i = 0; i < WAYS; i++) {
        if (set[i].due_us != 0 && set[i].id == row->id) {
            place = &set[i];
            break;
        }
        if (set[i].due_us < place->due_us)
            place = &set[i];
    }
    *place = (struct refused){.due_us = row->due_us,
                              .id = row->id,
                              .refusals = (uint16_t)(row->refusals < 100 ? row->refusals : 100),
                              .status = (uint16_t)row->why.status};
}

/* ---- rows ---- */

static struct row *find_row(struct avro_registry *r, uint32_t id)
{
    for (int i = 0; i < AVRO_IDS_MAX; i++)
        if (r->rows[i].state != ROW_FREE && r->rows[i].id == id)
            return &r->rows[i];
    return NULL;
}

/* Would rather be dropped: what is free, what was refused, what was not used for longest. */
static bool gives_way(const struct row *row, const struct row *other)
{
    if ((row->state == ROW_READY) != (other->state == ROW_READY))
        return other->state == ROW_READY;
    return row->used < other->used; /* a free one was never used */
}

/* Under the lock. A new row for the id; NULL when all are being asked for. */
static struct row *add_row(struct avro_registry *r, uint32_t id)
{
    const struct refused *before = recall(r, id);
    int refusals = before == NULL ? 0 : before->refusals;
    struct row *dropped = NULL;

    for (int i = 0; i < AVRO_IDS_MAX; i++) {
        struct row *row = &r->rows[i];

        if (row->state != ROW_ASKED && (dropped == NULL || gives_way(row, dropped)))
            dropped = row;
    }
    if (dropped == NULL)
        return NULL;
    if (dropped->state == ROW_REFUSED)
        remember(r, dropped);
    avro_plan_destroy(dropped->plan);
    *dropped = (struct row){
        .state = ROW_ASKED, .id = id, .refusals = refusals, .due_us = clock_monotonic_us()};
    (void)pthread_cond_signal(&r->asked);
    return dropped;
}

/* Under the lock. Waits while there is hope of an answer within the caller's patience. */
static void await(struct avro_registry *r, struct row *row, int64_t patience_ms, bool insist)
{
    struct timespec now;
    int64_t now_us, until_us = INT64_MIN;

    /* By the real clock: another thread's work cannot be hurried by a test's. */
    for (;;) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        if (until_us == INT64_MIN)
            until_us = now_us + patience_ms * 1000;
        if (row->state != ROW_ASKED || (row->answered && !insist) || now_us >= until_us)
            return;
        wait_for(r, &r->answered, until_us - now_us);
    }
}

/* Under the lock. Whether another question may come to nothing. */
static bool may_ask(const struct avro_registry *r, bool insist)
{
    return insist || r->unknown_us <= clock_monotonic_us();
}

static enum status refuse_unasked(struct avro_registry *r, uint32_t id, struct error *err)
{
    metric_add_of(&asked_total, RESULT_UNASKED, 1);
    (void)error_set(err, ERR_NOT_FOUND, "Avro schema %u: too many ids are unknown to ask for it",
                    (unsigned)id);
    if (log_every(&r->unasked_limit, LOG_AGAIN_MS))
        log_event(LOG_WARN, "avro_schemas_unasked", err->text,
                  log_int("held_back", (int64_t)r->unasked_limit.held_back),
                  log_text("runbook", "freshet runbook avro-schemas"));
    return err->status;
}

static enum status refuse_again(const struct refused *refused, struct error *err)
{
    return error_set(err, (enum status)refused->status,
                     refused->status == ERR_NOT_FOUND
                         ? "Avro schema %u: there was no such id when it was last asked for"
                         : "Avro schema %u: it gave no events when it was last asked for",
                     (unsigned)refused->id);
}

/* Under the lock. OK: what is known of the id, or will be, is in *row; else that stays NULL. */
static enum status look(struct avro_registry *r, uint32_t id, bool insist, struct row **row,
                        struct error *err)
{
    const struct refused *refused = recall(r, id);

    if (refused != NULL && refused->due_us > clock_monotonic_us())
        return refuse_again(refused, err);
    *row = find_row(r, id);
    if (*row == NULL && !may_ask(r, insist))
        return refuse_unasked(r, id, err);
    if (*row == NULL)
        *row = add_row(r, id);
    if (*row == NULL)
        return error_set(err, ERR_UNAVAILABLE, "%d Avro schemas are being asked for", AVRO_IDS_MAX);
    (*row)->used = ++r->uses;
    if ((*row)->state == ROW_REFUSED && (*row)->due_us <= clock_monotonic_us() &&
        may_ask(r, insist)) {
        (*row)->state = ROW_ASKED;
        (*row)->answered = false;
        (*row)->failures = 0;
        (void)pthread_cond_signal(&r->asked);
    }
    return OK;
}

enum status avro_registry_find(struct avro_registry *r, uint32_t id, int64_t patience_ms,
                               bool insist, const struct avro_plan **plan, struct error *err)
{
    enum status status;
    struct row *row = NULL;

    *plan = NULL;
    if (r->last != NULL && r->last_id == id) {
        *plan = r->last;
        return OK;
    }
    if (begin(r, err) != OK)
        return err->status;
    r->last = NULL;
    (void)pthread_mutex_lock(&r->lock);
    status = look(r, id, insist, &row, err);
    if (row == NULL)
        goto done;
    await(r, row, patience_ms, insist);
    if (row->state == ROW_READY) {
        r->last = *plan = row->plan;
        r->last_id = id;
    } else if (row->answered) {
        *err = row->why;
        status = err->status;
    } else {
        status = error_set(err, ERR_UNAVAILABLE, "Avro schema %u is not known yet", (unsigned)id);
    }
done:
    (void)pthread_mutex_unlock(&r->lock);
    return status;
}
