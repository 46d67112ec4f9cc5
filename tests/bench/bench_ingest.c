/*
 * tests/bench/bench_ingest.c - ingest as an operator sees it, against a real broker and Redis.
 *
 *   ingest_events_per_s    JSON from a preloaded topic of 8 partitions into Redis, exactly once;
 *                          from the first record read to the last commit; 100,000 users, Zipf-like.
 *                          Limit: MULTI, two patches a record, EXEC on the same Redis, nothing else
 *   freshness_p99_ms       from handing an event to the producer to reading it back from Redis, at
 *                          10,000 events/s. Limit: until the broker has acknowledged that event
 *   freshness_embedded_p99_ms  the same by the embedded broker, which takes no core for itself
 *   bytes_per_user_100     Redis memory a user with 100 events and one open list of 10, TTL on.
 *                          Limit: a plain SET PX of 1,528 bytes under the same keys
 *   ingest_cpu_us          processor time of ingest an event, its start included; says more than
 * the rate where others use the machine ingest_rss_mb          largest resident memory of the first
 *
 *     build/release/bench/bench_ingest build/release/freshet BROKERS [EVENTS]
 */
#include "features/redis_connection.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/json.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_producer.h"
#include "ops/process.h"
#include "ops/random.h"

#include "tests/bench/figure.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PARTITIONS   8
#define USERS        100000
#define ITEMS        20000
#define ASK_MS       20000
#define BARE_BATCH   256
#define BARE_SECONDS 3
#define RATE         10000
#define LIVE_SECONDS 12
#define PROBES       400
#define PROBE_GAP_US 25000
#define LOOK_US      250
#define WARM_US      25000000 /* until then a fresh JVM spends half a core on compiling */
#define MEM_USERS    10000
#define NOW_MS       INT64_C(1700000000000)

static const char *program, *brokers;
static char folder[64], socket_path[96];
static struct process redis;
static struct redis_connection *connection;
static struct error err;

static void start_redis(void)
{
    char log[128];
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          socket_path,
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          "--maxmemory-policy",
                          "noeviction",
                          "--dir",
                          folder,
                          NULL};
    struct redis_target target;
    char url[128];

    (void)snprintf(log, sizeof log, "%s/redis.log", folder);
    figure_must(process_start(&redis, "redis", argv, log, &err), &err);
    (void)snprintf(url, sizeof url, "unix://%s", socket_path);
    figure_must(redis_target_parse(&target, url, &err), &err);
    figure_must(redis_connection_create(&connection, &target, NULL, "bench", &err), &err);
    figure_must(redis_connection_wait_ready(connection, ASK_MS, &err), &err);
}

static void stop_redis(void)
{
    redis_connection_destroy(connection);
    process_stop(&redis, 5000);
}

static int64_t used_memory(void)
{
    const struct text info[] = {{"INFO", 4}, {"memory", 6}};
    const struct redis_reply *reply;
    const char *at;

    figure_must(redis_call(connection, ASK_MS, info, 2, &reply, &err), &err);
    at = strstr(reply->text.at, "used_memory:");
    return at == NULL ? 0 : strtoll(at + 12, NULL, 10);
}

/* ---- producing ---- */

static struct kafka_producer *open_producer(void)
{
    struct kafka_producer_options options = {
        .brokers = brokers, .linger_ms = 5, .queue_messages_max = 200000};
    struct kafka_producer *producer;

    figure_must(kafka_producer_open(&producer, &options, &err), &err);
    return producer;
}

/* When the probe of the freshness was acknowledged; 0: not yet. */
static uint64_t probe_mark;
static int64_t probe_acknowledged_us;

static void note_delivery(void *context, uint64_t opaque, enum status status, int32_t partition,
                          int64_t offset)
{
    (void)context;
    (void)status;
    (void)partition;
    (void)offset;
    if (opaque != 0)
        probe_acknowledged_us = clock_monotonic_us();
}

