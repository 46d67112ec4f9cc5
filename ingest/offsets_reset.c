/*
 * ingest/offsets_reset.c - `freshet offsets reset`: lets a partition begin at another offset.
 *
 * What is applied stands in m of every shard, and those are in as many transactions as there are
 * shards. So m is not edited: the partition gets the next log number, under which no shard has an
 * m yet, and a new recorded start, by one transaction on the data set's record. Ingest then finds
 * the partition as one that nobody has read, and begins at its start.
 *
 *     1. nobody may be in the consumer group (where the brokers tell)
 *     2. a token of nobody's is stored in shard 0, and [watched]: a living ingest sees at its next
 *        tick, every second, that it is fenced, and claims again; that costs it nothing else. The
 *        EXEC that ends the watch closes shard 0. It is sent in one piece, on the connection that
 *        watches or not at all
 *     3. m of the other shards is closed in the same way, each behind a token and a watch of its
 *        own: an old process that wakes up under the old log number finds keys it cannot use and
 *        stops the partition, instead of going on beside its successor
 *     4. rows that wait for the trainer go (their ids belong to the old log), and the record is
 *        changed
 *
 * Broken off between 2 and 4 the partition stays stopped, and the same command finishes it: what
 * the shards had is kept in the field `closed`.
 */
#include "features/redis_call.h"
#include "features/redis_topology.h"
#include "features/redis_transaction.h"
#include "ingest/ingest_main.h"
#include "ingest/offsets_view.h"
#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/kafka_ask.h"
#include "ops/log.h"
#include "schemas/event.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS       5000
#define RESULT_BYTES 4096
/* A living ingest claims again at its next tick, every second. */
#define WATCH_LEAST_MS 2000

struct reset {
    struct command_line *line;
    struct offsets_view view;
    struct offsets_partition *p; /* in view */
    struct offsets_log log;
    bool other_log;     /* than the one that was applied */
    bool stopped;       /* ingest would not go on by itself */
    int64_t resumes_at; /* where it would, if it is not stopped */
    uint64_t epoch;     /* of the connection, when its WATCH was answered */
    int64_t target;
    int64_t applied;    /* what would be read next without the reset; -1: nothing was ever read */
    int64_t lost;       /* records from `applied` on that the log no longer has */
    int64_t left_out;   /* that it has, and that the reset passes over */
    int64_t again;      /* from target on that some shard has applied */
    bool members_known; /* the brokers told who is in the group */
    bool written;
};

/* ---- where to ---- */

static enum status parse_target(struct reset *r, const char *to, struct error *err)
{
    char *end;
    int64_t time_ms;
    enum status status;

    if (strcmp(to, "low") == 0) {
        r->target = r->log.low;
        return OK;
    }
    if (strcmp(to, "high") == 0) {
        r->target = r->log.high;
        return OK;
    }
    errno = 0;
    r->target = strtoll(to, &end, 10);
    if (end != to && *end == '\0' && errno == 0)
        return OK;
    if (!event_time_parse(text_of(to), &time_ms))
        return error_set(err, ERR_CONFIG,
                         "--to takes low, high, an offset, or a time with a zone like "
                         "2026-05-01T12:00:00Z, not \"%.60s\"",
                         to);
    status = kafka_offset_at(r->view.config, r->view.topic, r->p->partition, time_ms, ASK_MS,
                             &r->target, err);
    if (status == OK && r->target < 0)
        r->target = r->log.high; /* nothing is as late */
    return status;
}

/* What the move means, in numbers. Offsets of markers and of compacted records count too: these are
 * bounds from above. Of another log nothing below the target is known to be applied; and a shard
 * whose m is unusable may have applied all there is. */
static enum status plan(struct reset *r, struct error *err)
{
    const struct offsets_partition *p = r->p;
    int64_t applied_max = p->damaged > 0 || p->next_max > r->log.high ? r->log.high : p->next_max;
    int64_t from;

