/* retrain/follower.c - assignments by hand, one poll at a time, merged by time. */
#include "retrain/follower.h"

#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_limits.h"
#include "ops/log.h"
#include "retrain/merge.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX 1024
#define QUEUED_HIGH 4096 /* records of a partition that wait: beyond it is not read on */
#define QUEUED_LOW  1024
/* Of all partitions together, in bytes: records may be large, and partitions many. */
#define QUEUED_BYTES_HIGH ((int64_t)256 << 20)
#define QUEUED_BYTES_LOW  (QUEUED_BYTES_HIGH / 4)
#define ASK_MS            10000
#define LOG_EVERY         30000

struct follower {
    struct kafka_consumer *consumer;
    const struct config *config; /* borrowed */
    const char *topic;
    struct follower_offset offsets[FOLLOWER_PARTITIONS_MAX];
    int64_t goals[FOLLOWER_PARTITIONS_MAX]; /* ends of the log at opening */
    int64_t marks[FOLLOWER_PARTITIONS_MAX]; /* ends of the log at the last follower_mark() */
    int64_t reads[FOLLOWER_PARTITIONS_MAX]; /* next offset to come from the broker */
    bool paused[FOLLOWER_PARTITIONS_MAX];
    struct merge *merge; /* its queues have the places of offsets */
    int count;
    struct kafka_limits *limits; /* asks where logs begin: follower.h */
    int asked; /* partitions below it were asked for; count of them are followed */
    int64_t lost;
    struct log_limit limit;
    struct kafka_record records[RECORDS_MAX];
};

static enum status ask_partitions(const struct follower *f, int *partitions, struct error *err)
{
    char *properties = NULL;
    enum status status = kafka_properties(f->config, &properties, err);

    if (status != OK)
        return status;
    status = kafka_topic_partitions(config_text(f->config, "kafka.brokers"), properties, f->topic,
                                    ASK_MS, partitions, err);
    if (properties != NULL)
        explicit_bzero(properties, strlen(properties));
    free(properties);
    if (status == OK && *partitions > FOLLOWER_PARTITIONS_MAX)
        return error_set(err, ERR_LIMIT, "topic \"%s\" has %d partitions, at most %d", f->topic,
                         *partitions, FOLLOWER_PARTITIONS_MAX);
    return status;
}

static int64_t start_of(const struct follower_offset *starts, int count, int32_t partition,
                        int64_t low, int64_t *from)
{
    for (int i = 0; i < count; i++)
        if (starts[i].partition == partition) {
            *from = starts[i].from;
            return starts[i].next;
        }
    *from = low;
    return low;
}

static enum status take_up(struct follower *f, const struct kafka_limits_answer *log,
                           const struct follower_offset *starts, int starts_count,
                           struct error *err)
{
    int64_t from;
    int64_t next = start_of(starts, starts_count, log->partition, log->low, &from);
    uint64_t epoch;

    if (next > log->high)
        return error_set(err, ERR_CONFLICT,
                         "%s/%d ends at %lld, but was read up to %lld: it is another log; remove "
                         "retrain.folder to begin anew",
                         f->topic, (int)log->partition, (long long)log->high, (long long)next);
    if (next < log->low) {
        f->lost += log->low - next;
        log_event(LOG_WARN, "records_lost", "retention took records before they were read",
                  log_text("topic", f->topic), log_int("partition", log->partition),
                  log_int("records", log->low - next));
        next = log->low;
    }
    f->offsets[f->count] = (struct follower_offset){log->partition, from, next};
    f->reads[f->count] = next;
    f->marks[f->count] = log->high;
    f->goals[f->count++] = log->high;
    return kafka_consumer_assign(f->consumer, log->partition, next, &epoch, err);
}

/* Asks where the logs of partitions begin that nobody has asked for yet. */
static enum status ask_new(struct follower *f, struct error *err)
{
    int partitions = 0;
    enum status status = ask_partitions(f, &partitions, err);

    while (status == OK && f->asked < partitions) {
        status = kafka_limits_ask(f->limits, f->asked, 0, err);
        f->asked += status == OK;
    }
    return status;
}

