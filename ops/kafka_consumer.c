/*
 * ops/kafka_consumer.c - librdkafka's consumer, tamed: rebalances become events, reading begins
 * where the caller says, and every record carries the epoch of its assignment.
 *
 * Flow: broker -> [librdkafka's threads and queue] -> [poll: filter, count] -> records, events
 *
 * How an assignment is carried out. When the group gives us partitions, librdkafka is told that
 * we read none of them yet (an empty assign), which keeps us a member in good standing. Each
 * kafka_consumer_assign() marks its partition; the next poll hands librdkafka the whole set that
 * is to be read, each with its next offset: an eager group takes nothing but whole sets. The
 * call returns only after librdkafka has raised the version of what it restarted, so no record
 * that was fetched before can come out behind it. A second fence stands here: a record below the
 * partition's next offset is dropped and counted.
 *
 * Damaged records. librdkafka reports a batch whose checksum is wrong and goes on behind it: the
 * gap would look like one that a transaction leaves. So what follows is dropped and the partition
 * is fetched anew from where it was; again and again, ever more slowly, until the batch is whole
 * or an operator has deleted it. The same is done where a topic's ACL is taken away.
 *
 * Partitions that stand still. librdkafka 2.0.2 loses orders: a pause or resume that meets the
 * start of an assign may outdate it, or be outdated by it (its issues 2190 and 5591), and an offset
 * that was out of range ends the fetching even if another was assigned meanwhile: neither that
 * order nor its error has a version. So that error is believed only of the very offset that is
 * asked for, or when it comes again and again, and whatever has been silent for a while is looked
 * up in the statistics (ops/kafka_stall.h). Where fetching stands it is begun anew.
 */
#include "ops/kafka_consumer.h"

#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/kafka_client.h"
#include "ops/kafka_events.h"
#include "ops/kafka_stall.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SESSION_TIMEOUT_MS 45000
#define MAX_POLL_MS        300000
#define FETCH_WAIT_MAX_MS  10
#define QUEUE_BYTES_MAX    ((int64_t)64 << 20)
#define PARTITIONS_MAX     100000
/* Between two changes of what is read. librdkafka aborts the process when a partition is taken out
 * again before it has confirmed that it stopped (its issue 5573, mended after 2.15.0; there is no
 * way to ask), which takes it a millisecond when it is idle and some when its broker is slow. */
#define ASSIGN_GAP_US 100000
/* A partition that could not be read is tried at once, then after these, doubled. */
#define HOLD_FIRST_US 500000
#define HOLD_MAX_US   30000000
#define TROUBLE_US    3000000 /* without trouble for so long: it is over */
#define STALL_MS      20000   /* of silence, until it is asked whether a partition is fetched */
#define RANGE_TIMES   4       /* in a row, until an error of another offset is believed */

METRIC_COUNTER(consumed, "freshet_kafka_consumed_total", "records read from Kafka");
METRIC_COUNTER(consumed_bytes, "freshet_kafka_consumed_bytes_total",
               "bytes of keys and values read from Kafka");
METRIC_COUNTER(stale, "freshet_kafka_stale_total",
               "records dropped because their assignment had ended");
METRIC_COUNTER(gaps, "freshet_kafka_gap_offsets_total",
               "offsets that did not come: transaction markers, compaction, or loss");
METRIC_COUNTER(restarts, "freshet_kafka_fetch_restarts_total",
               "partitions fetched anew because librdkafka stood still or may have");
METRIC_COUNTER(rebalances, "freshet_kafka_rebalances_total", "assignments by the group");
METRIC_COUNTER(commit_failures, "freshet_kafka_commit_failures_total",
               "offset commits that failed; they are hints");

enum partition_state {
    PARTITION_NONE,     /* not ours */
    PARTITION_OURS,     /* assigned to us, not read */
    PARTITION_READ,     /* read from next_offset on */
    PARTITION_REVOKING, /* being taken away; the caller has not agreed yet */
};

struct partition {
    enum partition_state state;
    bool paused;
    bool due;           /* to be read from next_offset on, and librdkafka does not know it yet */
    int held_times;     /* in a row */
    int64_t held_to_us; /* 0: it is not held */
    struct kafka_stall stall;
    uint64_t epoch;
    int64_t next_offset;
};

