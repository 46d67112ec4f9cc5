/* ops/json_escape.c - the backslashes of a JSON string undone, in place. */
#include "ops/json_private.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits, or -1. */
static int32_t hex_unit(const char *at, const char *end)
{
    int32_t unit = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static char *put_utf8(char *into, uint32_t c)
{
    if (c < 0x80) {
        *into++ = (char)c;
        return into;
    }
    if (c < 0x800) {
        *into++ = (char)(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *into++ = (char)(0xE0 | c >> 12);
        } else {
            *into++ = (char)(0xF0 | c >> 18);
            *into++ = (char)(0x80 | (c >> 12 & 0x3F));
        }
        *into++ = (char)(0x80 | (c >> 6 & 0x3F));
    }
    *into++ = (char)(0x80 | (c & 0x3F));
    return into;
}

/* What follows "\u". Returns the first byte behind it; NULL for a bad or lone surrogate and
 * for a zero, which would end a C string early somewhere down the line. */
static const char *unescape_unit(const char *at, const char *end, char **into)
{
    int32_t unit = hex_unit(at, end);
    uint32_t code = (uint32_t)unit;

    if (unit <= 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
        return NULL;
    at += 4;
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
            return NULL;
        int32_t low = hex_unit(at + 2, end);
        if (low < 0xDC00 || low > 0xDFFF)
            return NULL;
        code = 0x10000 + ((code - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
        at += 6;
    }
    *into = put_utf8(*into, code);
    return at;
}

static char simple_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return '\0';
    }
}

bool json_unescape(char *at, size_t bytes, size_t *unescaped_bytes)
{
    const char *from = at;
    const char *end = at + bytes;
    char *into = at;

    while (from < end) {
        if (*from != '\\') {
            *into++ = *from++;
            continue;
        }
        if (end - from < 2)
            return false;
        if (from[1] == 'u') {
            from = unescape_unit(from + 2, end, &into);
            if (from == NULL)
                return false;
            continue;
        }
        char c = simple_escape(from[1]);
        if (c == '\0')
            return false;
        *into++ = c;
        from += 2;
    }
    *unescaped_bytes = (size_t)(into - at);
    return true;
}
