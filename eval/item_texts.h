/*
 * eval/item_texts.h - a file that says what the items of a data set are.
 *
 * Forms, plain or gzip, told by the first line:
 *
 *   {"item":...}     an item a line, as the `items` topic has them (schemas/item.h)
 *   a::b::c          the item, then what is said of it
 *   item,text,...    csv with a header: the column `item`, or else the first, is the item,
 * `category` its category, and all others are read as text
 *
 * Lines that cannot be used are counted and left out.
 * Thread: one.
 */
#ifndef EVAL_ITEM_TEXTS_H
#define EVAL_ITEM_TEXTS_H

#include "ops/status.h"
#include "schemas/item.h"

#include <stdint.h>

/* Takes one item; texts live until it returns. */
typedef enum status item_texts_take(void *context, const struct item *item, struct error *err);

struct item_texts_count {
    int64_t items, refused;
};
/* Errors: ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT, ERR_NOMEM, ERR_MALFORMED (not one item in it), and
 * what take returns, which ends it. */
MUST_CHECK enum status item_texts_read(const char *path, item_texts_take *take, void *context,
                                       struct item_texts_count *count, struct error *err);

#endif