static void send(struct kafka_producer *producer, const char *topic, const char *user,
                 const char *json, int bytes)
{
    struct kafka_message message = {.topic = topic,
                                    .partition = KAFKA_PARTITION_ANY,
                                    .key = text_of(user),
                                    .value = {json, (size_t)bytes},
                                    .opaque = probe_mark};
    enum status status = kafka_produce(producer, &message, &err);

    while (status == ERR_FULL) {
        kafka_producer_poll(producer, 10);
        status = kafka_produce(producer, &message, &err);
    }
    figure_must(status, &err);
}

/* A click of about 200 bytes, as an app would send it. */
static int click(char *into, size_t room, const char *user, int item, int64_t time_ms, int64_t n)
{
    return snprintf(into, room,
                    "{\"event_id\":\"e-%012" PRId64 "\",\"type\":\"click\",\"user\":\"%s\","
                    "\"item\":\"item-%06d\",\"ts\":%" PRId64
                    ",\"session\":\"s-%08x\",\"surface\":\"home\",\"device\":\"ios\",\"country\":"
                    "\"PT\",\"app\":\"4.17.2\"}",
                    n, user, item, time_ms, (unsigned)(n * 2654435761u));
}

static void fill(const char *topic, int64_t events)
{
    struct kafka_producer *producer = open_producer();
    struct random random;
    char user[24], json[512];

    random_seed(&random, 1);
    for (int64_t n = 0; n < events; n++) {
        /* Log-uniform ranks: the share of a user falls with the rank, as in Zipf's law. */
        int rank = (int)pow(USERS, random_unit(&random));

        (void)snprintf(user, sizeof user, "user-%07d", rank % USERS);
        send(producer, topic, user, json,
             click(json, sizeof json, user, (int)random_below(&random, ITEMS), NOW_MS + n, n));
        if (n % 1000 == 0)
            kafka_producer_poll(producer, 0);
    }
    figure_must(kafka_producer_flush(producer, 120000, &err), &err);
    kafka_producer_close(producer, 0);
}

/* ---- ingest ---- */

static void make_topics(const char *events)
{
    figure_must(kafka_topic_create(brokers, NULL, events, PARTITIONS, 1, NULL, ASK_MS, &err), &err);
    figure_must(kafka_topic_create(brokers, NULL, "examples", 4, 1, NULL, ASK_MS, &err), &err);
    figure_must(kafka_topic_create(brokers, NULL, "dead", 1, 1, NULL, ASK_MS, &err), &err);
}

static void start_ingest(struct process *ingest, const char *events, const char *ns, bool until_end)
{
    char sets[6][192], log[128], ports[128];
    const char *argv[32] = {program, "ingest", "--json", "--ports-file", ports};
    int used = 5;

    (void)snprintf(log, sizeof log, "%s/%s.log", folder, events);
    (void)snprintf(ports, sizeof ports, "%s/%s.ports", folder, events);
    (void)snprintf(sets[0], sizeof sets[0], "kafka.brokers=%s", brokers);
    (void)snprintf(sets[1], sizeof sets[1], "redis.url=unix://%s", socket_path);
    (void)snprintf(sets[2], sizeof sets[2], "kafka.topics.events=%s", events);
    (void)snprintf(sets[3], sizeof sets[3], "kafka.group=%s", events);
    (void)snprintf(sets[4], sizeof sets[4], "dataset.namespace=%s", ns);
    (void)snprintf(sets[5], sizeof sets[5], "ingest.admin=127.0.0.1:0");
    for (int i = 0; i < 6; i++) {
        argv[used++] = "--set";
        argv[used++] = sets[i];
    }
    if (until_end)
        argv[used++] = "--until-end";
    figure_must(process_start(ingest, "ingest", argv, log, &err), &err);
}

/* Waits for its end and reads its result, the last line of its output. */
static const struct json_node *result_of(struct process *ingest, struct json_parser *parser,
                                         double *rss_mb)
{
    static char tail[8192];
    const struct json_node *root;
    const char *line;

    while (!process_ended(ingest)) {
        double mb = figure_rss_mb(ingest->pid);

        *rss_mb = mb > *rss_mb ? mb : *rss_mb;
        (void)usleep(20000);
    }
    process_log_tail(ingest, 30, tail, sizeof tail);
    line = strstr(tail, "{\"records\"");
    if (ingest->exit_code != 0 || line == NULL) {
        (void)fprintf(stderr, "ingest ended with %d:\n%s\n", ingest->exit_code, tail);
        exit(1);
    }
    figure_must(json_parse(parser, (struct text){line, strcspn(line, "\n")}, &root, &err), &err);
    return root;
}

