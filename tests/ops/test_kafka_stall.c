/*
 * Tests ops/kafka_stall on documents as librdkafka writes them, whole and damaged, and
 * ops/kafka_consumer with it: orders that are lost on the way into librdkafka.
 *
 * Orders are lost here, errors bent and statistics written by hand: the functions below stand
 * before librdkafka's own.
 */
#include "ops/kafka_stall.h"

#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "ops/metric.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STALL_MS    500
#define PATIENCE_S  10 /* where the clock is ours */
#define LOOK_US     1000000
#define DOUBLED_MAX 5
#define HOLD_MAX_S  30

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

/* An error of an offset out of range, which then names another offset than was asked for. */
static int64_t bent_to = KAFKA_OFFSET_NONE;
static int bent_count;

rd_kafka_message_t *rd_kafka_consumer_poll(rd_kafka_t *client, int timeout_ms)
{
    rd_kafka_message_t *(*function)(rd_kafka_t *, int);
    rd_kafka_message_t *m;

    *(void **)&function = dlsym(RTLD_NEXT, "rd_kafka_consumer_poll");
    m = function(client, timeout_ms);
    if (m != NULL && bent_to != KAFKA_OFFSET_NONE &&
        (m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE ||
         m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)) {
        m->offset = bent_to;
        bent_count++;
    }
    return m;
}

/* Who reads the statistics of a consumer that is opened while they are caught. */
enum caught { CAUGHT_NOT, CAUGHT_COPIED, CAUGHT_BY_HAND };
typedef int reader(rd_kafka_t *, char *, size_t, void *);
static enum caught caught;
static reader *caught_reader;
static void *caught_opaque;
static char *caught_document; /* the last one */

static int catch_document(rd_kafka_t *client, char *json, size_t bytes, void *opaque)
{
    if (caught == CAUGHT_BY_HAND)
        return 0;
    free(caught_document);
    caught_document = strndup(json, bytes);
    return caught_reader(client, json, bytes, opaque);
}

void rd_kafka_conf_set_stats_cb(rd_kafka_conf_t *conf, reader *read)
{
    void (*function)(rd_kafka_conf_t *, reader *);

    *(void **)&function = dlsym(RTLD_NEXT, "rd_kafka_conf_set_stats_cb");
    caught_reader = caught != CAUGHT_NOT ? read : caught_reader;
    function(conf, caught != CAUGHT_NOT ? catch_document : read);
}

