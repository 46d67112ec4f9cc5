/*
 * Tests ops/json: what is no JSON is refused, also in fields nobody asked for; what is JSON
 * gives the values a plain reading of the grammar gives.
 *
 * The simpler truth is strict_json() below: a recursive reader of RFC 8259 with our limits.
 */
#include "ops/json.h"

#include "tests/test.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX    (1 << 16)
#define ELEMENTS_MAX 64

/* ---- helpers ---------------------------------------------------------------------------- */

static enum status extract_text(struct json_parser *parser, const char *const *pointers, int count,
                                struct text document, struct json_value *values)
{
    struct json_paths *paths;
    struct error err;

    CHECK_STATUS(OK, json_paths_create(&paths, pointers, count, &err));
    enum status status = json_extract(parser, paths, document, values, &err);
    json_paths_destroy(paths);
    return status;
}

/* The status of both ways in; they must agree. */
static enum status judge(struct json_parser *parser, struct text document)
{
    static const char *const pointers[] = {"/a", "/b/c"};
    const struct json_node *root;
    struct json_value values[2];
    struct error err;

    enum status extracted = extract_text(parser, pointers, 2, document, values);
    enum status parsed = json_parse(parser, document, &root, &err);
    if (document.bytes > 0 && parsed == OK && root->value.type != JSON_OBJECT)
        CHECK_STATUS(ERR_MALFORMED, extracted);
    else
        CHECK_STATUS(parsed, extracted);
    CHECK((parsed == OK) == (root != NULL));
    return parsed;
}

static struct json_value value_of(struct json_parser *parser, const char *pointer, const char *json)
{
    struct json_value value;

    CHECK_STATUS(OK, extract_text(parser, &pointer, 1, text_of(json), &value));
    return value;
}

static bool is_text(struct json_value value, const char *want)
{
    return value.type == JSON_TEXT && text_equal(value.text, text_of(want));
}

/* ---- the simpler truth ------------------------------------------------------------------ */

struct reader {
    const unsigned char *at, *end;
};

static bool strict_value(struct reader *r, int depth);

static void blanks(struct reader *r)
{
    while (r->at < r->end && strchr(" \t\r\n", *r->at) != NULL && *r->at != 0)
        r->at++;
}

static bool take(struct reader *r, const char *word)
{
    size_t bytes = strlen(word);

    if ((size_t)(r->end - r->at) < bytes || memcmp(r->at, word, bytes) != 0)
        return false;
    r->at += bytes;
    return true;
}

static int strict_hex(struct reader *r)
{
    char four[5] = {0};

    if (r->end - r->at < 4)
        return -1;
    memcpy(four, r->at, 4);
    if (strspn(four, "0123456789abcdefABCDEF") != 4)
        return -1;
    r->at += 4;
    return (int)strtol(four, NULL, 16);
}

