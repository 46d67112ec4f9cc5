/* Tests schemas/event_time: every unit, its bounds, and texts that are nearly times. The simpler
 * truth for dates is the C library's timegm(). */
#include "ops/json.h"
#include "ops/random.h"
#include "schemas/event_private.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

static int64_t time_ms;

static enum refusal of_int(int64_t number, enum time_unit unit)
{
    return event_time_of(&(struct json_value){.type = JSON_INT, .integer = number}, unit, &time_ms);
}

static enum refusal of_real(double number, enum time_unit unit)
{
    return event_time_of(&(struct json_value){.type = JSON_REAL, .real = number}, unit, &time_ms);
}

static enum refusal of_text(const char *text)
{
    return event_time_of(&(struct json_value){.type = JSON_TEXT, .text = text_of(text)}, TIME_ISO,
                         &time_ms);
}

TEST(event_time_of_numbers_in_each_unit)
{
    CHECK_INT(REFUSAL_NONE, of_int(1700000000123, TIME_MS));
    CHECK_INT(1700000000123, time_ms);
    CHECK_INT(REFUSAL_NONE, of_int(1700000000, TIME_S));
    CHECK_INT(1700000000000, time_ms);
    CHECK_INT(REFUSAL_NONE, of_int(1700000000123999, TIME_US));
    CHECK_INT(1700000000123, time_ms);
    CHECK_INT(REFUSAL_NONE, of_real(1700000000.1239, TIME_S)); /* a fraction counts in s alone */
    CHECK_INT(1700000000124, time_ms);
    CHECK_INT(REFUSAL_NONE, of_real(1700000000123.0, TIME_MS));
    CHECK_INT(REFUSAL_BAD_TIME, of_real(1700000000123.5, TIME_MS));
    CHECK_INT(REFUSAL_BAD_TIME, of_real(1700000000123.5, TIME_US));
}

TEST(event_time_bounds_are_2000_and_what_six_bytes_hold)
{
    CHECK_INT(REFUSAL_NONE, of_int(EVENT_TIME_MIN_MS, TIME_MS));
    CHECK_INT(REFUSAL_BAD_TIME, of_int(EVENT_TIME_MIN_MS - 1, TIME_MS));
    CHECK_INT(REFUSAL_NONE, of_int(EVENT_TIME_MAX_MS, TIME_MS));
    CHECK_INT(REFUSAL_FUTURE_TIME, of_int(EVENT_TIME_MAX_MS + 1, TIME_MS));
    for (int unit = TIME_MS; unit <= TIME_US; unit++) {
        CHECK_INT(REFUSAL_FUTURE_TIME, of_int(INT64_MAX, (enum time_unit)unit));
        CHECK_INT(REFUSAL_BAD_TIME, of_int(-1, (enum time_unit)unit));
        CHECK_INT(REFUSAL_BAD_TIME, of_int(INT64_MIN, (enum time_unit)unit));
        CHECK_INT(REFUSAL_BAD_TIME, of_int(0, (enum time_unit)unit));
        CHECK_INT(REFUSAL_FUTURE_TIME, of_real(1e300, (enum time_unit)unit));
        CHECK_INT(REFUSAL_BAD_TIME, of_real(-1e300, (enum time_unit)unit));
    }
    CHECK_INT(REFUSAL_BAD_TIME, of_int(1700000000, TIME_MS)); /* seconds taken for ms: 1970 */
    CHECK_INT(REFUSAL_BAD_TIME, of_text("1999-12-31T23:59:59.999Z"));
    CHECK_INT(REFUSAL_NONE, of_text("2000-01-01T00:00:00Z"));
}

TEST(event_time_refuses_another_type)
{
    CHECK_INT(REFUSAL_BAD_TIME, of_int(1700000000123, TIME_ISO));
    CHECK_INT(REFUSAL_BAD_TIME,
              event_time_of(&(struct json_value){.type = JSON_TEXT, .text = text_of("1700000000")},
                            TIME_S, &time_ms));
    CHECK_INT(REFUSAL_BAD_TIME,
              event_time_of(&(struct json_value){.type = JSON_BOOL}, TIME_MS, &time_ms));
}

TEST(event_time_parses_what_calendars_say)
{
    struct random random;
    char text[64];

    random_seed(&random, test_seed());
    for (int round = 0; round < 5000; round++) {
        int64_t want = EVENT_TIME_MIN_MS +
                       (int64_t)random_below(&random, UINT64_C(200000000000000));
        time_t seconds = (time_t)(want / 1000);
        struct tm utc;

        (void)gmtime_r(&seconds, &utc);
        (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                       (utc.tm_year + 1900) % 10000, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                       utc.tm_min, utc.tm_sec, (int)(want % 1000));
        CHECK(event_time_parse(text_of(text), &time_ms));
        CHECK_INT(want, time_ms);
    }
}

TEST(event_time_knows_zones_and_short_forms)
{
    static const char *const same[] = {
        "2024-05-01T12:00:00.000Z",      "2024-05-01 12:00Z",        "2024-05-01t12:00:00z",
        "2024-05-01T14:00:00+02:00",     "2024-05-01T14:00:00+0200", "2024-05-01T06:30:00-05:30",
        "2024-05-01T12:00:00.00000001Z",
    };

    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        CHECK(event_time_parse(text_of(same[i]), &time_ms));
        CHECK_INT(1714564800000, time_ms);
    }
}

TEST(event_time_refuses_what_is_nearly_a_time)
{
    static const char *const bad[] = {
        "",
        "2024-05-01",
        "2024-05-01T12:00:00",
        "2024-05-01T12:00:00.Z",
        "2024-13-01T12:00:00Z",
        "2024-00-01T12:00:00Z",
        "2023-02-29T12:00:00Z",
        "2100-02-29T12:00:00Z",
        "2024-05-32T12:00:00Z",
        "2024-05-01T24:00:00Z",
        "2024-05-01T12:60:00Z",
        "2024-05-01T12:00:61Z",
        "2024-05-01T12:00:00+24:00",
        "2024-05-01T12:00:00Zx",
        "+024-05-01T12:00:00Z",
        "2024-05-01X12:00:00Z",
        "0000-05-01T12:00:00Z",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(!event_time_parse(text_of(bad[i]), &time_ms));
    for (size_t cut = 0; cut < 20; cut++)
        CHECK(!event_time_parse((struct text){"2024-05-01T12:00:00Z", cut}, &time_ms));
}
