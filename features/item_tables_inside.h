/* features/item_tables_inside.h - what item_tables*.c share; for no one else. */
#ifndef FEATURES_ITEM_TABLES_INSIDE_H
#define FEATURES_ITEM_TABLES_INSIDE_H

#include "features/item_order.h"
#include "features/item_rows.h"
#include "features/item_tables.h"

struct item_tables {
    struct item_tables_options options; /* filled: no zeros */
    struct item_rows rows;
    struct item_order order;
    int64_t newest_ms;
    int32_t rows_given; /* model rows, row 0 included */
    int32_t rows_capacity;
    int32_t rows_free; /* rows 1 .. rows_given - 1 that belong to nobody */
    uint64_t gives;
    int32_t *at_row; /* (rows_given) index of the item; at_row[0] is ITEM_NONE */
    /* Of tables with a delta over them: (weights_rows) the item whose weights the base has there,
     * where its row was taken from it since; else ITEM_NONE. NULL: none was. */
    int32_t *weights_of;
    int32_t weights_rows;
    uint64_t *changed; /* a bit an item, set since the mark; NULL: no mark, all count */
    int32_t changed_words;
    int offsets_count;
    struct item_file_offset *offsets; /* (ITEM_FILE_OFFSETS_MAX), or NULL */
};

/* An empty table; options may hold zeros. NULL: out of memory. */
struct item_tables *item_tables_new(const struct item_tables_options *options);

/* Notes that a model row belongs to an item. False: out of memory. */
bool item_tables_give_row(struct item_tables *tables, int32_t row, int32_t index);

/* Finds which rows belong to nobody, after rows were given by number. */
void item_tables_count_free(struct item_tables *tables);

/* e^-(age/tau), at most 1: a sum is not rolled back to a time before its own. */
double item_tables_decay(int64_t from_ms, int64_t now_ms, int64_t tau_ms);

extern const int64_t item_tables_taus_ms[ITEM_DECAYS];

#endif
