/*
 * eval/interactions_line.c - separators, quotes, names of columns, times.
 *
 * Times of data sets come in every unit; which one is told by the number's size, for a
 * second of 1e11 would be in the year 5138, a millisecond of 1e14 in 5138, and so on.
 */
#include "eval/interactions_line.h"

#include "schemas/event.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SECONDS_MAX 1e11
#define MILLIS_MAX  1e14
#define MICROS_MAX  1e17
#define TIME_CHARS  48
#define TIME_MAX_MS INT64_C(7258118400000) /* the year 2200: no event is of later */

static const char *const time_names[] = {
    "ts",       "time",       "timestamp",      "time_ms",     "unixtime",   "unix_time",
    "datetime", "date",       "event_time",     "created_at",  "when",       "reviewtime",
    "rated_at", "visit_time", "unixreviewtime", "invoicedate", "time:token", "timestamp:float",
    NULL};
static const char *const user_names[] = {"user",      "user_id",       "userid",     "uid",
                                         "u",         "customer",      "customerid", "customer_id",
                                         "visitorid", "visitor_id",    "session",    "session_id",
                                         "sessionid", "reviewerid",    "reviewer",   "member",
                                         "user_idx",  "user_id:token", NULL};
static const char *const item_names[] = {
    "item",        "item_id",   "itemid",    "iid",           "i",          "product",
    "product_id",  "productid", "movie",     "movie_id",      "movieid",    "asin",
    "parent_asin", "sku",       "stockcode", "business_id",   "artist",     "artist_id",
    "track",       "track_id",  "song_id",   "article",       "article_id", "book_id",
    "gameid",      "game_id",   "item_idx",  "item_id:token", NULL};

struct field_names {
    const char *field; /* in a map */
    const char *const *usual;
};
static const struct field_names fields_known[3] = {
    {"ts", time_names}, {"user", user_names}, {"item", item_names}};

bool interactions_line_is_empty(struct text line)
{
    for (size_t i = 0; i < line.bytes; i++)
        if (line.at[i] != ' ' && line.at[i] != '\t' && line.at[i] != '\r')
            return false;
    return true;
}

/* ---- fields ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int split_blanks(char *at, size_t bytes, struct text *fields)
{
    const char *end = at + bytes;
    int count = 0;

    while (count < INTERACTIONS_COLUMNS_MAX) {
        while (at < end && is_blank(*at))
            at++;
        if (at == end)
            break;
        fields[count].at = at;
        while (at < end && !is_blank(*at))
            at++;
        fields[count].bytes = (size_t)(at - fields[count].at);
        count++;
    }
    return count;
}

/* Blanks around a field are not part of it. */
static struct text trimmed(const char *from, const char *end)
{
    while (from < end && is_blank(*from))
        from++;
    while (end > from && is_blank(end[-1]))
        end--;
    return (struct text){from, (size_t)(end - from)};
}

/* Fields with quotes ("a ""b"" c") resolved in place; -1: a quote without an end. */
static int split_separated(char *at, size_t bytes, const char *separator, struct text *fields)
{
    const char *end = at + bytes;
    size_t width = strlen(separator);
    int count = 0;

    for (;;) {
        char *from = at, *into = at;

        if (count == INTERACTIONS_COLUMNS_MAX)
            return count;
        if (at < end && *at == '"') {
            for (at++; at < end && (*at != '"' || (at + 1 < end && at[1] == '"')); at++) {
                at += *at == '"';
                *into++ = *at;
            }
            if (at == end)
                return -1;
            at++;
            fields[count++] = trimmed(from, into);
        } else {
            while (at < end && strncmp(at, separator, width) != 0)
                at++;
            fields[count++] = trimmed(from, at);
        }
        while (at < end && strncmp(at, separator, width) != 0)
            at++; /* what stands behind a closing quote */
        if (at == end)
            return count;
        at += width;
    }
}