/* All that are there when the topic is opened: what is read begins with all of them. */
static enum status take_up_all(struct follower *f, const struct follower_offset *starts,
                               int starts_count, struct error *err)
{
    struct kafka_limits_answer answer;
    enum status status = ask_new(f, err);

    while (status == OK && f->count < f->asked) {
        status = kafka_limits_next(f->limits, ASK_MS, &answer, err);
        if (status == OK)
            status = take_up(f, &answer, starts, starts_count, err);
    }
    return status;
}

enum status follower_open(struct follower **follower, const struct config *config,
                          const char *topic_key, const struct follower_offset *starts,
                          int starts_count, struct error *err)
{
    struct kafka_consumer_options options;
    struct follower *f = calloc(1, sizeof *f);
    enum status status;
    int partitions;

    *follower = NULL;
    if (f == NULL)
        return error_set(err, ERR_NOMEM, "no memory to follow a topic");
    f->config = config;
    f->topic = config_text(config, topic_key);
    kafka_consumer_options_from(&options, config, topic_key);
    options.group = NULL;
    options.instance_id = NULL;
    options.end_events = true;
    /* Asked first: a consumer on a topic that is not there would only repeat errors. */
    status = ask_partitions(f, &partitions, err);
    if (status == OK)
        status = merge_create(&f->merge, FOLLOWER_PARTITIONS_MAX, err);
    if (status == OK)
        status = kafka_consumer_open(&f->consumer, &options, err);
    if (status == OK)
        status = kafka_limits_start(&f->limits, &options, err);
    if (status == OK)
        status = take_up_all(f, starts, starts_count, err);
    if (status != OK) {
        follower_close(f);
        return status;
    }
    *follower = f;
    return OK;
}

void follower_close(struct follower *f)
{
    if (f == NULL)
        return;
    merge_destroy(f->merge);
    kafka_limits_stop(f->limits);
    kafka_consumer_close(f->consumer);
    free(f);
}

static int place_of(const struct follower *f, int32_t partition)
{
    for (int i = 0; i < f->count; i++)
        if (f->offsets[i].partition == partition)
            return i;
    return -1;
}

/* What is not handed out up to the end of a log (markers and aborted records of transactions) is
 * read as soon as nothing before it waits. */
static void settle(struct follower *f, int at)
{
    if (merge_count(f->merge, at) == 0 && f->offsets[at].next < f->reads[at])
        f->offsets[at].next = f->reads[at];
}

static void note_end(struct follower *f, const struct kafka_event *event)
{
    int at = place_of(f, event->partition);

    if (at < 0)
        return;
    if (event->offset > f->reads[at])
        f->reads[at] = event->offset;
    settle(f, at);
}

static enum status handle_event(struct follower *f, const struct kafka_event *event,
                                struct error *err)
{
    if (event->kind == KAFKA_END)
        note_end(f, event);
    if (event->kind == KAFKA_OUT_OF_RANGE)
        return error_set(err, ERR_CONFLICT, "%s/%d: offset %lld is not in the log", f->topic,
                         (int)event->partition, (long long)event->offset);
    if (event->kind == KAFKA_FATAL)
        return error_set(err, ERR_UNAVAILABLE, "%s: %s", f->topic, event->text);
    if (event->kind == KAFKA_DOWN && log_every(&f->limit, LOG_EVERY))
        log_event(LOG_WARN, "kafka_down", event->text, log_text("topic", f->topic));
    return OK;
}

/* ---- into the queues ---- */

static enum status queue_up(struct follower *f, int n, struct error *err)
{
    enum status status = OK;

    for (int i = 0; i < n; i++) {
        struct kafka_record *record = &f->records[i];
        int at = place_of(f, record->partition);

        if (status != OK || at < 0 || record->offset < f->reads[at]) {
            kafka_records_release(record, 1);
            continue;
        }
        status = merge_put(f->merge, at, record, err);
        if (status != OK)
            kafka_records_release(record, 1);
        else
            f->reads[at] = record->offset + 1;
        if (!f->paused[at] && (merge_count(f->merge, at) >= QUEUED_HIGH ||
                               merge_bytes(f->merge, at) >= QUEUED_BYTES_HIGH / f->count)) {
            kafka_consumer_pause(f->consumer, record->partition);
            f->paused[at] = true;
        }
    }
    return status;
}

/* ---- out of them ---- */

/* The end of a log, as far as is known: the broker says it with the first records. */
static int64_t end_of(const struct follower *f, int at)
{
    int64_t high = kafka_consumer_high(f->consumer, f->offsets[at].partition);

    return high > f->goals[at] ? high : f->goals[at];
}

