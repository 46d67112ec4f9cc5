/*
 * scorer/catalogue.h - follows the `items` topic: which items are gone.
 *
 * Flow: Kafka `items` -> [catalogue] -> served tables
 *
 * Reads all of the compacted topic from its start, without a group, and then follows it. An item
 * whose record is null is never recommended again, whatever table still names it; a later record
 * with a value brings it back. Kafka being down costs nothing but news.
 * Thread: one of its own follows; the other functions may be called from any.
 */
#ifndef SCORER_CATALOGUE_H
#define SCORER_CATALOGUE_H

#include "features/item_tables.h"
#include "features/rules.h"
#include "ops/kafka_consumer.h"
#include "ops/status.h"

#include <stdint.h>

#define CATALOGUE_GONE_MAX 1000000 /* items that are gone; more are counted and ignored */

struct catalogue;
/* options: brokers, topic and security; it assigns itself. Starts the thread; Kafka need not be up.
 * Errors: ERR_NOMEM, ERR_CONFIG */
MUST_CHECK enum status catalogue_open(struct catalogue **catalogue,
                                      const struct kafka_consumer_options *options,
                                      struct error *err);
void catalogue_close(struct catalogue *catalogue); /* NULL is fine */

/* What to do when the topic cannot be read, for the log; static storage. */
const char *catalogue_remedy(enum status why);

/* Changes whenever catalogue_apply() would say something new. 0: nothing was read yet. */
uint64_t catalogue_version(struct catalogue *catalogue);
/* Marks what is gone, and unmarks what came back, in tables that nobody else reads yet. */
void catalogue_apply(struct catalogue *catalogue, struct item_tables *tables, uint64_t item_seed);

#endif
