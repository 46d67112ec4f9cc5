/*
 * features/rules.h - what an event does to its user's value, and what it tells the trainer.
 *
 * Flow: decode -> [rules] -> store, outbox
 *
 * Pure: the outcome is a function of (value, event, watermark, settings). No clock, no I/O, no
 * random numbers, so ingest, the backtest, `verify` and the tests all call this one function.
 *
 * Sequence: a set ordered by (time, item, action), the newest sequence_max kept. A duplicate
 * changes nothing. Impressions never enter it.
 *
 * Join: an impression is put into the value as an open impression and emitted at once as a SHOWN
 * example. A label belongs to the impression its request id names, else to the last one that showed
 * the item, if 0 <= t_label - t_shown <= join_window; it is emitted as a LABEL correction. A label
 * that names a request not yet seen waits in an open impression without rows; a label without a
 * request that came first is found in the sequence when the impression comes, unless it was joined
 * already. Two labels of one identity that name two requests: the first counts.
 */
#ifndef FEATURES_RULES_H
#define FEATURES_RULES_H

#include "ops/arena.h"
#include "ops/config.h"
#include "ops/status.h"
#include "schemas/event.h"
#include "schemas/example.h"
#include "schemas/user_value.h"

#include <stdbool.h>
#include <stdint.h>

/* What becomes of a record; the counts in m are by these. */
/* clang-format off */
#define OUTCOME_LIST(X)                                                           \
    X(APPLIED,   "applied",   "changed the user's value")                         \
    X(DUPLICATE, "duplicate", "already in the sequence, or shown before")         \
    X(LATE,      "late",      "older than a full sequence: cannot be recognised as duplicate") \
    X(DROPPED,   "dropped",   "older than the watermark by more than late_max")   \
    X(ERASED,    "erased",    "at or before the user's erasure")                  \
    X(DEAD,      "dead",      "no event: a dead letter")
enum outcome {
#define X(id, name, help) OUTCOME_##id,
    OUTCOME_LIST(X)
#undef X
    OUTCOME_COUNT
};
/* clang-format on */
extern const char *const outcome_names[OUTCOME_COUNT];

/* The settings the rules depend on; kept in the data set's record. */
struct rules {
    int sequence_max; /* 1..SEQUENCE_MAX, default 100 */
    int joins_max;    /* 0..JOINS_MAX, default 4 */
    int64_t join_window_ms;
    int64_t late_max_ms;
    uint64_t seed; /* of user, item and request hashes: the data set's secret */
    struct action_row actions[ACTIONS_MAX]; /* by code; name "" where there is none */
};
void rules_init(struct rules *rules, const struct event_schema *schema, uint64_t seed);
MUST_CHECK enum status rules_from_config(struct rules *rules, const struct event_schema *schema,
                                         const struct config *config, uint64_t seed,
                                         struct error *err);

uint64_t rules_user_hash(const struct rules *rules, struct text user);
uint64_t rules_item_hash(const struct rules *rules, struct text item);

/* What an event emits, in order. Cleared and filled by rules_apply(); bytes are in its arena. */
#define EMISSIONS_MAX (OPEN_LABELS_MAX + SEQUENCE_MAX + 2)
struct emission {
    const uint8_t *bytes; /* an encoded example */
    size_t bytes_count;
};
struct emissions {
    int count;
    struct emission list[EMISSIONS_MAX];
};

/**
 * Applies one event to *value (in place; unchanged unless OUTCOME_APPLIED or OUTCOME_LATE).
 *
 * watermark_ms: of the partition before this record; INT64_MIN when there is none yet.
 * replayed: the record has the header `freshet-replayed`: exempt from late_max, never joined.
 * arena: rows and labels of opens, and the emissions' bytes; must live as long as *value's use.
 * Sizes stay within USER_VALUE_BYTES_MAX: the oldest opens go first.
 * Errors: ERR_NOMEM (the arena is at its limit). Everything else is an outcome.
 */
MUST_CHECK enum status rules_apply(const struct rules *rules, struct user_value *value,
                                   const struct event *event, int64_t watermark_ms, bool replayed,
                                   struct arena *arena, struct emissions *emissions,
                                   enum outcome *outcome, struct error *err);

/* Watermark of a partition after a decoded record: max(before, min(event time, record time +
 * skew)). */
int64_t rules_watermark(int64_t before_ms, int64_t event_time_ms, int64_t record_time_ms,
                        int64_t max_future_skew_ms);

/* Shard of a user: XXH3_64(user, seed) mod shards. */
int rules_shard(const struct rules *rules, struct text user, int shards);

#endif
