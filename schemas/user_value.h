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
 *   28  ring          15 * count: item hash 8, time 6 (ms), action 1 (its bit 7: taken)
 *    .  opens             each: bytes 2 (of this open, these two included), example id 8,
 *                         shown at 6, request hash 8 (0: none), rows 2, labels 2,
 *                         rows * item hash 8, labels * (row 2 or item hash 8, action 1, time 6):
 *                         exactly as user_value.c says
 *
 * With 100 entries the value is 1,528 bytes, so that with Redis' string header it sits in
 * the allocator's class of 1,536.
 *
 * An in-order event on a full ring is two patches: 15 bytes in the slot of the oldest entry
 * and the 28 bytes of the header. Anything else rewrites the value.
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
#define SEQUENCE_MAX            512 /* features.sequence_max is at most this */
#define JOINS_MAX               16  /* features.joins_max is at most this */
#define OPEN_ROWS_MAX           512
#define OPEN_LABELS_MAX         64
#define USER_VALUE_BYTES_MAX    (128 * 1024)

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
    struct open_label *labels; /* (labels_count) */
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
    struct open_impression opens[JOINS_MAX]; /* sorted by (shown_at, request, example id) */
    /* Rows and labels of the opens lie here, or in an arena of whoever built the value. */
};

static inline uint32_t user_value_writer(int32_t partition, uint32_t log_number)
{
    return (log_number & 0xfffu) << 20 | ((uint32_t)partition & 0xfffffu);
}

/* Order of entries: (time, item, action). */
int user_entry_compare(const struct user_entry *a, const struct user_entry *b);

struct arena;

/**
 * Decodes bytes into *value; rows and labels of opens are copied into arena.
 * No bytes at all (bytes == 0) is a user never seen: a zeroed value.
 * Errors: ERR_MALFORMED (a length is not what the header says, entries not sorted, ...),
 *         ERR_VERSION, ERR_NOMEM
 */
MUST_CHECK enum status user_value_decode(struct user_value *value, const uint8_t *from,
                                         size_t bytes, struct arena *arena, struct error *err);

/* Only the newest `most` entries, oldest first, without checking the opens: what serving reads.
 * Returns their number, or -1 when the bytes are no value. running and erased_at may be NULL. */
int user_value_history(const uint8_t *from, size_t bytes, struct user_entry *entries, int most,
                       uint32_t *running);

/* Encodes with the ring unrolled (head 0). capacity: sequence_max. Returns the bytes, 0 if they
 * do not fit. */
size_t user_value_encode(const struct user_value *value, uint8_t *into, size_t bytes);

bool user_value_equal(const struct user_value *a, const struct user_value *b);

#endif
