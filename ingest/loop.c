/*
 * ingest/loop.c - see loop.h. One turn is written as the machine's header says it: time first, then
 * what came in, then commands until there are none, then sleep.
 */
#include "ingest/loop.h"

#include "features/redis_policy.h"
#include "features/redis_store.h"
#include "ingest/crash_point.h"
#include "ingest/letter_box.h"
#include "ingest/loop_report.h"
#include "ingest/relay.h"
#include "ingest/schema_wait.h"
#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/hash.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_limits.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX      1024
#define SLEEP_MAX_US     200000
#define LETTERS_US       2000   /* how soon a delivery report is looked for */
#define FULL_POLL_US     100000 /* the machine is full: the group must still see us poll */
#define ASK_AGAIN_US     500000
#define REPORT_US        1000000
#define SCHEMA_WHY_BYTES 240
#define SCHEMA_US        20000 /* how soon a schema that was missing is looked for again */
#define POLICY_MS        5000  /* from one look at redis' eviction policy to the next */

METRIC_COUNTER(gaps, "freshet_ingest_stops_total", "partitions that were stopped");

/* A LIMITS command that Kafka has not answered yet. */
struct question {
    bool open, asked;
    int32_t partition;
    uint64_t ticket;
    int64_t due_us;
};

/* What is in flight on a shard; and one record whose way into Redis is timed. */
struct flight {
    enum store_kind kind;
    int32_t partition;
    bool records; /* it applies some */
    bool rows;    /* it deletes some */
    bool timed, timed_sent;
    int32_t timed_partition;
    int64_t timed_offset, timed_ms;
};

struct loop {
    struct loop_options o;
    char topic[REDIS_TOPIC_MAX + 1];
    struct event_decoder *decoder;
    struct kafka_consumer *consumer;
    struct kafka_limits *limits;
    struct redis_store *store;
    struct redis_policy *policy;
    struct machine *machine;
    struct letter_box *letters;
    struct relay *relay;
    struct loop_report *report;
    struct schema_wait *waiting; /* for their Avro schemas */
    int64_t schema_us;           /* when they were tried last */
    char schema_why[SCHEMA_WHY_BYTES];

    struct kafka_record records[RECORDS_MAX];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct question questions[MACHINE_PARTITIONS_MAX];
    int questions_open;
    struct flight *flights; /* (shards) */
    struct relay_trim trim; /* the machine had no room for it */
    bool trim_waits;

    bool begun[MACHINE_PARTITIONS_MAX * 16]; /* was read since we started, by number */
    bool draining, caught_up;
    int64_t now_us, full_polled_us, report_us;
    int64_t begun_ms; /* wall clock */
    int64_t first_record_us, last_commit_us;
    enum status ended; /* why the loop must end; OK: it need not */
    struct error why;
};

static void end(struct loop *l, enum status status, const char *why)
{
    if (l->ended == OK)
        l->ended = error_set(&l->why, status, "%s", why);
}

/* ---- from Kafka ---- */

static void time_record(struct loop *l, const struct kafka_record *record, struct text user)
{
    struct flight *f = &l->flights[rules_shard(&l->o.dataset->rules, user, l->o.dataset->shards)];

    if (f->timed || record->timestamp_ms < l->begun_ms) /* what waited for us says nothing */
        return;
    f->timed = true;
    f->timed_sent = false;
    f->timed_partition = record->partition;
    f->timed_offset = record->offset;
    f->timed_ms = record->timestamp_ms;
}

/* False when its Avro schema is not known yet: it must come again, before any behind it. */
static bool take_record(struct loop *l, const struct kafka_record *record)
{
    struct machine_record in = {
        .partition = record->partition,
        .epoch = record->epoch,
        .offset = record->offset,
        .timestamp_ms = record->timestamp_ms,
        .hash = store_record_hash(record->key, record->value, record->timestamp_ms),
        .replayed = record->replayed,
        .value = record->value,
    };
    struct event event;
    struct error err;
    enum status status = event_decode_record(l->decoder, record->key, record->value,
                                             record->timestamp_ms, &event, &in.refusal, &err);

    if (status == ERR_UNAVAILABLE) {
        (void)snprintf(l->schema_why, sizeof l->schema_why, "%s", err.text);
        return false;
    }
    if (status == ERR_NOMEM) {
        end(l, status, err.text);
        return true;
    }
    if (in.refusal == REFUSAL_NONE) {
        in.event = &event;
        time_record(l, record, event.user);
    }
    if (machine_record(l->machine, &in, &err) != OK)
        end(l, err.status, err.text);
    return true;
}

