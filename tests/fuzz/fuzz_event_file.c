/* Fuzzes schemas/event_file: any file is lines of events and refusals, also in a
 * form that it does not have. */
#include "schemas/event_file.h"
#include "tests/fuzz/fuzz.h"

static struct event_schema *schema;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err;

    (void)argc;
    (void)argv;
    FUZZ_CHECK(event_schema_default(&schema, &err) == OK);
    fuzz_seed_text(
        "ts,user,item,rating\n1362062307,12620,2171847,6\n1362062307,12620,\"a,\"\"\",6\n");
    fuzz_seed_text("ts;user;item;type;request_id\n1700000000.5;u;i;impression;r\n1e9;u;i;erase;\n");
    fuzz_seed_text("1 10\n1\t11\n\n  2 10  \n");
    fuzz_seed_text("{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\",\"ts\":1700000000000}\n{}\n");
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event_file_options options = {0};
    const char *path = fuzz_file(data, size);

    for (int turn = 0; turn < 2; turn++) {
        struct event_file *file;
        struct event event;
        enum refusal why;
        struct error err;
        bool more = true;

        /* As it looks, and in one form that it may not have. */
        options.form = turn == 0 ? EVENT_FILE_DETECT : (enum event_file_form)(1 + size % 3);
        if (event_file_open(&file, path, schema, &options, &err) != OK)
            continue;
        while (more) {
            enum status status = event_file_next(file, &event, &more, &why, &err);

            if (status != OK && why == REFUSAL_NONE)
                break;
            FUZZ_CHECK(status == OK || event.user.at == NULL);
            if (status == OK && more)
                FUZZ_CHECK(event.user.bytes >= 1 && event.user.bytes <= USER_ID_MAX &&
                           event.time_ms >= EVENT_TIME_MIN_MS &&
                           event.time_ms <= EVENT_TIME_MAX_MS);
        }
        event_file_close(file);
    }
    return 0;
}
