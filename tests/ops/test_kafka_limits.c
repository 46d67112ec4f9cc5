/* Tests ops/kafka_limits: answers, brokers that are gone, and an end in the middle of a question.
 */
#include "ops/kafka_limits.h"

#include "ops/clock.h"
#include "ops/kafka_admin.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <poll.h>
#include <string.h>

static struct kafka_limits_answer await_answer(struct kafka_limits *limits)
{
    struct kafka_limits_answer answer = {0};
    int64_t until_us = clock_monotonic_us() + KAFKA_PATIENCE_US;

    while (!kafka_limits_take(limits, &answer)) {
        struct pollfd bell = {.fd = kafka_limits_descriptor(limits), .events = POLLIN};

        CHECK(clock_monotonic_us() < until_us);
        (void)poll(&bell, 1, 1000);
    }
    return answer;
}

static struct kafka_limits *start(const char *brokers)
{
    struct kafka_consumer_options options = {
        .brokers = brokers, .topic = "t", .group = "g", .instance_id = "i"};
    struct kafka_limits *limits;
    struct error err;

    CHECK_STATUS(OK, kafka_limits_start(&limits, &options, &err));
    return limits;
}

TEST(kafka_limits_answers_every_question_in_order)
{
    static const struct kafka_broker_topic topics[] = {{"t", 2}, {NULL, 0}};
    struct kafka_limits_answer answer;
    struct kafka_broker *broker;
    struct kafka_limits *limits;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    kafka_fill(kafka_broker_address(broker), "t", 1, 0, 3);
    limits = start(kafka_broker_address(broker));
    CHECK(!kafka_limits_take(limits, &answer));
    CHECK_STATUS(OK, kafka_limits_ask(limits, 1, 7, &err));
    CHECK_STATUS(OK, kafka_limits_ask(limits, 0, 8, &err));
    answer = await_answer(limits);
    CHECK_STATUS(OK, answer.status);
    CHECK(answer.tag == 7 && answer.partition == 1 && answer.low == 0 && answer.high == 3);
    CHECK_INT(KAFKA_OFFSET_NONE, answer.group);
    answer = await_answer(limits);
    CHECK(answer.tag == 8 && answer.partition == 0 && answer.high == 0);
    CHECK_STATUS(OK, kafka_limits_ask(limits, 1, 9, &err)); /* by a new client */
    CHECK_INT(9, (int64_t)await_answer(limits).tag);
    CHECK(!kafka_limits_take(limits, &answer));
    kafka_limits_stop(limits);
    kafka_broker_stop(broker);
}

TEST(kafka_limits_without_a_group_tells_the_ends_alone)
{
    static const struct kafka_broker_topic topics[] = {{"t", 2}, {NULL, 0}};
    struct kafka_consumer_options options = {.topic = "t"};
    struct kafka_limits_answer answer;
    struct kafka_broker *broker;
    struct kafka_limits *limits;
    struct error err;

    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    kafka_fill(kafka_broker_address(broker), "t", 0, 0, 4);
    options.brokers = kafka_broker_address(broker);
    CHECK_STATUS(OK, kafka_limits_start(&limits, &options, &err));
    CHECK_STATUS(ERR_TIMEOUT, kafka_limits_next(limits, 0, &answer, &err));
    CHECK(answer.partition == -1 && strstr(err.text, "\"t\"") != NULL);
    CHECK_STATUS(OK, kafka_limits_ask(limits, 0, 5, &err));
    CHECK_STATUS(OK, kafka_limits_ask(limits, 1, 6, &err));
    CHECK_STATUS(OK, kafka_limits_next(limits, 30000, &answer, &err));
    CHECK(answer.tag == 5 && answer.low == 0 && answer.high == 4);
    CHECK_INT(KAFKA_OFFSET_NONE, answer.group);
    CHECK_STATUS(OK, kafka_limits_next(limits, 30000, &answer, &err));
    CHECK(answer.tag == 6 && answer.high == 0);
    kafka_broker_set_up(broker, false);
    CHECK_STATUS(OK, kafka_limits_ask(limits, 0, 7, &err));
    CHECK(kafka_limits_next(limits, 60000, &answer, &err) != OK);
    CHECK(answer.tag == 7 && err.text[0] != '\0');
    kafka_limits_stop(limits);
    kafka_broker_stop(broker);
}

TEST(kafka_limits_says_that_nobody_answers_and_ends_in_the_middle_of_a_question)
{
    struct kafka_limits *limits = start("127.0.0.1:1");
    struct kafka_limits_answer answer;
    struct error err;

    CHECK_STATUS(OK, kafka_limits_ask(limits, 0, 1, &err));
    answer = await_answer(limits);
    CHECK(answer.status != OK && answer.tag == 1 && answer.why.text[0] != '\0');
    for (int i = 0; i < KAFKA_LIMITS_MAX; i++)
        CHECK_STATUS(OK, kafka_limits_ask(limits, i, 2, &err));
    CHECK_STATUS(ERR_FULL, kafka_limits_ask(limits, 0, 3, &err));
    kafka_limits_stop(limits);
    kafka_limits_stop(NULL);
}
