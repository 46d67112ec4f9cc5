/*
 * scorer/user_reader.c - one poll loop: submitted reads in, GETs out, replies to their requests.
 *
 * Replies of a node come in the order of its commands, so a ring of what is in flight there is all
 * the matching there is; the question for the data set's record has its place in it, too. A read
 * that is past its deadline is answered from the cache; its place in the ring stays, empty, until
 * the reply that belongs to it has come. A read whose user is on another node, or moving to one,
 * follows it within its deadline.
 */
#include "scorer/user_reader.h"

#include "features/redis_dataset.h"
#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/hash.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAITING_MAX_DEFAULT 4096
#define DATASET_RETRY_US    1000000
#define POLL_MAX_US         200000

METRIC_HISTOGRAM(read_seconds, "freshet_serve_user_read_seconds",
                 "time from submitting a read to its sequence", metric_buckets_latency);
static const char *const outcome_names_of_reads[] = {"fresh", "cached", "failed"};
METRIC_COUNTER_OF(reads, "freshet_serve_user_reads_total", "sequences handed out", "outcome",
                  outcome_names_of_reads, 3);
METRIC_GAUGE(redis_up, "freshet_serve_redis_up", "1 while Redis answers");

struct cache_slot {
    uint64_t user;
    size_t bytes;
    uint8_t *value; /* as stored; NULL: empty */
};

/* Reads in flight at one node. */
struct ring {
    struct user_read **reads; /* (waiting_max) NULL where it was answered already */
    int head, count;
    uint64_t epoch;
};

struct user_reader {
    struct user_reader_options options;
    struct redis_nodes *nodes;
    struct redis_dataset dataset;
    bool dataset_known;
    struct user_read question; /* for the data set's record: its place in a ring */
    bool asked;                /* it is in one */
    int64_t dataset_next_us;
    struct log_limit down_limit;
    pthread_t thread;
    int wake;
    atomic_bool closing;
    atomic_bool up;

    pthread_mutex_t lock; /* guards submitted */
    struct user_read *submitted;
    struct user_read **submitted_end;

    /* Of the thread alone */
    struct ring *rings;       /* (REDIS_NODES_MAX) by node */
    int record_node;          /* that the record was read from, */
    uint64_t epoch;           /* and of its connection */
    struct cache_slot *cache; /* (cache_users) */
    uint64_t cache_seed;
};

/* ---- the cache ---- */

static struct cache_slot *slot_of(struct user_reader *r, struct text user, uint64_t *hash)
{
    if (r->options.cache_users == 0)
        return NULL;
    *hash = hash64_text(user, r->cache_seed);
    return &r->cache[*hash % (uint64_t)r->options.cache_users];
}

static void cache_put(struct user_reader *r, struct text user, struct text value)
{
    uint64_t hash;
    struct cache_slot *slot = slot_of(r, user, &hash);
    uint8_t *room;

    if (slot == NULL)
        return;
    if (value.at == NULL || value.bytes > USER_VALUE_BYTES_MAX) {
        if (slot->user == hash)
            slot->bytes = 0; /* the user is gone: so is what we knew */
        return;
    }
    room = realloc(slot->value, value.bytes);
    if (room == NULL)
        return;
    memcpy(room, value.at, value.bytes);
    *slot = (struct cache_slot){hash, value.bytes, room};
}

static bool cache_get(struct user_reader *r, struct user_read *read)
{
    uint64_t hash;
    struct cache_slot *slot = slot_of(r, read->user, &hash);

    if (slot == NULL || slot->user != hash || slot->bytes == 0)
        return false;
    read->history_count = user_value_history(slot->value, slot->bytes, read->history, SEQUENCE_MAX,
                                             &read->running);
    return read->history_count >= 0;
}

/* ---- answering ---- */

static void finish(struct user_read *read, enum user_read_outcome outcome)
{
    if (read->history_count < 0)
        read->history_count = 0;
    read->outcome = outcome;
    metric_add_of(&reads, (int)outcome, 1);
    metric_observe(&read_seconds, (double)(clock_monotonic_us() - read->submitted_us) * 1e-6);
    read->done(read);
}

static void finish_without_redis(struct user_reader *r, struct user_read *read)
{
    bool cached = cache_get(r, read);

    finish(read, cached ? USER_READ_CACHED : USER_READ_FAILED);
}

