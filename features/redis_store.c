/*
 * features/redis_store.c - requests out, replies in, a lane for each shard.
 *
 * A lane keeps the request in flight and collects its answer: replies of one pipeline arrive one by
 * one and each is gone with the next, so what the machine needs of them is copied into the lane's
 * arena. The lanes' descriptors are in one epoll set, whose descriptor the loop polls: 64
 * connections cost the loop as much as one.
 */
#include "features/redis_store.h"

#include "ops/arena.h"
#include "ops/clock.h"
#include "ops/defence.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ARENA_BLOCK   (256 * 1024)
#define ARENA_LIMIT   ((size_t)1024 * 1024 * 1024)
#define EVENTS_MAX    64
#define COMMAND_ABOUT 256 /* bytes of a command without its value */
#define ID_TEXT_MAX   48
#define REFUSAL_MAX   240

/* Replies of a pipeline come in phases; a phase is what one command, or a run of them, answers. */
enum phase {
    PHASE_DONE,
    PHASE_IGNORE, /* UNWATCH, MULTI: only an error matters */
    PHASE_QUEUED, /* commands inside MULTI */
    PHASE_EXEC,   /* of a commit */
    PHASE_CLAIM,  /* EXEC of a claim */
    PHASE_XINFO,
    PHASE_WAIT,
    PHASE_WATCH,
    PHASE_M,
    PHASE_VALUE,
    PHASE_HSETNX,
    PHASE_START,
    PHASE_RECORD, /* is there a data set at all? */
    PHASE_XDEL,
    PHASE_XLEN,
    PHASE_ROWS,
};

#define PHASES_MAX 12
struct step {
    enum phase phase;
    int left;
};

struct lane {
    struct redis_connection *connection;
    int registered; /* descriptor in the epoll set, -1: none */
    uint32_t events;
    bool touched; /* may have something to tell */

    bool up; /* the machine knows it as connected, by this epoch */
    uint64_t epoch;
    const struct store_request *request;
    struct step steps[PHASES_MAX];
    int steps_count, step;
    bool behind; /* we are past the EXEC: errors spare it */
    bool read_failed;
    int taken;  /* replies of the present phase so far */
    int queued; /* commands between MULTI and EXEC */
    struct arena *arena;
    struct store_m *ms;
    struct store_value *values;
    int64_t *lengths;
    struct store_reply reply;
    bool complete;
    char refusal[REFUSAL_MAX]; /* why the last write was refused; "": it was not */
};

struct redis_store {
    struct redis_topology *topology;
    struct redis_keys keys;
    char topic[REDIS_TOPIC_MAX + 1];
    int shards;
    int epoll;
    struct lane *lanes;
    int connected;
    int next; /* lane to look at next for events */
};

enum status redis_store_create(struct redis_store **store,
                               const struct redis_store_options *options, struct error *err)
{
    struct redis_store *s;
    enum status status = OK;

    *store = NULL;
    if (options->shards < 1 || options->shards > STORE_SHARDS_MAX ||
        strlen(options->topic) > REDIS_TOPIC_MAX)
        return error_set(err, ERR_LIMIT, "a store of %d shards cannot be", options->shards);
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a store");
    status = redis_topology_create(&s->topology, options->target, err);
    s->keys = *options->keys;
    (void)snprintf(s->topic, sizeof s->topic, "%s", options->topic);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->lanes = calloc((size_t)options->shards, sizeof *s->lanes);
    if (status == OK && (s->epoll < 0 || s->lanes == NULL))
        status = error_set(err, s->lanes == NULL ? ERR_NOMEM : ERR_IO, "could not make a store");
    for (; status == OK && s->shards < options->shards; s->shards++) {
        struct lane *lane = &s->lanes[s->shards];
        char name[32];

        (void)snprintf(name, sizeof name, "freshet-ingest-%02x", (unsigned)s->shards);
        lane->registered = -1;
        lane->arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
        status = redis_connection_create_in(&lane->connection, s->topology,
                                            redis_slot_of_shard(s->shards), &options->limits, name,
                                            err);
    }
    if (status != OK) {
        redis_store_destroy(s);
        return status;
    }
    *store = s;
    return OK;
}

