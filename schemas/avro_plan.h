/*
 * schemas/avro_plan.h - one writer's Avro schema, compiled into what reads its records.
 *
 * Flow: registry -> schema (JSON) -> [avro-c judges it, compile: once a schema id] -> plan
 *       record -> [read: every event] -> the values at the paths of events.mapping -> event.c
 *
 * avro-c's generic values cost 580 ns an event and allocate; a plan costs about as much as copying
 * the strings. It is a tree of nodes, one for each type of the schema, in which every record's
 * field says where its value goes: to one of the mapping's paths, or nowhere. What goes nowhere is
 * walked over by the same code, so that unwanted parts are judged, too.
 *
 * The reader's side of the evolution rules is the mapping: fields are found by name, wherever they
 * stand; what else the writer has is passed over; a type of the writer counts as what it is:
 *
 *     string, bytes, fixed, enum    a text; what is no UTF-8 or has a zero is a value of another
 *                                   type, refused where a text is needed
 *     int, long                     an integer
 *     float, double                 a number; NaN and infinity are of another type
 *     long of timestamp-millis,     a time, whatever events.mapping.time.unit says
 *       or of timestamp-micros
 *     null, no such field           absent
 *     union                         its branch
 *     array, map, record            what a JSON array or object is: a path leads through by index,
 *                                   key or name
 *
 * Aliases and defaults are the reader's in Avro, and so play no part. A schema that cannot give a
 * user, a time or (without events.mapping.action.default) an action, in none of its branches, is
 * refused as a whole, and so is one whose logical type contradicts (decimal, date, local time).
 *
 * Bounds: schema AVRO_SCHEMA_BYTES_MAX, AVRO_NODES_MAX nodes, AVRO_DEPTH_MAX levels of schema and
 * of data, AVRO_ELEMENTS_MAX elements of wanted arrays, and steps by the record's bytes, for a
 * schema can make elements of no bytes. Total: any bytes give values or an error.
 */
#ifndef SCHEMAS_AVRO_PLAN_H
#define SCHEMAS_AVRO_PLAN_H

#include "schemas/event_private.h"

#include <stdint.h>

#define AVRO_SCHEMA_BYTES_MAX (256 * 1024)
#define AVRO_NODES_MAX        16384
#define AVRO_DEPTH_MAX        64
#define AVRO_ELEMENTS_MAX     (2 * EVENT_ROWS_MAX) /* as many as the JSON decoder takes */

/* What a record holds at each path. Texts point into the record, or into the plan. */
struct avro_values {
    struct json_value values[PATH_COUNT];
    enum time_unit unit; /* of the time; TIME_ISO where it is a text */
    struct json_value elements[AVRO_ELEMENTS_MAX];
    size_t elements_used;
};

struct avro_plan;
/**
 * Errors: ERR_MALFORMED (no Avro schema, or a field that is needed is missing or of a type that it
 *         cannot have: the text names it), ERR_LIMIT, ERR_NOMEM
 * Thread: any, one at a time (avro-c keeps its last error for all).
 */
MUST_CHECK enum status avro_plan_create(struct avro_plan **plan, const struct event_schema *schema,
                                        struct text avsc, struct error *err);
void avro_plan_destroy(struct avro_plan *plan); /* NULL is fine */

/**
 * Reads one datum, all of whose bytes must belong to it. Never allocates.
 * Errors: ERR_MALFORMED (it does not follow its schema, is cut short or goes on), ERR_LIMIT
 * Thread: any number share a plan.
 */
MUST_CHECK enum status avro_plan_read(const struct avro_plan *plan, struct text datum,
                                      struct avro_values *into, struct error *err);

#endif
