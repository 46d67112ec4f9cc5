/*
 * schemas/event.c - one record of `events`: read by paths, judged, written in the default form.
 *
 * The walk over the JSON is json_extract()'s, that over Avro avro_plan_read()'s: both give a value
 * at each path of the mapping. What is here decides, member by member, in a fixed order, so that a
 * record with two faults always gets the same refusal. Nothing allocates: ids that come as integers
 * are printed into the decoder's scratch.
 */
#include "schemas/event.h"

#include "ops/defence.h"
#include "ops/json.h"
#include "ops/json_writer.h"
#include "schemas/avro_registry.h"
#include "schemas/event_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 20 /* "-9223372036854775808" */
#define SHOWN_MAX  80 /* of an offending text that goes into a message */

#define AVRO_FRAME_BYTES 5 /* a zero, and the schema's id */

struct event_decoder {
    const struct event_schema *schema;
    struct json_parser *parser;
    struct text rows[EVENT_ROWS_MAX];
    /* Integers as texts: of user, item, request id, event id, and every row. */
    char digits[(4 + EVENT_ROWS_MAX) * DIGITS_MAX];
    size_t digits_used;
    struct avro_registry *registry; /* NULL: JSON alone */
    struct avro_values *avro;
    int64_t patience_ms;
    bool insists;
};

enum status event_decoder_create(struct event_decoder **decoder, const struct event_schema *schema,
                                 struct error *err)
{
    struct event_decoder *made = calloc(1, sizeof *made);

    *decoder = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for an event decoder");
    made->schema = schema;
    /* Twice the rows, so that a list somewhat too long is called just that. */
    made->parser = json_parser_create(schema->max_bytes, (size_t)2 * EVENT_ROWS_MAX);
    if (made->parser == NULL) {
        event_decoder_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory for an event decoder");
    }
    if (schema->format != FORMAT_JSON) {
        enum status status = avro_registry_create(&made->registry, schema, err);

        made->avro = status == OK ? calloc(1, sizeof *made->avro) : NULL;
        if (made->avro == NULL) {
            event_decoder_destroy(made);
            return error_set(err, ERR_NOMEM, "no memory for an event decoder");
        }
    }
    *decoder = made;
    return OK;
}

void event_decoder_destroy(struct event_decoder *decoder)
{
    if (decoder == NULL)
        return;
    json_parser_destroy(decoder->parser);
    avro_registry_destroy(decoder->registry);
    free(decoder->avro);
    free(decoder);
}

enum status event_decoder_ask_registry(struct event_decoder *decoder, bool *asked,
                                       struct error *err)
{
    *asked = decoder->registry != NULL && decoder->schema->registry != NULL;
    return *asked ? avro_registry_ask_any(decoder->registry, err) : OK;
}

void event_decoder_insist(struct event_decoder *decoder, int64_t patience_ms)
{
    decoder->insists = true;
    decoder->patience_ms = patience_ms;
}

/* How many bytes at the start are ASCII and no zero, eight at a time: most texts are nothing else.
 */