struct kafka_consumer {
    struct kafka_access access; /* first: librdkafka's opaque is the whole */
    rd_kafka_t *client;
    char *topic;
    bool in_group;
    bool asks_group; /* or asks what it has committed */
    bool closing;
    bool fatal_told;
    bool down_told;      /* once a time that all brokers are down, not once an attempt */
    bool assign_due;     /* the set to be read has changed */
    int64_t assigned_us; /* when it was last handed over with something in it */
    int64_t polled_us;   /* the last poll */
    int64_t emptied_us;  /* the last poll that emptied librdkafka's queue */
    int64_t stall_us;
    int revoking_count;           /* partitions in PARTITION_REVOKING */
    int held_count;               /* partitions that are held */
    uint64_t epoch;               /* the newest that was given */
    struct partition *partitions; /* (partitions_count), by number */
    int partitions_count;
    struct kafka_events events;
    struct kafka_health health;
    int wake;                /* eventfd that librdkafka rings; -1 until it is asked for */
    rd_kafka_queue_t *queue; /* it rings for this one */
};

/* ---- partitions ------------------------------------------------------------------------- */

/* NULL: no such partition yet, or no memory. */
static struct partition *partition_at(struct kafka_consumer *c, int32_t number)
{
    return number >= 0 && number < c->partitions_count ? &c->partitions[number] : NULL;
}

static struct partition *partition_made(struct kafka_consumer *c, int32_t number)
{
    struct partition *grown;
    int count = number + 1 > 16 ? number + 1 : 16;

    if (number < 0 || number >= PARTITIONS_MAX)
        return NULL;
    if (number < c->partitions_count)
        return &c->partitions[number];
    grown = realloc(c->partitions, (size_t)count * sizeof *grown);
    if (grown == NULL)
        return NULL;
    memset(grown + c->partitions_count, 0, (size_t)(count - c->partitions_count) * sizeof *grown);
    c->partitions = grown;
    c->partitions_count = count;
    return &grown[number];
}

static int64_t gap_left_us(const struct kafka_consumer *c)
{
    int64_t left_us = c->assigned_us + ASSIGN_GAP_US - clock_monotonic_us();

    return c->assigned_us == 0 || left_us < 0 ? 0 : left_us;
}

/* Tells librdkafka to read nothing: ends a revocation, or begins an assignment. */
static void assign_nothing(struct kafka_consumer *c, bool unassign)
{
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code;

    clock_sleep_us(gap_left_us(c));
    code = rd_kafka_assign(c->client, unassign ? NULL : none);
    c->assigned_us = 0;
    rd_kafka_topic_partition_list_destroy(none);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_health_error(&c->health, code, rd_kafka_err2str(code), c->topic);
}

static void set_paused(struct kafka_consumer *c, int32_t number, bool paused)
{
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);

    (void)rd_kafka_topic_partition_list_add(one, c->topic, number);
    if (paused)
        (void)rd_kafka_pause_partitions(c->client, one);
    else
        (void)rd_kafka_resume_partitions(c->client, one);
    rd_kafka_topic_partition_list_destroy(one);
}

/* ---- partitions that cannot be read now ---------------------------------------------------- */

static void let_go(struct kafka_consumer *c, struct partition *p)
{
    c->held_count -= p->held_to_us != 0;
    p->held_to_us = 0;
}

/* Drops what comes until the partition is fetched anew from its next offset: at once for the first
 * time, later with patience. */
static void hold(struct kafka_consumer *c, struct partition *p)
{
    int64_t wait_us = p->held_times == 0 ? 1 : HOLD_FIRST_US;

    for (int i = 1; i < p->held_times && wait_us < HOLD_MAX_US; i++)
        wait_us *= 2;
    let_go(c, p);
    c->held_count++;
    p->held_to_us = clock_monotonic_us() + (wait_us < HOLD_MAX_US ? wait_us : HOLD_MAX_US);
    p->held_times++;
    p->due = true;
    c->assign_due = true;
}

static void release_held(struct kafka_consumer *c)
{
    int64_t now_us = clock_monotonic_us();

    for (int32_t i = 0; i < c->partitions_count && c->held_count > 0; i++)
        if (c->partitions[i].held_to_us != 0 && c->partitions[i].held_to_us <= now_us) {
            let_go(c, &c->partitions[i]);
            c->assign_due = true;
        }
    /* What was wrong with data or ACLs is over when reading goes on without being told again. */
    if (c->held_count == 0 && c->assigned_us != 0 && c->health.why[0] != '\0' &&
        now_us - c->health.why_us > TROUBLE_US &&
        c->health.why_reason != KAFKA_REASON_AUTHENTICATION)
        kafka_health_mended(&c->health);
}

