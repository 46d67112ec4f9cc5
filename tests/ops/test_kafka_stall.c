/*
 * Tests ops/kafka_stall on documents as librdkafka writes them, whole and damaged, and
 * ops/kafka_consumer with it: orders that are lost on the way into librdkafka.
 *
 * Orders are lost here: the two functions below stand before librdkafka's own.
 */
#include "ops/kafka_stall.h"

#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/metric.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STALL_MS 500
#define WATCH_US 3500000 /* statistics come every second, and two must agree */

/* ---- librdkafka, forgetful ------------------------------------------------------------------- */

static int assigns_to_lose, resumes_to_lose;

typedef rd_kafka_resp_err_t order(rd_kafka_t *, rd_kafka_topic_partition_list_t *);

static order *own(const char *name)
{
    order *function;

    *(void **)&function = dlsym(RTLD_NEXT, name);
    return function;
}

rd_kafka_resp_err_t rd_kafka_resume_partitions(rd_kafka_t *client,
                                               rd_kafka_topic_partition_list_t *list)
{
    if (resumes_to_lose == 0)
        return own("rd_kafka_resume_partitions")(client, list);
    resumes_to_lose--;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* An assign of which every start was lost: the partitions are ours and none is fetched. */
rd_kafka_resp_err_t rd_kafka_assign(rd_kafka_t *client, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *none;
    rd_kafka_resp_err_t code;

    if (assigns_to_lose == 0 || list == NULL || list->cnt == 0)
        return own("rd_kafka_assign")(client, (rd_kafka_topic_partition_list_t *)(uintptr_t)list);
    assigns_to_lose--;
    none = rd_kafka_topic_partition_list_new(1);
    code = own("rd_kafka_assign")(client, none);
    rd_kafka_topic_partition_list_destroy(none);
    return code;
}

/* ---- what is read in statistics -------------------------------------------------------------- */

static const char document[] =
    "{ \"name\": \"freshet#consumer-1\", \"brokers\":{ \"b1/1\": { \"nodeid\":1, \"state\":\"UP\", "
    "\"toppars\":{ \"t-0\": { \"topic\":\"t\", \"partition\":0} } }, \"b2/2\": { \"nodeid\":2, "
    "\"state\":\"TRY_CONNECT\" }, \"boot/-1\": { \"nodeid\":-1, \"state\":\"UP\" } }, "
    "\"topics\":{ \"t\": { \"topic\":\"t\", \"partitions\":{ "
    "\"0\": { \"partition\":0, \"broker\":1, \"fetch_state\":\"active\", \"next_offset\":5, "
    "\"hi_offset\":9, \"ls_offset\":7 } , "
    "\"1\": { \"partition\":1, \"broker\":2, \"fetch_state\":\"stopped\", \"next_offset\":-1001, "
    "\"ls_offset\":-1001 } , "
    "\"2\": { \"partition\":2, \"broker\":1, \"fetch_state\":\"none\", \"next_offset\":3 } , "
    "\"-1\": { \"partition\":-1, \"broker\":-1, \"fetch_state\":\"none\" } } }, "
    "\"T\": { \"topic\":\"T\", \"partitions\":{} } } }";

static bool same(const struct kafka_fetching *row, bool reachable, bool active, int64_t next,
                 int64_t end)
{
    return row->reachable == reachable && row->active == active && row->next == next &&
           row->end == end;
}

TEST(kafka_stall_reads_where_partitions_stand)
{
    struct kafka_fetching rows[4] = {
        {.partition = 2}, {.partition = 0}, {.partition = 1}, {.partition = 12}};

    CHECK(kafka_stall_look(text_of(document), "t", rows, 4));
    CHECK(same(&rows[0], true, false, 3, -1));
    CHECK(same(&rows[1], true, true, 5, 7));
    CHECK(same(&rows[2], false, false, -1, -1));
    CHECK(same(&rows[3], false, false, -1, -1));
    CHECK(kafka_stall_look(text_of(document), "t", rows, 0));
    for (const char *const *topic = (const char *const[]){"T", "tt", "", NULL}; *topic != NULL;
         topic++) {
        CHECK(kafka_stall_look(text_of(document), *topic, rows, 4));
        for (int i = 0; i < 4; i++)
            CHECK(same(&rows[i], false, false, -1, -1));
    }
}

TEST(kafka_stall_makes_nothing_of_what_is_no_statistics)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "{}",
                                      "[]",
                                      "7",
                                      "{\"topics\":",
                                      "{\"brokers\":{}}",
                                      "{\"topics\":{\"t\":{\"partitions\":{\"0\":{}}}}"};
    /* Of other types than they should have: nothing is known then. */
    static const char *const odd[] = {
        "{\"topics\":7,\"brokers\":[1,2]}", "{\"topics\":{\"t\":[]}}",
        "{\"topics\":{\"t\":{\"partitions\":{\"0\":\"x\"}}}}",
        "{\"topics\":{\"t\":{\"partitions\":{\"0\":{\"broker\":{},\"fetch_state\":1,"
        "\"next_offset\":\"5\",\"ls_offset\":null}}}},\"brokers\":{\"b\":{\"nodeid\":1}}}"};
    struct kafka_fetching row = {.partition = 0};
    char cut[sizeof document];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!kafka_stall_look(text_of(bad[i]), "t", &row, 1));
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        CHECK(kafka_stall_look(text_of(odd[i]), "t", &row, 1));
        CHECK(same(&row, false, false, -1, -1));
    }
    for (size_t bytes = 0; bytes + 1 < sizeof document; bytes++) {
        memcpy(cut, document, bytes);
        CHECK(!kafka_stall_look((struct text){cut, bytes}, "t", &row, 1));
    }
}

