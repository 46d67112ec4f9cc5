/*
 * schemas/event_file.c - lines of a file as events, in one of three forms.
 *
 * A line is split in place, in a copy of our own: quotes are resolved there, and ids point into
 * it. What a line lacks (an action, a time) the file's form gives; everything else is judged as
 * event_decode() judges a record, with the same refusals.
 */
#include "schemas/event_file.h"

#include "ops/file.h"
#include "ops/hash.h"
#include "ops/map64.h"
#include "schemas/event_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX EVENT_BYTES_MAX
#define COLUMNS_MAX    64
#define USERS_MAX      MAP64_ENTRIES_MAX
#define USER_SEED      UINT64_C(0x66696c65)
#define PAIR_STEP_MS   1000

const char *const event_file_form_names[EVENT_FILE_FORMS] = {
    [EVENT_FILE_DETECT] = "detect",
    [EVENT_FILE_JSONL] = "jsonl",
    [EVENT_FILE_CSV] = "csv",
    [EVENT_FILE_PAIRS] = "user-item",
};

enum event_file_form event_file_form_of(const char *name)
{
    for (int i = 0; name != NULL && i < EVENT_FILE_FORMS; i++)
        if (strcmp(name, event_file_form_names[i]) == 0)
            return (enum event_file_form)i;
    return name != NULL && strcmp(name, "pairs") == 0 ? EVENT_FILE_PAIRS : EVENT_FILE_DETECT;
}

enum field {
    FIELD_TIME,
    FIELD_USER,
    FIELD_ITEM,
    FIELD_ACTION,
    FIELD_REQUEST_ID,
    FIELD_EVENT_ID,
    FIELD_COUNT
};
static const char *const field_names[FIELD_COUNT] = {"ts",     "user",       "item",
                                                     "action", "request_id", "event_id"};

/* The latest time of a user, and how many lines in a row had it. */
struct last_line {
    int64_t time_ms;
    int64_t repeats;
};

struct event_file {
    const struct event_schema *schema;
    struct event_decoder *decoder; /* jsonl */
    struct file_lines *lines;
    enum event_file_form form;
    enum time_unit unit;
    bool spread;
    uint8_t action; /* of lines without one */
    char separator;
    int columns[FIELD_COUNT]; /* of each field, or -1 */
    struct text line;         /* the last one */
    struct text row;          /* the one item a csv impression shows */
    bool pending;             /* it was read to tell the form, and is the next to be decoded */
    char *copy;               /* (copy_bytes) of the line, split */
    size_t copy_bytes;
    struct map64 *users; /* hash of the user -> index of last */
    struct last_line *last;
    size_t last_max;
};

/* ---- lines and fields ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Reads a field's text at *at (up to end), resolves quotes in place and steps behind the
 * separator. False: a quote without an end, or something behind one. */
static bool take_field(char **at, const char *end, char separator, struct text *field, bool *more)
{
    char *from = *at, *into = *at;

    if (from < end && *from == '"') {
        for (from++; from < end && (*from != '"' || (from + 1 < end && from[1] == '"')); from++) {
            from += *from == '"';
            *into++ = *from;
        }
        if (from == end)
            return false;
        from++;
        if (from < end && *from != separator)
            return false;
        *field = (struct text){*at, (size_t)(into - *at)};
    } else {
        while (from < end && *from != separator)
            from++;
        *field = (struct text){*at, (size_t)(from - *at)};
    }
    *more = from < end;
    *at = from + *more;
    return true;
}

/* Splits a line into at most COLUMNS_MAX fields, which point into the copy; -1: bad quotes.
 * Columns beyond are not looked at. */
static int split_line(struct event_file *file, struct text fields[COLUMNS_MAX])
{
    char *at = file->copy;
    const char *end = file->copy + file->line.bytes;
    int count = 0;
    bool more = true;

    while (more && count < COLUMNS_MAX)
        if (!take_field(&at, end, file->separator, &fields[count++], &more))
            return -1;
    return count;
}

static enum status copy_line(struct event_file *file, struct error *err)
{
    if (file->line.bytes > file->copy_bytes) {
        char *larger = realloc(file->copy, file->line.bytes);

        if (larger == NULL)
            return error_set(err, ERR_NOMEM, "no memory for a line of %zu bytes", file->line.bytes);
        file->copy = larger;
        file->copy_bytes = file->line.bytes;
    }
    if (file->line.bytes > 0)
        memcpy(file->copy, file->line.at, file->line.bytes);
    return OK;
}

