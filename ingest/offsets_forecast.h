/*
 * ingest/offsets_forecast.h - what ingest would do with a partition when it starts next: the rules
 * of claims.c and reading.c, asked without claiming anything.
 *
 * Flow: m of all shards, the log's ends -> [forecast] -> offsets diff, offsets reset
 *
 * Pure. tests/ingest/test_offsets_forecast.c holds it against the machine itself.
 */
#ifndef INGEST_OFFSETS_FORECAST_H
#define INGEST_OFFSETS_FORECAST_H

#include "ingest/offsets.h"
#include "machine/machine.h"

/* A partition as Kafka has it. */
struct offsets_log {
    int64_t low, high; /* -1: Kafka does not say */
    int64_t group;     /* the group's committed offset, -1: none */
};

struct offsets_forecast {
    bool stops;
    bool unfinished;         /* a reset was broken off: run it again */
    bool other_log;          /* whatever the reason: it is not the log that was applied */
    enum stop_reason reason; /* of a stop */
    int64_t offset, found;   /* of a stop: as COMMAND_STOP says them */
    int64_t from;            /* else: where reading begins; the first record is the one at `last`,
                                read again to see that it is the same log */
    int64_t position;        /* the first record that is applied by some shard */
    int64_t again;           /* records from position on that some shards have applied and skip */
};

/* p as loaded with its outboxes; recorded: the data set's record has a start for it. */
struct offsets_forecast offsets_forecast(const struct offsets_partition *p, int shards,
                                         bool recorded, struct offsets_log log);

/* What the reader found in the log where the record at `last` should be (found: false, none). If it
 * is another one, a forecast that was none becomes a stop. */
void offsets_forecast_last(struct offsets_forecast *forecast, const struct offsets_partition *p,
                           bool found, uint64_t hash);
/* What an operator does about a forecast that stops. A rebuild begins where the partition began;
 * once shards have read it, and where is not recorded, that is known only while the log begins at
 * 0: then only a reset helps, which the text says. */
#define OFFSETS_REMEDY_BYTES 240
void offsets_forecast_remedy(const struct offsets_forecast *forecast,
                             const struct offsets_partition *p, struct offsets_log log,
                             char into[OFFSETS_REMEDY_BYTES]);
/* Is there a record at `last` to look at? */
bool offsets_forecast_checks(const struct offsets_partition *p, struct offsets_log log);

#endif
