/*
 * tests/support/avro_bytes.h - Avro's binary form, written by hand for tests.
 *
 *     struct avro_bytes a = {0};
 *     avro_put_frame(&a, 7); avro_put_text(&a, "u1"); avro_put_long(&a, 1700000000000);
 */
#ifndef TESTS_SUPPORT_AVRO_BYTES_H
#define TESTS_SUPPORT_AVRO_BYTES_H

#include "ops/text.h"

#include <stdint.h>

#define AVRO_BYTES_MAX 4096

struct avro_bytes {
    char at[AVRO_BYTES_MAX];
    size_t bytes;
};

void avro_put_raw(struct avro_bytes *a, const void *from, size_t bytes);
void avro_put_byte(struct avro_bytes *a, int byte);
void avro_put_long(struct avro_bytes *a, int64_t number); /* also int, enum, union, count, length */
void avro_put_text(struct avro_bytes *a, const char *text);
void avro_put_double(struct avro_bytes *a, double real);
void avro_put_float(struct avro_bytes *a, float real);
void avro_put_frame(struct avro_bytes *a, uint32_t id);
struct text avro_bytes_text(const struct avro_bytes *a);

#endif
