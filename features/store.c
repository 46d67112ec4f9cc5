/* features/store.c - the texts of m and the ids of outbox rows. See store.h. */
#include "features/store.h"

#include "ops/hash.h"

#include <string.h>

#define STATE_FIELDS (4 + OUTCOME_COUNT)

/* ---- numbers, by hand: m is written for every partition in every commit ---- */

static char *put_decimal(char *at, int64_t value)
{
    char digits[20];
    int count = 0;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        digits[count++] = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (value < 0)
        *at++ = '-';
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

static char *put_hex(char *at, uint64_t value)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

static bool take_decimal(struct text text, int64_t *value)
{
    bool negative = text.bytes > 0 && text.at[0] == '-';
    uint64_t sum = 0;

    if (text.bytes <= (size_t)negative || text.bytes > 20)
        return false;
    for (size_t i = (size_t)negative; i < text.bytes; i++) {
        unsigned digit = (unsigned char)text.at[i] - (unsigned)'0';
        if (digit > 9 || sum > (UINT64_MAX - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    if (sum > (uint64_t)INT64_MAX)
        return false;
    *value = negative ? -(int64_t)sum : (int64_t)sum;
    return true;
}

static bool take_hex(struct text text, uint64_t *value)
{
    uint64_t sum = 0;

    if (text.bytes != 16)
        return false;
    for (size_t i = 0; i < 16; i++) {
        char c = text.at[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        sum = sum << 4 | digit;
    }
    *value = sum;
    return true;
}

/* ---- state ---- */

size_t store_state_format(char into[STORE_STATE_TEXT_MAX], const struct store_state *state)
{
    char *at = put_decimal(into, state->next);

    *at++ = ' ';
    if (state->watermark_ms == STORE_NO_WATERMARK)
        *at++ = '-';
    else
        at = put_decimal(at, state->watermark_ms);
    *at++ = ' ';
    if (state->last_offset == STORE_NO_OFFSET) {
        *at++ = '-';
        *at++ = ' ';
        *at++ = '-';
    } else {
        at = put_decimal(at, state->last_offset);
        *at++ = ' ';
        at = put_hex(at, state->last_hash);
    }
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        *at++ = ' ';
        at = put_decimal(at, state->counts[i]);
    }
    return (size_t)(at - into);
}

/* Splits at single blanks; false unless there are exactly STATE_FIELDS fields. */
static bool split(struct text text, struct text fields[STATE_FIELDS])
{
    int count = 0;
    size_t from = 0;

    if (text.bytes > STORE_STATE_TEXT_MAX)
        return false;
    for (size_t i = 0; i <= text.bytes; i++) {
        if (i < text.bytes && text.at[i] != ' ')
            continue;
        if (count == STATE_FIELDS)
            return false;
        fields[count++] = (struct text){text.at + from, i - from};
        from = i + 1;
    }
    return count == STATE_FIELDS;
}

static bool is_dash(struct text text)
{
    return text.bytes == 1 && text.at[0] == '-';
}

bool store_state_parse(struct store_state *state, struct text text)
{
    struct text fields[STATE_FIELDS];
    struct store_state parsed = {.watermark_ms = STORE_NO_WATERMARK,
                                 .last_offset = STORE_NO_OFFSET};

    *state = (struct store_state){0};
    if (!split(text, fields) || !take_decimal(fields[0], &parsed.next) || parsed.next < 0)
        return false;
    if (!is_dash(fields[1]) && !take_decimal(fields[1], &parsed.watermark_ms))
        return false;
    if (is_dash(fields[2]) != is_dash(fields[3]))
        return false;
    if (!is_dash(fields[2]) &&
        (!take_decimal(fields[2], &parsed.last_offset) || parsed.last_offset < 0 ||
         parsed.last_offset >= parsed.next || !take_hex(fields[3], &parsed.last_hash)))
        return false;
    for (int i = 0; i < OUTCOME_COUNT; i++)
        if (!take_decimal(fields[4 + i], &parsed.counts[i]) || parsed.counts[i] < 0)
            return false;
    *state = parsed;
    return true;
}

void store_stamp_format(char into[16], uint64_t stamp)
{
    (void)put_hex(into, stamp);
}

uint64_t store_stamp_parse(struct text text)
{
    uint64_t stamp;

    return take_hex(text, &stamp) ? stamp : 0;
}

/* ---- identities ---- */

uint64_t store_record_hash(struct text key, struct text value, int64_t timestamp_ms)
{
    uint64_t hash = hash64(&timestamp_ms, sizeof timestamp_ms, key.at == NULL);

    hash = hash64_mix(hash, key.at == NULL ? 0 : hash64_text(key, 1));
    return hash64_mix(hash, value.at == NULL ? 0 : hash64_text(value, 2));
}

int store_id_compare(struct store_id a, struct store_id b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low < b.low ? -1 : a.low > b.low;
}

struct store_id store_id_of(int64_t offset, int n, const uint8_t *bytes, size_t bytes_count)
{
    uint64_t hash = hash64(bytes, bytes_count, 0);

    return (struct store_id){(uint64_t)offset + 1,
                             (uint64_t)n << 48 | (hash & ((UINT64_C(1) << 48) - 1))};
}