    if (r->target < r->log.low || r->target > r->log.high)
        return error_set(err, ERR_CONFIG,
                         "partition %d holds %" PRId64 " to %" PRId64 ": %" PRId64 " is outside",
                         (int)p->partition, r->log.low, r->log.high, r->target);
    if (p->log_number >= DATASET_LOG_MAX)
        return error_set(err, ERR_LIMIT,
                         "partition %d was reset %d times: rebuild under another "
                         "dataset.namespace",
                         (int)p->partition, DATASET_LOG_MAX);
    r->applied = p->next_least;
    if (p->recorded && p->shards_known < r->view.offsets.shards &&
        (r->applied < 0 || p->start < r->applied))
        r->applied = p->start; /* shards without an m begin there */
    from = r->applied < 0 ? r->log.low : r->applied;
    r->lost = from < r->log.low ? r->log.low - from : 0;
    from += r->lost;
    if (r->other_log)
        from = r->log.low;
    r->left_out = r->target > from ? r->target - from : 0;
    r->again = applied_max > r->target ? applied_max - r->target : 0;
    return OK;
}

static bool loses(const struct reset *r)
{
    return r->lost + r->left_out + r->p->outbox_rows > 0;
}

/* ---- is somebody at work? ---- */

static enum status check_group(struct reset *r, struct error *err)
{
    const char *group = config_text(r->view.config, "kafka.group");
    int members = 0;
    enum status status = kafka_group_members(r->view.config, group, ASK_MS, &members, err);

    r->members_known = status == OK;
    if (status == ERR_VERSION)
        return OK; /* these brokers cannot tell; Redis is watched in any case */
    if (status == OK && members > 0)
        return error_set(err, ERR_IN_USE,
                         "group \"%s\" has %d members: stop every ingest of it first, or it would "
                         "go on at its own offsets (one with a kafka.instance_id stays a member "
                         "until kafka.session_timeout has passed)",
                         group, members);
    return status;
}

/* On one connection, which holds WATCH and MULTI. */
static enum status call(struct redis_connection *connection, const char *const *words,
                        const struct redis_reply **reply, struct error *err)
{
    struct text arguments[10];
    int count = 0;

    for (; words[count] != NULL; count++)
        arguments[count] = text_of(words[count]);
    return redis_call(connection, ASK_MS, arguments, count, reply, err);
}
#define CALL_AT(connection, reply, err, ...)                                                       \
    call(connection, (const char *const[]){__VA_ARGS__, NULL}, reply, err)
/* To the node of the record, where shard 0 lies too. */
#define CALL(r, reply, err, ...)                                                                   \
    CALL_AT(redis_nodes_at((r)->view.nodes, 0), reply, err, __VA_ARGS__)

/* By the node of the key: what may be sent twice. */
static enum status call_shard(struct reset *r, const char *const *words,
                              const struct redis_reply **reply, struct error *err)
{
    struct text arguments[10];
    int count = 0;

    for (; words[count] != NULL; count++)
        arguments[count] = text_of(words[count]);
    return redis_nodes_call(r->view.nodes, ASK_MS, arguments, count, reply, err);
}
#define CALL_SHARD(r, reply, err, ...)                                                             \
    call_shard(r, (const char *const[]){__VA_ARGS__, NULL}, reply, err)

static void m_key(const struct reset *r, int shard, char key[REDIS_KEY_BYTES_MAX])
{
    size_t bytes = redis_key_meta(&r->view.keys, shard, r->view.topic, r->p->partition,
                                  r->p->log_number, key);

    key[bytes] = '\0';
}

static enum status watch_record(struct reset *r, const char *also, struct error *err)
{
    const struct redis_reply *reply;
    char set[REDIS_KEY_BYTES_MAX];
    size_t bytes = redis_key_set(&r->view.keys, set);
    enum status status;