void redis_store_destroy(struct redis_store *store)
{
    if (store == NULL)
        return;
    for (int shard = 0; store->lanes != NULL && shard < store->shards; shard++) {
        redis_connection_destroy(store->lanes[shard].connection);
        arena_destroy(store->lanes[shard].arena);
    }
    if (store->epoll >= 0)
        close(store->epoll);
    free(store->lanes);
    redis_topology_destroy(store->topology);
    free(store);
}

/* ---- the poll loop ---- */

/* Keeps the epoll set in step with a connection. A descriptor that was closed left the set by
 * itself; a connection never gets a new one without having been seen without. */
static void follow(struct redis_store *s, struct lane *lane)
{
    int descriptor = redis_connection_descriptor(lane->connection);
    short wants = redis_connection_wants(lane->connection);
    struct epoll_event event = {
        .events = (uint32_t)((wants & POLLIN ? EPOLLIN : 0) | (wants & POLLOUT ? EPOLLOUT : 0)),
        .data.u32 = (uint32_t)(lane - s->lanes)};

    lane->touched = true;
    if (descriptor == lane->registered && event.events == lane->events)
        return;
    if (descriptor >= 0)
        (void)epoll_ctl(s->epoll, descriptor == lane->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                        descriptor, &event);
    lane->registered = descriptor;
    lane->events = event.events;
}

int redis_store_descriptor(const struct redis_store *store)
{
    return store->epoll;
}

int64_t redis_store_due_us(const struct redis_store *store)
{
    int64_t due_us = INT64_MAX;

    for (int shard = 0; shard < store->shards; shard++) {
        const struct lane *lane = &store->lanes[shard];
        /* What a step has read already, the one that sent it perhaps, no descriptor tells. */
        int64_t lane_us = lane->touched ? 0 : redis_connection_due_us(lane->connection);

        if (lane_us < due_us)
            due_us = lane_us;
    }
    return due_us;
}

void redis_store_step(struct redis_store *store, int64_t now_us)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(store->epoll, events, EVENTS_MAX, 0);

    for (int i = 0; i < count; i++) {
        struct lane *lane = &store->lanes[events[i].data.u32];

        redis_connection_step(lane->connection, now_us);
        follow(store, lane);
    }
    for (int shard = 0; shard < store->shards; shard++) {
        struct lane *lane = &store->lanes[shard];

        if (redis_connection_due_us(lane->connection) > now_us)
            continue;
        redis_connection_step(lane->connection, now_us);
        follow(store, lane);
    }
}

/* ---- sending ---- */

static void expect(struct lane *lane, enum phase phase, int replies)
{
    if (replies == 0)
        return;
    assert(lane->steps_count < PHASES_MAX);
    lane->steps[lane->steps_count++] = (struct step){phase, replies};
}

/* One command. Beyond the output limit the connection is dropped: the machine halves its batch. */
static void command(struct lane *lane, int arguments, size_t bytes, const char *verb)
{
    if (!redis_begin(lane->connection, arguments, bytes + COMMAND_ABOUT)) {
        redis_connection_fail(lane->connection, ERR_LIMIT, "larger than 64 MiB: half of it next");
        return;
    }
    redis_argument_text(lane->connection, verb);
}

static void m_key(const struct redis_store *s, struct lane *lane, int shard, uint32_t tp)
{
    char key[REDIS_KEY_BYTES_MAX];

    redis_argument(
        lane->connection, key,
        redis_key_meta(&s->keys, shard, s->topic, store_tp_partition(tp), store_tp_log(tp), key));
}

static void outbox_key(const struct redis_store *s, struct lane *lane, int shard, uint32_t tp)
{
    char key[REDIS_KEY_BYTES_MAX];

    redis_argument(
        lane->connection, key,
        redis_key_outbox(&s->keys, shard, s->topic, store_tp_partition(tp), store_tp_log(tp), key));
}

static void user_key(const struct redis_store *s, struct lane *lane, int shard, struct text user)
{
    char key[REDIS_KEY_BYTES_MAX];

    redis_argument(lane->connection, key, redis_key_user(&s->keys, shard, user, key));
}

