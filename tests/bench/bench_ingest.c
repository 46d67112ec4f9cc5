/*
 * tests/bench/bench_ingest.c - what ingest costs, against a real broker and Redis.
 *
 * Every figure is of 100,000 users whose sequences of 100 events are full, TTL on, and of a topic
 * of 8 partitions that lies ready: from the first record read to the last commit, exactly once.
 *
 *   ingest_events_per_s        clicks of 200 bytes of JSON, users by Zipf(1.0), 10,000 items.
 *                              Limit: MULTI, two patches a record, EXEC on such a Redis, no more
 *   ingest_lists_events_per_s  one of 20 is a list of 20 that was shown: outbox and relay run
 *   ingest_aof_events_per_s    clicks again, with appendfsync everysec
 *   ingest_cpu_us, redis_cpu_us  processor time an event of the clicks: what a core more would
 * bring bytes_per_user_100         memory of Redis a user; limit: SET PX of 1,528 bytes, the same
 * keys bytes_per_user_100_open    the same with one open list of 10 ingest_rss_mb largest resident
 * memory of ingest
 *
 *     build/release/bench/bench_ingest build/release/freshet BROKERS [EVENTS]
 */
#include "ops/clock.h"
#include "ops/random.h"
#include "tests/bench/figure.h"
#include "tests/bench/testbed.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define USERS        100000
#define SEQUENCE     100
#define BARE_BATCH   256
#define BARE_SECONDS 5
#define VALUE_BYTES  1528

static struct testbed bed;
static struct random randoms;
static struct error err;
static int64_t sent; /* events so far; each has a time of its own */

/* ---- the topic ---- */

/* Log-uniform ranks: the share of a user falls with the rank, as by Zipf's law. */
static int zipf_user(void)
{
    return (int)pow(USERS, random_unit(&randoms)) % USERS;
}

static void send_click(struct kafka_producer *producer, int user)
{
    char name[24], json[512];
    struct kafka_message message = {
        .topic = "events", .partition = KAFKA_PARTITION_ANY, .key = {name, 0}, .value = {json, 0}};

    message.key.bytes = (size_t)snprintf(name, sizeof name, "user-%07d", user);
    message.value.bytes = (size_t)testbed_click(json, sizeof json, name,
                                                (int)random_below(&randoms, TESTBED_ITEMS),
                                                TESTBED_NOW_MS + sent, sent);
    testbed_send(producer, &message);
    sent++;
}

static void send_list(struct kafka_producer *producer, int user, int items)
{
    char name[24], json[1024];
    struct kafka_message message = {
        .topic = "events", .partition = KAFKA_PARTITION_ANY, .key = {name, 0}, .value = {json, 0}};
    int bytes;

    message.key.bytes = (size_t)snprintf(name, sizeof name, "user-%07d", user);
    bytes = snprintf(json, sizeof json,
                     "{\"type\":\"impression\",\"user\":\"%s\",\"ts\":%" PRId64
                     ",\"request_id\":\"r-%" PRId64 "\",\"items\":[",
                     name, TESTBED_NOW_MS + sent, sent);
    for (int i = 0; i < items; i++)
        bytes += snprintf(json + bytes, sizeof json - (size_t)bytes, "%s\"item-%06d\"",
                          i == 0 ? "" : ",", (int)random_below(&randoms, TESTBED_ITEMS));
    message.value.bytes = (size_t)(bytes +
                                   snprintf(json + bytes, sizeof json - (size_t)bytes, "]}"));
    testbed_send(producer, &message);
    sent++;
}

static void flush(struct kafka_producer *producer)
{
    figure_must(kafka_producer_flush(producer, 120000, &err), &err);
    kafka_producer_close(producer, 0);
}

/* lists: one of so many events is a list of 20; 0: none. */
static void fill(int64_t events, int lists)
{
    struct kafka_producer *producer = testbed_producer(&bed);

    (void)fprintf(stderr, "filling the topic with %" PRId64 " events\n", events);
    for (int64_t n = 0; n < events; n++) {
        if (lists > 0 && n % lists == 0)
            send_list(producer, zipf_user(), 20);
        else
            send_click(producer, zipf_user());
        if (n % 1000 == 0)
            kafka_producer_poll(producer, 0);
    }
    flush(producer);
}

