/*
 * Tests schemas/event: the corpus of bad input (FAULTS.md rows 31, 33 to 39), each with the one
 * refusal it gets, then that what is encoded is decoded again.
 */
#include "schemas/event.h"

#include "ops/json.h"
#include "ops/random.h"
#include "schemas/event_private.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1700000000000)

static struct event_schema *schema;
static struct event_decoder *decoder;
static struct event event;
static enum refusal why;
static struct error err;
static char buffer[EVENT_BYTES_MAX];

static void start(void)
{
    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
}

static void stop(void)
{
    event_decoder_destroy(decoder);
    event_schema_destroy(schema);
}

static enum status decode(struct text value)
{
    return event_decode(decoder, value, NOW_MS, &event, &why, &err);
}

/* The refusal that a zero-ended text gets. */
static enum refusal refusal_of(const char *json)
{
    enum status status = decode(text_of(json));

    if (status != OK)
        CHECK(status == ERR_LIMIT || status == ERR_MALFORMED);
    CHECK((status == OK) == (why == REFUSAL_NONE));
    CHECK(status == OK || (event.user.at == NULL && err.text[0] != 0));
    return why;
}

TEST(event_decode_reads_the_three_kinds)
{
    start();
    CHECK_STATUS(OK,
                 decode(text_of("{\"event_id\":\"e1\",\"type\":\"click\",\"user\":\"u1\","
                                "\"item\":\"i7\",\"ts\":1700000000123,\"request_id\":\"r9\"}")));
    CHECK(event.kind == EVENT_ACTION && event.action == 2 && event.time_ms == 1700000000123);
    CHECK(text_equal(event.user, text_of("u1")) && text_equal(event.item, text_of("i7")));
    CHECK(text_equal(event.request_id, text_of("r9")) && text_equal(event.event_id, text_of("e1")));
    CHECK_STATUS(OK,
                 decode(text_of("{\"type\":\"impression\",\"user\":\"u1\",\"ts\":1700000000000,"
                                "\"request_id\":\"r9\",\"items\":[\"i7\",3],\"trace\":\"AA\"}")));
    CHECK(event.kind == EVENT_IMPRESSION && event.rows_count == 2);
    CHECK(text_equal(event.rows[1], text_of("3")) && text_equal(event.trace, text_of("AA")));
    CHECK_STATUS(OK, decode(text_of("{\"type\":\"impression\",\"user\":\"u1\",\"ts\":1700000000000,"
                                    "\"item\":\"i7\"}")));
    CHECK(event.rows_count == 1 && text_equal(event.rows[0], text_of("i7")));
    CHECK_STATUS(OK, decode(text_of("{\"type\":\"erase\",\"user\":\"u1\",\"ts\":1700000000000}")));
    CHECK(event.kind == EVENT_ERASE && event.item.bytes == 0);
    stop();
}

TEST(event_decode_takes_integers_as_ids)
{
    start();
    CHECK_STATUS(OK, decode(text_of("{\"type\":\"view\",\"user\":-9223372036854775808,\"item\":0,"
                                    "\"ts\":1700000000000,\"request_id\":77,\"event_id\":5}")));
    CHECK(text_equal(event.user, text_of("-9223372036854775808")));
    CHECK(text_equal(event.item, text_of("0")) && text_equal(event.request_id, text_of("77")) &&
          text_equal(event.event_id, text_of("5")));
    CHECK_INT(REFUSAL_BAD_USER, refusal_of("{\"user\":9223372036854775808,\"type\":\"view\"}"));
    stop();
}

