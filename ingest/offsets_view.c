/* ingest/offsets_view.c - Redis, which must answer, and Kafka, as far as it does. */
#include "ingest/offsets_view.h"

#include "ingest/lost_state.h"
#include "ingest/topic_reader.h"
#include "ops/command.h"
#include "ops/hash.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"

#include <stdlib.h>
#include <string.h>

/* What each is asked in this order, for all of it grows while ingest runs: where the group stands
 * is never beyond what Redis has applied, which is never beyond the end of the log. */
static enum status open_consumer(const struct offsets_view *v, struct kafka_consumer **consumer,
                                 struct error *err)
{
    struct kafka_consumer_options options = {0};

    kafka_consumer_options_from(&options, v->config, "kafka.topics.events");
    options.ask_group = options.group; /* asked without joining it */
    options.group = options.instance_id = NULL;
    return kafka_consumer_open(consumer, &options, err);
}

/* groups: (v->partitions) */
static enum status ask_committed(const struct offsets_view *v, struct kafka_consumer *consumer,
                                 int64_t *groups, struct error *err)
{
    enum status status = OK;

    for (int i = 0; i < v->partitions && status == OK; i++)
        status = kafka_consumer_committed(consumer, i, OFFSETS_VIEW_MS, &groups[i], err);
    return status;
}

/* groups: as asked before; NULL: nobody did. */
static enum status ask_limits(struct offsets_view *v, struct kafka_consumer *consumer,
                              const int64_t *groups, struct error *err)
{
    enum status status = OK;

    for (int i = 0; i < v->offsets.count && status == OK; i++) {
        int32_t partition = v->offsets.list[i].partition;

        if (partition >= v->partitions)
            continue; /* the topic has fewer now */
        status = kafka_consumer_limits(consumer, partition, OFFSETS_VIEW_MS, &v->logs[i].low,
                                       &v->logs[i].high, err);
        if (groups != NULL)
            v->logs[i].group = groups[partition];
    }
    return status;
}

static enum status add_unrecorded(struct offsets_view *v, struct error *err)
{
    struct offsets_partition *larger;
    int recorded = v->offsets.count;
    enum status status = OK;

    larger = realloc(v->offsets.list,
                     ((size_t)recorded + (size_t)v->partitions + 1) * sizeof *larger);
    if (larger == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    v->offsets.list = larger;
    for (int32_t number = 0; number < v->partitions && status == OK; number++) {
        struct offsets_partition *p = &v->offsets.list[v->offsets.count];

        if (redis_dataset_partition(&v->dataset, v->topic, number) != NULL)
            continue;
        *p = (struct offsets_partition){.partition = number, .start = -1};
        v->offsets.count++;
        status = offsets_load_partition(p, v->nodes, &v->keys, v->topic, v->offsets.shards,
                                        OFFSETS_VIEW_MS, err);
    }
    return status;
}

/* Redis must answer: its data set, or what is there instead. */
static enum status open_redis(struct offsets_view *v, struct error *err)
{
    enum status status = redis_dataset_connect_nodes(&v->dataset, &v->nodes, &v->keys, v->config,
                                                     OFFSETS_VIEW_MS, err);
    struct error lost;

    /* What was there is worth more than what to start. */
    if (status == ERR_NOT_FOUND &&
        lost_state_check(v->config, config_text(v->config, "dataset.namespace"), OFFSETS_VIEW_MS,
                         &lost) == ERR_CONFLICT) {
        *err = lost;
        status = ERR_CONFLICT;
    }
    return status;
}

/* Before Redis is read. Where Kafka does not answer, v->kafka says why and partitions is 0. */
static enum status ask_before(struct offsets_view *v, bool committed,
                              struct kafka_consumer **consumer, int64_t **groups, struct error *err)
{
    struct kafka_consumer_options options = {0};

