/* Tests schemas/event_schema: names and codes, what of them is refused, and how many there may be.
 */
#include "schemas/event_private.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>

static struct error err;

static enum status add(struct event_schema *schema, const char *name, int code, float label)
{
    struct action_row row = {.code = (uint8_t)code, .label = label};

    (void)snprintf(row.name, sizeof row.name, "%s", name);
    return event_schema_add_action(schema, &row, &err);
}

TEST(event_schema_refuses_actions_that_cannot_be)
{
    struct event_schema *schema = event_schema_new();

    CHECK(schema != NULL);
    CHECK_STATUS(ERR_CONFIG, add(schema, "a", 0, 0));
    CHECK_STATUS(ERR_CONFIG, add(schema, "a", 63, 0));
    CHECK_STATUS(ERR_CONFIG, add(schema, "", 1, 0));
    CHECK_STATUS(ERR_CONFIG, add(schema, "impression", 1, 0));
    CHECK_STATUS(ERR_CONFIG, add(schema, "erase", 1, 0));
    CHECK_STATUS(ERR_CONFIG, add(schema, "unknown", 1, 0));
    CHECK_STATUS(ERR_CONFIG, add(schema, "a", 1, -1));
    CHECK_STATUS(ERR_CONFIG, add(schema, "a", 1, NAN));
    CHECK_STATUS(ERR_CONFIG, add(schema, "a", 1, INFINITY));
    CHECK_INT(0, event_schema_actions_count(schema));
    CHECK_STATUS(OK, add(schema, "a", 62, 1));
    CHECK_STATUS(ERR_CONFIG, add(schema, "b", 62, 1));
    CHECK_STATUS(ERR_CONFIG, add(schema, "a", 1, 1));
    CHECK_INT(1, event_schema_actions_count(schema));
    CHECK(event_schema_action(schema, 61) == NULL && event_schema_action(schema, 255) == NULL);
    event_schema_destroy(schema);
    event_schema_destroy(NULL);
}

TEST(event_schema_keeps_the_first_meaning_of_a_name)
{
    struct event_schema *schema = event_schema_new();
    const struct event_name *found;
    char name[EVENT_NAME_BYTES + 1];

    CHECK(schema != NULL);
    CHECK_STATUS(OK, event_schema_add_name(schema, text_of("x"), EVENT_ACTION, 3, &err));
    CHECK_STATUS(OK, event_schema_add_name(schema, text_of("x"), EVENT_ERASE, 0, &err));
    found = event_schema_find_name(schema, text_of("x"));
    CHECK(found != NULL && found->kind == EVENT_ACTION && found->action == 3);
    CHECK(event_schema_find_name(schema, text_of("y")) == NULL);
    CHECK(event_schema_find_name(schema, text_of("")) == NULL);
    memset(name, 'n', sizeof name);
    CHECK_STATUS(OK, event_schema_add_name(schema, (struct text){name, EVENT_NAME_BYTES - 1},
                                           EVENT_ACTION, 1, &err));
    CHECK_STATUS(ERR_CONFIG, event_schema_add_name(schema, (struct text){name, EVENT_NAME_BYTES},
                                                   EVENT_ACTION, 1, &err));
    CHECK(event_schema_find_name(schema, (struct text){name, EVENT_NAME_BYTES}) == NULL);
    event_schema_destroy(schema);
}

TEST(event_schema_holds_a_full_table_of_names)
{
    struct event_schema *schema = event_schema_new();
    char name[16];

    CHECK(schema != NULL);
    for (int i = 0; i < EVENT_NAMES_MAX; i++) {
        (void)snprintf(name, sizeof name, "name%d", i);
        CHECK_STATUS(OK, event_schema_add_name(schema, text_of(name), EVENT_ACTION,
                                               (uint8_t)(i % 60), &err));
    }
    CHECK_STATUS(ERR_CONFIG, event_schema_add_name(schema, text_of("more"), EVENT_ACTION, 1, &err));
    for (int i = 0; i < EVENT_NAMES_MAX; i++) {
        (void)snprintf(name, sizeof name, "name%d", i);
        CHECK_INT(i % 60, event_schema_find_name(schema, text_of(name))->action);
    }
    CHECK(event_schema_find_name(schema, text_of("more")) == NULL);
    event_schema_destroy(schema);
}

TEST(event_schema_default_names_every_kind_as_itself)
{
    struct event_schema *schema;

    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    CHECK(schema->default_form);
    for (int code = 1; code <= 7; code++)
        CHECK(text_equal(event_schema_name_of(schema, EVENT_ACTION, (uint8_t)code),
                         text_of(event_schema_action(schema, (uint8_t)code)->name)));
    CHECK(text_equal(event_schema_name_of(schema, EVENT_ERASE, 0), text_of("erase")));
    CHECK(text_equal(event_schema_name_of(schema, EVENT_IMPRESSION, 0), text_of("impression")));
    CHECK_INT(0, (int64_t)event_schema_name_of(schema, EVENT_ACTION, 8).bytes);
    event_schema_destroy(schema);
}
