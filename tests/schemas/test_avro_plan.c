/*
 * Tests schemas/avro_plan: cases by hand, then random schemas and records against a simpler truth:
 * avro-c's generic values, looked up pointer by pointer. Ugly bytes: every truncation, every
 * flipped bit, counts and depths that would never end.
 */
#include "schemas/avro_plan.h"

#include "ops/random.h"
#include "tests/support/avro_bytes.h"
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

static struct event_schema *schema_of(const struct event_mapping *mapping)
{
    struct event_schema *made = event_schema_new();

    CHECK(made != NULL);
    CHECK_STATUS(OK, event_schema_add_defaults(made, &err));
    CHECK_STATUS(OK, event_schema_finish(made, mapping, &err));
    return made;
}

static enum status create(const char *avsc)
{
    return avro_plan_create(&plan, schema, text_of(avsc), &err);
}

static void must_create(const char *avsc)
{
    CHECK_STATUS(OK, create(avsc));
}

/* With the default mapping. */
static void start(const char *avsc)
{
    schema = schema_of(&event_mapping_default);
    must_create(avsc);
}

static void stop(void)
{
    avro_plan_destroy(plan);
    event_schema_destroy(schema);
    plan = NULL;
}

static enum status read_bytes(const struct avro_bytes *a)
{
    return avro_plan_read(plan, avro_bytes_text(a), &got, &err);
}

static void check_text(const char *want, int path)
{
    CHECK_INT(JSON_TEXT, got.values[path].type);
    CHECK(text_equal(text_of(want), got.values[path].text));
}

/* ---- by hand ---- */

#define FIELDS(more)                                                                               \
    "{\"type\":\"record\",\"name\":\"E\",\"fields\":["                                             \
    "{\"name\":\"user\",\"type\":\"string\"},{\"name\":\"ts\",\"type\":\"long\"},"                 \
    "{\"name\":\"type\",\"type\":\"string\"}" more "]}"

static void put_first(struct avro_bytes *a)
{
    a->bytes = 0;
    avro_put_text(a, "u1");
    avro_put_long(a, 1700000000123);
    avro_put_text(a, "click");
}

TEST(avro_plan_reads_fields_by_name_and_passes_over_others)
{
    struct avro_bytes a = {0};

    start("{\"type\":\"record\",\"name\":\"E\",\"namespace\":\"com.shop\",\"fields\":["
          "{\"name\":\"price\",\"type\":\"double\"},{\"name\":\"ts\",\"type\":\"long\"},"
          "{\"name\":\"tags\",\"type\":{\"type\":\"map\",\"values\":\"string\"}},"
          "{\"name\":\"item\",\"type\":[\"null\",\"string\",\"int\"],\"default\":null},"
          "{\"name\":\"type\",\"type\":{\"type\":\"enum\",\"name\":\"T\",\"symbols\":[\"view\","
          "\"click\"]}},"
          "{\"name\":\"sub\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"fields\":[{\"name\":"
          "\"t\",\"type\":\"T\"},{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\","
          "\"size\":3}},{\"name\":\"again\",\"type\":[\"null\",\"S\"]}]}},"
          "{\"name\":\"user\",\"type\":\"bytes\"}]}");
    avro_put_double(&a, 9.5);
    avro_put_long(&a, 1700000000123);
    avro_put_long(&a, 1), avro_put_text(&a, "k"), avro_put_text(&a, "v"), avro_put_long(&a, 0);
    avro_put_long(&a, 1), avro_put_text(&a, "i7");
    avro_put_long(&a, 1);
    avro_put_long(&a, 0), avro_put_raw(&a, "abc", 3), avro_put_long(&a, 1);
    avro_put_long(&a, 1), avro_put_raw(&a, "def", 3), avro_put_long(&a, 0);
    avro_put_text(&a, "u1");
    CHECK_STATUS(OK, read_bytes(&a));
    check_text("u1", PATH_USER);
    check_text("i7", PATH_ITEM);
    check_text("click", PATH_ACTION);
    CHECK_INT(JSON_INT, got.values[PATH_TIME].type);
    CHECK_INT(1700000000123, got.values[PATH_TIME].integer);
    CHECK_INT(TIME_MS, got.unit);
    CHECK_INT(JSON_ABSENT, got.values[PATH_TRACE].type);
    stop();
}

