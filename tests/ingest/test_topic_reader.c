/* Tests ingest/topic_reader against the embedded broker: everything once and in order, ranges that
 * are narrowed, a visitor that has enough, and a topic that is not there. */
#include "ingest/topic_reader.h"

#include "ops/kafka_admin.h"
#include "ops/ops_main.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>

#define PARTITIONS 3
#define EACH       40

struct seen {
    int counts[PARTITIONS];
    int64_t next[PARTITIONS];
    int enough; /* 0: never */
    int all;
    double fraction;
};

static struct kafka_broker *broker;
static struct config *config;

static void begin(void)
{
    const struct kafka_broker_topic topics[] = {{"t", PARTITIONS}, {NULL, 0}};
    const struct config_row *tables[] = {ops_config_rows, kafka_config_rows, NULL};
    struct error err;
    char set[128];
    const char *sets[] = {set};
    char *report = NULL;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    (void)snprintf(set, sizeof set, "kafka.brokers=%s", kafka_broker_address(broker));
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, &err));
    free(report);
    kafka_fill(kafka_broker_address(broker), "t", 0, 0, EACH); /* partition 1 stays empty */
    kafka_fill(kafka_broker_address(broker), "t", 2, 0, EACH);
}

static void end(void)
{
    config_destroy(config);
    kafka_broker_stop(broker);
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    struct seen *seen = context;

    if (seen->enough > 0 && seen->all == seen->enough)
        return error_set(err, ERR_CANCELLED, "enough");
    if (seen->counts[record->partition]++ > 0)
        CHECK_INT(seen->next[record->partition], record->offset);
    seen->next[record->partition] = record->offset + 1;
    seen->all++;
    return OK;
}

static enum status narrow(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    (void)context;
    (void)err;
    CHECK_INT(partition == 1 ? 0 : EACH, range->high);
    if (partition == 0) {
        range->from = 10;
        range->to = 13;
    } else {
        range->to = range->from; /* nothing of it */
    }
    return OK;
}

static void show(void *context, double fraction)
{
    struct seen *seen = context;

    CHECK(fraction >= seen->fraction && fraction <= 1);
    seen->fraction = fraction;
}

static bool at_once(void)
{
    return true;
}

TEST(topic_reader_reads_all_once_and_in_order)
{
    struct seen seen = {0};
    struct topic_reader_options options = {.visit = visit, .progress = show, .context = &seen};
    struct error err;
    int partitions;

    begin();
    options.config = config;
    options.topic = "t";
    CHECK_STATUS(OK, topic_reader_read(&options, &partitions, &err));
    CHECK_INT(PARTITIONS, partitions);
    CHECK_INT(EACH, seen.counts[0]);
    CHECK_INT(0, seen.counts[1]);
    CHECK_INT(EACH, seen.counts[2]);
    CHECK_NEAR(1, seen.fraction, 0);
    end();
}

TEST(topic_reader_reads_a_range_and_stops_where_it_is_told)
{
    struct seen seen = {0};
    struct topic_reader_options options = {.visit = visit, .choose = narrow, .context = &seen};
    struct error err;

    begin();
    options.config = config;
    options.topic = "t";
    CHECK_STATUS(OK, topic_reader_read(&options, NULL, &err));
    CHECK_INT(3, seen.counts[0]);
    CHECK_INT(13, seen.next[0]);
    CHECK_INT(0, seen.counts[2]);
    options.choose = NULL;
    seen = (struct seen){.enough = 5};
    CHECK_STATUS(ERR_CANCELLED, topic_reader_read(&options, NULL, &err));
    CHECK_INT(5, seen.all);
    seen = (struct seen){0};
    options.stopping = at_once;
    CHECK_STATUS(ERR_CANCELLED, topic_reader_read(&options, NULL, &err));
    end();
}
