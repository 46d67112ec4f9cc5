/*
 * schemas/example.h - one record of the `examples` topic: what ingest tells the trainer.
 *
 * Flow: rules -> outbox -> relay -> Kafka `examples` -> [decode] -> trainer
 *
 * Kinds: SHOWN (an impression, self-contained), LABEL (a correction: one row of an example got
 * one action), ERASE (forget a user up to a time), MARK (everything of (tp) below offset X is
 * out; watermark).
 *
 * Layout (little-endian; every offset in bytes):
 *
 *    0  format         1  EXAMPLE_FORMAT
 *    1  kind           1  enum example_kind
 *  SHOWN
 *    2  id             8
 *   10  user           8
 *   18  shown at       6  ms
 *   24  request time   6  ms
 *   30  running        4
 *   34  rows           2  1..EVENT_ROWS_MAX
 *   36  history        2  0..SEQUENCE_MAX
 *   38  raw columns    1  RAW_COLUMNS or 0
 *   39  context        1  0, or 1: it stands at the end
 *   40  rows           8 * rows: item hashes in the order shown
 *    .  history       15 * history, oldest first: item hash 8, time 6, action 1
 *    .  raw               rows * columns zigzag varints, row by row, each in its shortest form
 *    .  context        4  codes of schemas/context.h, not all 0
 *  LABEL
 *    2  id             8
 *   10  user           8
 *   18  time           6  ms, of the label
 *   24  shown at       6  ms, of the example it corrects
 *   30  row            2  0..EVENT_ROWS_MAX - 1
 *   32  labels         2  size of the example's label set
 *   34  action         1  1..63
 *  ERASE
 *    2  user           8
 *   10  erased at      6  ms
 *  MARK
 *    2  partition      4
 *    6  offset         8
 *   14  watermark      8  ms; the smallest int64: none yet
 *
 * Bounded by EXAMPLE_BYTES_MAX; decoding is total. The same struct always gives the same bytes.
 *
 * An example's id is hash(user, request id), or hash(user, time, rows) without one: a function of
 * the user's log alone, so replays produce the same bytes.
 */
#ifndef SCHEMAS_EXAMPLE_H
#define SCHEMAS_EXAMPLE_H

#include "ops/status.h"
#include "schemas/batch.h"
#include "schemas/event.h"
#include "schemas/raw.h"
#include "schemas/user_value.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXAMPLE_FORMAT    1
#define EXAMPLE_BYTES_MAX (256 * 1024)

enum example_kind { EXAMPLE_SHOWN = 1, EXAMPLE_LABEL, EXAMPLE_ERASE, EXAMPLE_MARK };

struct example {
    enum example_kind kind;
    uint64_t id;     /* SHOWN, LABEL */
    uint64_t user;   /* hash of the user, data set's seed: SHOWN, LABEL, ERASE */
    int64_t time_ms; /* SHOWN: shown at (event time); LABEL: of the label; ERASE: erased at;
                        MARK: watermark */
    /* SHOWN */
    int64_t request_time_ms; /* from trace, else shown at */
    uint32_t running;        /* the user's running count then (window of history, MODEL.md 1) */
    int rows_count;
    const uint64_t *rows; /* (rows_count) item hashes, in the order shown */
    int history_count;
    const struct user_entry *history; /* entries with time <= request_time, oldest first */
    int raw_columns;    /* RAW_COLUMNS, or 0: no trace, counts are made progressively */
    const int64_t *raw; /* (rows_count, raw_columns) as served */
    uint8_t context[BATCH_CONTEXTS]; /* codes as served; 0: not said */
    /* LABEL */
    int row;
    uint8_t action;
    int64_t shown_at_ms; /* of the example it corrects */
    int labels_count;    /* size of the example's label set, for information */
    /* MARK */
    int32_t partition;
    int64_t offset;
};

/* Returns the bytes, or 0 when they do not fit into bytes (at most EXAMPLE_BYTES_MAX).
 * A count, time or action outside its bounds is our own mistake (assert). */
size_t example_encode(const struct example *example, uint8_t *into, size_t bytes);

/* Does an encoded example hold anything of that user (a hash) at or before time_ms: a list shown
 * then, a history that reaches back to then, a correction to such a list? False for every other
 * kind and for what is no example. Reads no more than it must; total. */
bool example_holds(const uint8_t *from, size_t bytes, uint64_t user, int64_t time_ms);

struct arena;
/* Arrays are copied into arena. The history is strictly ascending, and its `taken` is false.
 * Errors: ERR_MALFORMED, ERR_VERSION, ERR_LIMIT, ERR_NOMEM */
MUST_CHECK enum status example_decode(struct example *example, const uint8_t *from, size_t bytes,
                                      struct arena *arena, struct error *err);

#endif