/* Hands librdkafka the set of partitions to read, each with its next offset. */
static void carry_out_assign(struct kafka_consumer *c)
{
    rd_kafka_topic_partition_list_t *set;
    rd_kafka_resp_err_t code;

    release_held(c);
    /* While a revocation waits for its answer, an assign would be taken for it. */
    if (!c->assign_due || c->revoking_count > 0 || gap_left_us(c) > 0)
        return;
    set = rd_kafka_topic_partition_list_new(c->partitions_count);
    for (int32_t i = 0; i < c->partitions_count; i++)
        if (c->partitions[i].state == PARTITION_READ && c->partitions[i].held_to_us == 0)
            rd_kafka_topic_partition_list_add(set, c->topic, i)->offset =
                c->partitions[i].next_offset;
    code = rd_kafka_assign(c->client, set);
    c->assigned_us = clock_monotonic_us();
    rd_kafka_topic_partition_list_destroy(set);
    c->assign_due = false;
    for (int32_t i = 0; i < c->partitions_count; i++) {
        c->partitions[i].due = c->partitions[i].held_to_us != 0;
        kafka_stall_begin(&c->partitions[i].stall, c->assigned_us);
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_health_error(&c->health, code, rd_kafka_err2str(code), c->topic);
    /* Whether a pause outlives an assign differs between versions: say it again. */
    for (int32_t i = 0; i < c->partitions_count; i++)
        if (c->partitions[i].state == PARTITION_READ && c->partitions[i].paused)
            set_paused(c, i, true);
}

/* ---- partitions that stand still ------------------------------------------------------------ */

static bool is_silent(const struct kafka_consumer *c, const struct partition *p)
{
    return p->state == PARTITION_READ && !p->paused && !p->due && p->held_to_us == 0 &&
           kafka_stall_is_silent(&p->stall, c->polled_us, c->stall_us);
}

static void judge(struct kafka_consumer *c, const struct kafka_fetching *row)
{
    struct partition *p = &c->partitions[row->partition];

    if (!kafka_stall_judge(&p->stall, row, p->next_offset, c->polled_us))
        return;
    metric_add(&restarts, 1);
    log_event(LOG_WARN, "kafka_fetch_restarted",
              "a partition was not fetched any more; it is assigned anew",
              log_text("topic", c->topic), log_int("partition", row->partition),
              log_int("offset", p->next_offset), log_int("end", row->end));
    set_paused(c, row->partition, false); /* what was lost may have been a resume */
    hold(c, p);
}

/* Where librdkafka's queue is not emptied others wait for their turn, and nothing stands still. */
static void watch(struct kafka_consumer *c, const char *json, size_t bytes)
{
    struct kafka_fetching *rows;
    int count = 0;

    if (!DEFENCE(FETCH_WATCH) || !c->health.up || c->polled_us - c->emptied_us > c->stall_us / 2)
        return;
    for (int32_t i = 0; i < c->partitions_count; i++)
        count += is_silent(c, &c->partitions[i]);
    if (count == 0)
        return;
    rows = calloc((size_t)count, sizeof *rows);
    if (rows == NULL)
        return; /* the next statistics come in a second */
    count = 0;
    for (int32_t i = 0; i < c->partitions_count; i++)
        if (is_silent(c, &c->partitions[i]))
            rows[count++].partition = i;
    if (kafka_stall_look((struct text){json, bytes}, c->topic, rows, count))
        for (int i = 0; i < count; i++)
            judge(c, &rows[i]);
    free(rows);
}

/* ---- callbacks, all within our own polls --------------------------------------------------- */

static void on_assigned(struct kafka_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    metric_add(&rebalances, 1);
    if (list->cnt > 0)
        kafka_health_mended(&c->health); /* the group takes us */
    for (int i = 0; i < list->cnt; i++) {
        int32_t number = list->elems[i].partition;
        struct partition *p = partition_made(c, number);
        if (p == NULL) {
            kafka_events_put(&c->events, KAFKA_FATAL, number, KAFKA_OFFSET_NONE,
                             "a partition number beyond use");
            continue;
        }
        let_go(c, p);
        *p = (struct partition){.state = PARTITION_OURS, .next_offset = KAFKA_OFFSET_NONE};
        kafka_events_put(&c->events, KAFKA_ASSIGNED, number, KAFKA_OFFSET_NONE, "");
    }
    assign_nothing(c, false);
}

static void on_revoked(struct kafka_consumer *c, const rd_kafka_topic_partition_list_t *list,
                       bool lost)
{
    for (int i = 0; i < list->cnt; i++) {
        struct partition *p = partition_at(c, list->elems[i].partition);
        if (p == NULL || p->state == PARTITION_NONE || p->state == PARTITION_REVOKING)
            continue;
        let_go(c, p);
        p->state = PARTITION_REVOKING;
        c->revoking_count++;
        kafka_events_put(&c->events, KAFKA_REVOKED, list->elems[i].partition, p->next_offset,
                         lost ? "lost" : "");
    }
    c->assign_due = false; /* nothing is read any more */
    if (c->revoking_count == 0)
        assign_nothing(c, true);
}

static void on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka_consumer *c = opaque;

    if (c->closing)
        (void)rd_kafka_assign(client, NULL);
    else if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        on_assigned(c, list);
    else if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        on_revoked(c, list, rd_kafka_assignment_lost(client));
    else
        (void)rd_kafka_assign(client, NULL);
    rd_kafka_yield(client); /* so that the poll returns with the events */
}