static void id_argument(struct lane *lane, struct store_id id)
{
    char text[ID_TEXT_MAX];
    int bytes = snprintf(text, sizeof text, "%" PRIu64 "-%" PRIu64, id.high, id.low);

    redis_argument(lane->connection, text, (size_t)bytes);
}

static void put_hmget(const struct redis_store *s, struct lane *lane, int shard, uint32_t tp)
{
    command(lane, 5, 0, "HMGET");
    m_key(s, lane, shard, tp);
    redis_argument_text(lane->connection, "token");
    redis_argument_text(lane->connection, "stamp");
    redis_argument_text(lane->connection, "state");
}

static void send_claim(const struct redis_store *s, struct lane *lane,
                       const struct store_request *r)
{
    command(lane, 1, 0, "UNWATCH");
    command(lane, 1, 0, "MULTI");
    expect(lane, PHASE_IGNORE, 2);
    command(lane, 4, 0, "HSET");
    m_key(s, lane, r->shard, r->tp);
    redis_argument_text(lane->connection, "token");
    redis_argument(lane->connection, r->token, STORE_TOKEN_BYTES);
    put_hmget(s, lane, r->shard, r->tp);
    command(lane, 2, 0, "XLEN");
    outbox_key(s, lane, r->shard, r->tp);
    expect(lane, PHASE_QUEUED, 3);
    command(lane, 1, 0, "EXEC");
    expect(lane, PHASE_CLAIM, 1);
    command(lane, 3, 0, "XINFO");
    redis_argument_text(lane->connection, "STREAM");
    outbox_key(s, lane, r->shard, r->tp);
    expect(lane, PHASE_XINFO, 1);
}

static void send_start(const struct redis_store *s, struct lane *lane,
                       const struct store_request *r)
{
    char key[REDIS_KEY_BYTES_MAX], field[REDIS_TOPIC_MAX + 32];
    size_t bytes = redis_key_set(&s->keys, key);

    (void)snprintf(field, sizeof field, "start:%s:%d", s->topic, (int)store_tp_partition(r->tp));
    if (r->offset >= 0) {
        command(lane, 4, 0, "HSETNX");
        redis_argument(lane->connection, key, bytes);
        redis_argument_text(lane->connection, field);
        redis_argument_int(lane->connection, r->offset);
        expect(lane, PHASE_HSETNX, 1);
    }
    command(lane, 3, 0, "HGET");
    redis_argument(lane->connection, key, bytes);
    redis_argument_text(lane->connection, field);
    expect(lane, PHASE_START, 1);
    command(lane, 3, 0, "HGET");
    redis_argument(lane->connection, key, bytes);
    redis_argument_text(lane->connection, "format");
    expect(lane, PHASE_RECORD, 1);
}

static void send_read(const struct redis_store *s, struct lane *lane, const struct store_request *r,
                      const struct text *users, int users_count)
{
    if (r->tps_count + users_count == 0)
        return;
    command(lane, 1 + r->tps_count + users_count, 0, "WATCH");
    for (int i = 0; i < r->tps_count; i++)
        m_key(s, lane, r->shard, r->tps[i]);
    for (int i = 0; i < users_count; i++)
        user_key(s, lane, r->shard, users[i]);
    expect(lane, PHASE_WATCH, 1);
    for (int i = 0; i < r->tps_count; i++)
        put_hmget(s, lane, r->shard, r->tps[i]);
    expect(lane, PHASE_M, r->tps_count);
    for (int i = 0; i < users_count; i++) {
        command(lane, 2, 0, "GET");
        user_key(s, lane, r->shard, users[i]);
    }
    expect(lane, PHASE_VALUE, users_count);
}

static int put_write(const struct redis_store *s, struct lane *lane, int shard,
                     const struct store_write *write)
{
    if (write->whole) {
        command(lane, write->ttl_ms > 0 ? 5 : 3, write->count, "SET");
        user_key(s, lane, shard, write->user);
        redis_argument(lane->connection, write->bytes, write->count);
        if (write->ttl_ms > 0) {
            redis_argument_text(lane->connection, "PX");
            redis_argument_int(lane->connection, write->ttl_ms);
        }
        return 1;
    }
    command(lane, 4, write->count, "SETRANGE");
    user_key(s, lane, shard, write->user);
    redis_argument_int(lane->connection, write->at);
    redis_argument(lane->connection, write->bytes, write->count);
    if (write->ttl_ms <= 0)
        return 1;
    command(lane, 3, 0, "PEXPIRE");
    user_key(s, lane, shard, write->user);
    redis_argument_int(lane->connection, write->ttl_ms);
    return 2;
}

