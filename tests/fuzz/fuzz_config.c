/* Fuzzes ops/config through the rows of one section: any file loads or is refused with a report. */
#include "ops/config.h"
#include "schemas/event.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_seed_text("events:\n  mapping:\n    user: /actor/id\n    time: {path: /ts, unit: s}\n"
                   "    action: {path: /type, map: {PRODUCT_VIEW: view}}\n"
                   "  actions:\n    view: {code: 1}\n    click: {code: 2, label: 0.5}\n"
                   "  max_future_skew: 5m\n  max_bytes: 256KiB\n");
    fuzz_seed_text("a: &a [*a]\nevents: !!map {key: any}\n---\n\"x\": |\n  y\n");
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct config_row *tables[] = {events_config_rows, NULL};
    struct event_schema *schema;
    struct config *config;
    char *report = NULL;
    char *yaml = NULL;
    struct error err;

    if (config_load(&config, tables, fuzz_file(data, size), NULL, 0, &report, &err) == OK) {
        if (event_schema_create(&schema, config, &err) == OK)
            event_schema_destroy(schema);
        FUZZ_CHECK(config_render(config, true, &yaml, &err) == OK);
        free(yaml);
        config_destroy(config);
    } else {
        FUZZ_CHECK(err.text[0] != 0);
    }
    free(report);
    return 0;
}