static void put_fatal(struct kafka_consumer *c)
{
    char why[sizeof c->events.rows->text];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(c->client, why, sizeof why);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || c->fatal_told)
        return;
    c->fatal_told = true;
    kafka_health_error(&c->health, code, why, c->topic);
    bool fenced = DEFENCE(STATIC_FENCE) && code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
    kafka_events_put(&c->events, fenced ? KAFKA_FENCED : KAFKA_FATAL, -1, KAFKA_OFFSET_NONE, why);
}

static void on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct kafka_consumer *c = opaque;

    if (code == RD_KAFKA_RESP_ERR__FATAL)
        put_fatal(c);
    else
        kafka_health_error(&c->health, (rd_kafka_resp_err_t)code, reason, c->topic);
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !c->down_told)
        kafka_events_put(&c->events, KAFKA_DOWN, -1, KAFKA_OFFSET_NONE, reason);
    c->down_told = c->down_told || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
    rd_kafka_yield(client);
}

static void on_commit(rd_kafka_t *client, rd_kafka_resp_err_t code,
                      rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)client;
    (void)list;
    (void)opaque;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET)
        metric_add(&commit_failures, 1);
}

static int on_statistics(rd_kafka_t *client, char *json, size_t bytes, void *opaque)
{
    struct kafka_consumer *c = opaque;

    (void)client;
    kafka_health_statistics(&c->health, json, bytes);
    c->down_told = c->down_told && !c->health.up;
    watch(c, json, bytes);
    return 0; /* librdkafka frees it */
}

/* ---- opening and closing ------------------------------------------------------------------ */

static void set_options(struct kafka_settings *s, const struct kafka_consumer_options *o)
{
    int session_ms = o->session_timeout_ms > 0 ? o->session_timeout_ms : SESSION_TIMEOUT_MS;
    int max_poll_ms = o->max_poll_ms > 0 ? o->max_poll_ms : MAX_POLL_MS;
    int64_t queue_bytes = o->queue_bytes_max > 0 ? o->queue_bytes_max : QUEUE_BYTES_MAX;

    /* Without a group librdkafka still wants the name of one; nothing is ever committed to it. */
    kafka_set(s, "group.id",
              o->group != NULL       ? o->group
              : o->ask_group != NULL ? o->ask_group
                                     : "freshet-no-group");
    if (o->group != NULL && o->instance_id != NULL)
        kafka_set(s, "group.instance.id", o->instance_id);
    kafka_set_int(s, "session.timeout.ms", session_ms);
    kafka_set_int(s, "heartbeat.interval.ms", session_ms / 3 < 3000 ? session_ms / 3 : 3000);
    kafka_set_int(s, "max.poll.interval.ms", max_poll_ms > session_ms ? max_poll_ms : session_ms);
    kafka_set(s, "partition.assignment.strategy", "range");
    kafka_set(s, "enable.auto.commit", "false");
    kafka_set(s, "enable.auto.offset.store", "false");
    kafka_set(s, "auto.offset.reset", "error");
    kafka_set(s, "isolation.level",
              o->read_uncommitted || !DEFENCE(COMMITTED_ONLY) ? "read_uncommitted"
                                                              : "read_committed");
    kafka_set(s, "enable.partition.eof", o->end_events ? "true" : "false");
    kafka_set(s, "check.crcs", "true");
    kafka_set(s, "statistics.interval.ms", "1000");
    kafka_set_int(s, "fetch.wait.max.ms",
                  o->fetch_wait_max_ms > 0 ? o->fetch_wait_max_ms : FETCH_WAIT_MAX_MS);
    kafka_set(s, "fetch.error.backoff.ms", "1");
    kafka_set(s, "queued.min.messages", "10000000");
    kafka_set_int(s, "queued.max.messages.kbytes", queue_bytes / 1024);
    kafka_set_security(s, o->config);
    kafka_set_lines(s, o->properties);
}