static void put_m(const struct redis_store *s, struct lane *lane, int shard,
                  const struct store_m_write *m)
{
    char text[STORE_STATE_TEXT_MAX], stamp[16];

    command(lane, 2 + (m->has_state ? 2 : 0) + (m->has_stamp ? 2 : 0), 0, "HSET");
    m_key(s, lane, shard, m->tp);
    if (m->has_state) {
        redis_argument_text(lane->connection, "state");
        redis_argument(lane->connection, text, store_state_format(text, &m->state));
    }
    if (m->has_stamp) {
        store_stamp_format(stamp, m->stamp);
        redis_argument_text(lane->connection, "stamp");
        redis_argument(lane->connection, stamp, sizeof stamp);
    }
}

/* One XDEL for each run of one tp. Returns how many. */
static int put_deletes(const struct redis_store *s, struct lane *lane,
                       const struct store_request *r)
{
    int commands = 0;

    for (int first = 0, end; first < r->deletes_count; first = end, commands++) {
        end = first + 1;
        while (end < r->deletes_count && r->deletes[end].tp == r->deletes[first].tp)
            end++;
        command(lane, 2 + end - first, (size_t)(end - first) * ID_TEXT_MAX, "XDEL");
        outbox_key(s, lane, r->shard, r->deletes[first].tp);
        for (int i = first; i < end; i++)
            id_argument(lane, r->deletes[i].id);
    }
    return commands;
}

static void send_exec(const struct redis_store *s, struct lane *lane, const struct store_request *r)
{
    int queued = 0;

    command(lane, 1, 0, "MULTI");
    expect(lane, PHASE_IGNORE, 1);
    for (int i = 0; i < r->writes_count; i++)
        queued += put_write(s, lane, r->shard, &r->writes[i]);
    if (r->drops) {
        command(lane, 2, 0, "DEL");
        outbox_key(s, lane, r->shard, r->drop_tp);
        queued++;
    }
    queued += put_deletes(s, lane, r);
    for (int i = 0; i < r->appends_count; i++, queued++) {
        command(lane, 5, r->appends[i].bytes_count, "XADD");
        outbox_key(s, lane, r->shard, r->appends[i].tp);
        id_argument(lane, r->appends[i].id);
        redis_argument(lane->connection, "b", 1);
        redis_argument(lane->connection, r->appends[i].bytes, r->appends[i].bytes_count);
    }
    for (int i = 0; i < r->ms_count; i++)
        if (r->ms[i].has_state || r->ms[i].has_stamp) {
            put_m(s, lane, r->shard, &r->ms[i]);
            queued++;
        }
    lane->queued = queued;
    expect(lane, PHASE_QUEUED, queued);
    command(lane, 1, 0, "EXEC");
    expect(lane, PHASE_EXEC, 1);
    if (r->wait_replicas > 0) {
        command(lane, 3, 0, "WAIT");
        redis_argument_int(lane->connection, r->wait_replicas);
        redis_argument_int(lane->connection, r->wait_ms);
        expect(lane, PHASE_WAIT, 1);
    }
    if (r->tps_count > 0)
        send_read(s, lane, r, NULL, 0);
}

static void send_trim(const struct redis_store *s, struct lane *lane, const struct store_request *r)
{
    if (r->ids_count > 0) {
        command(lane, 2 + r->ids_count, 0, "XDEL");
        outbox_key(s, lane, r->shard, r->tp);
        for (int i = 0; i < r->ids_count; i++)
            id_argument(lane, r->ids[i]);
        expect(lane, PHASE_XDEL, 1);
    }
    command(lane, 2, 0, "XLEN");
    outbox_key(s, lane, r->shard, r->tp);
    expect(lane, PHASE_XLEN, 1);
}

