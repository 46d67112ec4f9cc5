/* Fuzzes schemas/avro_plan: any schema is a plan or one refusal; any bytes are read by a plan, or
 * refused, within their own bounds. The input is a schema, a zero, and a record. Where the schema
 * is none, the record goes to one that uses every type. */
#include "schemas/avro_plan.h"
#include "tests/fuzz/fuzz.h"

static struct event_schema *schema;
static struct avro_plan *every_type;
static struct avro_values values;

#define NEEDED                                                                                     \
    "{\"name\":\"user\",\"type\":[\"string\",\"long\"]},{\"name\":\"ts\",\"type\":\"long\"},"      \
    "{\"name\":\"type\",\"type\":{\"type\":\"enum\",\"name\":\"T\",\"symbols\":[\"view\","         \
    "\"click\"]}},{\"name\":\"item\",\"type\":[\"null\",\"bytes\"]}"

static const char *const schemas[] = {
    "{\"type\":\"record\",\"name\":\"E\",\"fields\":[" NEEDED "]}",
    "{\"type\":\"record\",\"name\":\"E\",\"fields\":[" NEEDED
    ",{\"name\":\"items\",\"type\":{\"type\":\"array\",\"items\":[\"string\",\"null\"]}}]}",
    "{\"type\":\"record\",\"name\":\"E\",\"namespace\":\"a.b\",\"fields\":[" NEEDED
    ",{\"name\":\"next\",\"type\":[\"null\",\"E\"]},{\"name\":\"m\",\"type\":{\"type\":\"map\","
    "\"values\":{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"d\",\"type\":"
    "\"double\"}"
    ",{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}},{\"name\":\"b\","
    "\"type\":\"boolean\"},{\"name\":\"x\",\"type\":\"float\"},{\"name\":\"i\",\"type\":\"int\"}]}}"
    "},"
    "{\"name\":\"items\",\"type\":{\"type\":\"array\",\"items\":\"R\"}},"
    "{\"name\":\"nothing\",\"type\":{\"type\":\"array\",\"items\":\"null\"}},"
    "{\"name\":\"trace\",\"type\":{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4}}"
    "]}",
};
#define SCHEMAS (sizeof schemas / sizeof *schemas)

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    /* user "u1", a time, click, no item, and what more the schema has */
    static const char record[] = "\0\4u1\366\210\220\215\371b\2\0\2\0\4i7\0\0\0\0\0\0\0\0";
    static const char *const pointers[] = {"/next/user", "/m/key/d", "/items/0/i"};
    struct event_mapping mapping = event_mapping_default;
    static char seed[4096];
    struct error err;

    (void)argc;
    (void)argv;
    mapping.pointers[PATH_REQUEST_ID] = pointers[0];
    mapping.pointers[PATH_EVENT_ID] = pointers[1];
    mapping.pointers[PATH_ITEM] = pointers[2];
    schema = event_schema_new();
    FUZZ_CHECK(schema != NULL && event_schema_add_defaults(schema, &err) == OK);
    FUZZ_CHECK(event_schema_finish(schema, &mapping, &err) == OK);
    FUZZ_CHECK(avro_plan_create(&every_type, schema,
                                (struct text){schemas[SCHEMAS - 1], strlen(schemas[SCHEMAS - 1])},
                                &err) == OK);
    for (size_t i = 0; i < SCHEMAS; i++) {
        size_t bytes = strlen(schemas[i]) + 1;

        memcpy(seed, schemas[i], bytes);
        memcpy(seed + bytes, record, sizeof record);
        fuzz_seed(seed, bytes + sizeof record);
    }
    fuzz_seeds_done();
    return 0;
}

/* A text that was read lies in the record, or is a symbol of the plan; and it is UTF-8. */
static void check_value(const struct json_value *value)
{
    if (value->type == JSON_TEXT)
        FUZZ_CHECK(event_is_utf8(value->text));
    if (value->type == JSON_ARRAY && value->elements_count > 0)
        FUZZ_CHECK(value->elements >= values.elements &&
                   value->elements + value->elements_count <= values.elements + AVRO_ELEMENTS_MAX);
}

static void read_record(const struct avro_plan *plan, struct text record)
{
    struct error err;
    enum status status = avro_plan_read(plan, record, &values, &err);

    FUZZ_CHECK(status == OK || status == ERR_MALFORMED || status == ERR_LIMIT);
    for (int p = 0; p < PATH_COUNT && status == OK; p++)
        check_value(&values.values[p]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = size == 0 ? NULL : memchr(text, 0, size);
    size_t avsc = end == NULL ? 0 : (size_t)(end - text);
    struct text record = {text + avsc, size - avsc};
    struct avro_plan *plan = NULL;
    struct error err;
    enum status status = avro_plan_create(&plan, schema, (struct text){text, avsc}, &err);

    FUZZ_CHECK((status == OK) == (plan != NULL));
    FUZZ_CHECK(status == OK || status == ERR_MALFORMED || status == ERR_LIMIT);
    if (record.bytes > 0) {
        record.at++;
        record.bytes--;
    }
    read_record(plan != NULL ? plan : every_type, record);
    avro_plan_destroy(plan);
    return 0;
}
