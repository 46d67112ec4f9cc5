/*
 * tests/bench/testbed.h - a Redis of its own, a producer, and ingest as a process: what the
 * benchmarks of ingest stand on. A step that fails ends the program with 1 and says why.
 */
#ifndef TESTS_BENCH_TESTBED_H
#define TESTS_BENCH_TESTBED_H

#include "features/redis_call.h"
#include "ops/json.h"
#include "ops/kafka_producer.h"
#include "ops/process.h"

#include <stdint.h>

#define TESTBED_PARTITIONS 8
#define TESTBED_ITEMS      10000
#define TESTBED_ASK_MS     20000
#define TESTBED_NOW_MS     INT64_C(1700000000000)

struct testbed {
    const char *program, *brokers;
    char folder[64], socket_path[96];
    struct process redis;
    struct redis_connection *connection;
    struct json_parser *parser;
};

void testbed_open(struct testbed *bed, const char *program, const char *brokers);
/* Returns the exit status of the program. */
int testbed_close(struct testbed *bed);

void testbed_start_redis(struct testbed *bed);
void testbed_stop_redis(struct testbed *bed);
/* A number of INFO: testbed_info(bed, "memory", "used_memory:"). */
double testbed_info(struct testbed *bed, const char *section, const char *field);

/* Topics `events`, examples and dead. */
void testbed_make_topics(struct testbed *bed, const char *events);
struct kafka_producer *testbed_producer(struct testbed *bed);
/* Waits while the queue is full. */
void testbed_send(struct kafka_producer *producer, const struct kafka_message *message);
/* A click of about 200 bytes, as an app would send it; returns its bytes. */
int testbed_click(char *into, size_t room, const char *user, int item, int64_t time_ms, int64_t n);

void testbed_start_ingest(struct testbed *bed, struct process *ingest, const char *events,
                          bool until_end);
/* Waits for its end; its result is the last line of its output. rss_mb: the most it took. */
const struct json_node *testbed_result(struct testbed *bed, struct process *ingest, double *rss_mb);

#endif