static void send_rows(const struct redis_store *s, struct lane *lane, const struct store_request *r)
{
    command(lane, 6, 0, "XRANGE");
    outbox_key(s, lane, r->shard, r->tp);
    id_argument(lane, r->from);
    redis_argument_text(lane->connection, "+");
    redis_argument_text(lane->connection, "COUNT");
    redis_argument_int(lane->connection, STORE_ROWS_MAX);
    expect(lane, PHASE_ROWS, 1);
}

static bool make_answer(struct lane *lane, const struct store_request *r)
{
    size_t ms = r->kind == STORE_CLAIM ? 1 : (size_t)r->tps_count;

    arena_reset(lane->arena);
    lane->reply = (struct store_reply){.offset = STORE_NO_OFFSET};
    lane->ms = arena_alloc_zeroed(lane->arena, (ms + 1) * sizeof *lane->ms);
    lane->values = arena_alloc_zeroed(lane->arena,
                                      ((size_t)r->users_count + 1) * sizeof *lane->values);
    lane->lengths = arena_alloc_zeroed(lane->arena,
                                       ((size_t)r->writes_count + 1) * sizeof *lane->lengths);
    return lane->ms != NULL && lane->values != NULL && lane->lengths != NULL;
}

void redis_store_send(struct redis_store *store, const struct store_request *request)
{
    struct lane *lane = &store->lanes[request->shard];

    assert(request->shard >= 0 && request->shard < store->shards);
    assert(lane->request == NULL);
    lane->request = request;
    lane->steps_count = lane->step = lane->taken = 0;
    lane->behind = lane->read_failed = lane->complete = false;
    if (!make_answer(lane, request))
        redis_connection_fail(lane->connection, ERR_NOMEM, "no memory for an answer");
    switch (request->kind) {
    case STORE_CLAIM:
        send_claim(store, lane, request);
        break;
    case STORE_START:
        send_start(store, lane, request);
        break;
    case STORE_READ:
        if (request->fresh) {
            command(lane, 1, 0, "UNWATCH");
            expect(lane, PHASE_IGNORE, 1);
        }
        send_read(store, lane, request, request->users, request->users_count);
        break;
    case STORE_EXEC:
        send_exec(store, lane, request);
        break;
    case STORE_TRIM:
        send_trim(store, lane, request);
        break;
    case STORE_ROWS:
        send_rows(store, lane, request);
        break;
    }
    if (lane->steps_count == 0)
        lane->complete = true; /* nothing to read: nothing was asked */
    redis_connection_step(lane->connection, clock_monotonic_us());
    follow(store, lane);
}

/* ---- receiving ---- */

static struct text copy_text(struct lane *lane, struct text text)
{
    char *copy = arena_copy(lane->arena, text.at, text.bytes);

    return (struct text){copy, copy == NULL ? 0 : text.bytes};
}

/* token, stamp and state of one m. */
static struct store_m read_m(const struct redis_reply *reply)
{
    struct store_m m = {.state = {.last_offset = STORE_NO_OFFSET}};
    const struct redis_reply *const *e = reply->elements;

    if (reply->type != REPLY_ARRAY || reply->count != 3) {
        m.damaged = true; /* a wrong type answers with an error */
        return m;
    }
    if (e[0]->type == REPLY_STRING) {
        m.has_token = e[0]->text.bytes == STORE_TOKEN_BYTES;
        m.damaged |= !m.has_token;
        if (m.has_token)
            memcpy(m.token, e[0]->text.at, STORE_TOKEN_BYTES);
    }
    if (e[1]->type == REPLY_STRING)
        m.stamp = store_stamp_parse(e[1]->text);
    if (e[2]->type == REPLY_STRING) {
        m.has_state = store_state_parse(&m.state, e[2]->text);
        m.damaged |= !m.has_state;
    }
    return m;
}

static struct store_value read_value(struct lane *lane, const struct redis_reply *reply)
{
    if (reply->type == REPLY_NIL)
        return (struct store_value){.found = STORE_ABSENT};
    if (reply->type != REPLY_STRING)
        return (struct store_value){.found = STORE_BAD_TYPE};
    struct text copy = copy_text(lane, reply->text);

