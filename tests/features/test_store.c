/*
 * Tests features/store: the text of m, stamps, and the identities of records and rows. Ugly texts
 * first: whatever stands in a hash that a person edited must be refused, never misread.
 */
#include "features/store.h"

#include "tests/test.h"

#include <string.h>

static const struct store_state sample = {
    .next = 1234567,
    .watermark_ms = 1700000000123,
    .last_offset = 1234560,
    .last_hash = UINT64_C(0x0123456789abcdef),
    .counts = {1, 22, 333, 4444, 55555, 666666},
};

static const char *const sample_text =
    "1234567 1700000000123 1234560 0123456789abcdef 1 22 333 4444 55555 666666";

static bool parses(const char *text)
{
    struct store_state state;
    bool good = store_state_parse(&state, text_of(text));
    static const struct store_state zero;

    CHECK(good || memcmp(&state, &zero, sizeof zero) == 0);
    return good;
}

TEST(store_state_is_refused_when_it_is_not_exactly_one)
{
    CHECK(!parses(""));
    CHECK(!parses(" "));
    CHECK(!parses("1 2 - - 1 2 3 4 5"));
    CHECK(!parses("1 2 - - 1 2 3 4 5 6 7"));
    CHECK(!parses("1 2 - - 1 2 3 4 5 6 "));
    CHECK(!parses(" 1 2 - - 1 2 3 4 5 6"));
    CHECK(!parses("1  2 - - 1 2 3 4 5 6"));
    CHECK(!parses("-1 2 - - 1 2 3 4 5 6"));
    CHECK(!parses("1 2 - - 1 2 3 4 5 -6"));
    CHECK(!parses("1 2 0 - 1 2 3 4 5 6"));
    CHECK(!parses("1 2 - 0000000000000000 1 2 3 4 5 6"));
    CHECK(!parses("1 2 0 000000000000000g 1 2 3 4 5 6"));
    CHECK(!parses("1 2 0 00000000000000000 1 2 3 4 5 6"));
    CHECK(!parses("1 2 1 0000000000000000 1 2 3 4 5 6")); /* last at next */
    CHECK(!parses("9223372036854775808 2 - - 1 2 3 4 5 6"));
    CHECK(!parses("99999999999999999999 2 - - 1 2 3 4 5 6"));
    CHECK(!parses("0x1 2 - - 1 2 3 4 5 6"));
    CHECK(!parses("1 -- - - 1 2 3 4 5 6"));
    CHECK(parses("1 2 - - 1 2 3 4 5 6"));
    CHECK(parses("9223372036854775807 -5 - - 0 0 0 0 0 0"));
    CHECK(parses("0 - - - 0 0 0 0 0 0"));
}

TEST(store_state_is_refused_at_every_truncation)
{
    struct store_state state;

    for (size_t cut = 0; cut + 6 < strlen(sample_text); cut++) /* the last number may be shorter */
        CHECK(!store_state_parse(&state, (struct text){sample_text, cut}));
}

TEST(store_state_comes_back_as_it_was)
{
    struct store_state extremes = {.next = INT64_MAX,
                                   .watermark_ms = INT64_MIN + 1,
                                   .last_offset = INT64_MAX - 1,
                                   .last_hash = UINT64_MAX};
    struct store_state none = {.watermark_ms = STORE_NO_WATERMARK, .last_offset = STORE_NO_OFFSET};
    struct store_state state;
    char text[STORE_STATE_TEXT_MAX];
    size_t bytes = store_state_format(text, &sample);

    CHECK_INT((int64_t)strlen(sample_text), (int64_t)bytes);
    CHECK(memcmp(text, sample_text, bytes) == 0);
    CHECK(store_state_parse(&state, (struct text){text, bytes}));
    CHECK(memcmp(&state, &sample, sizeof state) == 0);

    for (int i = 0; i < OUTCOME_COUNT; i++)
        extremes.counts[i] = INT64_MAX;
    bytes = store_state_format(text, &extremes);
    CHECK(bytes < STORE_STATE_TEXT_MAX && store_state_parse(&state, (struct text){text, bytes}));
    CHECK(memcmp(&state, &extremes, sizeof state) == 0);

    bytes = store_state_format(text, &none);
    CHECK(bytes == 19 && memcmp(text, "0 - - - 0 0 0 0 0 0", bytes) == 0);
    CHECK(store_state_parse(&state, (struct text){text, bytes}));
    CHECK(memcmp(&state, &none, sizeof state) == 0);
}

TEST(store_stamp_comes_back_and_anything_else_is_none)
{
    char text[16];

    store_stamp_format(text, UINT64_C(0xfedcba9876543210));
    CHECK(memcmp(text, "fedcba9876543210", 16) == 0);
    CHECK(store_stamp_parse((struct text){text, 16}) == UINT64_C(0xfedcba9876543210));
    CHECK(store_stamp_parse((struct text){text, 15}) == 0);
    CHECK(store_stamp_parse(text_of("FEDCBA9876543210")) == 0);
    CHECK(store_stamp_parse((struct text){0}) == 0);
}

TEST(store_record_hash_tells_every_part_and_absent_from_empty)
{
    struct text none = {0}, empty = text_of(""), a = text_of("a"), b = text_of("b");
    uint64_t hashes[] = {
        store_record_hash(a, b, 1),     store_record_hash(b, a, 1),
        store_record_hash(a, b, 2),     store_record_hash(none, b, 1),
        store_record_hash(empty, b, 1), store_record_hash(a, none, 1),
        store_record_hash(a, empty, 1), store_record_hash(none, none, 1),
    };

    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++)
        for (size_t k = 0; k < i; k++)
            CHECK(hashes[i] != hashes[k]);
    CHECK(store_record_hash(a, b, 1) == hashes[0]);
}

TEST(store_ids_are_ordered_by_offset_then_row_and_name_their_bytes)
{
    const uint8_t one[] = {1}, two[] = {2};
    struct store_id first = store_id_of(6, 0, one, 1), same = store_id_of(6, 0, one, 1);
    struct store_id other = store_id_of(6, 0, two, 1), row = store_id_of(6, 1, one, 1);
    struct store_id next = store_id_of(7, 0, one, 1);

    CHECK_INT(7, (int64_t)first.high); /* never 0-0, which Redis refuses */
    CHECK_INT(0, store_id_compare(first, same));
    CHECK(store_id_compare(first, other) != 0);
    CHECK(store_id_compare(first, row) < 0 && store_id_compare(other, row) < 0);
    CHECK(store_id_compare(row, next) < 0 && store_id_compare(next, row) > 0);
    CHECK_INT(1, (int64_t)(row.low >> 48));
}
