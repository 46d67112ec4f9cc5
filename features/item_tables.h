/*
 * features/item_tables.h - what is known of items: names, counts, decayed popularity,
 * co-visitation, model rows.
 *
 * Flow: events -> [trainer observes] -> bundle, delta -> [scorer reads] -> raw counts, recall
 *
 * Made by the trainer from the events topic and read by the scorer and the backtest. One writer.
 * A table that is only read may be shared by threads; the delta is applied to a copy
 * (item_tables_copy) that is then swapped in. A copy shares all rows with its origin until one of
 * the two writes them (features/item_rows.h), so it costs little and needs no lock.
 *
 * Totals (clicks, shown) are integers. A decayed count is a sum kept at a reference time and moved
 * there when read: s(t) = s(t0) * exp(-(t - t0) / tau), so reading costs no walk over time buckets.
 * Co-visitation is directed: when item i follows h at distance d (1..10) of one user's sequence,
 * C[h, i] += 1/d, decayed with covis_tau; each h keeps `neighbours_max` of them, a new one taking
 * the place of the lightest by a chance that grows with its weight. Source of the weights: public
 * session-based neighbourhood recommenders; directed and by distance, decayed, divided by the root
 * of popularity, the last 10 events of the user with gamma 0.8, measured to be worth .01 of NDCG to
 * the model. The same with each C[h, i] also over the root of h's popularity (a cosine) orders
 * recall, and a candidate is asked what it led to as well: the sum of C[i, h] / sqrt(d) / root of h
 * over the last 50 items h of the user, d back. Together with a covis_tau of half a year
 * (popularity says what is new; a taste lasts) that gave a network over the scalars alone .015 to
 * .04 of HR@20 on three data sets, for no byte of memory.
 *
 * An item's model row is 0 (shared, unknown) until it was seen twice, or was described
 * (item_tables_describe()). A row that expired goes to the next item that is admitted, so expiry
 * belongs right in front of a bundle's publication, of a model that has such rows cleared: then the
 * next owner, whom a delta may tell of before the next bundle, is served as an unknown item. Where
 * that publication fails, or somebody goes back to an older bundle, the weights there are the last
 * owner's: tables with a delta over them know whose weights their base has at a row that changed
 * hands, and anybody else's row is 0 until the next bundle.
 */
#ifndef FEATURES_ITEM_TABLES_H
#define FEATURES_ITEM_TABLES_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/item_file.h"
#include "schemas/raw.h"
#include "schemas/user_value.h"

#include <stdbool.h>
#include <stdint.h>

#define ITEM_NONE               (-1)
#define COVIS_REACH             10 /* events back that a new one is paired with, and that a request uses */
#define COVIS_GAMMA             0.8
#define COVIS_BACK_REACH        50 /* events back that the other direction looks at */
#define ITEMS_MAX_LIMIT         (1 << 24)
#define ITEM_NEIGHBOURS_DEFAULT 64

#define ITEM_TAU_1H_MS  (INT64_C(3600) * 1000)
#define ITEM_TAU_24H_MS (INT64_C(24) * 3600 * 1000)
#define ITEM_TAU_7D_MS  (INT64_C(7) * 24 * 3600 * 1000)

struct item_tables_options {
    int items_max;        /* 0: 1,000,000 */
    int neighbours_max;   /* 0: ITEM_NEIGHBOURS_DEFAULT */
    int64_t covis_tau_ms; /* 0: 180 d */
    int admit_after;      /* sightings before a row is given; 0: 2 */
    uint64_t seed;        /* of the item hashes: written into files, compared by deltas */
};

struct item_tables;
MUST_CHECK enum status item_tables_create(struct item_tables **tables,
                                          const struct item_tables_options *options,
                                          struct error *err);
void item_tables_destroy(struct item_tables *tables); /* NULL is fine */
/* From here on with these limits: for a table that was loaded. Lists that are longer already stay;
 * covis_tau and seed are those of the file. */
