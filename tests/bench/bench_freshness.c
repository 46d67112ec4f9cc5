/*
 * tests/bench/bench_freshness.c - how soon an event is in what serving reads.
 *
 *   freshness_p99_ms           from handing an event to the producer to reading it back from Redis,
 *                              at 10,000 events/s. Limit: until the broker acknowledged that event
 *   freshness_embedded_p99_ms  the same by the embedded broker, which takes no core for itself
 *
 *     build/release/bench/bench_freshness build/release/freshet BROKERS
 */
#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "tests/bench/figure.h"
#include "tests/bench/testbed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RATE         10000
#define PROBES       400
#define PROBE_GAP_US 25000
#define LOOK_US      250
#define WARM_US      25000000 /* until then a fresh JVM spends half a core on compiling */

/* Two clients of the broker, as there are many: the one that sends the probe does not send the
 * 10,000 events/s, so that a probe waits at the broker and in ingest, but not in its own queue. */
struct clients {
    struct kafka_producer *crowd, *probe;
};

static struct testbed bed;
static struct error err;
static int64_t acknowledged_us; /* the last probe; 0: not yet */

static void note_delivery(void *context, uint64_t opaque, enum status status, int32_t partition,
                          int64_t offset)
{
    (void)context;
    (void)status;
    (void)partition;
    (void)offset;
    if (opaque != 0)
        acknowledged_us = clock_monotonic_us();
}

static struct kafka_producer *open_client(int linger_ms)
{
    struct kafka_producer_options options = {
        .brokers = bed.brokers, .linger_ms = linger_ms, .delivered = note_delivery};
    struct kafka_producer *producer;

    figure_must(kafka_producer_open(&producer, &options, &err), &err);
    return producer;
}

static void send_click(struct kafka_producer *producer, const char *user, int item, int64_t time_ms,
                       int64_t n, bool probe)
{
    char json[512];
    struct kafka_message message = {.topic = "live",
                                    .partition = KAFKA_PARTITION_ANY,
                                    .key = text_of(user),
                                    .value = {json, 0},
                                    .opaque = probe};

    message.value.bytes = (size_t)testbed_click(json, sizeof json, user, item, time_ms, n);
    testbed_send(producer, &message);
}

/* Produces what is due of the background traffic. */
static int64_t keep_rate(const struct clients *clients, int64_t begun_us, int64_t sent)
{
    int64_t due = (clock_monotonic_us() - begun_us) * RATE / 1000000;
    char user[24];

    kafka_producer_poll(clients->probe, 0);
    for (; sent < due; sent++) {
        (void)snprintf(user, sizeof user, "user-%07d", (int)(sent * 7919 % 20000));
        send_click(clients->crowd, user, (int)(sent % TESTBED_ITEMS), clock_wall_ms(), sent, false);
    }
    kafka_producer_poll(clients->crowd, 0);
    return sent;
}

/* ---- probes ---- */

static const struct redis_reply *find_probe(int probe)
{
    /* The shard of a user is the data set's secret: look for the key. */
    char pattern[64];
    const struct redis_reply *reply;

    (void)snprintf(pattern, sizeof pattern, "fr{*}uprobe-%04d", probe);
    const struct text keys[] = {{"KEYS", 4}, text_of(pattern)};

    figure_must(redis_call(bed.connection, TESTBED_ASK_MS, keys, 2, &reply, &err), &err);
    return reply;
}

/* Keys of the probes' users, found once each is there; their values grow with each event. */
static void learn_keys(char (*keys)[48], struct kafka_producer *producer)
{
    char user[24];

    for (int p = 0; p < PROBES; p++) {
        (void)snprintf(user, sizeof user, "probe-%04d", p);
        send_click(producer, user, 1, clock_wall_ms(), 1, false);
    }
    figure_must(kafka_producer_flush(producer, TESTBED_ASK_MS, &err), &err);
    for (int p = 0; p < PROBES; p++) {
        int64_t until_us = clock_monotonic_us() + 30000000;
        const struct redis_reply *reply = find_probe(p);

        while (reply->count == 0 && clock_monotonic_us() < until_us) {
            (void)usleep(20000);
            reply = find_probe(p);
        }
        if (reply->count == 0) {
            (void)fprintf(stderr, "ingest applied nothing in 30 s\n");
            exit(1);
        }
        (void)snprintf(keys[p], sizeof keys[p], "%s", reply->elements[0]->text.at);
    }
}

