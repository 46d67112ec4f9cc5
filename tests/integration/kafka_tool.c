/*
 * tests/integration/kafka_tool.c - what integration scripts need of Kafka and freshet itself has
 * no command for.
 *
 *     kafka_tool broker TOPIC:PARTITIONS...   an embedded broker until SIGTERM or the end of its
 *                                             parent; prints its address. Lines of standard input
 *                                             tell it what to do: "down", "up", "delay MS",
 *                                             "refuse REQUEST ERROR COUNT" (names of requests are
 *                                             below, errors are Kafka's numbers)
 *     kafka_tool topic BROKERS NAME:PARTITIONS...   creates them, replicated as brokers do it
 *     kafka_tool produce BROKERS TOPIC [NAME=VALUE...]   lines of standard input, KEY<tab>VALUE; an
 *                                             empty key is none; "-" alone as the value: a
 *                                             tombstone. NAME=VALUE: properties of librdkafka
 *     kafka_tool produce-hex BROKERS TOPIC [NAME=VALUE...]   the same, VALUE in hexadecimal digits
 *     kafka_tool transact BROKERS TOPIC PARTITION commit|abort|leave   lines of standard input,
 * each a value, in one transaction; left open: until the coordinator ends it kafka_tool dump
 * BROKERS TOPIC           a line a record: PARTITION OFFSET KEY VALUE, key and value as hexadecimal
 * digits, "-" for none
 *
 * librdkafka itself is included for what the door has no use for: a transactional producer.
 */
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"

#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TOPICS_MAX     16
#define RECORDS_MAX    256
#define WAIT_MS        10000
#define LINE_MAX_BYTES 4096

/* ---- the embedded broker ---- */

/* Numbers of Kafka's protocol. */
static const struct {
    const char *name;
    int number;
} requests[] = {
    {"produce", 0},       {"fetch", 1},        {"list_offsets", 2},      {"metadata", 3},
    {"offset_commit", 8}, {"offset_fetch", 9}, {"find_coordinator", 10}, {"join_group", 11},
    {"heartbeat", 12},    {"sync_group", 14},  {"init_producer_id", 22},
};

static void tell_broker(struct kafka_broker *broker, const char *line)
{
    char request[32];
    int error, number;

    if (strcmp(line, "down") == 0 || strcmp(line, "up") == 0)
        kafka_broker_set_up(broker, line[0] == 'u');
    else if (sscanf(line, "delay %d", &number) == 1)
        kafka_broker_set_delay(broker, number);
    else if (sscanf(line, "refuse %31s %d %d", request, &error, &number) == 3)
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
            if (strcmp(request, requests[i].name) == 0)
                kafka_broker_refuse(broker, requests[i].number, error, number);
}