void item_tables_limit(struct item_tables *tables, const struct item_tables_options *options);
/* Errors: ERR_NOMEM. The cost is that of counting pages, not items. */
MUST_CHECK enum status item_tables_copy(struct item_tables **copy, const struct item_tables *from,
                                        struct error *err);

/* ---- writing (trainer, backtest) ---- */

/* Index of an item, added when new; ITEM_NONE when the table or the memory is full (counted). A
 * name given for a known hash with another name is ignored and counted, one longer than ITEM_ID_MAX
 * ignored. time_ms: when it was seen, 0 when that says nothing (the catalogue). */
int32_t item_tables_index(struct item_tables *tables, uint64_t item, struct text name,
                          int64_t time_ms);
/* One history action (weight 1). before: the user's entries before it, oldest first. Late events
 * count with the weight they have left. */
void item_tables_observe(struct item_tables *tables, int32_t index, int64_t time_ms,
                         const struct user_entry *before, int before_count);
void item_tables_observe_shown(struct item_tables *tables, int32_t index, int64_t time_ms);
/* A row for an item that was never seen, so that a model can hold what is said of it: `row`, or
 * with 0 the next one at the end. Returns the row; 0 when the item was seen or has one, or memory
 * is out. A copy of the tables that is behind may be given the same row ahead of its time: rows of
 * items that are admitted are the lowest that belong to nobody, so both go on alike. */
int32_t item_tables_describe(struct item_tables *tables, int32_t index, int32_t row);
/* That row for an item without one, as other tables of the same log gave it. False, and nothing is
 * changed: it has one, the row is another's, or memory is out. */
bool item_tables_take_row(struct item_tables *tables, int32_t index, int32_t row);
/* Takes the rows of items last seen before that time; they are admitted anew like new ones. Returns
 * how many. Walks all items. */
int item_tables_expire(struct item_tables *tables, int64_t before_ms);
/* The catalogue says it is gone (or back): never recommended while gone. */
void item_tables_set_gone(struct item_tables *tables, int32_t index, bool gone);
/* Where the events in it end: kept in files. Copied; at most ITEM_FILE_OFFSETS_MAX. */
void item_tables_set_offsets(struct item_tables *tables, const struct item_file_offset *offsets,
                             int count);

/* ---- reading ---- */

int item_tables_count(const struct item_tables *tables);
int item_tables_items_max(const struct item_tables *tables); /* how many there is room for */
uint64_t item_tables_seed(const struct item_tables *tables);
const struct item_file_offset *item_tables_offsets(const struct item_tables *tables, int *count);
size_t item_tables_bytes(const struct item_tables *tables); /* of memory; walks all items */
int item_tables_rows(const struct item_tables *tables); /* model rows given out, row 0 included */
uint64_t item_tables_gives(const struct item_tables *tables);    /* how often a row changed hands */
int64_t item_tables_newest_ms(const struct item_tables *tables); /* newest event time observed */
int32_t item_tables_find(const struct item_tables *tables, uint64_t item); /* or ITEM_NONE */
uint64_t item_tables_hash(const struct item_tables *tables, int32_t index);
struct text item_tables_name(const struct item_tables *tables, int32_t index); /* "" if unknown */
/* Model row; 0: unknown, or with a delta over a base whose weights there are another item's. */
int32_t item_tables_row(const struct item_tables *tables, int32_t index);
int32_t item_tables_at_row(const struct item_tables *tables, int32_t row); /* index, or ITEM_NONE */
/* It has a row by its own events, not only by what is said of it. */
bool item_tables_admitted(const struct item_tables *tables, int32_t index);
bool item_tables_gone(const struct item_tables *tables, int32_t index);
/* Asks memory for what is known of it, a little before it is needed: items lie anywhere. */
void item_tables_prefetch(const struct item_tables *tables, int32_t index);
int64_t item_tables_clicks(const struct item_tables *tables, int32_t index);
int64_t item_tables_shown(const struct item_tables *tables, int32_t index);
int64_t item_tables_first_seen_ms(const struct item_tables *tables, int32_t index); /* 0: never */
/* The sum decayed to now; a now before the newest event of the item counts as that time. */
double item_tables_popularity(const struct item_tables *tables, int32_t index, int64_t now_ms,
                              int64_t tau_ms); /* tau: ITEM_TAU_1H_MS, _24H_MS or _7D_MS */