    set[bytes] = '\0';
    status = CALL(r, &reply, err, "WATCH", set, also == NULL ? set : also);
    r->epoch = redis_connection_epoch(redis_nodes_at(r->view.nodes, 0));
    return status;
}

/* Is the record, which is watched, still what the plan was made from? */
static enum status check_record(struct reset *r, struct error *err)
{
    struct redis_dataset now;
    const struct dataset_partition *known;
    enum status status = redis_dataset_load(&now, redis_nodes_at(r->view.nodes, 0), &r->view.keys,
                                            ASK_MS, err);

    if (status != OK)
        return status;
    known = redis_dataset_partition(&now, r->view.topic, r->p->partition);
    if ((known != NULL) != r->p->recorded ||
        (known != NULL && known->log_number != r->p->log_number))
        status = error_set(
            err, ERR_IN_USE,
            "partition %d was reset or begun by somebody else meanwhile; the record was not "
            "changed",
            (int)r->p->partition);
    redis_dataset_clear(&now);
    return status;
}

/* ---- closing ---- */

/* 16 digits: the bytes of a token, and readable. */
static void draw_token(char token[STORE_TOKEN_BYTES + 1])
{
    uint8_t random[STORE_TOKEN_BYTES / 2];

    hash_random_bytes(random, sizeof random);
    hash_hex(token, random, sizeof random);
}

/* What the plan says of a shard must still hold: if it was applied to meanwhile, its numbers are
 * not those that the operator has agreed to. */
static enum status check_state(const struct reset *r, int shard, const char *was, struct error *err)
{
    struct store_state state;

    if (!store_state_parse(&state, text_of(was)) || state.next == r->p->next_of[shard])
        return OK;
    return error_set(err, ERR_IN_USE,
                     "partition %d went on while it was reset: stop every ingest, and run the "
                     "command again, which looks anew and finishes what was begun",
                     (int)r->p->partition);
}

/* The state of a shard as text, "" when there is none; *closed: it is closed already. connection:
 * the one that watches, or NULL. */
static enum status state_of(struct reset *r, struct redis_connection *connection, const char *key,
                            char was[STORE_STATE_TEXT_MAX], bool *closed, struct error *err)
{
    const struct redis_reply *reply;
    enum status status = connection == NULL
                             ? CALL_SHARD(r, &reply, err, "HGET", key, "state")
                             : CALL_AT(connection, &reply, err, "HGET", key, "state");

    was[0] = '\0';
    *closed = status == ERR_CORRUPT; /* of another type: nobody can use it as it is */
    if (*closed)
        return OK;
    if (status != OK || reply->type != REPLY_STRING)
        return status;
    *closed = text_equal(reply->text, text_of(OFFSETS_CLOSED));
    if (reply->text.bytes < STORE_STATE_TEXT_MAX)
        (void)snprintf(was, STORE_STATE_TEXT_MAX, "%.*s", TEXT_ARGS(reply->text));
    return OK;
}

static bool pause_for(int64_t wait_ms)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};
    int64_t until_us = clock_monotonic_us() + wait_ms * 1000;
    int64_t left_ms;

    while ((left_ms = (until_us - clock_monotonic_us()) / 1000) > 0 && !command_stopping())
        (void)poll(&stop, 1, (int)left_ms);
    return !command_stopping();
}

/* Puts what m held beside, and an unusable state and a token of nobody's in its place: all of it by
 * the transaction that ends the WATCH of m. */
static enum status close_watched(struct reset *r, struct redis_connection *connection,
                                 uint64_t epoch, const char *key, const char *was,
                                 struct error *err)
{
    char token[STORE_TOKEN_BYTES + 1];
    const char *const words[] = {"HSET",         key,      "token", token, "state",
                                 OFFSETS_CLOSED, "closed", was};
    const struct redis_reply *reply;
    enum status status = redis_transaction_begin(connection, epoch, err);

