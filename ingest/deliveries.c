/* ingest/deliveries.c - a callback of two counters, and one question. */
#include "ingest/deliveries.h"

#include "ops/kafka_admin.h"

#define ASK_MS 8000

void deliveries_count(void *context, uint64_t opaque, enum status status, int32_t partition,
                      int64_t offset)
{
    struct deliveries *deliveries = context;

    (void)opaque;
    (void)partition;
    (void)offset;
    if (status == OK)
        deliveries->delivered++;
    else
        deliveries->failed++;
}

enum status deliveries_check_topic(const struct config *config, const char *topic,
                                   struct error *err)
{
    struct kafka_consumer_options kafka = {0};
    int partitions = 0;
    enum status status;

    kafka_consumer_options_from(&kafka, config, "kafka.topics.events");
    kafka.topic = topic;
    status = kafka_topic_partitions_as(&kafka, ASK_MS, &partitions, err);
    if (status == ERR_NOT_FOUND)
        return error_set(err, status,
                         "topic \"%.80s\" does not exist at %.80s: create it, or name another "
                         "(--topic, kafka.topics.events)",
                         topic, kafka.brokers);
    if (status == ERR_UNAVAILABLE || status == ERR_TIMEOUT)
        (void)error_prefix(err, "kafka.brokers %.80s", kafka.brokers);
    return status;
}