static enum status subscribe(struct kafka_consumer *c, struct error *err)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code;

    (void)rd_kafka_topic_partition_list_add(topics, c->topic, RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(c->client, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OK;
    return error_set(err, ERR_CONFIG, "could not subscribe to topic \"%s\": %s", c->topic,
                     rd_kafka_err2str(code));
}

enum status kafka_consumer_open(struct kafka_consumer **consumer,
                                const struct kafka_consumer_options *options, struct error *err)
{
    struct kafka_settings settings;
    struct kafka_consumer *c;
    enum status status;

    assert(consumer != NULL && options != NULL && options->topic != NULL && err != NULL);
    *consumer = NULL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a Kafka consumer");
    c->wake = -1;
    kafka_health_begin(&c->health, KAFKA_CLIENT_CONSUMER, &c->access);
    c->in_group = options->group != NULL;
    c->asks_group = c->in_group || options->ask_group != NULL;
    c->stall_us = (options->stall_ms > 0 ? options->stall_ms : STALL_MS) * INT64_C(1000);
    c->topic = strdup(options->topic);
    status = c->topic == NULL ? error_set(err, ERR_NOMEM, "no memory for a Kafka consumer")
                              : kafka_settings_begin(&settings, &c->access, options->brokers,
                                                     options->client_id, err);
    if (status != OK)
        goto done;
    set_options(&settings, options);
    rd_kafka_conf_set_opaque(settings.conf, c);
    rd_kafka_conf_set_rebalance_cb(settings.conf, on_rebalance);
    rd_kafka_conf_set_error_cb(settings.conf, on_error);
    rd_kafka_conf_set_offset_commit_cb(settings.conf, on_commit);
    rd_kafka_conf_set_stats_cb(settings.conf, on_statistics);
    status = kafka_settings_open(&settings, RD_KAFKA_CONSUMER, &c->client, err);
    if (status != OK)
        goto done;
    (void)rd_kafka_poll_set_consumer(c->client);
    if (c->in_group)
        status = subscribe(c, err);
    if (status != OK)
        goto done;

    *consumer = c;
    c = NULL;
done:
    kafka_consumer_close(c);
    return status;
}

void kafka_consumer_close(struct kafka_consumer *c)
{
    if (c == NULL)
        return;
    c->closing = true;
    if (c->client != NULL) {
        /* A revocation that still waits for its answer would keep the close waiting too. */
        if (c->revoking_count > 0)
            assign_nothing(c, true);
        if (c->queue != NULL) {
            rd_kafka_queue_io_event_enable(c->queue, -1, NULL, 0);
            rd_kafka_queue_destroy(c->queue);
        }
        clock_sleep_us(gap_left_us(c));
        (void)rd_kafka_consumer_close(c->client);
        rd_kafka_destroy(c->client);
    }
    kafka_health_end(&c->health);
    if (c->wake >= 0)
        (void)close(c->wake);
    free(c->partitions);
    kafka_events_clear(&c->events);
    free(c->topic);
    free(c);
}

/* ---- polling ------------------------------------------------------------------------------ */

/* A batch that is not what was written: its checksum is wrong, or it cannot be unpacked. */
static void take_damage(struct kafka_consumer *c, const rd_kafka_message_t *m, struct partition *p)
{
    char text[KAFKA_ACCESS_TEXT];

    (void)snprintf(text, sizeof text,
                   "partition %d of %s is not read on: the batch at offset %" PRId64
                   " is damaged (%s)",
                   (int)m->partition, c->topic, m->offset, rd_kafka_err2str(m->err));
    kafka_health_error(&c->health, m->err, text, c->topic);
    if (DEFENCE(REFETCH) && p != NULL) {
        kafka_health_trouble(&c->health, KAFKA_REASON_CORRUPT, text);
        hold(c, p);
    }
}

/* An offset that is not in the log. The error may be of an assignment that was given up, even when
 * it comes behind the next, and has then perhaps ended the next one's fetching. Behind a gap it
 * names the offset that was asked for, which is not ours: asked for ours, it comes again. What
 * comes again and again without a record is believed, whatever offset it names. */
static void take_range(struct kafka_consumer *c, const rd_kafka_message_t *m, struct partition *p)
{
    if (DEFENCE(STALE_RANGE) && p->due) {
        metric_add(&stale, 1); /* it is fetched anew already */
        return;
    }
    kafka_health_error(&c->health, m->err, rd_kafka_message_errstr(m), c->topic);
    if (DEFENCE(STALE_RANGE) && m->offset != p->next_offset && p->held_times + 1 < RANGE_TIMES) {
        metric_add(&stale, 1);
        metric_add(&restarts, 1);
        hold(c, p);
        return;
    }
    p->state = PARTITION_OURS; /* not read until it is assigned anew */
    kafka_events_put(&c->events, KAFKA_OUT_OF_RANGE, m->partition, p->next_offset,
                     rd_kafka_message_errstr(m));
}

/* A message that carries an error in place of a record. */
static void take_error(struct kafka_consumer *c, const rd_kafka_message_t *m)
{
    struct partition *p = m->rkt == NULL ? NULL : partition_at(c, m->partition);
    bool ours = p != NULL && p->state == PARTITION_READ;

    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        /* Of a fetch that was given up, behind records that were dropped: not our end. */
        if (ours && !p->due)
            kafka_events_put(&c->events, KAFKA_END, m->partition, m->offset, "");
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (ours)
            take_range(c, m, p);
        else
            kafka_health_error(&c->health, m->err, rd_kafka_message_errstr(m), c->topic);
        return;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
        if (!ours || !p->due) /* else it is fetched anew already */
            take_damage(c, m, ours ? p : NULL);
        return;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        kafka_health_error(&c->health, m->err, rd_kafka_message_errstr(m), c->topic);
        if (ours && !p->due)
            hold(c, p);
        return;
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        if (c->asks_group) /* else librdkafka asks for a group that we have no use for */
            kafka_health_error(&c->health, m->err, rd_kafka_message_errstr(m), c->topic);
        return;
    case RD_KAFKA_RESP_ERR__FATAL:
        put_fatal(c);
        return;
    default:
        kafka_health_error(&c->health, m->err, rd_kafka_message_errstr(m), c->topic);
        put_fatal(c);
    }
}

