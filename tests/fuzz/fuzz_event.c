/* Fuzzes schemas/event: any bytes are an event within its bounds or one refusal; an event that was
 * accepted is written and read again as the same. */
#include "schemas/event.h"
#include "tests/fuzz/fuzz.h"

#define NOW_MS INT64_C(1700000000000)

static struct event_schema *schema;
static struct event_decoder *decoder, *second;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const seeds[] = {
        "{\"event_id\":\"e1\",\"type\":\"click\",\"user\":\"u1\",\"item\":\"i7\","
        "\"ts\":1700000000123,\"request_id\":\"r9\"}",
        "{\"type\":\"impression\",\"user\":\"u\\u00e91\",\"ts\":1.7e12,\"request_id\":\"r9\","
        "\"items\":[\"i7\",3,\"\\ud83d\\ude00\"],\"trace\":\"AAAA\"}",
        "{\"type\":\"impression\",\"user\":5,\"ts\":1700000000123,\"item\":\"x\"}",
        "{\"type\":\"erase\",\"user\":\"u1\",\"ts\":1700000000000,\"more\":{\"a\":[null,true]}}",
    };
    struct error err;

    (void)argc;
    (void)argv;
    FUZZ_CHECK(event_schema_default(&schema, &err) == OK);
    FUZZ_CHECK(event_decoder_create(&decoder, schema, &err) == OK);
    FUZZ_CHECK(event_decoder_create(&second, schema, &err) == OK);
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        fuzz_seed_text(seeds[i]);
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char json[2 * EVENT_BYTES_MAX];
    struct event event, again;
    enum refusal why;
    struct error err;
    enum status status = event_decode(decoder, (struct text){(const char *)data, size}, NOW_MS,
                                      &event, &why, &err);

    FUZZ_CHECK((status == OK) == (why == REFUSAL_NONE));
    if (status != OK) {
        FUZZ_CHECK(status == ERR_MALFORMED || status == ERR_LIMIT);
        return 0;
    }
    FUZZ_CHECK(event.user.bytes >= 1 && event.user.bytes <= USER_ID_MAX);
    FUZZ_CHECK(event.time_ms >= EVENT_TIME_MIN_MS && event.time_ms <= NOW_MS + 300000);
    FUZZ_CHECK(event.rows_count <= EVENT_ROWS_MAX);
    size_t bytes = event_encode(schema, &event, json, sizeof json);
    FUZZ_CHECK(bytes > 0);
    if (bytes > event_schema_max_bytes(schema))
        return 0; /* escapes made it longer than a record may be */
    FUZZ_CHECK(event_decode(second, (struct text){json, bytes}, NOW_MS, &again, &why, &err) == OK);
    FUZZ_CHECK(again.kind == event.kind && again.action == event.action);
    FUZZ_CHECK(again.time_ms == event.time_ms && text_equal(again.user, event.user));
    FUZZ_CHECK(text_equal(again.item, event.item) && text_equal(again.trace, event.trace));
    FUZZ_CHECK(again.rows_count == event.rows_count);
    for (int i = 0; i < event.rows_count; i++)
        FUZZ_CHECK(text_equal(again.rows[i], event.rows[i]));
    return 0;
}
