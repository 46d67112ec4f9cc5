/*
 * schemas/user_value.h - the value of one user in the store, as bytes and as a struct.
 *
 * Flow: rules -> [encode, patch] -> store -> [decode] -> rules, serve
 *
 * Layout (little-endian; every offset in bytes):
 *
 *    0  format         1  USER_VALUE_FORMAT
 *    1  flags          1  bit 0: replayed records took part; others 0
 *    2  count          2  entries in the ring
 *    4  head           2  slot of the oldest entry, 0 while count < capacity
 *    6  opens          2  open impressions behind the ring
 *    8  writer         4  log number (12 bits) << 20 | partition (20 bits) of the last change
 *   12  running        4  events that ever entered the sequence (mod 2^32)
 *   16  erased_at      6  ms; everything at or before is gone; 0: never
 *   22  written_at     6  wall-clock ms of the last write (decides when the TTL is renewed)
 *   28  ring          15 * count, each entry:
 *                       0  item hash   8
 *                       8  time        6  ms
 *                      14  action      1  1..63; bit 7: taken
 *    .  opens             one behind the other, each:
 *                       0  bytes       2  of this open: 28 + 8 * rows + 15 * labels
 *                       2  example id  8  0 while there are no rows
 *                      10  shown at    6  ms
 *                      16  request     8  hash of the request id; 0: none
 *                      24  rows        2
 *                      26  labels      2
 *                      28  rows        8 * rows: item hashes in the order shown
 *                       .  labels     15 * labels: each laid out as a ring entry
 *
 * With 100 entries the value is 1,528 bytes, so that with Redis' string header it sits in
 * the allocator's class of 1,536.
 *
 * An in-order event on a full ring is two patches: 15 bytes in the slot of the oldest entry
 * and the 28 bytes of the header. Open impressions that change without changing their length
 * are a third. Anything else rewrites the value.
 *
 * Comparisons between stores are of the logical content (user_value_equal): sorted entries,
 * opens, erased_at, running; not writer, head, written_at.
 */
#ifndef SCHEMAS_USER_VALUE_H
#define SCHEMAS_USER_VALUE_H

#include "ops/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USER_VALUE_FORMAT       1
#define USER_VALUE_HEADER_BYTES 28
#define USER_ENTRY_BYTES        15
#define USER_OPEN_HEADER_BYTES  28
#define SEQUENCE_MAX            512 /* features.sequence_max is at most this */
#define JOINS_MAX               16  /* features.joins_max is at most this */
#define OPEN_ROWS_MAX           512
#define OPEN_LABELS_MAX         64
/* Every value within the limits above fits: at most 89,052 bytes. */
#define USER_VALUE_BYTES_MAX (128 * 1024)

#define USER_VALUE_REPLAYED 1u /* bit of flags */

/* taken is no part of an entry's identity or order; only rules.c sets it, and user_value_equal
 * compares it: a label that named a request, was joined or was replayed is taken, so that no
 * impression that comes after it finds it in the sequence. */
struct user_entry {
    uint64_t item; /* hash */
    int64_t time_ms;
    uint8_t action; /* 1..ACTIONS_MAX - 1 */
    bool taken;
};

/* A label an open impression has: a row of it, or (before the impression came) an item. */
struct open_label {
    uint64_t item; /* hash */
    int64_t time_ms;
    uint8_t action;
};

/* A list that was shown and may still get labels; without rows: labels that named a request
 * whose impression has not been seen yet. */
struct open_impression {
    uint64_t example_id; /* 0 while there are no rows */
    uint64_t request;    /* hash of the request id; 0: none */
    int64_t shown_at_ms;
    int rows_count;
    int labels_count;
    uint64_t *rows;            /* (rows_count) item hashes */
    struct open_label *labels; /* (labels_count) a set: their order means nothing */
};

/* The logical content. Entries are sorted by (time, item, action), oldest first. */
struct user_value {
    uint32_t writer;
    uint32_t running;
    int64_t erased_at_ms;
    int64_t written_at_ms;
    uint8_t flags;
    int count;
    int opens_count;
    struct user_entry entries[SEQUENCE_MAX];
    struct open_impression opens[JOINS_MAX]; /* sorted by user_open_compare */
    /* Rows and labels of the opens lie here, or in an arena of whoever built the value. */
};

static inline uint32_t user_value_writer(int32_t partition, uint32_t log_number)
{
    return (log_number & 0xfffu) << 20 | ((uint32_t)partition & 0xfffffu);
}

