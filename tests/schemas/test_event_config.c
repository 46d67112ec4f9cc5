/* Tests the section `events` of the configuration: mapping, actions, limits. */
#include "ops/config.h"
#include "schemas/event.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1700000000000)

static struct event_schema *schema;
static struct event_decoder *decoder; /* of that schema; what it decoded points into it */
static struct event event;
static enum refusal why;
static struct error err;

static enum status create(const char *yaml)
{
    const struct config_row *tables[] = {events_config_rows, NULL};
    struct config *config;
    char path[128];
    char *report = NULL;
    enum status status;
    FILE *out;

    (void)snprintf(path, sizeof path, "%s/config.yaml", test_folder());
    out = fopen(path, "wb");
    CHECK(out != NULL && fputs(yaml, out) >= 0 && fclose(out) == 0);
    status = config_load(&config, tables, path, NULL, 0, &report, &err);
    free(report);
    if (status != OK)
        return status;
    status = event_schema_create(&schema, config, &err);
    config_destroy(config);
    if (status == OK)
        CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
    return status;
}

static void stop(void)
{
    event_decoder_destroy(decoder);
    event_schema_destroy(schema);
}

static enum refusal decode(const char *json)
{
    if (event_decode(decoder, text_of(json), NOW_MS, &event, &why, &err) == OK)
        CHECK_INT(REFUSAL_NONE, why);
    return why;
}

TEST(event_config_of_nothing_is_the_default)
{
    CHECK_STATUS(OK, create("events: {}\n"));
    CHECK_INT(7, event_schema_actions_count(schema));
    CHECK_INT(5 * 60 * 1000, event_schema_max_future_skew_ms(schema));
    CHECK_INT(256 * 1024, (int64_t)event_schema_max_bytes(schema));
    CHECK_INT(REFUSAL_NONE, decode("{\"user\":\"u\",\"item\":\"i\",\"type\":\"hide\","
                                   "\"ts\":1700000000000}"));
    CHECK(event.action == 6);
    stop();
}

TEST(event_config_maps_events_that_a_company_has)
{
    CHECK_STATUS(OK, create("events:\n"
                            "  mapping:\n"
                            "    user: /actor/id\n"
                            "    item: /object/sku\n"
                            "    time: {path: /ts, unit: s}\n"
                            "    action:\n"
                            "      path: /type\n"
                            "      default: view\n"
                            "      map: {PRODUCT_VIEW: view, LIST: impression, GDPR: erase,\n"
                            "            click: buy}\n"
                            "    rows: /object/list\n"
                            "  actions:\n"
                            "    view: {code: 9, exposure: true}\n"
                            "    click: {code: 2, label: 0.5}\n"
                            "    buy: {code: 40, label: 2, history: false}\n"
                            "    hate: {code: 62, negative: true}\n"
                            "  unknown_action: ignore\n"
                            "  key: any\n"
                            "  max_future_skew: 1h\n"
                            "  max_bytes: 1KiB\n"));
    CHECK_INT(4, event_schema_actions_count(schema));
    CHECK(event_schema_action(schema, 9)->exposure && event_schema_action(schema, 9)->history);
    CHECK(event_schema_action(schema, 62)->negative && !event_schema_action(schema, 40)->history);
    CHECK_NEAR(0.5, event_schema_action(schema, 2)->label, 0);
    CHECK(event_schema_action_named(schema, text_of("hide")) == NULL);
    CHECK(!event_schema_action(schema, ACTION_UNKNOWN)->history);
    CHECK_INT(REFUSAL_NONE, decode("{\"actor\":{\"id\":7},\"object\":{\"sku\":\"s\"},"
                                   "\"type\":\"PRODUCT_VIEW\",\"ts\":1700003600}"));
    CHECK(event.action == 9 && text_equal(event.user, text_of("7")) &&
          event.time_ms == 1700003600000);
    CHECK_INT(REFUSAL_FUTURE_TIME, decode("{\"actor\":{\"id\":7},\"object\":{\"sku\":\"s\"},"
                                          "\"type\":\"PRODUCT_VIEW\",\"ts\":1700003601}"));
    CHECK_INT(REFUSAL_NONE, decode("{\"actor\":{\"id\":7},\"object\":{\"list\":[1,2]},"
                                   "\"type\":\"LIST\",\"ts\":1700000000}"));
    CHECK(event.kind == EVENT_IMPRESSION && event.rows_count == 2);
    CHECK_INT(REFUSAL_NONE, decode("{\"actor\":{\"id\":7},\"type\":\"GDPR\",\"ts\":1700000000}"));
    CHECK(event.kind == EVENT_ERASE);
    /* The map goes before our own names; names it does not hold stay. */
    CHECK_INT(REFUSAL_NONE, decode("{\"actor\":{\"id\":7},\"object\":{\"sku\":\"s\"},"
                                   "\"type\":\"click\",\"ts\":1700000000}"));
    CHECK_INT(40, event.action);
    CHECK_INT(REFUSAL_NONE, decode("{\"actor\":{\"id\":7},\"object\":{\"sku\":\"s\"},"
                                   "\"type\":\"hate\",\"ts\":1700000000}"));
    CHECK_INT(62, event.action);
    CHECK_INT(REFUSAL_NONE, decode("{\"actor\":{\"id\":7},\"object\":{\"sku\":\"s\"},"
                                   "\"type\":\"dance\",\"ts\":1700000000}"));
    CHECK_INT(ACTION_UNKNOWN, event.action);
    CHECK_INT(REFUSAL_NONE,
              decode("{\"actor\":{\"id\":7},\"object\":{\"sku\":\"s\"},\"ts\":1700000000}"));
    CHECK_INT(9, event.action);
    CHECK_INT(REFUSAL_NONE, event_check_key(schema, &event, text_of("x")));
    stop();
}