/* ---- a consumer that is not heeded -------------------------------------------------------------
 */

static struct kafka_broker *start_broker(int partitions)
{
    const struct kafka_broker_topic topics[] = {{"t", partitions}, {NULL, 0}};
    struct kafka_broker *broker;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    return broker;
}

static struct kafka_consumer *open_consumer(const struct kafka_broker *broker)
{
    struct kafka_consumer_options options = {.brokers = kafka_broker_address(broker),
                                             .topic = "t",
                                             .fetch_wait_max_ms = 5,
                                             .stall_ms = STALL_MS};
    struct kafka_consumer *consumer;
    struct error err;

    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    return consumer;
}

static long restarts(void)
{
    static const char name[] = "\nfreshet_kafka_fetch_restarts_total ";
    static char text[1 << 20];
    const char *at;

    CHECK(metric_render(text, sizeof text) < sizeof text);
    at = strstr(text, name);
    CHECK(at != NULL);
    return strtol(at + sizeof name - 1, NULL, 10);
}

TEST(kafka_consumer_whose_assign_was_lost_begins_anew)
{
    struct kafka_broker *broker = start_broker(2);
    struct kafka_consumer *consumer = open_consumer(broker);
    long before = restarts();
    uint64_t epochs[2];
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 1, 0, 20);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epochs[0], &err));
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 3, &epochs[1], &err));
    kafka_read_in_order(consumer, 1, 3, 17, epochs[1]);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 5, &epochs[1], &err));
    assigns_to_lose = 1;
    kafka_read_in_order(consumer, 1, 5, 15, epochs[1]);
    CHECK_INT(0, assigns_to_lose);
    CHECK(restarts() > before);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

TEST(kafka_consumer_whose_resume_was_lost_begins_anew)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_consumer *consumer = open_consumer(broker);
    long before = restarts();
    uint64_t epoch;
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 20);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    kafka_read_in_order(consumer, 0, 0, 20, epoch);
    kafka_consumer_pause(consumer, 0);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 7, &epoch, &err));
    resumes_to_lose = 1;
    kafka_consumer_resume(consumer, 0);
    CHECK_INT(0, resumes_to_lose);
    kafka_read_in_order(consumer, 0, 7, 13, epoch);
    CHECK(restarts() > before);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

/* What is at its end, is paused or has a broker that is away does not stand still. */
TEST(kafka_consumer_leaves_alone_what_is_only_silent)
{
    struct kafka_broker *broker = start_broker(2);
    struct kafka_consumer *consumer = open_consumer(broker);
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    uint64_t epochs[2];
    int events_count;
    long before;
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 20);
    kafka_fill(kafka_broker_address(broker), "t", 1, 0, 20);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epochs[0], &err));
    kafka_read_in_order(consumer, 0, 0, 20, epochs[0]);
    before = restarts();
    kafka_consumer_pause(consumer, 1);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 1, 0, &epochs[1], &err));
    for (int64_t until_us = clock_monotonic_us() + WATCH_US; clock_monotonic_us() < until_us;)
        CHECK_INT(0,
                  kafka_consumer_poll(consumer, 50, records, KAFKA_BATCH, events, &events_count));
    CHECK_INT(before, restarts());
    kafka_consumer_resume(consumer, 1);
    kafka_read_in_order(consumer, 1, 0, 20, epochs[1]);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}
