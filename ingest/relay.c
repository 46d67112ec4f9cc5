/*
 * ingest/relay.c - the relay's thread and what it shares with the protocol thread.
 *
 * Everything shared lies in struct relay behind one lock; the thread alone touches its connection,
 * its producer and the rows on their way. A transfer is one chunk of one stream:
 *
 *     FREE -> READING -> SENDING -> ACKED -> TRIMMING -> FREE, and back to dirty when it failed
 */
#include "ingest/relay.h"

#include "features/example_origin.h"
#include "features/redis_call.h"
#include "ingest/crash_point.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "schemas/example.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TRANSFERS_MAX     64
#define IDLE_MS           200
#define BUSY_MS           2
#define REDIS_MS          5000
#define REPLY_BYTES       ((size_t)128 * 1024 * 1024) /* RELAY_ROWS_MAX of the largest rows */
#define TRIM_PATIENCE_US  5000000
#define PARTITION_NUMBERS 65536
#define OPAQUE_MARK       (UINT64_C(0xffffffff) << 32) /* with the partition below it */

METRIC_COUNTER(relayed, "freshet_relay_rows_total", "outbox rows acknowledged by Kafka");
METRIC_COUNTER(repeated, "freshet_relay_repeats_total", "chunks of outbox rows sent again");
METRIC_COUNTER(marked, "freshet_relay_marks_total", "marks sent to the examples topic");
METRIC_GAUGE(waiting, "freshet_relay_streams_waiting", "outboxes with rows not relayed yet");

struct mark {
    bool there;
    int64_t offset, watermark_ms;
};

struct partition {
    int32_t number;
    uint32_t log_number;
    bool active;
    uint64_t generation; /* raised by every assignment: older transfers mean nothing */
    struct mark mark, later, sent;
    uint64_t mark_serial;
    bool *dirty; /* (V) rows may be there */
    bool *busy;  /* (V) a transfer is under way */
    bool *holds; /* (V) may have rows below the mark */
};

enum transfer_state { FREE, READING, SENDING, ACKED, TRIMMING, TRIMMED };

struct transfer {
    enum transfer_state state;
    struct partition *partition;
    uint64_t generation, mark_serial;
    uint32_t serial; /* of its use of this place: delivery reports of an older one are dropped */
    int32_t number;
    uint32_t log_number;
    int shard;
    bool failed;
    int outstanding;
    int count;
    int64_t since_us; /* TRIMMING */
    struct store_id ids[RELAY_ROWS_MAX];
};

struct relay {
    struct relay_options options;
    struct redis_keys keys;
    char dataset[33], events[REDIS_TOPIC_MAX + 1], examples[REDIS_TOPIC_MAX + 1];
    struct kafka_producer_options producer_options;
    pthread_t thread;
    bool running;

    /* the thread's own */
    struct redis_nodes *nodes;
    struct kafka_producer *producer;
    uint8_t *mark_bytes;
    int picked[TRANSFERS_MAX], picked_count; /* transfers to be read now */

    atomic_bool stop;
    pthread_mutex_t lock;          /* everything below */
    bool woken;                    /* a byte lies in wake already */
    int wake, news;                /* eventfds: to the thread, to the protocol thread */
    struct partition **partitions; /* (partitions_count), by number */
    int partitions_count;
    struct transfer transfers[TRANSFERS_MAX];
    int next_partition, next_shard; /* where to look for dirty streams first */
    struct error why;
    bool why_redis; /* it was Redis that did not answer: the next answer ends it */
};

static void ring(int descriptor)
{
    uint64_t one = 1;

    /* An eventfd takes a byte short of 2^64 rings: it cannot be full. */
    if (write(descriptor, &one, sizeof one) != sizeof one)
        assert(errno == EAGAIN);
}

static void hush(int descriptor)
{
    uint64_t count;

    if (read(descriptor, &count, sizeof count) != sizeof count)
        assert(errno == EAGAIN);
}

static void wake_thread(struct relay *r) /* locked */
{
    if (!r->woken)
        ring(r->wake);
    r->woken = true;
}

static void hold_up(struct relay *r, enum status status, const char *why)
{
    pthread_mutex_lock(&r->lock);
    (void)error_set(&r->why, status, "%s", why);
    r->why_redis = false;
    pthread_mutex_unlock(&r->lock);
}

/* ---- partitions; all locked ---- */