static bool strict_escape(struct reader *r)
{
    if (r->at == r->end)
        return false;
    if (strchr("\"\\/bfnrt", *r->at) != NULL && *r->at != 0) {
        r->at++;
        return true;
    }
    if (!take(r, "u"))
        return false;
    int unit = strict_hex(r);
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit > 0;
    if (unit > 0xDBFF || !take(r, "\\u"))
        return false;
    unit = strict_hex(r);
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

static bool strict_string(struct reader *r)
{
    if (!take(r, "\""))
        return false;
    while (r->at < r->end) {
        unsigned char c = *r->at++;
        if (c == '"')
            return true;
        if (c < 0x20)
            return false;
        if (c == '\\' && !strict_escape(r))
            return false;
    }
    return false;
}

static size_t digits(struct reader *r)
{
    const unsigned char *from = r->at;

    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return (size_t)(r->at - from);
}

static bool strict_number(struct reader *r)
{
    char copy[512] = {0};
    const unsigned char *from = r->at;

    (void)take(r, "-");
    bool zero = r->at < r->end && *r->at == '0';
    size_t whole = digits(r);
    if (whole == 0 || (zero && whole > 1))
        return false;
    if (take(r, ".") && digits(r) == 0)
        return false;
    if (take(r, "e") || take(r, "E")) {
        if (!take(r, "+"))
            (void)take(r, "-");
        if (digits(r) == 0)
            return false;
    }
    CHECK((size_t)(r->at - from) < sizeof copy);
    memcpy(copy, from, (size_t)(r->at - from));
    return isfinite(strtod(copy, NULL));
}

static bool strict_list(struct reader *r, char close, int depth)
{
    char closing[2] = {close, 0};

    r->at++;
    blanks(r);
    if (take(r, closing))
        return true;
    for (;;) {
        blanks(r);
        if (close == '}') {
            if (!strict_string(r))
                return false;
            blanks(r);
            if (!take(r, ":"))
                return false;
        }
        if (!strict_value(r, depth))
            return false;
        blanks(r);
        if (take(r, closing))
            return true;
        if (!take(r, ","))
            return false;
    }
}

static bool strict_value(struct reader *r, int depth)
{
    blanks(r);
    if (r->at == r->end)
        return false;
    if (*r->at == '{' || *r->at == '[')
        return depth < JSON_DEPTH_MAX && strict_list(r, *r->at == '{' ? '}' : ']', depth + 1);
    if (*r->at == '"')
        return strict_string(r);
    return take(r, "true") || take(r, "false") || take(r, "null") || strict_number(r);
}

static bool strict_utf8(const unsigned char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        unsigned char c = at[i];
        size_t more = c < 0x80 ? 0 : c >= 0xC2 && c < 0xE0 ? 1 : c >= 0xE0 && c < 0xF0 ? 2 : 3;
        uint32_t code = more == 0 ? c : c & (0x3Fu >> more);
        if (c >= 0xF5 || (c >= 0x80 && c < 0xC2) || bytes - i <= more)
            return false;
        for (size_t k = 1; k <= more; k++) {
            if ((at[i + k] & 0xC0) != 0x80)
                return false;
            code = code << 6 | (at[i + k] & 0x3F);
        }
        if ((more == 2 && (code < 0x800 || (code >= 0xD800 && code <= 0xDFFF))) ||
            (more == 3 && (code < 0x10000 || code > 0x10FFFF)))
            return false;
        i += more + 1;
    }
    return true;
}

static bool strict_json(const char *at, size_t bytes)
{
    struct reader r = {(const unsigned char *)at, (const unsigned char *)at + bytes};

    if (!strict_utf8(r.at, bytes) || !strict_value(&r, 0))
        return false;
    blanks(&r);
    return r.at == r.end;
}

/* ---- refused ---------------------------------------------------------------------------- */

TEST(json_refuses_what_is_no_json)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "{}}",
        "{} {}",
        "{},",
        "{}x",
        "{} 1",
        "nul",
        "nulll",
        "tru",
        "truex",
        "True",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1,,\"b\":2}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1;\"b\":2}",
        "{a:1}",
        "{'a':1}",
        "{1:2}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":[1 2]}",
        "{\"a\":[1,,2]}",
        "{\"a\":1x}",
        "{\"a\":\"b\"c}",
        "{\"a\":\"b\"\"c\"}",
        "{\"a\":1\"b\"}",
        "{\"a\":1\"b,c\"}",
        "{\"a\":tr\"ue\"}",
        "{\"a\":+1}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":-01}",
        "{\"a\":.5}",
        "{\"a\":5.}",
        "{\"a\":5.e1}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":0x10}",
        "{\"a\":1_0}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":-Infinity}",
        "{\"a\":inf}",
        "{\"a\":nan}",
        "{\"a\":1e999}",
        "{\"a\":-1e999}",
        "{\"a\":1e99999999999999999999}",
        "{\"a\":0.001e400}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\x7f\x1f\"}",
        "{\"a\":\"\\x41\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\ud800\\ud800\"}",
        "{\"a\":\"\\ud800x\"}",
        "{\"a\":\"\\",
        "{\"a\":\"\\\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xc0\x80\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"\xe2\x82\"}",
        "{\"a\":\"\xf4\x90\x80\x80\"}",
        "{\"\xff\":1}",
        "\xef\xbb\xbf{}",
        "{\"a\":1}\xff",
        "{\"a\":1}//",
        "/**/{}",
        "{\"\\u0000\":1}",
        "{\"\\q\":1}",
    };
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK(!strict_json(bad[i], strlen(bad[i])));
        CHECK_STATUS(ERR_MALFORMED, judge(parser, text_of(bad[i])));
    }
    json_parser_destroy(parser);
}