    if (status != OK)
        return status;
    draw_token(token);
    if (!redis_begin(connection, 8, 1024)) {
        redis_connection_fail(connection, ERR_FULL, "a transaction was given up");
        return error_set(err, ERR_FULL, "too much is waiting to be sent to redis");
    }
    for (int i = 0; i < 8; i++)
        redis_argument_text(connection, words[i]);
    status = redis_transaction_exec(connection, 1, ASK_MS, &reply, err);
    if (status == OK && reply->type != REPLY_ARRAY)
        return error_set(err, ERR_IN_USE,
                         "somebody claims partition %d: an ingest of this data set runs; stop it "
                         "first. Its state was not changed: only a token was stored, by which that "
                         "ingest was fenced, and claimed again",
                         (int)r->p->partition);
    return status;
}

/* Shard 0, if nobody claims it again for as long as --watch says. */
static enum status close_first(struct reset *r, struct error *err)
{
    char key[REDIS_KEY_BYTES_MAX], was[STORE_STATE_TEXT_MAX], token[STORE_TOKEN_BYTES + 1];
    const struct redis_reply *reply;
    bool closed;
    enum status status;

    m_key(r, 0, key);
    draw_token(token);
    status = CALL(r, &reply, err, "HSET", key, "token", token);
    if (status == ERR_CORRUPT) /* of another type: no ingest can work with it */
        status = OK;
    if (status == OK)
        status = watch_record(r, key, err);
    if (status == OK)
        status = check_record(r, err);
    if (status == OK)
        status = state_of(r, redis_nodes_at(r->view.nodes, 0), key, was, &closed, err);
    if (status == OK && !closed)
        status = check_state(r, 0, was, err);
    if (status == OK && !pause_for(command_duration_ms(r->line, "watch")))
        status = error_set(err, ERR_CANCELLED,
                           "interrupted; only a token was stored, which fences an ingest that "
                           "runs until it claims again");
    return status != OK || closed
               ? status
               : close_watched(r, redis_nodes_at(r->view.nodes, 0), r->epoch, key, was, err);
}

/* As shard 0, but nobody is waited for: who would claim the partition again finds that one closed.
 * What was on its way when the token was stored changes m, and so what is watched. */
static enum status close_shard(struct reset *r, int shard, struct error *err)
{
    struct redis_connection *connection;
    char key[REDIS_KEY_BYTES_MAX], was[STORE_STATE_TEXT_MAX], token[STORE_TOKEN_BYTES + 1];
    const struct redis_reply *reply;
    bool closed;
    uint64_t epoch;
    enum status status;

    m_key(r, shard, key);
    draw_token(token);
    status = state_of(r, NULL, key, was, &closed, err);
    if (status != OK || closed)
        return status;
    status = CALL_SHARD(r, &reply, err, "HSET", key, "token", token);
    if (status != OK)
        return status;
    connection = redis_nodes_of(r->view.nodes, redis_slot_of_shard(shard)); /* known by now */
    if (connection == NULL)
        return error_set(err, ERR_UNAVAILABLE, "the node of shard %d is not known", shard);
    status = CALL_AT(connection, &reply, err, "WATCH", key);
    epoch = redis_connection_epoch(connection);
    if (status == OK)
        status = state_of(r, connection, key, was, &closed, err);
    if (status == OK && closed)
        status = error_set(err, ERR_IN_USE, "partition %d is reset by somebody else, too",
                           (int)r->p->partition);
    if (status == OK)
        status = check_state(r, shard, was, err);
    if (status != OK)
        return status;
    status = close_watched(r, connection, epoch, key, was, err);
    if (status == ERR_IN_USE)
        return error_set(err, ERR_IN_USE,
                         "shard %d of partition %d was written while it was closed: stop every "
                         "ingest, and run the command again, which finishes what was begun",
                         shard, (int)r->p->partition);
    return status;
}