TEST(event_config_maps_names_with_dots_blanks_and_capitals)
{
    CHECK_STATUS(OK, create("events:\n  mapping:\n    action:\n      map:\n"
                            "        product.viewed: view\n        \"Order / paid\": purchase\n"
                            "        7: like\n"));
    CHECK_INT(REFUSAL_NONE, decode("{\"user\":\"u\",\"item\":\"i\",\"ts\":1700000000000,"
                                   "\"type\":\"product.viewed\"}"));
    CHECK_INT(1, event.action);
    CHECK_INT(REFUSAL_NONE, decode("{\"user\":\"u\",\"item\":\"i\",\"ts\":1700000000000,"
                                   "\"type\":\"Order / paid\"}"));
    CHECK_INT(4, event.action);
    CHECK_INT(REFUSAL_NONE, decode("{\"user\":\"u\",\"item\":\"i\",\"ts\":1700000000000,"
                                   "\"type\":7}"));
    CHECK_INT(3, event.action);
    stop();
}

TEST(event_config_refuses_what_cannot_be)
{
    static const char *const cases[] = {
        "events: {actions: {a: {code: 1}, b: {code: 1}}}\n",
        "events: {actions: {a: {label: 1}}}\n",
        "events: {actions: {a: {code: 0}}}\n",
        "events: {actions: {a: {code: 63}}}\n",
        "events: {actions: {impression: {code: 1}}}\n",
        "events: {actions: {erase: {code: 1}}}\n",
        "events: {actions: {unknown: {code: 1}}}\n",
        "events: {actions: {a: {code: 1, label: -1}}}\n",
        "events: {actions: {a23456789012345678901234567890123: {code: 1}}}\n",
        "events: {mapping: {action: {map: {X: dance}}}}\n",
        "events: {mapping: {action: {default: dance}}}\n",
        "events: {mapping: {user: actor}}\n",
        "events: {mapping: {user: /~2}}\n",
        "events: {mapping: {time: {unit: m}}}\n",
        "events: {max_bytes: 2MiB}\n",
        "events: {max_future_skew: 2d}\n",
        "events: {key: none}\n",
        "events: {format: avro}\n",
        "events: {format: avro, registry: 'registry:8081'}\n",
        "events: {format: avro, registry: 'http://user:secret@registry:8081'}\n",
        "events: {format: avro, registry: 'https://user@registry/at'}\n",
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (create(cases[i]) != ERR_CONFIG)
            test_fail(__FILE__, __LINE__, "taken: %s", cases[i]);
        else
            CHECK(strstr(err.text, "secret@") == NULL);
}

struct told {
    int count;
    char text[4000]; /* "key: text\n" */
};

static void tell(void *context, const char *key, const char *text)
{
    struct told *told = context;
    size_t used = strlen(told->text);

    told->count++;
    (void)snprintf(told->text + used, sizeof told->text - used, "%s| %s\n", key, text);
}

/* What config check is told of a configuration that loads. */
static struct told ask(const char *const *sets, int count)
{
    const struct config_row *tables[] = {events_config_rows, NULL};
    struct told told = {0};
    struct config *config;
    char *report;

    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, count, &report, &err));
    free(report);
    events_config_rules[0].check_each(config, tell, &told);
    config_destroy(config);
    return told;
}