TEST(json_refuses_bad_things_inside_fields_nobody_asked_for)
{
    static const char *const bad[] = {"[1,,2]", "1e999", "\"\\ud800\"", "\"\\u0000\"", "{\"x\":}",
                                      "tru",    "[}",    "01",          "[1 2]",       "\"\\q\""};
    static const char *const pointer = "/user";
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    struct json_value value;
    char document[128];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(document, sizeof document, "{\"user\":\"u\",\"other\":%s}", bad[i]);
        CHECK_STATUS(ERR_MALFORMED, extract_text(parser, &pointer, 1, text_of(document), &value));
    }
    json_parser_destroy(parser);
}

TEST(json_refuses_a_zero_byte_anywhere)
{
    static const char good[] = "{\"a\": [1, true, \"x\"], \"b\": {\"c\": null}} ";
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    char document[sizeof good + 1];

    for (size_t i = 0; i < sizeof good; i++) {
        memcpy(document, good, i);
        document[i] = 0;
        memcpy(document + i + 1, good + i, sizeof good - 1 - i);
        CHECK_STATUS(ERR_MALFORMED, judge(parser, (struct text){document, sizeof good}));
    }
    json_parser_destroy(parser);
}

TEST(json_bounds_depth_also_in_skipped_values)
{
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    char document[2 * 10000 + 8];

    for (int arrays = 14; arrays <= 16; arrays++) {
        int used = snprintf(document, sizeof document, "{\"z\":");
        memset(document + used, '[', (size_t)arrays);
        memset(document + used + arrays, ']', (size_t)arrays);
        used += 2 * arrays;
        document[used++] = '}';
        CHECK_STATUS(arrays + 1 <= JSON_DEPTH_MAX ? OK : ERR_LIMIT,
                     judge(parser, (struct text){document, (size_t)used}));
    }
    memset(document, '[', 10000);
    memset(document + 10000, ']', 10000);
    struct error err;
    const struct json_node *root;
    CHECK_STATUS(ERR_LIMIT, json_parse(parser, (struct text){document, 20000}, &root, &err));
    memcpy(document, "{\"a\":", 5);
    CHECK_STATUS(ERR_LIMIT, judge(parser, (struct text){document, 10000}));
    json_parser_destroy(parser);
}

TEST(json_bounds_bytes_and_elements)
{
    static const char *const pointer = "/a";
    struct json_parser *parser = json_parser_create(40, 4);
    const struct json_node *root;
    struct json_value value;
    struct error err;

    CHECK_STATUS(OK, extract_text(parser, &pointer, 1, text_of("{\"a\":[1,2,3,4]}"), &value));
    CHECK_INT(4, value.elements_count);
    CHECK_STATUS(ERR_LIMIT,
                 extract_text(parser, &pointer, 1, text_of("{\"a\":[1,2,3,4,5]}"), &value));
    CHECK_STATUS(OK, extract_text(parser, &pointer, 1, text_of("{\"b\":[1,2,3,4,5]}"), &value));
    CHECK_STATUS(OK, json_parse(parser, text_of("[1,2,3]"), &root, &err));
    CHECK_STATUS(ERR_LIMIT, json_parse(parser, text_of("[1,2,3,4]"), &root, &err));
    CHECK(root == NULL);
    CHECK_STATUS(OK, extract_text(parser, &pointer, 1,
                                  text_of("{\"b\":\"0123456789012345678901234567890\"}"), &value));
    CHECK_STATUS(ERR_LIMIT,
                 extract_text(parser, &pointer, 1,
                              text_of("{\"b\":\"012345678901234567890123456789012\"}"), &value));
    json_parser_destroy(parser);
    json_parser_destroy(NULL);
}

