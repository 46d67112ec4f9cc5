/*
 * Tests schemas/avro_plan against a simpler truth: random schemas and records, read by avro-c into
 * its generic values, which are looked up pointer by pointer. And the same of damaged records:
 * every truncation is refused, and what is read of flipped bits is what avro-c reads.
 */
#include "schemas/avro_plan.h"

#include "ops/random.h"
#include "tests/test.h"

#include <avro.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 65536

static struct event_schema *schema;
static struct avro_plan *plan;
static struct avro_values got;
static struct error err;

/* ---- random schemas ---- */

static struct random rnd;

struct maker {
    char *at;
    size_t used;
    int named, depth;
};

static int below(int bound)
{
    return (int)random_below(&rnd, (uint64_t)bound);
}

__attribute__((format(printf, 2, 3))) static void say(struct maker *m, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    m->used += (size_t)vsnprintf(m->at + m->used, TEXT_MAX - m->used, fmt, args);
    va_end(args);
    CHECK(m->used < TEXT_MAX);
}

static const char *const field_names[] = {"user", "item", "ts", "type", "a", "b", "items", "c"};
#define FIELD_NAMES ((int)(sizeof field_names / sizeof *field_names))

static void make_type(struct maker *m);

static void make_record(struct maker *m, bool top)
{
    int names = m->named++;
    int from = below(FIELD_NAMES), count = top ? FIELD_NAMES : 1 + below(4);

    say(m, "{\"type\":\"record\",\"name\":\"N%d\",\"fields\":[", names);
    for (int i = 0; i < count; i++) {
        const char *name = field_names[(from + i) % FIELD_NAMES];

        say(m, "%s{\"name\":\"%s\",\"type\":", i > 0 ? "," : "", name);
        if (top && strcmp(name, "ts") == 0)
            say(m, "%s", below(2) ? "\"long\"" : "[\"null\",\"double\",\"int\"]");
        else if (top && (strcmp(name, "user") == 0 || strcmp(name, "type") == 0))
            say(m, "%s", below(2) ? "[\"bytes\",\"long\",\"null\"]" : "\"string\"");
        else
            make_type(m);
        say(m, "}");
    }
    say(m, "]}");
}

static void make_union(struct maker *m)
{
    static const char *const branches[] = {"\"null\"", "\"string\"", "\"long\"", "\"double\"",
                                           "\"boolean\""};
    int from = below(5), count = 1 + below(4);

    say(m, "[");
    for (int i = 0; i < count; i++)
        say(m, "%s%s", i > 0 ? "," : "", branches[(from + i) % 5]);
    if (below(3) == 0 && m->depth < 4) {
        say(m, ",");
        make_record(m, false);
    }
    say(m, "]");
}

static void make_type(struct maker *m)
{
    static const char *const plain[] = {
        "\"null\"",
        "\"boolean\"",
        "\"int\"",
        "\"long\"",
        "\"float\"",
        "\"double\"",
        "\"bytes\"",
        "\"string\"",
        "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}",
        "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9}"};
    int which = m->depth >= 4 ? below(10) : below(18);

    m->depth++;
    if (which < 10) {
        say(m, "%s", plain[which]);
    } else if (which < 12) {
        make_record(m, false);
    } else if (which == 12) {
        make_union(m);
    } else if (which == 13) {
        say(m, "{\"type\":\"enum\",\"name\":\"N%d\",\"symbols\":[\"view\",\"click\",\"x\"]}",
            m->named++);
    } else if (which == 14) {
        say(m, "{\"type\":\"fixed\",\"name\":\"N%d\",\"size\":%d}", m->named++, 1 + below(9));
    } else {
        say(m, which == 15 ? "{\"type\":\"map\",\"values\":" : "{\"type\":\"array\",\"items\":");
        make_type(m);
        say(m, "}");
    }
    m->depth--;
}

