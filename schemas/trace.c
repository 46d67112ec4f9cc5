/*
 * schemas/trace.c - raw counts of a shown list, packed for the way through a frontend and back.
 *
 * Counts are small, so varints: 20 rows of 10 columns take 200 to 400 bytes. The hash at the end
 * is a check against accidents (a frontend that cuts or re-encodes), not against a forger.
 */
#include "schemas/trace.h"

#include "ops/base64.h"
#include "ops/hash.h"
#include "schemas/bytes.h"

#include <assert.h>
#include <string.h>

#define TRACE_FORMAT  1
#define TRACE_CONTEXT 2 /* the format with context, which older builds refuse */
#define HASH_BYTES    4
#define HASH_SEED     UINT64_C(0x7472616365)
/* Fixed fields, version, context, ten bytes a varint, hash. */
#define BYTES_MAX                                                                                  \
    (12 + MODEL_VERSION_MAX + BATCH_CONTEXTS + EVENT_ROWS_MAX * RAW_COLUMNS * 10 + HASH_BYTES)

_Static_assert(BASE64_CHARS(BYTES_MAX) <= TRACE_TEXT_MAX, "every trace fits into an event");

static bool has_context(const struct trace *trace)
{
    bool has = false;

    for (int i = 0; i < BATCH_CONTEXTS; i++)
        has |= trace->context[i] != 0;
    return has;
}

size_t trace_encode(const struct trace *trace, char *into, size_t bytes)
{
    uint8_t packed[BYTES_MAX];
    struct bytes_writer writer = bytes_writer_of(packed, sizeof packed);
    size_t version_bytes = strnlen(trace->model_version, MODEL_VERSION_MAX - 1);
    size_t count;

    assert(trace->rows_count >= 0 && trace->rows_count <= EVENT_ROWS_MAX);
    assert(trace->request_time_ms >= 0 && trace->request_time_ms <= BYTES_TIME_MAX_MS);
    bytes_write_u8(&writer, has_context(trace) ? TRACE_CONTEXT : TRACE_FORMAT);
    bytes_write_u8(&writer, RAW_FORMAT);
    bytes_write_u8(&writer, RAW_COLUMNS);
    bytes_write_u16(&writer, (uint16_t)trace->rows_count);
    bytes_write_time(&writer, trace->request_time_ms);
    bytes_write_u8(&writer, (uint8_t)version_bytes);
    bytes_write(&writer, trace->model_version, version_bytes);
    if (has_context(trace))
        bytes_write(&writer, trace->context, BATCH_CONTEXTS);
    for (int r = 0; r < trace->rows_count; r++)
        for (int c = 0; c < RAW_COLUMNS; c++)
            bytes_write_varint(&writer, trace->raw[r][c]);
    count = sizeof packed - writer.left;
    bytes_write_u32(&writer, (uint32_t)hash64(packed, count, HASH_SEED));
    assert(!writer.overflow);
    count += HASH_BYTES;
    if (BASE64_CHARS(count) > bytes)
        return 0;
    base64_encode(into, packed, count);
    return BASE64_CHARS(count);
}

/* The fixed fields. */
static enum status read_head(struct trace *trace, struct bytes_reader *reader, struct error *err)
{
    uint8_t format = bytes_read_u8(reader);
    uint8_t raw_format = bytes_read_u8(reader);
    uint8_t columns = bytes_read_u8(reader);
    uint16_t rows = bytes_read_u16(reader);
    int64_t request_time_ms = bytes_read_time(reader);
    uint8_t version_bytes = bytes_read_u8(reader);
    const uint8_t *version;

    if (reader->failed)
        return error_set(err, ERR_MALFORMED, "trace is cut short");
    if ((format != TRACE_FORMAT && format != TRACE_CONTEXT) || raw_format != RAW_FORMAT ||
        columns != RAW_COLUMNS)
        return error_set(err, ERR_VERSION, "trace of format %d.%d with %d columns", format,
                         raw_format, columns);
    if (rows > EVENT_ROWS_MAX || version_bytes >= MODEL_VERSION_MAX)
        return error_set(err, ERR_LIMIT, "trace of %d rows, at most %d", rows, EVENT_ROWS_MAX);
    version = bytes_take(reader, version_bytes);
    if (version == NULL || memchr(version, 0, version_bytes) != NULL)
        return error_set(err, ERR_MALFORMED, "trace has no model version");
    trace->rows_count = rows;
    trace->request_time_ms = request_time_ms;
    memcpy(trace->model_version, version, version_bytes);
    trace->model_version[version_bytes] = 0;
    for (int i = 0; format == TRACE_CONTEXT && i < BATCH_CONTEXTS; i++)
        trace->context[i] = bytes_read_u8(reader);
    for (int i = 0; i < BATCH_CONTEXTS; i++)
        if (trace->context[i] >= BATCH_CONTEXT_CODES)
            return error_set(err, ERR_MALFORMED, "trace of a context %d", trace->context[i]);
    if (format == TRACE_CONTEXT && !has_context(trace))
        return error_set(err, ERR_MALFORMED, "trace of a context that says nothing");
    return reader->failed ? error_set(err, ERR_MALFORMED, "trace is cut short") : OK;
}

enum status trace_decode(struct trace *trace, struct text from, struct error *err)
{
    uint8_t packed[BYTES_MAX];
    struct bytes_reader reader;
    enum status status;
    size_t count;

    trace->rows_count = 0;
    trace->request_time_ms = 0;
    trace->model_version[0] = 0;
    memset(trace->context, 0, sizeof trace->context);
    if (from.bytes > BASE64_CHARS(BYTES_MAX))
        return error_set(err, ERR_LIMIT, "trace of %zu characters, at most %zu", from.bytes,
                         (size_t)BASE64_CHARS(BYTES_MAX));
    if (!base64_decode(packed, sizeof packed, &count, from) || count <= HASH_BYTES)
        return error_set(err, ERR_MALFORMED, "trace is no base64url, or is cut short");
    count -= HASH_BYTES;
    if (bytes_get_u32(packed + count) != (uint32_t)hash64(packed, count, HASH_SEED))
        return error_set(err, ERR_CORRUPT, "trace was altered: its hash does not match");
    reader = bytes_reader_of(packed, count);
    status = read_head(trace, &reader, err);
    for (int r = 0; status == OK && r < trace->rows_count; r++)
        for (int c = 0; c < RAW_COLUMNS; c++)
            trace->raw[r][c] = bytes_read_varint(&reader);
    if (status == OK && (reader.failed || reader.left != 0))
        status = error_set(err, ERR_MALFORMED, "trace has not the counts of %d rows",
                           trace->rows_count);
    if (status != OK)
        trace->rows_count = 0;
    return status;
}