/* ---- the limit: two patches a record and nothing else, on full values ---- */

static void bare_fill(void)
{
    static const char value[VALUE_BYTES];
    const struct redis_reply *reply;
    char key[48];

    for (int u = 0; u < USERS; u++) {
        (void)redis_begin(bed.connection, 5, 2048);
        redis_argument_text(bed.connection, "SET");
        redis_argument(bed.connection, key,
                       (size_t)snprintf(key, sizeof key, "fr{%02x}uuser-%07d", u % 64, u));
        redis_argument(bed.connection, value, sizeof value);
        redis_argument_text(bed.connection, "PX");
        redis_argument_int(bed.connection, 2592000000);
        figure_must(redis_call_receive(bed.connection, TESTBED_ASK_MS, &reply, &err), &err);
    }
}

static void bare_batch(void)
{
    static const char entry[28];

    (void)redis_begin(bed.connection, 1, 16);
    redis_argument_text(bed.connection, "MULTI");
    for (int i = 0; i < BARE_BATCH; i++) {
        char key[48];
        int user = zipf_user();
        int bytes = snprintf(key, sizeof key, "fr{%02x}uuser-%07d", user % 64, user);

        for (int patch = 0; patch < 2; patch++) {
            (void)redis_begin(bed.connection, 4, 128);
            redis_argument_text(bed.connection, "SETRANGE");
            redis_argument(bed.connection, key, (size_t)bytes);
            redis_argument_int(bed.connection,
                               patch == 0 ? 0 : 28 + 15 * (int)random_below(&randoms, SEQUENCE));
            redis_argument(bed.connection, entry, patch == 0 ? 28 : 15);
        }
    }
    (void)redis_begin(bed.connection, 1, 16);
    redis_argument_text(bed.connection, "EXEC");
}

static double bare_patches_per_s(void)
{
    const struct redis_reply *reply;
    int64_t begun_us = clock_monotonic_us(), done = 0;
    int in_flight = 0;

    while (clock_monotonic_us() - begun_us < BARE_SECONDS * 1000000) {
        for (; in_flight < 2; in_flight++)
            bare_batch();
        for (int i = 0; i < 2 + 2 * BARE_BATCH; i++)
            figure_must(redis_call_receive(bed.connection, TESTBED_ASK_MS, &reply, &err), &err);
        in_flight--;
        done += BARE_BATCH;
    }
    while (redis_connection_owed(bed.connection) > 0)
        figure_must(redis_call_receive(bed.connection, TESTBED_ASK_MS, &reply, &err), &err);
    return (double)done / ((double)(clock_monotonic_us() - begun_us) / 1e6);
}

/* ---- ingest ---- */

struct cost {
    double events_per_s, ingest_us, redis_us, rss_mb;
};

/* Processor time of all children that have ended. */
static double children_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double redis_s(void)
{
    return testbed_info(&bed, "cpu", "used_cpu_user:") + testbed_info(&bed, "cpu", "used_cpu_sys:");
}

/* Ingest reads all that is new in the topic; ends the program when an event is missing. */
static struct cost ingest(int64_t events)
{
    struct process process;
    struct cost cost = {0};
    double before_s = children_s(), redis_before_s = redis_s(), seconds;
    const struct json_node *result;
    int64_t counted = 0;

    testbed_start_ingest(&bed, &process, "events", true);
    result = testbed_result(&bed, &process, &cost.rss_mb);
    for (const char *const *name = (const char *const[]){"applied", "late", "duplicate", NULL};
         *name != NULL; name++)
        counted += json_int_or(json_member(result, *name), 0);
    seconds = json_real_or(json_member(result, "busy_seconds"), 0);
    (void)printf("%" PRId64 " events in %.2f s busy, gaps: %" PRId64 "\n", counted, seconds,
                 events - counted);
    if (counted != events || seconds <= 0)
        exit(1);
    cost.events_per_s = (double)events / seconds;
    cost.ingest_us = (children_s() - before_s) * 1e6 / (double)events;
    cost.redis_us = (redis_s() - redis_before_s) * 1e6 / (double)events;
    return cost;
}