/* Until a signal comes. */
static void obey(struct kafka_broker *broker, const sigset_t *signals)
{
    struct pollfd fds[] = {{.fd = signalfd(-1, signals, SFD_CLOEXEC), .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    char text[LINE_MAX_BYTES];
    size_t used = 0;

    while (poll(fds, 2, -1) >= 0 && (fds[0].revents & POLLIN) == 0) {
        char *line = text, *end;
        ssize_t got = read(STDIN_FILENO, text + used, sizeof text - used);

        if (got <= 0) {
            fds[1].fd = -1; /* nobody will say anything any more */
            continue;
        }
        used += (size_t)got;
        while ((end = memchr(line, '\n', used - (size_t)(line - text))) != NULL) {
            *end = '\0';
            tell_broker(broker, line);
            line = end + 1;
        }
        used -= (size_t)(line - text);
        memmove(text, line, used);
    }
    (void)close(fds[0].fd);
}

static int run_broker(int count, char **names)
{
    struct kafka_broker_topic topics[TOPICS_MAX + 1] = {0};
    struct kafka_broker *broker;
    struct error err;
    sigset_t set;

    for (int i = 0; i < count && i < TOPICS_MAX; i++) {
        char *colon = strchr(names[i], ':');

        if (colon == NULL)
            return 2;
        *colon = '\0';
        topics[i] = (struct kafka_broker_topic){names[i], atoi(colon + 1)};
    }
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (kafka_broker_start(&broker, topics, &err) != OK) {
        (void)fprintf(stderr, "kafka_tool: %s\n", err.text);
        return 3;
    }
    (void)printf("%s\n", kafka_broker_address(broker));
    (void)fflush(stdout);
    obey(broker, &set);
    kafka_broker_stop(broker);
    return 0;
}

/* ---- topics, records ---- */

static int run_topic(const char *brokers, int count, char **names)
{
    struct error err;

    for (int i = 0; i < count; i++) {
        char *colon = strchr(names[i], ':');

        if (colon == NULL)
            return 2;
        *colon = '\0';
        if (kafka_topic_create(brokers, NULL, names[i], atoi(colon + 1), -1, NULL, 3 * WAIT_MS,
                               &err) != OK) {
            (void)fprintf(stderr, "kafka_tool: %s\n", err.text);
            return 3;
        }
    }
    return 0;
}

/* KEY<tab>VALUE of standard input; false at its end. Both point into *line. */
static bool next_line(char **line, size_t *room, struct text *key, struct text *value)
{
    ssize_t got = getline(line, room, stdin);
    char *tab;

    if (got <= 0)
        return false;
    got -= (*line)[got - 1] == '\n';
    tab = memchr(*line, '\t', (size_t)got);
    *key = tab == NULL || tab == *line ? (struct text){0}
                                       : (struct text){*line, (size_t)(tab - *line)};
    *value = tab == NULL ? (struct text){*line, (size_t)got}
                         : (struct text){tab + 1, (size_t)(*line + got - tab - 1)};
    if (text_equal(*value, text_of("-")))
        *value = (struct text){0};
    return true;
}

/* Hexadecimal digits become the bytes they stand for, in the line they came in. */
static void unhex(struct text *value)
{
    char *at = (char *)(uintptr_t)value->at;

    for (size_t i = 0; i + 1 < value->bytes; i += 2) {
        const char pair[] = {at[i], at[i + 1], 0};

        at[i / 2] = (char)strtoul(pair, NULL, 16);
    }
    value->bytes /= 2;
}

static int run_produce(const char *brokers, const char *topic, bool hex, int count, char **settings)
{
    char properties[LINE_MAX_BYTES] = "";
    struct kafka_producer_options options = {.brokers = brokers, .properties = properties};
    struct kafka_message message = {.topic = topic, .partition = KAFKA_PARTITION_ANY};
    struct kafka_producer *producer;
    struct error err;
    char *line = NULL;
    size_t room = 0;
    enum status status;

    for (int i = 0; i < count; i++) {
        size_t used = strlen(properties);
        (void)snprintf(properties + used, sizeof properties - used, "%s\n", settings[i]);
    }
    status = kafka_producer_open(&producer, &options, &err);
    while (status == OK && next_line(&line, &room, &message.key, &message.value)) {
        if (hex)
            unhex(&message.value);
        status = kafka_produce(producer, &message, &err);
        while (status == ERR_FULL) {
            kafka_producer_poll(producer, 10);
            status = kafka_produce(producer, &message, &err);
        }
    }
    free(line);
    if (status == OK)
        status = kafka_producer_flush(producer, 30000, &err);
    if (status != OK)
        (void)fprintf(stderr, "kafka_tool: %s\n", err.text);
    kafka_producer_close(producer, 0);
    return status == OK ? 0 : 3;
}

/* ---- transactions ---- */

static int say(rd_kafka_error_t *error)
{
    if (error == NULL)
        return 0;
    (void)fprintf(stderr, "kafka_tool: %s\n", rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return 3;
}

static int send_lines(rd_kafka_t *producer, const char *topic, int partition)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    struct text key, value;
    char *line = NULL;
    size_t room = 0;

    while (code == RD_KAFKA_RESP_ERR_NO_ERROR && next_line(&line, &room, &key, &value))
        code = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                 RD_KAFKA_V_KEY((void *)(uintptr_t)key.at, key.bytes),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)value.at, value.bytes),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    free(line);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = rd_kafka_flush(producer, WAIT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)fprintf(stderr, "kafka_tool: %s\n", rd_kafka_err2str(code));
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : 3;
}

