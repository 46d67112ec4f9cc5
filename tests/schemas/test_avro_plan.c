/*
 * Tests schemas/avro_plan: cases by hand, then random schemas and records against a simpler truth:
 * avro-c's generic values, looked up pointer by pointer. Ugly bytes: every truncation, every
 * flipped bit, counts and depths that would never end.
 */
#include "schemas/avro_plan.h"

#include "tests/support/avro_bytes.h"
#include "tests/test.h"

#include <math.h>
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

/* ---- writers change ---- */

#define EVOLVED_TIME 1073741824 /* whole as an int, a long, a float and a double */

/* A version of a writer: the types of its fields, and their order, by the first letters of user,
 * time, yes (the action), item, new. */
struct version {
    const char *user, *time, *action, *item, *order;
    char how; /* d, f: the time is a real; u: all are unions; e: the action is an enum */
};

static const char *type_of(const struct version *v, char field)
{
    return field == 'u'   ? v->user
           : field == 't' ? v->time
           : field == 'y' ? v->action
           : field == 'i' ? v->item
                          : "{\"type\":\"array\",\"items\":\"long\"}";
}

static void put_field(struct avro_bytes *a, const struct version *v, char field)
{
    if (v->how == 'u' && field != 'n')
        avro_put_long(a, 1);
    if (field == 'n')
        avro_put_long(a, 1), avro_put_long(a, 77), avro_put_long(a, 0);
    else if (field == 't' && v->how == 'd')
        avro_put_double(a, EVOLVED_TIME);
    else if (field == 't' && v->how == 'f')
        avro_put_float(a, EVOLVED_TIME);
    else if (field == 't')
        avro_put_long(a, EVOLVED_TIME);
    else if (field == 'y' && v->how == 'e')
        avro_put_long(a, 1);
    else
        avro_put_text(a, field == 'u' ? "u1" : field == 'y' ? "click" : "i7");
}

static void check_version(const struct version *v)
{
    char avsc[1024];
    struct avro_bytes a = {0};
    size_t used = (size_t)snprintf(avsc, sizeof avsc,
                                   "{\"type\":\"record\",\"name\":\"E\",\"fields\":[");

    for (const char *f = v->order; *f != 0; f++) {
        char name[16];

        (void)snprintf(name, sizeof name, "new%d", (int)(f - v->order));
        used += (size_t)snprintf(avsc + used, sizeof avsc - used, "%s{\"name\":\"%s\",\"type\":%s}",
                                 f == v->order ? "" : ",",
                                 *f == 'u'   ? "user"
                                 : *f == 't' ? "ts"
                                 : *f == 'y' ? "type"
                                 : *f == 'i' ? "item"
                                             : name,
                                 type_of(v, *f));
        put_field(&a, v, *f);
    }
    (void)snprintf(avsc + used, sizeof avsc - used, "]}");
    start(avsc);
    CHECK_STATUS(OK, read_bytes(&a));
    check_text("u1", PATH_USER);
    check_text("i7", PATH_ITEM);
    check_text("click", PATH_ACTION);
    CHECK_NEAR(EVOLVED_TIME, got.values[PATH_TIME].real, 0);
    CHECK_INT(JSON_ABSENT, got.values[PATH_REQUEST_ID].type);
    stop();
}

TEST(avro_plan_reads_the_same_of_every_version_of_a_writer)
{
    static const char text[] = "\"string\"", maybe[] = "[\"null\",\"string\"]",
                      bytes[] = "\"bytes\"";
    static const char symbols[] =
        "{\"type\":\"enum\",\"name\":\"T\",\"symbols\":[\"new\",\"click\"]}";
    static const char millis[] = "{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}";
    static const struct version versions[] = {
        {text, "\"long\"", text, text, "utyi", 0},
        {text, "\"long\"", text, text, "iytu", 0},
        {text, "\"long\"", text, text, "nuntynin", 0},
        {bytes, "\"int\"", bytes, bytes, "utyi", 0},
        {text, "\"double\"", text, text, "utyi", 'd'},
        {text, "\"float\"", text, text, "utyi", 'f'},
        {maybe, "[\"null\",\"long\"]", maybe, maybe, "nutyi", 'u'},
        {text, millis, symbols, text, "tynui", 'e'},
    };

    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        check_version(&versions[i]);
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
    check_refused("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"user\",\"type\":"
                  "[\"null\",[\"int\",\"string\"]]}]}",
                  "a branch of a union is a union");
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

/* An enum that is wanted at three paths is made three times, with all its names. */
TEST(avro_plan_says_of_too_many_names_that_the_schema_is_at_fault)
{
    static char symbol[200000], avsc[AVRO_SCHEMA_BYTES_MAX];

    memset(symbol, 'a', sizeof symbol - 1);
    (void)snprintf(avsc, sizeof avsc,
                   "{\"type\":\"record\",\"name\":\"R\",\"fields\":["
                   "{\"name\":\"user\",\"type\":{\"type\":\"enum\",\"name\":\"N\","
                   "\"symbols\":[\"%s\"]}},{\"name\":\"item\",\"type\":\"N\"},"
                   "{\"name\":\"type\",\"type\":\"N\"},{\"name\":\"ts\",\"type\":\"long\"}]}",
                   symbol);
    schema = schema_of(&event_mapping_default);
    CHECK_STATUS(ERR_LIMIT, create(avsc));
    stop();
}
