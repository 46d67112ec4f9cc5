/* eval/item_texts.c - three forms of a line, one struct item. */
#include "eval/item_texts.h"

#include "ops/file.h"

#include <string.h>
#include <strings.h>

#define COLUMNS_MAX 64

enum form { FORM_JSON, FORM_COLONS, FORM_CSV };

struct reading {
    enum form form;
    int item_column, category_column, columns; /* csv */
    struct item_decoder *decoder;              /* json */
    char fields[ITEM_BYTES_MAX];               /* a line's fields, without quotes */
};

static struct text trimmed(struct text line)
{
    while (line.bytes > 0 && strchr(" \t\r\n", line.at[line.bytes - 1]) != NULL)
        line.bytes--;
    return line;
}

/* Splits a line of csv into fields; returns their number, -1 for one that is too long. */
static int split(struct reading *r, struct text line, struct text fields[COLUMNS_MAX])
{
    size_t used = 0, at = 0;
    int count = 0;

    if (line.bytes >= sizeof r->fields)
        return -1;
    while (count < COLUMNS_MAX) {
        struct text *field = &fields[count++];
        bool quoted = at < line.bytes && line.at[at] == '"';

        *field = (struct text){r->fields + used, 0};
        at += quoted;
        for (; at < line.bytes && (quoted || line.at[at] != ','); at++) {
            if (quoted && line.at[at] == '"') {
                if (at + 1 == line.bytes || line.at[at + 1] != '"') {
                    quoted = false;
                    continue;
                }
                at++;
            }
            r->fields[used++] = line.at[at];
        }
        field->bytes = (size_t)(r->fields + used - field->at);
        if (at >= line.bytes)
            break;
        at++;
    }
    return count;
}

static bool is_named(struct text field, const char *name)
{
    return field.bytes == strlen(name) && strncasecmp(field.at, name, field.bytes) == 0;
}

static enum status begin(struct reading *r, struct text line, bool *header, struct error *err)
{
    struct text fields[COLUMNS_MAX];

    *header = false;
    r->form = line.at[0] == '{'                           ? FORM_JSON
              : memmem(line.at, line.bytes, "::", 2) != 0 ? FORM_COLONS
                                                          : FORM_CSV;
    if (r->form == FORM_JSON)
        return item_decoder_create(&r->decoder, err);
    if (r->form == FORM_COLONS)
        return OK;
    *header = true;
    r->columns = split(r, line, fields);
    r->item_column = 0;
    r->category_column = -1;
    for (int i = 0; i < r->columns; i++) {
        if (is_named(fields[i], "item"))
            r->item_column = i;
        if (is_named(fields[i], "category"))
            r->category_column = i;
    }
    return OK;
}

/* Fields other than item and category are joined in place: they lie behind each other. */
static bool parse_csv(struct reading *r, struct text line, struct item *item)
{
    static _Thread_local char joined[ITEM_BYTES_MAX + COLUMNS_MAX];
    struct text fields[COLUMNS_MAX];
    int count = split(r, line, fields);
    size_t bytes = 0;

    if (count <= r->item_column)
        return false;
    item->item = fields[r->item_column];
    for (int i = 0; i < count; i++) {
        if (i == r->item_column)
            continue;
        if (i == r->category_column) {
            item->category = fields[i];
            continue;
        }
        memcpy(joined + bytes, fields[i].at, fields[i].bytes);
        bytes += fields[i].bytes;
        joined[bytes++] = ' ';
    }
    item->text = (struct text){joined, bytes};
    return item->item.bytes > 0;
}

static bool parse(struct reading *r, struct text line, struct item *item)
{
    const char *colons;
    struct error ignored;

    *item = (struct item){0};
    if (r->form == FORM_JSON)
        return item_decode(r->decoder, (struct text){0}, line, item, &ignored) == OK;
    if (r->form == FORM_CSV)
        return parse_csv(r, line, item);
    colons = memmem(line.at, line.bytes, "::", 2);
    if (colons == NULL || colons == line.at)
        return false;
    item->item = (struct text){line.at, (size_t)(colons - line.at)};
    item->text = (struct text){colons + 2, line.bytes - item->item.bytes - 2};
    return true;
}

enum status item_texts_read(const char *path, item_texts_take *take, void *context,
                            struct item_texts_count *count, struct error *err)
{
    static _Thread_local struct reading reading; /* large */
    struct reading *r = &reading;
    struct file_lines *lines = NULL;
    struct text line;
    bool begun = false, header = false;
    enum status status = file_lines_open(&lines, path, ITEM_BYTES_MAX, err);

    *count = (struct item_texts_count){0};
    *r = (struct reading){0};
    while (status == OK) {
        struct item item;

        status = file_lines_next(lines, &line, err);
        if (status == ERR_LIMIT) {
            count->refused++;
            status = OK;
            continue;
        }
        if (status != OK || line.at == NULL)
            break;
        line = trimmed(line);
        if (line.bytes == 0)
            continue;
        if (!begun) {
            begun = true;
            status = begin(r, line, &header, err);
            if (status != OK || header)
                continue;
        }
        if (!parse(r, line, &item)) {
            count->refused++;
            continue;
        }
        count->items++;
        status = take(context, &item, err);
    }
    item_decoder_destroy(r->decoder);
    file_lines_close(lines);
    if (status == OK && count->items == 0)
        return error_set(err, ERR_MALFORMED, "\"%.200s\" says nothing of any item", path);
    return status;
}