static struct partition *find(struct relay *r, int32_t number)
{
    return number >= 0 && number < r->partitions_count ? r->partitions[number] : NULL;
}

static struct partition *make(struct relay *r, int32_t number)
{
    size_t V = (size_t)r->options.shards;
    struct partition *p = find(r, number);

    if (p != NULL || number < 0 || number >= PARTITION_NUMBERS)
        return p;
    if (number >= r->partitions_count) {
        int count = number + 16;
        struct partition **grown = realloc(r->partitions, (size_t)count * sizeof *grown);

        if (grown == NULL)
            return NULL;
        memset(grown + r->partitions_count, 0,
               (size_t)(count - r->partitions_count) * sizeof *grown);
        r->partitions = grown;
        r->partitions_count = count;
    }
    p = calloc(1, sizeof *p);
    if (p != NULL)
        p->dirty = calloc(3 * V, sizeof *p->dirty);
    if (p == NULL || p->dirty == NULL) {
        free(p);
        return NULL;
    }
    p->busy = p->dirty + V;
    p->holds = p->busy + V;
    p->number = number;
    r->partitions[number] = p;
    return p;
}

static void set_mark(struct relay *r, struct partition *p, struct mark mark)
{
    p->mark = mark;
    p->mark_serial++;
    for (int shard = 0; shard < r->options.shards; shard++)
        p->holds[shard] = p->dirty[shard] || p->busy[shard];
}

void relay_partition(struct relay *relay, int32_t partition, uint32_t log_number)
{
    struct partition *p;

    pthread_mutex_lock(&relay->lock);
    p = make(relay, partition);
    if (p != NULL) {
        p->log_number = log_number;
        p->active = true;
        p->generation++;
        p->mark = p->later = p->sent = (struct mark){0};
        memset(p->dirty, true, (size_t)relay->options.shards);
        memset(p->busy, 0, (size_t)relay->options.shards);
    }
    wake_thread(relay);
    pthread_mutex_unlock(&relay->lock);
}

void relay_forget(struct relay *relay, int32_t partition)
{
    struct partition *p;

    pthread_mutex_lock(&relay->lock);
    p = find(relay, partition);
    if (p != NULL) {
        p->active = false;
        p->generation++;
    }
    pthread_mutex_unlock(&relay->lock);
}

void relay_rows(struct relay *relay, int32_t partition, int shard)
{
    struct partition *p;

    pthread_mutex_lock(&relay->lock);
    p = find(relay, partition);
    if (p != NULL && p->active) {
        p->dirty[shard] = true;
        wake_thread(relay);
    }
    pthread_mutex_unlock(&relay->lock);
}

void relay_reconnected(struct relay *relay, int shard)
{
    pthread_mutex_lock(&relay->lock);
    for (int i = 0; i < relay->partitions_count; i++)
        if (relay->partitions[i] != NULL && relay->partitions[i]->active)
            relay->partitions[i]->dirty[shard] = true;
    wake_thread(relay);
    pthread_mutex_unlock(&relay->lock);
}

void relay_mark(struct relay *relay, int32_t partition, int64_t offset, int64_t watermark_ms)
{
    struct mark mark = {true, offset, watermark_ms};
    struct partition *p;

    pthread_mutex_lock(&relay->lock);
    p = find(relay, partition);
    if (p != NULL && p->active) {
        if (p->mark.there)
            p->later = mark;
        else
            set_mark(relay, p, mark);
        wake_thread(relay);
    }
    pthread_mutex_unlock(&relay->lock);
}

/* ---- transfers ---- */

/* A chunk came to its end, well or not; locked. */
static void finish(struct transfer *t, bool again)
{
    struct partition *p = t->partition;

    if (p->active && p->generation == t->generation) {
        p->busy[t->shard] = false;
        p->dirty[t->shard] |= again || (p->mark.there && p->holds[t->shard]);
    }
    t->state = FREE;
    t->serial++;
}