TEST(json_extract_refuses_a_top_that_is_no_object)
{
    static const char *const tops[] = {"[]", "1", "\"x\"", "null", "true", "[{}]"};
    static const char *const pointer = "/a";
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    struct json_value value;

    for (size_t i = 0; i < sizeof tops / sizeof tops[0]; i++)
        CHECK_STATUS(ERR_MALFORMED, extract_text(parser, &pointer, 1, text_of(tops[i]), &value));
    json_parser_destroy(parser);
}

TEST(json_extract_refuses_every_truncation)
{
    static const char good[] = "{\"a\":\"x\\n\\ud83d\\ude00\",\"b\":{\"c\":[1,-2.5e3,true,null]},"
                               "\"d\":\"\xe2\x82\xac\"}";
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);

    CHECK_STATUS(OK, judge(parser, text_of(good)));
    for (size_t cut = 0; cut < sizeof good - 1; cut++) {
        char *exact = malloc(cut + 1); /* so that a sanitizer sees a read behind it */
        memcpy(exact, good, cut);
        CHECK_STATUS(ERR_MALFORMED, judge(parser, (struct text){exact, cut}));
        free(exact);
    }
    json_parser_destroy(parser);
}

/* ---- against the simpler truth ---------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

TEST(json_agrees_with_a_plain_reader_on_mutated_documents)
{
    static const char *const seeds[] = {
        "{\"user\":\"u1\",\"item\":\"i\\u00e9\",\"time\":1700000000000,\"a\":-0.5e-3}",
        "{\"a\":[1,2,[3,{}]],\"b\":{\"c\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"},\"d\":[true,false]}",
        " [ 1 , \"two\" , null , { \"a\" : [ ] } ] ",
        "{\"a\":{\"a\":{\"a\":{\"a\":[[[[[[[[[[[]]]]]]]]]]]}}}}}",
    };
    static const char alphabet[] = "{}[]:,\"\\u0e1-+. tfn\n\t\xc3\xa9";
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    uint64_t state = test_seed();
    int accepted = 0;

    for (int round = 0; round < 60000; round++) {
        const char *seed = seeds[next_random(&state) % 4];
        size_t bytes = strlen(seed);
        char document[256];
        memcpy(document, seed, bytes);
        for (uint64_t edits = next_random(&state) % 4; edits > 0; edits--) {
            size_t at = next_random(&state) % bytes;
            char c = alphabet[next_random(&state) % (sizeof alphabet - 1)];
            switch (next_random(&state) % 3) {
            case 0:
                document[at] = c;
                break;
            case 1:
                memmove(document + at + 1, document + at, bytes - at);
                document[at] = c;
                bytes++;
                break;
            default:
                memmove(document + at, document + at + 1, bytes - at - 1);
                bytes--;
            }
        }
        bool good = strict_json(document, bytes);
        enum status status = judge(parser, (struct text){document, bytes});
        if (good != (status == OK))
            test_fail(__FILE__, __LINE__, "plain reader says %d, we say %s: %.*s", good,
                      status_name(status), (int)bytes, document);
        accepted += good;
    }
    CHECK(accepted > 5000 && accepted < 55000);
    json_parser_destroy(parser);
}

/* ---- values ----------------------------------------------------------------------------- */