/* C[from, to] at now; 0 when it is none of from's neighbours. */
double item_tables_covis(const struct item_tables *tables, int32_t from, int32_t to,
                         int64_t now_ms);

/* One user at one time, for raw counts and recall. */
struct item_query {
    int64_t now_ms;
    const struct user_entry *history; /* oldest first; entries after now_ms are ignored */
    int history_count;
};
struct item_scratch; /* of one thread; sized for a table, grows with it */
struct item_scratch *item_scratch_create(void);
void item_scratch_destroy(struct item_scratch *scratch);

/* raw (count, RAW_COLUMNS) of the given items. An unknown one (ITEM_NONE, or an index of another
 * table) has zero counts, age -1. A now after the newest event is that event's time for all that is
 * known of items: tables that nobody refreshes must not look like a world that stands still (a
 * frozen model on MovieTweetings, HR@20 of the next 5,000 events: .242, so .263; popularity .255).
 * Errors: ERR_NOMEM */
MUST_CHECK enum status item_tables_raw(const struct item_tables *tables,
                                       struct item_scratch *scratch, const struct item_query *query,
                                       const int32_t *indices, int count, int64_t *raw,
                                       struct error *err);

/* Recall: fills at most k indices, best first, none of them gone; returns how many.
 * popular: by decayed popularity (7 d), which is one order at every time; among the first 4,096.
 * related: by co-visitation with the query's last COVIS_REACH entries over both roots of
 * popularity; 0 when memory is out. Equal ones by index. */
int item_tables_popular(const struct item_tables *tables, struct item_scratch *scratch,
                        const struct item_query *query, int k, int32_t *indices);
int item_tables_related(const struct item_tables *tables, struct item_scratch *scratch,
                        const struct item_query *query, int k, int32_t *indices);

/* ---- files (layout in schemas/item_file.h) ---- */

/* Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum status item_tables_save(const struct item_tables *tables, const char *path,
                                        struct error *err);
/* Errors: ERR_NOT_FOUND, ERR_IO, ERR_MALFORMED, ERR_VERSION, ERR_CORRUPT, ERR_LIMIT, ERR_NOMEM */
MUST_CHECK enum status item_tables_load(struct item_tables **tables, const char *path,
                                        struct error *err);
/* From here on changes are remembered, for the delta against what was just saved. Tables that were
 * loaded have no mark. */
void item_tables_mark_saved(struct item_tables *tables);
/* Deltas are against something older from here on. */
void item_tables_forget_mark(struct item_tables *tables);
/* All items changed since the mark, without one all there are; whole rows. sequence counts up by
 * one a delta.
 * Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum status item_tables_save_delta(const struct item_tables *tables, uint64_t sequence,
                                              const char *base_version, const char *path,
                                              struct error *err);
/* The number of the delta at path, whatever it is for. Errors: as load */
MUST_CHECK enum status item_tables_delta_sequence(const char *path, uint64_t *sequence,
                                                  struct error *err);
/* Errors: as load; ERR_CONFLICT when it is for another base version or other tables. *sequence: its
 * number. After an error the tables are half of each: good for item_tables_destroy() only. */
MUST_CHECK enum status item_tables_apply_delta(struct item_tables *tables, const char *path,
                                               const char *base_version, uint64_t *sequence,
                                               struct error *err);

#endif