/* Finds dirty streams for the free places. */
static void pick(struct relay *r)
{
    int place = 0, looked = 0;
    int64_t all;

    r->picked_count = 0;
    pthread_mutex_lock(&r->lock);
    all = (int64_t)r->partitions_count * r->options.shards;
    for (; looked < all; looked++) {
        struct partition *p = r->partitions[r->next_partition];
        int shard = r->next_shard;

        if (p == NULL || !p->active)
            r->next_shard = r->options.shards - 1; /* nothing in this one */
        else if (p->dirty[shard] && !p->busy[shard]) {
            while (place < TRANSFERS_MAX && r->transfers[place].state != FREE)
                place++;
            if (place == TRANSFERS_MAX)
                break;
            r->transfers[place] = (struct transfer){.state = READING,
                                                    .partition = p,
                                                    .generation = p->generation,
                                                    .mark_serial = p->mark_serial,
                                                    .serial = r->transfers[place].serial,
                                                    .number = p->number,
                                                    .log_number = p->log_number,
                                                    .shard = shard};
            p->dirty[shard] = false;
            p->busy[shard] = true;
            r->picked[r->picked_count++] = place;
        }
        if (++r->next_shard == r->options.shards) {
            r->next_shard = 0;
            r->next_partition = (r->next_partition + 1) % r->partitions_count;
        }
    }
    pthread_mutex_unlock(&r->lock);
}

static bool append_xrange(struct relay *r, struct redis_connection *connection,
                          const struct transfer *t)
{
    char key[REDIS_KEY_BYTES_MAX];
    size_t bytes = redis_key_outbox(&r->keys, t->shard, r->events, t->number, t->log_number, key);

    if (!redis_begin(connection, 6, bytes + 128))
        return false;
    redis_argument_text(connection, "XRANGE");
    redis_argument(connection, key, bytes);
    redis_argument_text(connection, "-");
    redis_argument_text(connection, "+");
    redis_argument_text(connection, "COUNT");
    redis_argument_int(connection, RELAY_ROWS_MAX);
    return true;
}

static bool read_id(struct text text, struct store_id *id)
{
    char *end;

    errno = 0;
    id->high = strtoull(text.at, &end, 10);
    if (errno != 0 || *end != '-')
        return false;
    id->low = strtoull(end + 1, &end, 10);
    return errno == 0 && end == text.at + text.bytes;
}

static uint64_t opaque_of(const struct relay *r, const struct transfer *t)
{
    return (uint64_t)t->serial << 32 | (uint64_t)(t - r->transfers);
}

/* Produces one row; waits while the producer's queue is full. */
static enum status produce(struct relay *r, int32_t partition, struct text value,
                           const struct example_origin *origin, uint64_t opaque, struct error *err)
{
    char header[EXAMPLE_ORIGIN_BYTES_MAX];
    struct kafka_message message = {
        .topic = r->examples,
        .partition = partition,
        .value = value,
        .header = {header, example_origin_format(origin, header)},
        .opaque = opaque,
    };
    enum status status = kafka_produce(r->producer, &message, err);

    while (status == ERR_FULL && !r->stop) {
        kafka_producer_poll(r->producer, BUSY_MS);
        status = kafka_produce(r->producer, &message, err);
    }
    return status;
}

static enum status send_rows(struct relay *r, struct transfer *t, const struct redis_reply *rows,
                             struct error *err)
{
    enum status status = OK;

    for (int i = 0; i < rows->count && status == OK; i++) {
        const struct redis_reply *row = rows->elements[i];
        const struct redis_reply *fields = row->count == 2 ? row->elements[1] : NULL;
        struct example_origin origin = {
            .partition = t->number, .log_number = t->log_number, .shard = t->shard};

        if (fields == NULL || fields->count != 2 || fields->elements[1]->type != REPLY_STRING ||
            row->elements[0]->type != REPLY_STRING ||
            !read_id(row->elements[0]->text, &t->ids[t->count]))
            return error_set(err, ERR_MALFORMED, "an outbox row of shard %d is none of ours",
                             t->shard);
        memcpy(origin.dataset, r->dataset, sizeof origin.dataset);
        origin.id = t->ids[t->count];
        status = produce(r, t->shard % r->options.examples_partitions, fields->elements[1]->text,
                         &origin, opaque_of(r, t), err);
        if (status == OK) {
            t->count++;
            t->outstanding++;
        }
    }
    return status;
}

