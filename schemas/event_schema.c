/* schemas/event_schema.c - the mapping and the actions, compiled for event_decode(). */
#include "schemas/event.h"

#include "ops/hash.h"
#include "schemas/event_private.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES_DEFAULT      ((size_t)256 * 1024)
#define MAX_FUTURE_SKEW_MS     (5 * 60 * 1000)
#define ACTION_CODE_LAST       62 /* 63 is ACTION_UNKNOWN */
#define NAME_SEED              UINT64_C(0x6672657368657431)
#define NAME_OF_IMPRESSION     "impression"
#define NAME_OF_ERASE          "erase"
#define NAME_OF_UNKNOWN_ACTION "unknown"

const char *const refusal_names[REFUSAL_COUNT] = {
#define X(id, name, text) [REFUSAL_##id] = name,
    REFUSAL_LIST(X)
#undef X
};

static const char *const refusal_texts[REFUSAL_COUNT] = {
#define X(id, name, text) [REFUSAL_##id] = text,
    REFUSAL_LIST(X)
#undef X
};

const struct event_mapping event_mapping_default = {
    .pointers = {[PATH_USER] = "/user",
                 [PATH_ITEM] = "/item",
                 [PATH_TIME] = "/ts",
                 [PATH_ACTION] = "/type",
                 [PATH_REQUEST_ID] = "/request_id",
                 [PATH_EVENT_ID] = "/event_id",
                 [PATH_ROWS] = "/items",
                 [PATH_TRACE] = "/trace"},
    .unit = TIME_MS,
};

static const struct action_row default_actions[] = {
    {.name = "view", .code = 1, .history = true, .label = 0},
    {.name = "click", .code = 2, .history = true, .label = 1},
    {.name = "like", .code = 3, .history = true, .label = 1},
    {.name = "purchase", .code = 4, .history = true, .label = 1},
    {.name = "share", .code = 5, .history = true, .label = 1},
    {.name = "hide", .code = 6, .history = true, .negative = true, .label = 0},
    {.name = "rate", .code = 7, .history = true, .label = 1},
};

const char *refusal_text(enum refusal why)
{
    assert(why >= 0 && why < REFUSAL_COUNT);
    return refusal_texts[why];
}

/* The slot that holds the name, or the free one where it belongs. */
static uint16_t *slot_of(const struct event_schema *schema, struct text name)
{
    uint64_t at = hash64_text(name, NAME_SEED);

    for (;; at++) {
        const uint16_t *slot = &schema->slots[at % EVENT_NAMES_SLOTS];
        const struct event_name *held = &schema->names[*slot == 0 ? 0 : *slot - 1];

        if (*slot == 0 ||
            (held->bytes == name.bytes && memcmp(held->name, name.at, name.bytes) == 0))
            return (uint16_t *)slot;
    }
}

const struct event_name *event_schema_find_name(const struct event_schema *schema, struct text name)
{
    uint16_t slot;

    if (name.bytes == 0 || name.bytes >= EVENT_NAME_BYTES)
        return NULL;
    slot = *slot_of(schema, name);
    return slot == 0 ? NULL : &schema->names[slot - 1];
}

enum status event_schema_add_name(struct event_schema *schema, struct text name,
                                  enum event_kind kind, uint8_t action, struct error *err)
{
    struct event_name *added;
    uint16_t *slot;

    if (name.bytes == 0 || name.bytes >= EVENT_NAME_BYTES)
        return error_set(err, ERR_CONFIG, "action name \"%.*s\" has %zu bytes, not 1..%d",
                         TEXT_ARGS(name), name.bytes, EVENT_NAME_BYTES - 1);
    slot = slot_of(schema, name);
    if (*slot != 0)
        return OK;
    if (schema->names_count == EVENT_NAMES_MAX)
        return error_set(err, ERR_CONFIG, "more than %d names of actions", EVENT_NAMES_MAX);
    added = &schema->names[schema->names_count++];
    memcpy(added->name, name.at, name.bytes);
    added->bytes = (uint8_t)name.bytes;
    added->kind = (uint8_t)kind;
    added->action = action;
    *slot = (uint16_t)schema->names_count;
    return OK;
}

