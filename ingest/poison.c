/* ingest/poison.c - see poison.h. */
#include "ingest/poison.h"

#include "ops/defence.h"

#include <string.h>

void poison_init(struct poison *poison, double limit, int64_t window_us)
{
    *poison = (struct poison){.slot_us = window_us / POISON_SLOTS};
    if (poison->slot_us < 1)
        poison->slot_us = 1;
    if (limit > 0 && limit <= 1)
        poison->limit = limit;
}

/* Empties the slots between the newest and that of now. A clock that stands still or goes back
 * counts into the newest. */
static void advance(struct poison *poison, int64_t now_us)
{
    int64_t slot = now_us / poison->slot_us;

    if (slot - poison->slot >= POISON_SLOTS) {
        memset(poison->records, 0, sizeof poison->records);
        memset(poison->refused, 0, sizeof poison->refused);
        poison->slot = slot;
    }
    while (poison->slot < slot) {
        poison->slot++;
        poison->records[poison->slot % POISON_SLOTS] = 0;
        poison->refused[poison->slot % POISON_SLOTS] = 0;
    }
}

static uint64_t sum(const uint64_t counts[POISON_SLOTS])
{
    uint64_t all = 0;

    for (int i = 0; i < POISON_SLOTS; i++)
        all += counts[i];
    return all;
}

double poison_share(const struct poison *poison)
{
    uint64_t records = sum(poison->records);

    return records == 0 ? 0 : (double)sum(poison->refused) / (double)records;
}

bool poison_add(struct poison *poison, int64_t now_us, uint64_t records, uint64_t refused)
{
    bool was = poison->open;
    double share;

    advance(poison, now_us);
    poison->records[poison->slot % POISON_SLOTS] += records;
    poison->refused[poison->slot % POISON_SLOTS] += refused;
    share = poison_share(poison);
    if (!poison->open)
        poison->open = DEFENCE(POISON_BREAKER) && poison->limit > 0 && share > poison->limit &&
                       sum(poison->records) >= POISON_RECORDS_MIN;
    else
        poison->open = share > poison->limit / 2;
    return poison->open != was;
}