/* Takes one XRANGE's answer. */
static void take_rows(struct relay *r, struct transfer *t, const struct redis_reply *reply)
{
    struct error err = {.status = OK};
    bool rows = reply->type == REPLY_ARRAY && reply->count <= RELAY_ROWS_MAX;

    if (!rows) {
        if (redis_reply_status(reply, &err) == OK)
            (void)error_set(&err, ERR_MALFORMED, "redis answered XRANGE with something else");
    } else if (send_rows(r, t, reply, &err) == OK) {
        CRASH_POINT(after_outbox_produced);
    }
    if (err.status != OK) {
        hold_up(r, err.status, err.text);
        t->failed = true;
    }
    pthread_mutex_lock(&r->lock);
    if (rows && r->why_redis)
        (void)error_set(&r->why, OK, "%s", "");
    r->why_redis = !rows;
    if (!t->failed && t->partition->mark_serial == t->mark_serial && t->partition->mark.there &&
        (t->count == 0 || t->ids[0].high > (uint64_t)t->partition->mark.offset))
        t->partition->holds[t->shard] = false;
    if (t->count == 0)
        finish(t, t->failed);
    else
        t->state = SENDING;
    pthread_mutex_unlock(&r->lock);
}

/* Where an XRANGE was appended. */
struct asked {
    struct redis_connection *connection; /* NULL: nowhere */
    uint64_t epoch;
};

/* Appends each XRANGE to the connection of its stream's node, where that can be had now. A node
 * that is down is waited for once a round. */
static void ask_nodes(struct relay *r, struct asked asked[TRANSFERS_MAX], struct error *why)
{
    bool waited = false;

    (void)error_set(why, ERR_UNAVAILABLE, "redis is busy");
    for (int i = 0; i < r->picked_count; i++) {
        const struct transfer *t = &r->transfers[r->picked[i]];
        struct redis_connection *connection = redis_nodes_of(r->nodes,
                                                             redis_slot_of_shard(t->shard));
        enum status status = redis_call_wait_ready(connection, waited ? 0 : IDLE_MS, why);

        waited |= status != OK;
        asked[i] = (struct asked){0};
        if (status == OK && append_xrange(r, connection, t))
            asked[i] = (struct asked){connection, redis_connection_epoch(connection)};
    }
}

/* On a connection replies come in the order of its streams here, but for those that were asked
 * before it was lost and made anew: theirs never come, and the next one is another stream's. A
 * stream whose slot is on its way to another node is read again later, from there. */
static void read_streams(struct relay *r)
{
    struct asked asked[TRANSFERS_MAX] = {{0}};
    struct error err;
    int asking;

    ask_nodes(r, asked, &err);
    for (int i = 0; i < r->picked_count; i++) {
        struct transfer *t = &r->transfers[r->picked[i]];
        const struct redis_reply *reply = NULL;

        if (asked[i].connection != NULL &&
            redis_connection_epoch(asked[i].connection) == asked[i].epoch &&
            redis_call_receive(asked[i].connection, REDIS_MS, &reply, &err) == OK) {
            (void)redis_nodes_heed(r->nodes, asked[i].connection, reply, &asking);
            take_rows(r, t, reply);
            continue;
        }
        hold_up(r, err.status, err.text);
        pthread_mutex_lock(&r->lock);
        r->why_redis = true;
        finish(t, true);
        pthread_mutex_unlock(&r->lock);
    }
}

/* Kafka did not take it: it is sent again, unless a newer one is there. Without another event there
 * would never be one. */
static void repeat_mark(struct relay *r, int32_t partition)
{
    struct partition *p;

    pthread_mutex_lock(&r->lock);
    p = find(r, partition);
    if (p != NULL && p->active && p->sent.there && !p->mark.there)
        set_mark(r, p, p->sent);
    pthread_mutex_unlock(&r->lock);
}

static void mark_delivered(struct relay *r, int32_t partition, enum status status)
{
    if (status == OK) {
        hold_up(r, OK, ""); /* Kafka takes what we send */
        return;
    }
    hold_up(r, status,
            kafka_producer_why(r->producer)[0] == '\0' ? "kafka did not take a mark"
                                                       : kafka_producer_why(r->producer));
    repeat_mark(r, partition);
}

static void delivered(void *context, uint64_t opaque, enum status status, int32_t partition,
                      int64_t offset)
{
    struct relay *r = context;
    struct transfer *t;

    (void)partition;
    (void)offset;
    if (opaque >> 32 == OPAQUE_MARK >> 32) {
        mark_delivered(r, (int32_t)(opaque & 0xffffffffu), status);
        return;
    }
    t = &r->transfers[opaque & 0xffffffffu];
    if (t->serial != opaque >> 32)
        return;
    t->outstanding--;
    t->failed |= status != OK;
    if (status == OK)
        metric_add(&relayed, 1);
    else
        hold_up(r, status,
                kafka_producer_why(r->producer)[0] == '\0' ? "kafka did not take an example"
                                                           : kafka_producer_why(r->producer));
}

