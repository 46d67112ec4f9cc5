/*
 * features/item_words.h - what the catalogue says of items, and which items it says the like of.
 *
 * Flow: catalogue's records -> [words] -> neighbours of an item that nobody has chosen yet
 *
 * An item's words are its category (one word of its own kind) and the runs of letters and digits in
 * its text. Two items are alike by the cosine of their words, each weighing ln(1 + N / items that
 * have it): so items that have a category alone are all alike within it, and where there are texts
 * the rare words decide.
 *
 * item_words_vector() makes of the same words a vector of fixed width that needs no other item (the
 * frozen text vector of a model): each word adds +1 or -1 in a place of its hash, the whole has
 * length 1. Source: feature hashing, Weinberger et al. 2009, arXiv 0902.2206.
 *
 * Keys are the caller's numbers of items, dense from 0. Thread: one.
 */
#ifndef FEATURES_ITEM_WORDS_H
#define FEATURES_ITEM_WORDS_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

#define ITEM_WORDS_MAX      64 /* of one item; more are not read */
#define ITEM_WORDS_KEY_MAX  (1 << 26)
#define ITEM_WORDS_NEAR_MAX 256  /* neighbours of one item */
#define ITEM_WORDS_LOOK_MAX 2000 /* items of one word that are looked at, the last that came */

struct item_words;
MUST_CHECK enum status item_words_create(struct item_words **words, struct error *err);
void item_words_destroy(struct item_words *words); /* NULL is fine */

/* What is known of an item, in place of what was. Both may be empty: then nothing is known.
 * Errors: ERR_LIMIT (the key), ERR_NOMEM: nothing is known of it then. */
MUST_CHECK enum status item_words_put(struct item_words *words, int32_t key, struct text category,
                                      struct text text, struct error *err);
/* How many items item_words_near() would look at, some more than once. */
int64_t item_words_cost(const struct item_words *words, int32_t key);
bool item_words_known(const struct item_words *words, int32_t key);

/* May it be a neighbour? */
typedef bool item_words_asked(void *context, int32_t key);

/* The k keys most like this one among those asked for, without itself, best first, equal ones by
 * key; and all that are as like as the last of them, up to ITEM_WORDS_NEAR_MAX. Returns how many; 0
 * too when memory is out. */
int item_words_near(struct item_words *words, int32_t key, int k, item_words_asked *asked,
                    void *context, int32_t near[ITEM_WORDS_NEAR_MAX]);

/* The same of an item that is known; all 0 for one that is not. */
void item_words_vector_of(const struct item_words *words, int32_t key, float *vector,
                          int32_t width);

/* vector (width); all 0 for an item without words. */
void item_words_vector(struct text category, struct text text, float *vector, int32_t width);

#endif