void rd_kafka_conf_set_opaque(rd_kafka_conf_t *conf, void *opaque)
{
    void (*function)(rd_kafka_conf_t *, void *);

    *(void **)&function = dlsym(RTLD_NEXT, "rd_kafka_conf_set_opaque");
    caught_opaque = caught != CAUGHT_NOT ? opaque : caught_opaque;
    function(conf, opaque);
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

/* The coordinator of a group is a second connection to a broker of the same number. */
TEST(kafka_stall_takes_no_coordinator_for_the_broker)
{
    static const char both[] =
        "{\"brokers\":{ \"GroupCoordinator\": { \"nodeid\":1, \"source\":\"logical\", "
        "\"state\":\"UP\", \"waitresp_cnt\":1, \"rx\":5 }, \"b1/1\": { \"nodeid\":1, "
        "\"source\":\"learned\", \"state\":\"%s\", \"waitresp_cnt\":0, \"rx\":77 } }, "
        "\"topics\":{ \"t\": { \"partitions\":{ \"0\": { \"broker\":1 } } } } }";
    struct kafka_fetching row = {.partition = 0};
    char text[sizeof both + 16];

    for (int up = 0; up < 2; up++) {
        (void)snprintf(text, sizeof text, both, up ? "UP" : "DOWN");
        CHECK(kafka_stall_look(text_of(text), "t", &row, 1));
        CHECK_INT(up, row.reachable);
        CHECK(!row.waiting);
        CHECK_INT(77, row.answers);
    }
}

/* ---- what stands still ------------------------------------------------------------------------
 */

struct sight {
    const char *broker;
    int waiting;
    int64_t answers;
    const char *fetch;
    int64_t next, end;
};
#define DOCUMENT_BYTES 512

static void write_document(char text[DOCUMENT_BYTES], const struct sight *s)
{
    (void)snprintf(text, DOCUMENT_BYTES,
                   "{ \"brokers\":{ \"b1/1\": { \"nodeid\":1, \"source\":\"learned\", "
                   "\"state\":\"%s\", \"waitresp_cnt\":%d, \"rx\":%" PRId64 " }, "
                   "\"b2/2\": { \"nodeid\":2, \"state\":\"UP\" } }, \"topics\":{ \"t\": { "
                   "\"partitions\":{ \"0\": { \"broker\":1, \"fetch_state\":\"%s\", "
                   "\"next_offset\":%" PRId64 ", \"ls_offset\":%" PRId64 " } } } } }",
                   s->broker, s->waiting, s->answers, s->fetch, s->next, s->end);
}

/* As of a partition that waits for offset 5 of 9. */
static const struct sight forgotten = {"UP", 0, 40, "active", 5, 9};
static const struct sight stopped = {"UP", 0, 40, "stopped", -1001, -1001};
static const struct sight at_its_end = {"UP", 0, 40, "active", 5, 5};
static const struct sight farther = {"UP", 0, 40, "active", 9, 9}; /* it is in the queue */
static const struct sight away = {"TRY_CONNECT", 0, 40, "active", 5, 9};
static const struct sight slow = {"UP", 1, 40, "active", 5, 9};
static const struct sight slow_to_start = {"UP", 2, 40, "offset-wait", 5, 9};

/* The first of 10 looks, each after another answers more, at which it is found standing; 0: none.
 */
static int looks_until_it_stands(const struct sight *sight, int64_t more)
{
    struct kafka_stall stall = {0};
    struct kafka_fetching row = {.partition = 0};
    struct sight s = *sight;
    char text[DOCUMENT_BYTES];

    kafka_stall_begin(&stall, 1000);
    for (int i = 1; i <= 10; i++, s.answers += more) {
        write_document(text, &s);
        CHECK(kafka_stall_look(text_of(text), "t", &row, 1));
        if (kafka_stall_judge(&stall, &row, 5, 2000 + i)) {
            CHECK_INT(1, stall.times);
            CHECK_INT(2000 + i, stall.heard_us);
            return i;
        }
    }
    CHECK_INT(0, stall.times);
    return 0;
}

TEST(kafka_stall_is_what_stands_at_two_looks_and_waits_for_nothing)
{
    static const struct sight *const silent[] = {&at_its_end, &farther, &away};

    for (int64_t more = 0; more < 3; more++) {
        CHECK_INT(2, looks_until_it_stands(&forgotten, more));
        CHECK_INT(2, looks_until_it_stands(&stopped, more));
        /* One answer holds back all; where others come it is none of them that is awaited. */
        CHECK_INT(more == 0 ? 0 : 2, looks_until_it_stands(&slow, more));
        CHECK_INT(more == 0 ? 0 : 2, looks_until_it_stands(&slow_to_start, more));
        for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
            CHECK_INT(0, looks_until_it_stands(silent[i], more));
    }
}

TEST(kafka_stall_wants_both_looks_at_one_offset)
{
    struct kafka_fetching row = {.reachable = true, .active = true, .answers = 3, .end = 99};
    struct kafka_stall stall = {0};

    kafka_stall_begin(&stall, 0);
    for (int64_t offset = 0; offset < 9; offset++) /* next is below: it is fetched from there */
        CHECK(!kafka_stall_judge(&stall, &row, offset, 0));
    CHECK(kafka_stall_judge(&stall, &row, 8, 0));
    CHECK(!kafka_stall_judge(&stall, &row, 8, 0)); /* twice again */
    kafka_stall_begin(&stall, 0);
    CHECK(!kafka_stall_judge(&stall, &row, 8, 0));
    CHECK(kafka_stall_judge(&stall, &row, 8, 0));
}

TEST(kafka_stall_has_more_patience_each_time_until_a_record_comes)
{
    struct kafka_stall stall = {0};

    for (int times = 0; times < 70; times++) {
        int64_t patience_us = INT64_C(20000000) << (times < DOUBLED_MAX ? times : DOUBLED_MAX);
        kafka_stall_begin(&stall, 7);
        stall.times = times;
        CHECK(!kafka_stall_is_silent(&stall, 7, 20000000));
        CHECK(!kafka_stall_is_silent(&stall, 7 + patience_us - 1, 20000000));
        CHECK(kafka_stall_is_silent(&stall, 7 + patience_us, 20000000));
    }
    kafka_stall_hear(&stall, 9);
    CHECK(!kafka_stall_is_silent(&stall, 9 + 20000000 - 1, 20000000));
    CHECK(kafka_stall_is_silent(&stall, 9 + 20000000, 20000000));
}

/* ---- a consumer that is not heeded ------------------------------------------------------------
 */

/* librdkafka forgets nothing yet, whatever a test that failed left behind. */
static struct kafka_broker *start_broker(int partitions)
{
    const struct kafka_broker_topic topics[] = {{"t", partitions}, {NULL, 0}};
    struct kafka_broker *broker;
    struct error err;

    assigns_to_lose = resumes_to_lose = bent_count = 0;
    bent_to = KAFKA_OFFSET_NONE;
    caught = CAUGHT_NOT;
    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    return broker;
}

static struct kafka_consumer *open_consumer(const struct kafka_broker *broker, int stall_ms)
{
    struct kafka_consumer_options options = {.brokers = kafka_broker_address(broker),
                                             .topic = "t",
                                             .fetch_wait_max_ms = 5,
                                             .stall_ms = stall_ms};
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
    struct kafka_consumer *consumer = open_consumer(broker, STALL_MS);
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
    struct kafka_consumer *consumer = open_consumer(broker, STALL_MS);
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

TEST(kafka_consumer_believes_an_error_of_another_offset_that_comes_again_and_again)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_consumer *consumer = open_consumer(broker, 0);
    long before = restarts();
    struct kafka_event event;
    uint64_t epoch;
    struct error err;

    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 10);
    bent_to = -1001;
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 1000, &epoch, &err));
    event = kafka_await(consumer, KAFKA_OUT_OF_RANGE, NULL);
    bent_to = KAFKA_OFFSET_NONE;
    CHECK_INT(0, event.partition);
    CHECK_INT(1000, event.offset);
    CHECK(bent_count >= 4);
    CHECK_INT(before + 3, restarts());
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 4, &epoch, &err));
    kafka_read_in_order(consumer, 0, 4, 6, epoch);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
}