TEST(avro_plan_reads_lists_of_rows)
{
    struct avro_bytes a;

    start(FIELDS(",{\"name\":\"items\",\"type\":{\"type\":\"array\",\"items\":[\"string\",\"long\","
                 "\"null\"]}}"));
    put_first(&a);
    avro_put_long(&a, 2), avro_put_long(&a, 0), avro_put_text(&a, "i1"), avro_put_long(&a, 1),
        avro_put_long(&a, -4);
    avro_put_long(&a, -1), avro_put_long(&a, 1),
        avro_put_long(&a, 2); /* a block that says its bytes */
    avro_put_long(&a, 0);
    CHECK_STATUS(OK, read_bytes(&a));
    CHECK_INT(JSON_ARRAY, got.values[PATH_ROWS].type);
    CHECK_INT(3, (int64_t)got.values[PATH_ROWS].elements_count);
    CHECK(text_equal(text_of("i1"), got.values[PATH_ROWS].elements[0].text));
    CHECK_INT(-4, got.values[PATH_ROWS].elements[1].integer);
    CHECK_INT(JSON_NULL, got.values[PATH_ROWS].elements[2].type);

    put_first(&a);
    avro_put_long(&a, -1), avro_put_long(&a, 2), avro_put_long(&a, 2), avro_put_long(&a, 0);
    CHECK_STATUS(ERR_MALFORMED, read_bytes(&a)); /* its block has one byte */
    put_first(&a);
    avro_put_long(&a, INT64_MIN), avro_put_long(&a, 2), avro_put_long(&a, 0);
    CHECK_STATUS(ERR_MALFORMED, read_bytes(&a));
    put_first(&a);
    avro_put_long(&a, AVRO_ELEMENTS_MAX + 1);
    for (int i = 0; i <= AVRO_ELEMENTS_MAX; i++)
        avro_put_long(&a, 2);
    avro_put_long(&a, 0);
    CHECK_STATUS(ERR_LIMIT, read_bytes(&a));
    stop();
}

/* What would take for ever, or all memory, or all of the stack. */
TEST(avro_plan_ends_whatever_the_counts_say)
{
    struct avro_bytes a;

    start(FIELDS(",{\"name\":\"n\",\"type\":{\"type\":\"array\",\"items\":\"null\"}}"));
    put_first(&a);
    avro_put_long(&a, INT64_MAX);
    CHECK_STATUS(ERR_LIMIT, read_bytes(&a));
    put_first(&a);
    avro_put_long(&a, 1000), avro_put_long(&a, 0);
    CHECK_STATUS(OK, read_bytes(&a));
    stop();

    start("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"next\",\"type\":[\"null\","
          "\"E\"]},{\"name\":\"user\",\"type\":\"string\"},{\"name\":\"ts\",\"type\":\"long\"},"
          "{\"name\":\"type\",\"type\":\"string\"}]}");
    a.bytes = 0;
    for (int i = 0; i < 4000; i++)
        avro_put_long(&a, 1);
    CHECK_STATUS(ERR_LIMIT, read_bytes(&a));
    stop();

    start(FIELDS(""));
    a.bytes = 0;
    avro_put_long(&a, INT64_MAX), avro_put_raw(&a, "u", 1);
    CHECK_STATUS(ERR_MALFORMED, read_bytes(&a));
    a.bytes = 0;
    avro_put_long(&a, -1), avro_put_raw(&a, "u", 1);
    CHECK_STATUS(ERR_MALFORMED, read_bytes(&a));
    a.bytes = 0;
    avro_put_text(&a, "u1"); /* ten bytes whose last has more than the 64th bit */
    avro_put_raw(&a, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10), avro_put_text(&a, "click");
    CHECK_STATUS(ERR_MALFORMED, read_bytes(&a));
    a.at[12] = 1;
    CHECK_STATUS(OK, read_bytes(&a));
    CHECK(got.values[PATH_TIME].integer == INT64_MIN);
    stop();
}