/* Hands the record on, or keeps it where it or one before it waits for a schema. */
static void take_or_keep(struct loop *l, struct kafka_record *record)
{
    bool waits = schema_wait_holds(l->waiting, record->partition);
    struct error err;

    if (!waits && take_record(l, record))
        return;
    if (!waits)
        kafka_consumer_pause(l->consumer, record->partition);
    if (schema_wait_add(l->waiting, record, &err) != OK)
        end(l, err.status, err.text);
}

/* Is the partition to be read, as far as the machine is concerned? */
static bool machine_reads_on(const struct loop *l, int32_t partition)
{
    struct machine_partition_view view;

    for (int i = 0; machine_partition_view(l->machine, i, &view); i++)
        if (view.partition == partition)
            return strcmp(view.state, "paused") != 0;
    return true;
}

static void tell_waiting(struct loop *l, int place)
{
    const struct kafka_record *record = schema_wait_first(l->waiting, place);

    if (schema_wait_tell(l->waiting, place, l->now_us))
        log_event(LOG_WARN, "partition_waits", l->schema_why,
                  log_int("partition", record->partition), log_int("offset", record->offset),
                  log_text("runbook", "freshet runbook avro-schemas"));
}

/* Takes up the records whose schemas have come. Returns how many. */
static int retry_waiting(struct loop *l)
{
    int taken = 0;

    if (schema_wait_count(l->waiting) == 0 || l->now_us - l->schema_us < SCHEMA_US || l->draining)
        return 0;
    l->schema_us = l->now_us;
    for (int i = 0; i < schema_wait_count(l->waiting);) {
        int32_t partition = schema_wait_first(l->waiting, i)->partition;
        bool passed = false, told = schema_wait_is_long(l->waiting, i, l->now_us);

        while (!passed && l->ended == OK && machine_room(l->machine) > 0 &&
               take_record(l, schema_wait_first(l->waiting, i))) {
            passed = schema_wait_pass(l->waiting, i);
            taken++;
        }
        if (!passed) {
            tell_waiting(l, i++);
            continue;
        }
        if (told)
            log_event(LOG_INFO, "partition_goes_on", "the schema is known",
                      log_int("partition", partition));
        if (machine_reads_on(l, partition))
            kafka_consumer_resume(l->consumer, partition);
    }
    return taken;
}

static void assigned(struct loop *l, int32_t partition)
{
    const struct dataset_partition *known = redis_dataset_partition(l->o.dataset, l->topic,
                                                                    partition);
    struct error err;

    log_event(LOG_INFO, "partition_assigned", "claiming a partition",
              log_int("partition", partition));
    loop_report_partition(l->report, partition, true);
    if (machine_assigned(l->machine, partition, known == NULL ? 0 : known->log_number, &err) != OK)
        end(l, err.status, err.text);
}

static void revoked(struct loop *l, const struct kafka_event *event)
{
    log_event(LOG_INFO, "partition_revoked", "handing a partition over",
              log_int("partition", event->partition), log_text("how", event->text));
    relay_forget(l->relay, event->partition);
    schema_wait_drop(l->waiting, event->partition);
    machine_revoked(l->machine, event->partition);
    loop_report_partition(l->report, event->partition, false);
    CRASH_POINT(in_rebalance);
    kafka_consumer_revoke(l->consumer, event->partition);
}

/* False when the brokers are down: then nothing was heard from the group. */
static bool take_event(struct loop *l, const struct kafka_event *event)
{
    switch (event->kind) {
    case KAFKA_ASSIGNED:
        assigned(l, event->partition);
        return true;
    case KAFKA_REVOKED:
        revoked(l, event);
        return true;
    case KAFKA_OUT_OF_RANGE:
        /* What is missing is found out by claiming anew: LIMITS comes before reading. */
        assigned(l, event->partition);
        return true;
    case KAFKA_DOWN:
        loop_report_kafka(l->report, event->text);
        return false;
    case KAFKA_FENCED:
        end(l, ERR_REPLACED, event->text);
        return false;
    case KAFKA_FATAL:
        end(l, ERR_UNAVAILABLE, event->text);
        return false;
    case KAFKA_END:
        loop_report_end(l->report, event->partition, event->offset);
        return true;
    }
    return true;
}

