/*
 * ops/json_writer.h - writes JSON into a buffer of the caller; never allocates.
 *
 * Commas, quotes and escapes are its business. After overflow nothing more is written
 * and json_writer_ok() is false; a number that is not finite is written as null.
 * Thread: one per struct.
 */
#ifndef OPS_JSON_WRITER_H
#define OPS_JSON_WRITER_H

#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_WRITER_DEPTH_MAX 32

struct json_writer {
    char *at;
    size_t bytes; /* capacity */
    size_t used;
    int depth;
    bool overflow;
    bool after_key;
    bool first[JSON_WRITER_DEPTH_MAX];
};

void json_writer_init(struct json_writer *w, char *into, size_t bytes);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_put_text(struct json_writer *w, struct text value); /* invalid UTF-8 becomes U+FFFD */
void json_put_int(struct json_writer *w, int64_t value);
void json_put_real(struct json_writer *w,
                   double value); /* shortest that reads back, %.17g at worst */
void json_put_float(struct json_writer *w, float value); /* shortest that reads back as float */
void json_put_bool(struct json_writer *w, bool value);
void json_put_null(struct json_writer *w);
void json_put_raw(struct json_writer *w, struct text json); /* a value that is JSON already */
/* Key and value in one. */
void json_text(struct json_writer *w, const char *key, struct text value);
void json_int(struct json_writer *w, const char *key, int64_t value);
void json_real(struct json_writer *w, const char *key, double value);
void json_bool(struct json_writer *w, const char *key, bool value);
bool json_writer_ok(const struct json_writer *w); /* nothing cut, everything closed */
struct text json_writer_text(const struct json_writer *w);

#endif
