/*
 * ingest/verify_fed.h - how many records each user has, and of which partitions.
 *
 * Flow: records that `freshet verify` replays -> [count] -> which users have no one state
 *
 * A user whose events lie in two partitions is in no one state: any interleaving is right.
 * Thread: one.
 */
#ifndef INGEST_VERIFY_FED_H
#define INGEST_VERIFY_FED_H

#include "ops/map64.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define VERIFY_FED_PLACES_MAX 4096 /* partitions */
#define VERIFY_FED_USER_BYTES 37   /* in the table */

struct verify_fed {
    struct map64 *users; /* of one pass; NULL: none begun */
    int64_t *slack;      /* (places) records of users of several partitions */
    int64_t mixed;       /* such users */
};

/* Errors: ERR_NOMEM. Clear it in any case; zeroed is fine. */
MUST_CHECK enum status verify_fed_init(struct verify_fed *fed, int places, struct error *err);
void verify_fed_clear(struct verify_fed *fed);
/* A pass has users of its own; slack and mixed go on. */
MUST_CHECK enum status verify_fed_begin(struct verify_fed *fed, struct error *err);
void verify_fed_end(struct verify_fed *fed);

/* A record of the user, of the partition at this place. Errors: ERR_NOMEM */
MUST_CHECK enum status verify_fed_note(struct verify_fed *fed, uint64_t user, int place,
                                       struct error *err);
/* Is it a user of several partitions? *records: of all of them; INT64_MAX: too many to count. */
bool verify_fed_mixed(const struct verify_fed *fed, uint64_t user, int64_t *records);

#endif