/* Two words and nothing else. */
static bool split_pair(struct text line, struct text pair[2])
{
    size_t at = 0;

    for (int i = 0; i < 2; i++) {
        while (at < line.bytes && is_blank(line.at[at]))
            at++;
        size_t from = at;
        while (at < line.bytes && !is_blank(line.at[at]))
            at++;
        pair[i] = (struct text){line.at + from, at - from};
    }
    while (at < line.bytes && is_blank(line.at[at]))
        at++;
    return pair[1].bytes > 0 && at == line.bytes;
}

static bool line_is_empty(struct text line)
{
    for (size_t i = 0; i < line.bytes; i++)
        if (!is_blank(line.at[i]))
            return false;
    return true;
}

/* ---- opening ---- */

static enum status set_unit(struct event_file *file, const char *unit, struct error *err)
{
    static const char *const names[] = {"ms", "s", "us", "iso"};

    file->unit = TIME_S;
    if (unit == NULL || unit[0] == 0)
        return OK;
    for (int i = 0; i < 4; i++) {
        if (strcmp(unit, names[i]) == 0) {
            file->unit = (enum time_unit)i;
            return OK;
        }
    }
    return error_set(err, ERR_CONFIG, "unit \"%.40s\" is none of s, ms, us, iso", unit);
}

/* Which column each field is in, under the name the map gives it. */
static int find_column(const struct text *columns, int count, struct text name)
{
    for (int i = 0; i < count; i++)
        if (text_equal(columns[i], name))
            return i;
    return -1;
}

static enum status missing_column(const struct text *columns, int count, struct text name,
                                  struct error *err)
{
    char list[128];
    size_t used = 0;

    for (int i = 0; i < count; i++) {
        size_t bytes = columns[i].bytes;

        if (used + bytes + 3 > sizeof list)
            break;
        if (i > 0)
            list[used++] = ' ';
        if (bytes > 0)
            memcpy(list + used, columns[i].at, bytes);
        used += bytes;
    }
    return error_set(err, ERR_MALFORMED, "no column \"%.*s\"; there are: %.*s",
                     (int)(name.bytes < 40 ? name.bytes : 40), name.at, (int)used, list);
}

/* Applies one "field=column" of a map. */
static enum status map_field(struct event_file *file, struct text part, const struct text *columns,
                             int count, struct error *err)
{
    const char *equals = memchr(part.at, '=', part.bytes);
    struct text name, column;

    if (equals == NULL)
        return error_set(err, ERR_CONFIG, "map \"%.*s\" is not field=column",
                         (int)(part.bytes < 60 ? part.bytes : 60), part.at);
    name = (struct text){part.at, (size_t)(equals - part.at)};
    column = (struct text){equals + 1, part.bytes - name.bytes - 1};
    for (int field = 0; field < FIELD_COUNT; field++) {
        if (!text_equal(name, text_of(field_names[field])))
            continue;
        file->columns[field] = find_column(columns, count, column);
        return file->columns[field] >= 0 ? OK : missing_column(columns, count, column, err);
    }
    return error_set(err, ERR_CONFIG,
                     "map names \"%.*s\", which is none of ts, user, item, action, request_id, "
                     "event_id",
                     (int)(name.bytes < 40 ? name.bytes : 40), name.at);
}

static enum status read_header(struct event_file *file, const struct event_file_options *options,
                               bool *has_rating, struct error *err)
{
    const char *map = options->map == NULL ? "" : options->map;
    struct text columns[COLUMNS_MAX];
    enum status status = copy_line(file, err);
    int count;

    if (status != OK)
        return status;
    count = split_line(file, columns);
    if (count < 0)
        return error_set(err, ERR_MALFORMED, "header line has a quote without an end");
    for (int field = 0; field < FIELD_COUNT; field++)
        file->columns[field] = find_column(columns, count, text_of(field_names[field]));
    if (file->columns[FIELD_ACTION] < 0)
        file->columns[FIELD_ACTION] = find_column(columns, count, text_of("type"));
    while (map[0] != 0) {
        size_t bytes = strcspn(map, ",");

        status = map_field(file, (struct text){map, bytes}, columns, count, err);
        if (status != OK)
            return status;
        map += bytes + (map[bytes] == ',');
    }
    for (int field = FIELD_TIME; field <= FIELD_ITEM; field++)
        if (file->columns[field] < 0)
            return missing_column(columns, count, text_of(field_names[field]), err);
    for (int field = 0; field < FIELD_COUNT; field++) {
        int at = file->columns[field];

        if (at >= 0 && find_column(columns + at + 1, count - at - 1, columns[at]) >= 0)
            return error_set(err, ERR_MALFORMED, "two columns are named \"%.*s\"",
                             (int)(columns[at].bytes < 40 ? columns[at].bytes : 40),
                             columns[at].at);
    }
    *has_rating = find_column(columns, count, text_of("rating")) >= 0;
    return OK;
}