    kafka_consumer_options_from(&options, v->config, "kafka.topics.events");
    if (kafka_topic_partitions_as(&options, OFFSETS_VIEW_MS, &v->partitions, &v->kafka) != OK ||
        open_consumer(v, consumer, &v->kafka) != OK) {
        v->partitions = 0;
        return OK;
    }
    if (!committed)
        return OK;
    *groups = calloc((size_t)v->partitions + 1, sizeof **groups);
    if (*groups == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    if (ask_committed(v, *consumer, *groups, &v->kafka) != OK)
        v->partitions = 0;
    return OK;
}

static enum status read_both(struct offsets_view *v, struct kafka_consumer *consumer,
                             const int64_t *groups, struct error *err)
{
    enum status status = offsets_load(&v->offsets, v->nodes, &v->keys, &v->dataset, v->topic,
                                      OFFSETS_VIEW_MS, err);

    if (status == OK)
        status = add_unrecorded(v, err);
    if (status != OK)
        return status;
    v->logs = calloc((size_t)v->offsets.count + 1, sizeof *v->logs);
    if (v->logs == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    for (int i = 0; i < v->offsets.count; i++)
        v->logs[i] = (struct offsets_log){-1, -1, -1};
    if (v->partitions > 0 && ask_limits(v, consumer, groups, &v->kafka) != OK)
        v->partitions = 0;
    return OK;
}

enum status offsets_view_open(struct offsets_view *view, const struct config *config,
                              bool committed, struct error *err)
{
    struct offsets_view v = {.config = config, .topic = config_text(config, "kafka.topics.events")};
    struct kafka_consumer *consumer = NULL;
    int64_t *groups = NULL;
    enum status status = hash_start(err);

    *view = (struct offsets_view){0};
    if (status == OK)
        status = open_redis(&v, err);
    if (status == OK)
        status = ask_before(&v, committed, &consumer, &groups, err);
    if (status == OK)
        status = read_both(&v, consumer, groups, err);
    kafka_consumer_close(consumer);
    free(groups);
    if (status == OK)
        *view = v;
    else
        offsets_view_close(&v);
    return status;
}

/* ---- what ingest would do ---- */

/* What was found where `last` should be. */
struct found {
    bool wanted, there;
    uint64_t hash;
};

struct look {
    const struct offsets_view *view;
    struct found *found; /* (offsets.count) */
};

static enum status choose(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    const struct look *look = context;
    int at = offsets_place(&look->view->offsets, partition);

    (void)err;
    if (at < 0 || !look->found[at].wanted) {
        range->to = range->from;
        return OK;
    }
    range->from = look->view->offsets.list[at].last_offset;
    range->to = range->from + 1;
    return OK;
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    const struct look *look = context;
    int at = offsets_place(&look->view->offsets, record->partition);

    (void)err;
    if (at >= 0 && record->offset == look->view->offsets.list[at].last_offset) {
        look->found[at].there = true;
        look->found[at].hash = store_record_hash(record->key, record->value, record->timestamp_ms);
    }
    return OK;
}

static enum status look_at_last(struct offsets_view *v, struct found *found, struct error *err)
{
    struct look look = {v, found};
    const struct topic_reader_options options = {.config = v->config,
                                                 .topic = v->topic,
                                                 .choose = choose,
                                                 .visit = visit,
                                                 .stopping = command_stopping,
                                                 .context = &look};

    return topic_reader_read(&options, NULL, err);
}

enum status offsets_view_forecast(struct offsets_view *view, int32_t partition,
                                  struct offsets_forecast *forecasts, struct error *err)
{
    struct offsets_view *v = view;
    struct found *found = calloc((size_t)v->offsets.count + 1, sizeof *found);
    enum status status = OK;
    int wanted = 0;

    if (found == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    for (int i = 0; i < v->offsets.count && status == OK; i++) {
        struct offsets_partition *p = &v->offsets.list[i];

        if (partition >= 0 && p->partition != partition)
            continue;
        status = offsets_load_outboxes(p, v->nodes, &v->keys, v->topic, v->offsets.shards,
                                       OFFSETS_VIEW_MS, err);
        if (status != OK || v->logs[i].high < 0)
            continue;
        forecasts[i] = offsets_forecast(p, v->offsets.shards, p->recorded, v->logs[i]);
        found[i].wanted = offsets_forecast_checks(p, v->logs[i]);
        wanted += found[i].wanted;
    }
    if (status == OK && wanted > 0)
        status = look_at_last(v, found, err);
    for (int i = 0; i < v->offsets.count && status == OK; i++)
        if (found[i].wanted)
            offsets_forecast_last(&forecasts[i], &v->offsets.list[i], found[i].there,
                                  found[i].hash);
    free(found);
    return status;
}

void offsets_view_close(struct offsets_view *view)
{
    free(view->logs);
    offsets_clear(&view->offsets);
    redis_dataset_clear(&view->dataset);
    redis_nodes_destroy(view->nodes);
    *view = (struct offsets_view){0};
}