static size_t some_bytes(char *into, size_t most)
{
    size_t bytes = (size_t)below((int)most + 1);

    for (size_t i = 0; i < bytes; i++)
        into[i] = (char)(below(40) == 0 ? below(256) : 'a' + below(26));
    return bytes;
}

static int64_t some_number(void)
{
    return (int64_t)(random_u64(&rnd) >> below(64)) * (below(2) ? 1 : -1);
}

static void fill(avro_value_t *value);

static void fill_many(avro_value_t *value, bool map)
{
    int count = below(4);

    for (int i = 0; i < count; i++) {
        avro_value_t element;
        int is_new;

        if (map)
            CHECK_INT(0, avro_value_add(value, field_names[i], &element, NULL, &is_new));
        else
            CHECK_INT(0, avro_value_append(value, &element, NULL));
        fill(&element);
    }
}

static void fill_record(avro_value_t *value)
{
    size_t count;

    CHECK_INT(0, avro_value_get_size(value, &count));
    for (size_t i = 0; i < count; i++) {
        avro_value_t field;

        CHECK_INT(0, avro_value_get_by_index(value, i, &field, NULL));
        fill(&field);
    }
}

static void fill_text(avro_value_t *value)
{
    char bytes[24] = {0};
    avro_schema_t type = avro_value_get_schema(value);
    size_t used = some_bytes(bytes, 20);

    if (avro_value_get_type(value) == AVRO_BYTES) {
        CHECK_INT(0, avro_value_set_bytes(value, bytes, used));
    } else if (avro_value_get_type(value) == AVRO_FIXED) {
        memset(bytes + used, 'f', sizeof bytes - used);
        CHECK_INT(0, avro_value_set_fixed(value, bytes, (size_t)avro_schema_fixed_size(type)));
    } else {
        CHECK_INT(0, avro_value_set_string_len(value, bytes, used + 1));
    }
}

static void fill(avro_value_t *value)
{
    avro_value_t branch;

    switch (avro_value_get_type(value)) {
    case AVRO_NULL:
        CHECK_INT(0, avro_value_set_null(value));
        break;
    case AVRO_BOOLEAN:
        CHECK_INT(0, avro_value_set_boolean(value, below(2)));
        break;
    case AVRO_INT32:
        CHECK_INT(0, avro_value_set_int(value, (int32_t)some_number()));
        break;
    case AVRO_INT64:
        CHECK_INT(0, avro_value_set_long(value, some_number()));
        break;
    case AVRO_FLOAT:
        CHECK_INT(0, avro_value_set_float(value, below(9) ? (float)random_normal(&rnd) : NAN));
        break;
    case AVRO_DOUBLE:
        CHECK_INT(0, avro_value_set_double(value, below(9) ? random_normal(&rnd) : 1. / 0.));
        break;
    case AVRO_ENUM:
        CHECK_INT(0, avro_value_set_enum(value, below(3)));
        break;
    case AVRO_RECORD:
        fill_record(value);
        break;
    case AVRO_ARRAY:
    case AVRO_MAP:
        fill_many(value, avro_value_get_type(value) == AVRO_MAP);
        break;
    case AVRO_UNION:
        CHECK_INT(0, avro_value_set_branch(
                         value, below((int)avro_schema_union_size(avro_value_get_schema(value))),
                         &branch));
        fill(&branch);
        break;
    default:
        fill_text(value);
    }
}

/* ---- the truth ---- */

static struct text bytes_of(avro_value_t *value)
{
    const void *at = "";
    size_t bytes = 0;

    if (avro_value_get_type(value) == AVRO_STRING) {
        const char *text;

        CHECK_INT(0, avro_value_get_string(value, &text, &bytes));
        return (struct text){text, bytes - 1};
    }
    if (avro_value_get_type(value) == AVRO_BYTES)
        CHECK_INT(0, avro_value_get_bytes(value, &at, &bytes));
    else
        CHECK_INT(0, avro_value_get_fixed(value, &at, &bytes));
    return (struct text){at, bytes};
}

