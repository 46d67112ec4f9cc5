/*
 * features/scalars.c - the table of scalar features, and what each makes of raw counts.
 *
 * Raw counts come over the network in `trace`, so every int64 is possible: negative ones count as
 * 0 (but for -1 where it means unknown), and nothing overflows a double on its way to a logarithm.
 */
#include "features/scalars.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
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

/* Each function returns what its value is the logarithm of, or the value: which of the two, the
 * table says. All are above 0, and neither they nor their inverses leave the range of a float. */
static double pop_1h(const int64_t *raw)
{
    return 1 + fixed_of(raw[RAW_POP_1H]);
}

static double pop_24h(const int64_t *raw)
{
    return 1 + fixed_of(raw[RAW_POP_24H]);
}

static double pop_7d(const int64_t *raw)
{
    return 1 + fixed_of(raw[RAW_POP_7D]);
}

/* In a steady stream a decayed sum is rate · tau, so sums over their tau compare as rates. */
static double trend_day(const int64_t *raw)
{
    return pop_24h(raw) / (1 + fixed_of(raw[RAW_POP_7D]) / 7);
}

static double trend_hour(const int64_t *raw)
{
    return (1 + fixed_of(raw[RAW_POP_1H]) * 24) / pop_24h(raw);
}

/* Clicks also come from elsewhere than shown lists: never more than all of the showings. */
static double ctr(const int64_t *raw)
{
    double clicks = count_of(raw[RAW_CLICKS]);
    double shown = count_of(raw[RAW_SHOWN]);
    double of = shown > clicks ? shown : clicks;

    return (clicks + CTR_CLICKS) / (of + CTR_SHOWN);
}

static double over_root(const int64_t *raw, double sum)
{
    return 1 + COVIS_FINE * sum / sqrt(1.0 + count_of(raw[RAW_CLICKS]));
}

static double covis(const int64_t *raw)
{
    return over_root(raw, fixed_of(raw[RAW_COVIS]));
}

static double covis_cosine(const int64_t *raw)
{
    return over_root(raw, count_of(raw[RAW_COVIS_COSINE]) / RAW_FINE);
}

static double covis_back(const int64_t *raw)
{
    return over_root(raw, count_of(raw[RAW_COVIS_BACK]) / RAW_FINE);
}

static double covis_last(const int64_t *raw)
{
    return over_root(raw, count_of(raw[RAW_COVIS_LAST]) / RAW_FINE);
}

static double clicks(const int64_t *raw)
{
    return 1 + count_of(raw[RAW_CLICKS]);
}

static double shown(const int64_t *raw)
{
    return 1 + count_of(raw[RAW_SHOWN]);
}

static double age(const int64_t *raw)
{
    return 1 + count_of(raw[RAW_AGE_S]) / SECONDS_HOUR;
}

static double known(const int64_t *raw)
{
    return raw[RAW_AGE_S] >= 0 ? 1 : 0;
}

static double repeats(const int64_t *raw)
{
    return 1 + count_of(raw[RAW_REPEATS]);
}

static double history(const int64_t *raw)
{
    return 1 + count_of(raw[RAW_HISTORY]);
}

static double idle(const int64_t *raw)
{
    double seconds = raw[RAW_IDLE_S] < 0 ? IDLE_NONE_S : (double)raw[RAW_IDLE_S];

    return 1 + seconds / SECONDS_MINUTE;
}

/* One row a scalar: function, scope, help, whether its logarithm is taken, what is added to that,
 * what the sum is divided by, the prior. In one list with the functions, so that all of a row are
 * one piece of code that shares its roots and conversions: serving computes 200 rows a request. */