TEST(event_decode_of_ids_has_these_bounds)
{
    static const struct {
        const char *member;
        int bytes_max;
        enum refusal why;
    } ids[] = {{"user", USER_ID_MAX, REFUSAL_BAD_USER},
               {"item", ITEM_ID_MAX, REFUSAL_BAD_ITEM},
               {"request_id", REQUEST_ID_MAX, REFUSAL_BAD_REQUEST}};
    char id[300];

    start();
    for (size_t i = 0; i < 3; i++) {
        for (int more = 0; more < 2; more++) {
            memset(id, 'x', sizeof id);
            id[ids[i].bytes_max + more] = 0;
            (void)snprintf(buffer, sizeof buffer,
                           "{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\","
                           "\"ts\":1700000000000,\"%s\":\"%s\"}",
                           ids[i].member, id);
            CHECK_INT(more ? ids[i].why : REFUSAL_NONE, refusal_of(buffer));
        }
    }
    /* Absent, null and empty. */
    CHECK_INT(REFUSAL_NO_USER, refusal_of("{\"user\":null,\"type\":\"click\"}"));
    CHECK_INT(REFUSAL_BAD_USER, refusal_of("{\"user\":\"\",\"type\":\"click\"}"));
    CHECK_INT(REFUSAL_NO_ITEM,
              refusal_of("{\"user\":\"u\",\"type\":\"click\",\"ts\":1700000000000}"));
    CHECK_INT(REFUSAL_NONE, refusal_of("{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\","
                                       "\"ts\":1700000000000,\"request_id\":\"\"}"));
    stop();
}

TEST(event_refuses_what_is_no_event)
{
    static const struct {
        const char *json;
        enum refusal why;
    } cases[] = {
        {"", REFUSAL_NOT_JSON},
        {" ", REFUSAL_NOT_JSON},
        {"{", REFUSAL_NOT_JSON},
        {"nonsense", REFUSAL_NOT_JSON},
        {"[]", REFUSAL_NOT_JSON},
        {"\"text\"", REFUSAL_NOT_JSON},
        {"{}", REFUSAL_NO_USER},
        {"{}{}", REFUSAL_NOT_JSON},
        {"{\"user\":\"\\ud800\"}", REFUSAL_NOT_JSON},
        {"{\"user\":\"\\u0000\"}", REFUSAL_NOT_JSON},
        {"{\"user\":\"\xff\"}", REFUSAL_NOT_JSON},
        {"{\"user\":\"\xc0\xaf\"}", REFUSAL_NOT_JSON},
        {"{\"user\":NaN}", REFUSAL_NOT_JSON},
        {"{\"user\":1e999}", REFUSAL_NOT_JSON},
        {"{\"user\":1.5}", REFUSAL_BAD_USER},
        {"{\"user\":true}", REFUSAL_BAD_USER},
        {"{\"user\":[\"u\"]}", REFUSAL_BAD_USER},
        {"{\"user\":{\"id\":1}}", REFUSAL_BAD_USER},
        {"{\"user\":\"u\"}", REFUSAL_NO_ACTION},
        {"{\"user\":\"u\",\"type\":null}", REFUSAL_NO_ACTION},
        {"{\"user\":\"u\",\"type\":\"dance\"}", REFUSAL_UNKNOWN_ACTION},
        {"{\"user\":\"u\",\"type\":\"\"}", REFUSAL_UNKNOWN_ACTION},
        {"{\"user\":\"u\",\"type\":7}", REFUSAL_UNKNOWN_ACTION},
        {"{\"user\":\"u\",\"type\":[]}", REFUSAL_UNKNOWN_ACTION},
        {"{\"user\":\"u\",\"type\":\"Click\"}", REFUSAL_UNKNOWN_ACTION},
        {"{\"user\":\"u\",\"type\":\"click\"}", REFUSAL_NO_TIME},
        {"{\"user\":\"u\",\"type\":\"impression\",\"ts\":1700000000000}", REFUSAL_BAD_ROWS},
        {"{\"user\":\"u\",\"type\":\"impression\",\"ts\":1700000000000,\"items\":[]}",
         REFUSAL_BAD_ROWS},
        {"{\"user\":\"u\",\"type\":\"impression\",\"ts\":1700000000000,\"items\":\"i\"}",
         REFUSAL_BAD_ROWS},
        {"{\"user\":\"u\",\"type\":\"impression\",\"ts\":1700000000000,\"items\":[\"\"]}",
         REFUSAL_BAD_ITEM},
        {"{\"user\":\"u\",\"type\":\"impression\",\"ts\":1700000000000,\"items\":[{}]}",
         REFUSAL_BAD_ITEM},
        {"{\"user\":\"u\",\"type\":\"impression\",\"ts\":1700000000000,\"items\":[1],\"trace\":1}",
         REFUSAL_BAD_TRACE},
        {"{\"user\":\"u\",\"type\":\"click\",\"ts\":1700000000000,\"item\":{}}", REFUSAL_BAD_ITEM},
        {"{\"user\":\"u\",\"type\":\"click\",\"ts\":1700000000000,\"item\":\"i\",\"request_id\":[]"
         "}",
         REFUSAL_BAD_REQUEST},
    };

    start();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_INT(cases[i].why, refusal_of(cases[i].json));
    CHECK_STATUS(ERR_MALFORMED, decode((struct text){NULL, 0}));
    CHECK_INT(REFUSAL_TOMBSTONE, why);
    CHECK_STATUS(ERR_MALFORMED, decode((struct text){"{\"user\":\"u\0v\"}", 14}));
    CHECK_INT(REFUSAL_NOT_JSON, why);
    stop();
}