    return (struct store_value){STORE_PRESENT, (const uint8_t *)copy.at, copy.bytes};
}

static void read_exec(struct lane *lane, const struct redis_reply *reply)
{
    const struct store_request *r = lane->request;
    int at = 0;

    lane->behind = true;
    if (reply->type == REPLY_NIL) {
        lane->reply.result = STORE_NIL;
        return;
    }
    if (reply->type != REPLY_ARRAY) {
        lane->reply.result = STORE_REFUSED;
        return;
    }
    for (int i = 0; i < r->writes_count && at < reply->count; i++) {
        const struct redis_reply *answer = reply->elements[at++];
        const struct store_write *write = &r->writes[i];

        lane->lengths[i] = answer->type == REPLY_ERROR ? -1
                           : write->whole              ? (int64_t)write->count
                                                       : answer->integer;
        if (!write->whole && write->ttl_ms > 0)
            at++;
    }
    lane->reply.lengths = lane->lengths;
    lane->reply.lengths_count = r->writes_count;
}

static enum store_found found_of(const struct redis_reply *length)
{
    if (length->type != REPLY_INTEGER)
        return STORE_BAD_TYPE;
    return length->integer > 0 ? STORE_PRESENT : STORE_ABSENT;
}

static void read_claim(struct lane *lane, const struct redis_reply *reply)
{
    lane->behind = true;
    if (reply->type != REPLY_ARRAY || reply->count != 3) {
        lane->reply.result = reply->type == REPLY_NIL ? STORE_NIL : STORE_REFUSED;
        return;
    }
    lane->ms[0] = read_m(reply->elements[1]);
    if (reply->elements[0]->type == REPLY_ERROR)
        lane->ms[0].damaged = true;
    lane->reply.ms = lane->ms;
    lane->reply.ms_count = 1;
    lane->reply.outbox.found = found_of(reply->elements[2]);
    lane->reply.outbox.rows = reply->elements[2]->type == REPLY_INTEGER
                                  ? reply->elements[2]->integer
                                  : 0;
}

/* "high-low"; false when it is none. */
static bool read_id(struct text text, struct store_id *id)
{
    char *dash = NULL, *end = NULL;

    id->high = strtoull(text.at, &dash, 10);
    if (*dash != '-')
        return false;
    id->low = strtoull(dash + 1, &end, 10);
    return end == text.at + text.bytes;
}

/* A row that is none of ours is one without bytes. */
static void read_rows(struct lane *lane, const struct redis_reply *reply)
{
    struct store_row *rows;

    if (reply->type != REPLY_ARRAY || reply->count > STORE_ROWS_MAX)
        return;
    rows = arena_alloc(lane->arena, (size_t)(reply->count + 1) * sizeof *rows);
    if (rows == NULL) {
        lane->reply.result = STORE_REFUSED;
        return;
    }
    for (int i = 0; i < reply->count; i++) {
        const struct redis_reply *row = reply->elements[i];
        const struct redis_reply *fields = row->count == 2 ? row->elements[1] : NULL;
        struct text copy = {NULL, 0};

        rows[i] = (struct store_row){.id = {0, 0}};
        if (fields == NULL || row->elements[0]->type != REPLY_STRING ||
            !read_id(row->elements[0]->text, &rows[i].id))
            continue;
        if (fields->count == 2 && fields->elements[1]->type == REPLY_STRING)
            copy = copy_text(lane, fields->elements[1]->text);
        rows[i].bytes = (const uint8_t *)copy.at;
        rows[i].bytes_count = copy.bytes;
    }
    lane->reply.rows = rows;
    lane->reply.rows_count = reply->count;
}

/* The highest id ever given out, also when all rows are gone: an XADD below it would fail. */
static void read_xinfo(struct lane *lane, const struct redis_reply *reply)
{
    if (reply->type != REPLY_ARRAY)
        return; /* no such stream */
    for (int i = 0; i + 1 < reply->count; i += 2) {
        const struct redis_reply *key = reply->elements[i], *value = reply->elements[i + 1];

        if (key->type != REPLY_STRING || value->type != REPLY_STRING ||
            !text_equal(key->text, text_of("last-generated-id")))
            continue;
        (void)read_id(value->text, &lane->reply.outbox.last);
        if (lane->reply.outbox.found == STORE_ABSENT)
            lane->reply.outbox.found = STORE_PRESENT; /* empty, but it remembers its ids */
    }
}

