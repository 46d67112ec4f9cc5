/* tests/support/avro_bytes.c - see avro_bytes.h. */
#include "tests/support/avro_bytes.h"

#include "tests/test.h"

void avro_put_raw(struct avro_bytes *a, const void *from, size_t bytes)
{
    CHECK(a->bytes + bytes <= sizeof a->at);
    if (bytes > 0)
        memcpy(a->at + a->bytes, from, bytes);
    a->bytes += bytes;
}

void avro_put_byte(struct avro_bytes *a, int byte)
{
    avro_put_raw(a, &(char){(char)byte}, 1);
}

void avro_put_long(struct avro_bytes *a, int64_t number)
{
    uint64_t bits = ((uint64_t)number << 1) ^ (uint64_t)(number < 0 ? -1 : 0);

    for (; bits >= 0x80; bits >>= 7)
        avro_put_byte(a, (int)(bits & 0x7f) | 0x80);
    avro_put_byte(a, (int)bits);
}

void avro_put_text(struct avro_bytes *a, const char *text)
{
    avro_put_long(a, (int64_t)strlen(text));
    avro_put_raw(a, text, strlen(text));
}

void avro_put_double(struct avro_bytes *a, double real)
{
    avro_put_raw(a, &real, sizeof real); /* of a little-endian machine */
}

void avro_put_float(struct avro_bytes *a, float real)
{
    avro_put_raw(a, &real, sizeof real);
}

void avro_put_frame(struct avro_bytes *a, uint32_t id)
{
    avro_put_byte(a, 0);
    for (int shift = 24; shift >= 0; shift -= 8)
        avro_put_byte(a, (int)(id >> shift & 0xff));
}

struct text avro_bytes_text(const struct avro_bytes *a)
{
    return (struct text){a->at, a->bytes};
}
