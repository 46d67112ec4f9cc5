/*
 * features/rules.h - what an event does to its user's value, and what it tells the trainer.
 *
 * Flow: decode -> [rules] -> store, outbox
 *
 * Pure: the outcome is a function of (value, event, watermark, settings). No clock, no I/O, no
 * random numbers, so ingest, the backtest, `verify` and the tests all call this one function.
 *
 * In this order, for one record of a user:
 *
 *   erase       erased_at = max(erased_at, t). Entries, open impressions and waiting labels at or
 *               before it go. Always APPLIED, always emitted (with the event's own time).
 *   t <= erased_at                      -> ERASED
 *   watermark - t > late_max            -> DROPPED, unless replayed
 *   impression  Replayed: DROPPED, for it joins nothing. Its id is hash(user, request), without a
 *               request hash(user, t, rows). An open impression of this id that has rows:
 *               DUPLICATE. Else APPLIED: emitted as SHOWN, then a LABEL for each early label.
 *   action      1. If it is a history action: already in the sequence -> DUPLICATE, and that is
 *                  all; the sequence is full and it is older than all of it -> LATE, not entered;
 *                  else it enters, the newest sequence_max stay, running counts up by one.
 *               2. If it is a label and not replayed, it is joined (below), LATE ones too.
 *               3. If it is an exposure and not replayed: it is also an impression of one row
 *                  without a request and without counts, which its own action never labels and
 *                  whose history does not hold it.
 *               The outcome is APPLIED when it is not LATE; that of 3 when it is an exposure only.
 *
 * Sequence: a set ordered by (time, item, action).
 *
 * Join. A label that names a request belongs to it alone: to the open impression of that request
 * if 0 <= t_label - t_shown <= join_window and the item is one of its rows, else to none. Is the
 * request not known yet, the label waits in an open impression without rows, which its impression
 * takes over. A label without a request belongs to the last open impression, in the order of
 * (shown, request, id), that showed the item and has it in its window; if there is none, an
 * impression that comes later finds it in the sequence. An entry of the sequence is `taken`, and
 * not found so, when it named a request, was joined once or was replayed. Labels of an example are
 * a set of (row, action), row being the first that shows the item: only what is new in it is
 * emitted.
 *
 * Open impressions: the newest joins_max; impressions without rows count, from the time of their
 * oldest label. At most OPEN_LABELS_MAX labels are remembered of each: of an impression, those
 * beyond are emitted but not remembered; of a request not yet seen, they are lost and counted.
 *
 * History of a SHOWN example: the entries with time <= its request time, but not its own labels.
 * The request time is that of the trace, at most the time it was shown: a clock that is ahead must
 * not let the labels in. running is that of the newest entry in this history.
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

/* Times are kept in 48 bits; 0 means never. An event at or beyond it is DEAD. */
#define RULES_TIME_MAX ((INT64_C(1) << 48) - 1)

/* What becomes of a record; the counts in m are by these. */
/* clang-format off */
#define OUTCOME_LIST(X)                                                           \
    X(APPLIED,   "applied",   "changed the user's value")                         \
    X(DUPLICATE, "duplicate", "already in the sequence, or shown before")         \
    X(LATE,      "late",      "older than a full sequence: cannot be recognised as duplicate") \
    X(DROPPED,   "dropped",   "older than the watermark by more than late_max, or shown and replayed") \
    X(ERASED,    "erased",    "of a user who was erased, at or before that: not counted (an erasure itself is applied)") \
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
/* The defaults of features_config_rows. */
void rules_init(struct rules *rules, const struct event_schema *schema, uint64_t seed);
/* Errors: ERR_CONFIG (a setting outside its range) */
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
 * writer and written_at are the caller's to set.
 *
 * watermark_ms: of the partition before this record; INT64_MIN when there is none yet.
 * replayed: the record has the header `freshet-replayed`: exempt from late_max, never joined.
 * arena: rows and labels of opens, and the emissions' bytes; must live as long as *value's use.
 * The value always encodes into USER_VALUE_BYTES_MAX.
 * Errors: ERR_NOMEM (the arena is at its limit; *value is then not to be used). Everything else is
 *         an outcome: DEAD for a time, an action or rows that event_decode() would have refused.
 */
MUST_CHECK enum status rules_apply(const struct rules *rules, struct user_value *value,
                                   const struct event *event, int64_t watermark_ms, bool replayed,
                                   struct arena *arena, struct emissions *emissions,
                                   enum outcome *outcome, struct error *err);

/**
 * The quick path of ingest: applies a history action that is newer than all of the sequence
 * straight to the encoded value of a user without open impressions (schemas/user_value.h says what
 * becomes of *image, *bytes and *change). Where it returns true the outcome is OUTCOME_APPLIED,
 * nothing is emitted, and the value is what rules_apply() would have made of it. False, and nothing
 * touched: rules_apply() must decide.
 */
bool rules_apply_fast(const struct rules *rules, const struct event *event, int64_t watermark_ms,
                      bool replayed, uint8_t *image, size_t *bytes, size_t bytes_max,
                      uint32_t writer, int64_t written_at_ms, struct user_change *change);

/* Watermark of a partition after a decoded record: max(before, min(event time, record time +
 * skew)). */
int64_t rules_watermark(int64_t before_ms, int64_t event_time_ms, int64_t record_time_ms,
                        int64_t max_future_skew_ms);

/* Shard of a user: XXH3_64(user, seed) mod shards. */
int rules_shard(const struct rules *rules, struct text user, int shards);

#endif
