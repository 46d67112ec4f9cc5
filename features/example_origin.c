/* features/example_origin.c - formats and parses origins. */
#include "features/example_origin.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t example_origin_format(const struct example_origin *origin,
                             char into[EXAMPLE_ORIGIN_BYTES_MAX])
{
    int bytes = snprintf(into, EXAMPLE_ORIGIN_BYTES_MAX, "%s %d %u %d %" PRIu64 "-%" PRIu64,
                         origin->dataset, (int)origin->partition, (unsigned)origin->log_number,
                         origin->shard, origin->id.high, origin->id.low);

    assert(bytes > 0 && bytes < EXAMPLE_ORIGIN_BYTES_MAX);
    return (size_t)bytes;
}

/* One number up to the given end; moves *at behind the end. */
static bool number(const char **at, char end, int64_t min, uint64_t max, uint64_t *into)
{
    char *stop;
    bool minus = **at == '-';

    if (!minus && (**at < '0' || **at > '9'))
        return false;
    errno = 0;
    *into = minus ? (uint64_t)strtoll(*at, &stop, 10) : strtoull(*at, &stop, 10);
    if (errno != 0 || stop == *at || *stop != end || (minus && (int64_t)*into < min) ||
        (!minus && *into > max))
        return false;
    *at = stop + (end == '\0' ? 0 : 1);
    return true;
}

bool example_origin_parse(struct example_origin *origin, struct text text)
{
    char copy[EXAMPLE_ORIGIN_BYTES_MAX];
    const char *at = copy;
    uint64_t partition, log_number, shard;

    *origin = (struct example_origin){0};
    if (text.bytes >= sizeof copy || text.bytes < 33 || text.at[32] != ' ' ||
        memchr(text.at, '\0', text.bytes) != NULL)
        return false;
    memcpy(copy, text.at, text.bytes);
    copy[text.bytes] = '\0';
    if (strspn(copy, "0123456789abcdef") != 32)
        return false;
    at += 33;
    if (!number(&at, ' ', 0, 0xfffff, &partition) || !number(&at, ' ', 0, 0xfff, &log_number) ||
        !number(&at, ' ', EXAMPLE_ORIGIN_MARK, STORE_SHARDS_MAX - 1, &shard) ||
        !number(&at, '-', 0, UINT64_MAX, &origin->id.high) ||
        !number(&at, '\0', 0, UINT64_MAX, &origin->id.low)) {
        *origin = (struct example_origin){0};
        return false;
    }
    memcpy(origin->dataset, copy, 32);
    origin->partition = (int32_t)partition;
    origin->log_number = (uint32_t)log_number;
    origin->shard = (int)(int64_t)shard;
    return true;
}
