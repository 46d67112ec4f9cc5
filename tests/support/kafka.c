/* tests/support/kafka.c - see tests/support/kafka.h. */
#include "tests/support/kafka.h"

#include "ops/clock.h"
#include "ops/kafka_producer.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kafka_fill(const char *brokers, const char *topic, int partition, int first, int count)
{
    struct kafka_producer_options options = {.brokers = brokers};
    struct kafka_producer *producer;
    struct error err;

    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (int i = first; i < first + count; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        struct kafka_message m = {
            .topic = topic, .partition = partition, .key = text_of("k"), .value = text_of(value)};
        CHECK_STATUS(OK, kafka_produce(producer, &m, &err));
    }
    CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err));
    kafka_producer_close(producer, 0);
}

int kafka_number(const struct kafka_record *record)
{
    char copy[16] = "";

    CHECK(record->value.bytes < sizeof copy);
    memcpy(copy, record->value.at, record->value.bytes);
    return atoi(copy);
}

struct kafka_event kafka_await(struct kafka_consumer *consumer, enum kafka_event_kind kind,
                               int *records_count)
{
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;

    while (clock_monotonic_us() < until_us) {
        int events_count;
        int count = kafka_consumer_poll(consumer, 50, records, KAFKA_BATCH, events, &events_count);
        kafka_records_release(records, count);
        if (records_count != NULL)
            *records_count += count;
        for (int i = 0; i < events_count; i++)
            if (events[i].kind == kind)
                return events[i];
    }
    test_fail(__FILE__, __LINE__, "no event of kind %d came", (int)kind);
}

void kafka_read_in_order(struct kafka_consumer *consumer, int partition, int first, int count,
                         uint64_t epoch)
{
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    int seen = 0;

    while (seen < count && clock_monotonic_us() < until_us) {
        int events_count;
        int room = count - seen < KAFKA_BATCH ? count - seen : KAFKA_BATCH;
        int n = kafka_consumer_poll(consumer, 50, records, room, events, &events_count);
        for (int i = 0; i < n; i++) {
            CHECK_INT(partition, records[i].partition);
            CHECK_INT(first + seen, records[i].offset);
            CHECK_INT(first + seen, kafka_number(&records[i]));
            CHECK(records[i].epoch == epoch);
            seen++;
        }
        kafka_records_release(records, n);
        for (int i = 0; i < events_count; i++)
            CHECK(events[i].kind != KAFKA_OUT_OF_RANGE);
    }
    CHECK_INT(count, seen);
}

void kafka_await_assigned(struct kafka_consumer *consumer, int count, bool *owned)
{
    for (int i = 0; i < count; i++) {
        struct kafka_record records[1];
        struct kafka_event events[KAFKA_EVENTS_MAX];
        int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
        int events_count = 0;
        while (events_count == 0 && clock_monotonic_us() < until_us)
            CHECK_INT(0, kafka_consumer_poll(consumer, 50, records, 1, events, &events_count));
        for (int e = 0; e < events_count; e++) {
            CHECK_INT(KAFKA_ASSIGNED, events[e].kind);
            CHECK(!owned[events[e].partition]);
            owned[events[e].partition] = true;
        }
        i += events_count - 1;
    }
}

struct walk {
    int64_t next[KAFKA_TEST_PARTITIONS_MAX];
    uint64_t epochs[KAFKA_TEST_PARTITIONS_MAX];
    bool paused[KAFKA_TEST_PARTITIONS_MAX];
};

static bool walk_is_done(const struct walk *w, int partitions, int64_t records)
{
    for (int p = 0; p < partitions; p++)
        if (w->next[p] < records)
            return false;
    return true;
}

/* Takes what one poll gives and holds it against what must come. */
static void walk_poll(struct walk *w, struct kafka_consumer *consumer, int records_max)
{
    struct kafka_record records[KAFKA_BATCH];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int events_count;
    int count = kafka_consumer_poll(consumer, 5, records, records_max, events, &events_count);

    CHECK_INT(0, events_count);
    for (int i = 0; i < count; i++) {
        int p = records[i].partition;
        CHECK(!w->paused[p]);
        CHECK(records[i].epoch == w->epochs[p]);
        CHECK_INT(w->next[p], records[i].offset);
        CHECK_INT(w->next[p], kafka_number(&records[i]));
        w->next[p]++;
    }
    kafka_records_release(records, count);
}

void kafka_check_walk(const char *brokers, struct kafka_consumer *consumer, const char *topic,
                      int partitions)
{
    enum { RECORDS = 3000, STEPS = 150 };
    struct walk w = {.next = {0}};
    uint64_t state = test_seed();
    struct error err;

    for (int p = 0; p < partitions; p++) {
        kafka_fill(brokers, topic, p, 0, RECORDS);
        CHECK_STATUS(OK, kafka_consumer_assign(consumer, p, 0, &w.epochs[p], &err));
    }
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;
    for (int step = 0; step < STEPS || !walk_is_done(&w, partitions, RECORDS); step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        unsigned dice = (unsigned)(state >> 40);
        int p = (int)(dice % (unsigned)partitions);
        CHECK(clock_monotonic_us() < until_us);
        if (step >= STEPS) {
            kafka_consumer_resume(consumer, p);
            w.paused[p] = false;
        } else if (dice / 8 % 8 == 0) {
            w.next[p] = (int64_t)(dice / 64 % RECORDS);
            CHECK_STATUS(OK, kafka_consumer_assign(consumer, p, w.next[p], &w.epochs[p], &err));
        } else if (dice / 8 % 8 == 1) {
            w.paused[p] = !w.paused[p];
            (w.paused[p] ? kafka_consumer_pause : kafka_consumer_resume)(consumer, p);
        }
        walk_poll(&w, consumer, (int)(1 + dice / 64 % KAFKA_BATCH));
    }
}