/* Returns how many records came. */
static int poll_kafka(struct loop *l)
{
    int room = machine_room(l->machine);
    int events = 0, records;
    bool heard = true;

    /* When the machine is full the group must see us poll all the same; the machine pauses its
     * partitions when that lasts, so that no record comes by it. */
    if (room <= 0 && (!DEFENCE(POLL_WHEN_FULL) || l->now_us - l->full_polled_us < FULL_POLL_US))
        return 0;
    l->full_polled_us = l->now_us;
    room = room <= 0 ? 1 : room > RECORDS_MAX ? RECORDS_MAX : room;
    records = kafka_consumer_poll(l->consumer, 0, l->records, room, l->events, &events);
    if (records > 0 && l->first_record_us == 0)
        l->first_record_us = l->now_us;
    if (records > 0)
        CRASH_POINT(after_poll);
    for (int i = 0; i < records && l->ended == OK && !l->draining; i++)
        take_or_keep(l, &l->records[i]);
    kafka_records_release(l->records, records);
    if (records > 0)
        CRASH_POINT(after_decode);
    for (int i = 0; i < events && l->ended == OK; i++)
        heard = take_event(l, &l->events[i]) && heard;
    if (heard)
        machine_polled(l->machine);
    return records + events;
}

/* ---- from Redis ---- */

static void take_reply(struct loop *l, int shard, const struct store_reply *reply)
{
    struct flight *f = &l->flights[shard];

    if (f->kind == STORE_CLAIM)
        CRASH_POINT(after_claim);
    if (f->kind == STORE_EXEC && f->timed && f->timed_sent) {
        if (reply->result == STORE_OK) {
            loop_report_freshness(l->report, (double)(clock_wall_ms() - f->timed_ms) / 1000);
            f->timed = false;
        }
        f->timed_sent = false;
    }
    if (f->kind == STORE_EXEC && f->records && reply->result == STORE_OK)
        l->last_commit_us = clock_monotonic_us();
    if (f->kind == STORE_TRIM) {
        CRASH_POINT(after_trim);
        if (reply->result == STORE_OK && f->rows)
            relay_trimmed(l->relay, f->partition, shard);
    }
    machine_reply(l->machine, shard, reply);
    if (f->kind == STORE_EXEC)
        CRASH_POINT(after_reply);
}

static int poll_redis(struct loop *l)
{
    struct redis_store_event event;
    int count = 0;

    redis_policy_step(l->policy, l->now_us);
    redis_store_step(l->store, l->now_us);
    while (redis_store_next(l->store, &event)) {
        count++;
        if (event.kind == REDIS_STORE_REPLY) {
            take_reply(l, event.shard, &event.reply);
        } else if (event.kind == REDIS_STORE_CONNECTED) {
            machine_connected(l->machine, event.shard);
            relay_reconnected(l->relay, event.shard);
        } else {
            l->flights[event.shard].timed = false;
            machine_disconnected(l->machine, event.shard);
        }
    }
    return count;
}

/* ---- from the producers ---- */

static void letter_delivered(void *context, uint64_t id)
{
    machine_letter_delivered(((struct loop *)context)->machine, id);
}

static void poll_letters(struct loop *l)
{
    struct error err;

    if (letter_box_step(l->letters, l->now_us, letter_delivered, l, &err) != OK)
        end(l, err.status, err.text);
}

static int poll_relay(struct loop *l)
{
    int taken = 0;

    while (l->trim_waits || relay_take_trim(l->relay, &l->trim)) {
        if (!l->trim_waits)
            CRASH_POINT(before_trim);
        l->trim_waits = !machine_trim(l->machine, l->trim.partition, l->trim.shard, l->trim.ids,
                                      l->trim.count);
        if (l->trim_waits)
            break;
        taken++;
    }
    return taken;
}

/* ---- commands ---- */