static void take_headers(const rd_kafka_message_t *m, struct kafka_record *record)
{
    rd_kafka_headers_t *headers = NULL;
    const void *value = NULL;
    size_t bytes = 0;

    if (rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    if (rd_kafka_header_get_last(headers, "freshet-replayed", &value, &bytes) ==
        RD_KAFKA_RESP_ERR_NO_ERROR) {
        record->replayed = true;
        record->origin = (struct text){value, bytes};
    }
    if (rd_kafka_header_get_last(headers, "freshet-id", &value, &bytes) ==
        RD_KAFKA_RESP_ERR_NO_ERROR)
        record->header = (struct text){value, bytes};
}

/* False when the record is to be dropped. */
static bool take_record(struct kafka_consumer *c, rd_kafka_message_t *m,
                        struct kafka_record *record)
{
    struct partition *p = partition_at(c, m->partition);
    rd_kafka_timestamp_type_t type;

    if (p == NULL || p->state != PARTITION_READ || p->due || m->offset < p->next_offset) {
        metric_add(&stale, 1);
        return false;
    }
    if (m->offset > p->next_offset)
        metric_add(&gaps, (uint64_t)(m->offset - p->next_offset));
    p->next_offset = m->offset + 1;
    p->held_times = 0;
    kafka_stall_hear(&p->stall, c->polled_us);
    *record = (struct kafka_record){
        .partition = m->partition,
        .offset = m->offset,
        .timestamp_ms = rd_kafka_message_timestamp(m, &type),
        .epoch = p->epoch,
        .key = {m->key, m->key == NULL ? 0 : m->key_len},
        .value = {m->payload, m->payload == NULL ? 0 : m->len},
        .owner = m,
    };
    take_headers(m, record);
    return true;
}

/* librdkafka rings when its queue turns from empty to not: the bell is silenced before the queue is
 * read, never after. */
static void hush(struct kafka_consumer *c)
{
    uint64_t rings;

    if (c->wake >= 0 && read(c->wake, &rings, sizeof rings) != sizeof rings)
        return; /* it had not rung */
}

int kafka_consumer_descriptor(struct kafka_consumer *c)
{
    static const uint64_t one = 1;

    if (c->wake >= 0)
        return c->wake;
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->queue = rd_kafka_queue_get_consumer(c->client);
    if (c->wake >= 0 && c->queue != NULL)
        rd_kafka_queue_io_event_enable(c->queue, c->wake, &one, sizeof one);
    return c->wake;
}

int kafka_consumer_poll(struct kafka_consumer *c, int64_t timeout_ms, struct kafka_record *records,
                        int records_max, struct kafka_event *events, int *events_count)
{
    int64_t until_us;
    uint64_t bytes = 0;
    int wait_ms = timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms;
    int count = 0;

    assert(c != NULL && records_max > 0 && timeout_ms >= 0);
    c->polled_us = clock_monotonic_us();
    until_us = c->polled_us + timeout_ms * 1000;
    hush(c);
    carry_out_assign(c);
    if (c->assign_due && wait_ms > ASSIGN_GAP_US / 1000)
        wait_ms = ASSIGN_GAP_US / 1000; /* it is handed over by the next call */
    if (c->events.count > 0) {
        *events_count = kafka_events_take(&c->events, events);
        return 0;
    }
    while (count < records_max && c->events.count == 0) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(c->client, count == 0 ? wait_ms : 0);
        if (m == NULL) {
            c->emptied_us = c->polled_us;
            break;
        }
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && take_record(c, m, &records[count])) {
            bytes += records[count].key.bytes + records[count].value.bytes;
            count++;
            continue;
        }
        if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            take_error(c, m);
        rd_kafka_message_destroy(m);
        if (count == 0) {
            int64_t left_us = until_us - clock_monotonic_us();
            wait_ms = left_us > 0 ? (int)(left_us / 1000) : 0;
        }
    }
    metric_add(&consumed, (uint64_t)count);
    metric_add(&consumed_bytes, bytes);
    *events_count = kafka_events_take(&c->events, events);
    return count;
}