TEST(json_extract_finds_values_of_every_type)
{
    static const char *const pointers[] = {"/user",    "/actor/id", "/n/big", "/real", "/yes",
                                           "/nothing", "/object",   "/list",  "/none", "/user"};
    static const char document[] =
        " { \"list\" : [ 1 , \"two\" , [3] , {\"x\":4} , null ] , \"user\" : \"u\\u00e9\\/1\" ,"
        "\"actor\":{\"name\":\"x\",\"id\":7},\"n\":{\"big\":9007199254740993},\"real\":-2.5e-3,"
        "\"yes\":true,\"nothing\":null,\"object\":{\"deep\":1},\"other\":\"skipped \\n\" } ";
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    struct json_value v[10];

    CHECK_STATUS(OK, extract_text(parser, pointers, 10, text_of(document), v));
    CHECK(is_text(v[0], "u\xc3\xa9/1") && is_text(v[9], "u\xc3\xa9/1"));
    CHECK(v[1].type == JSON_INT && v[1].integer == 7 && v[1].real == 7);
    CHECK(v[2].type == JSON_INT && v[2].integer == 9007199254740993);
    CHECK(v[3].type == JSON_REAL && v[3].real == -2.5e-3);
    CHECK(v[4].type == JSON_BOOL && v[4].boolean);
    CHECK(v[5].type == JSON_NULL);
    CHECK(v[6].type == JSON_OBJECT);
    CHECK(v[7].type == JSON_ARRAY && v[7].elements_count == 5);
    CHECK(v[7].elements[0].integer == 1 && is_text(v[7].elements[1], "two"));
    CHECK(v[7].elements[2].type == JSON_ARRAY && v[7].elements[2].elements_count == 0);
    CHECK(v[7].elements[3].type == JSON_OBJECT && v[7].elements[4].type == JSON_NULL);
    CHECK(v[8].type == JSON_ABSENT);
    json_parser_destroy(parser);
}

TEST(json_numbers_are_exact)
{
    static const struct {
        const char *json;
        enum json_type type;
        int64_t integer;
        double real;
    } rows[] = {
        {"0", JSON_INT, 0, 0},
        {"-0", JSON_INT, 0, 0},
        {"9007199254740993", JSON_INT, 9007199254740993, 9007199254740992.0},
        {"9223372036854775807", JSON_INT, INT64_MAX, 9223372036854775807.0},
        {"-9223372036854775808", JSON_INT, INT64_MIN, -9223372036854775808.0},
        {"9223372036854775808", JSON_REAL, 0, 9223372036854775808.0},
        {"-9223372036854775809", JSON_REAL, 0, -9223372036854775808.0},
        {"9999999999999999999", JSON_REAL, 0, 1e19},
        {"18446744073709551616", JSON_REAL, 0, 18446744073709551616.0},
        {"100000000000000000000000", JSON_REAL, 0, 1e23},
        {"1.0", JSON_REAL, 0, 1},
        {"1E2", JSON_REAL, 0, 100},
        {"0.1", JSON_REAL, 0, 0.1},
        {"1.7976931348623157e308", JSON_REAL, 0, DBL_MAX},
        {"5e-324", JSON_REAL, 0, 5e-324},
        {"1e-999", JSON_REAL, 0, 0},
        {"0e999", JSON_REAL, 0, 0},
        {"0.0e99999999999999999999", JSON_REAL, 0, 0},
        {"1e-99999999999999999999", JSON_REAL, 0, 0},
        {"1000e-2", JSON_REAL, 0, 10},
    };
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    char document[128];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)snprintf(document, sizeof document, "{\"a\":%s}", rows[i].json);
        struct json_value v = value_of(parser, "/a", document);
        CHECK_INT(rows[i].type, v.type);
        CHECK_INT(rows[i].integer, v.integer);
        CHECK(v.real == rows[i].real);
    }
    struct json_value minus_zero = value_of(parser, "/a", "{\"a\":-0.0}");
    CHECK(minus_zero.type == JSON_REAL && minus_zero.real == 0 && signbit(minus_zero.real));
    json_parser_destroy(parser);
}

TEST(json_numbers_with_hundreds_of_digits_are_read_or_refused)
{
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    char document[1024];

    int used = snprintf(document, sizeof document, "{\"a\":1");
    memset(document + used, '0', 308);
    (void)snprintf(document + used + 308, 2, "}");
    CHECK(value_of(parser, "/a", document).real == 1e308);
    document[used + 308] = '0';
    (void)snprintf(document + used + 309, 2, "}");
    CHECK_STATUS(ERR_MALFORMED, judge(parser, text_of(document)));
    used = snprintf(document, sizeof document, "{\"a\":0.");
    memset(document + used, '0', 400);
    (void)snprintf(document + used + 400, 3, "1}");
    CHECK(value_of(parser, "/a", document).real == 0);
    json_parser_destroy(parser);
}

