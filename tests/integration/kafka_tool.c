/*
 * tests/integration/kafka_tool.c - what integration scripts need of Kafka and freshet itself has
 * no command for.
 *
 *     kafka_tool broker TOPIC:PARTITIONS...   an embedded broker until SIGTERM or the end of its
 *                                             parent; prints its address
 *     kafka_tool produce BROKERS TOPIC        lines of standard input, KEY<tab>VALUE; an empty key
 *                                             is none
 */
#include "ops/kafka_admin.h"
#include "ops/kafka_producer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TOPICS_MAX 16

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

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "broker") == 0)
        return run_broker(argc - 2, argv + 2);
    if (argc == 4 && strcmp(argv[1], "produce") == 0)
        return run_produce(argv[2], argv[3]);
    (void)fprintf(stderr, "usage: kafka_tool broker TOPIC:N... | produce BROKERS TOPIC\n");
    return 2;
}