enum status event_schema_add_action(struct event_schema *schema, const struct action_row *row,
                                    struct error *err)
{
    struct text name = text_of(row->name);

    if (row->code < 1 || row->code > ACTION_CODE_LAST)
        return error_set(err, ERR_CONFIG, "action \"%s\" has code %d, not 1..%d", row->name,
                         (int)row->code, ACTION_CODE_LAST);
    if (name.bytes == 0 || strcmp(row->name, NAME_OF_IMPRESSION) == 0 ||
        strcmp(row->name, NAME_OF_ERASE) == 0 || strcmp(row->name, NAME_OF_UNKNOWN_ACTION) == 0)
        return error_set(err, ERR_CONFIG, "\"%s\" is a reserved word, not an action's name",
                         row->name);
    if (schema->actions[row->code].name[0] != 0)
        return error_set(err, ERR_CONFIG, "actions \"%s\" and \"%s\" both have code %d",
                         schema->actions[row->code].name, row->name, (int)row->code);
    if (event_schema_action_named(schema, name) != NULL)
        return error_set(err, ERR_CONFIG, "two actions are called \"%s\"", row->name);
    if (!isfinite(row->label) || row->label < 0)
        return error_set(err, ERR_CONFIG, "action \"%s\" has no finite label of at least 0",
                         row->name);
    schema->actions[row->code] = *row;
    schema->actions_count++;
    return OK;
}

bool event_schema_resolve(const struct event_schema *schema, struct text name,
                          enum event_kind *kind, uint8_t *action)
{
    const struct action_row *row;

    *action = 0;
    *kind = EVENT_IMPRESSION;
    if (text_equal(name, text_of(NAME_OF_IMPRESSION)))
        return true;
    *kind = EVENT_ERASE;
    if (text_equal(name, text_of(NAME_OF_ERASE)))
        return true;
    *kind = EVENT_ACTION;
    row = event_schema_action_named(schema, name);
    if (row == NULL)
        return false;
    *action = row->code;
    return true;
}

struct text event_schema_name_of(const struct event_schema *schema, enum event_kind kind,
                                 uint8_t action)
{
    const struct event_name *own, *found = NULL;
    struct text name = text_of(kind == EVENT_IMPRESSION ? NAME_OF_IMPRESSION : NAME_OF_ERASE);

    assert(schema != NULL);
    if (kind == EVENT_ACTION) {
        const struct action_row *row = event_schema_action(schema, action);

        if (row == NULL)
            return (struct text){NULL, 0};
        name = text_of(row->name);
    }
    own = event_schema_find_name(schema, name);
    if (own != NULL && own->kind == kind && own->action == action)
        return name;
    /* The map gives our own name to another: one of its names for this kind and action. */
    for (int i = 0; i < schema->names_count && found == NULL; i++)
        if (schema->names[i].kind == kind && schema->names[i].action == action)
            found = &schema->names[i];
    return found == NULL ? (struct text){NULL, 0} : (struct text){found->name, found->bytes};
}

static enum status keep_pointers(struct event_schema *schema, const struct event_mapping *mapping,
                                 struct error *err)
{
    schema->unit = mapping->unit;
    schema->default_form = mapping->unit == TIME_MS;
    for (int p = 0; p < PATH_COUNT; p++) {
        size_t bytes = strlen(mapping->pointers[p]);

        if (bytes > EVENT_POINTER_MAX)
            return error_set(err, ERR_CONFIG, "a path of %zu bytes, at most %d", bytes,
                             EVENT_POINTER_MAX);
        memcpy(schema->pointers[p], mapping->pointers[p], bytes + 1);
        schema->default_form &= strcmp(mapping->pointers[p], event_mapping_default.pointers[p]) ==
                                0;
    }
    return OK;
}

