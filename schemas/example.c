/* schemas/example.c - what ingest tells the trainer, to bytes and back. */
#include "schemas/example.h"

#include "ops/arena.h"
#include "schemas/bytes.h"

#include <assert.h>

#define ACTION_LAST 63

static bool time_fits(int64_t time_ms)
{
    return time_ms >= 0 && time_ms <= BYTES_TIME_MAX_MS;
}

/* ---- encode ---- */

static bool has_context(const struct example *example)
{
    bool has = false;

    for (int i = 0; i < BATCH_CONTEXTS; i++)
        has |= example->context[i] != 0;
    return has;
}

static void write_shown(struct bytes_writer *writer, const struct example *example)
{
    assert(example->rows_count >= 1 && example->rows_count <= EVENT_ROWS_MAX);
    assert(example->history_count >= 0 && example->history_count <= SEQUENCE_MAX);
    assert(example->raw_columns == 0 || example->raw_columns == RAW_COLUMNS);
    assert(time_fits(example->time_ms) && time_fits(example->request_time_ms));

    bytes_write_u64(writer, example->id);
    bytes_write_u64(writer, example->user);
    bytes_write_time(writer, example->time_ms);
    bytes_write_time(writer, example->request_time_ms);
    bytes_write_u32(writer, example->running);
    bytes_write_u16(writer, (uint16_t)example->rows_count);
    bytes_write_u16(writer, (uint16_t)example->history_count);
    bytes_write_u8(writer, (uint8_t)example->raw_columns);
    bytes_write_u8(writer, has_context(example));
    for (int i = 0; i < example->rows_count; i++)
        bytes_write_u64(writer, example->rows[i]);
    for (int i = 0; i < example->history_count; i++) {
        const struct user_entry *entry = &example->history[i];

        assert(time_fits(entry->time_ms) && entry->action >= 1 && entry->action <= ACTION_LAST);
        bytes_write_u64(writer, entry->item);
        bytes_write_time(writer, entry->time_ms);
        bytes_write_u8(writer, entry->action);
    }
    for (int i = 0; i < example->rows_count * example->raw_columns; i++)
        bytes_write_varint(writer, example->raw[i]);
    if (has_context(example))
        bytes_write(writer, example->context, BATCH_CONTEXTS);
}

static void write_label(struct bytes_writer *writer, const struct example *example)
{
    assert(example->row >= 0 && example->row < EVENT_ROWS_MAX);
    assert(example->labels_count >= 0 && example->labels_count <= UINT16_MAX);
    assert(example->action >= 1 && example->action <= ACTION_LAST);
    assert(time_fits(example->time_ms) && time_fits(example->shown_at_ms));

    bytes_write_u64(writer, example->id);
    bytes_write_u64(writer, example->user);
    bytes_write_time(writer, example->time_ms);
    bytes_write_time(writer, example->shown_at_ms);
    bytes_write_u16(writer, (uint16_t)example->row);
    bytes_write_u16(writer, (uint16_t)example->labels_count);
    bytes_write_u8(writer, example->action);
}

size_t example_encode(const struct example *example, uint8_t *into, size_t bytes)
{
    size_t limit = bytes < EXAMPLE_BYTES_MAX ? bytes : EXAMPLE_BYTES_MAX;
    struct bytes_writer writer = bytes_writer_of(into, limit);

    bytes_write_u8(&writer, EXAMPLE_FORMAT);
    bytes_write_u8(&writer, (uint8_t)example->kind);
    switch (example->kind) {
    case EXAMPLE_SHOWN:
        write_shown(&writer, example);
        break;
    case EXAMPLE_LABEL:
        write_label(&writer, example);
        break;
    case EXAMPLE_ERASE:
        assert(time_fits(example->time_ms));
        bytes_write_u64(&writer, example->user);
        bytes_write_time(&writer, example->time_ms);
        break;
    case EXAMPLE_MARK:
        assert(example->partition >= 0 && example->offset >= 0);
        bytes_write_u32(&writer, (uint32_t)example->partition);
        bytes_write_u64(&writer, (uint64_t)example->offset);
        bytes_write_u64(&writer, (uint64_t)example->time_ms);
        break;
    }
    return writer.overflow ? 0 : limit - writer.left;
}