/* ---- the limit: two patches a record and nothing else ---- */

static double bare_patches_per_s(void)
{
    static const char entry[28];
    const struct redis_reply *reply;
    struct random random;
    int64_t begun_us = clock_monotonic_us(), done = 0;
    int in_flight = 0;

    random_seed(&random, 2);
    while (clock_monotonic_us() - begun_us < BARE_SECONDS * 1000000) {
        for (; in_flight < 2; in_flight++) {
            (void)redis_begin(connection, 1, 16);
            redis_argument_text(connection, "MULTI");
            for (int i = 0; i < BARE_BATCH; i++) {
                char key[32];
                int rank = (int)pow(USERS, random_unit(&random)) % USERS;
                int bytes = snprintf(key, sizeof key, "b{00}uuser-%07d", rank);

                for (int patch = 0; patch < 2; patch++) {
                    (void)redis_begin(connection, 4, 128);
                    redis_argument_text(connection, "SETRANGE");
                    redis_argument(connection, key, (size_t)bytes);
                    redis_argument_int(connection,
                                       patch == 0 ? 0 : 28 + 15 * (int)random_below(&random, 100));
                    redis_argument(connection, entry, patch == 0 ? 28 : 15);
                }
            }
            (void)redis_begin(connection, 1, 16);
            redis_argument_text(connection, "EXEC");
        }
        for (int i = 0; i < 2 + 2 * BARE_BATCH; i++)
            figure_must(redis_connection_receive(connection, ASK_MS, &reply, &err), &err);
        in_flight--;
        done += BARE_BATCH;
    }
    while (redis_connection_owed(connection) > 0)
        figure_must(redis_connection_receive(connection, ASK_MS, &reply, &err), &err);
    return (double)done / ((double)(clock_monotonic_us() - begun_us) / 1e6);
}

/* Processor time of all children that have ended. */
static double children_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void bench_rate(int64_t events, struct json_parser *parser)
{
    struct process ingest;
    const struct json_node *result;
    double rss_mb = 0, bare, seconds, before_s;
    int64_t applied = 0;

    start_redis();
    bare = bare_patches_per_s();
    stop_redis();
    start_redis();
    make_topics("load");
    (void)fprintf(stderr, "filling the topic with %" PRId64 " events\n", events);
    fill("load", events);
    before_s = children_s();
    start_ingest(&ingest, "load", "fr", true);
    result = result_of(&ingest, parser, &rss_mb);
    before_s = children_s() - before_s;
    for (const char *const *name = (const char *const[]){"applied", "late", "duplicate", NULL};
         *name != NULL; name++)
        applied += json_int_or(json_member(result, *name), 0);
    seconds = json_real_or(json_member(result, "busy_seconds"), 0);
    (void)printf("%" PRId64 " events in %.2f s busy, gaps: %" PRId64 "\n", applied, seconds,
                 events - applied);
    figure_report("ingest_events_per_s", (double)applied / seconds, "events/s",
                  "two patches a record, bare", bare);
    figure_report("ingest_cpu_us", before_s * 1e6 / (double)events, "us", "", 0);
    figure_report("ingest_rss_mb", rss_mb, "MB", "", 0);
    stop_redis();
    if (applied != events || seconds < 1)
        exit(1);
}

/* ---- freshness ---- */

static const struct redis_reply *find_probe(int probe)
{
    /* The shard of a user is the data set's secret: look for the key. */
    char pattern[64];
    const struct redis_reply *reply;

    (void)snprintf(pattern, sizeof pattern, "fr{*}uprobe-%04d", probe);
    const struct text keys[] = {{"KEYS", 4}, text_of(pattern)};

    figure_must(redis_call(connection, ASK_MS, keys, 2, &reply, &err), &err);
    return reply;
}