static void send_store(struct loop *l, const struct store_request *request)
{
    struct flight *f = &l->flights[request->shard];

    f->kind = request->kind;
    f->records = request->writes_count > 0;
    f->rows = request->ids_count > 0;
    f->partition = store_tp_partition(request->tp);
    for (int i = 0; request->kind == STORE_EXEC && f->timed && i < request->ms_count; i++)
        if (request->ms[i].has_state &&
            store_tp_partition(request->ms[i].tp) == f->timed_partition &&
            request->ms[i].state.next > f->timed_offset)
            f->timed_sent = true;
    if (request->kind == STORE_EXEC && request->writes_count > 0)
        CRASH_POINT(before_exec);
    redis_store_send(l->store, request);
    if (request->kind == STORE_EXEC && request->writes_count > 0)
        CRASH_POINT(after_exec_sent);
}

static void ask_limits(struct loop *l, const struct machine_command *command)
{
    int at = 0;

    /* A newer question about a partition replaces the older one. */
    while (at < MACHINE_PARTITIONS_MAX &&
           !(l->questions[at].open && l->questions[at].partition == command->partition))
        at++;
    for (int i = 0; at == MACHINE_PARTITIONS_MAX && i < MACHINE_PARTITIONS_MAX; i++)
        if (!l->questions[i].open)
            at = i;
    assert(at < MACHINE_PARTITIONS_MAX); /* the machine has no more partitions than that */
    l->questions_open += !l->questions[at].open;
    l->questions[at] = (struct question){.open = true,
                                         .partition = command->partition,
                                         .ticket = command->ticket,
                                         .due_us = l->now_us};
}

/* A rebuild begins a partition once. What is lost after that is lost again, and no less a reason to
 * stop than without it. */
static bool rebuilds(const struct loop *l, int32_t partition)
{
    return l->o.rebuild && ((size_t)partition >= sizeof l->begun || !l->begun[partition]);
}

/* The question that this answers; NULL: a newer one took its place, or the partition is gone. */
static struct question *question_of(struct loop *l, const struct kafka_limits_answer *answer)
{
    for (int i = 0; i < MACHINE_PARTITIONS_MAX; i++)
        if (l->questions[i].open && l->questions[i].ticket == answer->tag &&
            l->questions[i].partition == answer->partition)
            return &l->questions[i];
    return NULL;
}

/* Brokers are asked by a thread (ops/kafka_limits.h): a claim cannot go on without an answer, but
 * all else can. */
static int take_answers(struct loop *l)
{
    struct kafka_limits_answer answer;
    int count = 0;

    for (; kafka_limits_take(l->limits, &answer); count++) {
        struct question *q = question_of(l, &answer);

        if (q == NULL)
            continue;
        loop_report_question(l->report, answer.status == OK ? "" : answer.why.text);
        if (answer.status != OK) {
            q->asked = false;
            q->due_us = l->now_us + ASK_AGAIN_US;
            continue;
        }
        q->open = false;
        l->questions_open--;
        machine_limits(l->machine, q->partition, q->ticket, answer.low, answer.high,
                       rebuilds(l, q->partition) ? KAFKA_OFFSET_NONE : answer.group);
    }
    return count;
}

static void ask_questions(struct loop *l)
{
    struct error err;

    for (int i = 0; i < MACHINE_PARTITIONS_MAX && l->questions_open > 0; i++) {
        struct question *q = &l->questions[i];

        if (q->open && !q->asked && q->due_us <= l->now_us)
            q->asked = kafka_limits_ask(l->limits, q->partition, q->ticket, &err) == OK;
    }
}

static void read_from(struct loop *l, const struct machine_command *command)
{
    const struct dataset_partition *known = redis_dataset_partition(l->o.dataset, l->topic,
                                                                    command->partition);
    struct error err;
    uint64_t epoch;

    if (kafka_consumer_assign(l->consumer, command->partition, command->offset, &epoch, &err) !=
        OK) {
        /* It is being taken from us: its REVOKED is on the way. */
        log_event(LOG_INFO, "partition_not_read", err.text);
        return;
    }
    /* What was kept is of the assignment before, and so is a pause, of which the machine knows no
     * more. */
    schema_wait_drop(l->waiting, command->partition);
    loop_report_reading(l->report, command->partition);
    kafka_consumer_resume(l->consumer, command->partition);
    log_event(LOG_INFO, "partition_reading", "reading a partition",
              log_int("partition", command->partition), log_int("offset", command->offset));
    if ((size_t)command->partition < sizeof l->begun)
        l->begun[command->partition] = true;
    relay_partition(l->relay, command->partition, known == NULL ? 0 : known->log_number);
    machine_reading(l->machine, command->partition, command->ticket, epoch);
}