/* ---- decode ---- */

/* Reads the history of a shown list; false: not ascending, or an action that is none. */
static bool read_history(struct bytes_reader *reader, struct user_entry *history, int count)
{
    bool right = true;

    for (int i = 0; i < count; i++) {
        struct user_entry *entry = &history[i];

        entry->item = bytes_read_u64(reader);
        entry->time_ms = bytes_read_time(reader);
        entry->action = bytes_read_u8(reader);
        entry->taken = false;
        right &= entry->action >= 1 && entry->action <= ACTION_LAST;
        right &= i == 0 || user_entry_compare(entry - 1, entry) < 0;
    }
    return right;
}

/* The arrays of a shown list, whose counts are within their limits. */
static enum status read_arrays(struct example *example, struct bytes_reader *reader,
                               struct arena *arena, struct error *err)
{
    size_t rows_count = (size_t)example->rows_count;
    size_t history_count = (size_t)example->history_count;
    size_t raw_count = rows_count * (size_t)example->raw_columns;
    uint64_t *rows;
    struct user_entry *history;
    int64_t *raw;

    /* A varint has at least one byte, so this also bounds what is allocated by what is there. */
    if (reader->left < rows_count * 8 + history_count * USER_ENTRY_BYTES + raw_count)
        return error_set(err, ERR_MALFORMED, "example is cut short");
    rows = arena_alloc(arena, rows_count * sizeof *rows);
    history = arena_alloc(arena, history_count * sizeof *history);
    raw = arena_alloc(arena, raw_count * sizeof *raw);
    if (rows == NULL || history == NULL || raw == NULL)
        return error_set(err, ERR_NOMEM, "no memory for an example of %zu rows", rows_count);
    for (size_t i = 0; i < rows_count; i++)
        rows[i] = bytes_read_u64(reader);
    if (!read_history(reader, history, example->history_count))
        return error_set(err, ERR_MALFORMED, "history of an example is not sorted");
    for (size_t i = 0; i < raw_count; i++)
        raw[i] = bytes_read_varint(reader);
    example->rows = rows;
    example->history = history;
    example->raw = raw_count == 0 ? NULL : raw;
    return OK;
}

/* Codes, of which one says something: the same example has one form. */
static enum status read_context(struct example *example, struct bytes_reader *reader,
                                struct error *err)
{
    bool right = true;

    for (int i = 0; i < BATCH_CONTEXTS; i++) {
        example->context[i] = bytes_read_u8(reader);
        right &= example->context[i] < BATCH_CONTEXT_CODES;
    }
    return right && has_context(example)
               ? OK
               : error_set(err, ERR_MALFORMED, "context of an example is none");
}

static enum status read_shown(struct example *example, struct bytes_reader *reader,
                              struct arena *arena, struct error *err)
{
    uint8_t context;
    enum status status;

    example->id = bytes_read_u64(reader);
    example->user = bytes_read_u64(reader);
    example->time_ms = bytes_read_time(reader);
    example->request_time_ms = bytes_read_time(reader);
    example->running = bytes_read_u32(reader);
    example->rows_count = bytes_read_u16(reader);
    example->history_count = bytes_read_u16(reader);
    example->raw_columns = bytes_read_u8(reader);
    context = bytes_read_u8(reader);
    if (reader->failed || context > 1)
        return error_set(err, ERR_MALFORMED, "example is cut short");
    if (example->rows_count < 1 || example->rows_count > EVENT_ROWS_MAX ||
        example->history_count > SEQUENCE_MAX)
        return error_set(err, ERR_LIMIT, "example of %d rows and %d entries", example->rows_count,
                         example->history_count);
    if (example->raw_columns != 0 && example->raw_columns != RAW_COLUMNS)
        return error_set(err, ERR_VERSION, "example of %d raw columns, this build has %d",
                         example->raw_columns, RAW_COLUMNS);
    status = read_arrays(example, reader, arena, err);
    return status == OK && context == 1 ? read_context(example, reader, err) : status;
}