static void check_number(double want, const struct json_value *have)
{
    CHECK_INT(isfinite(want) ? JSON_REAL : JSON_OBJECT, have->type);
    if (isfinite(want))
        CHECK_NEAR(want, have->real, 0);
}

static void check_value(avro_value_t *value, const struct json_value *have, bool rows)
{
    avro_value_t inner;
    int64_t whole;
    int32_t narrow;
    double real;
    float single;
    int number;
    size_t count;

    switch (avro_value_get_type(value)) {
    case AVRO_UNION:
        CHECK_INT(0, avro_value_get_current_branch(value, &inner));
        check_value(&inner, have, rows);
        return;
    case AVRO_NULL:
        CHECK_INT(JSON_NULL, have->type);
        return;
    case AVRO_BOOLEAN:
        CHECK_INT(0, avro_value_get_boolean(value, &number));
        CHECK_INT(JSON_BOOL, have->type);
        CHECK_INT(number, have->boolean);
        return;
    case AVRO_INT32:
        CHECK_INT(0, avro_value_get_int(value, &narrow));
        CHECK_INT(JSON_INT, have->type);
        CHECK_INT(narrow, have->integer);
        return;
    case AVRO_INT64:
        CHECK_INT(0, avro_value_get_long(value, &whole));
        CHECK_INT(JSON_INT, have->type);
        CHECK_INT(whole, have->integer);
        return;
    case AVRO_FLOAT:
        CHECK_INT(0, avro_value_get_float(value, &single));
        check_number((double)single, have);
        return;
    case AVRO_DOUBLE:
        CHECK_INT(0, avro_value_get_double(value, &real));
        check_number(real, have);
        return;
    case AVRO_ENUM:
        CHECK_INT(0, avro_value_get_enum(value, &number));
        CHECK_INT(JSON_TEXT, have->type);
        CHECK(text_equal(text_of(avro_schema_enum_get(avro_value_get_schema(value), number)),
                         have->text));
        return;
    case AVRO_MAP:
    case AVRO_RECORD:
        CHECK_INT(JSON_OBJECT, have->type);
        return;
    case AVRO_ARRAY:
        CHECK_INT(JSON_ARRAY, have->type);
        CHECK_INT(0, avro_value_get_size(value, &count));
        if (!rows)
            return;
        CHECK_INT((int64_t)count, (int64_t)have->elements_count);
        for (size_t i = 0; i < count; i++) {
            CHECK_INT(0, avro_value_get_by_index(value, i, &inner, NULL));
            check_value(&inner, &have->elements[i], false);
        }
        return;
    default: /* a decimal is a blob, which only the schema's text says */
        if (have->type == JSON_TEXT)
            CHECK(text_equal(bytes_of(value), have->text));
        else
            CHECK_INT(JSON_OBJECT, have->type);
        if (avro_value_get_type(value) != AVRO_BYTES)
            CHECK_INT(event_is_utf8(bytes_of(value)) ? JSON_TEXT : JSON_OBJECT, have->type);
    }
}

/* What stands at a pointer; false: nothing. */
static bool look(avro_value_t *value, const char *pointer, avro_value_t *found)
{
    char token[64];
    size_t bytes, count;
    avro_value_t inner;
    avro_type_t type = avro_value_get_type(value);

    if (type == AVRO_UNION) {
        CHECK_INT(0, avro_value_get_current_branch(value, &inner));
        return look(&inner, pointer, found);
    }
    if (*pointer == 0) {
        *found = *value;
        return true;
    }
    bytes = strcspn(pointer + 1, "/");
    (void)snprintf(token, sizeof token, "%.*s", (int)bytes, pointer + 1);
    if (type == AVRO_RECORD || type == AVRO_MAP) {
        if (avro_value_get_by_name(value, token, &inner, NULL) != 0)
            return false;
    } else if (type == AVRO_ARRAY) {
        char *end;
        unsigned long index = strtoul(token, &end, 10);

        CHECK_INT(0, avro_value_get_size(value, &count));
        if (*end != 0 || token[0] < '0' || token[0] > '9' || index >= count)
            return false;
        CHECK_INT(0, avro_value_get_by_index(value, index, &inner, NULL));
    } else {
        return false;
    }
    return look(&inner, pointer + 1 + bytes, found);
}

