/*
 * schemas/trace.h - the opaque text in an answer that a frontend echoes in the impression.
 *
 * base64url without padding over: format 1, raw format 1, columns 1, rows 2, request time 6,
 * version text 1 + n, then rows * columns zigzag varints, then 4 bytes of XXH3 over all before.
 * A trace that was altered, or is of another format, is refused as a whole (the example is
 * then built without counts, and counted).
 */
#ifndef SCHEMAS_TRACE_H
#define SCHEMAS_TRACE_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/event.h"
#include "schemas/raw.h"

#include <stddef.h>
#include <stdint.h>

#define MODEL_VERSION_MAX 64 /* with the zero */

struct trace {
    int64_t request_time_ms;
    char model_version[MODEL_VERSION_MAX];
    int rows_count;
    int64_t raw[EVENT_ROWS_MAX][RAW_COLUMNS]; /* row i of the shown list */
};

/* Returns the characters written (no zero), or 0 when they do not fit. */
size_t trace_encode(const struct trace *trace, char *into, size_t bytes);
/* Errors: ERR_MALFORMED, ERR_VERSION, ERR_CORRUPT, ERR_LIMIT */
MUST_CHECK enum status trace_decode(struct trace *trace, struct text from, struct error *err);

#endif