/* The refusal of a click with this as its time. */
static enum refusal refusal_of_time(const char *time)
{
    (void)snprintf(buffer, sizeof buffer,
                   "{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\",\"ts\":%s}", time);
    return refusal_of(buffer);
}

TEST(event_refuses_times_that_cannot_be)
{
    static const struct {
        const char *time;
        enum refusal why;
    } cases[] = {
        {"1700000000000", REFUSAL_NONE},
        {"1700000300000", REFUSAL_NONE}, /* the skew, to the millisecond */
        {"1700000300001", REFUSAL_FUTURE_TIME},
        {"2060000000000", REFUSAL_FUTURE_TIME},
        {"946684800000", REFUSAL_NONE}, /* 2000-01-01 */
        {"946684799999", REFUSAL_BAD_TIME},
        {"1700000000", REFUSAL_BAD_TIME},          /* seconds */
        {"1700000000000000", REFUSAL_FUTURE_TIME}, /* microseconds */
        {"0", REFUSAL_BAD_TIME},
        {"-0", REFUSAL_BAD_TIME},
        {"-1", REFUSAL_BAD_TIME},
        {"-1700000000000", REFUSAL_BAD_TIME},
        {"9223372036854775807", REFUSAL_FUTURE_TIME},
        {"9223372036854775808", REFUSAL_FUTURE_TIME},
        {"-9223372036854775808", REFUSAL_BAD_TIME},
        {"1e300", REFUSAL_FUTURE_TIME},
        {"-1e300", REFUSAL_BAD_TIME},
        {"1.7e12", REFUSAL_NONE}, /* whole-valued */
        {"1700000000000.0", REFUSAL_NONE},
        {"1700000000000.5", REFUSAL_BAD_TIME},
        {"\"1700000000000\"", REFUSAL_BAD_TIME}, /* "5" is not 5 */
        {"\"2023-11-14T22:13:20Z\"", REFUSAL_BAD_TIME},
        {"null", REFUSAL_NO_TIME},
        {"true", REFUSAL_BAD_TIME},
        {"[1700000000000]", REFUSAL_BAD_TIME},
        {"1e999", REFUSAL_NOT_JSON},
        {"Infinity", REFUSAL_NOT_JSON},
    };

    start();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (refusal_of_time(cases[i].time) != cases[i].why)
            test_fail(__FILE__, __LINE__, "time %s: %s", cases[i].time, refusal_names[why]);
    stop();
}

