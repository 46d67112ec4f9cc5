/* ingest/verify_fed.c - one word a user, in a map64. */
#include "ingest/verify_fed.h"

#include "features/redis_dataset.h"

#include <stdlib.h>

#define COUNT_BITS 19
#define COUNT_MAX  ((1u << COUNT_BITS) - 1) /* it stays at that */
#define PLACE_MASK (VERIFY_FED_PLACES_MAX - 1u)
#define MIXED      (1u << 31) /* several partitions */

_Static_assert(DATASET_PARTITIONS_MAX <= VERIFY_FED_PLACES_MAX, "every place fits");

enum status verify_fed_init(struct verify_fed *fed, int places, struct error *err)
{
    *fed = (struct verify_fed){.slack = calloc((size_t)places + 1, sizeof *fed->slack)};
    return fed->slack == NULL ? error_set(err, ERR_NOMEM, "no memory to verify") : OK;
}

void verify_fed_clear(struct verify_fed *fed)
{
    verify_fed_end(fed);
    free(fed->slack);
    *fed = (struct verify_fed){0};
}

enum status verify_fed_begin(struct verify_fed *fed, struct error *err)
{
    verify_fed_end(fed);
    fed->users = map64_create(0, MAP64_ENTRIES_MAX);
    return fed->users == NULL ? error_set(err, ERR_NOMEM, "no memory to verify") : OK;
}

void verify_fed_end(struct verify_fed *fed)
{
    map64_destroy(fed->users);
    fed->users = NULL;
}

enum status verify_fed_note(struct verify_fed *fed, uint64_t user, int place, struct error *err)
{
    uint32_t word = (uint32_t)place << COUNT_BITS;

    (void)map64_get(fed->users, user, &word);
    if ((word & MIXED) == 0 && (word >> COUNT_BITS & PLACE_MASK) != (uint32_t)place) {
        fed->slack[word >> COUNT_BITS & PLACE_MASK] += word & COUNT_MAX;
        word |= MIXED;
        fed->mixed++;
    }
    if ((word & MIXED) != 0)
        fed->slack[place]++;
    word += (word & COUNT_MAX) < COUNT_MAX;
    return map64_put(fed->users, user, word) == OK
               ? OK
               : error_set(err, ERR_NOMEM, "no memory for a user");
}

bool verify_fed_mixed(const struct verify_fed *fed, uint64_t user, int64_t *records)
{
    uint32_t word = 0;

    (void)map64_get(fed->users, user, &word);
    *records = (word & COUNT_MAX) == COUNT_MAX ? INT64_MAX : word & COUNT_MAX;
    return (word & MIXED) != 0;
}