static enum status read_label(struct example *example, struct bytes_reader *reader,
                              struct error *err)
{
    example->id = bytes_read_u64(reader);
    example->user = bytes_read_u64(reader);
    example->time_ms = bytes_read_time(reader);
    example->shown_at_ms = bytes_read_time(reader);
    example->row = bytes_read_u16(reader);
    example->labels_count = bytes_read_u16(reader);
    example->action = bytes_read_u8(reader);
    if (reader->failed)
        return error_set(err, ERR_MALFORMED, "label is cut short");
    if (example->row >= EVENT_ROWS_MAX)
        return error_set(err, ERR_LIMIT, "label of row %d", example->row);
    if (example->action < 1 || example->action > ACTION_LAST)
        return error_set(err, ERR_MALFORMED, "label of action %d", (int)example->action);
    return OK;
}

static enum status read_mark(struct example *example, struct bytes_reader *reader,
                             struct error *err)
{
    uint32_t partition = bytes_read_u32(reader);
    uint64_t offset = bytes_read_u64(reader);
    uint64_t watermark = bytes_read_u64(reader);

    if (reader->failed || partition > INT32_MAX || offset > INT64_MAX)
        return error_set(err, ERR_MALFORMED, "mark is cut short, or of no partition and offset");
    example->partition = (int32_t)partition;
    example->offset = (int64_t)offset;
    example->time_ms = (int64_t)watermark;
    return OK;
}

enum status example_decode(struct example *example, const uint8_t *from, size_t bytes,
                           struct arena *arena, struct error *err)
{
    struct bytes_reader reader = bytes_reader_of(from, bytes);
    struct example read = {0};
    uint8_t format = bytes_read_u8(&reader);
    enum status status;

    *example = read;
    read.kind = (enum example_kind)bytes_read_u8(&reader);
    if (bytes > EXAMPLE_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "example of %zu bytes, at most %d", bytes,
                         EXAMPLE_BYTES_MAX);
    if (reader.failed || format == 0)
        return error_set(err, ERR_MALFORMED, "no example");
    if (format != EXAMPLE_FORMAT)
        return error_set(err, ERR_VERSION, "example of format %d, this build reads %d", format,
                         EXAMPLE_FORMAT);
    switch (read.kind) {
    case EXAMPLE_SHOWN:
        status = read_shown(&read, &reader, arena, err);
        break;
    case EXAMPLE_LABEL:
        status = read_label(&read, &reader, err);
        break;
    case EXAMPLE_ERASE:
        read.user = bytes_read_u64(&reader);
        read.time_ms = bytes_read_time(&reader);
        status = OK;
        break;
    case EXAMPLE_MARK:
        status = read_mark(&read, &reader, err);
        break;
    default:
        status = error_set(err, ERR_MALFORMED, "example of kind %d", (int)read.kind);
    }
    if (status == OK && (reader.failed || reader.left != 0))
        status = error_set(err, ERR_MALFORMED, "example of kind %d and %zu bytes is too %s",
                           (int)read.kind, bytes, reader.failed ? "short" : "long");
    if (status == OK)
        *example = read;
    return status;
}

/* ---- what it is about, without decoding it ---- */

enum { AT_KIND = 1, AT_USER = 10, AT_SHOWN = 18, AT_ROWS = 34, AT_HISTORY = 36, AT_LISTS = 40 };
enum { LABEL_SHOWN = 24, LABEL_BYTES = 35, TIME_IN_ENTRY = 8, ENTRY_BYTES = 15 };

bool example_holds(const uint8_t *from, size_t bytes, uint64_t user, int64_t time_ms)
{
    size_t oldest;

    if (bytes < LABEL_BYTES || from[0] != EXAMPLE_FORMAT || bytes_get_u64(from + AT_USER) != user)
        return false;
    if (from[AT_KIND] == EXAMPLE_LABEL) /* a label is never older than its list */
        return (int64_t)bytes_get_u48(from + LABEL_SHOWN) <= time_ms;
    if (from[AT_KIND] != EXAMPLE_SHOWN || bytes < AT_LISTS)
        return false;
    if ((int64_t)bytes_get_u48(from + AT_SHOWN) <= time_ms)
        return true;
    oldest = AT_LISTS + (size_t)8 * bytes_get_u16(from + AT_ROWS);
    return bytes_get_u16(from + AT_HISTORY) > 0 && oldest + ENTRY_BYTES <= bytes &&
           (int64_t)bytes_get_u48(from + oldest + TIME_IN_ENTRY) <= time_ms;
}
