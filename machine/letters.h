/*
 * machine/letters.h - dead letters on their way to Kafka.
 *
 * Flow: reading, commit -> [letters] -> dead topic -> delivered -> commit
 *
 * A commit that passes a dead record waits until its letter was acknowledged, so that a kill
 * between the two repeats a letter and never loses one. A letter outlives its record: after a
 * rewind it is still delivered.
 */
#ifndef MACHINE_LETTERS_H
#define MACHINE_LETTERS_H

#include "machine/machine.h"

struct letter;

/* Ids count up from 1; the ring holds those from `first` to `next` - 1. */
struct letters {
    struct letter *ring;
    uint64_t capacity; /* a power of two */
    uint64_t first;    /* all before it are delivered */
    uint64_t sent;     /* next to hand to the loop */
    uint64_t next;
};
MUST_CHECK enum status letters_init(struct letters *letters, struct error *err);
void letters_clear(struct letters *letters);

/* Returns the id, 0 without memory. head is cut to MACHINE_LETTER_BYTES and copied. */
uint64_t letters_add(struct letters *letters, int32_t partition, int64_t offset,
                     int64_t timestamp_ms, enum refusal refusal, struct text head,
                     size_t raw_bytes);
/* The next letter to produce; false when all were handed out, or when so many are on their way
 * (counted from the oldest that is not delivered) that the loop has no room for another. */
bool letters_take(struct letters *letters, int at_once, struct machine_letter *letter);
void letters_deliver(struct letters *letters, uint64_t id); /* unknown ids are ignored */
/* Is this letter delivered, and all before it? True for 0. */
bool letters_delivered_to(const struct letters *letters, uint64_t id);

#endif
