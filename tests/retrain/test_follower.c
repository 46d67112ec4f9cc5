/*
 * Tests retrain/follower against the embedded broker: from offsets of its own, every record once
 * and in the order of its partition, whatever stops it; logs that are not what they were.
 */
#include "retrain/follower.h"

#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS  3
#define PATIENCE_US ((int64_t)30 * 1000000)

static struct error err;
static struct kafka_broker *broker;
static struct config *config;

static void begin(void)
{
    static const struct kafka_broker_topic topics[] = {{"events", PARTITIONS}, {NULL, 0}};
    static const struct config_row *const tables[] = {kafka_config_rows, NULL};
    char brokers[80];
    const char *sets[] = {brokers};
    char *report = NULL;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    (void)snprintf(brokers, sizeof brokers, "kafka.brokers=%s", kafka_broker_address(broker));
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, &err));
    free(report);
}

static void end(void)
{
    config_destroy(config);
    kafka_broker_stop(broker);
}

static void fill(int partition, int first, int count)
{
    kafka_fill(kafka_broker_address(broker), "events", partition, first, count);
}

/* What was handed on: numbers must go up by one in each partition. */
struct seen {
    int next[PARTITIONS];
    int count;
    int refuse_at; /* the handler fails at this count; 0: never */
};

static enum status see(void *context, const struct kafka_record *record, struct error *why)
{
    struct seen *seen = context;

    if (seen->refuse_at > 0 && seen->count == seen->refuse_at)
        return error_set(why, ERR_NOMEM, "as the test wants it");
    CHECK_INT(seen->next[record->partition], kafka_number(record));
    seen->next[record->partition]++;
    seen->count++;
    return OK;
}

static struct follower *open_at(const struct follower_offset *starts, int count)
{
    struct follower *follower;

    CHECK_STATUS(OK, follower_open(&follower, config, "kafka.topics.events", starts, count, &err));
    return follower;
}

static void follow(struct follower *follower, struct seen *seen, int until)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    int count;

    while (seen->count < until) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, follower_poll(follower, 20, see, seen, &count, &err));
    }
    CHECK_INT(until, seen->count);
}

/* Up to the record that seen refuses. */
static void follow_to_refusal(struct follower *follower, struct seen *seen)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    enum status status = OK;
    int count;

    while (status == OK && clock_monotonic_us() < until_us)
        status = follower_poll(follower, 20, see, seen, &count, &err);
    CHECK_STATUS(ERR_NOMEM, status);
}

TEST(follower_reads_every_partition_once_and_in_order)
{
    struct seen seen = {0};
    struct follower *follower;
    const struct follower_offset *offsets;
    int count;

    begin();
    fill(0, 0, 30);
    fill(2, 0, 1500); /* more than one poll holds */
    follower = open_at(NULL, 0);
    CHECK_TEXT("events", follower_topic(follower));
    CHECK(!follower_caught_up(follower));
    follow(follower, &seen, 1530);
    CHECK(follower_caught_up(follower));
    CHECK_INT(0, follower_lost(follower));
    CHECK_INT(0, follower_lag(follower));
    offsets = follower_offsets(follower, &count);
    CHECK_INT(PARTITIONS, count);
    CHECK(offsets[0].next == 30 && offsets[1].next == 0 && offsets[2].next == 1500);
    for (int i = 0; i < count; i++)
        CHECK(offsets[i].partition == i && offsets[i].from == 0);
    /* What comes later is followed too, and does not undo having caught up. */
    fill(1, 0, 5);
    follow(follower, &seen, 1535);
    CHECK(follower_caught_up(follower));
    follower_close(follower);
    follower_close(NULL);
    end();
}

TEST(follower_has_not_caught_up_before_the_last_record)
{
    struct seen seen = {0};
    struct follower *follower;

    begin();
    fill(0, 0, 1);
    follower = open_at(NULL, 0);
    CHECK(!follower_caught_up(follower));
    follow(follower, &seen, 1);
    CHECK(follower_caught_up(follower));
    follower_close(follower);
    end();
}

TEST(follower_of_an_empty_topic_has_caught_up)
{
    struct seen seen = {0};
    struct follower *follower;
    int count;

    begin();
    follower = open_at(NULL, 0);
    CHECK(follower_caught_up(follower));
    CHECK_STATUS(OK, follower_poll(follower, 10, see, &seen, &count, &err));
    CHECK_INT(0, count);
    follower_close(follower);
    end();
}

