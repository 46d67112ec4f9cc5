/*
 * tests/integration/kafka_tool.c - what integration scripts need of Kafka and freshet itself has
 * no command for.
 *
 *     kafka_tool broker TOPIC:PARTITIONS...   an embedded broker until SIGTERM or the end of its
 *                                             parent; prints its address
 *     kafka_tool produce BROKERS TOPIC        lines of standard input, KEY<tab>VALUE; an empty key
 *                                             is none; "-" alone as the value: a tombstone
 *     kafka_tool dump BROKERS TOPIC           a line a record: PARTITION OFFSET KEY VALUE, key and
 *                                             value as hexadecimal digits, "-" for none
 */
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TOPICS_MAX  16
#define RECORDS_MAX 256
#define WAIT_MS     10000

static int run_broker(int count, char **names)
{
    struct kafka_broker_topic topics[TOPICS_MAX + 1] = {0};
    struct kafka_broker *broker;
    struct error err;
    sigset_t set;
    int number;

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
    (void)sigwait(&set, &number);
    kafka_broker_stop(broker);
    return 0;
}

static int run_produce(const char *brokers, const char *topic)
{
    struct kafka_producer_options options = {.brokers = brokers};
    struct kafka_producer *producer;
    struct error err;
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    enum status status = kafka_producer_open(&producer, &options, &err);

    while (status == OK && (bytes = getline(&line, &room, stdin)) > 0) {
        char *tab = memchr(line, '\t', (size_t)bytes);
        size_t key = tab == NULL ? 0 : (size_t)(tab - line);
        char *value = tab == NULL ? line : tab + 1;
        struct kafka_message message = {.topic = topic, .partition = KAFKA_PARTITION_ANY};

        message.key = key == 0 ? (struct text){0} : (struct text){line, key};
        message.value = (struct text){value, (size_t)(line + bytes - value) -
                                                 (size_t)(line[bytes - 1] == '\n')};
        if (text_equal(message.value, text_of("-")))
            message.value = (struct text){0};
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
    if (argc == 4 && strcmp(argv[1], "produce") == 0)
        return run_produce(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "dump") == 0)
        return run_dump(argv[2], argv[3]);
    (void)fprintf(stderr, "usage: kafka_tool broker TOPIC:N... | produce|dump BROKERS TOPIC\n");
    return 2;
}
