/* Tests ops/base64: RFC 4648's vectors, every length, and every character that is foreign. */
#include "ops/base64.h"

#include "ops/random.h"
#include "tests/test.h"

#include <stdio.h>

static struct text encoded(const char *from, char into[64])
{
    base64_encode(into, from, strlen(from));
    return (struct text){into, BASE64_CHARS(strlen(from))};
}

TEST(base64_encodes_the_vectors_of_the_rfc)
{
    char into[64];

    CHECK(text_equal(encoded("", into), text_of("")));
    CHECK(text_equal(encoded("f", into), text_of("Zg")));
    CHECK(text_equal(encoded("fo", into), text_of("Zm8")));
    CHECK(text_equal(encoded("foo", into), text_of("Zm9v")));
    CHECK(text_equal(encoded("foob", into), text_of("Zm9vYg")));
    CHECK(text_equal(encoded("foobar", into), text_of("Zm9vYmFy")));
    CHECK(text_equal(encoded("\xfb\xff\xfe", into), text_of("-__-")));
}

TEST(base64_decodes_what_it_encoded_at_every_length)
{
    unsigned char bytes[200], back[200];
    char text[300];
    struct random random;
    size_t count;

    random_seed(&random, test_seed());
    for (size_t length = 0; length < sizeof bytes; length++) {
        for (size_t i = 0; i < length; i++)
            bytes[i] = (unsigned char)random_u64(&random);
        base64_encode(text, bytes, length);
        struct text from = {text, BASE64_CHARS(length)};
        CHECK(base64_decode(back, length, &count, from));
        CHECK(count == length && memcmp(back, bytes, length) == 0);
        CHECK(length == 0 || !base64_decode(back, length - 1, &count, from));
    }
}

TEST(base64_refuses_foreign_characters_odd_lengths_and_loose_bits)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char back[16];
    size_t count;

    for (int c = 0; c < 256; c++) {
        char text[8] = "AAAAAAA";
        bool good = c != 0 && strchr(digits, c) != NULL;

        for (size_t at = 0; at < 5; at++) {
            text[at] = (char)c;
            CHECK(base64_decode(back, sizeof back, &count, (struct text){text, 7}) == good);
            text[at] = 'A';
        }
    }
    CHECK(!base64_decode(back, sizeof back, &count, text_of("A")));
    CHECK(!base64_decode(back, sizeof back, &count, text_of("AAAAA")));
    CHECK(!base64_decode(back, sizeof back, &count, text_of("AB")));
    CHECK(!base64_decode(back, sizeof back, &count, text_of("AAB")));
    CHECK(!base64_decode(back, sizeof back, &count, text_of("AA==")));
    CHECK(base64_decode(back, 0, &count, text_of("")) && count == 0);
}
