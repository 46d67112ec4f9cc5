/* ingest/topic_reader.c - a consumer without a group, over fixed ranges. */
#include "ingest/topic_reader.h"

#include "ops/kafka_admin.h"

#include <stdlib.h>
#include <string.h>

#define POLL_RECORDS 512
#define POLL_MS      200
#define ASK_MS       5000
#define SILENT_POLLS 150 /* of POLL_MS without a record */

struct reader {
    const struct topic_reader_options *o;
    struct kafka_consumer *consumer;
    int partitions, left;
    int64_t *tos; /* (partitions) where each ends; -1 once it was reached */
    int64_t total, done;
    struct kafka_record records[POLL_RECORDS];
    struct kafka_event events[KAFKA_EVENTS_MAX];
};

static void pass(struct reader *r, int32_t partition, int64_t next)
{
    if (r->tos[partition] >= 0 && next >= r->tos[partition]) {
        r->tos[partition] = -1;
        r->left--;
    }
}

static enum status begin(struct reader *r, struct error *err)
{
    enum status status = OK;

    for (int32_t p = 0; p < r->partitions && status == OK; p++) {
        struct topic_range range;
        uint64_t epoch;

        r->tos[p] = -1;
        status = kafka_consumer_limits(r->consumer, p, ASK_MS, &range.low, &range.high, err);
        if (status != OK)
            return status;
        range.from = range.low;
        range.to = range.high;
        if (r->o->choose != NULL)
            status = r->o->choose(r->o->context, p, &range, err);
        if (status != OK || range.from >= range.to)
            continue;
        r->total += range.to - range.from;
        r->tos[p] = range.to;
        r->left++;
        status = kafka_consumer_assign(r->consumer, p, range.from, &epoch, err);
    }
    return status;
}

static enum status take_events(struct reader *r, int count, struct error *err)
{
    for (int i = 0; i < count; i++) {
        const struct kafka_event *event = &r->events[i];

        if (event->kind == KAFKA_END)
            pass(r, event->partition, event->offset);
        else if (event->kind == KAFKA_OUT_OF_RANGE)
            return error_set(err, ERR_CONFLICT,
                             "partition %d of \"%s\" lost records while it was read",
                             (int)event->partition, r->o->topic);
        else if (event->kind == KAFKA_DOWN || event->kind == KAFKA_FATAL)
            return error_set(err, ERR_UNAVAILABLE, "kafka: %s", event->text);
    }
    return OK;
}

static enum status read_all(struct reader *r, struct error *err)
{
    enum status status = OK;
    int silent = 0;

    while (r->left > 0 && status == OK) {
        int events = 0;
        int count = kafka_consumer_poll(r->consumer, POLL_MS, r->records, POLL_RECORDS, r->events,
                                        &events);

        if (r->o->stopping != NULL && r->o->stopping())
            status = error_set(err, ERR_CANCELLED, "interrupted");
        silent = count + events > 0 ? 0 : silent + 1;
        if (silent > SILENT_POLLS)
            status = error_set(err, ERR_TIMEOUT, "topic \"%s\" says nothing any more%s%s",
                               r->o->topic, kafka_consumer_why(r->consumer)[0] == '\0' ? "" : ": ",
                               kafka_consumer_why(r->consumer));
        for (int i = 0; i < count && status == OK; i++) {
            const struct kafka_record *record = &r->records[i];

            if (r->tos[record->partition] < 0 || record->offset >= r->tos[record->partition])
                continue; /* beyond the range */
            r->done++;
            status = r->o->visit(r->o->context, record, err);
        }
        for (int i = 0; i < count; i++)
            pass(r, r->records[i].partition, r->records[i].offset + 1);
        kafka_records_release(r->records, count);
        if (status == OK)
            status = take_events(r, events, err);
        if (r->o->progress != NULL)
            r->o->progress(r->o->context, r->total > 0 ? (double)r->done / (double)r->total : 1);
    }
    return status;
}

enum status topic_reader_read(const struct topic_reader_options *options, int *partitions,
                              struct error *err)
{
    struct kafka_consumer_options kafka = {0};
    struct reader *r = calloc(1, sizeof *r);
    enum status status;

    if (r == NULL)
        return error_set(err, ERR_NOMEM, "no memory to read a topic");
    r->o = options;
    kafka_consumer_options_from(&kafka, options->config, "kafka.topics.events");
    kafka.topic = options->topic;
    kafka.group = kafka.instance_id = NULL;
    kafka.end_events = true;
    status = kafka_topic_partitions_as(&kafka, ASK_MS, &r->partitions, err);
    if (status == OK && partitions != NULL)
        *partitions = r->partitions;
    if (status == OK) {
        r->tos = calloc((size_t)r->partitions + 1, sizeof *r->tos);
        if (r->tos == NULL)
            status = error_set(err, ERR_NOMEM, "no memory to read a topic");
    }
    if (status == OK)
        status = kafka_consumer_open(&r->consumer, &kafka, err);
    if (status == OK)
        status = begin(r, err);
    if (status == OK)
        status = read_all(r, err);
    kafka_consumer_close(r->consumer);
    free(r->tos);
    free(r);
    return status;
}