/* The first of , ; and tab that the line has; 0: none. */
static char separator_of(struct text line)
{
    for (size_t i = 0; i < line.bytes; i++)
        if (line.at[i] == ',' || line.at[i] == ';' || line.at[i] == '\t')
            return line.at[i];
    return 0;
}

/* What the first line looks like. Two words are a pair, also when a tab is between them, unless
 * the first is a column's name: then a column is missing, which the caller will say. */
static enum event_file_form form_of(struct text line, const struct event_file_options *options)
{
    struct text pair[2];
    char separator = separator_of(line);

    if (line.bytes > 0 && line.at[0] == '{')
        return EVENT_FILE_JSONL;
    if (options->map != NULL && options->map[0] != 0)
        return EVENT_FILE_CSV;
    if (separator == ',' || separator == ';')
        return EVENT_FILE_CSV;
    if (split_pair(line, pair))
        return text_equal(pair[0], text_of("user")) ? EVENT_FILE_CSV : EVENT_FILE_PAIRS;
    return separator == '\t' ? EVENT_FILE_CSV : EVENT_FILE_DETECT;
}

static enum status set_action(struct event_file *file, const char *name, bool has_rating,
                              struct error *err)
{
    const struct action_row *row;

    if (name != NULL && name[0] != 0) {
        row = event_schema_action_named(file->schema, text_of(name));
        if (row == NULL)
            return error_set(err, ERR_CONFIG, "action \"%.40s\" is not in events.actions", name);
        file->action = row->code;
        return OK;
    }
    row = has_rating ? event_schema_action_named(file->schema, text_of("rate")) : NULL;
    if (row == NULL)
        row = event_schema_action_named(file->schema, text_of("click"));
    file->action = row == NULL ? 0 : row->code; /* 0: a line without an action is refused */
    return OK;
}

/* Reads up to the first line that is not empty, which tells the form. */
static enum status read_first(struct event_file *file, const struct event_file_options *options,
                              struct error *err)
{
    static const char bom[] = "\xef\xbb\xbf";
    bool has_rating = false;
    enum status status;

    do {
        status = file_lines_next(file->lines, &file->line, err);
        if (status != OK)
            return status;
        if (file->line.bytes >= 3 && memcmp(file->line.at, bom, 3) == 0) {
            file->line.at += 3;
            file->line.bytes -= 3;
        }
    } while (file->line.at != NULL && line_is_empty(file->line));
    file->form = options->form;
    if (file->form == EVENT_FILE_DETECT)
        file->form = file->line.at == NULL ? EVENT_FILE_JSONL : form_of(file->line, options);
    if (file->form == EVENT_FILE_DETECT)
        return error_set(err, ERR_MALFORMED,
                         "first line is neither JSON, nor a csv header, nor a pair: \"%.*s\"",
                         (int)(file->line.bytes < 60 ? file->line.bytes : 60), file->line.at);
    if (file->line.at == NULL)
        return OK;
    file->pending = file->form != EVENT_FILE_CSV;
    if (file->form == EVENT_FILE_CSV) {
        file->separator = separator_of(file->line);
        status = read_header(file, options, &has_rating, err);
        if (status != OK)
            return status;
    }
    return set_action(file, options->action, has_rating, err);
}

enum status event_file_open(struct event_file **file, const char *path,
                            const struct event_schema *schema,
                            const struct event_file_options *options, struct error *err)
{
    struct event_file *made = calloc(1, sizeof *made);
    enum status status;

    *file = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
    made->schema = schema;
    status = set_unit(made, options->unit, err);
    if (status != OK)
        goto done;
    status = file_lines_open(&made->lines, path, LINE_BYTES_MAX, err);
    if (status != OK)
        goto done;
    status = read_first(made, options, err);
    if (status != OK) {
        (void)error_prefix(err, "\"%s\"", path);
        goto done;
    }
    made->spread = made->form == EVENT_FILE_CSV ||
                   (made->form == EVENT_FILE_JSONL && schema->unit == TIME_S);
    made->users = map64_create(0, USERS_MAX);
    if (made->users == NULL)
        status = error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
    else
        status = event_decoder_create(&made->decoder, schema, err);
    if (status != OK)
        goto done;
    *file = made;
    made = NULL;
done:
    event_file_close(made);
    return status;
}

