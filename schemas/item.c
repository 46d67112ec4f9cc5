/* schemas/item.c - a catalogue's record of an item, read and written. */
#include "schemas/item.h"

#include "ops/json.h"
#include "ops/json_writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 20
#define TIME_MAX   ((INT64_C(1) << 48) - 1)

enum member { MEMBER_ITEM, MEMBER_CATEGORY, MEMBER_TEXT, MEMBER_TIME, MEMBER_COUNT };

static const char *const pointers[MEMBER_COUNT] = {"/item", "/category", "/text", "/ts"};

struct item_decoder {
    struct json_parser *json;
    struct json_paths *paths;
    char digits[2 * DIGITS_MAX];
};

enum status item_decoder_create(struct item_decoder **decoder, struct error *err)
{
    struct item_decoder *made = calloc(1, sizeof *made);
    enum status status;

    *decoder = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a decoder of items");
    made->json = json_parser_create(ITEM_BYTES_MAX, 1024);
    if (made->json == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for a decoder of items");
    else
        status = json_paths_create(&made->paths, pointers, MEMBER_COUNT, err);
    if (status != OK) {
        item_decoder_destroy(made);
        return status;
    }
    *decoder = made;
    return OK;
}

void item_decoder_destroy(struct item_decoder *decoder)
{
    if (decoder == NULL)
        return;
    json_parser_destroy(decoder->json);
    json_paths_destroy(decoder->paths);
    free(decoder);
}

/* A text as it stands, an integer as its decimal text, null as nothing. */
static enum status get_text(const struct json_value *value, size_t bytes_max, const char *name,
                            char digits[DIGITS_MAX], struct text *into, struct error *err)
{
    *into = (struct text){0};
    if (value->type == JSON_ABSENT || value->type == JSON_NULL)
        return OK;
    if (value->type == JSON_INT) {
        uint64_t rest = value->integer < 0 ? 0 - (uint64_t)value->integer
                                           : (uint64_t)value->integer;
        char *at = digits + DIGITS_MAX;

        do
            *--at = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        if (value->integer < 0)
            *--at = '-';
        *into = (struct text){at, (size_t)(digits + DIGITS_MAX - at)};
        return OK;
    }
    if (value->type != JSON_TEXT)
        return error_set(err, ERR_MALFORMED, "%s of an item is no text", name);
    if (value->text.bytes > bytes_max)
        return error_set(err, ERR_LIMIT, "%s of an item has %zu bytes, at most %zu", name,
                         value->text.bytes, bytes_max);
    *into = value->text;
    return OK;
}

static enum status get_members(struct item_decoder *decoder, const struct json_value *values,
                               struct item *item, struct error *err)
{
    const struct json_value *time = &values[MEMBER_TIME];
    enum status status = get_text(&values[MEMBER_ITEM], ITEM_ID_MAX, "name", decoder->digits,
                                  &item->item, err);

    if (status != OK)
        return status;
    if (item->item.bytes == 0)
        return error_set(err, ERR_MALFORMED, "item without a name");
    status = get_text(&values[MEMBER_CATEGORY], ITEM_CATEGORY_MAX, "category",
                      decoder->digits + DIGITS_MAX, &item->category, err);
    if (status != OK)
        return status;
    if (values[MEMBER_TEXT].type == JSON_INT)
        return error_set(err, ERR_MALFORMED, "text of an item is no text");
    status = get_text(&values[MEMBER_TEXT], ITEM_TEXT_MAX, "text", NULL, &item->text, err);
    if (status != OK)
        return status;
    if (time->type == JSON_ABSENT || time->type == JSON_NULL)
        return OK;
    if (time->type != JSON_INT || time->integer < 0 || time->integer > TIME_MAX)
        return error_set(err, ERR_MALFORMED, "ts of an item is no time in ms");
    item->time_ms = time->integer;
    return OK;
}

enum status item_decode(struct item_decoder *decoder, struct text key, struct text value,
                        struct item *item, struct error *err)
{
    struct json_value values[MEMBER_COUNT];
    struct item read = {0};
    enum status status;

    *item = read;
    if (value.at == NULL) {
        if (key.bytes < 1 || key.bytes > ITEM_ID_MAX || memchr(key.at, 0, key.bytes) != NULL)
            return error_set(err, ERR_MALFORMED, "tombstone without an item as its key");
        item->gone = true;
        item->item = key;
        return OK;
    }
    status = json_extract(decoder->json, decoder->paths, value, values, err);
    if (status != OK)
        return status;
    status = get_members(decoder, values, &read, err);
    if (status != OK)
        return status;
    if (key.bytes > 0 && !text_equal(key, read.item))
        return error_set(err, ERR_MALFORMED, "key of an item's record is not the item");
    *item = read;
    return OK;
}

size_t item_encode(const struct item *item, char *into, size_t bytes)
{
    struct json_writer w;

    assert(!item->gone);
    json_writer_init(&w, into, bytes);
    json_object_begin(&w);
    json_text(&w, "item", item->item);
    if (item->category.bytes > 0)
        json_text(&w, "category", item->category);
    if (item->text.bytes > 0)
        json_text(&w, "text", item->text);
    if (item->time_ms > 0)
        json_int(&w, "ts", item->time_ms);
    json_object_end(&w);
    return json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}
