/* ingest/deliveries.c - a callback of two counters. */
#include "ingest/deliveries.h"

void deliveries_count(void *context, uint64_t opaque, enum status status, int32_t partition,
                      int64_t offset)
{
    struct deliveries *deliveries = context;

    (void)opaque;
    (void)partition;
    (void)offset;
    if (status == OK)
        deliveries->delivered++;
    else
        deliveries->failed++;
}