/* Keys of the probes' users, found once each is there; their values grow with each event. */
static void learn_keys(char (*keys)[48], struct kafka_producer *producer, const char *topic)
{
    char user[24], json[512];

    for (int p = 0; p < PROBES; p++) {
        (void)snprintf(user, sizeof user, "probe-%04d", p);
        send(producer, topic, user, json, click(json, sizeof json, user, 1, clock_wall_ms(), 1));
    }
    figure_must(kafka_producer_flush(producer, ASK_MS, &err), &err);
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

    figure_must(redis_call(connection, ASK_MS, strlen_of, 2, &reply, &err), &err);
    return reply->integer;
}

/* Produces what is due of the background traffic. */
static int64_t keep_rate(struct kafka_producer *producer, const char *topic, int64_t begun_us,
                         int64_t sent)
{
    int64_t due = (clock_monotonic_us() - begun_us) * RATE / 1000000;
    char user[24], json[512];

    for (; sent < due; sent++) {
        (void)snprintf(user, sizeof user, "user-%07d", (int)(sent * 7919 % 20000));
        send(producer, topic, user, json,
             click(json, sizeof json, user, (int)(sent % ITEMS), clock_wall_ms(), sent));
    }
    kafka_producer_poll(producer, 0);
    return sent;
}

/* Two clients of the broker, as there are many: the one that sends the probe does not send the
 * 10,000 events/s, so that a probe waits at the broker and in ingest, but not in its own queue. */
struct clients {
    struct kafka_producer *crowd, *probe;
};

static struct kafka_producer *open_client(int linger_ms)
{
    struct kafka_producer_options options = {
        .brokers = brokers, .linger_ms = linger_ms, .delivered = note_delivery};
    struct kafka_producer *producer;

    figure_must(kafka_producer_open(&producer, &options, &err), &err);
    return producer;
}

static int64_t keep_both(const struct clients *clients, int64_t begun_us, int64_t sent)
{
    kafka_producer_poll(clients->probe, 0);
    return keep_rate(clients->crowd, "live", begun_us, sent);
}

/* Sends one event and waits until Redis has it. */
static void probe(const struct clients *clients, const char *key, int number, int64_t begun_us,
                  int64_t *sent, double *seen_ms, double *acknowledged_ms)
{
    int64_t before = length_of(key), at_us, seen_us;
    char user[24], json[512];

    (void)snprintf(user, sizeof user, "probe-%04d", number);
    *sent = keep_both(clients, begun_us, *sent);
    probe_acknowledged_us = 0;
    probe_mark = 1;
    at_us = clock_monotonic_us();
    send(clients->probe, "live", user, json,
         click(json, sizeof json, user, 2, clock_wall_ms() + 1, 2));
    probe_mark = 0;
    /* A look every quarter of a millisecond: a busy one would take a core from those measured. */
    while (length_of(key) == before && clock_monotonic_us() < at_us + 5000000) {
        *sent = keep_both(clients, begun_us, *sent);
        (void)usleep(LOOK_US);
    }
    seen_us = clock_monotonic_us();
    while (clock_monotonic_us() < at_us + PROBE_GAP_US || probe_acknowledged_us == 0) {
        *sent = keep_both(clients, begun_us, *sent);
        (void)usleep(LOOK_US);
        if (clock_monotonic_us() > at_us + 10000000)
            break;
    }
    *seen_ms = (double)(seen_us - at_us) / 1000;
    *acknowledged_ms = (double)(probe_acknowledged_us - at_us) / 1000;
}