TEST(event_time_is_bounded_by_the_record_not_by_our_clock)
{
    start();
    (void)snprintf(buffer, sizeof buffer,
                   "{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\",\"ts\":%lld}",
                   (long long)EVENT_TIME_MAX_MS);
    /* A record without a timestamp, or with an absurd one, leaves the fixed bound. */
    CHECK_STATUS(OK, event_decode(decoder, text_of(buffer), -1, &event, &why, &err));
    CHECK_STATUS(OK, event_decode(decoder, text_of(buffer), INT64_MAX, &event, &why, &err));
    CHECK_STATUS(ERR_MALFORMED, event_decode(decoder, text_of(buffer), 0, &event, &why, &err));
    CHECK_INT(REFUSAL_FUTURE_TIME, why);
    (void)snprintf(buffer, sizeof buffer,
                   "{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\",\"ts\":%lld}",
                   (long long)EVENT_TIME_MAX_MS + 1);
    CHECK_STATUS(ERR_MALFORMED, event_decode(decoder, text_of(buffer), -1, &event, &why, &err));
    CHECK_INT(REFUSAL_FUTURE_TIME, why);
    stop();
}

TEST(event_time_in_other_units)
{
    static const struct {
        enum time_unit unit;
        const char *time;
        int64_t time_ms; /* 0: refused */
    } cases[] = {
        {TIME_S, "1700000000", 1700000000000},
        {TIME_S, "1700000000.123", 1700000000123},
        {TIME_S, "1.7e9", 1700000000000},
        {TIME_S, "9223372036854775807", 0},
        {TIME_S, "1700000000000", 0},
        {TIME_S, "-5", 0},
        {TIME_US, "1700000000123456", 1700000000123},
        {TIME_US, "1700000000123", 0},
        {TIME_US, "9223372036854775807", 0},
        {TIME_US, "1700000000123456.5", 0},
        {TIME_ISO, "\"2023-11-14T22:13:20Z\"", 1700000000000},
        {TIME_ISO, "\"2023-11-14 22:13:20.1239+00:00\"", 1700000000123},
        {TIME_ISO, "\"2023-11-15T00:13:20.5+0200\"", 1700000000500},
        {TIME_ISO, "\"2023-11-14T17:13-05:00\"", 1699999980000},
        {TIME_ISO, "\"2000-02-29T00:00:00Z\"", 951782400000},
        {TIME_ISO, "\"2001-02-29T00:00:00Z\"", 0},
        {TIME_ISO, "\"2023-11-14T22:13:20\"", 0}, /* no zone */
        {TIME_ISO, "\"2023-11-14\"", 0},
        {TIME_ISO, "\"2023-11-14T24:13:20Z\"", 0},
        {TIME_ISO, "\"2023-13-14T22:13:20Z\"", 0},
        {TIME_ISO, "\"2023-11-14T22:13:20Z \"", 0},
        {TIME_ISO, "\"\"", 0},
        {TIME_ISO, "1700000000000", 0},
    };

    start();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        schema->unit = cases[i].unit;
        (void)refusal_of_time(cases[i].time);
        if ((cases[i].time_ms == 0) != (why != REFUSAL_NONE) || event.time_ms != cases[i].time_ms)
            test_fail(__FILE__, __LINE__, "time %s: %s, %lld", cases[i].time, refusal_names[why],
                      (long long)event.time_ms);
    }
    stop();
}

/* FAULTS.md 33: what is nested deep, is wide, or names a member twice. */
TEST(event_refuses_depth_and_width_and_takes_the_last_of_a_member)
{
    size_t at;

    start();
    at = (size_t)snprintf(buffer, sizeof buffer, "{\"a\":");
    memset(buffer + at, '[', 10000);
    memset(buffer + at + 10000, ']', 10000);
    memcpy(buffer + at + 20000, "}", 2);
    CHECK_INT(REFUSAL_TOO_DEEP, refusal_of(buffer));
    for (int rows = EVENT_ROWS_MAX; rows <= 3 * EVENT_ROWS_MAX; rows++) {
        at = (size_t)snprintf(buffer, sizeof buffer,
                              "{\"user\":\"u\",\"type\":\"impression\",\"ts\":1700000000000,"
                              "\"items\":[");
        for (int r = 0; r < rows; r++)
            at += (size_t)snprintf(buffer + at, sizeof buffer - at, "%s%d", r > 0 ? "," : "", r);
        memcpy(buffer + at, "]}", 3);
        CHECK_INT(rows <= EVENT_ROWS_MAX       ? REFUSAL_NONE
                  : rows <= 2 * EVENT_ROWS_MAX ? REFUSAL_BAD_ROWS
                                               : REFUSAL_TOO_DEEP,
                  refusal_of(buffer));
        if (why == REFUSAL_NONE)
            CHECK(text_equal(event.rows[511], text_of("511")));
    }
    CHECK_INT(REFUSAL_NONE,
              refusal_of("{\"user\":\"u\",\"user\":\"v\",\"item\":\"i\",\"type\":\"click\","
                         "\"ts\":5,\"ts\":1700000000000,\"new\":{\"in\":[1,{\"x\":2}]}}"));
    CHECK(text_equal(event.user, text_of("v")));
    stop();
}