/* A schema of few bytes whose data have none, and which is doubled by every name. */
TEST(avro_plan_bounds_the_steps_of_a_schema)
{
    static char avsc[TEXT_MAX];
    struct avro_bytes a;
    size_t used = 0;

    used += (size_t)snprintf(avsc, sizeof avsc, "%s",
                             "{\"type\":\"record\",\"name\":\"E\",\"fields\":["
                             "{\"name\":\"f0\",\"type\":{\"type\":\"record\",\"name\":\"R0\","
                             "\"fields\":[{\"name\":\"a\",\"type\":\"null\"}]}},");
    for (int i = 1; i <= 30; i++)
        used += (size_t)snprintf(avsc + used, sizeof avsc - used,
                                 "{\"name\":\"f%d\",\"type\":{\"type\":\"record\",\"name\":\"R%d\","
                                 "\"fields\":[{\"name\":\"a\",\"type\":\"R%d\"},{\"name\":\"b\","
                                 "\"type\":\"R%d\"}]}},",
                                 i, i, i - 1, i - 1);
    (void)snprintf(avsc + used, sizeof avsc - used, "%s",
                   "{\"name\":\"user\",\"type\":\"string\"},{\"name\":\"ts\",\"type\":\"long\"},"
                   "{\"name\":\"type\",\"type\":\"string\"}]}");
    start(avsc);
    put_first(&a);
    CHECK_STATUS(ERR_LIMIT, read_bytes(&a));
    stop();
}

TEST(avro_plan_takes_numbers_as_what_they_are)
{
    static const struct {
        const char *type;
        int kind; /* 0 int, 1 float, 2 double */
        double number;
        enum json_type want;
        enum time_unit unit;
    } cases[] = {
        {"\"int\"", 0, 1700000000, JSON_INT, TIME_S},
        {"\"long\"", 0, -5, JSON_INT, TIME_S},
        {"\"float\"", 1, 1.5e9, JSON_REAL, TIME_S},
        {"\"double\"", 2, 1.7e9 + .25, JSON_REAL, TIME_S},
        {"\"double\"", 2, (double)NAN, JSON_OBJECT, TIME_S},
        {"\"float\"", 1, (double)-INFINITY, JSON_OBJECT, TIME_S},
        {"{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", 0, 17e11, JSON_INT, TIME_MS},
        {"{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}", 0, 17e14, JSON_INT, TIME_US},
        {"[\"null\",{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}]", 3, 17e14, JSON_INT,
         TIME_US},
        {"{\"type\":\"long\",\"logicalType\":\"unheard-of\"}", 0, 17e8, JSON_INT, TIME_S},
    };
    struct event_mapping mapping = event_mapping_default;

    mapping.unit = TIME_S;
    schema = schema_of(&mapping);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char avsc[512];
        struct avro_bytes a = {0};

        (void)snprintf(avsc, sizeof avsc,
                       "{\"type\":\"record\",\"name\":\"E\",\"fields\":["
                       "{\"name\":\"user\",\"type\":\"string\"},{\"name\":\"type\",\"type\":"
                       "\"string\"},{\"name\":\"ts\",\"type\":%s}]}",
                       cases[i].type);
        must_create(avsc);
        avro_put_text(&a, "u"), avro_put_text(&a, "click");
        if (cases[i].kind == 3)
            avro_put_long(&a, 1);
        if (cases[i].kind == 1)
            avro_put_float(&a, (float)cases[i].number);
        else if (cases[i].kind == 2)
            avro_put_double(&a, cases[i].number);
        else
            avro_put_long(&a, (int64_t)cases[i].number);
        CHECK_STATUS(OK, read_bytes(&a));
        CHECK_INT(cases[i].want, got.values[PATH_TIME].type);
        CHECK_INT(cases[i].unit, got.unit);
        if (cases[i].want == JSON_INT)
            CHECK_INT((int64_t)cases[i].number, got.values[PATH_TIME].integer);
        if (cases[i].want == JSON_REAL)
            CHECK_NEAR(cases[i].number, got.values[PATH_TIME].real, 0);
        avro_plan_destroy(plan);
    }
    plan = NULL;
    stop();
}