int64_t kafka_consumer_due_us(const struct kafka_consumer *c)
{
    if (c->held_count > 0 && c->revoking_count == 0)
        return clock_monotonic_us() + ASSIGN_GAP_US; /* rare, and nothing to be exact about */
    return c->assign_due && c->revoking_count == 0 ? c->assigned_us + ASSIGN_GAP_US : INT64_MAX;
}

void kafka_records_release(struct kafka_record *records, int count)
{
    for (int i = 0; i < count; i++) {
        if (records[i].owner != NULL)
            rd_kafka_message_destroy(records[i].owner);
        records[i].owner = NULL;
    }
}

/* ---- assignment ----------------------------------------------------------------------------- */

enum status kafka_consumer_assign(struct kafka_consumer *c, int32_t partition, int64_t offset,
                                  uint64_t *epoch, struct error *err)
{
    struct partition *p = c->in_group ? partition_at(c, partition) : partition_made(c, partition);

    assert(offset >= 0 && epoch != NULL && err != NULL);
    if (p == NULL && !c->in_group)
        return error_set(err,
                         partition < 0 || partition >= PARTITIONS_MAX ? ERR_NOT_FOUND : ERR_NOMEM,
                         "no room for partition %d of \"%s\"", (int)partition, c->topic);
    if (p == NULL || p->state == PARTITION_REVOKING || (c->in_group && p->state == PARTITION_NONE))
        return error_set(err, ERR_NOT_FOUND, "partition %d of \"%s\" is not ours", (int)partition,
                         c->topic);
    let_go(c, p);
    p->held_times = 0;
    p->stall.times = 0;
    p->state = PARTITION_READ;
    p->next_offset = offset;
    p->epoch = *epoch = ++c->epoch;
    p->due = true;
    c->assign_due = true;
    return OK;
}