/* ---- events ---- */

static enum status refuse(enum refusal why, enum refusal *into, struct error *err)
{
    *into = why;
    return error_set(err, why == REFUSAL_OVERSIZE ? ERR_LIMIT : ERR_MALFORMED, "%s",
                     refusal_text(why));
}

static struct text field_of(const struct event_file *file, const struct text *fields, int count,
                            enum field field)
{
    int column = file->columns[field];

    return column >= 0 && column < count ? fields[column] : (struct text){0};
}

/* A csv field as what JSON would have given: a number where it is one, else a text. */
static enum refusal time_of_field(const struct event_file *file, struct text field,
                                  int64_t *time_ms)
{
    struct json_value value = {.type = JSON_TEXT, .text = field};
    char digits[64];

    if (field.bytes == 0)
        return REFUSAL_NO_TIME;
    if (file->unit != TIME_ISO && field.bytes < sizeof digits) {
        bool whole = true;
        char *end;

        memcpy(digits, field.at, field.bytes);
        digits[field.bytes] = 0;
        for (size_t i = 0; i < field.bytes; i++) {
            whole &= digits[i] >= '0' && digits[i] <= '9';
            if (strchr("0123456789.eE+-", digits[i]) == NULL)
                return REFUSAL_BAD_TIME;
        }
        if (whole && field.bytes <= 18) {
            value.type = JSON_INT;
            value.integer = strtoll(digits, &end, 10);
        } else {
            value.type = JSON_REAL;
            value.real = strtod(digits, &end);
            if (*end != 0 || end == digits)
                return REFUSAL_BAD_TIME;
        }
    }
    return event_time_of(&value, file->unit, time_ms);
}

static enum status event_of_fields(struct event_file *file, const struct text *fields, int count,
                                   struct event *event, enum refusal *why, struct error *err)
{
    struct text action = field_of(file, fields, count, FIELD_ACTION);
    const struct event_name *name;
    enum refusal bad_time;

    event->user = field_of(file, fields, count, FIELD_USER);
    event->item = field_of(file, fields, count, FIELD_ITEM);
    event->request_id = field_of(file, fields, count, FIELD_REQUEST_ID);
    event->event_id = field_of(file, fields, count, FIELD_EVENT_ID);
    if (event->user.bytes == 0)
        return refuse(REFUSAL_NO_USER, why, err);
    if (!event_id_fits(event->user, USER_ID_MAX))
        return refuse(REFUSAL_BAD_USER, why, err);
    event->action = file->action;
    if (action.bytes > 0) {
        name = event_schema_find_name(file->schema, action);
        if (name == NULL && !file->schema->unknown_ignored)
            return refuse(REFUSAL_UNKNOWN_ACTION, why, err);
        event->kind = name == NULL ? EVENT_ACTION : (enum event_kind)name->kind;
        event->action = name == NULL ? ACTION_UNKNOWN : name->action;
    } else if (event->action == 0) {
        return refuse(REFUSAL_NO_ACTION, why, err);
    }
    bad_time = time_of_field(file, field_of(file, fields, count, FIELD_TIME), &event->time_ms);
    if (bad_time != REFUSAL_NONE)
        return refuse(bad_time, why, err);
    if (event->kind != EVENT_ERASE && event->item.bytes == 0)
        return refuse(REFUSAL_NO_ITEM, why, err);
    if (event->kind != EVENT_ERASE && !event_id_fits(event->item, ITEM_ID_MAX))
        return refuse(REFUSAL_BAD_ITEM, why, err);
    if (event->request_id.bytes > 0 && !event_id_fits(event->request_id, REQUEST_ID_MAX))
        return refuse(REFUSAL_BAD_REQUEST, why, err);
    if (event->event_id.bytes > 0 && !event_id_fits(event->event_id, SIZE_MAX))
        event->event_id = (struct text){0};
    return OK;
}

static enum status decode_csv(struct event_file *file, struct event *event, enum refusal *why,
                              struct error *err)
{
    struct text fields[COLUMNS_MAX];
    enum status status = copy_line(file, err);
    int count;

