/* Tests ops/json_escape: each escape, pairs of surrogates, and all that must be refused; in place,
 * and never a byte beyond. */
#include "ops/json_private.h"

#include "tests/test.h"

#include <stdlib.h>

/* In a block of exactly that size, so that a byte too many is seen. */
static bool undo(const char *from, char into[64], size_t *bytes)
{
    size_t count = strlen(from);
    char *exact = malloc(count + 1);
    bool good;

    memcpy(exact, from, count);
    good = json_unescape(exact, count, bytes);
    if (good) {
        CHECK(*bytes <= count);
        memcpy(into, exact, *bytes);
        into[*bytes] = 0;
    }
    free(exact);
    return good;
}

static const char *text_from(const char *from)
{
    static char into[64];
    size_t bytes;

    CHECK(undo(from, into, &bytes));
    CHECK(strlen(into) == bytes);
    return into;
}

TEST(json_escape_undoes_every_escape)
{
    CHECK_TEXT("", text_from(""));
    CHECK_TEXT("plain", text_from("plain"));
    CHECK_TEXT("\"\\/\b\f\n\r\t", text_from("\\\"\\\\\\/\\b\\f\\n\\r\\t"));
    CHECK_TEXT("aAz", text_from("a\\u0041z"));
    CHECK_TEXT("\xc3\xa9\xe2\x82\xac", text_from("\\u00e9\\u20AC"));
    CHECK_TEXT("\xf0\x9f\x98\x80", text_from("\\ud83d\\ude00"));
    CHECK_TEXT("\xf4\x8f\xbf\xbf", text_from("\\uDBFF\\uDFFF"));
}

TEST(json_escape_refuses_bad_ones)
{
    static const char *const bad[] = {
        "\\",      "\\x",           "\\u",        "\\u12",          "\\u12g4", "\\u0000",
        "\\ud800", "\\ud800x",      "\\ud800\\n", "\\ud800\\u0041", "\\udc00", "\\ud83d\\ud83d",
        "abc\\",   "\\ud83d\\ude0", "\\U0041"};
    char into[64];
    size_t bytes;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(!undo(bad[i], into, &bytes));
}