static void bench_freshness(const char *figure)
{
    static char keys[PROBES][48];
    static double seen_ms[PROBES], acknowledged_ms[PROBES];
    struct clients clients;
    struct process ingest;
    int64_t begun_us, sent = 0;

    start_redis();
    clients = (struct clients){.crowd = open_client(5), .probe = open_client(1)};
    start_ingest(&ingest, "live", "fr", false);
    learn_keys(keys, clients.probe, "live");
    begun_us = clock_monotonic_us();
    while (clock_monotonic_us() - begun_us < WARM_US) {
        sent = keep_both(&clients, begun_us, sent);
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
    stop_redis();
}

static void bench_freshness_embedded(void)
{
    static const struct kafka_broker_topic topics[] = {
        {"live", PARTITIONS}, {"examples", 4}, {"dead", 1}, {NULL, 0}};
    const char *real = brokers;
    struct kafka_broker *broker;

    figure_must(kafka_broker_start(&broker, topics, &err), &err);
    brokers = kafka_broker_address(broker);
    bench_freshness("freshness_embedded_p99_ms");
    kafka_broker_stop(broker);
    brokers = real;
}

/* ---- memory ---- */

static double bare_bytes_per_user(void)
{
    static const char value[1528];
    const struct redis_reply *reply;
    int64_t before = used_memory();
    char key[48];

    for (int u = 0; u < MEM_USERS; u++) {
        (void)redis_begin(connection, 5, 2048);
        redis_argument_text(connection, "SET");
        redis_argument(connection, key,
                       (size_t)snprintf(key, sizeof key, "fr{%02x}uuser-%07d", u % 64, u));
        redis_argument(connection, value, sizeof value);
        redis_argument_text(connection, "PX");
        redis_argument_int(connection, 2592000000);
        figure_must(redis_connection_receive(connection, ASK_MS, &reply, &err), &err);
    }
    return (double)(used_memory() - before) / MEM_USERS;
}

static void bench_memory(struct json_parser *parser)
{
    struct kafka_producer *producer = open_producer();
    struct process ingest;
    char user[24], json[1024];
    double bare, rss_mb = 0;
    int64_t before;

    start_redis();
    bare = bare_bytes_per_user();
    stop_redis();
    start_redis();
    make_topics("memory");
    for (int n = 0; n < 100 * MEM_USERS; n++) {
        (void)snprintf(user, sizeof user, "user-%07d", n % MEM_USERS);
        send(producer, "memory", user, json,
             click(json, sizeof json, user, n % ITEMS, NOW_MS + n, n));
    }
    for (int u = 0; u < MEM_USERS; u++) {
        int bytes;

        (void)snprintf(user, sizeof user, "user-%07d", u);
        bytes = snprintf(json, sizeof json,
                         "{\"type\":\"impression\",\"user\":\"%s\",\"ts\":%" PRId64
                         ",\"request_id\":\"r-%d\",\"items\":[",
                         user, NOW_MS + 2000000, u);
        for (int i = 0; i < 10; i++)
            bytes += snprintf(json + bytes, sizeof json - (size_t)bytes, "%s\"item-%06d\"",
                              i == 0 ? "" : ",", i);
        bytes += snprintf(json + bytes, sizeof json - (size_t)bytes, "]}");
        send(producer, "memory", user, json, bytes);
    }
    figure_must(kafka_producer_flush(producer, 120000, &err), &err);
    kafka_producer_close(producer, 0);
    before = used_memory();
    start_ingest(&ingest, "memory", "fr", true);
    (void)result_of(&ingest, parser, &rss_mb);
    figure_report("bytes_per_user_100", (double)(used_memory() - before) / MEM_USERS, "bytes",
                  "SET PX of 1,528 bytes", bare);
    stop_redis();
}

int main(int argc, char **argv)
{
    struct json_parser *parser = json_parser_create(65536, 4096);
    int64_t events = argc > 3 ? strtoll(argv[3], NULL, 10) : 2000000;

    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench_ingest FRESHET BROKERS [EVENTS, 0: freshness alone]\n");
        return 2;
    }
    program = argv[1];
    brokers = argv[2];
    (void)snprintf(folder, sizeof folder, "/tmp/freshet-bench-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(socket_path, sizeof socket_path, "%s/redis.sock", folder);
    if (events > 0) {
        bench_rate(events, parser);
        bench_memory(parser);
    }
    make_topics("live");
    bench_freshness("freshness_p99_ms");
    bench_freshness_embedded();
    json_parser_destroy(parser);
    return file_remove_tree(folder, &err) == OK ? 0 : 1;
}