/* The names that are read in statistics are librdkafka's: an answer that takes seconds is seen. */
TEST(kafka_stall_sees_a_slow_answer_in_what_librdkafka_writes)
{
    struct kafka_broker *broker = start_broker(1);
    struct kafka_fetching row = {.partition = 0};
    struct kafka_consumer *consumer;
    int64_t answers = -1, until_us;
    bool seen = false;
    uint64_t epoch;
    struct error err;

    caught = CAUGHT_COPIED;
    consumer = open_consumer(broker, 0);
    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 10);
    CHECK_STATUS(OK, kafka_consumer_assign(consumer, 0, 0, &epoch, &err));
    kafka_read_in_order(consumer, 0, 0, 10, epoch);
    kafka_broker_set_delay(broker, 3500); /* three documents long */
    for (until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
         !seen && clock_monotonic_us() < until_us;) {
        struct kafka_event events[KAFKA_EVENTS_MAX];
        struct kafka_record record;
        int events_count;
        CHECK_INT(0, kafka_consumer_poll(consumer, 50, &record, 1, events, &events_count));
        if (caught_document == NULL)
            continue;
        CHECK(kafka_stall_look(text_of(caught_document), "t", &row, 1));
        seen = row.reachable && row.active && row.waiting && row.answers > 0 &&
               row.answers == answers;
        answers = row.answers;
        free(caught_document);
        caught_document = NULL;
    }
    CHECK(seen);
    kafka_broker_set_delay(broker, 0);
    kafka_consumer_close(consumer);
    kafka_broker_stop(broker);
    caught = CAUGHT_NOT;
}

