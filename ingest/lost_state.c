/* ingest/lost_state.c - see lost_state.h. */
#include "ingest/lost_state.h"

#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"

enum status lost_state_check(const struct config *config, const char *ns, int64_t timeout_ms,
                             struct error *err)
{
    struct kafka_consumer_options kafka = {0};
    struct kafka_consumer *consumer = NULL;
    int partitions = 0;
    int64_t offset = KAFKA_OFFSET_NONE;
    enum status status;

    kafka_consumer_options_from(&kafka, config, "kafka.topics.events");
    /* A member that leaves at once would rebalance the others. */
    kafka.ask_group = kafka.group;
    kafka.group = kafka.instance_id = NULL;
    status = kafka_topic_partitions_as(&kafka, timeout_ms, &partitions, err);
    if (status == ERR_NOT_FOUND)
        return OK; /* no topic, no offsets */
    if (status == OK)
        status = kafka_consumer_open(&consumer, &kafka, err);
    for (int32_t p = 0; p < partitions && status == OK && offset < 0; p++)
        status = kafka_consumer_committed(consumer, p, timeout_ms, &offset, err);
    kafka_consumer_close(consumer);
    if (status != OK || offset < 0)
        return status;
    return error_set(err, ERR_CONFLICT,
                     "redis holds no data set \"%s\", but the group has read the topic: the state "
                     "is lost; " LOST_STATE_REMEDY,
                     ns);
}