/* Says which logs go on, as far as is known. One record more may be a transaction's marker, which
 * is told late: others do not wait for that, at worst a log's last record comes out of its turn. */
static void expect(struct follower *f)
{
    for (int i = 0; i < f->count; i++)
        merge_expect(f->merge, i, f->reads[i] + 1 < end_of(f, i));
}

static void drop(struct follower *f, int at)
{
    merge_drop(f->merge, at);
    settle(f, at);
    if (f->paused[at] && merge_count(f->merge, at) <= QUEUED_LOW &&
        merge_bytes(f->merge, at) <= QUEUED_BYTES_LOW / f->count) {
        kafka_consumer_resume(f->consumer, f->offsets[at].partition);
        f->paused[at] = false;
    }
}

/* Hands on until a queue runs dry that is not at its end. */
static enum status hand_on(struct follower *f, follower_handle *handle, void *context, int *count,
                           struct error *err)
{
    bool waits = merge_waits(f->merge, clock_monotonic_us());
    enum status status = OK;

    while (!waits && status == OK && *count < RECORDS_MAX) {
        int at;
        const struct kafka_record *record = merge_head(f->merge, &at);

        if (record == NULL)
            break;
        status = handle(context, record, err);
        if (status == OK) {
            f->offsets[at].next = record->offset + 1;
            (*count)++;
            drop(f, at);
            waits = merge_count(f->merge, at) == 0 && merge_waits(f->merge, clock_monotonic_us());
        }
    }
    return status;
}

enum status follower_poll(struct follower *f, int64_t timeout_ms, follower_handle *handle,
                          void *context, int *count, struct error *err)
{
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct error why_not;
    enum status status, handed = OK;
    int events_count, n, at;

    if (merge_head(f->merge, &at) != NULL && !merge_misses(f->merge))
        timeout_ms = 0; /* there is enough to do */
    n = kafka_consumer_poll(f->consumer, timeout_ms, f->records, RECORDS_MAX, events,
                            &events_count);
    *count = 0;
    status = queue_up(f, n, err);
    expect(f);
    if (status == OK)
        handed = hand_on(f, handle, context, count, &why_not);
    /* Also when a record is refused: they do not come again. */
    for (int i = 0; i < events_count && status == OK; i++)
        status = handle_event(f, &events[i], err);
    if (status == OK && handed != OK)
        *err = why_not;
    return status == OK ? handed : status;
}

enum status follower_look(struct follower *f, struct error *err)
{
    struct kafka_limits_answer answer;
    enum status status = ask_new(f, err);

    while (status == OK && kafka_limits_take(f->limits, &answer)) {
        if (answer.status == OK) {
            status = take_up(f, &answer, NULL, 0, err);
            continue;
        }
        *err = answer.why;
        status = answer.status;
        if (kafka_limits_ask(f->limits, answer.partition, 0, &answer.why) != OK)
            return status; /* cannot be: its own question has just made room */
    }
    return status;
}

const char *follower_topic(const struct follower *f)
{
    return f->topic;
}

const struct follower_offset *follower_offsets(const struct follower *f, int *count)
{
    *count = f->count;
    return f->offsets;
}

/* Markers of transactions, which nobody hands out, are passed over at the log's end: note_end(). */
static bool reached(const struct follower *f, const int64_t *ends)
{
    for (int i = 0; i < f->count; i++)
        if (f->offsets[i].next < ends[i])
            return false;
    return true;
}

bool follower_caught_up(const struct follower *f)
{
    return reached(f, f->goals);
}

void follower_mark(struct follower *f)
{
    for (int i = 0; i < f->count; i++)
        f->marks[i] = end_of(f, i);
}

bool follower_reached(const struct follower *f)
{
    return reached(f, f->marks);
}

int64_t follower_lag(struct follower *f)
{
    int64_t lag = 0;

    for (int i = 0; i < f->count; i++) {
        int64_t waiting = end_of(f, i) - f->offsets[i].next;

        lag += waiting > 0 ? waiting : 0;
    }
    return lag;
}

bool follower_up(const struct follower *f)
{
    return kafka_consumer_up(f->consumer);
}

int64_t follower_lost(const struct follower *f)
{
    return f->lost;
}
