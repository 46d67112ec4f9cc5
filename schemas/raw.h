/*
 * schemas/raw.h - the raw integer counts of a shown row, from which the head's scalars are derived.
 *
 * They travel in `trace` (answer -> impression -> example), so that serving and training derive
 * scalars from the very same integers (features/scalars.h). What is no integer by nature is
 * fixed-point: decayed counts and co-visitation in 1/1024.
 * Append only; a new column raises RAW_FORMAT.
 */
#ifndef SCHEMAS_RAW_H
#define SCHEMAS_RAW_H

#include <stdint.h>

#define RAW_FORMAT 2
#define RAW_FIXED  1024      /* one unit of a fixed-point column */
#define RAW_FINE   (1 << 20) /* one unit where values are small */

/* clang-format off */
#define RAW_LIST(X)                                                              \
    X(CLICKS,     "clicks",      "label actions the item ever had")              \
    X(SHOWN,      "shown",       "times the item was in a shown list")           \
    X(POP_1H,     "pop_1h",      "actions decayed with time constant 1 h, 1/1024")  \
    X(POP_24H,    "pop_24h",     "the same with 24 h")                           \
    X(POP_7D,     "pop_7d",      "the same with 7 d")                            \
    X(COVIS,      "covis",       "co-visitation with the last 10 items, MODEL.md 3, 1/1024 before the root") \
    X(AGE_S,      "age_s",       "seconds since the item was first seen, -1 unknown") \
    X(REPEATS,    "repeats",     "times the item is in the user's sequence")     \
    X(HISTORY,    "history",     "entries in the user's sequence")               \
    X(IDLE_S,     "idle_s",      "seconds since the user's last event, -1 none") \
    X(COVIS_COSINE, "covis_cosine", "as covis, each of the 10 over the root of 1 + its clicks, 1/2^20") \
    X(COVIS_BACK, "covis_back",  "co-visitation of the item with the last 50 items, which it led to, each over the root of 1 + its clicks, 1/2^20") \
    X(COVIS_LAST, "covis_last",  "co-visitation with the user's newest item, both directions, 1/2^20 before the root")

enum raw_column {
#define X(id, name, help) RAW_##id,
    RAW_LIST(X)
#undef X
    RAW_COLUMNS
};
/* clang-format on */

#endif