TEST(avro_plan_follows_paths_through_records_maps_and_arrays)
{
    struct event_mapping mapping = event_mapping_default;
    struct avro_bytes a = {0};

    mapping.pointers[PATH_USER] = "/actor/id";
    mapping.pointers[PATH_ITEM] = "/props/the~1item";
    mapping.pointers[PATH_REQUEST_ID] = "/list/1/id";
    mapping.pointers[PATH_ROWS] = "/rows";
    mapping.pointers[PATH_TRACE] = "/rows/0";
    mapping.pointers[PATH_EVENT_ID] = "/list/01/id"; /* no index */
    schema = schema_of(&mapping);
    must_create("{\"type\":\"record\",\"name\":\"E\",\"fields\":["
                "{\"name\":\"actor\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"A\","
                "\"fields\":[{\"name\":\"id\",\"type\":\"long\"}]}]},"
                "{\"name\":\"props\",\"type\":{\"type\":\"map\",\"values\":\"string\"}},"
                "{\"name\":\"list\",\"type\":{\"type\":\"array\",\"items\":\"A\"}},"
                "{\"name\":\"rows\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"
                "{\"name\":\"ts\",\"type\":\"long\"},{\"name\":\"type\",\"type\":\"string\"}]}");
    avro_put_long(&a, 1), avro_put_long(&a, 42);
    avro_put_long(&a, 3);
    avro_put_text(&a, "the/item"), avro_put_text(&a, "first");
    avro_put_text(&a, "other"), avro_put_text(&a, "x");
    avro_put_text(&a, "the/item"), avro_put_text(&a, "last"), avro_put_long(&a, 0);
    avro_put_long(&a, 2), avro_put_long(&a, 8), avro_put_long(&a, 9), avro_put_long(&a, 0);
    avro_put_long(&a, 2), avro_put_text(&a, "r0"), avro_put_text(&a, "r1"), avro_put_long(&a, 0);
    avro_put_long(&a, 17), avro_put_text(&a, "view");
    CHECK_STATUS(OK, read_bytes(&a));
    CHECK_INT(42, got.values[PATH_USER].integer);
    check_text("last", PATH_ITEM);
    CHECK_INT(9, got.values[PATH_REQUEST_ID].integer);
    CHECK_INT(2, (int64_t)got.values[PATH_ROWS].elements_count);
    CHECK(text_equal(text_of("r1"), got.values[PATH_ROWS].elements[1].text));
    check_text("r0", PATH_TRACE);
    CHECK_INT(JSON_ABSENT, got.values[PATH_EVENT_ID].type);
    stop();
}

TEST(avro_plan_takes_only_utf8_for_a_text)
{
    struct avro_bytes a = {0};

    start(FIELDS(",{\"name\":\"item\",\"type\":\"bytes\"},{\"name\":\"trace\",\"type\":{\"type\":"
                 "\"bytes\",\"logicalType\":\"decimal\",\"precision\":4}}"));
    put_first(&a);
    avro_put_long(&a, 2), avro_put_raw(&a, "\xc3\x28", 2), avro_put_text(&a, "12");
    CHECK_STATUS(OK, read_bytes(&a));
    CHECK_INT(JSON_OBJECT, got.values[PATH_ITEM].type);
    CHECK_INT(JSON_OBJECT, got.values[PATH_TRACE].type); /* a number, whatever it looks like */
    put_first(&a);
    avro_put_long(&a, 9), avro_put_raw(&a, "12345678\0", 9), avro_put_text(&a, "");
    CHECK_STATUS(OK, read_bytes(&a));
    CHECK_INT(JSON_OBJECT, got.values[PATH_ITEM].type);
    put_first(&a);
    avro_put_text(&a, "123456789\xf0\x9f\x98\x80"), avro_put_text(&a, "");
    CHECK_STATUS(OK, read_bytes(&a));
    check_text("123456789\xf0\x9f\x98\x80", PATH_ITEM);
    stop();
}