/* ---- a consumer that sees what we write, by our clock ------------------------------------------
 */

struct watched {
    struct kafka_broker *broker; /* is only there */
    struct kafka_consumer *consumer;
};

/* librdkafka is told of nothing that is assigned. */
static struct watched open_watched(void)
{
    struct watched w = {.broker = start_broker(1)};
    uint64_t epoch;
    struct error err;

    clock_fake_set(1700000000000, 1000000);
    caught = CAUGHT_BY_HAND;
    assigns_to_lose = INT_MAX;
    w.consumer = open_consumer(w.broker, PATIENCE_S * 1000);
    CHECK_STATUS(OK, kafka_consumer_assign(w.consumer, 0, 5, &epoch, &err));
    return w;
}

static void close_watched(struct watched *w)
{
    kafka_consumer_close(w->consumer);
    kafka_broker_stop(w->broker);
    assigns_to_lose = 0;
    caught = CAUGHT_NOT;
    clock_fake_off();
}

/* Shows the same sight once a second and returns how often that was until it was assigned anew; 0:
 * it was not, however often. */
static int looks_until_restart(struct watched *w, const struct sight *sight, int looks_max)
{
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct kafka_record record;
    char text[DOCUMENT_BYTES];
    long before = restarts();
    int events_count;

    write_document(text, sight);
    for (int i = 1; i <= looks_max; i++) {
        clock_fake_advance_us(LOOK_US);
        CHECK_INT(0, kafka_consumer_poll(w->consumer, 0, &record, 1, events, &events_count));
        CHECK_INT(0, events_count);
        (void)caught_reader(NULL, text, strlen(text), caught_opaque);
        if (restarts() > before)
            return i;
    }
    return 0;
}

/* What is at its end or paused, has a broker that is away or waits for an answer that takes its
 * time, does not stand still. */
TEST(kafka_consumer_leaves_alone_what_is_only_silent)
{
    static const struct sight *const silent[] = {&at_its_end, &farther, &away, &slow,
                                                 &slow_to_start};
    struct watched w = open_watched();

    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        CHECK_INT(0, looks_until_restart(&w, silent[i], 10 * PATIENCE_S));
    kafka_consumer_pause(w.consumer, 0);
    CHECK_INT(0, looks_until_restart(&w, &forgotten, 10 * PATIENCE_S));
    kafka_consumer_resume(w.consumer, 0);
    CHECK(looks_until_restart(&w, &forgotten, 2 * PATIENCE_S) > PATIENCE_S);
    close_watched(&w);
}

TEST(kafka_consumer_has_more_patience_each_time_it_fetches_anew_in_vain)
{
    struct watched w = open_watched();
    uint64_t epoch;
    struct error err;

    for (int times = 0; times < DOUBLED_MAX + 2; times++) {
        int patience_s = PATIENCE_S << (times < DOUBLED_MAX ? times : DOUBLED_MAX);
        int looks = looks_until_restart(&w, &forgotten, 100 * PATIENCE_S);
        CHECK(looks > patience_s);
        CHECK(looks <= patience_s + HOLD_MAX_S + 3);
    }
    CHECK_STATUS(OK, kafka_consumer_assign(w.consumer, 0, 5, &epoch, &err)); /* a beginning */
    CHECK(looks_until_restart(&w, &forgotten, 100 * PATIENCE_S) <= PATIENCE_S + 3);
    close_watched(&w);
}