/* Moves on what was acknowledged, trimmed, or waits in vain. Returns how many are under way. */
static int settle(struct relay *r)
{
    int64_t now_us = clock_monotonic_us();
    int under_way = 0;
    bool news = false;

    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *t = &r->transfers[i];
        bool ours = t->state != FREE && t->partition->active &&
                    t->partition->generation == t->generation;

        if (t->state == SENDING && t->outstanding == 0) {
            if (t->failed || !ours) {
                metric_add(&repeated, t->failed);
                finish(t, true);
            } else {
                t->state = ACKED;
                t->since_us = now_us;
                news = true;
                (void)error_set(&r->why, OK, "%s", "");
            }
        } else if (t->state == TRIMMED) {
            finish(t, t->count == RELAY_ROWS_MAX);
        } else if ((t->state == ACKED || t->state == TRIMMING) &&
                   (!ours || now_us - t->since_us > TRIM_PATIENCE_US)) {
            metric_add(&repeated, ours);
            finish(t, true);
        }
        under_way += t->state != FREE;
    }
    pthread_mutex_unlock(&r->lock);
    if (news)
        ring(r->news);
    return under_way;
}

/* ---- marks ---- */

static bool next_mark(struct relay *r, int *from, struct example *mark, uint32_t *log_number)
{
    bool found = false;

    pthread_mutex_lock(&r->lock);
    for (; *from < r->partitions_count && !found; (*from)++) {
        struct partition *p = r->partitions[*from];

        if (p == NULL || !p->active || !p->mark.there ||
            memchr(p->holds, true, (size_t)r->options.shards) != NULL)
            continue;
        *mark = (struct example){.kind = EXAMPLE_MARK,
                                 .partition = p->number,
                                 .offset = p->mark.offset,
                                 .time_ms = p->mark.watermark_ms};
        *log_number = p->log_number;
        p->sent = p->mark;
        p->mark.there = false;
        if (p->later.there)
            set_mark(r, p, p->later);
        p->later.there = false;
        found = true;
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}

static void send_marks(struct relay *r)
{
    struct example mark;
    struct error err;
    uint32_t log_number;
    int from = 0;

    while (next_mark(r, &from, &mark, &log_number)) {
        struct example_origin origin = {
            .partition = mark.partition, .log_number = log_number, .shard = EXAMPLE_ORIGIN_MARK};
        size_t bytes = example_encode(&mark, r->mark_bytes, EXAMPLE_BYTES_MAX);
        enum status status = OK;

        memcpy(origin.dataset, r->dataset, sizeof origin.dataset);
        for (int32_t to = 0; to < r->options.examples_partitions && status == OK; to++)
            status = produce(r, to, (struct text){(const char *)r->mark_bytes, bytes}, &origin,
                             OPAQUE_MARK | (uint32_t)mark.partition, &err);
        if (status == OK) {
            metric_add(&marked, 1);
            continue;
        }
        hold_up(r, status, err.text);
        repeat_mark(r, mark.partition);
        break;
    }
}

/* ---- the thread ---- */

static void count_waiting(struct relay *r)
{
    int64_t streams = 0;

    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < r->partitions_count; i++)
        for (int shard = 0;
             r->partitions[i] != NULL && r->partitions[i]->active && shard < r->options.shards;
             shard++)
            streams += r->partitions[i]->dirty[shard] || r->partitions[i]->busy[shard];
    pthread_mutex_unlock(&r->lock);
    metric_set(&waiting, (double)streams);
}

