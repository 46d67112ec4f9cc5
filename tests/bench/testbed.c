/* tests/bench/testbed.c - see testbed.h. */
#include "tests/bench/testbed.h"

#include "ops/file.h"
#include "ops/kafka_admin.h"
#include "tests/bench/figure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void testbed_open(struct testbed *bed, const char *program, const char *brokers)
{
    *bed = (struct testbed){.program = program, .brokers = brokers};
    bed->parser = json_parser_create(65536, 4096);
    (void)snprintf(bed->folder, sizeof bed->folder, "/tmp/freshet-bench-XXXXXX");
    if (bed->parser == NULL || mkdtemp(bed->folder) == NULL) {
        (void)fprintf(stderr, "no memory, or no folder under /tmp\n");
        exit(1);
    }
    (void)snprintf(bed->socket_path, sizeof bed->socket_path, "%s/redis.sock", bed->folder);
}

int testbed_close(struct testbed *bed)
{
    struct error err;

    json_parser_destroy(bed->parser);
    return file_remove_tree(bed->folder, &err) == OK ? 0 : 1;
}

/* ---- Redis ---- */

void testbed_start_redis(struct testbed *bed)
{
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          bed->socket_path,
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          "--maxmemory-policy",
                          "noeviction",
                          "--dir",
                          bed->folder,
                          NULL};
    struct redis_target target;
    char log[128], url[128];
    struct error err;

    (void)snprintf(log, sizeof log, "%s/redis.log", bed->folder);
    figure_must(process_start(&bed->redis, "redis", argv, log, &err), &err);
    (void)snprintf(url, sizeof url, "unix://%s", bed->socket_path);
    figure_must(redis_target_parse(&target, url, &err), &err);
    figure_must(redis_connection_create(&bed->connection, &target, NULL, "bench", &err), &err);
    figure_must(redis_call_wait_ready(bed->connection, TESTBED_ASK_MS, &err), &err);
}

void testbed_stop_redis(struct testbed *bed)
{
    redis_connection_destroy(bed->connection);
    process_stop(&bed->redis, 5000);
}

double testbed_info(struct testbed *bed, const char *section, const char *field)
{
    const struct text info[] = {{"INFO", 4}, text_of(section)};
    const struct redis_reply *reply;
    const char *at;
    struct error err;

    figure_must(redis_call(bed->connection, TESTBED_ASK_MS, info, 2, &reply, &err), &err);
    at = strstr(reply->text.at, field);
    return at == NULL ? 0 : strtod(at + strlen(field), NULL);
}

/* ---- Kafka ---- */

void testbed_make_topics(struct testbed *bed, const char *events)
{
    struct error err;

    figure_must(kafka_topic_create(bed->brokers, NULL, events, TESTBED_PARTITIONS, 1, NULL,
                                   TESTBED_ASK_MS, &err),
                &err);
    figure_must(
        kafka_topic_create(bed->brokers, NULL, "examples", 4, 1, NULL, TESTBED_ASK_MS, &err), &err);
    figure_must(kafka_topic_create(bed->brokers, NULL, "dead", 1, 1, NULL, TESTBED_ASK_MS, &err),
                &err);
}

struct kafka_producer *testbed_producer(struct testbed *bed)
{
    struct kafka_producer_options options = {
        .brokers = bed->brokers, .linger_ms = 5, .queue_messages_max = 200000};
    struct kafka_producer *producer;
    struct error err;

    figure_must(kafka_producer_open(&producer, &options, &err), &err);
    return producer;
}

void testbed_send(struct kafka_producer *producer, const struct kafka_message *message)
{
    struct error err;
    enum status status = kafka_produce(producer, message, &err);

    while (status == ERR_FULL) {
        kafka_producer_poll(producer, 10);
        status = kafka_produce(producer, message, &err);
    }
    figure_must(status, &err);
}

int testbed_click(char *into, size_t room, const char *user, int item, int64_t time_ms, int64_t n)
{
    return snprintf(into, room,
                    "{\"event_id\":\"e-%012" PRId64 "\",\"type\":\"click\",\"user\":\"%s\","
                    "\"item\":\"item-%06d\",\"ts\":%" PRId64
                    ",\"session\":\"s-%08x\",\"surface\":\"home\",\"device\":\"ios\",\"country\":"
                    "\"PT\",\"app\":\"4.17.2\"}",
                    n, user, item, time_ms, (unsigned)(n * 2654435761u));
}

/* ---- ingest ---- */

void testbed_start_ingest(struct testbed *bed, struct process *ingest, const char *events,
                          bool until_end)
{
    char sets[5][192], log[128], ports[128];
    const char *argv[32] = {bed->program, "ingest", "--json", "--ports-file", ports};
    struct error err;
    int used = 5;

    (void)snprintf(log, sizeof log, "%s/%s.log", bed->folder, events);
    (void)snprintf(ports, sizeof ports, "%s/%s.ports", bed->folder, events);
    (void)snprintf(sets[0], sizeof sets[0], "kafka.brokers=%s", bed->brokers);
    (void)snprintf(sets[1], sizeof sets[1], "redis.url=unix://%s", bed->socket_path);
    (void)snprintf(sets[2], sizeof sets[2], "kafka.topics.events=%s", events);
    (void)snprintf(sets[3], sizeof sets[3], "kafka.group=%s", events);
    (void)snprintf(sets[4], sizeof sets[4], "ingest.admin=127.0.0.1:0");
    for (int i = 0; i < 5; i++) {
        argv[used++] = "--set";
        argv[used++] = sets[i];
    }
    if (until_end)
        argv[used++] = "--until-end";
    figure_must(process_start(ingest, "ingest", argv, log, &err), &err);
}

const struct json_node *testbed_result(struct testbed *bed, struct process *ingest, double *rss_mb)
{
    static char tail[8192];
    const struct json_node *root;
    const char *line = NULL;
    struct error err;

    *rss_mb = 0;
    while (!process_ended(ingest)) {
        double mb = figure_rss_mb(ingest->pid);

        *rss_mb = mb > *rss_mb ? mb : *rss_mb;
        (void)usleep(20000);
    }
    process_log_tail(ingest, 30, tail, sizeof tail);
    for (const char *at = tail; (at = strstr(at, "{\"records\"")) != NULL; at++)
        line = at; /* the log goes on from one run to the next: the last one counts */
    if (ingest->exit_code != 0 || line == NULL) {
        (void)fprintf(stderr, "ingest ended with %d:\n%s\n", ingest->exit_code, tail);
        exit(1);
    }
    figure_must(json_parse(bed->parser, (struct text){line, strcspn(line, "\n")}, &root, &err),
                &err);
    return root;
}
