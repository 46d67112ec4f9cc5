/* ops/json_writer.c - appends to the caller's buffer; a value either fits or sets overflow. */
#include "ops/json_writer.h"

#include "ops/json_number.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void json_writer_init(struct json_writer *w, char *into, size_t bytes)
{
    *w = (struct json_writer){.at = into, .bytes = bytes};
    w->first[0] = true;
}

static void put(struct json_writer *w, const char *from, size_t bytes)
{
    if (w->overflow)
        return;
    if (bytes > w->bytes - w->used) {
        w->overflow = true;
        return;
    }
    memcpy(w->at + w->used, from, bytes);
    w->used += bytes;
}

/* The comma before a value, where one belongs. */
static void before_value(struct json_writer *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    assert(w->depth > 0 || w->first[0]); /* one value at the top */
    if (!w->first[w->depth])
        put(w, ",", 1);
    w->first[w->depth] = false;
}

static void begin(struct json_writer *w, const char *bracket)
{
    before_value(w);
    put(w, bracket, 1);
    assert(w->depth + 1 < JSON_WRITER_DEPTH_MAX);
    w->first[++w->depth] = true;
}

static void end(struct json_writer *w, const char *bracket)
{
    assert(w->depth > 0 && !w->after_key);
    w->depth--;
    put(w, bracket, 1);
}

void json_object_begin(struct json_writer *w)
{
    begin(w, "{");
}

void json_object_end(struct json_writer *w)
{
    end(w, "}");
}

void json_array_begin(struct json_writer *w)
{
    begin(w, "[");
}

void json_array_end(struct json_writer *w)
{
    end(w, "]");
}

/* Bytes of the valid UTF-8 sequence at the start, 0 when there is none (RFC 3629: no
 * overlong forms, no surrogates, nothing above U+10FFFF). */
static size_t sequence_bytes(const unsigned char *at, size_t left)
{
    unsigned char lead = at[0];
    unsigned low = 0x80, high = 0xbf; /* of the second byte */
    size_t bytes;

    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    bytes = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead == 0xe0)
        low = 0xa0;
    if (lead == 0xed)
        high = 0x9f;
    if (lead == 0xf0)
        low = 0x90;
    if (lead == 0xf4)
        high = 0x8f;
    if (bytes > left || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return bytes;
}

static void put_escape(struct json_writer *w, unsigned char byte)
{
    static const char from[] = "\"\\\n\r\t\b\f";
    static const char to[] = "\"\\nrtbf";
    const char *known = byte == 0 ? NULL : strchr(from, byte);
    char text[6] = {
        '\\', 'u', '0', '0', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};

    if (known == NULL) {
        put(w, text, 6);
        return;
    }
    text[1] = to[known - from];
    put(w, text, 2);
}

static void put_quoted(struct json_writer *w, struct text value)
{
    const unsigned char *at = (const unsigned char *)value.at;
    size_t from = 0; /* start of the run not yet written */
    size_t i = 0;

    put(w, "\"", 1);
    while (i < value.bytes && !w->overflow) {
        size_t bytes = sequence_bytes(at + i, value.bytes - i);

        if (bytes > 1 ||
            (bytes == 1 && at[i] >= 0x20 && at[i] != '"' && at[i] != '\\' && at[i] != 0x7f)) {
            i += bytes;
            continue;
        }
        put(w, value.at + from, i - from);
        if (bytes == 0)
            put(w, "\xef\xbf\xbd", 3);
        else
            put_escape(w, at[i]);
        from = ++i;
    }
    if (value.bytes > from)
        put(w, value.at + from, value.bytes - from);
    put(w, "\"", 1);
}

void json_key(struct json_writer *w, const char *key)
{
    assert(!w->after_key);
    before_value(w);
    put_quoted(w, text_of(key));
    put(w, ":", 1);
    w->after_key = true;
}

void json_put_text(struct json_writer *w, struct text value)
{
    before_value(w);
    put_quoted(w, value);
}

void json_put_int(struct json_writer *w, int64_t value)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    before_value(w);
    do {
        text[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        text[--at] = '-';
    put(w, text + at, sizeof text - at);
}

void json_put_real(struct json_writer *w, double value)
{
    char text[JSON_NUMBER_BYTES];

    if (!isfinite(value)) {
        json_put_null(w);
        return;
    }
    before_value(w);
    put(w, text, json_number_double(text, value));
}

void json_put_float(struct json_writer *w, float value)
{
    char text[JSON_NUMBER_BYTES];

    if (!isfinite(value)) {
        json_put_null(w);
        return;
    }
    before_value(w);
    put(w, text, json_number_float(text, value));
}

void json_put_bool(struct json_writer *w, bool value)
{
    before_value(w);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void json_put_null(struct json_writer *w)
{
    before_value(w);
    put(w, "null", 4);
}

void json_put_raw(struct json_writer *w, struct text json)
{
    before_value(w);
    if (json.bytes > 0)
        put(w, json.at, json.bytes);
}

void json_text(struct json_writer *w, const char *key, struct text value)
{
    json_key(w, key);
    json_put_text(w, value);
}

void json_int(struct json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_put_int(w, value);
}

void json_real(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_real(w, value);
}

void json_bool(struct json_writer *w, const char *key, bool value)
{
    json_key(w, key);
    json_put_bool(w, value);
}

bool json_writer_ok(const struct json_writer *w)
{
    return !w->overflow && w->depth == 0 && !w->after_key && !w->first[0];
}

struct text json_writer_text(const struct json_writer *w)
{
    return (struct text){w->at, w->used};
}