static void *run(void *context)
{
    struct relay *r = context;
    struct pollfd ready = {.fd = r->wake, .events = POLLIN};
    bool stop = false;

    while (!stop) {
        pick(r);
        if (r->picked_count > 0)
            read_streams(r);
        kafka_producer_poll(r->producer, 0);
        int under_way = settle(r);

        send_marks(r);
        count_waiting(r);
        if (kafka_producer_pending(r->producer) > 0)
            kafka_producer_poll(r->producer, BUSY_MS);
        else
            (void)poll(&ready, 1, under_way > 0 ? BUSY_MS : IDLE_MS);
        pthread_mutex_lock(&r->lock);
        if (r->woken)
            hush(r->wake);
        r->woken = false;
        stop = r->stop;
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

static enum status open_all(struct relay *r, struct error *err)
{
    const struct redis_limits limits = {.reply_bytes = REPLY_BYTES, .reply_ms = REDIS_MS};
    enum status status;

    r->mark_bytes = malloc(EXAMPLE_BYTES_MAX);
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake < 0 || r->news < 0 || r->mark_bytes == NULL)
        return error_set(err, ERR_IO, "could not start the relay: %s", strerror(errno));
    status = redis_nodes_create(&r->nodes, r->options.target, &limits, "freshet-relay", err);
    if (status == OK)
        status = kafka_producer_open(&r->producer, &r->producer_options, err);
    if (status != OK)
        return status;
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        return error_set(err, ERR_NOMEM, "could not start the relay's thread");
    r->running = true;
    return OK;
}

enum status relay_start(struct relay **relay, const struct relay_options *options,
                        struct error *err)
{
    struct relay *r = calloc(1, sizeof *r);
    enum status status;

    *relay = NULL;
    if (r == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the relay");
    r->options = *options;
    r->keys = *options->keys;
    r->producer_options = *options->producer;
    r->producer_options.delivered = delivered;
    r->producer_options.context = r;
    (void)snprintf(r->dataset, sizeof r->dataset, "%s", options->dataset_id);
    (void)snprintf(r->events, sizeof r->events, "%s", options->events_topic);
    (void)snprintf(r->examples, sizeof r->examples, "%s", options->examples_topic);
    r->wake = r->news = -1;
    (void)pthread_mutex_init(&r->lock, NULL);
    status = open_all(r, err);
    if (status == OK)
        *relay = r;
    else
        relay_stop(r);
    return status;
}

void relay_stop(struct relay *relay)
{
    if (relay == NULL)
        return;
    if (relay->running) {
        pthread_mutex_lock(&relay->lock);
        relay->stop = true;
        wake_thread(relay);
        pthread_mutex_unlock(&relay->lock);
        (void)pthread_join(relay->thread, NULL);
    }
    kafka_producer_close(relay->producer, 0);
    redis_nodes_destroy(relay->nodes);
    for (int i = 0; i < relay->partitions_count; i++) {
        if (relay->partitions[i] == NULL)
            continue;
        free(relay->partitions[i]->dirty);
        free(relay->partitions[i]);
    }
    free(relay->partitions);
    free(relay->mark_bytes);
    if (relay->wake >= 0)
        close(relay->wake);
    if (relay->news >= 0)
        close(relay->news);
    (void)pthread_mutex_destroy(&relay->lock);
    free(relay);
}

/* ---- what the protocol thread asks ---- */

bool relay_take_trim(struct relay *relay, struct relay_trim *trim)
{
    bool found = false;

    pthread_mutex_lock(&relay->lock);
    hush(relay->news);
    for (int i = 0; i < TRANSFERS_MAX && !found; i++) {
        struct transfer *t = &relay->transfers[i];

        if (t->state != ACKED)
            continue;
        trim->partition = t->number;
        trim->shard = t->shard;
        trim->count = t->count;
        memcpy(trim->ids, t->ids, (size_t)t->count * sizeof *t->ids);
        t->state = TRIMMING;
        found = true;
    }
    pthread_mutex_unlock(&relay->lock);
    return found;
}

void relay_trimmed(struct relay *relay, int32_t partition, int shard)
{
    pthread_mutex_lock(&relay->lock);
    for (int i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *t = &relay->transfers[i];

        if (t->state == TRIMMING && t->number == partition && t->shard == shard)
            t->state = TRIMMED;
    }
    wake_thread(relay);
    pthread_mutex_unlock(&relay->lock);
}

int relay_descriptor(const struct relay *relay)
{
    return relay->news;
}

bool relay_idle(struct relay *relay)
{
    bool idle = true;

    pthread_mutex_lock(&relay->lock);
    for (int i = 0; i < TRANSFERS_MAX; i++)
        idle = idle && relay->transfers[i].state == FREE;
    for (int i = 0; i < relay->partitions_count && idle; i++) {
        const struct partition *p = relay->partitions[i];

        if (p != NULL && p->active)
            idle = !p->mark.there && memchr(p->dirty, true, (size_t)relay->options.shards) == NULL;
    }
    pthread_mutex_unlock(&relay->lock);
    return idle;
}

enum status relay_health(struct relay *relay, struct error *err)
{
    pthread_mutex_lock(&relay->lock);
    *err = relay->why;
    pthread_mutex_unlock(&relay->lock);
    return err->status;
}
