/* machine/letters.c - see letters.h. */
#include "machine/letters.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_FIRST 16

struct letter {
    int64_t offset, timestamp_ms;
    size_t raw_bytes;
    int32_t partition;
    enum refusal refusal;
    bool delivered;
    uint16_t head_bytes;
    char head[MACHINE_LETTER_BYTES];
};

enum status letters_init(struct letters *letters, struct error *err)
{
    *letters = (struct letters){.capacity = CAPACITY_FIRST, .first = 1, .sent = 1, .next = 1};
    letters->ring = malloc(CAPACITY_FIRST * sizeof letters->ring[0]);
    if (letters->ring == NULL)
        return error_set(err, ERR_NOMEM, "no memory for dead letters");
    return OK;
}

void letters_clear(struct letters *letters)
{
    free(letters->ring);
    *letters = (struct letters){0};
}

static struct letter *at(const struct letters *letters, uint64_t id)
{
    return &letters->ring[id & (letters->capacity - 1)];
}

static bool grow(struct letters *letters)
{
    struct letters larger = *letters;

    larger.capacity *= 2;
    larger.ring = malloc((size_t)larger.capacity * sizeof larger.ring[0]);
    if (larger.ring == NULL)
        return false;
    for (uint64_t id = letters->first; id < letters->next; id++)
        *at(&larger, id) = *at(letters, id);
    free(letters->ring);
    *letters = larger;
    return true;
}

uint64_t letters_add(struct letters *letters, int32_t partition, int64_t offset,
                     int64_t timestamp_ms, enum refusal refusal, struct text head, size_t raw_bytes)
{
    struct letter *letter;

    if (letters->next - letters->first == letters->capacity && !grow(letters))
        return 0;
    letter = at(letters, letters->next);
    letter->offset = offset;
    letter->timestamp_ms = timestamp_ms;
    letter->raw_bytes = raw_bytes;
    letter->partition = partition;
    letter->refusal = refusal;
    letter->delivered = false;
    letter->head_bytes = (uint16_t)(head.bytes < MACHINE_LETTER_BYTES ? head.bytes
                                                                      : MACHINE_LETTER_BYTES);
    if (letter->head_bytes != 0)
        memcpy(letter->head, head.at, letter->head_bytes);
    return letters->next++;
}

bool letters_take(struct letters *letters, int at_once, struct machine_letter *letter)
{
    const struct letter *next;

    if (letters->sent == letters->next || letters->sent - letters->first >= (uint64_t)at_once)
        return false;
    next = at(letters, letters->sent);
    *letter = (struct machine_letter){
        .id = letters->sent++,
        .partition = next->partition,
        .offset = next->offset,
        .timestamp_ms = next->timestamp_ms,
        .refusal = next->refusal,
        .head = {next->head, next->head_bytes},
        .raw_bytes = next->raw_bytes,
    };
    return true;
}

void letters_deliver(struct letters *letters, uint64_t id)
{
    if (id < letters->first || id >= letters->sent)
        return;
    at(letters, id)->delivered = true;
    while (letters->first < letters->sent && at(letters, letters->first)->delivered)
        letters->first++;
}

bool letters_delivered_to(const struct letters *letters, uint64_t id)
{
    return id < letters->first;
}