static void read_start(struct lane *lane, const struct redis_reply *reply)
{
    char *end = NULL;

    if (reply->type != REPLY_STRING)
        return;
    lane->reply.offset = strtoll(reply->text.at, &end, 10);
    if (*end != '\0' || end == reply->text.at || lane->reply.offset < 0)
        lane->reply.offset = STORE_NO_OFFSET;
}

/* An error reply where none is expected: the request as a whole, or only the read behind an EXEC.
 * A claim whose XINFO is refused (its outbox has just left for another node) has no answer yet. */
static void refuse(struct lane *lane, const char *why)
{
    if (lane->behind && lane->request->kind == STORE_EXEC) {
        lane->read_failed = true;
        return;
    }
    /* The first error says it; what follows is that the transaction was given up. */
    if (lane->reply.result != STORE_REFUSED)
        (void)snprintf(lane->refusal, sizeof lane->refusal, "%s", why);
    lane->reply.result = STORE_REFUSED;
}

/* A full store still answers reads: only a write that was carried out ends a refusal. */
static void note_carried_out(struct lane *lane)
{
    enum store_kind kind = lane->request->kind;

    if (lane->reply.result == STORE_OK && kind != STORE_READ && kind != STORE_ROWS)
        lane->refusal[0] = '\0';
}

static void take(struct lane *lane, enum phase phase, const struct redis_reply *reply)
{
    switch (phase) {
    case PHASE_EXEC:
        read_exec(lane, reply);
        break;
    case PHASE_CLAIM:
        read_claim(lane, reply);
        break;
    case PHASE_XINFO:
        read_xinfo(lane, reply);
        break;
    case PHASE_WAIT:
        lane->reply.replicas = reply->type == REPLY_INTEGER ? (int)reply->integer : 0;
        break;
    case PHASE_M:
        lane->ms[lane->taken] = read_m(reply);
        lane->reply.ms = lane->ms;
        lane->reply.ms_count = lane->taken + 1;
        break;
    case PHASE_VALUE:
        lane->values[lane->taken] = read_value(lane, reply);
        lane->reply.values = lane->values;
        lane->reply.values_count = lane->taken + 1;
        break;
    case PHASE_START:
        read_start(lane, reply);
        break;
    case PHASE_RECORD:
        /* All is gone: what HSETNX has just written is no data set, and nothing begins on it. */
        if (DEFENCE(RECORD_THERE) && reply->type != REPLY_STRING)
            lane->reply.offset = STORE_NO_OFFSET;
        break;
    case PHASE_XDEL:
        lane->reply.removed = reply->type == REPLY_INTEGER ? reply->integer : 0;
        break;
    case PHASE_XLEN:
        lane->reply.outbox.found = found_of(reply);
        lane->reply.outbox.rows = reply->type == REPLY_INTEGER ? reply->integer : 0;
        break;
    case PHASE_ROWS:
        read_rows(lane, reply);
        break;
    default:
        break;
    }
}

/* Errors that are an answer: a wrong type is told by its place, an absent stream is no error. */
static bool is_answer(enum phase phase, enum redis_error error)
{
    if (phase == PHASE_XINFO)
        return error == REDIS_ERROR_ERR || error == REDIS_ERROR_WRONGTYPE;
    return error == REDIS_ERROR_WRONGTYPE &&
           (phase == PHASE_M || phase == PHASE_VALUE || phase == PHASE_XLEN ||
            phase == PHASE_XDEL || phase == PHASE_ROWS);
}

/* Could this be the answer to what was asked? One that could not belongs to another question: this
 * connection has lost its place, and nothing that it says may be believed (FAULTS 57), least of all
 * that an m is damaged. */
