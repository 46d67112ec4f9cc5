/*
 * features/user_print.h - a user's value for people and for programs.
 *
 * Strings are not in Redis: an item is shown by name where item tables are given that know it, else
 * as '#' and its hash.
 */
#ifndef FEATURES_USER_PRINT_H
#define FEATURES_USER_PRINT_H

#include "features/item_tables.h"
#include "features/rules.h"
#include "ops/json_writer.h"

#include <stdio.h>

/* Room for the JSON of any value: names are at most ITEM_ID_MAX bytes, escaped at most 6-fold. */
#define USER_PRINT_BYTES ((size_t)32 * 1024 * 1024)

/**
 * One JSON object:
 *
 *     {"user":"u1","running":3,"erased_at":0,"written_at":ms,"partition":2,"log":0,
 *      "replayed":false,"entries":[{"time":ms,"item":"i1","action":"click"},...],
 *      "opens":[{"shown_at":ms,"request":"hex","rows":["i1",...],
 *                "labels":[{"time":ms,"item":"i1","action":"click"}]},...]}
 *
 * Entries are oldest first. tables may be NULL. False when it did not fit.
 */
bool user_print_json(struct json_writer *w, struct text user, const struct user_value *value,
                     const struct rules *rules, const struct item_tables *tables);

/* Entries newest first, at most `most`. */
void user_print_text(FILE *file, struct text user, const struct user_value *value,
                     const struct rules *rules, const struct item_tables *tables, int most);

/* "2013-02-28T12:34:56.789Z", or "never" for 0. */
#define USER_PRINT_TIME_BYTES 32
void user_print_time(char into[USER_PRINT_TIME_BYTES], int64_t time_ms);

#endif
