/*
 * ops/text.h - a borrowed run of bytes, usually UTF-8, not ended by a zero.
 *
 * What decoders hand out: it points into the record it was decoded from (or into
 * a decoder's arena) and lives as long as that does.
 */
#ifndef OPS_TEXT_H
#define OPS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    const char *at; /* may be NULL when bytes is 0 */
    size_t bytes;
};

/* For printf: "%.*s", TEXT_ARGS(t). */
#define TEXT_ARGS(t) (int)(t).bytes, ((t).at == NULL ? "" : (t).at)

static inline struct text text_of(const char *zero_ended)
{
    return (struct text){zero_ended, strlen(zero_ended)};
}

static inline bool text_equal(struct text a, struct text b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

/* Of a noun behind a count. */
static inline const char *text_plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

#endif