/* The answer to a GET. */
static void finish_with(struct user_reader *r, struct user_read *read,
                        const struct redis_reply *reply)
{
    struct error err;
    struct text value = {0};

    if (redis_reply_status(reply, &err) != OK ||
        (reply->type != REPLY_STRING && reply->type != REPLY_NIL)) {
        finish_without_redis(r, read);
        return;
    }
    if (reply->type == REPLY_STRING)
        value = reply->text;
    cache_put(r, read->user, value);
    if (value.at != NULL)
        read->history_count = user_value_history((const uint8_t *)value.at, value.bytes,
                                                 read->history, SEQUENCE_MAX, &read->running);
    finish(read, read->history_count < 0 ? USER_READ_FAILED : USER_READ_FRESH);
}

/* ---- the rings ---- */

static struct user_read **ring_at(struct user_reader *r, struct ring *ring, int i)
{
    return &ring->reads[(ring->head + i) % r->options.waiting_max];
}

static bool ring_room(struct user_reader *r, struct ring *ring, int places)
{
    if (ring->reads == NULL)
        ring->reads = calloc((size_t)r->options.waiting_max, sizeof ring->reads[0]);
    return ring->reads != NULL && ring->count + places <= r->options.waiting_max;
}

static void ring_put(struct user_reader *r, struct ring *ring, struct user_read *read)
{
    *ring_at(r, ring, ring->count) = read;
    ring->count++;
}

/* The connection failed: no reply of what is in flight will come. */
static void drop_ring(struct user_reader *r, struct ring *ring)
{
    for (int i = 0; i < ring->count; i++) {
        struct user_read *read = *ring_at(r, ring, i);

        if (read == &r->question)
            r->asked = false;
        else if (read != NULL)
            finish_without_redis(r, read);
    }
    ring->count = 0;
}

static void drop_rings(struct user_reader *r)
{
    for (int i = 0; i < redis_nodes_count(r->nodes); i++)
        drop_ring(r, &r->rings[i]);
}

static void expire(struct user_reader *r, int64_t now_us)
{
    for (int n = 0; n < redis_nodes_count(r->nodes); n++)
        for (int i = 0; i < r->rings[n].count; i++) {
            struct user_read **place = ring_at(r, &r->rings[n], i);

            if (DEFENCE(READ_BUDGET) && *place != NULL && (*place)->deadline_us <= now_us) {
                struct user_read *read = *place;

                *place = NULL;
                finish_without_redis(r, read);
            }
        }
}

/* asking: behind ASKING, whose reply nobody waits for. */
static bool send_get(struct user_reader *r, struct user_read *read, int node, bool asking)
{
    struct redis_connection *connection = redis_nodes_at(r->nodes, node);
    struct ring *ring = &r->rings[node];
    char key[REDIS_KEY_BYTES_MAX];
    size_t bytes;

    if (!redis_connection_ready(connection) || !ring_room(r, ring, 1 + asking))
        return false;
    if (asking) {
        if (!redis_begin(connection, 1, 16))
            return false;
        redis_argument_text(connection, "ASKING");
        ring_put(r, ring, NULL);
    }
    if (!redis_begin(connection, 2, REDIS_KEY_BYTES_MAX))
        return false;
    bytes = redis_key_user(&r->options.keys,
                           rules_shard(&r->dataset.rules, read->user, r->dataset.shards),
                           read->user, key);
    redis_argument_text(connection, "GET");
    redis_argument(connection, key, bytes);
    ring_put(r, ring, read);
    return true;
}

/* An answer, or a hint where the answer is. Without a data set nobody knows the key to follow. */
static void take_read(struct user_reader *r, struct user_read *read, int node,
                      const struct redis_reply *reply)
{
    int asking = 0;
    enum redis_heed heed = redis_nodes_heed(r->nodes, redis_nodes_at(r->nodes, node), reply,
                                            &asking);

    if (heed == REDIS_HEED_AGAIN)
        asking = redis_nodes_number_of(r->nodes, read->slot);
    if (r->dataset_known && (heed == REDIS_HEED_AGAIN || heed == REDIS_HEED_ASK) &&
        read->redirects++ < REDIS_REDIRECTS_MAX &&
        send_get(r, read, asking, heed == REDIS_HEED_ASK))
        return;
    finish_with(r, read, reply);
}

static void take_dataset(struct user_reader *r, int node, const struct redis_reply *reply)
{
    struct error err;
    enum status status = redis_dataset_answer(&r->dataset, &r->options.keys, reply, &err);

    (void)redis_connection_heed(redis_nodes_at(r->nodes, node), reply);
    r->asked = false;
    r->dataset_known = status == OK;
    if (status == OK)
        redis_nodes_meet(r->nodes);
    else if (log_every(&r->down_limit, 30000))
        log_event(LOG_WARN, "dataset_unknown", err.text,
                  log_text("remedy", "start `freshet ingest` once: it creates the data set"));
}