static void stop_partition(struct loop *l, const struct machine_command *command)
{
    metric_add(&gaps, 1);
    log_event(LOG_ERROR, "partition_stopped", stop_reason_text(command->reason),
              log_int("partition", command->partition),
              log_text("reason", stop_reason_names[command->reason]),
              log_int("offset", command->offset), log_int("found", command->found),
              log_text("runbook", "freshet runbook state-lost"));
    schema_wait_drop(l->waiting, command->partition);
    kafka_consumer_revoke(l->consumer, command->partition);
}

static void carry_out(struct loop *l, const struct machine_command *command)
{
    switch (command->kind) {
    case COMMAND_STORE:
        send_store(l, command->store);
        break;
    case COMMAND_LIMITS:
        ask_limits(l, command);
        break;
    case COMMAND_ASSIGN:
        read_from(l, command);
        break;
    case COMMAND_PAUSE:
        kafka_consumer_pause(l->consumer, command->partition);
        break;
    case COMMAND_RESUME:
        if (!schema_wait_holds(l->waiting, command->partition))
            kafka_consumer_resume(l->consumer, command->partition);
        break;
    case COMMAND_LETTER:
        letter_box_put(l->letters, &command->letter);
        break;
    case COMMAND_HINT:
        CRASH_POINT(before_tick_commit);
        kafka_consumer_commit(l->consumer, command->partition, command->offset);
        CRASH_POINT(after_tick_commit);
        break;
    case COMMAND_MARK:
        relay_mark(l->relay, command->partition, command->offset, command->watermark_ms);
        break;
    case COMMAND_OUTBOX:
        relay_rows(l->relay, command->partition, command->shard);
        break;
    case COMMAND_STOP:
        stop_partition(l, command);
        break;
    }
}

/* Returns how many were carried out. */
static int carry_out_all(struct loop *l)
{
    struct machine_command command;
    int count = 0;

    while (l->ended == OK && machine_next(l->machine, &command)) {
        carry_out(l, &command);
        count++;
    }
    ask_questions(l);
    return count;
}

/* ---- the loop ---- */

static void sleep_until_news(struct loop *l)
{
    struct pollfd ready[] = {
        {.fd = redis_store_descriptor(l->store), .events = POLLIN},
        {.fd = relay_descriptor(l->relay), .events = POLLIN},
        {.fd = kafka_limits_descriptor(l->limits), .events = POLLIN},
        {.fd = l->draining ? -1 : l->o.stop_descriptor, .events = POLLIN},
        {.fd = kafka_consumer_descriptor(l->consumer), .events = POLLIN},
    };
    nfds_t count = sizeof ready / sizeof *ready;
    int64_t until_us = machine_wakeup_us(l->machine);
    int64_t due_us = redis_store_due_us(l->store);
    int64_t kafka_us = kafka_consumer_due_us(l->consumer);
    struct timespec wait;
    int64_t wait_us;

    if (machine_room(l->machine) <= 0)
        count--; /* Kafka's bell rings for what we cannot take */
    until_us = due_us < until_us ? due_us : until_us;
    until_us = kafka_us < until_us ? kafka_us : until_us;
    wait_us = until_us - clock_monotonic_us();
    if (wait_us > SLEEP_MAX_US)
        wait_us = SLEEP_MAX_US;
    if (letter_box_pending(l->letters) > 0 && wait_us > LETTERS_US)
        wait_us = LETTERS_US;
    if (schema_wait_count(l->waiting) > 0 && wait_us > SCHEMA_US)
        wait_us = SCHEMA_US;
    if (wait_us <= 0)
        return;
    wait = (struct timespec){wait_us / 1000000, wait_us % 1000000 * 1000};
    (void)ppoll(ready, count, &wait, NULL);
}

