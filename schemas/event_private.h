/*
 * schemas/event_private.h - the inside of an event schema; for schemas/event*.c and avro_*.c alone.
 *
 * An action's name is looked up in a small open-addressing table that holds the company's names
 * (events.mapping.action.map) and, where those leave room, our own.
 */
#ifndef SCHEMAS_EVENT_PRIVATE_H
#define SCHEMAS_EVENT_PRIVATE_H

#include "ops/json.h"
#include "schemas/event.h"

#define EVENT_NAMES_MAX   256  /* of the map and of the actions together */
#define EVENT_NAMES_SLOTS 1024 /* a power of two, at least twice the names */
#define EVENT_NAME_BYTES  128

enum event_path {
    PATH_USER,
    PATH_ITEM,
    PATH_TIME,
    PATH_ACTION,
    PATH_REQUEST_ID,
    PATH_EVENT_ID,
    PATH_ROWS,
    PATH_TRACE,
    PATH_COUNT
};

enum time_unit { TIME_MS, TIME_S, TIME_US, TIME_ISO };

enum event_format { FORMAT_JSON, FORMAT_AVRO, FORMAT_AUTO };

/* What a name in an event stands for. */
struct event_name {
    char name[EVENT_NAME_BYTES];
    uint8_t bytes;
    uint8_t kind; /* enum event_kind */
    uint8_t action;
};

#define EVENT_POINTER_MAX 512 /* bytes; ops/json refuses longer ones too */

struct event_schema {
    struct json_paths *paths; /* PATH_COUNT pointers, in order */
    char pointers[PATH_COUNT][EVENT_POINTER_MAX + 1];
    bool default_form; /* what is written needs no look at the mapping */
    enum time_unit unit;
    struct action_row actions[ACTIONS_MAX]; /* by code; name "" where there is none */
    int actions_count;
    struct event_name names[EVENT_NAMES_MAX];
    int names_count;
    uint16_t slots[EVENT_NAMES_SLOTS]; /* index + 1 into names, 0: free */
    struct event_name otherwise;       /* of events without an action; bytes 0: refused */
    bool unknown_ignored;
    bool any_key;
    bool tombstone_erases;
    size_t max_bytes;
    int64_t max_future_skew_ms;
    enum event_format format;
    char *registry, *schemas;    /* where Avro schemas come from; NULL: not from there */
    const struct config *config; /* borrowed, for the registry's secret; NULL: none */
};

/* What the pieces a schema is made of look like before they are compiled. */
struct event_mapping {
    const char *pointers[PATH_COUNT];
    enum time_unit unit;
};
extern const struct event_mapping event_mapping_default;

/* Errors: ERR_CONFIG, ERR_NOMEM. A name that is there already is left as it is and OK. */
MUST_CHECK enum status event_schema_add_name(struct event_schema *schema, struct text name,
                                             enum event_kind kind, uint8_t action,
                                             struct error *err);
MUST_CHECK enum status event_schema_add_action(struct event_schema *schema,
                                               const struct action_row *row, struct error *err);
/* The kind and code of one of our own names: an action's, "impression" or "erase". */
bool event_schema_resolve(const struct event_schema *schema, struct text name,
                          enum event_kind *kind, uint8_t *action);
/* Adds our own names behind those of the map and compiles the paths. */
MUST_CHECK enum status event_schema_finish(struct event_schema *schema,
                                           const struct event_mapping *mapping, struct error *err);
const struct event_name *event_schema_find_name(const struct event_schema *schema,
                                                struct text name); /* NULL */
struct event_schema *event_schema_new(void); /* limits at their defaults; NULL: no memory */
MUST_CHECK enum status event_schema_add_defaults(struct event_schema *schema, struct error *err);

/* Our name of that kind and action as events of this schema have it; bytes 0: they have none. */
struct text event_schema_name_of(const struct event_schema *schema, enum event_kind kind,
                                 uint8_t action);
/* Writes an event as the mapping reads it; its action goes by that name. Returns its bytes, or 0
 * when it does not fit, or the mapping's paths lead through each other. */
size_t event_form_write(const struct event_schema *schema, const struct event *event,
                        struct text name, char *into, size_t bytes);

/* UTF-8 without a zero? */
bool event_is_utf8(struct text text);
/* 1..bytes_max bytes of UTF-8 without a zero? */
bool event_id_fits(struct text id, size_t bytes_max);

/* The time that a number (or, with TIME_ISO, a text) stands for, in milliseconds, from
 * EVENT_TIME_MIN_MS to EVENT_TIME_MAX_MS; else BAD_TIME or FUTURE_TIME. */
enum refusal event_time_of(const struct json_value *value, enum time_unit unit, int64_t *time_ms);

#endif
