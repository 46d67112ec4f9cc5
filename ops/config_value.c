/* ops/config_value.c - texts to numbers with units, by type. */
#include "ops/config_value.h"

#include "ops/levenshtein.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX 4096

struct unit {
    const char *name;
    double factor; /* in the unit kept */
};

static const struct unit durations[] = {{"ms", 1},     {"s", 1e3},     {"m", 6e4}, {"h", 3.6e6},
                                        {"d", 8.64e7}, {"w", 6.048e8}, {NULL, 0}};
static const struct unit sizes[] = {
    {"B", 1},    {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {"TiB", 0x1p40},
    {"KB", 1e3}, {"MB", 1e6},   {"GB", 1e9},      {"TB", 1e12},        {NULL, 0}};

static bool refuse(char *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

static bool refuse(char *why, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, CONFIG_WHY_BYTES, fmt, args);
    va_end(args);
    return false;
}

void config_value_printable(char *into, size_t bytes, const char *from)
{
    size_t i = 0;

    for (; from[i] != 0 && i + 1 < bytes; i++)
        into[i] = isprint((unsigned char)from[i]) ? from[i] : '?';
    into[i] = 0;
}

/* Largest unit that divides it: 300000 -> "5m". */
static void format_units(char *into, size_t bytes, double value, const struct unit *units)
{
    const struct unit *best = units;

    for (const struct unit *unit = units; unit->name != NULL; unit++)
        if (unit->factor > best->factor && fmod(value, unit->factor) == 0 && value > 0)
            best = unit;
    (void)snprintf(into, bytes, "%.15g%s", value / best->factor, best->name);
}

static void format_limit(char *into, size_t bytes, const struct config_row *row, double limit)
{
    if (row->type == CONFIG_DURATION)
        format_units(into, bytes, limit, durations);
    else if (row->type == CONFIG_BYTES)
        format_units(into, bytes, limit, sizes);
    else
        (void)snprintf(into, bytes, "%.15g", limit);
}

void config_value_describe(const struct config_row *row, char *into, size_t bytes)
{
    static const char *const names[] = {
        [CONFIG_TEXT] = "text",
        [CONFIG_BOOL] = "true or false",
        [CONFIG_INT] = "an integer",
        [CONFIG_REAL] = "a number",
        [CONFIG_DURATION] = "a duration",
        [CONFIG_BYTES] = "a size",
        [CONFIG_SECRET] = "file:PATH or env:NAME",
        [CONFIG_TEXTS] = "a list of texts",
    };
    char low[40], high[40];

    if (row->type == CONFIG_CHOICE) {
        (void)snprintf(into, bytes, "one of %s", row->choices);
    } else if (row->min == 0 && row->max == 0) {
        (void)snprintf(into, bytes, "%s", names[row->type]);
    } else {
        format_limit(low, sizeof low, row, row->min);
        format_limit(high, sizeof high, row, row->max);
        (void)snprintf(into, bytes, "%s, %s..%s", names[row->type], low, high);
    }
}

static bool in_range(const struct config_row *row, double number, const char *shown, char *why)
{
    char low[40], high[40];

    if ((row->min == 0 && row->max == 0) || (number >= row->min && number <= row->max))
        return true;
    format_limit(low, sizeof low, row, row->min);
    format_limit(high, sizeof high, row, row->max);
    return refuse(why, "is %s, allowed is %s..%s", shown, low, high);
}

/* Digits, one point, an exponent; not what strtod also takes: hex, inf, nan, white space. */
static bool parse_number(const char *text, double *number, const char **end)
{
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    char *after;

    if (!isdigit((unsigned char)digits[0]) &&
        !(digits[0] == '.' && isdigit((unsigned char)digits[1])))
        return false;
    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X'))
        return false;
    *number = strtod(text, &after);
    *end = after;
    return isfinite(*number);
}

static bool parse_int(const struct config_row *row, const char *text, const char *shown,
                      struct config_value *value, char *why)
{
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    char *end;

    errno = 0;
    value->integer = strtoll(text, &end, 10);
    if (!isdigit((unsigned char)digits[0]) || *end != 0)
        return refuse(why, "is \"%s\", must be an integer", shown);
    if (errno == ERANGE)
        return refuse(why, "is %s, which no 64-bit integer holds", shown);
    return in_range(row, (double)value->integer, shown, why);
}

static bool parse_units(const struct config_row *row, const struct unit *units, const char *text,
                        const char *shown, struct config_value *value, char *why)
{
    const char *what = row->type == CONFIG_DURATION ? "a duration" : "a size";
    const char *example = row->type == CONFIG_DURATION ? "250ms, 10s, 5m, 2h, 30d"
                                                       : "512B, 64KiB, 10MB, 2GiB";
    const char *end;
    double number, kept;

    if (!parse_number(text, &number, &end))
        return refuse(why, "is \"%s\", must be %s such as %s", shown, what, example);
    if (number < 0)
        return refuse(why, "is %s, must not be negative", shown);
    if (*end == 0 && number != 0)
        return refuse(why, "is \"%s\" without a unit, must be %s such as %s", shown, what, example);
    while (*end == ' ')
        end++;
    while (*end != 0 && units->name != NULL && strcmp(units->name, end) != 0)
        units++;
    if (units->name == NULL)
        return refuse(why, "is \"%s\" with an unknown unit, must be %s such as %s", shown, what,
                      example);
    kept = number * units->factor;
    if (kept > 0x1p53)
        return refuse(why, "is %s, which is too large", shown);
    value->integer = (int64_t)llround(kept);
    if (fabs(kept - (double)value->integer) > 1e-6 * kept)
        return refuse(why, "is %s, finer than a %s", shown,
                      row->type == CONFIG_DURATION ? "millisecond" : "byte");
    return in_range(row, (double)value->integer, shown, why);
}

static bool parse_bool(const char *text, const char *shown, struct config_value *value, char *why)
{
    value->integer = strcmp(text, "true") == 0;
    if (value->integer || strcmp(text, "false") == 0)
        return true;
    return refuse(why, "is \"%s\", must be true or false", shown);
}

static bool parse_choice(const struct config_row *row, const char *text, const char *shown,
                         char *why)
{
    struct levenshtein_nearest nearest = {0};
    char choices[200];
    char *rest = choices;
    char *choice;

    (void)snprintf(choices, sizeof choices, "%s", row->choices);
    while ((choice = strsep(&rest, "|")) != NULL) {
        if (strcmp(choice, text) == 0)
            return true;
        levenshtein_offer(&nearest, text, choice);
    }
    if (nearest.name != NULL)
        return refuse(why, "is \"%s\", must be one of %s; did you mean \"%s\"?", shown,
                      row->choices, nearest.name);
    return refuse(why, "is \"%s\", must be one of %s", shown, row->choices);
}

bool config_value_parse(const struct config_row *row, const char *text, struct config_value *value,
                        char why[CONFIG_WHY_BYTES])
{
    char shown[64]; /* what the message repeats of it */
    const char *end;

    *value = (struct config_value){0};
    config_value_printable(shown, sizeof shown, text);
    if (strlen(text) > TEXT_BYTES_MAX)
        return refuse(why, "has %zu bytes, at most %d", strlen(text), TEXT_BYTES_MAX);
    switch (row->type) {
    case CONFIG_TEXT:
    case CONFIG_TEXTS:
        return true;
    case CONFIG_CHOICE:
        return parse_choice(row, text, shown, why);
    case CONFIG_BOOL:
        return parse_bool(text, shown, value, why);
    case CONFIG_INT:
        return parse_int(row, text, shown, value, why);
    case CONFIG_REAL:
        if (!parse_number(text, &value->real, &end) || *end != 0)
            return refuse(why, "is \"%s\", must be a number", shown);
        return in_range(row, value->real, shown, why);
    case CONFIG_DURATION:
        return parse_units(row, durations, text, shown, value, why);
    case CONFIG_BYTES:
        return parse_units(row, sizes, text, shown, value, why);
    case CONFIG_SECRET:
        if (text[0] == 0 || (strncmp(text, "file:", 5) == 0 && text[5] != 0) ||
            (strncmp(text, "env:", 4) == 0 && text[4] != 0))
            return true;
        return refuse(why, "must be a reference, file:PATH or env:NAME, not the secret itself");
    }
    assert(!"a type without a rule");
    return false;
}
