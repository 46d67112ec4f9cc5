/*
 * schemas/item_file.h - the item tables as bytes: `items` in a bundle, and `items.delta`.
 *
 * Flow: item tables -> [writer] -> bundle, delta -> [reader] -> item tables of the scorer
 *
 * Layout (little-endian; every offset in bytes):
 *
 *    0  magic            8  "FRITEMS\n"
 *    8  format           4  ITEM_FILE_FORMAT
 *   12  delta            4  0: every item; 1: only the items changed since the base version
 *   16  items            4  records in this file
 *   20  total            4  items in the table: every index is below it
 *   24  rows             4  model rows given out, row 0 included
 *   28  neighbours_max   4
 *   32  offsets          4  partitions whose offsets follow
 *   36  zero             4
 *   40  sequence         8  number of the delta; 0 in a whole file
 *   48  newest_ms        8  newest event time observed
 *   56  covis_tau_ms     8
 *   64  seed             8  of the item hashes
 *   72  base            64  version of the bundle this is (or belongs to), zero-padded
 *  136  body_bytes       8  all that follows the header
 *  144  body_hash        8  of the body: for each block of 64 KiB, XXH3-64 seeded with the hash
 *                           of the block before it (0 for the first)
 *  152  header_hash      8  XXH3-64 of bytes 0..151
 *  160  offsets         12 * offsets: partition 4, next offset 8
 *    .  items              each:
 *                          0  index         4  in a whole file 0, 1, 2, ...
 *                          4  row           4  model row, 0: none yet
 *                          8  hash          8
 *                         16  first_seen    6  ms
 *                         22  last_seen     6  ms
 *                         28  clicks        8
 *                         36  shown         8
 *                         44  sightings     4
 *                         48  flags         2  bit 0: gone from the catalogue
 *                         50  name bytes    2  0..256
 *                         52  neighbours    2
 *                         54  decayed at    6  ms: reference time of the three sums
 *                         60  decayed      24  float64: tau 1 h, 24 h, 7 d
 *                         84  covis at      6  ms: reference time of the weights
 *                         90  name
 *                          .  neighbours    8 each: index 4, weight 4 (float32)
 *
 * A file is written beside its place and renamed; the header comes last, so a file that was cut
 * short has none. The header has a hash of its own, and its counts are checked against the
 * length of the file, before anything is believed or allocated.
 */
#ifndef SCHEMAS_ITEM_FILE_H
#define SCHEMAS_ITEM_FILE_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/event.h"
#include "schemas/trace.h"

#include <stdbool.h>
#include <stdint.h>

#define ITEM_FILE_FORMAT         1
#define ITEM_FILE_HEADER_BYTES   160
#define ITEM_FILE_ITEM_BYTES     90 /* without name and neighbours */
#define ITEM_FILE_ITEMS_MAX      (1 << 24)
#define ITEM_FILE_NEIGHBOURS_MAX 1024
#define ITEM_FILE_OFFSETS_MAX    1024
#define ITEM_FILE_DECAYED        3

/* Everything of events below `next` in this partition is in the tables. */
struct item_file_offset {
    int32_t partition;
    int64_t next;
};

struct item_file_head {
    bool delta;
    int32_t items_count; /* records in the file; the writer counts them itself */
    int32_t items_total;
    int32_t rows;
    int32_t neighbours_max;
    uint64_t sequence;
    int64_t newest_ms;
    int64_t covis_tau_ms;
    uint64_t seed;
    char base_version[MODEL_VERSION_MAX];
    int offsets_count;
    const struct item_file_offset *offsets; /* (offsets_count) */
};

struct item_neighbour {
    int32_t index;
    float weight; /* at covis_at_ms; finite, not negative */
};

struct item_file_item {
    int32_t index;
    int32_t row;
    uint64_t hash;
    struct text name; /* may be empty: not known */
    int64_t first_seen_ms, last_seen_ms;
    int64_t clicks, shown; /* not negative */
    uint32_t sightings;
    bool gone;
    int64_t decayed_at_ms;
    double decayed[ITEM_FILE_DECAYED]; /* finite, not negative */
    int64_t covis_at_ms;
    int neighbours_count;
    const struct item_neighbour *neighbours; /* (neighbours_count) */
};

/**
 * Begins a file that will stand at path; it is written at path with ".new" behind it.
 * Errors: ERR_IO, ERR_NOMEM. Owner: the caller, item_file_writer_destroy().
 */
struct item_file_writer;
MUST_CHECK enum status item_file_writer_create(struct item_file_writer **writer, const char *path,
                                               const struct item_file_head *head,
                                               struct error *err);
/* Adds one record. Fields out of their bounds are our own mistake (assert). Errors: ERR_IO */
MUST_CHECK enum status item_file_writer_add(struct item_file_writer *writer,
                                            const struct item_file_item *item, struct error *err);
/* Writes the header, fsyncs, renames, fsyncs the folder. Errors: ERR_IO; what was at path stays. */
MUST_CHECK enum status item_file_writer_finish(struct item_file_writer *writer, struct error *err);
/* Removes what was not finished. NULL is fine. */
void item_file_writer_destroy(struct item_file_writer *writer);

/**
 * Opens a file and checks its header, its length, and that it is a regular file.
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_MALFORMED, ERR_VERSION, ERR_LIMIT, ERR_CORRUPT, ERR_NOMEM
 * Owner: the caller, item_file_close().
 */
struct item_file;
MUST_CHECK enum status item_file_open(struct item_file **file, const char *path, struct error *err);
const struct item_file_head *item_file_head(const struct item_file *file); /* lives with file */
/**
 * The next record; *more is false behind the last one. Texts and neighbours live until the next
 * call. Each record is within its bounds (index and neighbours below items_total, row below rows,
 * numbers finite), but nothing may be used before *more was false: only then has the hash of the
 * whole body matched.
 * Errors: ERR_MALFORMED, ERR_LIMIT, ERR_CORRUPT, ERR_IO
 */
MUST_CHECK enum status item_file_next(struct item_file *file, struct item_file_item *item,
                                      bool *more, struct error *err);
void item_file_close(struct item_file *file); /* NULL is fine */

#endif