/* clang-format off */
#define SCALARS(X)                                                                                 \
    X(pop_1h,     ITEM, "actions on the item, decayed with 1 h: logarithm / 2", true, 0, 2, 0)     \
    X(pop_24h,    ITEM, "the same with 24 h: logarithm / 3", true, 0, 3, .15f)                     \
    X(pop_7d,     ITEM, "the same with 7 d: logarithm / 3", true, 0, 3, .2f)                       \
    X(trend_day,  ITEM, "its rate of the last day against that of the last week, logarithms", true, 0, 1, 0) \
    X(trend_hour, ITEM, "its rate of the last hour against that of the last day, half of it", true, 0, 2, 0) \
    X(ctr,        ITEM, "(clicks + 1) / (shown + 20), (ln x + 3) / 2; clicks above shown count as shown", true, 3, 2, 0) \
    X(covis,      PAIR, "co-visitation with the last 10 items over the root of 1 + clicks: ln(1 + 1000 x) / 3", true, 0, 3, 0) \
    X(clicks,     ITEM, "actions on the item ever: logarithm / 4", true, 0, 4, 0)                  \
    X(shown,      ITEM, "times it was in a shown list: logarithm / 4", true, 0, 4, 0)              \
    X(age,        ITEM, "hours since it was first seen: logarithm / 4; 0 when unknown", true, 0, 4, 0) \
    X(known,      ITEM, "1 when it was ever seen", false, 0, 1, 0)                                 \
    X(repeats,    PAIR, "times it is in the user's sequence: logarithm", true, 0, 1, 0)            \
    X(history,    USER, "entries in the user's sequence: logarithm / 3", true, 0, 3, 0)            \
    X(idle,       USER, "minutes since the user's last event: logarithm / 5; a month when there is none", true, 0, 5, 0) \
    X(covis_cosine, PAIR, "as covis, over the root of 1 + clicks of both items: ln(1 + 1000 x) / 3", true, 0, 3, .5f) \
    X(covis_back, PAIR, "the same from the item to the last 50 items", true, 0, 3, .5f)            \
    X(covis_last, PAIR, "co-visitation with the newest item alone, both ways, over the root of 1 + clicks: ln(1 + 1000 x) / 3", true, 0, 3, .2f)

const struct scalar_row scalar_rows[] = {
#define X(of, scope, help, logarithm, plus, over, prior) {#of, SCALAR_##scope, help, prior},
    SCALARS(X)
#undef X
};
/* clang-format on */
enum {
#define X(of, scope, help, logarithm, plus, over, prior) PLACE_##of,
    SCALARS(X)
#undef X
        COUNT
};
const int scalars_count = COUNT;

const char *const scalar_scope_names[] = {"user", "item", "pair", "context"};

#define LANES 4  /* what every x86-64 and every 64-bit ARM has */
#define BLOCK 32 /* rows at a time: all of it stays in the first cache */
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t lanes_bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/**
 * ln of each lane, for normal numbers above 0: x = 2^e m with m in the root of 1/2 .. root of 2.
 * Accuracy: 1e-7 * (1 + |ln x|).
 * Source: polynomial and split of ln 2 of the Cephes library's logf.
 */
static inline lanes logarithms(lanes x)
{
    lanes_bits bits = (lanes_bits)x, e = (bits - 0x3f3504f3) >> 23;
    lanes f = (lanes)(bits - (e << 23)) - 1, exponent = __builtin_convertvector(e, lanes);
    lanes z = f * f, y;

    y = (7.0376836292e-2f * f - 1.1514610310e-1f) * f + 1.1676998740e-1f;
    y = ((y * f - 1.2420140846e-1f) * f + 1.4249322787e-1f) * f - 1.6668057665e-1f;
    y = ((y * f + 2.0000714765e-1f) * f - 2.4999993993e-1f) * f + 3.3333331174e-1f;
    y = y * f * z - 2.12194440e-4f * exponent - 0.5f * z;
    return f + y + 0.693359375f * exponent;
}

static void block_compute(float *out, const int64_t *raw, int rows)
{
    float of[BLOCK * COUNT + LANES];
    int count = rows * COUNT;

    for (int r = 0; r < rows; r++) {
        float *to = of + (ptrdiff_t)r * COUNT;
        const int64_t *from = raw + (ptrdiff_t)r * RAW_COLUMNS;

#define X(name, scope, help, logarithm, plus, over, prior)                                         \
    to[PLACE_##name] = (logarithm) ? (float)name(from) : 1;
        SCALARS(X)
#undef X
    }
    for (int i = 0; i < LANES; i++)
        of[count + i] = 1;
    for (int i = 0; i < count; i += LANES)
        *(lanes *)(of + i) = logarithms(*(const lanes *)(of + i));
    for (int r = 0; r < rows; r++) {
        const float *ln = of + (ptrdiff_t)r * COUNT;
        const int64_t *from = raw + (ptrdiff_t)r * RAW_COLUMNS;

#define X(name, scope, help, logarithm, plus, over, prior)                                         \
    *out++ = (logarithm) ? (ln[PLACE_##name] + (plus)) * (1.0f / (over)) : (float)name(from);
        SCALARS(X)
#undef X
    }
}

void scalars_compute(float *out, const int64_t *raw, int rows)
{
    for (int r = 0; r < rows; r += BLOCK)
        block_compute(out + (ptrdiff_t)r * COUNT, raw + (ptrdiff_t)r * RAW_COLUMNS,
                      rows - r < BLOCK ? rows - r : BLOCK);
}

int scalars_mismatch(const char (*names)[32], int count)
{
    for (int f = 0; f < count && f < scalars_count; f++)
        if (strncmp(names[f], scalar_rows[f].name, sizeof names[f]) != 0)
            return f;
    return count == scalars_count ? -1 : count < scalars_count ? count : scalars_count;
}