TEST(event_config_rules_tell_every_mistake_by_its_key)
{
    static const char *const wrong[] = {
        "events.mapping.user=actor",      "events.mapping.item=/a~2",
        "events.actions.click.code=2",    "events.actions.erase.code=3",
        "events.actions.tap.code=2",      "events.mapping.action.map.A=tap",
        "events.mapping.action.map.B=no", "events.mapping.action.default=nor",
        "events.registry=ftp://x",        "events.schemas=Makefile",
    };
    static const char *const addresses[] = {
        "http://",    "http://:80",  "http://h:",   "http://h:0",   "http://h:65536",
        "http://h h", "http://h:8x", "http://[::1", "https://u:p@h"};
    struct told told = ask(wrong, sizeof wrong / sizeof wrong[0]);

    CHECK_TEXT(
        "events.mapping.user| events.mapping.user: JSON path \"actor\" must begin with / and "
        "have at most 512 bytes\n"
        "events.mapping.item| events.mapping.item: JSON path \"/a~2\": ~ is followed by 0 or "
        "1\n"
        "events.actions.erase.code| events.actions.erase.code: \"erase\" is a reserved word, "
        "not an action's name\n"
        "events.actions.tap.code| events.actions.tap.code: actions \"click\" and \"tap\" both "
        "have code 2\n"
        "events.mapping.action.map.B| events.mapping.action.map.B: \"no\" is no action of "
        "events.actions, nor impression, nor erase\n"
        "events.mapping.action.default| events.mapping.action.default: \"nor\" is no action of "
        "events.actions, nor impression, nor erase\n"
        "events.registry| events.registry is no http or https address\n"
        "events.schemas| events.schemas: \"Makefile\" is no folder\n",
        told.text);
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        char set[100];
        const char *const sets[] = {set};

        (void)snprintf(set, sizeof set, "events.registry=%s", addresses[i]);
        told = ask(sets, 1);
        if (told.count != 1)
            test_fail(__FILE__, __LINE__, "%s is taken: %s", addresses[i], told.text);
    }
}

TEST(event_config_rules_take_what_is_right)
{
    static const char *const right[] = {"events.registry=https://[::1]:8081/a?b",
                                        "events.schemas=.", "events.actions.buy.code=1",
                                        "events.format=auto", "events.mapping.action.map.X=buy"};
    static const char *const missing[] = {"events.format=avro"};
    struct told told = ask(right, 5);

    CHECK_TEXT("", told.text);
    told = ask(missing, 1);
    CHECK_TEXT("events.format| events.format: avro needs events.registry or events.schemas\n",
               told.text);
}

TEST(event_config_takes_a_registry_whose_path_has_an_at)
{
    CHECK_STATUS(OK, create("events: {format: avro, registry: 'http://registry/me@work'}\n"));
    stop();
}

TEST(event_config_takes_a_tombstone_as_an_erasure_where_it_says_so)
{
    const struct text none = {NULL, 0};
    static const char broken[] = {'u', (char)0xff};

    CHECK_STATUS(OK, create("events: {tombstone: erase}\n"));
    CHECK_STATUS(OK, event_decode_record(decoder, text_of("u1"), none, NOW_MS, &event, &why, &err));
    CHECK(event.kind == EVENT_ERASE && event.time_ms == NOW_MS &&
          text_equal(event.user, text_of("u1")));
    CHECK_INT(REFUSAL_NONE, why);
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode_record(decoder, none, none, NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_NO_USER, why);
    CHECK_STATUS(ERR_MALFORMED, event_decode_record(decoder, (struct text){broken, 2}, none, NOW_MS,
                                                    &event, &why, &err));
    CHECK_INT(REFUSAL_BAD_USER, why);
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode_record(decoder, text_of("u1"), none, -1, &event, &why, &err));
    CHECK_INT(REFUSAL_BAD_TIME, why);
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode_record(decoder, text_of("u1"), none, INT64_MAX, &event, &why, &err));
    CHECK_INT(REFUSAL_BAD_TIME, why);
    stop();
    CHECK_STATUS(OK, create("events: {}\n"));
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode_record(decoder, text_of("u1"), none, NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_TOMBSTONE, why);
    stop();
}

TEST(event_config_decides_whether_the_key_must_be_the_user)
{
    struct text value = text_of("{\"user\":\"u1\",\"item\":\"i\",\"type\":\"view\","
                                "\"ts\":1700000000000}");

    CHECK_STATUS(OK, create("events: {}\n"));
    CHECK_STATUS(OK,
                 event_decode_record(decoder, text_of("u1"), value, NOW_MS, &event, &why, &err));
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode_record(decoder, text_of("u2"), value, NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_KEY_MISMATCH, why);
    CHECK_STATUS(ERR_MALFORMED, event_decode_record(decoder, (struct text){NULL, 0}, value, NOW_MS,
                                                    &event, &why, &err));
    CHECK_INT(REFUSAL_KEY_MISMATCH, why);
    stop();
    CHECK_STATUS(OK, create("events: {key: any}\n"));
    CHECK_STATUS(OK, event_decode_record(decoder, (struct text){NULL, 0}, value, NOW_MS, &event,
                                         &why, &err));
    stop();
}