/* Fields point into the copy; -1: no memory or bad quotes. */
static int split(struct interactions_line *r, struct text line, struct text *fields)
{
    if (line.bytes + 1 > r->copy_bytes) {
        char *larger = realloc(r->copy, line.bytes + 1);

        if (larger == NULL)
            return -1;
        r->copy = larger;
        r->copy_bytes = line.bytes + 1;
    }
    memcpy(r->copy, line.at, line.bytes);
    r->copy[line.bytes] = 0; /* the searches above end there at the latest */
    return r->blanks ? split_blanks(r->copy, line.bytes, fields)
                     : split_separated(r->copy, line.bytes, r->separator, fields);
}

static bool has(struct text line, const char *what)
{
    return memmem(line.at, line.bytes, what, strlen(what)) != NULL;
}

static void find_separator(struct interactions_line *r, struct text line, bool header)
{
    static const char *const candidates[] = {"::", "\t", ",", ";", "|"};

    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        /* A pair of "a b" with a tab between is what blanks are for. */
        if (!has(line, candidates[i]) || (!header && candidates[i][0] == '\t'))
            continue;
        if (!header && has(line, " ") && candidates[i][0] != ':')
            continue;
        memcpy(r->separator, candidates[i], strlen(candidates[i]) + 1);
        return;
    }
    r->blanks = true;
}

/* ---- the header ---- */

static bool is_named(struct text column, const char *name)
{
    return column.bytes == strlen(name) && strncasecmp(column.at, name, column.bytes) == 0;
}

static int find_column(const struct text *columns, int count, const char *const *names)
{
    for (int n = 0; names[n] != NULL; n++)
        for (int i = 0; i < count; i++)
            if (is_named(columns[i], names[n]))
                return i;
    return -1;
}

static enum status no_column(const struct text *columns, int count, const char *name,
                             struct error *err)
{
    char list[128];
    size_t used = 0;

    for (int i = 0; i < count && used + columns[i].bytes + 2 < sizeof list; i++) {
        if (i > 0)
            list[used++] = ' ';
        memcpy(list + used, columns[i].at, columns[i].bytes);
        used += columns[i].bytes;
    }
    return error_set(err, ERR_MALFORMED,
                     "no column \"%.40s\" (a map can name another); there are: %.*s", name,
                     (int)used, list);
}

static enum status map_columns(struct interactions_line *r, const char *map,
                               const struct text *columns, int count, struct error *err)
{
    int *places[3] = {&r->time, &r->user, &r->item};

    while (*map != 0) {
        size_t bytes = strcspn(map, ","), name = strcspn(map, "=");
        const char *wanted[2] = {NULL, NULL};
        char column[80];
        int field = 0;

        if (name >= bytes || bytes - name - 1 >= sizeof column)
            return error_set(err, ERR_CONFIG, "map \"%.*s\" is not field=column",
                             (int)(bytes < 60 ? bytes : 60), map);
        while (field < 3 && !is_named((struct text){map, name}, fields_known[field].field))
            field++;
        if (field == 3)
            return error_set(err, ERR_CONFIG, "map names \"%.*s\", which is none of ts, user, item",
                             (int)(name < 40 ? name : 40), map);
        memcpy(column, map + name + 1, bytes - name - 1);
        column[bytes - name - 1] = 0;
        wanted[0] = column;
        *places[field] = find_column(columns, count, wanted);
        if (*places[field] < 0)
            return no_column(columns, count, column, err);
        map += bytes + (map[bytes] == ',');
    }
    return OK;
}

/* Which of two columns of one name is meant nobody can tell. */
static enum status check_single(const struct text *columns, int count, const int places[3],
                                struct error *err)
{
    for (int p = 0; p < 3; p++)
        for (int i = places[p] + 1; places[p] >= 0 && i < count; i++)
            if (columns[i].bytes == columns[places[p]].bytes &&
                strncasecmp(columns[i].at, columns[places[p]].at, columns[i].bytes) == 0)
                return error_set(err, ERR_MALFORMED, "two columns are named \"%.*s\"",
                                 (int)(columns[i].bytes < 40 ? columns[i].bytes : 40),
                                 columns[i].at);
    return OK;
}