void kafka_consumer_revoke(struct kafka_consumer *c, int32_t partition)
{
    struct partition *p = partition_at(c, partition);

    if (p == NULL || p->state == PARTITION_NONE)
        return;
    if (p->state != PARTITION_REVOKING) {
        c->assign_due = c->assign_due || p->state == PARTITION_READ;
        let_go(c, p);
        p->state = c->in_group ? PARTITION_OURS : PARTITION_NONE;
        return;
    }
    *p = (struct partition){.state = PARTITION_NONE};
    c->revoking_count--;
    if (c->revoking_count == 0)
        assign_nothing(c, true);
}

void kafka_consumer_pause(struct kafka_consumer *c, int32_t partition)
{
    struct partition *p = partition_at(c, partition);

    if (p == NULL || p->paused)
        return;
    p->paused = true;
    if (p->state == PARTITION_READ)
        set_paused(c, partition, true);
}

void kafka_consumer_resume(struct kafka_consumer *c, int32_t partition)
{
    struct partition *p = partition_at(c, partition);

    if (p == NULL || !p->paused)
        return;
    p->paused = false;
    kafka_stall_begin(&p->stall, clock_monotonic_us());
    if (p->state == PARTITION_READ)
        set_paused(c, partition, false);
}

void kafka_consumer_commit(struct kafka_consumer *c, int32_t partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *one;
    rd_kafka_resp_err_t code;

    if (!c->in_group)
        return;
    one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, c->topic, partition)->offset = offset;
    code = rd_kafka_commit(c->client, one, 1);
    rd_kafka_topic_partition_list_destroy(one);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        metric_add(&commit_failures, 1);
}

/* ---- questions ------------------------------------------------------------------------------ */

/* Why nobody answers lies in the queue, where no poll takes it while nothing is read. */
static void hear_errors(struct kafka_consumer *c)
{
    rd_kafka_message_t *m;

    if (c->in_group || c->assigned_us != 0 || c->assign_due)
        return; /* records might come, too */
    while ((m = rd_kafka_consumer_poll(c->client, 0)) != NULL) {
        take_error(c, m);
        rd_kafka_message_destroy(m);
    }
}

/* What a question was answered instead; where it is known what somebody must mend, that. */
static enum status no_answer(struct kafka_consumer *c, const char *question, int32_t partition,
                             rd_kafka_resp_err_t code, struct error *err)
{
    char text[KAFKA_ACCESS_TEXT];

    if (kafka_access_explain(&c->access, code, rd_kafka_err2str(code), c->topic, false, text))
        return error_set(err, kafka_status_of(code), "%s", text);
    hear_errors(c);
    if (c->health.why[0] != '\0')
        return error_set(err, kafka_status_of(code), "%s", c->health.why);
    return error_set(err, kafka_status_of(code), "%s of partition %d of \"%s\": %s", question,
                     (int)partition, c->topic, rd_kafka_err2str(code));
}

enum status kafka_consumer_limits(struct kafka_consumer *c, int32_t partition, int64_t timeout_ms,
                                  int64_t *low, int64_t *high, struct error *err)
{
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(c->client, c->topic, partition, low,
                                                                high, (int)timeout_ms);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OK;
    *low = *high = KAFKA_OFFSET_NONE;
    return no_answer(c, "limits", partition, code, err);
}

bool kafka_consumer_up(const struct kafka_consumer *c)
{
    return c->health.up;
}

const char *kafka_consumer_why(const struct kafka_consumer *c)
{
    return c->health.why;
}

int64_t kafka_consumer_high(struct kafka_consumer *c, int32_t partition)
{
    int64_t low, high;

    if (rd_kafka_get_watermark_offsets(c->client, c->topic, partition, &low, &high) !=
            RD_KAFKA_RESP_ERR_NO_ERROR ||
        high < 0)
        return KAFKA_OFFSET_NONE;
    return high;
}

enum status kafka_consumer_committed(struct kafka_consumer *c, int32_t partition,
                                     int64_t timeout_ms, int64_t *offset, struct error *err)
{
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code;

    *offset = KAFKA_OFFSET_NONE;
    (void)rd_kafka_topic_partition_list_add(one, c->topic, partition);
    code = rd_kafka_committed(c->client, one, (int)timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = one->elems[0].err;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && one->elems[0].offset >= 0)
        *offset = one->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(one);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OK;
    return no_answer(c, "committed offset", partition, code, err);
}
