/* Tests ops/json_writer: what is written, and that a short buffer is never overrun. */
#include "ops/json_writer.h"

#include "tests/test.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char buffer[4096];

static const char *finished(const struct json_writer *w)
{
    static char text[sizeof buffer + 1];

    CHECK(json_writer_ok(w));
    memcpy(text, w->at, w->used);
    text[w->used] = 0;
    return text;
}

static void write_sample(struct json_writer *w)
{
    json_object_begin(w);
    json_text(w, "a", text_of("x\"\\\n\x01"));
    json_int(w, "b", -5);
    json_key(w, "c");
    json_array_begin(w);
    json_put_real(w, 0.5);
    json_put_null(w);
    json_object_begin(w);
    json_object_end(w);
    json_array_begin(w);
    json_array_end(w);
    json_put_bool(w, true);
    json_put_raw(w, text_of("{\"r\":1}"));
    json_array_end(w);
    json_bool(w, "d", false);
    json_real(w, "e", 1.5);
    json_object_end(w);
}

static const char sample[] =
    "{\"a\":\"x\\\"\\\\\\n\\u0001\",\"b\":-5,\"c\":[0.5,null,{},[],true,{\"r\":1}],"
    "\"d\":false,\"e\":1.5}";

TEST(json_writer_places_commas_and_quotes)
{
    struct json_writer w;

    json_writer_init(&w, buffer, sizeof buffer);
    write_sample(&w);
    CHECK_TEXT(sample, finished(&w));
}

TEST(json_writer_survives_every_capacity)
{
    struct json_writer w;

    for (size_t bytes = 0; bytes <= sizeof sample + 2; bytes++) {
        char *exact = malloc(bytes + 1); /* so that the sanitizer sees one byte too many */

        json_writer_init(&w, exact, bytes);
        write_sample(&w);
        CHECK(json_writer_ok(&w) == (bytes >= sizeof sample - 1));
        CHECK(json_writer_text(&w).bytes <= bytes);
        free(exact);
    }
}

TEST(json_writer_replaces_invalid_utf8)
{
    static const struct {
        const char *from, *want;
    } cases[] = {
        {"\xc3\xa4", "\"\xc3\xa4\""},
        {"\xff", "\"\xef\xbf\xbd\""},
        {"a\xc3", "\"a\xef\xbf\xbd\""},                               /* cut short */
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* overlong */
        {"\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* overlong */
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* surrogate */
        {"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\x7f", "\"\\u007f\""},
        {"", "\"\""},
    };
    struct json_writer w;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_writer_init(&w, buffer, sizeof buffer);
        json_put_text(&w, text_of(cases[i].from));
        CHECK_TEXT(cases[i].want, finished(&w));
    }
    json_writer_init(&w, buffer, sizeof buffer);
    json_put_text(&w, (struct text){"a\0b", 3});
    CHECK_TEXT("\"a\\u0000b\"", finished(&w));
    json_writer_init(&w, buffer, sizeof buffer);
    json_put_text(&w, (struct text){0});
    CHECK_TEXT("\"\"", finished(&w));
}

TEST(json_writer_writes_the_shortest_number_that_reads_back)
{
    static const struct {
        double value;
        const char *want;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {0.1, "0.1"},
                 {1e300, "1e+300"},
                 {1.0 / 3, "0.3333333333333333"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"},
                 {100, "100"}};
    const double extremes[] = {DBL_MAX,       -DBL_MAX,    DBL_MIN,           DBL_TRUE_MIN,
                               -DBL_TRUE_MIN, DBL_EPSILON, 9007199254740993.0};
    struct json_writer w;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_writer_init(&w, buffer, sizeof buffer);
        json_put_real(&w, cases[i].value);
        CHECK_TEXT(cases[i].want, finished(&w));
    }
    for (size_t i = 0; i < sizeof extremes / sizeof extremes[0]; i++) {
        json_writer_init(&w, buffer, sizeof buffer);
        json_put_real(&w, extremes[i]);
        CHECK(strtod(finished(&w), NULL) == extremes[i]);
    }
    json_writer_init(&w, buffer, sizeof buffer);
    json_put_float(&w, 0.1f);
    CHECK_TEXT("0.1", finished(&w));
    json_writer_init(&w, buffer, sizeof buffer);
    json_put_float(&w, NAN);
    CHECK_TEXT("null", finished(&w));
}

TEST(json_writer_writes_the_extreme_integers)
{
    const int64_t values[] = {0, 9, 10, -1, INT64_MAX, INT64_MIN};
    const char *const want[] = {
        "0", "9", "10", "-1", "9223372036854775807", "-9223372036854775808"};
    struct json_writer w;

    for (int i = 0; i < 6; i++) {
        json_writer_init(&w, buffer, sizeof buffer);
        json_put_int(&w, values[i]);
        CHECK_TEXT(want[i], finished(&w));
    }
}

TEST(json_writer_that_is_not_closed_is_not_ok)
{
    struct json_writer w;

    json_writer_init(&w, buffer, sizeof buffer);
    CHECK(!json_writer_ok(&w));
    json_object_begin(&w);
    CHECK(!json_writer_ok(&w));
    json_key(&w, "a");
    CHECK(!json_writer_ok(&w));
    json_put_null(&w);
    json_object_end(&w);
    CHECK(json_writer_ok(&w));
}
