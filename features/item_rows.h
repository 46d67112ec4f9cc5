/*
 * features/item_rows.h - where items lie: rows in pages that several tables may share.
 *
 * A served table is replaced every few seconds by a copy with a few thousand rows changed. So a
 * copy shares everything, and a write makes a page (or a list of neighbours) its own first. What
 * is shared is never written, so readers of one table need no lock while another is made from it.
 *
 * Parts: pages of ITEM_PAGE rows, lists of neighbours (one an item that has any), blocks of names,
 * and the index hash -> row: a shared map that nobody changes, and a small one beside it for what
 * was added since.
 *
 * Owner: item_tables. Thread: one writer a container; shared parts are counted atomically.
 */
#ifndef FEATURES_ITEM_ROWS_H
#define FEATURES_ITEM_ROWS_H

#include "features/item_list.h"
#include "ops/map64.h"
#include "ops/text.h"
#include "schemas/item_file.h"

#include <stdbool.h>
#include <stdint.h>

#define ITEM_PAGE   256 /* rows a page: 32 KiB */
#define ITEM_DECAYS ITEM_FILE_DECAYED

/* 128 bytes; scoring a candidate reads the first 64 alone. */
struct item_row {
    _Alignas(64) int64_t clicks;
    int64_t shown;
    int64_t decayed_at_ms;
    double decayed[ITEM_DECAYS]; /* at decayed_at_ms; tau 1 h, 24 h, 7 d */
    int64_t first_seen_ms;
    int32_t row; /* of the model; 0: none yet */
    uint32_t sightings;

    uint64_t hash;
    int64_t last_seen_ms;
    double popular; /* order by 7-day popularity, the same at every time (item_tables.c) */
    int64_t covis_at_ms;
    struct item_list *neighbours; /* NULL: none */
    const char *name;             /* NULL: not known */
    uint16_t name_bytes;
    bool gone;
};

struct item_page;
struct item_names;
struct item_index;

struct item_rows {
    int32_t count;
    int32_t pages_count, pages_capacity;
    struct item_page **pages;
    int32_t names_count, names_capacity;
    struct item_names **names;
    bool names_open; /* the last block is ours to append to */
    struct item_index *index;
    struct map64 *added; /* since index was shared; NULL: nothing */
};

/* False: out of memory. */
bool item_rows_init(struct item_rows *rows);
void item_rows_clear(struct item_rows *rows);
/* Makes *copy, which is not initialised, one that shares all with *from. False: out of memory. */
bool item_rows_share(struct item_rows *copy, const struct item_rows *from);

/* Index of the item with this hash, or -1. */
int32_t item_rows_find(const struct item_rows *rows, uint64_t hash);
const struct item_row *item_rows_get(const struct item_rows *rows, int32_t index);

/* The functions below return NULL when memory is out; then nothing has changed. */

/* The row, in a page that is ours alone. */
struct item_row *item_rows_own(struct item_rows *rows, int32_t index);
/* A new zeroed row with this hash, at index count - 1 afterwards. */
struct item_row *item_rows_add(struct item_rows *rows, uint64_t hash);
/* A copy of the text that lives as long as a container that has this row. */
const char *item_rows_keep_name(struct item_rows *rows, struct text name);

/* Bytes of the parts this container refers to, shared or not. */
size_t item_rows_bytes(const struct item_rows *rows);

#endif
