/* scorer/catalogue.c - a set of names that only its own thread changes. */
#include "scorer/catalogue.h"

#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_limits.h"
#include "ops/log.h"
#include "ops/map64.h"
#include "ops/metric.h"
#include "schemas/item.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS     200
#define RECORDS_MAX 256
#define EVENTS_MAX  64
#define ASK_MS      2000
#define LIMITS_MS   6000 /* for one partition: more than the thread gives a broker */
#define RETRY_US    1000000
#define RETRY_STEPS 20 /* a stop is noticed within a twentieth of the wait */
#define NAME_SEED   0x6974656d

METRIC_COUNTER(records_total, "freshet_serve_catalogue_records_total",
               "records of the items topic");
METRIC_COUNTER(bad_total, "freshet_serve_catalogue_bad_total",
               "records of the items topic that are no item, or one too many that is gone");
METRIC_GAUGE(gone_now, "freshet_serve_catalogue_gone", "items that are gone");

struct entry {
    char *name;
    uint16_t bytes;
    bool gone;
};

struct catalogue {
    struct kafka_consumer_options options;
    struct kafka_consumer *consumer;
    struct item_decoder *decoder;
    pthread_t thread;
    atomic_bool closing;

    pthread_mutex_t lock; /* guards all below */
    struct map64 *index;  /* hash of the name -> entry */
    struct entry *entries;
    uint32_t count, capacity;
    uint64_t version;
    int64_t gone;
};

/* ---- the set ---- */

static bool make_room(struct catalogue *c)
{
    uint32_t capacity = c->capacity == 0 ? 1024 : c->capacity * 2;
    struct entry *room;

    if (c->count < c->capacity)
        return true;
    room = realloc(c->entries, capacity * sizeof *room);
    if (room == NULL)
        return false;
    c->entries = room;
    c->capacity = capacity;
    return true;
}

static bool add(struct catalogue *c, uint64_t hash, struct text name)
{
    char *copy;

    if (c->count == CATALOGUE_GONE_MAX || !make_room(c))
        return false;
    copy = malloc(name.bytes + 1);
    if (copy == NULL || map64_put(c->index, hash, c->count) != OK) {
        free(copy);
        return false;
    }
    memcpy(copy, name.at, name.bytes);
    c->entries[c->count++] = (struct entry){copy, (uint16_t)name.bytes, true};
    return true;
}

