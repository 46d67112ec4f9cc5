/*
 * ingest/letter_box.h - dead letters on their way to Kafka, each kept until the broker has it.
 *
 * Flow: machine -> [letter box -> Kafka `dead`] -> delivered, back to the machine
 *
 * A letter that could not be delivered is sent again, for ever: the commit that passes its record
 * waits for it. The box is bounded; the machine hands out no more at once.
 * Thread: one.
 */
#ifndef INGEST_LETTER_BOX_H
#define INGEST_LETTER_BOX_H

#include "ingest/dead_letter.h"
#include "ops/kafka_producer.h"

#define LETTER_BOX_MAX 2048

struct letter_box;
/* topic: of the dead letters; events_topic: named in them. */
MUST_CHECK enum status letter_box_open(struct letter_box **box,
                                       const struct kafka_producer_options *options,
                                       const char *topic, const char *events_topic,
                                       struct error *err);
void letter_box_close(struct letter_box *box); /* NULL is fine */
int letter_box_pending(const struct letter_box *box);
/* There must be room. */
void letter_box_put(struct letter_box *box, const struct machine_letter *letter);
/* Sends what is due, takes delivery reports; delivered is called for each letter that is there.
 * Errors: ERR_REPLACED (the producer broke for good) */
MUST_CHECK enum status letter_box_step(struct letter_box *box, int64_t now_us,
                                       void (*delivered)(void *context, uint64_t id), void *context,
                                       struct error *err);
/* Why letters are not delivered now, "" when they are. */
const char *letter_box_why(const struct letter_box *box);

#endif