static void report(struct loop *l)
{
    struct error relay_err;

    if (l->now_us - l->report_us < REPORT_US)
        return;
    l->report_us = l->now_us;
    if (relay_health(l->relay, &relay_err) == ERR_REPLACED)
        end(l, ERR_REPLACED, relay_err.text);
    loop_report_schemas(l->report, schema_wait_long(l->waiting, l->now_us), l->schema_why);
    l->caught_up = loop_report_now(l->report, l->machine, l->consumer, l->store,
                                   relay_err.status == OK ? letter_box_why(l->letters)
                                                          : relay_err.text,
                                   redis_policy_why(l->policy));
}

/* One turn; true when something happened, so that the next one should come at once. */
static bool turn(struct loop *l)
{
    int happened = 0;

    l->now_us = clock_monotonic_us();
    machine_time(l->machine, clock_wall_ms(), l->now_us);
    happened += poll_kafka(l);
    happened += retry_waiting(l);
    happened += poll_redis(l);
    poll_letters(l);
    happened += poll_relay(l);
    happened += take_answers(l);
    happened += carry_out_all(l);
    report(l);
    return happened > 0;
}

static bool finished(struct loop *l)
{
    return l->o.until_end && l->caught_up && relay_idle(l->relay) &&
           letter_box_pending(l->letters) == 0;
}

/* Commits what was read, ticks once more, lets the relay finish. */
static enum status drain(struct loop *l, struct error *err)
{
    int64_t until_us = clock_monotonic_us() + l->o.drain_ms * 1000;
    bool drained = false;

    l->draining = true;
    loop_report_draining(l->report);
    log_event(LOG_INFO, "draining", "committing what was read");
    machine_time(l->machine, clock_wall_ms(), clock_monotonic_us());
    machine_drain(l->machine);
    CRASH_POINT(drain_begun);
    while (l->ended == OK && clock_monotonic_us() < until_us) {
        if (!drained && machine_drained(l->machine)) {
            drained = true;
            CRASH_POINT(drain_ticked);
        }
        if (drained && relay_idle(l->relay))
            break;
        if (!turn(l))
            sleep_until_news(l);
    }
    if (l->ended != OK) {
        *err = l->why;
        return l->ended;
    }
    if (!drained)
        return error_set(err, ERR_TIMEOUT,
                         "not everything was committed within %lld ms: it will be read again",
                         (long long)l->o.drain_ms);
    return OK;
}

enum status loop_run(struct loop *l, struct error *err)
{
    enum status status = OK;

    while (l->ended == OK && !(l->o.stopping != NULL && l->o.stopping()) && !finished(l))
        if (!turn(l))
            sleep_until_news(l);
    if (l->ended != OK) {
        *err = l->why;
        return l->ended;
    }
    if (DEFENCE(DRAIN))
        status = drain(l, err);
    schema_wait_destroy(l->waiting); /* its records are the consumer's */
    l->waiting = NULL;
    kafka_consumer_close(l->consumer);
    l->consumer = NULL;
    CRASH_POINT(drain_left);
    return status;
}

/* ---- opening and closing ---- */

static void random_bytes(void *context, void *into, size_t bytes)
{
    (void)context;
    hash_random_bytes(into, bytes);
}

static enum status open_machine(struct loop *l, struct error *err)
{
    const struct config *config = l->o.config;
    struct machine_options options = {
        .shards = l->o.dataset->shards,
        .rules = &l->o.dataset->rules,
        .max_future_skew_ms = l->o.dataset->max_future_skew_ms,
        .ttl_ms = config_duration_ms(config, "features.ttl"),
        .linger_us = config_duration_ms(config, "ingest.linger") * 1000,
        .batch_target = (int)config_int(config, "ingest.batch"),
        .batch_max = (int)config_int(config, "ingest.batch_max"),
        .backlog_max = (int)config_int(config, "ingest.backlog"),
        .backlog_bytes = config_size_bytes(config, "ingest.backlog_memory"),
        .cache_bytes = config_size_bytes(config, "ingest.cache"),
        .outbox_max = config_int(config, "ingest.outbox"),
        .letters_at_once = LETTER_BOX_MAX,
        .wait_replicas = (int)config_int(config, "redis.wait_replicas"),
        .wait_ms = (int)config_duration_ms(config, "redis.wait"),
        .random = random_bytes,
    };