TEST(follower_goes_on_where_it_was_told_to)
{
    struct follower_offset starts[] = {{2, 7, 40}, {0, 0, 10}};
    struct seen seen = {.next = {10, 0, 40}};
    struct follower *follower;
    const struct follower_offset *offsets;
    int count;

    begin();
    for (int p = 0; p < PARTITIONS; p++)
        fill(p, 0, 50);
    follower = open_at(starts, 2); /* partition 1 is not named: from its begin */
    follow(follower, &seen, 40 + 50 + 10);
    offsets = follower_offsets(follower, &count);
    CHECK(offsets[2].from == 7 && offsets[2].next == 50); /* where it ever began stays */
    follower_close(follower);
    end();
}

TEST(follower_does_not_count_what_its_handler_refused)
{
    struct seen seen = {.refuse_at = 20};
    struct follower *follower;
    struct follower_offset kept[PARTITIONS];
    enum status status = OK;
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    int count, all = 0;

    begin();
    fill(0, 0, 25);
    fill(1, 0, 25);
    follower = open_at(NULL, 0);
    while (status == OK) {
        CHECK(clock_monotonic_us() < until_us);
        status = follower_poll(follower, 20, see, &seen, &count, &err);
        all += count;
    }
    CHECK_STATUS(ERR_NOMEM, status);
    CHECK_INT(20, all);
    memcpy(kept, follower_offsets(follower, &count), sizeof kept);
    CHECK_INT(20, kept[0].next + kept[1].next);
    follower_close(follower);
    /* Another one goes on exactly there. */
    seen.refuse_at = 0;
    follower = open_at(kept, PARTITIONS);
    follow(follower, &seen, 50);
    follower_close(follower);
    end();
}

TEST(follower_refuses_a_log_that_is_shorter_than_what_was_read)
{
    const struct follower_offset starts[] = {{1, 0, 11}};
    struct follower *follower;

    begin();
    fill(1, 0, 10);
    CHECK_STATUS(ERR_CONFLICT,
                 follower_open(&follower, config, "kafka.topics.events", starts, 1, &err));
    CHECK(follower == NULL);
    CHECK(strstr(err.text, "events/1") != NULL && strstr(err.text, "11") != NULL);
    CHECK(strstr(err.text, "retrain.folder") != NULL); /* what to do */
    end();
}

TEST(follower_at_the_end_of_the_log_waits_for_more)
{
    const struct follower_offset starts[] = {{0, 0, 10}};
    struct seen seen = {.next = {10}};
    struct follower *follower;

    begin();
    fill(0, 0, 10);
    follower = open_at(starts, 1);
    CHECK(follower_caught_up(follower));
    fill(0, 10, 3);
    follow(follower, &seen, 3);
    follower_close(follower);
    end();
}

TEST(follower_lag_is_what_is_in_the_log_and_not_read)
{
    struct seen seen = {.refuse_at = 1};
    struct follower *follower;

    begin();
    fill(0, 0, 10);
    follower = open_at(NULL, 0);
    follow_to_refusal(follower, &seen);
    CHECK_INT(9, follower_lag(follower));
    follower_close(follower);
    end();
}

/* Ends of logs that were marked are reached or not, whatever comes behind them. */
TEST(follower_reaches_what_was_marked)
{
    struct seen seen = {.refuse_at = 12};
    struct follower *follower;

    begin();
    fill(0, 0, 10);
    follower = open_at(NULL, 0);
    CHECK_INT(10, follower_lag(follower)); /* known before the first record comes */
    CHECK(!follower_reached(follower));
    follow(follower, &seen, 10);
    CHECK(follower_reached(follower));
    fill(0, 10, 20);
    follow_to_refusal(follower, &seen);
    CHECK(follower_reached(follower) && follower_lag(follower) > 5);
    follower_mark(follower);
    CHECK(!follower_reached(follower) && follower_caught_up(follower));
    seen.refuse_at = 0;
    follow(follower, &seen, 30);
    CHECK(follower_reached(follower));
    follower_close(follower);
    end();
}

TEST(follower_looks_for_partitions_and_finds_none_twice)
{
    struct seen seen = {0};
    struct follower *follower;
    int count;

    begin();
    fill(0, 0, 10);
    follower = open_at(NULL, 0);
    CHECK_STATUS(OK, follower_look(follower, &err));
    CHECK_STATUS(OK, follower_look(follower, &err));
    (void)follower_offsets(follower, &count);
    CHECK_INT(PARTITIONS, count);
    follow(follower, &seen, 10);
    follower_close(follower);
    end();
}