static int run_transact(const char *brokers, const char *topic, int partition, const char *how)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[200] = "", name[64];
    rd_kafka_t *producer;
    int code;

    (void)snprintf(name, sizeof name, "kafka-tool-%d", (int)getpid());
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why);
    (void)rd_kafka_conf_set(conf, "transactional.id", name, why, sizeof why);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (producer == NULL) {
        (void)fprintf(stderr, "kafka_tool: %s\n", why);
        rd_kafka_conf_destroy(conf);
        return 2;
    }
    code = say(rd_kafka_init_transactions(producer, 3 * WAIT_MS));
    if (code == 0)
        code = say(rd_kafka_begin_transaction(producer));
    if (code == 0)
        code = send_lines(producer, topic, partition);
    if (code == 0 && strcmp(how, "commit") == 0)
        code = say(rd_kafka_commit_transaction(producer, WAIT_MS));
    if (code == 0 && strcmp(how, "abort") == 0)
        code = say(rd_kafka_abort_transaction(producer, WAIT_MS));
    if (strcmp(how, "leave") == 0)
        _exit(code); /* a clean end would abort it */
    rd_kafka_destroy(producer);
    return code;
}

/* ---- reading ---- */

static void print_hex(struct text text, char end)
{
    if (text.at == NULL)
        (void)putchar('-');
    for (size_t i = 0; i < text.bytes; i++)
        (void)printf("%02x", (unsigned)(unsigned char)text.at[i]);
    (void)putchar(end);
}

/* One partition from its beginning to the end it has now. */
static enum status dump_partition(struct kafka_consumer *consumer, int32_t partition,
                                  struct error *err)
{
    struct kafka_record records[RECORDS_MAX];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    int64_t low, high, next;
    uint64_t epoch;
    enum status status = kafka_consumer_limits(consumer, partition, WAIT_MS, &low, &high, err);

    if (status != OK || low == high)
        return status;
    status = kafka_consumer_assign(consumer, partition, low, &epoch, err);
    for (next = low; status == OK && next < high;) {
        int events_count = 0;
        int count = kafka_consumer_poll(consumer, WAIT_MS, records, RECORDS_MAX, events,
                                        &events_count);

        for (int i = 0; i < count; i++) {
            (void)printf("%d %lld ", (int)partition, (long long)records[i].offset);
            print_hex(records[i].key, ' ');
            print_hex(records[i].value, '\n');
            next = records[i].offset + 1;
        }
        for (int i = 0; i < events_count; i++)
            if (events[i].kind == KAFKA_END)
                next = high;
        kafka_records_release(records, count);
        if (count + events_count == 0)
            status = error_set(err, ERR_TIMEOUT, "partition %d says nothing", (int)partition);
    }
    kafka_consumer_revoke(consumer, partition);
    return status;
}

static int run_dump(const char *brokers, const char *topic)
{
    struct kafka_consumer_options options = {
        .brokers = brokers, .topic = topic, .end_events = true};
    struct kafka_consumer *consumer = NULL;
    struct error err;
    int partitions = 0;
    enum status status = kafka_topic_partitions(brokers, NULL, topic, WAIT_MS, &partitions, &err);

    if (status == OK)
        status = kafka_consumer_open(&consumer, &options, &err);
    for (int32_t p = 0; p < partitions && status == OK; p++)
        status = dump_partition(consumer, p, &err);
    if (status != OK)
        (void)fprintf(stderr, "kafka_tool: %s\n", err.text);
    kafka_consumer_close(consumer);
    return status == OK ? 0 : 3;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "broker") == 0)
        return run_broker(argc - 2, argv + 2);
    if (argc >= 4 && strcmp(argv[1], "topic") == 0)
        return run_topic(argv[2], argc - 3, argv + 3);
    if (argc >= 4 && strcmp(argv[1], "produce") == 0)
        return run_produce(argv[2], argv[3], false, argc - 4, argv + 4);
    if (argc >= 4 && strcmp(argv[1], "produce-hex") == 0)
        return run_produce(argv[2], argv[3], true, argc - 4, argv + 4);
    if (argc == 6 && strcmp(argv[1], "transact") == 0)
        return run_transact(argv[2], argv[3], atoi(argv[4]), argv[5]);
    if (argc == 4 && strcmp(argv[1], "dump") == 0)
        return run_dump(argv[2], argv[3]);
    (void)fprintf(stderr, "usage: kafka_tool broker TOPIC:N... | "
                          "topic|produce|produce-hex|transact|dump BROKERS TOPIC...\n");
    return 2;
}
