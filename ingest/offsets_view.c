/* ingest/offsets_view.c - Redis first, which must answer; then Kafka, as far as it does. */
#include "ingest/offsets_view.h"

#include "ops/hash.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"

#include <stdlib.h>
#include <string.h>

static enum status ask_kafka(struct offsets_view *v, bool committed, struct error *err)
{
    struct kafka_consumer_options options = {0};
    struct kafka_consumer *consumer = NULL;
    enum status status;

    kafka_consumer_options_from(&options, v->config, "kafka.topics.events");
    options.ask_group = options.group; /* asked without joining it */
    options.group = options.instance_id = NULL;
    status = kafka_consumer_open(&consumer, &options, err);
    for (int i = 0; i < v->offsets.count && status == OK; i++) {
        int32_t partition = v->offsets.list[i].partition;

        if (partition >= v->partitions)
            continue; /* the topic has fewer now */
        status = kafka_consumer_limits(consumer, partition, OFFSETS_VIEW_MS, &v->logs[i].low,
                                       &v->logs[i].high, err);
        if (status == OK && committed)
            status = kafka_consumer_committed(consumer, partition, OFFSETS_VIEW_MS,
                                              &v->logs[i].group, err);
    }
    kafka_consumer_close(consumer);
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

enum status offsets_view_open(struct offsets_view *view, const struct config *config,
                              bool committed, struct error *err)
{
    struct offsets_view v = {.config = config, .topic = config_text(config, "kafka.topics.events")};
    struct kafka_consumer_options options = {0};
    enum status status = hash_start(err);

    *view = (struct offsets_view){0};
    if (status == OK)
        status = redis_dataset_connect_nodes(&v.dataset, &v.nodes, &v.keys, config, OFFSETS_VIEW_MS,
                                             err);
    if (status == OK)
        status = offsets_load(&v.offsets, v.nodes, &v.keys, &v.dataset, v.topic, OFFSETS_VIEW_MS,
                              err);
    if (status != OK)
        goto done;
    kafka_consumer_options_from(&options, config, "kafka.topics.events");
    if (kafka_topic_partitions_as(&options, OFFSETS_VIEW_MS, &v.partitions, &v.kafka) != OK)
        v.partitions = 0;
    status = add_unrecorded(&v, err);
    if (status != OK)
        goto done;
    v.logs = calloc((size_t)v.offsets.count + 1, sizeof *v.logs);
    if (v.logs == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory for offsets");
        goto done;
    }
    for (int i = 0; i < v.offsets.count; i++)
        v.logs[i] = (struct offsets_log){-1, -1, -1};
    if (v.partitions > 0 && ask_kafka(&v, committed, &v.kafka) != OK)
        v.partitions = 0;
done:
    if (status == OK)
        *view = v;
    else
        offsets_view_close(&v);
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