static void outbox_key(const struct reset *r, int shard, char key[REDIS_KEY_BYTES_MAX])
{
    size_t bytes = redis_key_outbox(&r->view.keys, shard, r->view.topic, r->p->partition,
                                    r->p->log_number, key);

    key[bytes] = '\0';
}

/* With every shard closed nobody adds rows: are there more than the operator has agreed to lose? A
 * tick of time alone adds some and leaves the position where it was. */
static enum status check_rows(struct reset *r, struct error *err)
{
    const struct redis_reply *reply;
    char key[REDIS_KEY_BYTES_MAX];
    enum status status = OK;
    int64_t rows = 0;

    for (int shard = 0; shard < r->view.offsets.shards && status == OK; shard++) {
        outbox_key(r, shard, key);
        status = CALL_SHARD(r, &reply, err, "XLEN", key);
        if (status == OK && reply->type == REPLY_INTEGER)
            rows += reply->integer;
    }
    if (status == OK && rows > r->p->outbox_rows)
        status = error_set(err, ERR_IN_USE,
                           "%" PRId64 " rows wait for the trainer, %" PRId64
                           " when it was looked at: run the command again, which looks anew and "
                           "finishes what was begun",
                           rows, r->p->outbox_rows);
    return status;
}

static enum status drop_outbox(struct reset *r, int shard, struct error *err)
{
    const struct redis_reply *reply;
    char key[REDIS_KEY_BYTES_MAX];

    outbox_key(r, shard, key);
    return CALL_SHARD(r, &reply, err, "DEL", key);
}

static enum status change_record(struct reset *r, struct error *err)
{
    struct dataset_partition anew = {.partition = r->p->partition,
                                     .log_number = r->p->log_number + 1,
                                     .start = r->target,
                                     .skipped = r->p->skipped + r->lost + r->left_out};

    (void)snprintf(anew.topic, sizeof anew.topic, "%s", r->view.topic);
    return redis_dataset_restart_partition(redis_nodes_at(r->view.nodes, 0), r->epoch,
                                           &r->view.keys, &anew, ASK_MS, err);
}

static enum status apply(struct reset *r, struct error *err)
{
    enum status status = close_first(r, err);

    /* From here on it is finished, or run again. An EXEC ends every WATCH of its connection, so the
     * record is watched when all shards are closed. */
    for (int shard = 1; shard < r->view.offsets.shards && status == OK; shard++)
        status = close_shard(r, shard, err);
    if (status == OK)
        status = watch_record(r, NULL, err);
    if (status == OK)
        status = check_record(r, err);
    if (status == OK)
        status = check_rows(r, err);
    for (int shard = 0; shard < r->view.offsets.shards && status == OK; shard++)
        status = drop_outbox(r, shard, err);
    if (status == OK)
        status = change_record(r, err);
    r->written = status == OK;
    if (r->written)
        log_event(LOG_WARN, "partition_reset", "a partition begins anew",
                  log_text("topic", r->view.topic), log_int("partition", r->p->partition),
                  log_int("offset", r->target), log_int("skipped", r->lost + r->left_out),
                  log_int("again", r->again));
    return status;
}

/* ---- what is said ---- */

