/*
 * schemas/trace.h - the opaque text in an answer that a frontend echoes in the impression.
 *
 * base64url without padding (ops/base64.h) over these bytes (little-endian):
 *
 *    0  format         1  1, or 2 with context
 *    1  raw format     1  RAW_FORMAT
 *    2  columns        1  RAW_COLUMNS
 *    3  rows           2  0..EVENT_ROWS_MAX
 *    5  request time   6  ms
 *   11  version bytes  1  0..MODEL_VERSION_MAX - 1
 *   12  version           the model version, without a zero
 *    .  context        4  format 2: codes of schemas/context.h
 *    .  raw               rows * columns zigzag varints, row by row, each in its shortest form
 *    .  hash           4  the low half of XXH3-64 over all before
 *
 * A trace that was altered, or is of another format, is refused as a whole (the example is
 * then built without counts, and counted).
 */
#ifndef SCHEMAS_TRACE_H
#define SCHEMAS_TRACE_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/batch.h"
#include "schemas/event.h"
#include "schemas/raw.h"

#include <stddef.h>
#include <stdint.h>

#define MODEL_VERSION_MAX 64 /* with the zero */

struct trace {
    int64_t request_time_ms;
    char model_version[MODEL_VERSION_MAX];
    int rows_count;
    uint8_t context[BATCH_CONTEXTS];          /* codes of where it was asked from, 0: not said */
    int64_t raw[EVENT_ROWS_MAX][RAW_COLUMNS]; /* row i of the shown list */
};

/* Returns the characters written (no zero), or 0 when they do not fit. */
size_t trace_encode(const struct trace *trace, char *into, size_t bytes);
/* On any error *trace has no rows. Errors: ERR_MALFORMED, ERR_VERSION, ERR_CORRUPT, ERR_LIMIT */
MUST_CHECK enum status trace_decode(struct trace *trace, struct text from, struct error *err);

#endif