static void take_replies(struct user_reader *r, int node)
{
    struct redis_connection *connection = redis_nodes_at(r->nodes, node);
    struct ring *ring = &r->rings[node];
    const struct redis_reply *reply;

    while (ring->count > 0 && (reply = redis_connection_reply(connection)) != NULL) {
        struct user_read *read = *ring_at(r, ring, 0);

        ring->head = (ring->head + 1) % r->options.waiting_max;
        ring->count--;
        if (read == &r->question)
            take_dataset(r, node, reply);
        else if (read != NULL)
            take_read(r, read, node, reply);
    }
}

/* ---- the loop ---- */

/* The shard of a user depends on the data set's seed: nothing can be read before it is known. It is
 * asked like everything else, without waiting: requests come meanwhile, and their time runs. */
static void ask_dataset(struct user_reader *r, int64_t now_us)
{
    int node = redis_nodes_number_of(r->nodes, redis_slot_of_shard(0));
    struct redis_connection *connection = redis_nodes_at(r->nodes, node);
    struct ring *ring = &r->rings[node];

    if (!redis_connection_ready(connection))
        return;
    if (node != r->record_node || redis_connection_epoch(connection) != r->epoch) {
        /* Another server may answer now, with another data set. */
        r->dataset_known = false;
        r->dataset_next_us = now_us;
        r->record_node = node;
        r->epoch = redis_connection_epoch(connection);
    }
    if (r->dataset_known || r->asked || now_us < r->dataset_next_us || !ring_room(r, ring, 1))
        return;
    r->dataset_next_us = now_us + DATASET_RETRY_US;
    redis_dataset_clear(&r->dataset);
    if (!redis_dataset_ask(connection, &r->options.keys))
        return;
    ring_put(r, ring, &r->question);
    r->asked = true;
}

static struct user_read *take_submitted(struct user_reader *r)
{
    struct user_read *list;

    (void)pthread_mutex_lock(&r->lock);
    list = r->submitted;
    r->submitted = NULL;
    r->submitted_end = &r->submitted;
    (void)pthread_mutex_unlock(&r->lock);
    return list;
}

static void serve_submitted(struct user_reader *r)
{
    struct user_read *next;

    for (struct user_read *read = take_submitted(r); read != NULL; read = next) {
        next = read->next;
        if (r->dataset_known) {
            read->slot = redis_slot_of_shard(
                rules_shard(&r->dataset.rules, read->user, r->dataset.shards));
            if (send_get(r, read, redis_nodes_number_of(r->nodes, read->slot), false))
                continue;
        }
        finish_without_redis(r, read);
    }
}

static int64_t earliest_deadline(struct user_reader *r, int64_t at_most_us)
{
    int64_t earliest = at_most_us;

    for (int n = 0; n < redis_nodes_count(r->nodes); n++)
        for (int i = 0; i < r->rings[n].count; i++) {
            const struct user_read *read = *ring_at(r, &r->rings[n], i);

            if (read != NULL && read->deadline_us < earliest)
                earliest = read->deadline_us;
        }
    return earliest;
}

static void wait_for_work(struct user_reader *r)
{
    int64_t now_us = clock_monotonic_us();
    int64_t until_us = earliest_deadline(r, now_us + POLL_MAX_US);
    struct pollfd fds[1 + REDIS_NODES_MAX] = {{.fd = r->wake, .events = POLLIN}};
    int nodes = redis_nodes_count(r->nodes);
    struct timespec timeout;
    uint64_t woken;

    for (int n = 0; n < nodes; n++) {
        struct redis_connection *connection = redis_nodes_at(r->nodes, n);

        fds[1 + n] = (struct pollfd){.fd = redis_connection_descriptor(connection),
                                     .events = redis_connection_wants(connection)};
        if (redis_connection_due_us(connection) < until_us)
            until_us = redis_connection_due_us(connection);
    }
    if (until_us < now_us)
        until_us = now_us;
    timeout.tv_sec = (time_t)((until_us - now_us) / 1000000);
    timeout.tv_nsec = (long)((until_us - now_us) % 1000000) * 1000;
    (void)ppoll(fds, (nfds_t)nodes + 1, &timeout, NULL);
    if ((fds[0].revents & POLLIN) != 0 && read(r->wake, &woken, sizeof woken) < 0 &&
        errno != EAGAIN)
        log_event(LOG_ERROR, "eventfd", strerror(errno));
}

