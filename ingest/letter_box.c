/* ingest/letter_box.c - a fixed set of places, a producer, and patience. */
#include "ingest/letter_box.h"

#include "ingest/crash_point.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESEND_US    500000
#define LOG_EVERY_MS 30000

METRIC_COUNTER(resent, "freshet_ingest_letters_resent_total", "dead letters that had to be resent");

enum place_state { EMPTY, TO_SEND, SENT, DELIVERED };

struct place {
    enum place_state state;
    uint64_t id;
    int64_t due_us;
    size_t key_bytes, value_bytes;
    char key[DEAD_LETTER_KEY_MAX];
    char value[DEAD_LETTER_BYTES_MAX];
};

struct letter_box {
    struct kafka_producer *producer;
    char topic[256], events[256];
    struct place *places; /* (LETTER_BOX_MAX) */
    int used, to_send, delivered;
    int64_t now_us;
    struct log_limit limit;
    char why[240];
};

static void on_delivered(void *context, uint64_t opaque, enum status status, int32_t partition,
                         int64_t offset)
{
    struct letter_box *box = context;
    struct place *place = &box->places[opaque];

    (void)partition;
    (void)offset;
    if (status == OK) {
        place->state = DELIVERED;
        box->delivered++;
        box->why[0] = '\0';
        return;
    }
    metric_add(&resent, 1);
    place->state = TO_SEND;
    place->due_us = box->now_us + RESEND_US;
    box->to_send++;
    (void)snprintf(box->why, sizeof box->why, "kafka did not take a dead letter: %s",
                   kafka_producer_why(box->producer)[0] == '\0'
                       ? status_text(status)
                       : kafka_producer_why(box->producer));
    if (log_every(&box->limit, LOG_EVERY_MS))
        log_event(LOG_WARN, "letter_not_delivered", box->why, log_text("topic", box->topic));
}

enum status letter_box_open(struct letter_box **box, const struct kafka_producer_options *options,
                            const char *topic, const char *events_topic, struct error *err)
{
    struct kafka_producer_options own = *options;
    struct letter_box *b = calloc(1, sizeof *b);
    enum status status;

    *box = NULL;
    if (b == NULL)
        return error_set(err, ERR_NOMEM, "no memory for dead letters");
    (void)snprintf(b->topic, sizeof b->topic, "%s", topic);
    (void)snprintf(b->events, sizeof b->events, "%s", events_topic);
    b->places = calloc(LETTER_BOX_MAX, sizeof *b->places);
    own.delivered = on_delivered;
    own.context = b;
    status = b->places == NULL ? error_set(err, ERR_NOMEM, "no memory for dead letters")
                               : kafka_producer_open(&b->producer, &own, err);
    if (status == OK)
        *box = b;
    else
        letter_box_close(b);
    return status;
}

void letter_box_close(struct letter_box *box)
{
    if (box == NULL)
        return;
    kafka_producer_close(box->producer, 0);
    free(box->places);
    free(box);
}

int letter_box_pending(const struct letter_box *box)
{
    return box->used;
}

void letter_box_put(struct letter_box *box, const struct machine_letter *letter)
{
    int at = (int)(letter->id % LETTER_BOX_MAX); /* ids rise by one: most often it is free */

    assert(box->used < LETTER_BOX_MAX);
    while (box->places[at].state != EMPTY)
        at = (at + 1) % LETTER_BOX_MAX;
    struct place *place = &box->places[at];

    place->state = TO_SEND;
    place->id = letter->id;
    place->due_us = 0;
    place->key_bytes = dead_letter_key(letter, box->events, place->key);
    place->value_bytes = dead_letter_format(letter, box->events, place->value);
    box->used++;
    box->to_send++;
}

static enum status send_due(struct letter_box *box, struct error *err)
{
    enum status status = OK;

    for (int i = 0; i < LETTER_BOX_MAX && status == OK && box->to_send > 0; i++) {
        struct place *place = &box->places[i];

        if (place->state != TO_SEND || place->due_us > box->now_us)
            continue;
        struct kafka_message message = {
            .topic = box->topic,
            .partition = KAFKA_PARTITION_ANY,
            .key = {place->key, place->key_bytes},
            .value = {place->value, place->value_bytes},
            .opaque = (uint64_t)i,
        };
        status = kafka_produce(box->producer, &message, err);
        if (status == OK) {
            place->state = SENT;
            box->to_send--;
            CRASH_POINT(after_letter_produced);
        } else {
            (void)snprintf(box->why, sizeof box->why, "%s", err->text);
            place->due_us = box->now_us + RESEND_US;
        }
    }
    return status == ERR_REPLACED ? status : OK;
}

enum status letter_box_step(struct letter_box *box, int64_t now_us,
                            void (*delivered)(void *context, uint64_t id), void *context,
                            struct error *err)
{
    enum status status;

    box->now_us = now_us;
    status = box->to_send > 0 ? send_due(box, err) : OK;
    if (status != OK)
        return status;
    /* Also with nothing under way: else the client's statistics, one document a second, wait in its
     * queue for ever, and nobody learns whether it is connected. */
    kafka_producer_poll(box->producer, 0);
    for (int i = 0; i < LETTER_BOX_MAX && box->delivered > 0; i++) {
        if (box->places[i].state != DELIVERED)
            continue;
        box->places[i].state = EMPTY;
        box->delivered--;
        box->used--;
        delivered(context, box->places[i].id);
    }
    return OK;
}

const char *letter_box_why(const struct letter_box *box)
{
    return box->why;
}