static size_t plain_bytes(const unsigned char *at, size_t bytes)
{
    size_t plain = 0;

    while (plain + 8 <= bytes) {
        uint64_t eight;

        memcpy(&eight, at + plain, sizeof eight);
        /* A byte with its high bit, or one that is zero: borrows from its own high bit. */
        if (((eight | (eight - UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080)) != 0)
            break;
        plain += 8;
    }
    return plain;
}

/* Source: the table of well-formed sequences in Unicode 3.9. */
bool event_is_utf8(struct text text)
{
    const unsigned char *at = (const unsigned char *)text.at;

    for (size_t i = plain_bytes(at, text.bytes); i < text.bytes;) {
        unsigned char c = at[i];
        size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;

        if (c == 0 || (c >= 0x80 && c < 0xc2) || c > 0xf4 || more > text.bytes - i - 1)
            return false;
        for (size_t k = 1; k <= more; k++) {
            if (at[i + k] < low || at[i + k] > high)
                return false;
            low = 0x80;
            high = 0xbf;
        }
        i += more + 1;
    }
    return true;
}

bool event_id_fits(struct text id, size_t bytes_max)
{
    return id.bytes >= 1 && id.bytes <= bytes_max && event_is_utf8(id);
}

/* What is being decoded. */
struct decoding {
    struct event_decoder *decoder;
    struct event *event;
    enum refusal *why;
    struct error *err;
};

static enum status refuse(const struct decoding *d, enum refusal why)
{
    *d->why = why;
    return error_set(d->err,
                     why == REFUSAL_OVERSIZE || why == REFUSAL_TOO_DEEP ? ERR_LIMIT : ERR_MALFORMED,
                     "%s", refusal_text(why));
}

static bool is_absent(const struct json_value *value)
{
    return value->type == JSON_ABSENT || value->type == JSON_NULL;
}

static struct text digits_of(struct event_decoder *decoder, int64_t number)
{
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    char *end = decoder->digits + decoder->digits_used + DIGITS_MAX;
    char *at = end;

    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (number < 0)
        *--at = '-';
    decoder->digits_used += DIGITS_MAX;
    return (struct text){at, (size_t)(end - at)};
}

/* A text, or an integer as its decimal text; false for every other type and for a bad length. */
static bool get_id(struct event_decoder *decoder, const struct json_value *value, size_t bytes_max,
                   struct text *id)
{
    if (value->type == JSON_TEXT)
        *id = value->text;
    else if (value->type == JSON_INT)
        *id = digits_of(decoder, value->integer);
    else
        return false;
    return id->bytes >= 1 && (!DEFENCE(ID_BYTES) || id->bytes <= bytes_max);
}

/* The kind and the code of the action the event names. */
static enum status get_action(const struct decoding *d, const struct json_value *value)
{
    const struct event_schema *schema = d->decoder->schema;
    const struct event_name *name = NULL;

    if (is_absent(value)) {
        if (schema->otherwise.bytes == 0)
            return refuse(d, REFUSAL_NO_ACTION);
        name = &schema->otherwise;
    } else if (value->type == JSON_TEXT) {
        name = event_schema_find_name(schema, value->text);
    } else if (value->type == JSON_INT) {
        name = event_schema_find_name(schema, digits_of(d->decoder, value->integer));
        d->decoder->digits_used -= DIGITS_MAX;
    }
    if (name != NULL) {
        d->event->kind = (enum event_kind)name->kind;
        d->event->action = name->action;
        return OK;
    }
    if (schema->unknown_ignored) {
        d->event->kind = EVENT_ACTION;
        d->event->action = ACTION_UNKNOWN;
        return OK;
    }
    if (value->type == JSON_TEXT) {
        *d->why = REFUSAL_UNKNOWN_ACTION;
        return error_set(d->err, ERR_MALFORMED, "action \"%.*s\" is not in events.actions",
                         (int)(value->text.bytes < SHOWN_MAX ? value->text.bytes : SHOWN_MAX),
                         value->text.at);
    }
    return refuse(d, REFUSAL_UNKNOWN_ACTION);
}

static enum status get_time(const struct decoding *d, const struct json_value *value,
                            enum time_unit unit, int64_t record_time_ms)
{
    const struct event_schema *schema = d->decoder->schema;
    int64_t latest_ms = EVENT_TIME_MAX_MS;
    int64_t time_ms;
    enum refusal bad;

    if (is_absent(value))
        return refuse(d, REFUSAL_NO_TIME);
    bad = event_time_of(value, unit, &time_ms);
    if (bad != REFUSAL_NONE)
        return refuse(d, bad);
    if (record_time_ms >= 0 && record_time_ms < EVENT_TIME_MAX_MS - schema->max_future_skew_ms)
        latest_ms = record_time_ms + schema->max_future_skew_ms;
    if (DEFENCE(FUTURE_TIME) && time_ms > latest_ms)
        return refuse(d, REFUSAL_FUTURE_TIME);
    d->event->time_ms = time_ms;
    return OK;
}

static enum status get_item(const struct decoding *d, const struct json_value *value)
{
    if (is_absent(value))
        return refuse(d, REFUSAL_NO_ITEM);
    if (!get_id(d->decoder, value, ITEM_ID_MAX, &d->event->item))
        return refuse(d, REFUSAL_BAD_ITEM);
    return OK;
}

static enum status get_rows(const struct decoding *d, const struct json_value *list,
                            const struct json_value *item)
{
    struct event_decoder *decoder = d->decoder;
    const struct json_value *elements = list->elements;
    size_t count = list->elements_count;

    if (is_absent(list) && !is_absent(item)) {
        elements = item;
        count = 1;
    } else if (list->type != JSON_ARRAY) {
        return refuse(d, REFUSAL_BAD_ROWS);
    }
    if (count < 1 || count > EVENT_ROWS_MAX)
        return refuse(d, REFUSAL_BAD_ROWS);
    for (size_t i = 0; i < count; i++)
        if (!get_id(decoder, &elements[i], ITEM_ID_MAX, &decoder->rows[i]))
            return refuse(d, REFUSAL_BAD_ITEM);
    d->event->rows = decoder->rows;
    d->event->rows_count = (int)count;
    return OK;
}

/* The request id and the trace: absent, empty, or good. */
static enum status get_request(const struct decoding *d, const struct json_value *request_id,
                               const struct json_value *trace)
{
    bool empty = request_id->type == JSON_TEXT && request_id->text.bytes == 0;

    if (!is_absent(request_id) && !empty &&
        !get_id(d->decoder, request_id, REQUEST_ID_MAX, &d->event->request_id))
        return refuse(d, REFUSAL_BAD_REQUEST);
    if (d->event->kind != EVENT_IMPRESSION || is_absent(trace))
        return OK;
    if (trace->type != JSON_TEXT || trace->text.bytes > TRACE_TEXT_MAX)
        return refuse(d, REFUSAL_BAD_TRACE);
    d->event->trace = trace->text;
    return OK;
}

static enum status get_members(const struct decoding *d, const struct json_value *values,
                               enum time_unit unit, int64_t record_time_ms)
{
    const struct json_value *event_id = &values[PATH_EVENT_ID];
    struct text unused;
    enum status status;

    if (is_absent(&values[PATH_USER]))
        return refuse(d, REFUSAL_NO_USER);
    if (!get_id(d->decoder, &values[PATH_USER], USER_ID_MAX, &d->event->user))
        return refuse(d, REFUSAL_BAD_USER);
    status = get_action(d, &values[PATH_ACTION]);
    if (status != OK)
        return status;
    status = get_time(d, &values[PATH_TIME], unit, record_time_ms);
    if (status != OK)
        return status;
    if (d->event->kind == EVENT_ACTION)
        status = get_item(d, &values[PATH_ITEM]);
    else if (d->event->kind == EVENT_IMPRESSION)
        status = get_rows(d, &values[PATH_ROWS], &values[PATH_ITEM]);
    if (status != OK)
        return status;
    if (d->event->kind != EVENT_ERASE)
        status = get_request(d, &values[PATH_REQUEST_ID], &values[PATH_TRACE]);
    /* Only logged, so nothing is refused for it. */
    if (!is_absent(event_id) && get_id(d->decoder, event_id, SIZE_MAX, &unused))
        d->event->event_id = unused;
    return status;
}

/* What a JSON record holds at the mapping's paths. */
static enum status read_json(const struct decoding *d, struct text value,
                             struct json_value values[PATH_COUNT])
{
    enum status status = json_extract(d->decoder->parser, d->decoder->schema->paths, value, values,
                                      d->err);

    if (status == ERR_LIMIT)
        *d->why = REFUSAL_TOO_DEEP;
    else if (status != OK && status != ERR_NOMEM)
        *d->why = REFUSAL_NOT_JSON;
    return status;
}

/* The same of an Avro record, into the decoder's scratch. */
static enum status read_avro(const struct decoding *d, struct text value)
{
    struct event_decoder *decoder = d->decoder;
    const unsigned char *at = (const unsigned char *)value.at;
    const struct avro_plan *plan;
    enum status status;
    uint32_t id;

    if (value.bytes < AVRO_FRAME_BYTES || at[0] != 0)
        return refuse(d, REFUSAL_NOT_AVRO);
    id = (uint32_t)at[1] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 8 | at[4];
    status = avro_registry_find(decoder->registry, id, decoder->patience_ms, decoder->insists,
                                &plan, d->err);
    if (status == ERR_UNAVAILABLE || status == ERR_NOMEM)
        return status;
    if (status != OK) {
        *d->why = status == ERR_NOT_FOUND ? REFUSAL_NO_SCHEMA : REFUSAL_BAD_SCHEMA;
        return d->err->status = ERR_MALFORMED;
    }
    value.at += AVRO_FRAME_BYTES;
    value.bytes -= AVRO_FRAME_BYTES;
    status = avro_plan_read(plan, value, decoder->avro, d->err);
    if (status != OK)
        *d->why = status == ERR_LIMIT ? REFUSAL_TOO_DEEP : REFUSAL_NOT_AVRO;
    return status;
}

static enum status decode(const struct decoding *d, struct text value, enum event_format format,
                          int64_t record_time_ms)
{
    const struct event_schema *schema = d->decoder->schema;
    struct json_value json[PATH_COUNT];
    const struct json_value *values = json;
    enum time_unit unit = schema->unit;
    enum status status;

    *d->event = (struct event){0};
    *d->why = REFUSAL_NONE;
    if (value.at == NULL)
        return refuse(d, REFUSAL_TOMBSTONE);
    if (DEFENCE(OVERSIZE) && value.bytes > schema->max_bytes)
        return refuse(d, REFUSAL_OVERSIZE);
    if (format == FORMAT_AUTO)
        format = value.bytes > 0 && value.at[0] == 0 ? FORMAT_AVRO : FORMAT_JSON;
    status = format == FORMAT_AVRO ? read_avro(d, value) : read_json(d, value, json);
    if (status != OK)
        return status;
    if (format == FORMAT_AVRO) {
        values = d->decoder->avro->values;
        unit = d->decoder->avro->unit;
    }
    d->decoder->digits_used = 0;
    status = get_members(d, values, unit, record_time_ms);
    if (status != OK)
        *d->event = (struct event){0};
    return status;
}

enum status event_decode(struct event_decoder *decoder, struct text value, int64_t record_time_ms,
                         struct event *event, enum refusal *why, struct error *err)
{
    struct decoding d = {decoder, event, why, err};

    return decode(&d, value, decoder->schema->format, record_time_ms);
}

enum status event_decode_json(struct event_decoder *decoder, struct text value,
                              int64_t record_time_ms, struct event *event, enum refusal *why,
                              struct error *err)
{
    struct decoding d = {decoder, event, why, err};

    return decode(&d, value, FORMAT_JSON, record_time_ms);
}

/* A record that is a key alone: the user's erasure, up to the record's own time. */
static enum status get_tombstone(const struct decoding *d, struct text key, int64_t record_time_ms)
{
    if (key.at == NULL)
        return refuse(d, REFUSAL_NO_USER);
    if (!event_id_fits(key, USER_ID_MAX))
        return refuse(d, REFUSAL_BAD_USER);
    if (record_time_ms < EVENT_TIME_MIN_MS || record_time_ms > EVENT_TIME_MAX_MS)
        return refuse(d, REFUSAL_BAD_TIME);
    *d->event = (struct event){.kind = EVENT_ERASE, .user = key, .time_ms = record_time_ms};
    return OK;
}

enum status event_decode_record(struct event_decoder *decoder, struct text key, struct text value,
                                int64_t record_time_ms, struct event *event, enum refusal *why,
                                struct error *err)
{
    struct decoding d = {decoder, event, why, err};
    enum status status;

    if (value.at == NULL && decoder->schema->tombstone_erases) {
        *event = (struct event){0};
        *why = REFUSAL_NONE;
        return get_tombstone(&d, key, record_time_ms);
    }
    status = event_decode(decoder, value, record_time_ms, event, why, err);
    if (status != OK)
        return status;
    *why = event_check_key(decoder->schema, event, key);
    return *why == REFUSAL_NONE ? OK : refuse(&d, *why);
}

enum refusal event_check_key(const struct event_schema *schema, const struct event *event,
                             struct text key)
{
    return !DEFENCE(KEY_IS_USER) || schema->any_key || text_equal(key, event->user)
               ? REFUSAL_NONE
               : REFUSAL_KEY_MISMATCH;
}

size_t event_encode(const struct event_schema *schema, const struct event *event, char *into,
                    size_t bytes)
{
    struct text name = event_schema_name_of(schema, event->kind, event->action);
    struct json_writer w;

    if (name.bytes == 0)
        return 0;
    if (!schema->default_form)
        return event_form_write(schema, event, name, into, bytes);
    json_writer_init(&w, into, bytes);
    json_object_begin(&w);
    if (event->event_id.bytes > 0)
        json_text(&w, "event_id", event->event_id);
    json_text(&w, "type", name);
    json_text(&w, "user", event->user);
    if (event->kind == EVENT_ACTION)
        json_text(&w, "item", event->item);
    json_int(&w, "ts", event->time_ms);
    if (event->request_id.bytes > 0)
        json_text(&w, "request_id", event->request_id);
    if (event->kind == EVENT_IMPRESSION) {
        json_key(&w, "items");
        json_array_begin(&w);
        for (int i = 0; i < event->rows_count; i++)
            json_put_text(&w, event->rows[i]);
        json_array_end(&w);
        if (event->trace.bytes > 0)
            json_text(&w, "trace", event->trace);
    }
    json_object_end(&w);
    return json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}