static bool fits(const struct lane *lane, enum phase phase, const struct redis_reply *reply)
{
    switch (phase) {
    case PHASE_IGNORE:
    case PHASE_QUEUED:
    case PHASE_WATCH:
        return reply->type == REPLY_STATUS;
    case PHASE_EXEC:
        return reply->type == REPLY_NIL ||
               (reply->type == REPLY_ARRAY && reply->count == lane->queued);
    case PHASE_CLAIM:
        return reply->type == REPLY_NIL || (reply->type == REPLY_ARRAY && reply->count == 3);
    case PHASE_M:
        return reply->type == REPLY_ARRAY && reply->count == 3;
    case PHASE_VALUE:
    case PHASE_START:
    case PHASE_RECORD:
        return reply->type == REPLY_STRING || reply->type == REPLY_NIL;
    case PHASE_XINFO:
    case PHASE_ROWS:
        return reply->type == REPLY_ARRAY;
    case PHASE_WAIT:
    case PHASE_HSETNX:
    case PHASE_XDEL:
    case PHASE_XLEN:
        return reply->type == REPLY_INTEGER;
    case PHASE_DONE:
        break;
    }
    return false;
}

static void take_reply(struct lane *lane, const struct redis_reply *reply)
{
    struct step *step = &lane->steps[lane->step];
    struct error err;

    if (reply->type == REPLY_ERROR) {
        enum redis_error error = redis_error_of(reply->text);

        if (redis_reply_status(reply, &err) != OK && !is_answer(step->phase, error))
            refuse(lane, err.text);
        if (redis_connection_heed(lane->connection, reply))
            return;
    } else if (DEFENCE(ANSWER_FITS) && !fits(lane, step->phase, reply)) {
        redis_connection_fail(lane->connection, ERR_MALFORMED,
                              "it gave an answer that does not fit the question");
        return;
    }
    take(lane, step->phase, reply);
    lane->taken++;
    if (--step->left > 0)
        return;
    lane->taken = 0;
    lane->step++;
    lane->complete = lane->step == lane->steps_count;
}

/* One event of a lane. The order matters: a lost connection before the new one. */
static bool lane_event(struct redis_store *s, struct lane *lane, struct redis_store_event *event)
{
    const struct redis_reply *reply;
    bool same;

    while (lane->request != NULL && !lane->complete &&
           (reply = redis_connection_reply(lane->connection)) != NULL)
        take_reply(lane, reply);
    if (lane->registered >= 0 && redis_connection_descriptor(lane->connection) < 0)
        follow(s, lane);
    same = redis_connection_ready(lane->connection) &&
           redis_connection_epoch(lane->connection) == lane->epoch;
    if (lane->up && !same) {
        lane->up = false;
        lane->request = NULL;
        lane->complete = false;
        s->connected--;
        event->kind = REDIS_STORE_DISCONNECTED;
        return true;
    }
    if (!lane->up && redis_connection_ready(lane->connection)) {
        lane->up = true;
        lane->epoch = redis_connection_epoch(lane->connection);
        s->connected++;
        event->kind = REDIS_STORE_CONNECTED;
        return true;
    }
    if (lane->request == NULL || !lane->complete)
        return false;
    if (lane->read_failed)
        lane->reply.ms_count = 0;
    note_carried_out(lane);
    lane->request = NULL;
    lane->complete = false;
    event->kind = REDIS_STORE_REPLY;
    event->reply = lane->reply;
    return true;
}

bool redis_store_next(struct redis_store *store, struct redis_store_event *event)
{
    for (int looked = 0; looked < store->shards; looked++) {
        struct lane *lane = &store->lanes[store->next];

        if (lane->touched) {
            if (lane_event(store, lane, event)) {
                event->shard = store->next;
                return true;
            }
            lane->touched = false;
        }
        store->next = (store->next + 1) % store->shards;
    }
    return false;
}

int redis_store_connected(const struct redis_store *store)
{
    return store->connected;
}

const char *redis_store_why(const struct redis_store *store)
{
    for (int shard = 0; shard < store->shards; shard++)
        if (!store->lanes[shard].up)
            return redis_connection_why(store->lanes[shard].connection)->text;
    for (int shard = 0; shard < store->shards; shard++)
        if (DEFENCE(REFUSAL_TOLD) && store->lanes[shard].refusal[0] != '\0')
            return store->lanes[shard].refusal;
    return "";
}
