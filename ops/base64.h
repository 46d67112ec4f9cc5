/*
 * ops/base64.h - bytes as text that may stand in a URL or in JSON without escapes.
 *
 * The alphabet of RFC 4648 section 5 (A-Z a-z 0-9 - _), without padding. A text has one meaning
 * and bytes have one text: unused bits of the last character must be zero, nothing is skipped.
 */
#ifndef OPS_BASE64_H
#define OPS_BASE64_H

#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>

/* Characters of count bytes. */
#define BASE64_CHARS(count) (((count)*8 + 5) / 6)

/* Writes exactly BASE64_CHARS(count) characters, no zero behind them. */
void base64_encode(char *into, const void *bytes, size_t count);

/* Fills at most bytes_max and sets *bytes. False: another character, a length that cannot be,
 * unused bits that are not zero, or more bytes than fit. */
bool base64_decode(void *into, size_t bytes_max, size_t *bytes, struct text from);

#endif
