/*
 * ops/kafka_limits.h - asks brokers where logs begin and end and what a group has committed, on a
 * thread of its own.
 *
 * librdkafka's question for the ends of a log heeds no deadline: asked of a broker that has just
 * died it waits until its request is given up, and again for each retry. A loop that asked by
 * itself stood still meanwhile, for minutes. Here the question waits, on a client made for it (so
 * that it knows who leads now) and with short deadlines, and the loop goes on.
 *
 * Thread: the caller's, one.
 */
#ifndef OPS_KAFKA_LIMITS_H
#define OPS_KAFKA_LIMITS_H

#include "ops/kafka_consumer.h"

#define KAFKA_LIMITS_MAX 1024 /* questions that wait */

struct kafka_limits_answer {
    uint64_t tag; /* the caller's, of the question */
    int32_t partition;
    enum status status; /* not OK: why says what no broker answered; ask again later */
    struct error why;
    int64_t low, high;
    int64_t group; /* committed by the group, KAFKA_OFFSET_NONE: nothing, or there is no group */
};

struct kafka_limits;
/* options: as of the consumer that the answers are for; what they point to must stay.
 * Errors: ERR_NOMEM, ERR_IO */
MUST_CHECK enum status kafka_limits_start(struct kafka_limits **limits,
                                          const struct kafka_consumer_options *options,
                                          struct error *err);
/* Waits for the question under way, which may take seconds. NULL is fine. */
void kafka_limits_stop(struct kafka_limits *limits);

/* Every question is answered once. Errors: ERR_FULL */
MUST_CHECK enum status kafka_limits_ask(struct kafka_limits *limits, int32_t partition,
                                        uint64_t tag, struct error *err);
/* False: no answer has come. */
bool kafka_limits_take(struct kafka_limits *limits, struct kafka_limits_answer *answer);
/* Waits for the next answer. Errors: those of the answer, which is filled then, too; ERR_TIMEOUT
 * (none came: answer->partition is -1) */
MUST_CHECK enum status kafka_limits_next(struct kafka_limits *limits, int64_t timeout_ms,
                                         struct kafka_limits_answer *answer, struct error *err);
/* Readable while there is an answer to take. */
int kafka_limits_descriptor(const struct kafka_limits *limits);

#endif