/* Order of entries: (time, item, action). */
int user_entry_compare(const struct user_entry *a, const struct user_entry *b);
/* Order of opens: (shown_at, request, example id). */
int user_open_compare(const struct open_impression *a, const struct open_impression *b);

struct arena;

/**
 * Decodes bytes into *value; rows and labels of opens are copied into arena, which may be NULL
 * for a value without opens. Entries beyond count are left as they were (12 KiB that nobody
 * reads are not cleared for every user).
 * No bytes at all (bytes == 0) is a user never seen: no entries, no opens, all else 0.
 * Errors: ERR_MALFORMED (a length is not what the header says, entries or opens not sorted, an
 *         action outside 1..63, ...), ERR_LIMIT, ERR_VERSION, ERR_NOMEM
 */
MUST_CHECK enum status user_value_decode(struct user_value *value, const uint8_t *from,
                                         size_t bytes, struct arena *arena, struct error *err);

/* The fixed part alone. */
struct user_header {
    uint32_t writer;
    uint32_t running;
    int64_t erased_at_ms;
    int64_t written_at_ms;
    uint8_t flags;
    int count, head, opens_count;
};
/* False when the bytes are no value: another format, or a length that is not what the header
 * (and that of every open) says. No bytes: true and all zero. Entries are not looked at. */
bool user_value_header(struct user_header *header, const uint8_t *from, size_t bytes);

/* Only the newest `most` entries, oldest first, without checking the opens: what serving reads.
 * Returns their number, or -1 when the bytes are no value. running may be NULL. */
int user_value_history(const uint8_t *from, size_t bytes, struct user_entry *entries, int most,
                       uint32_t *running);

/* Encodes with the ring unrolled (head 0). Returns the bytes, 0 if they do not fit.
 * A value outside the limits above is our own mistake (assert). */
size_t user_value_encode(const struct user_value *value, uint8_t *into, size_t bytes);

bool user_value_equal(const struct user_value *a, const struct user_value *b);

/* ---- what a writer keeps: the image, its bytes as they are or will be in the store ---- */

/**
 * What the steps of one transaction have changed in one user's image, against the bytes in the
 * store. Begins zeroed (nothing changed); every user_value_append() and user_value_diff() on
 * the same image adds to it; user_value_patches() says at the end what to send.
 */
struct user_change {
    bool changed;         /* the header, at least */
    bool rewrite;         /* too much for patches: send the image whole */
    bool opens;           /* the opens differ, at the same length */
    uint16_t slot, slots; /* ring slots written: from `slot` on, round the ring */
};

/**
 * The quick path of an in-order event: puts *entry into the image of a user without opens, as
 * decode, rules and diff would, to the byte, without decoding anything.
 *
 * Takes a full ring (then *bytes stays) or one that still grows (then *bytes grows by 15 and the
 * change is a rewrite); no bytes at all is a user never seen. The caller has made sure that the
 * event does nothing else: it names no request, is no exposure, and is not too late.
 * False, and nothing touched, when the slow path must decide: opens, an entry not newer than
 * all others, at or before erased_at, no room in bytes_max, a ring of another capacity, no value.
 */
bool user_value_append(uint8_t *image, size_t *bytes, size_t bytes_max,
                       const struct user_entry *entry, int capacity, uint32_t writer,
                       int64_t written_at_ms, struct user_change *change);

/**
 * The slow path's end: turns the image `old` into that of *value at `into`, which may be `old`
 * itself, and adds to *change what that takes. Where *value is the old content with in-order
 * entries appended to a full ring, the ring keeps its place and its head moves; opens of the same
 * length are replaced in place; else the image is what user_value_encode() writes.
 * Rows and labels of *value must not lie inside `old`.
 * Returns the bytes of the new image, 0 when they do not fit (then `into` is unchanged).
 */
size_t user_value_diff(const uint8_t *old, size_t old_bytes, const struct user_value *value,
                       int capacity, uint8_t *into, size_t into_bytes, struct user_change *change);

/* A part of the image to be written over the same part of the stored value. */
struct user_patch {
    uint32_t offset;
    uint32_t bytes;
};
#define USER_PATCHES_MAX 4

/* The patches that *change amounts to, the header first. 0: nothing changed, or *change says
 * rewrite. Stored bytes with these parts of the image over them are the image. */
int user_value_patches(const struct user_change *change, const uint8_t *image, size_t bytes,
                       struct user_patch patches[USER_PATCHES_MAX]);

#endif