static void step_node(struct user_reader *r, int node, int64_t now_us)
{
    struct redis_connection *connection = redis_nodes_at(r->nodes, node);
    struct ring *ring = &r->rings[node];

    redis_connection_step(connection, now_us);
    if (redis_connection_epoch(connection) != ring->epoch || !redis_connection_ready(connection)) {
        drop_ring(r, ring);
        ring->epoch = redis_connection_epoch(connection);
    }
}

static void step(struct user_reader *r)
{
    int64_t now_us = clock_monotonic_us();
    bool up;

    for (int n = 0; n < redis_nodes_count(r->nodes); n++)
        step_node(r, n, now_us);
    ask_dataset(r, now_us);
    for (int n = 0; n < redis_nodes_count(r->nodes); n++)
        take_replies(r, n);
    serve_submitted(r);
    for (int n = 0; n < redis_nodes_count(r->nodes); n++) {
        step_node(r, n, clock_monotonic_us()); /* writes what was just appended, */
        take_replies(r, n);                    /* and reads: no poll would tell of that again */
    }
    expire(r, clock_monotonic_us());
    up = r->dataset_known;
    for (int n = 0; n < redis_nodes_count(r->nodes); n++)
        up = up && redis_connection_ready(redis_nodes_at(r->nodes, n));
    atomic_store(&r->up, up);
    metric_set(&redis_up, up ? 1 : 0);
}

static void *run(void *context)
{
    struct user_reader *r = context;

    while (!atomic_load(&r->closing)) {
        wait_for_work(r);
        step(r);
    }
    serve_submitted(r);
    drop_rings(r);
    return NULL;
}

/* ---- the public functions ---- */

static void free_all(struct user_reader *r)
{
    redis_nodes_destroy(r->nodes);
    redis_dataset_clear(&r->dataset);
    for (int i = 0; r->cache != NULL && i < r->options.cache_users; i++)
        free(r->cache[i].value);
    free(r->cache);
    for (int i = 0; r->rings != NULL && i < REDIS_NODES_MAX; i++)
        free(r->rings[i].reads);
    free(r->rings);
    if (r->wake >= 0)
        (void)close(r->wake);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

enum status user_reader_open(struct user_reader **reader, const struct user_reader_options *options,
                             struct error *err)
{
    struct user_reader *r = calloc(1, sizeof *r);
    struct redis_limits limits = {0};
    enum status status;

    *reader = NULL;
    if (r == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the reader of sequences");
    r->options = *options;
    if (r->options.waiting_max == 0)
        r->options.waiting_max = WAITING_MAX_DEFAULT;
    r->submitted_end = &r->submitted;
    r->question.deadline_us = INT64_MAX; /* it waits for its answer, or for the connection's end */
    r->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->rings = calloc(REDIS_NODES_MAX, sizeof r->rings[0]);
    r->cache = calloc((size_t)(r->options.cache_users > 0 ? r->options.cache_users : 1),
                      sizeof r->cache[0]);
    hash_random_bytes(&r->cache_seed, sizeof r->cache_seed);
    (void)pthread_mutex_init(&r->lock, NULL);
    if (r->rings == NULL || r->cache == NULL || r->wake < 0) {
        status = error_set(err, ERR_NOMEM, "no memory or descriptor for the reader of sequences");
        goto failed;
    }
    status = redis_nodes_create(&r->nodes, &options->target, &limits, "freshet-serve", err);
    if (status != OK)
        goto failed;
    if (pthread_create(&r->thread, NULL, run, r) != 0) {
        status = error_set(err, ERR_NOMEM, "could not start the thread that reads sequences");
        goto failed;
    }
    *reader = r;
    return OK;
failed:
    free_all(r);
    return status;
}

void user_reader_close(struct user_reader *reader)
{
    uint64_t one = 1;

    if (reader == NULL)
        return;
    atomic_store(&reader->closing, true);
    (void)!write(reader->wake, &one, sizeof one);
    (void)pthread_join(reader->thread, NULL);
    serve_submitted(reader);
    drop_rings(reader);
    free_all(reader);
}

void user_reader_submit(struct user_reader *reader, struct user_read *read)
{
    uint64_t one = 1;

    assert(read->done != NULL && read->user.bytes > 0);
    read->next = NULL;
    read->history_count = 0;
    read->running = 0;
    read->redirects = 0;
    read->submitted_us = clock_monotonic_us();
    (void)pthread_mutex_lock(&reader->lock);
    *reader->submitted_end = read;
    reader->submitted_end = &read->next;
    (void)pthread_mutex_unlock(&reader->lock);
    (void)!write(reader->wake, &one, sizeof one);
}

bool user_reader_up(const struct user_reader *reader)
{
    return atomic_load(&reader->up);
}
