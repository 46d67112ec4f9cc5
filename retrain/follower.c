/* retrain/follower.c - assignments by hand, one poll at a time. */
#include "retrain/follower.h"

#include "ops/kafka_admin.h"
#include "ops/log.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX 1024
#define ASK_MS      10000
#define LOG_EVERY   30000

struct follower {
    struct kafka_consumer *consumer;
    const struct config *config; /* borrowed */
    const char *topic;
    struct follower_offset offsets[FOLLOWER_PARTITIONS_MAX];
    int64_t goals[FOLLOWER_PARTITIONS_MAX]; /* ends of the log at opening */
    int count;
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

static enum status take_up(struct follower *f, int32_t partition,
                           const struct follower_offset *starts, int starts_count,
                           struct error *err)
{
    int64_t low, high, from;
    int64_t next;
    uint64_t epoch;
    enum status status = kafka_consumer_limits(f->consumer, partition, ASK_MS, &low, &high, err);

    if (status != OK)
        return status;
    next = start_of(starts, starts_count, partition, low, &from);
    if (next > high)
        return error_set(err, ERR_CONFLICT,
                         "%s/%d ends at %lld, but was read up to %lld: it is another log; remove "
                         "retrain.folder to begin anew",
                         f->topic, (int)partition, (long long)high, (long long)next);
    if (next < low) {
        f->lost += low - next;
        log_event(LOG_WARN, "records_lost", "retention took records before they were read",
                  log_text("topic", f->topic), log_int("partition", partition),
                  log_int("records", low - next));
        next = low;
    }
    f->offsets[f->count] = (struct follower_offset){partition, from, next};
    f->goals[f->count++] = high;
    return kafka_consumer_assign(f->consumer, partition, next, &epoch, err);
}

static enum status take_up_all(struct follower *f, const struct follower_offset *starts,
                               int starts_count, struct error *err)
{
    int partitions = 0;
    enum status status = ask_partitions(f, &partitions, err);

    for (int32_t p = f->count; p < partitions && status == OK; p++)
        status = take_up(f, p, starts, starts_count, err);
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
    /* Asked first: a consumer on a topic that is not there would only repeat errors. */
    status = ask_partitions(f, &partitions, err);
    if (status == OK)
        status = kafka_consumer_open(&f->consumer, &options, err);
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
    kafka_consumer_close(f->consumer);
    free(f);
}

static struct follower_offset *offset_of(struct follower *f, int32_t partition)
{
    for (int i = 0; i < f->count; i++)
        if (f->offsets[i].partition == partition)
            return &f->offsets[i];
    return NULL;
}

static enum status handle_event(struct follower *f, const struct kafka_event *event,
                                struct error *err)
{
    if (event->kind == KAFKA_OUT_OF_RANGE)
        return error_set(err, ERR_CONFLICT, "%s/%d: offset %lld is not in the log", f->topic,
                         (int)event->partition, (long long)event->offset);
    if (event->kind == KAFKA_FATAL)
        return error_set(err, ERR_UNAVAILABLE, "%s: %s", f->topic, event->text);
    if (event->kind == KAFKA_DOWN && log_every(&f->limit, LOG_EVERY))
        log_event(LOG_WARN, "kafka_down", event->text, log_text("topic", f->topic));
    return OK;
}

enum status follower_poll(struct follower *f, int64_t timeout_ms, follower_handle *handle,
                          void *context, int *count, struct error *err)
{
    struct kafka_event events[KAFKA_EVENTS_MAX];
    enum status status = OK;
    int events_count, n;

    n = kafka_consumer_poll(f->consumer, timeout_ms, f->records, RECORDS_MAX, events,
                            &events_count);
    *count = 0;
    for (int i = 0; i < n && status == OK; i++) {
        struct follower_offset *offset = offset_of(f, f->records[i].partition);

        if (offset == NULL || f->records[i].offset < offset->next)
            continue;
        status = handle(context, &f->records[i], err);
        if (status == OK) {
            offset->next = f->records[i].offset + 1;
            (*count)++;
        }
    }
    kafka_records_release(f->records, n);
    for (int i = 0; i < events_count && status == OK; i++)
        status = handle_event(f, &events[i], err);
    return status;
}

enum status follower_look(struct follower *f, struct error *err)
{
    return take_up_all(f, NULL, 0, err);
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

/* The last records of a log may be markers of transactions, which nobody hands out: a high
 * watermark that is one beyond is not waited for. */
bool follower_caught_up(const struct follower *f)
{
    for (int i = 0; i < f->count; i++)
        if (f->offsets[i].next + 1 < f->goals[i])
            return false;
    return true;
}

int64_t follower_lag(struct follower *f)
{
    int64_t lag = 0;

    for (int i = 0; i < f->count; i++) {
        int64_t high = kafka_consumer_high(f->consumer, f->offsets[i].partition);

        if (high > f->offsets[i].next)
            lag += high - f->offsets[i].next;
    }
    return lag;
}

int64_t follower_lost(const struct follower *f)
{
    return f->lost;
}
