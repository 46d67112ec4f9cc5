/*
 * features/scalars.c - the table of scalar features, and what each makes of raw counts.
 *
 * Raw counts come over the network in `trace`, so every int64 is possible: negative ones count as
 * 0 (but for -1 where it means unknown), and nothing overflows a double on its way to a logarithm.
 */
#include "features/scalars.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* Constants of smoothing and scale. They are part of each feature's meaning: changing one needs a
 * new name. */
#define CTR_CLICKS     1.0  /* an item never shown is taken to have 1 click in 20 */
#define CTR_SHOWN      20.0 /* showings */
#define COVIS_FINE     1000.0
#define IDLE_NONE_S    (30.0 * 24 * 3600) /* nobody's last event: like a month ago */
#define SECONDS_MINUTE 60.0
#define SECONDS_HOUR   3600.0

static double count_of(int64_t raw)
{
    return raw > 0 ? (double)raw : 0;
}

static double fixed_of(int64_t raw)
{
    return count_of(raw) / RAW_FIXED;
}

static float log_of(double x)
{
    return logf((float)(1.0 + x));
}

static float pop_1h(const int64_t *raw)
{
    return log_of(fixed_of(raw[RAW_POP_1H])) / 2;
}

static float pop_24h(const int64_t *raw)
{
    return log_of(fixed_of(raw[RAW_POP_24H])) / 3;
}

static float pop_7d(const int64_t *raw)
{
    return log_of(fixed_of(raw[RAW_POP_7D])) / 3;
}

/* In a steady stream a decayed sum is rate · tau, so sums over their tau compare as rates. */
static float trend_day(const int64_t *raw)
{
    return log_of(fixed_of(raw[RAW_POP_24H])) - log_of(fixed_of(raw[RAW_POP_7D]) / 7);
}

static float trend_hour(const int64_t *raw)
{
    return (log_of(fixed_of(raw[RAW_POP_1H]) * 24) - log_of(fixed_of(raw[RAW_POP_24H]))) / 2;
}

/* Clicks also come from elsewhere than shown lists: never more than all of the showings. */
static float ctr(const int64_t *raw)
{
    double clicks = count_of(raw[RAW_CLICKS]);
    double shown = count_of(raw[RAW_SHOWN]);
    double of = shown > clicks ? shown : clicks;

    return (logf((float)((clicks + CTR_CLICKS) / (of + CTR_SHOWN))) + 3) / 2;
}

static float covis(const int64_t *raw)
{
    double fused = fixed_of(raw[RAW_COVIS]) / sqrt(1.0 + count_of(raw[RAW_CLICKS]));

    return log_of(COVIS_FINE * fused) / 3;
}

static float over_root(const int64_t *raw, enum raw_column column)
{
    double fused = count_of(raw[column]) / RAW_FINE / sqrt(1.0 + count_of(raw[RAW_CLICKS]));

    return log_of(COVIS_FINE * fused) / 3;
}

static float covis_cosine(const int64_t *raw)
{
    return over_root(raw, RAW_COVIS_COSINE);
}

static float covis_back(const int64_t *raw)
{
    return over_root(raw, RAW_COVIS_BACK);
}

static float covis_last(const int64_t *raw)
{
    return over_root(raw, RAW_COVIS_LAST);
}

static float clicks(const int64_t *raw)
{
    return log_of(count_of(raw[RAW_CLICKS])) / 4;
}

static float shown(const int64_t *raw)
{
    return log_of(count_of(raw[RAW_SHOWN])) / 4;
}

static float age(const int64_t *raw)
{
    return log_of(count_of(raw[RAW_AGE_S]) / SECONDS_HOUR) / 4;
}

static float known(const int64_t *raw)
{
    return raw[RAW_AGE_S] >= 0 ? 1 : 0;
}

static float repeats(const int64_t *raw)
{
    return log_of(count_of(raw[RAW_REPEATS]));
}

static float history(const int64_t *raw)
{
    return log_of(count_of(raw[RAW_HISTORY])) / 3;
}

static float idle(const int64_t *raw)
{
    double seconds = raw[RAW_IDLE_S] < 0 ? IDLE_NONE_S : (double)raw[RAW_IDLE_S];

    return log_of(seconds / SECONDS_MINUTE) / 5;
}

/* clang-format off */
const struct scalar_row scalar_rows[] = {
    {"pop_1h",     SCALAR_ITEM, "actions on the item, decayed with 1 h: logarithm / 2", pop_1h, 0},
    {"pop_24h",    SCALAR_ITEM, "the same with 24 h: logarithm / 3", pop_24h, .15f},
    {"pop_7d",     SCALAR_ITEM, "the same with 7 d: logarithm / 3", pop_7d, .2f},
    {"trend_day",  SCALAR_ITEM, "its rate of the last day against that of the last week, logarithms", trend_day, 0},
    {"trend_hour", SCALAR_ITEM, "its rate of the last hour against that of the last day, half of it", trend_hour, 0},
    {"ctr",        SCALAR_ITEM, "(clicks + 1) / (shown + 20), (ln x + 3) / 2; clicks above shown count as shown", ctr, 0},
    {"covis",      SCALAR_PAIR, "co-visitation with the last 10 items over the root of 1 + clicks: ln(1 + 1000 x) / 3", covis, 0},
    {"clicks",     SCALAR_ITEM, "actions on the item ever: logarithm / 4", clicks, 0},
    {"shown",      SCALAR_ITEM, "times it was in a shown list: logarithm / 4", shown, 0},
    {"age",        SCALAR_ITEM, "hours since it was first seen: logarithm / 4; 0 when unknown", age, 0},
    {"known",      SCALAR_ITEM, "1 when it was ever seen", known, 0},
    {"repeats",    SCALAR_PAIR, "times it is in the user's sequence: logarithm", repeats, 0},
    {"history",    SCALAR_USER, "entries in the user's sequence: logarithm / 3", history, 0},
    {"idle",       SCALAR_USER, "minutes since the user's last event: logarithm / 5; a month when there is none", idle, 0},
    {"covis_cosine", SCALAR_PAIR, "as covis, over the root of 1 + clicks of both items: ln(1 + 1000 x) / 3", covis_cosine, .5f},
    {"covis_back", SCALAR_PAIR, "the same from the item to the last 50 items", covis_back, .5f},
    {"covis_last", SCALAR_PAIR, "co-visitation with the newest item alone, both ways, over the root of 1 + clicks: ln(1 + 1000 x) / 3", covis_last, .2f},
};
/* clang-format on */
const int scalars_count = sizeof scalar_rows / sizeof scalar_rows[0];

const char *const scalar_scope_names[] = {"user", "item", "pair", "context"};

void scalars_compute(float *out, const int64_t *raw, int rows)
{
    for (int r = 0; r < rows; r++, raw += RAW_COLUMNS)
        for (int f = 0; f < scalars_count; f++)
            *out++ = scalar_rows[f].compute(raw);
}

int scalars_mismatch(const char (*names)[32], int count)
{
    for (int f = 0; f < count && f < scalars_count; f++)
        if (strncmp(names[f], scalar_rows[f].name, sizeof names[f]) != 0)
            return f;
    return count == scalars_count ? -1 : count < scalars_count ? count : scalars_count;
}