enum status interactions_line_begin(struct interactions_line *r, struct text *line, bool header,
                                    const char *map, struct error *err)
{
    struct text columns[INTERACTIONS_COLUMNS_MAX];
    enum status status = OK;
    int count;

    if (line->bytes >= 3 && memcmp(line->at, "\xef\xbb\xbf", 3) == 0) {
        line->at += 3;
        line->bytes -= 3;
    }
    r->begun = true;
    find_separator(r, *line, header);
    r->user = 0;
    r->item = 1;
    r->time = -1;
    count = split(r, *line, columns);
    if (!header && count > 1 && find_column(columns, count, user_names) >= 0 &&
        find_column(columns, count, item_names) >= 0)
        return error_set(err, ERR_MALFORMED,
                         "the first line names columns: --format csv reads them");
    if (!header)
        return OK;
    if (count < 0)
        return error_set(err, ERR_MALFORMED, "the header line has a quote without an end");
    r->time = find_column(columns, count, time_names);
    r->user = find_column(columns, count, user_names);
    r->item = find_column(columns, count, item_names);
    if (map != NULL)
        status = map_columns(r, map, columns, count, err);
    if (status == OK && r->user < 0)
        status = no_column(columns, count, "user", err);
    if (status == OK && r->item < 0)
        status = no_column(columns, count, "item", err);
    if (status == OK)
        status = check_single(columns, count, (const int[3]){r->user, r->item, r->time}, err);
    r->timed = r->time >= 0;
    return status;
}

/* ---- times ---- */

static bool time_of_number(const char *digits, int64_t *time_ms)
{
    char *end;
    double value = strtod(digits, &end);

    if (end == digits || *end != 0 || !isfinite(value) || fabs(value) > 1e19)
        return false;
    if (fabs(value) < SECONDS_MAX)
        value *= 1e3;
    else if (fabs(value) >= MICROS_MAX)
        value /= 1e6;
    else if (fabs(value) >= MILLIS_MAX)
        value /= 1e3;
    *time_ms = (int64_t)value;
    return true;
}

static bool is_an_events(int64_t time_ms)
{
    return time_ms >= 0 && time_ms <= TIME_MAX_MS;
}

bool interactions_time(struct text field, int64_t *time_ms)
{
    char text[TIME_CHARS + 16] = {0};
    size_t bytes = field.bytes, digits = 0;

    if (bytes == 0 || bytes > TIME_CHARS)
        return false;
    memcpy(text, field.at, bytes);
    text[bytes] = 0;
    if (time_of_number(text, time_ms))
        return is_an_events(*time_ms);
    while (isdigit((unsigned char)text[digits]))
        digits++;
    if (digits != 4) /* ISO begins with a year */
        return false;
    if (bytes == 10) { /* a date alone */
        memcpy(text + bytes, "T00:00Z", 8);
        bytes += 7;
    } else if (text[bytes - 1] != 'Z' && text[bytes - 1] != 'z' &&
               strpbrk(text + 10, "+-") == NULL) {
        text[bytes++] = 'Z';
    }
    return event_time_parse((struct text){text, bytes}, time_ms) && is_an_events(*time_ms);
}

bool interactions_line_split(struct interactions_line *r, struct text line,
                             struct interactions_fields *fields)
{
    struct text all[INTERACTIONS_COLUMNS_MAX];
    int count = split(r, line, all);

    if (r->user >= count || r->item >= count || r->time >= count)
        return false;
    fields->user = all[r->user];
    fields->item = all[r->item];
    fields->time_ms = 0;
    if (fields->user.bytes == 0 || fields->item.bytes == 0)
        return false;
    return r->time < 0 || interactions_time(all[r->time], &fields->time_ms);
}

void interactions_line_clear(struct interactions_line *r)
{
    free(r->copy);
    *r = (struct interactions_line){0};
}