TEST(event_of_max_bytes_is_read_and_one_more_is_not)
{
    static const char head[] = "{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\","
                               "\"ts\":1700000000000,\"more\":\"";
    size_t max;

    start();
    max = event_schema_max_bytes(schema);
    CHECK_INT(256 * 1024, (int64_t)max);
    memset(buffer, 'x', max + 1);
    memcpy(buffer, head, sizeof head - 1);
    memcpy(buffer + max - 2, "\"}", 2);
    CHECK_STATUS(OK, decode((struct text){buffer, max}));
    memcpy(buffer + max - 1, "\"}", 2);
    CHECK_STATUS(ERR_LIMIT, decode((struct text){buffer, max + 1}));
    CHECK_INT(REFUSAL_OVERSIZE, why);
    stop();
}

TEST(event_survives_every_truncation_and_every_flipped_bit)
{
    static const char json[] =
        "{\"type\":\"impression\",\"user\":\"u\\u00e9\",\"ts\":1700000000000,"
        "\"request_id\":\"r9\",\"items\":[\"i7\",3],\"trace\":\"AA\"}";
    size_t bytes = sizeof json - 1;

    start();
    for (size_t cut = 0; cut < bytes; cut++) {
        char *part = malloc(cut + 1);

        memcpy(part, json, cut);
        CHECK_STATUS(ERR_MALFORMED, decode((struct text){part, cut}));
        CHECK_INT(REFUSAL_NOT_JSON, why);
        free(part);
    }
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        memcpy(buffer, json, bytes + 1);
        buffer[bit / 8] ^= (char)(1 << bit % 8);
        if (decode((struct text){buffer, bytes}) == OK)
            CHECK(event.user.bytes <= USER_ID_MAX && event.time_ms >= EVENT_TIME_MIN_MS &&
                  event.time_ms <= NOW_MS + 300000);
        else
            CHECK(why > REFUSAL_NONE && why < REFUSAL_COUNT);
    }
    stop();
}

TEST(event_key_is_the_user)
{
    start();
    event.user = text_of("u1");
    CHECK_INT(REFUSAL_NONE, event_check_key(schema, &event, text_of("u1")));
    CHECK_INT(REFUSAL_KEY_MISMATCH, event_check_key(schema, &event, text_of("u2")));
    CHECK_INT(REFUSAL_KEY_MISMATCH, event_check_key(schema, &event, (struct text){NULL, 0}));
    schema->any_key = true;
    CHECK_INT(REFUSAL_NONE, event_check_key(schema, &event, (struct text){NULL, 0}));
    stop();
}

TEST(event_unknown_actions_may_be_let_through)
{
    start();
    schema->unknown_ignored = true;
    CHECK_INT(REFUSAL_NONE, refusal_of("{\"user\":\"u\",\"item\":\"i\",\"type\":\"dance\","
                                       "\"ts\":1700000000000}"));
    CHECK(event.kind == EVENT_ACTION && event.action == ACTION_UNKNOWN);
    CHECK_INT(REFUSAL_NO_ACTION, refusal_of("{\"user\":\"u\",\"item\":\"i\"}"));
    stop();
}