enum status event_schema_finish(struct event_schema *schema, const struct event_mapping *mapping,
                                struct error *err)
{
    enum status status;

    for (int code = 1; code <= ACTION_CODE_LAST; code++) {
        if (schema->actions[code].name[0] == 0)
            continue;
        status = event_schema_add_name(schema, text_of(schema->actions[code].name), EVENT_ACTION,
                                       (uint8_t)code, err);
        if (status != OK)
            return status;
    }
    status = event_schema_add_name(schema, text_of(NAME_OF_IMPRESSION), EVENT_IMPRESSION, 0, err);
    if (status != OK)
        return status;
    status = event_schema_add_name(schema, text_of(NAME_OF_ERASE), EVENT_ERASE, 0, err);
    if (status != OK)
        return status;
    if (schema->unknown_ignored) {
        struct action_row *unknown = &schema->actions[ACTION_UNKNOWN];

        *unknown = (struct action_row){.name = NAME_OF_UNKNOWN_ACTION, .code = ACTION_UNKNOWN};
    }
    status = keep_pointers(schema, mapping, err);
    if (status != OK)
        return status;
    return json_paths_create(&schema->paths, mapping->pointers, PATH_COUNT, err);
}

struct event_schema *event_schema_new(void)
{
    struct event_schema *schema = calloc(1, sizeof *schema);

    if (schema == NULL)
        return NULL;
    schema->max_bytes = MAX_BYTES_DEFAULT;
    schema->max_future_skew_ms = MAX_FUTURE_SKEW_MS;
    return schema;
}

enum status event_schema_add_defaults(struct event_schema *schema, struct error *err)
{
    enum status status = OK;

    for (size_t i = 0; i < sizeof default_actions / sizeof default_actions[0]; i++) {
        status = event_schema_add_action(schema, &default_actions[i], err);
        if (status != OK)
            return status;
    }
    return OK;
}

enum status event_schema_default(struct event_schema **schema, struct error *err)
{
    struct event_schema *made = event_schema_new();
    enum status status;

    *schema = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for an event schema");
    status = event_schema_add_defaults(made, err);
    if (status != OK)
        goto done;
    status = event_schema_finish(made, &event_mapping_default, err);
    if (status != OK)
        goto done;
    *schema = made;
    made = NULL;
done:
    event_schema_destroy(made);
    return status;
}

void event_schema_destroy(struct event_schema *schema)
{
    if (schema == NULL)
        return;
    json_paths_destroy(schema->paths);
    free(schema->registry);
    free(schema->schemas);
    free(schema);
}

const struct action_row *event_schema_action(const struct event_schema *schema, uint8_t code)
{
    if (code >= ACTIONS_MAX || schema->actions[code].name[0] == 0)
        return NULL;
    return &schema->actions[code];
}

const struct action_row *event_schema_action_named(const struct event_schema *schema,
                                                   struct text name)
{
    for (int code = 1; code < ACTIONS_MAX; code++)
        if (schema->actions[code].name[0] != 0 &&
            text_equal(text_of(schema->actions[code].name), name))
            return &schema->actions[code];
    return NULL;
}

int event_schema_actions_count(const struct event_schema *schema)
{
    return schema->actions_count;
}

int64_t event_schema_max_future_skew_ms(const struct event_schema *schema)
{
    return schema->max_future_skew_ms;
}

enum status event_schema_check_written(const struct event_schema *schema, struct error *err)
{
    if (schema->format != FORMAT_AVRO)
        return OK;
    return error_set(
        err, ERR_CONFIG,
        "events.format: avro would refuse the JSON that this command writes; set auto, "
        "which reads both");
}

size_t event_schema_max_bytes(const struct event_schema *schema)
{
    return schema->max_bytes;
}
