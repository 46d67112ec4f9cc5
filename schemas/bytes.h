/*
 * schemas/bytes.h - little-endian numbers in byte arrays, and a bounded reader and writer of them.
 *
 * Every format of this folder is little-endian and unaligned. A reader that runs past the end
 * returns zeros and remembers that it failed; a writer that runs out of room writes nothing more
 * and remembers it too: so a decoder checks once, at the end of a part, not at every field, and
 * must not trust a count before that check.
 */
#ifndef SCHEMAS_BYTES_H
#define SCHEMAS_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Times are stored in 6 bytes: milliseconds 0 .. year 10889. */
#define BYTES_TIME_MAX_MS ((INT64_C(1) << 48) - 1)
#define BYTES_VARINT_MAX  10

static inline uint16_t bytes_get_u16(const uint8_t *from)
{
    uint16_t value;

    memcpy(&value, from, sizeof value);
    return le16toh(value);
}

static inline uint32_t bytes_get_u32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof value);
    return le32toh(value);
}

static inline uint64_t bytes_get_u64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof value);
    return le64toh(value);
}

static inline uint64_t bytes_get_u48(const uint8_t *from)
{
    return bytes_get_u32(from) | (uint64_t)bytes_get_u16(from + 4) << 32;
}

static inline void bytes_put_u16(uint8_t *into, uint16_t value)
{
    value = htole16(value);
    memcpy(into, &value, sizeof value);
}

static inline void bytes_put_u32(uint8_t *into, uint32_t value)
{
    value = htole32(value);
    memcpy(into, &value, sizeof value);
}

static inline void bytes_put_u64(uint8_t *into, uint64_t value)
{
    value = htole64(value);
    memcpy(into, &value, sizeof value);
}

static inline void bytes_put_u48(uint8_t *into, uint64_t value)
{
    bytes_put_u32(into, (uint32_t)value);
    bytes_put_u16(into + 4, (uint16_t)(value >> 32));
}

/* ---- reader ---- */

struct bytes_reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static inline struct bytes_reader bytes_reader_of(const void *from, size_t bytes)
{
    return (struct bytes_reader){from, bytes, false};
}

/* The next count bytes, or NULL past the end. */
static inline const uint8_t *bytes_take(struct bytes_reader *reader, size_t count)
{
    const uint8_t *at = reader->at;

    if (reader->failed || count > reader->left) {
        reader->failed = true;
        return NULL;
    }
    if (count > 0)
        reader->at += count;
    reader->left -= count;
    return at;
}

static inline uint8_t bytes_read_u8(struct bytes_reader *reader)
{
    const uint8_t *at = bytes_take(reader, 1);

    return at == NULL ? 0 : at[0];
}

static inline uint16_t bytes_read_u16(struct bytes_reader *reader)
{
    const uint8_t *at = bytes_take(reader, 2);

    return at == NULL ? 0 : bytes_get_u16(at);
}

static inline uint32_t bytes_read_u32(struct bytes_reader *reader)
{
    const uint8_t *at = bytes_take(reader, 4);

    return at == NULL ? 0 : bytes_get_u32(at);
}

static inline uint64_t bytes_read_u64(struct bytes_reader *reader)
{
    const uint8_t *at = bytes_take(reader, 8);

    return at == NULL ? 0 : bytes_get_u64(at);
}

static inline int64_t bytes_read_time(struct bytes_reader *reader)
{
    const uint8_t *at = bytes_take(reader, 6);

    return at == NULL ? 0 : (int64_t)bytes_get_u48(at);
}

/* A zigzag varint: at most 10 bytes, and only the shortest form is taken, so that a number has
 * one encoding. */
static inline int64_t bytes_read_varint(struct bytes_reader *reader)
{
    size_t most = reader->left < BYTES_VARINT_MAX ? reader->left : BYTES_VARINT_MAX;
    uint64_t value = 0;

    for (size_t i = 0; i < most && !reader->failed; i++) {
        uint8_t byte = reader->at[i];

        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte >= 0x80)
            continue;
        if ((byte == 0 && i > 0) || (i == BYTES_VARINT_MAX - 1 && byte > 1))
            break;
        reader->at += i + 1;
        reader->left -= i + 1;
        return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    }
    reader->failed = true;
    return 0;
}

/* ---- writer ---- */

struct bytes_writer {
    uint8_t *at;
    size_t left;
    bool overflow;
};

static inline struct bytes_writer bytes_writer_of(void *into, size_t bytes)
{
    return (struct bytes_writer){into, bytes, false};
}

/* Room for count bytes, or NULL when there is none. */
static inline uint8_t *bytes_room(struct bytes_writer *writer, size_t count)
{
    uint8_t *at = writer->at;

    if (writer->overflow || count > writer->left) {
        writer->overflow = true;
        return NULL;
    }
    if (count > 0)
        writer->at += count;
    writer->left -= count;
    return at;
}

static inline void bytes_write(struct bytes_writer *writer, const void *from, size_t count)
{
    uint8_t *at = bytes_room(writer, count);

    if (at != NULL && count > 0)
        memcpy(at, from, count);
}

static inline void bytes_write_u8(struct bytes_writer *writer, uint8_t value)
{
    bytes_write(writer, &value, 1);
}

static inline void bytes_write_u16(struct bytes_writer *writer, uint16_t value)
{
    uint8_t *at = bytes_room(writer, 2);

    if (at != NULL)
        bytes_put_u16(at, value);
}

static inline void bytes_write_u32(struct bytes_writer *writer, uint32_t value)
{
    uint8_t *at = bytes_room(writer, 4);

    if (at != NULL)
        bytes_put_u32(at, value);
}

static inline void bytes_write_u64(struct bytes_writer *writer, uint64_t value)
{
    uint8_t *at = bytes_room(writer, 8);

    if (at != NULL)
        bytes_put_u64(at, value);
}

static inline void bytes_write_time(struct bytes_writer *writer, int64_t time_ms)
{
    uint8_t *at = bytes_room(writer, 6);

    if (at != NULL)
        bytes_put_u48(at, (uint64_t)time_ms);
}

static inline void bytes_write_varint(struct bytes_writer *writer, int64_t value)
{
    uint64_t rest = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    uint8_t bytes[BYTES_VARINT_MAX];
    bool roomy = !writer->overflow && writer->left >= sizeof bytes;
    uint8_t *begin = roomy ? writer->at : bytes; /* in place where the longest form fits */
    uint8_t *at = begin;

    while (rest >= 0x80) {
        *at++ = (uint8_t)(rest | 0x80);
        rest >>= 7;
    }
    *at++ = (uint8_t)rest;
    if (roomy) {
        writer->left -= (size_t)(at - begin);
        writer->at = at;
    } else {
        bytes_write(writer, bytes, (size_t)(at - begin));
    }
}

#endif
