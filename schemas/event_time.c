/*
 * schemas/event_time.c - times as events have them: numbers in a stated unit, or text.
 *
 * Text is ISO 8601 with a zone. Days since 1970 by the closed form for the proleptic Gregorian
 * calendar, with years that begin in March so that the leap day is the last of its year. Source: H.
 * Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
 */
#include "ops/defence.h"
#include "schemas/event_private.h"

#include <math.h>

static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = year / 400; /* years here are at least 0 */
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

/* Takes exactly count digits. */
static bool take_digits(struct text *from, int count, int *number)
{
    *number = 0;
    if (from->bytes < (size_t)count)
        return false;
    for (int i = 0; i < count; i++) {
        if (from->at[i] < '0' || from->at[i] > '9')
            return false;
        *number = *number * 10 + (from->at[i] - '0');
    }
    from->at += count;
    from->bytes -= (size_t)count;
    return true;
}

static bool take_char(struct text *from, char c)
{
    if (from->bytes == 0 || from->at[0] != c)
        return false;
    from->at++;
    from->bytes--;
    return true;
}

static bool take_date(struct text *from, int64_t *days)
{
    int year, month, day;

    if (!take_digits(from, 4, &year) || !take_char(from, '-') || !take_digits(from, 2, &month) ||
        !take_char(from, '-') || !take_digits(from, 2, &day))
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > month_days[month - 1] + (month == 2 && leap))
        return false;
    *days = days_from_civil(year, month, day);
    return true;
}

/* HH:MM, HH:MM:SS or HH:MM:SS.fraction; digits beyond milliseconds are dropped. */
static bool take_clock(struct text *from, int64_t *ms)
{
    int hour, minute, second = 0, digit, scale = 100;

    *ms = 0;
    if (!take_digits(from, 2, &hour) || !take_char(from, ':') || !take_digits(from, 2, &minute))
        return false;
    if (take_char(from, ':')) {
        if (!take_digits(from, 2, &second))
            return false;
        if (take_char(from, '.')) {
            if (!take_digits(from, 1, &digit))
                return false;
            do {
                *ms += (int64_t)digit * scale;
                scale /= 10;
            } while (take_digits(from, 1, &digit));
        }
    }
    *ms += ((int64_t)hour * 3600 + (int64_t)minute * 60 + second) * 1000;
    return hour <= 23 && minute <= 59 && second <= 60; /* 60: a leap second */
}

static bool take_zone(struct text *from, int64_t *ms)
{
    int hour, minute;
    bool west;

    *ms = 0;
    if (take_char(from, 'Z') || take_char(from, 'z'))
        return true;
    west = take_char(from, '-');
    if ((!west && !take_char(from, '+')) || !take_digits(from, 2, &hour))
        return false;
    (void)take_char(from, ':');
    if (!take_digits(from, 2, &minute) || hour > 23 || minute > 59)
        return false;
    *ms = ((int64_t)hour * 60 + minute) * 60000 * (west ? -1 : 1);
    return true;
}

bool event_time_parse(struct text from, int64_t *time_ms)
{
    int64_t days, clock_ms, zone_ms;

    if (!take_date(&from, &days))
        return false;
    if (!take_char(&from, 'T') && !take_char(&from, 't') && !take_char(&from, ' '))
        return false;
    if (!take_clock(&from, &clock_ms) || !take_zone(&from, &zone_ms) || from.bytes != 0)
        return false;
    *time_ms = days * 86400000 + clock_ms - zone_ms;
    return true;
}

/* The number in milliseconds; false when it is none in this unit. */
static bool time_of_number(const struct json_value *value, enum time_unit unit, int64_t *time_ms)
{
    if (value->type == JSON_INT) {
        int64_t whole = value->integer;

        if (whole < 0)
            return false;
        if (unit == TIME_S && whole > EVENT_TIME_MAX_MS / 1000)
            whole = EVENT_TIME_MAX_MS / 1000 + 1; /* too far ahead, whatever it is */
        *time_ms = unit == TIME_S ? whole * 1000 : unit == TIME_US ? whole / 1000 : whole;
        return true;
    }
    if (value->type != JSON_REAL || value->real < 0 ||
        (unit != TIME_S && value->real != floor(value->real)))
        return false;
    double ms = unit == TIME_S    ? floor(value->real * 1000 + 0.5)
                : unit == TIME_US ? floor(value->real / 1000)
                                  : value->real;
    *time_ms = ms > (double)EVENT_TIME_MAX_MS ? EVENT_TIME_MAX_MS + 1 : (int64_t)ms;
    return true;
}

enum refusal event_time_of(const struct json_value *value, enum time_unit unit, int64_t *time_ms)
{
    if (unit == TIME_ISO) {
        if (value->type != JSON_TEXT || !event_time_parse(value->text, time_ms))
            return REFUSAL_BAD_TIME;
    } else if (!time_of_number(value, unit, time_ms)) {
        return REFUSAL_BAD_TIME;
    }
    if (DEFENCE(TIME_RANGE) && *time_ms < EVENT_TIME_MIN_MS)
        return REFUSAL_BAD_TIME;
    return *time_ms > EVENT_TIME_MAX_MS ? REFUSAL_FUTURE_TIME : REFUSAL_NONE;
}