TEST(event_schema_refuses_actions_that_clash)
{
    struct action_row row = {.name = "buy", .code = 2};

    start();
    CHECK_STATUS(ERR_CONFIG, event_schema_add_action(schema, &row, &err));
    row.code = 63;
    CHECK_STATUS(ERR_CONFIG, event_schema_add_action(schema, &row, &err));
    row.code = 0;
    CHECK_STATUS(ERR_CONFIG, event_schema_add_action(schema, &row, &err));
    row = (struct action_row){.name = "impression", .code = 9};
    CHECK_STATUS(ERR_CONFIG, event_schema_add_action(schema, &row, &err));
    row = (struct action_row){.name = "click", .code = 9};
    CHECK_STATUS(ERR_CONFIG, event_schema_add_action(schema, &row, &err));
    row = (struct action_row){.name = "buy", .code = 62, .label = -1};
    CHECK_STATUS(ERR_CONFIG, event_schema_add_action(schema, &row, &err));
    CHECK_INT(7, event_schema_actions_count(schema));
    CHECK(event_schema_action(schema, 6)->negative);
    CHECK(event_schema_action(schema, 8) == NULL && event_schema_action(schema, 255) == NULL);
    CHECK(event_schema_action_named(schema, text_of("rate"))->code == 7);
    stop();
}

/* A text of random UTF-8 without zeros. */
static struct text random_text(struct random *random, char *into, size_t bytes_max)
{
    static const char *const pieces[] = {
        "a", "Z", "\"", "\\", "\n", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\x01", "/"};
    size_t bytes = 0, wanted = 1 + random_below(random, bytes_max);

    for (;;) {
        const char *piece = pieces[random_below(random, 10)];

        if (bytes + strlen(piece) > wanted)
            break;
        memcpy(into + bytes, piece, strlen(piece));
        bytes += strlen(piece);
    }
    if (bytes == 0)
        into[bytes++] = 'x';
    return (struct text){into, bytes};
}

TEST(event_encode_then_decode_gives_the_event)
{
    static char texts[EVENT_ROWS_MAX + 5][ITEM_ID_MAX];
    struct text rows[EVENT_ROWS_MAX];
    struct random random;
    char small[8];

    start();
    random_seed(&random, test_seed());
    for (int round = 0; round < 2000; round++) {
        struct event want = {.kind = (enum event_kind)random_below(&random, 3),
                             .time_ms = EVENT_TIME_MIN_MS + (int64_t)random_below(&random, 1000),
                             .user = random_text(&random, texts[0], USER_ID_MAX)};
        size_t bytes;

        if (random_below(&random, 2) == 1)
            want.event_id = random_text(&random, texts[1], 64);
        if (want.kind != EVENT_ERASE && random_below(&random, 2) == 1)
            want.request_id = random_text(&random, texts[2], REQUEST_ID_MAX);
        if (want.kind == EVENT_ACTION) {
            want.action = (uint8_t)(1 + random_below(&random, 7));
            want.item = random_text(&random, texts[3], ITEM_ID_MAX);
        }
        if (want.kind == EVENT_IMPRESSION) {
            want.rows_count = 1 + (int)random_below(&random, round % 50 == 0 ? 512 : 8);
            for (int r = 0; r < want.rows_count; r++)
                rows[r] = random_text(&random, texts[5 + r], 200);
            want.rows = rows;
            want.trace = random_text(&random, texts[4], 64);
        }
        bytes = event_encode(schema, &want, buffer, sizeof buffer);
        CHECK(bytes > 0 && event_encode(schema, &want, small, sizeof small) == 0);
        CHECK_STATUS(OK, decode((struct text){buffer, bytes}));
        CHECK(event.kind == want.kind && event.action == want.action &&
              event.time_ms == want.time_ms && event.rows_count == want.rows_count);
        CHECK(text_equal(event.user, want.user) && text_equal(event.item, want.item) &&
              text_equal(event.request_id, want.request_id) &&
              text_equal(event.event_id, want.event_id) && text_equal(event.trace, want.trace));
        for (int r = 0; r < want.rows_count; r++)
            CHECK(text_equal(event.rows[r], want.rows[r]));
    }
    stop();
}
