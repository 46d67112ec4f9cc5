/* Tests ops/hash against published values, then what callers lean on. */
#include "ops/hash.h"

#include "ops/file.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char sha_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char sha_empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(hash64_of_nothing_is_the_published_value)
{
    CHECK(hash64("", 0, 0) == 0x2d06800538d394c2u);
    CHECK(hash64(NULL, 0, 0) == 0x2d06800538d394c2u);
    CHECK(hash64_text((struct text){0}, 0) == 0x2d06800538d394c2u);
}

TEST(hash64_depends_on_every_byte_the_length_and_the_seed)
{
    unsigned char bytes[300];

    memset(bytes, 7, sizeof bytes);
    for (size_t count = 1; count <= sizeof bytes; count++) {
        uint64_t before = hash64(bytes, count, 1);

        CHECK(before != hash64(bytes, count - 1, 1));
        CHECK(before != hash64(bytes, count, 2));
        bytes[count - 1] ^= 1;
        CHECK(before != hash64(bytes, count, 1));
        bytes[count - 1] ^= 1;
        CHECK(before == hash64(bytes, count, 1));
    }
}

TEST(hash128_depends_on_every_byte_the_length_and_the_seed)
{
    unsigned char bytes[300];
    struct hash128 nothing = hash128(NULL, 0, 0);

    CHECK(nothing.low == 0x6001c324468d497fu && nothing.high == 0x99aa06d3014798d8u);
    memset(bytes, 7, sizeof bytes);
    for (size_t count = 1; count <= sizeof bytes; count++) {
        struct hash128 before = hash128(bytes, count, 1), other = hash128(bytes, count - 1, 1);

        CHECK(before.low != other.low && before.high != other.high);
        other = hash128(bytes, count, 2);
        CHECK(before.low != other.low && before.high != other.high);
        bytes[count - 1] ^= 1;
        other = hash128(bytes, count, 1);
        CHECK(before.low != other.low && before.high != other.high);
        bytes[count - 1] ^= 1;
    }
}

TEST(hash64_mix_is_not_symmetric_and_spreads_single_bits)
{
    CHECK(hash64_mix(1, 2) != hash64_mix(2, 1));
    CHECK(hash64_mix(0, 0) != 0);
    for (int bit = 0; bit < 64; bit++) {
        int changed = __builtin_popcountll(hash64_mix(1ull << bit, 5) ^ hash64_mix(0, 5));

        CHECK(changed >= 12 && changed <= 52);
        changed = __builtin_popcountll(hash64_mix(5, 1ull << bit) ^ hash64_mix(5, 0));
        CHECK(changed >= 12 && changed <= 52);
    }
}

TEST(hash_hex_writes_both_digits_of_each_byte)
{
    const unsigned char bytes[] = {0x00, 0x0f, 0xf0, 0xff, 0xa5};
    char text[11];

    hash_hex(text, bytes, sizeof bytes);
    CHECK_TEXT("000ff0ffa5", text);
    hash_hex(text, bytes, 0);
    CHECK_TEXT("", text);
}

TEST(hash_random_bytes_differ)
{
    unsigned char a[16], b[16];
    struct error err;

    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, hash_start(&err));
    hash_random_bytes(a, sizeof a);
    hash_random_bytes(b, sizeof b);
    CHECK(memcmp(a, b, sizeof a) != 0);
}

TEST(sha256_is_the_same_however_the_bytes_are_split)
{
    struct sha256 state;
    char hex[SHA256_HEX_BYTES];

    sha256_begin(&state);
    sha256_end(&state, hex);
    CHECK_TEXT(sha_empty, hex);
    for (size_t cut = 0; cut <= 3; cut++) {
        sha256_begin(&state);
        sha256_add(&state, "abc", cut);
        sha256_add(&state, &"abc"[cut], 3 - cut);
        sha256_add(&state, NULL, 0);
        sha256_end(&state, hex);
        CHECK_TEXT(sha_abc, hex);
    }
}

TEST(sha256_file_digests_files_and_refuses_the_rest)
{
    char path[160], hex[SHA256_HEX_BYTES];
    struct error err;

    (void)snprintf(path, sizeof path, "%s/abc", test_folder());
    CHECK_STATUS(ERR_NOT_FOUND, sha256_file(path, hex, &err));
    CHECK_STATUS(OK, file_replace(path, "abc", 3, &err));
    CHECK_STATUS(OK, sha256_file(path, hex, &err));
    CHECK_TEXT(sha_abc, hex);
    CHECK_STATUS(ERR_MALFORMED, sha256_file(test_folder(), hex, &err));
    (void)snprintf(path, sizeof path, "%s/fifo", test_folder());
    CHECK_INT(0, mkfifo(path, 0600));
    CHECK_STATUS(ERR_MALFORMED, sha256_file(path, hex, &err));
}
