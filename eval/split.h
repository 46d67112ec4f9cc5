/*
 * eval/split.h - which events are learnt from, and which are to be foreseen.
 *
 * Flow: interactions -> [split] -> fit (training), full ranking (validation, test)
 *
 *   leave-one-out  of each user with at least 3 events the last one is the test, the one before it
 *                  validation, all before it training. Users with fewer are training alone.
 *   time-split     the last tenth of all events by time is the test, the tenth before it
 *                  validation. Each event in there is a target, unless it is its user's first.
 *
 * Nothing of validation or test enters training, counts or co-visitation. A target's history are
 * its user's events before it (so that of a test holds the validation event); what is masked in its
 * ranking are the items of its user's training events.
 * Thread: read-only once made.
 */
#ifndef EVAL_SPLIT_H
#define EVAL_SPLIT_H

#include "eval/interactions.h"
#include "ops/status.h"

#include <stdint.h>

/* clang-format off */
#define SPLIT_PROTOCOL_LIST(X)               \
    X(LEAVE_ONE_OUT, "leave-one-out")        \
    X(TIME,          "time-split")

enum split_protocol {
#define X(id, name) SPLIT_##id,
    SPLIT_PROTOCOL_LIST(X)
#undef X
    SPLIT_PROTOCOLS
};
/* clang-format on */
extern const char *const split_protocol_names[SPLIT_PROTOCOLS];

/* Events to be foreseen, in the order of time. */
struct split_targets {
    int64_t *at; /* (count) events of the interactions */
    int64_t count;
};

struct split {
    const struct interactions *data; /* borrowed */
    int64_t *train_end;              /* (users) its events from start up to here are training */
    int64_t train_count;
    struct split_targets validation, test;
    int64_t short_users; /* too few events for a target */
};

/* Owner: the caller, split_clear(). Errors: ERR_MALFORMED (no target or nothing to learn from is
 * left), ERR_NOMEM; *split is zero then. */
MUST_CHECK enum status split_make(struct split *split, const struct interactions *data,
                                  enum split_protocol protocol, struct error *err);
void split_clear(struct split *split); /* zeroed is fine */

/* Is this event learnt from? */
static inline bool split_trains(const struct split *split, int64_t event)
{
    return event < split->train_end[split->data->user[event]];
}

/* At most so many of the targets, chosen evenly by seed, still in their order. Errors: ERR_NOMEM */
MUST_CHECK enum status split_sample(struct split_targets *sample,
                                    const struct split_targets *targets, int64_t most,
                                    uint64_t seed, struct error *err);

#endif