static void compare(avro_value_t *value)
{
    for (int p = 0; p < PATH_COUNT; p++) {
        avro_value_t found;

        if (look(value, schema->pointers[p], &found))
            check_value(&found, &got.values[p], p == PATH_ROWS);
        else
            CHECK_INT(JSON_ABSENT, got.values[p].type);
    }
}

/* Bytes that are not quite those of a record: an error, or what avro-c makes of them, too. */
static void damage(avro_value_iface_t *class, char *bytes, size_t count)
{
    for (size_t cut = 0; cut < count; cut++)
        CHECK(avro_plan_read(plan, (struct text){bytes, cut}, &got, &err) != OK);
    for (size_t i = 0; i < count; i++) {
        char kept = bytes[i];
        avro_value_t value;
        avro_reader_t reader;

        bytes[i] = (char)(bytes[i] ^ 1 << below(8));
        if (avro_plan_read(plan, (struct text){bytes, count}, &got, &err) == OK) {
            reader = avro_reader_memory(bytes, (int64_t)count);
            CHECK_INT(0, avro_generic_value_new(class, &value));
            CHECK_INT(0, avro_value_read(reader, &value));
            compare(&value);
            avro_value_decref(&value);
            avro_reader_free(reader);
        }
        bytes[i] = kept;
    }
}

static void try_records(avro_schema_t type)
{
    static char bytes[TEXT_MAX];
    avro_value_iface_t *class = avro_generic_class_from_schema(type);

    CHECK(class != NULL);
    for (int i = 0; i < 8; i++) {
        avro_writer_t writer = avro_writer_memory(bytes, sizeof bytes);
        avro_value_t value;
        size_t count;

        CHECK_INT(0, avro_generic_value_new(class, &value));
        fill(&value);
        CHECK_INT(0, avro_value_write(writer, &value));
        count = (size_t)avro_writer_tell(writer);
        CHECK_STATUS(OK, avro_plan_read(plan, (struct text){bytes, count}, &got, &err));
        compare(&value);
        if (i == 0 && count < 400)
            damage(class, bytes, count);
        avro_value_decref(&value);
        avro_writer_free(writer);
    }
    avro_value_iface_decref(class);
}

TEST(avro_plan_reads_what_avro_c_reads)
{
    static char avsc[TEXT_MAX];
    static const char *const others[] = {"/item",    "/a",         "/b",     "/a/b",   "/c/user",
                                         "/items/0", "/items/1/a", "/b/a/c", "/items", "/c/2"};

    random_seed(&rnd, test_seed());
    for (int round = 0; round < 200; round++) {
        struct event_mapping mapping = event_mapping_default;
        struct maker m = {.at = avsc};
        avro_schema_t type;

        for (int p = 0; p < PATH_COUNT; p++)
            if (p != PATH_USER && p != PATH_TIME && p != PATH_ACTION)
                mapping.pointers[p] = others[below(10)];
        schema = event_schema_new();
        CHECK(schema != NULL);
        CHECK_STATUS(OK, event_schema_finish(schema, &mapping, &err));
        make_record(&m, true);
        CHECK_STATUS(OK, avro_plan_create(&plan, schema, (struct text){avsc, m.used}, &err));
        CHECK_INT(0, avro_schema_from_json_length(avsc, m.used, &type));
        try_records(type);
        (void)avro_schema_decref(type);
        avro_plan_destroy(plan);
        event_schema_destroy(schema);
    }
}