    if (status != OK)
        return status;
    count = split_line(file, fields);
    if (count < 0)
        return refuse(REFUSAL_NOT_CSV, why, err);
    status = event_of_fields(file, fields, count, event, why, err);
    if (status == OK && event->kind == EVENT_IMPRESSION) {
        file->row = event->item;
        event->rows = &file->row;
        event->rows_count = 1;
    }
    return status;
}

static enum status decode_pair(struct event_file *file, struct event *event, enum refusal *why,
                               struct error *err)
{
    struct text pair[2];

    if (!split_pair(file->line, pair))
        return refuse(REFUSAL_NOT_CSV, why, err);
    if (file->action == 0)
        return refuse(REFUSAL_NO_ACTION, why, err);
    event->kind = EVENT_ACTION;
    event->action = file->action;
    event->user = pair[0];
    event->item = pair[1];
    event->time_ms = EVENT_TIME_MIN_MS +
                     (int64_t)(file_lines_number(file->lines) % (1u << 30)) * PAIR_STEP_MS;
    if (!event_id_fits(event->user, USER_ID_MAX))
        return refuse(REFUSAL_BAD_USER, why, err);
    if (!event_id_fits(event->item, ITEM_ID_MAX))
        return refuse(REFUSAL_BAD_ITEM, why, err);
    return OK;
}

/* Adds k ms to the k-th line in a row of one user with one time. */
static enum status spread_time(struct event_file *file, struct event *event, enum refusal *why,
                               struct error *err)
{
    uint64_t user = hash64_text(event->user, USER_SEED);
    struct last_line *last;
    uint32_t index;

    if (!map64_get(file->users, user, &index)) {
        index = (uint32_t)map64_count(file->users);
        if (index == file->last_max) {
            size_t larger = file->last_max == 0 ? 1024 : file->last_max * 2;
            struct last_line *grown = realloc(file->last, larger * sizeof *grown);

            if (grown == NULL)
                return error_set(err, ERR_NOMEM, "no memory for the times of %zu users", larger);
            file->last = grown;
            file->last_max = larger;
        }
        if (map64_put(file->users, user, index) != OK)
            return error_set(err, ERR_NOMEM, "no memory for %u users", (unsigned)index);
        file->last[index] = (struct last_line){event->time_ms, 0};
        return OK;
    }
    last = &file->last[index];
    if (last->time_ms != event->time_ms) {
        *last = (struct last_line){event->time_ms, 0};
        return OK;
    }
    event->time_ms += ++last->repeats;
    if (event->time_ms > EVENT_TIME_MAX_MS)
        return refuse(REFUSAL_FUTURE_TIME, why, err);
    return OK;
}

/* The next line that is not empty; line.at is NULL at the end. */
static enum status next_line(struct event_file *file, enum refusal *why, struct error *err)
{
    enum status status;

    if (file->pending) {
        file->pending = false;
        return OK;
    }
    do {
        status = file_lines_next(file->lines, &file->line, err);
        if (status != OK)
            file->line = (struct text){0};
        if (status == ERR_LIMIT)
            *why = REFUSAL_OVERSIZE;
    } while (status == OK && file->line.at != NULL && line_is_empty(file->line));
    return status;
}

enum status event_file_next(struct event_file *file, struct event *event, bool *more,
                            enum refusal *why, struct error *err)
{
    enum status status;

    *event = (struct event){0};
    *more = true;
    *why = REFUSAL_NONE;
    status = next_line(file, why, err);
    if (status != OK)
        return status;
    *more = file->line.at != NULL;
    if (!*more)
        return OK;
    switch (file->form) {
    case EVENT_FILE_CSV:
        status = decode_csv(file, event, why, err);
        break;
    case EVENT_FILE_PAIRS:
        status = decode_pair(file, event, why, err);
        break;
    default:
        status = event_decode_json(file->decoder, file->line, -1, event, why, err);
    }
    if (status == OK && file->spread)
        status = spread_time(file, event, why, err);
    if (status != OK)
        *event = (struct event){0};
    return status;
}

enum event_file_form event_file_form(const struct event_file *file)
{
    return file->form;
}

uint64_t event_file_line(const struct event_file *file)
{
    return file_lines_number(file->lines);
}

struct text event_file_text(const struct event_file *file)
{
    return file->line;
}

double event_file_fraction(const struct event_file *file)
{
    return file_lines_fraction(file->lines);
}

void event_file_close(struct event_file *file)
{
    if (file == NULL)
        return;
    file_lines_close(file->lines);
    event_decoder_destroy(file->decoder);
    map64_destroy(file->users);
    free(file->last);
    free(file->copy);
    free(file);
}