    return machine_create(&l->machine, &options, err);
}

static enum status open_store(struct loop *l, struct error *err)
{
    const struct config *config = l->o.config;
    struct redis_store_options options = {
        .target = l->o.target,
        .keys = l->o.keys,
        .topic = l->topic,
        .shards = l->o.dataset->shards,
        .limits = {.connect_ms = config_duration_ms(config, "redis.connect_timeout"),
                   .reply_ms = config_duration_ms(config, "redis.reply_timeout")},
    };

    l->flights = calloc((size_t)options.shards, sizeof *l->flights);
    if (l->flights == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the loop");
    if (redis_policy_create(&l->policy, l->o.target, POLICY_MS, err) != OK)
        return err->status;
    return redis_store_create(&l->store, &options, err);
}

static enum status open_producers(struct loop *l, struct error *err)
{
    const struct config *config = l->o.config;
    struct kafka_producer_options producer = {0};
    struct relay_options relay = {
        .target = l->o.target,
        .keys = l->o.keys,
        .dataset_id = l->o.dataset->id,
        .events_topic = l->topic,
        .examples_topic = config_text(config, "kafka.topics.examples"),
        .shards = l->o.dataset->shards,
        .examples_partitions = l->o.dataset->examples_partitions,
        .producer = &producer,
    };
    enum status status;

    kafka_producer_options_from(&producer, config);
    status = letter_box_open(&l->letters, &producer, config_text(config, "kafka.topics.dead"),
                             l->topic, err);
    return status == OK ? relay_start(&l->relay, &relay, err) : status;
}

static enum status open_consumer(struct loop *l, struct error *err)
{
    struct kafka_consumer_options options = {0};
    enum status status;

    kafka_consumer_options_from(&options, l->o.config, "kafka.topics.events");
    options.end_events = true; /* behind the last record may lie markers of transactions */
    status = kafka_limits_start(&l->limits, &options, err);
    return status == OK ? kafka_consumer_open(&l->consumer, &options, err) : status;
}

enum status loop_open(struct loop **loop, const struct loop_options *options, struct error *err)
{
    struct loop *l = calloc(1, sizeof *l);
    enum status status;

    *loop = NULL;
    if (l == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the loop");
    l->o = *options;
    l->begun_ms = clock_wall_ms();
    (void)snprintf(l->topic, sizeof l->topic, "%s",
                   config_text(options->config, "kafka.topics.events"));
    l->report = loop_report_create(options->set_ready, options->context,
                                   config_real(options->config, "ingest.poison_share"),
                                   config_duration_ms(options->config, "ingest.poison_window"));
    if (l->report == NULL) {
        loop_close(l);
        return error_set(err, ERR_NOMEM, "no memory for the loop");
    }
    l->waiting = schema_wait_create();
    status = l->waiting == NULL ? error_set(err, ERR_NOMEM, "no memory for the loop")
                                : event_decoder_create(&l->decoder, options->schema, err);
    if (status == OK)
        status = open_machine(l, err);
    if (status == OK)
        status = open_store(l, err);
    if (status == OK)
        status = open_producers(l, err);
    if (status == OK)
        status = open_consumer(l, err);
    if (status == OK)
        *loop = l;
    else
        loop_close(l);
    return status;
}

void loop_close(struct loop *loop)
{
    if (loop == NULL)
        return;
    schema_wait_destroy(loop->waiting); /* its records are the consumer's */
    kafka_consumer_close(loop->consumer);
    kafka_limits_stop(loop->limits);
    relay_stop(loop->relay);
    letter_box_close(loop->letters);
    machine_destroy(loop->machine);
    redis_store_destroy(loop->store);
    redis_policy_destroy(loop->policy);
    event_decoder_destroy(loop->decoder);
    loop_report_destroy(loop->report);
    free(loop->flights);
    free(loop);
}

const struct machine_stats *loop_stats(struct loop *loop)
{
    return machine_stats(loop->machine);
}

double loop_busy_seconds(const struct loop *loop)
{
    return loop->last_commit_us <= loop->first_record_us
               ? 0
               : (double)(loop->last_commit_us - loop->first_record_us) / 1e6;
}

const char *loop_stopped(const struct loop *loop)
{
    return loop_report_stopped(loop->report, loop->machine);
}