static int64_t length_of(const char *key)
{
    const struct text strlen_of[] = {{"STRLEN", 6}, text_of(key)};
    const struct redis_reply *reply;

    figure_must(redis_call(bed.connection, TESTBED_ASK_MS, strlen_of, 2, &reply, &err), &err);
    return reply->integer;
}

/* Sends one event and waits until Redis has it. */
static void probe(const struct clients *clients, const char *key, int number, int64_t begun_us,
                  int64_t *sent, double *seen_ms, double *acknowledged_ms)
{
    int64_t before = length_of(key), at_us, seen_us;
    char user[24];

    (void)snprintf(user, sizeof user, "probe-%04d", number);
    *sent = keep_rate(clients, begun_us, *sent);
    acknowledged_us = 0;
    at_us = clock_monotonic_us();
    send_click(clients->probe, user, 2, clock_wall_ms() + 1, 2, true);
    /* A look every quarter of a millisecond: a busy one would take a core from those measured. */
    while (length_of(key) == before && clock_monotonic_us() < at_us + 5000000) {
        *sent = keep_rate(clients, begun_us, *sent);
        (void)usleep(LOOK_US);
    }
    seen_us = clock_monotonic_us();
    while (clock_monotonic_us() < at_us + PROBE_GAP_US || acknowledged_us == 0) {
        *sent = keep_rate(clients, begun_us, *sent);
        (void)usleep(LOOK_US);
        if (clock_monotonic_us() > at_us + 10000000)
            break;
    }
    *seen_ms = (double)(seen_us - at_us) / 1000;
    *acknowledged_ms = (double)(acknowledged_us - at_us) / 1000;
}

static void bench(const char *figure)
{
    static char keys[PROBES][48];
    static double seen_ms[PROBES], acknowledged_ms[PROBES];
    struct clients clients;
    struct process ingest;
    int64_t begun_us, sent = 0;

    testbed_start_redis(&bed);
    clients = (struct clients){.crowd = open_client(5), .probe = open_client(1)};
    testbed_start_ingest(&bed, &ingest, "live", false);
    learn_keys(keys, clients.probe);
    begun_us = clock_monotonic_us();
    while (clock_monotonic_us() - begun_us < WARM_US) {
        sent = keep_rate(&clients, begun_us, sent);
        (void)usleep(LOOK_US);
    }
    for (int p = 0; p < PROBES; p++)
        probe(&clients, keys[p], p, begun_us, &sent, &seen_ms[p], &acknowledged_ms[p]);
    (void)printf("%d probes at %.0f events/s, median %.1f ms; acknowledged after %.1f\n", PROBES,
                 (double)sent / ((double)(clock_monotonic_us() - begun_us) / 1e6),
                 figure_quantile(seen_ms, PROBES, 0.5),
                 figure_quantile(acknowledged_ms, PROBES, 0.5));
    figure_report(figure, figure_quantile(seen_ms, PROBES, 0.99), "ms", "acknowledged",
                  figure_quantile(acknowledged_ms, PROBES, 0.99));
    kafka_producer_close(clients.probe, 1000);
    kafka_producer_close(clients.crowd, 1000);
    process_stop(&ingest, 20000);
    testbed_stop_redis(&bed);
}

static void bench_embedded(void)
{
    static const struct kafka_broker_topic topics[] = {
        {"live", TESTBED_PARTITIONS}, {"examples", 4}, {"dead", 1}, {NULL, 0}};
    struct kafka_broker *broker;

    figure_must(kafka_broker_start(&broker, topics, &err), &err);
    bed.brokers = kafka_broker_address(broker);
    bench("freshness_embedded_p99_ms");
    kafka_broker_stop(broker);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench_freshness FRESHET BROKERS\n");
        return 2;
    }
    testbed_open(&bed, argv[1], argv[2]);
    testbed_make_topics(&bed, "live");
    bench("freshness_p99_ms");
    bench_embedded();
    return testbed_close(&bed);
}