static double bytes_per_user(double before)
{
    return (testbed_info(&bed, "memory", "used_memory:") - before) / USERS;
}

/* Every user's sequence is full; before: memory of the Redis without anything. */
static void fill_users(double before, double bare_bytes)
{
    struct kafka_producer *producer = testbed_producer(&bed);

    (void)fprintf(stderr, "%d users of %d events\n", USERS, SEQUENCE);
    for (int n = 0; n < SEQUENCE; n++)
        for (int user = 0; user < USERS; user++)
            send_click(producer, user);
    flush(producer);
    (void)ingest((int64_t)USERS * SEQUENCE);
    figure_report("bytes_per_user_100", bytes_per_user(before), "bytes", "SET PX of 1,528 bytes",
                  bare_bytes);
}

static void open_lists(double before)
{
    struct kafka_producer *producer = testbed_producer(&bed);

    for (int user = 0; user < USERS; user++)
        send_list(producer, user, 10);
    flush(producer);
    (void)ingest(USERS);
    figure_report("bytes_per_user_100_open", bytes_per_user(before), "bytes", "", 0);
}

/* From now on Redis writes what it does to disk, as it would from its start. */
static void append_only(void)
{
    const struct text set[] = {{"CONFIG", 6}, {"SET", 3}, {"appendonly", 10}, {"yes", 3}};
    const struct redis_reply *reply;

    figure_must(redis_call(bed.connection, TESTBED_ASK_MS, set, 4, &reply, &err), &err);
    for (int i = 0; i < 600; i++) {
        if (testbed_info(&bed, "persistence", "aof_enabled:") == 1 &&
            testbed_info(&bed, "persistence", "aof_rewrite_in_progress:") == 0 &&
            testbed_info(&bed, "persistence", "aof_rewrite_scheduled:") == 0)
            return;
        (void)usleep(100000);
    }
    (void)fprintf(stderr, "Redis did not finish its append-only file in 60 s\n");
    exit(1);
}

int main(int argc, char **argv)
{
    int64_t events = argc > 3 ? strtoll(argv[3], NULL, 10) : 4000000;
    double before, bare_bytes, bare;
    struct cost cost;

    if (argc < 3 || events <= 0) {
        (void)fprintf(stderr, "usage: bench_ingest FRESHET BROKERS [EVENTS]\n");
        return 2;
    }
    testbed_open(&bed, argv[1], argv[2]);
    random_seed(&randoms, 1);
    testbed_start_redis(&bed);
    before = testbed_info(&bed, "memory", "used_memory:");
    bare_fill();
    bare_bytes = bytes_per_user(before);
    bare = bare_patches_per_s();
    testbed_stop_redis(&bed);

    testbed_start_redis(&bed);
    testbed_make_topics(&bed, "events");
    before = testbed_info(&bed, "memory", "used_memory:");
    fill_users(before, bare_bytes);
    fill(events, 0);
    cost = ingest(events);
    figure_report("ingest_events_per_s", cost.events_per_s, "events/s",
                  "two patches a record, bare", bare);
    figure_report("ingest_cpu_us", cost.ingest_us, "us", "", 0);
    figure_report("redis_cpu_us", cost.redis_us, "us", "", 0);
    figure_report("ingest_rss_mb", cost.rss_mb, "MB", "", 0);
    open_lists(before);
    fill(events / 2, 20);
    figure_report("ingest_lists_events_per_s", ingest(events / 2).events_per_s, "events/s",
                  "two patches a record, bare", bare);
    append_only();
    fill(events / 2, 0);
    figure_report("ingest_aof_events_per_s", ingest(events / 2).events_per_s, "events/s",
                  "two patches a record, bare", bare);
    testbed_stop_redis(&bed);
    return testbed_close(&bed);
}
