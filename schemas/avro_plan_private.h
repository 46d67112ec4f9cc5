/*
 * schemas/avro_plan_private.h - the inside of a plan: avro_plan.c makes it, avro_plan_read.c runs
 * it.
 *
 * Nodes and what they lead to are numbered, so that both arrays can grow while they are made. A
 * named type that is only passed over has one node wherever it stands, by which a schema that
 * contains itself is a graph with a circle: the depth of the data is bounded when it is read.
 */
#ifndef SCHEMAS_AVRO_PLAN_PRIVATE_H
#define SCHEMAS_AVRO_PLAN_PRIVATE_H

#include "ops/arena.h"
#include "schemas/avro_plan.h"

enum avro_op {
    AVRO_OP_NULL,
    AVRO_OP_BOOL,
    AVRO_OP_INT,
    AVRO_OP_LONG,
    AVRO_OP_MILLIS, /* a long that is a time of this unit */
    AVRO_OP_MICROS,
    AVRO_OP_FLOAT,
    AVRO_OP_DOUBLE,
    AVRO_OP_TEXT,
    AVRO_OP_BLOB,       /* bytes that are no text: a decimal */
    AVRO_OP_FIXED,      /* count: its bytes */
    AVRO_OP_FIXED_BLOB, /* the same, a decimal or a duration */
    AVRO_OP_ENUM,       /* first, count: symbols */
    AVRO_OP_RECORD,     /* first, count: fields, in order */
    AVRO_OP_UNION,      /* first, count: branches */
    AVRO_OP_ARRAY,      /* first: every element; then those that paths lead to, by index */
    AVRO_OP_ROWS,       /* the same, and the elements are wanted */
    AVRO_OP_MAP,        /* first: every value; then those that paths lead to, by key */
};

struct avro_node {
    uint8_t op; /* enum avro_op */
    uint32_t first, count;
};

#define AVRO_NOWHERE 0xff

struct avro_kid {
    uint32_t node;
    uint8_t place;   /* the path its value goes to, or AVRO_NOWHERE */
    uint8_t more;    /* further paths that end here, a bit each */
    uint8_t below;   /* those that end here or deeper */
    uint32_t index;  /* in an array */
    struct text key; /* in a map; of the plan */
};

struct avro_plan {
    struct avro_node *nodes;
    struct avro_kid *kids;
    struct text *symbols; /* into names */
    uint32_t nodes_count, kids_count, symbols_count;
    uint32_t nodes_room, kids_room, symbols_room;
    struct arena *names; /* what keys and symbols point into */
    uint32_t root;
    enum time_unit unit; /* of the mapping */
};

#endif