/* ---- schemas that are refused ---- */

static void check_refused(const char *avsc, const char *says)
{
    CHECK_STATUS(ERR_MALFORMED, create(avsc));
    CHECK(plan == NULL);
    if (strstr(err.text, says) == NULL)
        CHECK_TEXT(says, err.text);
}

TEST(avro_plan_refuses_a_schema_that_cannot_give_events)
{
    schema = schema_of(&event_mapping_default);
    check_refused("", "JSON");
    check_refused("{", "JSON");
    check_refused("{\"type\":\"record\"}", "no Avro schema");
    check_refused("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":"
                  "\"Other\"}]}",
                  "Other");
    check_refused("\"string\"", "no field /user");
    check_refused("[\"null\",\"int\"]", "no field /user");
    check_refused("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"ts\",\"type\":"
                  "\"long\"},{\"name\":\"type\",\"type\":\"string\"}]}",
                  "it has no field /user for the user");
    check_refused("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"user\",\"type\":"
                  "\"boolean\"},{\"name\":\"ts\",\"type\":\"long\"},{\"name\":\"type\",\"type\":"
                  "\"string\"}]}",
                  "its field /user is of type boolean, which is no user");
    check_refused("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"user\",\"type\":"
                  "\"string\"},{\"name\":\"ts\",\"type\":\"string\"},{\"name\":\"type\",\"type\":"
                  "\"string\"}]}",
                  "its field /ts is of type string, which is no time");
    check_refused("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"user\",\"type\":"
                  "\"string\"},{\"name\":\"ts\",\"type\":{\"type\":\"long\",\"logicalType\":"
                  "\"local-timestamp-millis\"}},{\"name\":\"type\",\"type\":\"string\"}]}",
                  "long of local-timestamp-millis");
    check_refused("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"user\",\"type\":"
                  "\"string\"},{\"name\":\"ts\",\"type\":\"long\"},{\"name\":\"type\",\"type\":"
                  "\"null\"}]}",
                  "it has no field /type for the action");
    stop();
}

TEST(avro_plan_bounds_its_schema)
{
    static char avsc[2 * AVRO_SCHEMA_BYTES_MAX];
    size_t used = 0;

    schema = schema_of(&event_mapping_default);
    for (int i = 0; i < AVRO_DEPTH_MAX + 1; i++)
        used += (size_t)snprintf(avsc + used, sizeof avsc - used, "{\"type\":\"array\",\"items\":");
    used += (size_t)snprintf(avsc + used, sizeof avsc - used, "\"int\"");
    memset(avsc + used, '}', AVRO_DEPTH_MAX + 1);
    avsc[used + AVRO_DEPTH_MAX + 1] = 0;
    CHECK_STATUS(ERR_LIMIT, create(avsc));
    memset(avsc, '[', 100000); /* deeper than avro-c's recursion should ever be tried with */
    avsc[100000] = 0;
    CHECK_STATUS(ERR_LIMIT, create(avsc));
    memset(avsc, ' ', sizeof avsc - 1);
    CHECK_STATUS(ERR_LIMIT, create(avsc));
    stop();
}

/* ---- against avro-c ---- */

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
        schema = schema_of(&mapping);
        make_record(&m, true);
        must_create(avsc);
        CHECK_INT(0, avro_schema_from_json_length(avsc, m.used, &type));
        try_records(type);
        (void)avro_schema_decref(type);
        stop();
    }
}
