/*
 * schemas/item.h - one record of the `items` topic: what the catalogue says of an item.
 *
 *     {"item":"i7","category":"shoes","text":"red running shoe","ts":1700000000123}
 *
 * The record's key is the item. A record without a value (a tombstone) says it is gone. Unknown
 * members are ignored; only `item` must be there, as text of 1..256 bytes or an integer.
 */
#ifndef SCHEMAS_ITEM_H
#define SCHEMAS_ITEM_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ITEM_CATEGORY_MAX 128
#define ITEM_TEXT_MAX     (16 * 1024)
#define ITEM_BYTES_MAX    (64 * 1024)

struct item {
    bool gone; /* then only `item` is set */
    struct text item;
    struct text category; /* may be empty */
    struct text text;     /* may be empty */
    int64_t time_ms;      /* 0: not said */
};

struct item_decoder; /* scratch of one thread */
MUST_CHECK enum status item_decoder_create(struct item_decoder **decoder, struct error *err);
void item_decoder_destroy(struct item_decoder *decoder); /* NULL is fine */

/**
 * Decodes one record. value.at == NULL is a tombstone: the item is the key's. Texts live until
 * the decoder's next call, or as long as key.
 * Errors: ERR_MALFORMED (not JSON, a member of the wrong type, item is not the key),
 *         ERR_LIMIT (a text longer than its bound), ERR_NOMEM. A record without a key is taken.
 */
MUST_CHECK enum status item_decode(struct item_decoder *decoder, struct text key, struct text value,
                                   struct item *item, struct error *err);

/* Returns the bytes of the JSON, or 0 when it does not fit. A gone item has no bytes: assert. */
size_t item_encode(const struct item *item, char *into, size_t bytes);

#endif
