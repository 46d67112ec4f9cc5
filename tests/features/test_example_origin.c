/* Tests features/example_origin: read back what was written, refuse what was not. */
#include "features/example_origin.h"

#include "tests/test.h"

#include <string.h>

static const struct example_origin origins[] = {
    {"0123456789abcdef0123456789abcdef", 0, 0, 0, {1, 0}},
    {"ffffffffffffffffffffffffffffffff", 0xfffff, 0xfff, 4095, {UINT64_MAX, UINT64_MAX}},
    {"0123456789abcdef0123456789abcdef", 7, 1, EXAMPLE_ORIGIN_MARK, {0, 0}},
};

TEST(example_origin_reads_back)
{
    char text[EXAMPLE_ORIGIN_BYTES_MAX];
    struct example_origin got;

    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        size_t bytes = example_origin_format(&origins[i], text);

        CHECK(example_origin_parse(&got, (struct text){text, bytes}));
        CHECK_TEXT(origins[i].dataset, got.dataset);
        CHECK_INT(origins[i].partition, got.partition);
        CHECK_INT(origins[i].log_number, got.log_number);
        CHECK_INT(origins[i].shard, got.shard);
        CHECK(origins[i].id.high == got.id.high && origins[i].id.low == got.id.low);
    }
}

TEST(example_origin_refuses_every_truncation_and_strange_byte)
{
    char text[EXAMPLE_ORIGIN_BYTES_MAX], bad[EXAMPLE_ORIGIN_BYTES_MAX];
    struct example_origin got;
    size_t bytes = example_origin_format(&origins[0], text);

    for (size_t cut = 0; cut < bytes; cut++)
        CHECK(!example_origin_parse(&got, (struct text){text, cut}));
    for (size_t at = 0; at < bytes; at++) {
        memcpy(bad, text, bytes);
        bad[at] = 'x';
        CHECK(!example_origin_parse(&got, (struct text){bad, bytes}));
        bad[at] = '\0';
        CHECK(!example_origin_parse(&got, (struct text){bad, bytes}));
    }
    CHECK(!example_origin_parse(&got, text_of("0123456789abcdef0123456789abcdef 0 0 -2 1-0")));
    CHECK(!example_origin_parse(&got, text_of("0123456789abcdef0123456789abcdef 0 4096 0 1-0")));
    CHECK(!example_origin_parse(
        &got, text_of("0123456789abcdef0123456789abcdef 0 0 0 99999999999999999999-0")));
}