TEST(json_strings_are_unescaped)
{
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);

    CHECK(is_text(value_of(parser, "/a", "{\"a\":\"\"}"), ""));
    CHECK(is_text(value_of(parser, "/a", "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"),
                  "\"\\/\b\f\n\r\t"));
    CHECK(is_text(value_of(parser, "/a", "{\"a\":\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"}"),
                  "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
    CHECK(is_text(value_of(parser, "/a", "{\"a\":\"\\ud7ff\\ue000\\uFFFF\\udbff\\udfff\"}"),
                  "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf"));
    CHECK(is_text(value_of(parser, "/a", "{\"a\":\"  {[,:]} \\\\\"  ,\"b\":1}"), "  {[,:]} \\"));
    CHECK(is_text(value_of(parser, "/abc", "{\"a\\u0062c\":\"escaped key\"}"), "escaped key"));
    json_parser_destroy(parser);
}

TEST(json_last_duplicate_key_counts)
{
    static const char *const pointers[] = {"/a", "/b/c", "/b/d"};
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    const struct json_node *root;
    struct json_value v[3];
    struct error err;

    CHECK_STATUS(
        OK, extract_text(parser, pointers, 3, text_of("{\"a\":1,\"a\":\"x\",\"\\u0061\":3}"), v));
    CHECK(v[0].type == JSON_INT && v[0].integer == 3);
    CHECK_STATUS(OK, extract_text(parser, pointers, 3,
                                  text_of("{\"b\":{\"c\":1,\"d\":2},\"b\":{\"d\":3}}"), v));
    CHECK(v[1].type == JSON_ABSENT && v[2].integer == 3);
    CHECK_STATUS(OK, extract_text(parser, pointers, 3, text_of("{\"b\":{\"c\":1},\"b\":5}"), v));
    CHECK(v[1].type == JSON_ABSENT && v[2].type == JSON_ABSENT);
    CHECK_STATUS(OK, json_parse(parser, text_of("{\"a\":1,\"b\":2,\"a\":3}"), &root, &err));
    CHECK_INT(3, json_int_or(json_member(root, "a"), 0));
    json_parser_destroy(parser);
}

TEST(json_paths_lead_into_arrays_and_through_odd_keys)
{
    static const char *const pointers[] = {"/rows",      "/rows/1/id", "/rows/0/tags",
                                           "/a~1b/m~0n", "/",          "/rows/01/id"};
    static const char document[] =
        "{\"rows\":[{\"id\":\"p\",\"tags\":[\"x\",\"y\"]},{\"id\":\"q\"},"
        "5],\"a/b\":{\"m~n\":1},\"\":2}";
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    struct json_value v[6];

    CHECK_STATUS(OK, extract_text(parser, pointers, 6, text_of(document), v));
    CHECK(v[0].type == JSON_ARRAY && v[0].elements_count == 3);
    CHECK(v[0].elements[0].type == JSON_OBJECT && v[0].elements[2].integer == 5);
    CHECK(is_text(v[1], "q"));
    CHECK(v[2].elements_count == 2 && is_text(v[2].elements[1], "y"));
    CHECK_INT(1, v[3].integer);
    CHECK_INT(2, v[4].integer);
    CHECK_INT(JSON_ABSENT, v[5].type);
    json_parser_destroy(parser);
}

TEST(json_paths_refuses_what_is_no_pointer)
{
    static const char *const bad[] = {
        "", "user", "/a~", "/a~2", "/a/~x", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"};
    const char *many[JSON_PATHS_MAX + 1];
    struct json_paths *paths;
    struct error err;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(ERR_CONFIG, json_paths_create(&paths, &bad[i], 1, &err));
        CHECK(paths == NULL);
    }
    for (int i = 0; i <= JSON_PATHS_MAX; i++)
        many[i] = "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16";
    CHECK_STATUS(ERR_LIMIT, json_paths_create(&paths, many, JSON_PATHS_MAX + 1, &err));
    CHECK_STATUS(OK, json_paths_create(&paths, many, JSON_PATHS_MAX, &err));
    json_paths_destroy(paths);
    CHECK_STATUS(OK, json_paths_create(&paths, NULL, 0, &err));
    json_paths_destroy(paths);
    json_paths_destroy(NULL);
}

TEST(json_paths_hold_the_most_keys_that_are_all_different)
{
    char pointers[JSON_PATHS_MAX][64];
    const char *list[JSON_PATHS_MAX];
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    struct json_value v[JSON_PATHS_MAX];
    char document[JSON_PATHS_MAX * 64];
    int used = snprintf(document, sizeof document, "{\"z\":0");

    for (int i = 0; i < JSON_PATHS_MAX; i++) {
        (void)snprintf(pointers[i], sizeof pointers[i], "/k%d/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o", i);
        list[i] = pointers[i];
        used += snprintf(document + used, sizeof document - (size_t)used, ",\"k%d\":%d", i, i);
    }
    (void)snprintf(document + used, sizeof document - (size_t)used, "}");
    CHECK_STATUS(OK, extract_text(parser, list, JSON_PATHS_MAX, text_of(document), v));
    for (int i = 0; i < JSON_PATHS_MAX; i++)
        pointers[i][strcspn(pointers[i] + 1, "/") + 1] = 0;
    CHECK_STATUS(OK, extract_text(parser, list, JSON_PATHS_MAX, text_of(document), v));
    for (int i = 0; i < JSON_PATHS_MAX; i++)
        CHECK_INT(i, v[i].integer);
    json_parser_destroy(parser);
}

TEST(json_parse_builds_the_tree)
{
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    const struct json_node *root;
    struct error err;

    CHECK_STATUS(OK,
                 json_parse(parser, text_of("{\"a\":{\"b\":[10,20.5,{\"c\":\"x\"}]},\"t\":\"y\"}"),
                            &root, &err));
    const struct json_node *b = json_member(json_member(root, "a"), "b");
    CHECK(b->value.type == JSON_ARRAY && b->children_count == 3);
    CHECK_INT(10, json_int_or(b->child, 0));
    CHECK(json_real_or(b->child, 0) == 10 && json_real_or(b->child->next, 0) == 20.5);
    CHECK_INT(-1, json_int_or(b->child->next, -1));
    CHECK(text_equal(json_text_or(json_member(b->child->next->next, "c"), ""), text_of("x")));
    CHECK(text_equal(json_text_or(json_member(root, "a"), "no"), text_of("no")));
    CHECK(json_member(json_member(json_member(root, "no"), "no"), "no") == NULL);
    CHECK(json_member(b, "0") == NULL);
    CHECK_INT(5, json_int_or(NULL, 5));
    CHECK(json_real_or(NULL, 0.5) == 0.5);
    CHECK_STATUS(OK, json_parse(parser, text_of(" 5 "), &root, &err));
    CHECK_INT(5, root->value.integer);
    CHECK_STATUS(OK, json_parse(parser, text_of("{}"), &root, &err));
    CHECK(root->value.type == JSON_OBJECT && root->children_count == 0 && root->child == NULL);
    json_parser_destroy(parser);
}

TEST(json_parser_goes_on_after_failures_and_growth)
{
    struct json_parser *parser = json_parser_create(BYTES_MAX, ELEMENTS_MAX);
    char *big = malloc(BYTES_MAX + 1);

    CHECK_STATUS(ERR_MALFORMED, judge(parser, text_of("{\"a\":")));
    memset(big, ' ', BYTES_MAX + 1);
    memcpy(big, "{\"a\":\"", 6);
    memset(big + 6, 'x', 50000);
    memcpy(big + 50006, "\"}", 2);
    CHECK_STATUS(OK, judge(parser, (struct text){big, BYTES_MAX}));
    CHECK_STATUS(ERR_LIMIT, judge(parser, (struct text){big, BYTES_MAX + 1}));
    CHECK_STATUS(OK, judge(parser, text_of("{\"a\":1}")));
    free(big);
    json_parser_destroy(parser);
}
