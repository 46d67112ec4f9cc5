/*
 * retrain/behind.h - is a reader behind, since when, and is it time to say so?
 *
 * Flow: ends of the logs, marked -> [were they reached in time?] -> log, /readyz, metrics
 *
 * Records behind are no measure: a busy stream always has some on the way. So the ends of the logs
 * are marked now and then, and who has not reached them BEHIND_US later is behind, until a mark is
 * reached in time again, or nothing waits at all. A look that comes late says nothing by itself: a
 * long turn on a quiet topic holds up no record.
 * Thread: one.
 */
#ifndef RETRAIN_BEHIND_H
#define RETRAIN_BEHIND_H

#include <stdbool.h>
#include <stdint.h>

#define BEHIND_US       ((int64_t)10 * 1000000)
#define BEHIND_STAYS_US ((int64_t)60 * 1000000)

struct behind {
    int64_t marked_us; /* when the ends of the logs were marked */
    int64_t since_us;  /* the first mark that was not reached in time; 0: not behind */
    bool warned;
};

/* STAYS comes once, when it has been behind for BEHIND_STAYS_US. */
enum behind_news { BEHIND_NOTHING, BEHIND_BEGAN, BEHIND_STAYS, BEHIND_OVER };

void behind_init(struct behind *behind, int64_t now_us); /* the ends were marked now */
/* reached: everything up to the marks was read. records: what waits now, as far as known. *mark:
 * set new marks now. */
enum behind_news behind_look(struct behind *behind, bool reached, int64_t records, int64_t now_us,
                             bool *mark);
/* 0: it is not. */
double behind_seconds(const struct behind *behind, int64_t now_us);

#endif