/* Only items that are gone, or once were, need a place. */
static void note(struct catalogue *c, struct text name, bool gone)
{
    uint64_t hash = hash64_text(name, NAME_SEED);
    uint32_t at;

    (void)pthread_mutex_lock(&c->lock);
    if (map64_get(c->index, hash, &at)) {
        if (c->entries[at].gone != gone) {
            c->entries[at].gone = gone;
            c->gone += gone ? 1 : -1;
            c->version++;
        }
    } else if (gone) {
        if (add(c, hash, name)) {
            c->gone++;
            c->version++;
        } else {
            metric_add(&bad_total, 1);
        }
    }
    metric_set(&gone_now, (double)c->gone);
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- the follower ---- */

static void take(struct catalogue *c, const struct kafka_record *record)
{
    struct item item;
    struct error err;

    metric_add(&records_total, 1);
    if (item_decode(c->decoder, record->key, record->value, &item, &err) != OK)
        metric_add(&bad_total, 1);
    else
        note(c, item.item, item.gone);
}

/* Every partition from the beginning of its log. Asked by ops/kafka_limits, which heeds a deadline
 * whatever the leaders do: catalogue_close() waits for us. */
static enum status assign_all(struct catalogue *c, int partitions, struct error *err)
{
    struct kafka_limits *limits;
    enum status status = kafka_limits_start(&limits, &c->options, err);

    for (int32_t p = 0; p < partitions && status == OK; p++)
        status = kafka_limits_ask(limits, p, 0, err);
    for (int32_t p = 0; p < partitions && status == OK; p++) {
        struct kafka_limits_answer answer;
        uint64_t epoch;

        status = kafka_limits_next(limits, LIMITS_MS, &answer, err);
        if (status == OK)
            status = kafka_consumer_assign(c->consumer, answer.partition, answer.low, &epoch, err);
    }
    kafka_limits_stop(limits);
    return status;
}

static enum status start(struct catalogue *c, struct error *err)
{
    int partitions = 0;
    enum status status = kafka_topic_partitions_as(&c->options, ASK_MS, &partitions, err);

    if (status == OK)
        status = kafka_consumer_open(&c->consumer, &c->options, err);
    if (status == OK)
        status = assign_all(c, partitions, err);
    if (status != OK) {
        kafka_consumer_close(c->consumer);
        c->consumer = NULL;
    }
    return status;
}

static void wait_to_retry(struct catalogue *c)
{
    for (int i = 0; i < RETRY_STEPS && !atomic_load(&c->closing); i++)
        (void)usleep(RETRY_US / RETRY_STEPS);
}

static void *follow(void *context)
{
    struct catalogue *c = context;
    struct kafka_record records[RECORDS_MAX];
    struct kafka_event events[EVENTS_MAX];
    struct log_limit limit = {0};

    while (!atomic_load(&c->closing)) {
        struct error err;
        int events_count, count;

        if (c->consumer == NULL && start(c, &err) != OK) {
            if (log_every(&limit, 60000))
                log_event(LOG_WARN, "catalogue_unread", err.text,
                          log_text("remedy", catalogue_remedy(err.status)));
            wait_to_retry(c);
            continue;
        }
        count = kafka_consumer_poll(c->consumer, POLL_MS, records, RECORDS_MAX, events,
                                    &events_count);
        for (int i = 0; i < count; i++)
            take(c, &records[i]);
        kafka_records_release(records, count);
        for (int i = 0; i < events_count; i++)
            if (events[i].kind == KAFKA_OUT_OF_RANGE || events[i].kind == KAFKA_FATAL) {
                /* Compaction moved the start past us, or the client gave up: begin anew. */
                kafka_consumer_close(c->consumer);
                c->consumer = NULL;
                break;
            }
    }
    return NULL;
}

/* ---- the public functions ---- */

static void free_all(struct catalogue *c)
{
    kafka_consumer_close(c->consumer);
    item_decoder_destroy(c->decoder);
    for (uint32_t i = 0; i < c->count; i++)
        free(c->entries[i].name);
    free(c->entries);
    map64_destroy(c->index);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

enum status catalogue_open(struct catalogue **catalogue,
                           const struct kafka_consumer_options *options, struct error *err)
{
    struct catalogue *c = calloc(1, sizeof *c);
    enum status status;

    *catalogue = NULL;
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the catalogue");
    c->options = *options;
    c->options.group = NULL;
    c->options.instance_id = NULL;
    (void)pthread_mutex_init(&c->lock, NULL);
    c->index = map64_create(0, CATALOGUE_GONE_MAX);
    status = c->index == NULL ? error_set(err, ERR_NOMEM, "no memory for the catalogue")
                              : item_decoder_create(&c->decoder, err);
    if (status == OK && pthread_create(&c->thread, NULL, follow, c) != 0)
        status = error_set(err, ERR_NOMEM, "could not start the catalogue's thread");
    if (status != OK) {
        free_all(c);
        return status;
    }
    *catalogue = c;
    return OK;
}

void catalogue_close(struct catalogue *catalogue)
{
    if (catalogue == NULL)
        return;
    atomic_store(&catalogue->closing, true);
    (void)pthread_join(catalogue->thread, NULL);
    free_all(catalogue);
}

const char *catalogue_remedy(enum status why)
{
    return why == ERR_NOT_FOUND ? "without the items topic nothing is ever taken out of the lists; "
                                  "create it, compacted"
                                : "`freshet doctor --only kafka`; until the items topic is read "
                                  "nothing new is taken out of the lists; it is tried again";
}

uint64_t catalogue_version(struct catalogue *catalogue)
{
    uint64_t version;

    (void)pthread_mutex_lock(&catalogue->lock);
    version = catalogue->version;
    (void)pthread_mutex_unlock(&catalogue->lock);
    return version;
}

void catalogue_apply(struct catalogue *catalogue, struct item_tables *tables, uint64_t item_seed)
{
    struct rules rules = {.seed = item_seed};

    (void)pthread_mutex_lock(&catalogue->lock);
    for (uint32_t i = 0; i < catalogue->count; i++) {
        const struct entry *entry = &catalogue->entries[i];
        int32_t index = item_tables_find(
            tables, rules_item_hash(&rules, (struct text){entry->name, entry->bytes}));

        if (index != ITEM_NONE)
            item_tables_set_gone(tables, index, entry->gone);
    }
    (void)pthread_mutex_unlock(&catalogue->lock);
}
