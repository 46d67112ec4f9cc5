/*
 * ingest/poison.h - notices that a large share of what comes in is refused: a bad deployment
 * upstream, not a few odd records (FAULTS 32).
 *
 * Counts over a sliding window of POISON_SLOTS slots. It opens when the share of refused records
 * exceeds the limit, among at least POISON_RECORDS_MIN of them, and closes when it is down to half
 * of it: a share that trembles around the limit is one alarm. Nothing is held back by it: dead
 * letters keep where each record is, and `freshet dlq replay` brings them in when the cause is
 * mended; a pause would make the good records late, too.
 *
 * Units: times are monotonic microseconds.
 * Thread: one.
 */
#ifndef INGEST_POISON_H
#define INGEST_POISON_H

#include <stdbool.h>
#include <stdint.h>

#define POISON_SLOTS       12
#define POISON_RECORDS_MIN 100

struct poison {
    double limit; /* share, 0..1; 0: never opens */
    int64_t slot_us;
    int64_t slot; /* number of the newest */
    uint64_t records[POISON_SLOTS], refused[POISON_SLOTS];
    bool open;
};

/* limit outside 0..1 counts as 0; window_us at least POISON_SLOTS. */
void poison_init(struct poison *poison, double limit, int64_t window_us);
/* So many more came, so many of them were refused. True when it opened or closed by that. */
bool poison_add(struct poison *poison, int64_t now_us, uint64_t records, uint64_t refused);
/* Refused among those of the window; 0 while there are none. */
double poison_share(const struct poison *poison);

#endif