static void print_json(const struct reset *r)
{
    char text[RESULT_BYTES];
    struct json_writer w;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_bool(&w, "applied", r->written);
    json_text(&w, "topic", text_of(r->view.topic));
    json_int(&w, "partition", r->p->partition);
    json_int(&w, "from", r->applied);
    json_int(&w, "to", r->target);
    json_int(&w, "log_number", r->p->log_number + 1);
    json_int(&w, "lost", r->lost);
    json_int(&w, "left_out", r->left_out);
    json_int(&w, "again", r->again);
    json_int(&w, "rows_dropped", r->p->outbox_rows);
    json_bool(&w, "stopped", r->stopped);
    json_bool(&w, "other_log", r->other_log);
    json_bool(&w, "exactly_once", !loses(r) && r->again == 0);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static void print_text(const struct reset *r)
{
    const char *will = r->written ? "will" : "would";

    if (r->applied < 0)
        (void)printf("partition %d of \"%s\": nothing of it was read yet\n", (int)r->p->partition,
                     r->view.topic);
    else
        (void)printf("partition %d of \"%s\": Redis has applied all below %" PRId64 "\n",
                     (int)r->p->partition, r->view.topic, r->applied);
    (void)printf("the log holds %" PRId64 " to %" PRId64 "; ingest %s begin at %" PRId64 "\n",
                 r->log.low, r->log.high, will, r->target);
    if (!r->stopped && !r->written)
        (void)printf("  it is not stopped: without a reset ingest would go on at %" PRId64 "\n",
                     r->resumes_at);
    if (r->other_log)
        (void)printf(
            "  this is not the log that was applied: of its records nothing is known to be\n");
    if (r->lost > 0)
        (void)printf("  lost: up to %" PRId64 " records, which the log no longer has\n", r->lost);
    if (r->left_out > 0)
        (void)printf("  left out: up to %" PRId64 " records that the log has are never applied\n",
                     r->left_out);
    if (r->p->outbox_rows > 0)
        (void)printf("  lost: %" PRId64 " examples and labels that wait for the trainer\n",
                     r->p->outbox_rows);
    if (r->again > 0)
        (void)printf("  again: up to %" PRId64 " records are applied a second time. Sequences stay "
                     "right: an event that is still in its user's sequence is known as a "
                     "duplicate; older ones are counted again, and their lists may be learnt from "
                     "twice\n",
                     r->again);
    if (!loses(r) && r->again == 0)
        (void)printf("  nothing is lost and nothing applied twice\n");
    else
        (void)printf("  for these records, and only for them, the effect is not exactly-once\n");
    (void)printf("  counts of the partition begin again at 0; the trainer keeps its own place in "
                 "the topic\n"
                 "  `freshet verify` %s no longer pass: users hold what was applied before, which "
                 "the new start leaves out\n",
                 r->written ? "can" : "could");
    if (r->written)
        (void)printf("done: start `freshet ingest`\n");
    else
        (void)printf("nothing was written: add --apply%s\n", loses(r) ? " and --accept-loss" : "");
}

static enum status open_partition(struct reset *r, struct error *err)
{
    int64_t number = command_int(r->line, "partition");
    struct offsets_view *v = &r->view;
    struct offsets_forecast *forecasts;
    enum status status = offsets_view_open(v, v->config, false, err);

    if (status != OK)
        return status;
    if (v->partitions == 0)
        return error_set(err, v->kafka.status, "%s", v->kafka.text);
    for (int i = 0; i < v->offsets.count && r->p == NULL; i++)
        if (v->offsets.list[i].partition == number) {
            r->p = &v->offsets.list[i];
            r->log = v->logs[i];
        }
    if (r->p == NULL || r->log.high < 0)
        return error_set(err, ERR_NOT_FOUND, "topic \"%s\" has no partition %" PRId64, v->topic,
                         number);
    forecasts = calloc((size_t)v->offsets.count, sizeof *forecasts);
    if (forecasts == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    status = offsets_view_forecast(v, r->p->partition, forecasts, err);
    r->other_log = forecasts[r->p - v->offsets.list].other_log;
    r->stopped = forecasts[r->p - v->offsets.list].stops;
    r->resumes_at = forecasts[r->p - v->offsets.list].position;
    free(forecasts);
    if (status == OK)
        status = parse_target(r, command_text(r->line, "to"), err);
    return status == OK ? plan(r, err) : status;
}

static int run_reset(struct command_line *line)
{
    struct reset r = {.line = line, .view = {.config = command_config(line)}};
    bool apply_it = command_flag(line, "apply");
    struct error err;
    enum status status = OK;
    int code = EXIT_DONE;

    if (r.view.config == NULL)
        return EXIT_USAGE;
    if (!command_given(line, "partition") || !command_given(line, "to"))
        return command_misused(line, "--partition and --to say what is reset, and where to");
    if (apply_it && command_flag(line, "dry-run"))
        return command_misused(line, "either --dry-run, which is the default, or --apply");
    if (apply_it) /* first: what somebody applies meanwhile would not be in the plan */
        status = check_group(&r, &err);
    if (status == OK && apply_it && !r.members_known &&
        command_duration_ms(line, "watch") < WATCH_LEAST_MS)
        return command_misused(line,
                               "these brokers do not say who is in the group: --watch is at least "
                               "%ds, for an ingest that runs claims the partition within a second",
                               WATCH_LEAST_MS / 1000);
    if (status == OK)
        status = open_partition(&r, &err);
    if (status == OK && apply_it && loses(&r) && !command_flag(line, "accept-loss"))
        status = error_set(&err, ERR_REJECTED,
                           "%" PRId64 " records and %" PRId64
                           " rows for the trainer would be lost: add --accept-loss if that is "
                           "meant; nothing was written",
                           r.lost + r.left_out, r.p->outbox_rows);
    if (status == OK && apply_it)
        status = apply(&r, &err);
    if (status != OK)
        code = command_fail(line, &err);
    else if (command_json(line))
        print_json(&r);
    else
        print_text(&r);
    if (r.written && !r.members_known)
        (void)fprintf(stderr, "these brokers do not say who is in the group; nobody claimed the "
                              "partition while Redis was watched\n");
    offsets_view_close(&r.view);
    return code;
}

static const struct option_row reset_options[] = {
    {"partition", OPTION_INT, "P", NULL, "of the events topic"},
    {"to", OPTION_TEXT, "WHERE", NULL,
     "low, high (the log's ends), an offset, or a time like 2026-05-01T12:00:00Z"},
    {"dry-run", OPTION_FLAG, NULL, NULL, "only say what it would mean; the default"},
    {"apply", OPTION_FLAG, NULL, NULL, "do it"},
    {"accept-loss", OPTION_FLAG, NULL, NULL, "with --apply: also when records are never applied"},
    {"watch", OPTION_DURATION, "TIME", "5s",
     "how long nobody may claim the partition before it is reset; ingest would within a second; "
     "at least 2s where brokers do not say who is in the group"},
    {0},
};

const struct command offsets_reset_command = {
    .name = "offsets reset",
    .summary = "let ingest begin a partition at another offset",
    .arguments = "",
    .help =
        "For a partition that ingest has stopped (`freshet offsets diff` says why): its log was "
        "re-created or truncated, or retention has taken records that were not applied.\n"
        "\n"
        "What it means for exactly-once:\n"
        "- records between what is applied and the new start are never applied. They are counted "
        "and stay so in `freshet offsets list`; --accept-loss is needed.\n"
        "- records from the new start on that were applied are applied again. A user's sequence "
        "stays right, for it knows what it holds; events older than the sequence are counted "
        "twice, and lists may be learnt from twice.\n"
        "- rows that wait for the trainer go with the old log; let ingest send them first where "
        "it still can.\n"
        "- everything else, and everything after, stays exactly-once. To be exact everywhere, "
        "rebuild instead: `freshet runbook state-lost`.\n"
        "\n"
        "Stop every ingest of the group first: the command refuses while the group has members, "
        "or while anybody claims the partition. Without --apply nothing is written.\n"
        "\n"
        "Examples:\n"
        "  freshet offsets reset --partition 3 --to low\n"
        "  freshet offsets reset --partition 3 --to low --apply --accept-loss\n"
        "  freshet offsets reset --partition 3 --to 2026-05-01T12:00:00Z\n",
    .options = reset_options,
    .run = run_reset,
};
