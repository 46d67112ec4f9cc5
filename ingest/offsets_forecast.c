/* ingest/offsets_forecast.c - in the order in which claims.c asks: keys, limits, start, reading. */
#include "ingest/offsets_forecast.h"

#include <stdio.h>

static struct offsets_forecast stop(enum stop_reason reason, int64_t offset, int64_t found)
{
    return (struct offsets_forecast){
        .stops = true, .reason = reason, .offset = offset, .found = found, .from = -1};
}

static bool outside(int64_t next, struct offsets_log log, struct offsets_forecast *forecast)
{
    if (next < log.low)
        *forecast = stop(STOP_DATA_LOST, next, log.low);
    else if (next > log.high)
        *forecast = stop(STOP_OFFSET_AHEAD, next, log.high);
    else
        return false;
    return true;
}

static struct offsets_forecast by_the_rules(const struct offsets_partition *p, int shards,
                                            bool recorded, struct offsets_log log)
{
    struct offsets_forecast forecast = {.from = -1, .position = -1};
    int64_t start;

    if (p->closed > 0) {
        forecast = stop(STOP_STATE_DAMAGED, p->next, -1);
        forecast.unfinished = true;
        return forecast;
    }
    if (p->damaged > 0 || p->outboxes_damaged > 0)
        return stop(STOP_STATE_DAMAGED, p->next, -1);
    for (int s = 0; s < shards; s++)
        if (p->next_of[s] >= 0 && outside(p->next_of[s], log, &forecast))
            return forecast;
    forecast.position = p->next_least;
    if (p->shards_known < shards) {
        if (recorded)
            start = p->start;
        else if (p->shards_known > 0 ? log.low == 0 : log.group < 0)
            start = log.low;
        else
            return stop(STOP_STATE_LOST, log.group, -1);
        if (outside(start, log, &forecast))
            return forecast;
        if (forecast.position < 0 || start < forecast.position)
            forecast.position = start;
    }
    forecast.from = forecast.position;
    if (forecast.position == p->next_least && p->last_offset >= log.low &&
        p->last_offset < forecast.from && p->last_offset != STORE_NO_OFFSET)
        forecast.from = p->last_offset;
    if (p->next_max > forecast.position)
        forecast.again = p->next_max - forecast.position;
    return forecast;
}

struct offsets_forecast offsets_forecast(const struct offsets_partition *p, int shards,
                                         bool recorded, struct offsets_log log)
{
    struct offsets_forecast forecast = by_the_rules(p, shards, recorded, log);

    forecast.other_log = p->next_max > log.high;
    return forecast;
}

bool offsets_forecast_checks(const struct offsets_partition *p, struct offsets_log log)
{
    return p->last_offset != STORE_NO_OFFSET && p->last_offset >= log.low &&
           p->last_offset < log.high;
}

void offsets_forecast_last(struct offsets_forecast *forecast, const struct offsets_partition *p,
                           bool found, uint64_t hash)
{
    if (found && hash == p->last_hash)
        return;
    if (!forecast->stops)
        *forecast = stop(STOP_LOG_CHANGED, p->last_offset, found ? p->last_offset : -1);
    forecast->other_log = true;
}

void offsets_forecast_remedy(const struct offsets_forecast *forecast,
                             const struct offsets_partition *p, struct offsets_log log,
                             char into[OFFSETS_REMEDY_BYTES])
{
    static const char runbook[] = "freshet runbook state-lost";
    bool lost = forecast->reason == STOP_STATE_LOST;

    if (forecast->unfinished)
        (void)snprintf(into, OFFSETS_REMEDY_BYTES,
                       "a reset was broken off: run `freshet offsets reset` again");
    else if (lost && (p->shards_known == 0 || log.low == 0))
        (void)snprintf(into, OFFSETS_REMEDY_BYTES, "freshet ingest --rebuild; %s", runbook);
    else
        (void)snprintf(
            into, OFFSETS_REMEDY_BYTES, "freshet offsets reset --partition %d --to low%s; %s",
            (int)p->partition,
            lost ? " (not --rebuild: where it began is not recorded, and the log does not "
                   "begin at 0)"
                 : "",
            runbook);
}
