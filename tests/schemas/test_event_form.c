/*
 * Tests schemas/event_form: what is written by a mapping is read back by it, for mappings of every
 * kind; mappings that no document fits write nothing.
 */
#include "ops/config.h"
#include "ops/random.h"
#include "schemas/event.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1700000000123)

static struct event_schema *schema;
static struct event_decoder *decoder;
static char json[4096];

static void create(const char *yaml)
{
    const struct config_row *tables[] = {events_config_rows, NULL};
    struct config *config;
    struct error err;
    char path[128];
    char *report = NULL;
    FILE *out;

    (void)snprintf(path, sizeof path, "%s/config.yaml", test_folder());
    out = fopen(path, "wb");
    CHECK(out != NULL && fputs(yaml, out) >= 0 && fclose(out) == 0);
    CHECK_STATUS(OK, config_load(&config, tables, path, NULL, 0, &report, &err));
    free(report);
    CHECK_STATUS(OK, event_schema_create(&schema, config, &err));
    config_destroy(config);
    CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
}

static void stop(void)
{
    event_decoder_destroy(decoder);
    event_schema_destroy(schema);
}

/* The text that is written, or "" when none is. */
static const char *written(const struct event *event)
{
    size_t bytes = event_encode(schema, event, json, sizeof json - 1);

    json[bytes] = 0;
    return json;
}

static void check_comes_back(const struct event *want)
{
    struct event event;
    struct error err;
    enum refusal why;
    size_t bytes = strlen(written(want));

    CHECK(bytes > 0 && event_encode(schema, want, json, bytes - 1) == 0);
    CHECK(strlen(written(want)) == bytes);
    CHECK_STATUS(OK, event_decode(decoder, text_of(json), NOW_MS, &event, &why, &err));
    CHECK(event.kind == want->kind && event.action == want->action &&
          event.time_ms == want->time_ms && event.rows_count == want->rows_count);
    CHECK(text_equal(event.user, want->user) && text_equal(event.item, want->item) &&
          text_equal(event.request_id, want->request_id) && text_equal(event.trace, want->trace));
    for (int i = 0; i < want->rows_count; i++)
        CHECK(text_equal(event.rows[i], want->rows[i]));
}

static void check_all_kinds(int action)
{
    static const struct text rows[] = {{"a", 1}, {"b\"", 2}, {"c", 1}};
    struct event erase = {.kind = EVENT_ERASE, .time_ms = NOW_MS, .user = text_of("u 1")};
    struct event click = {.kind = EVENT_ACTION,
                          .action = (uint8_t)action,
                          .time_ms = NOW_MS - 123,
                          .user = text_of("u1"),
                          .item = text_of("i1"),
                          .request_id = text_of("r1")};
    struct event shown = {.kind = EVENT_IMPRESSION,
                          .time_ms = NOW_MS,
                          .user = text_of("u1"),
                          .request_id = text_of("r1"),
                          .rows = rows,
                          .rows_count = 3,
                          .trace = text_of("t")};

    check_comes_back(&erase);
    check_comes_back(&click);
    check_comes_back(&shown);
}

TEST(event_form_of_the_default_is_flat)
{
    struct event erase = {.kind = EVENT_ERASE, .time_ms = 1700000000001, .user = text_of("u1")};

    create("events: {}\n");
    CHECK_TEXT("{\"type\":\"erase\",\"user\":\"u1\",\"ts\":1700000000001}", written(&erase));
    check_all_kinds(2);
    stop();
}

TEST(event_form_nests_what_lies_together)
{
    struct event erase = {.kind = EVENT_ERASE, .time_ms = 1700000000500, .user = text_of("u1")};

    create("events:\n  mapping:\n    user: /actor/id\n    item: /object/sku\n"
           "    rows: /object/list\n    request_id: /actor/session/request\n"
           "    time: {path: /meta/0/t, unit: s}\n    action: {path: /meta/0/verb}\n"
           "    trace: /a~1b/c~0d\n");
    CHECK_TEXT("{\"actor\":{\"id\":\"u1\"},\"meta\":{\"0\":{\"t\":1700000000.5,"
               "\"verb\":\"erase\"}}}",
               written(&erase));
    check_all_kinds(2);
    stop();
}

TEST(event_form_writes_every_unit_of_time)
{
    static const char *const units[] = {"ms", "s", "us", "iso"};
    char yaml[128];

    for (int i = 0; i < 4; i++) {
        struct random random;

        (void)snprintf(yaml, sizeof yaml, "events: {mapping: {time: {path: /at, unit: %s}}}\n",
                       units[i]);
        create(yaml);
        check_all_kinds(1);
        random_seed(&random, test_seed());
        for (int round = 0; round < 500; round++) {
            struct event event = {.kind = EVENT_ERASE,
                                  .user = text_of("u"),
                                  .time_ms = EVENT_TIME_MIN_MS +
                                             (int64_t)random_below(&random, 700000000000)};
            check_comes_back(&event);
        }
        stop();
    }
}

TEST(event_form_uses_a_name_that_the_map_leaves)
{
    struct event event = {.kind = EVENT_ERASE, .time_ms = NOW_MS, .user = text_of("u1")};

    /* "erase" is a name of somebody else's there, so GDPR it is. */
    create("events:\n  mapping:\n    action: {path: /type, map: {erase: view, GDPR: erase}}\n");
    CHECK(strstr(written(&event), "\"GDPR\"") != NULL);
    check_all_kinds(1);
    stop();
    create("events:\n  mapping:\n    action: {path: /type, map: {erase: view}}\n");
    CHECK_TEXT("", written(&event));
    stop();
    create("events: {actions: {buy: {code: 9}}}\n");
    event.kind = EVENT_ACTION;
    event.action = 8;
    CHECK_TEXT("", written(&event));
    stop();
}

TEST(event_form_writes_nothing_where_no_document_fits)
{
    struct event event = {.kind = EVENT_ERASE, .time_ms = NOW_MS, .user = text_of("u1")};

    create("events: {mapping: {user: /a, action: {path: /a/b}}}\n");
    CHECK_TEXT("", written(&event));
    stop();
    create("events: {mapping: {user: /a/b, action: {path: /a}}}\n");
    CHECK_TEXT("", written(&event));
    stop();
    create("events: {mapping: {time: {path: /at, unit: iso}}}\n");
    event.time_ms = EVENT_TIME_MAX_MS;
    CHECK_TEXT("", written(&event));
    stop();
}
