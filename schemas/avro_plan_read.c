/*
 * schemas/avro_plan_read.c - a record's bytes, walked as its plan says.
 *
 * Avro's binary form has no marks: a byte means what the schema says stands there. Lengths and
 * counts are zigzag numbers of 7 bits a byte, the lowest first. So each is judged against what is
 * left before anything is done with it:
 *
 *     bool             1 byte, 0 or 1
 *     int, long        number of 32 or 64 bits
 *     float, double    4 or 8 bytes, little-endian
 *     string, bytes    length, bytes
 *     fixed            bytes
 *     enum, union      number of the symbol; of the branch, then its value
 *     array, map       blocks: count, elements (a map's: key, value), until a count of 0;
 *                      behind a negative count the block's bytes, which must be so
 *
 * Elements may have no bytes at all, so counts are not bounded by them: every element and every
 * field is a step, and a record has so many.
 */
#include "schemas/avro_plan_private.h"

#include <assert.h>
#include <math.h>

#define STEPS_FIRST    65536
#define STEPS_A_BYTE   16
#define VARINT_MAX     10
#define INT_BYTES_BITS 7

struct reader {
    const uint8_t *at, *end;
    const struct avro_plan *plan;
    struct avro_values *into;
    int64_t steps; /* that may still be done */
    int depth;
    enum status status; /* of what went wrong */
    const char *what;
};

static bool fail(struct reader *r, enum status status, const char *what)
{
    r->status = status;
    r->what = what;
    return false;
}

static bool malformed(struct reader *r, const char *what)
{
    return fail(r, ERR_MALFORMED, what);
}

static inline size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static bool take_long_slowly(struct reader *r, int64_t *number)
{
    uint64_t bits = 0;

    for (int i = 0; i < VARINT_MAX; i++) {
        uint8_t byte;

        if (r->at == r->end)
            return malformed(r, "it ends inside a number");
        byte = *r->at++;
        if (i == VARINT_MAX - 1 && byte > 1)
            break;
        bits |= (uint64_t)(byte & 0x7f) << (INT_BYTES_BITS * i);
        if (byte < 0x80) {
            *number = (int64_t)(bits >> 1) ^ -(int64_t)(bits & 1);
            return true;
        }
    }
    return malformed(r, "a number of more than 64 bits");
}

static inline bool take_long(struct reader *r, int64_t *number)
{
    uint8_t byte;

    if (r->at == r->end || *r->at >= 0x80)
        return take_long_slowly(r, number);
    byte = *r->at++;
    *number = (int64_t)(byte >> 1) ^ -(int64_t)(byte & 1);
    return true;
}

static inline bool take_steps(struct reader *r, int64_t count)
{
    r->steps -= count;
    return r->steps >= 0 ? true : fail(r, ERR_LIMIT, "more elements than a record may have");
}

/* ---- scalars; into == NULL: they are passed over ---- */

static inline void put_int(struct json_value *into, int64_t number)
{
    if (into == NULL)
        return;
    into->type = JSON_INT;
    into->integer = number;
    into->real = (double)number;
}

static inline bool take_run(struct reader *r, size_t bytes, bool text, struct json_value *into)
{
    if (bytes > left(r))
        return malformed(r, "it ends inside a text");
    if (into != NULL) {
        into->text = (struct text){(const char *)r->at, bytes};
        into->type = text && event_is_utf8(into->text) ? JSON_TEXT : JSON_OBJECT;
    }
    r->at += bytes;
    return true;
}

static inline bool take_text(struct reader *r, bool text, struct json_value *into)
{
    int64_t bytes = 0;

    if (!take_long(r, &bytes))
        return false;
    if (bytes < 0)
        return malformed(r, "a text of a negative length");
    /* One that does not fit into size_t does not fit into what is left either. */
    return take_run(r, (size_t)bytes, text, into);
}

static bool take_bool(struct reader *r, struct json_value *into)
{
    if (r->at == r->end)
        return malformed(r, "it ends inside a boolean");
    if (*r->at > 1)
        return malformed(r, "a boolean that is neither 0 nor 1");
    if (into != NULL) {
        into->type = JSON_BOOL;
        into->boolean = *r->at == 1;
    }
    r->at++;
    return true;
}

static bool take_whole(struct reader *r, bool narrow, struct json_value *into)
{
    int64_t number = 0;

    if (!take_long(r, &number))
        return false;
    if (narrow && (number < INT32_MIN || number > INT32_MAX))
        return malformed(r, "an int of more than 32 bits");
    put_int(into, number);
    return true;
}

static bool take_time(struct reader *r, enum time_unit unit, struct json_value *into)
{
    if (into == &r->into->values[PATH_TIME])
        r->into->unit = unit;
    return take_whole(r, false, into);
}

static bool take_real(struct reader *r, size_t bytes, struct json_value *into)
{
    uint64_t bits = 0;
    double real;

    if (bytes > left(r))
        return malformed(r, "it ends inside a number");
    for (size_t i = 0; i < bytes; i++)
        bits |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    if (into == NULL)
        return true;
    if (bytes == sizeof(float)) {
        uint32_t half = (uint32_t)bits;
        float single;

        memcpy(&single, &half, sizeof single);
        real = (double)single;
    } else {
        memcpy(&real, &bits, sizeof real);
    }
    into->type = isfinite(real) ? JSON_REAL : JSON_OBJECT;
    into->real = real;
    return true;
}

static bool take_symbol(struct reader *r, const struct avro_node *node, struct json_value *into)
{
    int64_t number = 0;

    if (!take_long(r, &number))
        return false;
    if (number < 0 || number >= (int64_t)node->count)
        return malformed(r, "a symbol that its enum does not have");
    if (into != NULL) {
        into->type = JSON_TEXT;
        into->text = r->plan->symbols[node->first + (uint32_t)number];
    }
    return true;
}

/* ---- what has parts ---- */

static bool take(struct reader *r, uint32_t number, struct json_value *into);

/* A value, to all the places that its paths end at. */
static inline bool take_kid(struct reader *r, const struct avro_kid *kid)
{
    struct json_value *values = r->into->values;

    assert(values != NULL); /* for the analyzer */
    if (kid->place == AVRO_NOWHERE)
        return take(r, kid->node, NULL);
    if (!take(r, kid->node, &values[kid->place]))
        return false;
    for (unsigned more = kid->more; more != 0; more &= more - 1)
        values[__builtin_ctz(more)] = values[kid->place];
    return true;
}

static bool take_fields(struct reader *r, const struct avro_node *node)
{
    const struct avro_kid *kid = &r->plan->kids[node->first];

    if (!take_steps(r, node->count))
        return false;
    for (const struct avro_kid *end = kid + node->count; kid < end; kid++)
        if (!take_kid(r, kid))
            return false;
    return true;
}

struct block {
    int64_t count;
    const uint8_t *end; /* NULL: it does not say */
};

/* False also at the last block, whose count is 0; then nothing is wrong. */
static bool take_block(struct reader *r, struct block *block)
{
    int64_t bytes = 0;

    *block = (struct block){0};
    if (!take_long(r, &block->count) || block->count == 0)
        return false;
    if (block->count > 0)
        return true;
    if (block->count == INT64_MIN)
        return malformed(r, "a block without end");
    block->count = -block->count;
    if (!take_long(r, &bytes))
        return false;
    if (bytes < 0 || (uint64_t)bytes > left(r))
        return malformed(r, "it ends inside a block");
    block->end = r->at + bytes;
    return true;
}

static bool ends_rightly(struct reader *r, const struct block *block)
{
    return block->end == NULL || block->end == r->at ||
           malformed(r, "a block of another length than it says");
}

/* Whatever an earlier element with this key gave is replaced. */
static void forget(struct reader *r, uint8_t paths)
{
    for (unsigned rest = paths; rest != 0; rest &= rest - 1)
        r->into->values[__builtin_ctz(rest)].type = JSON_ABSENT;
}

static bool take_element(struct reader *r, const struct avro_node *node, uint64_t index)
{
    const struct avro_kid *kids = &r->plan->kids[node->first];
    struct json_value *element = NULL;
    const uint8_t *start = r->at;

    if (node->op == AVRO_OP_ROWS) {
        if (r->into->elements_used == AVRO_ELEMENTS_MAX)
            return fail(r, ERR_LIMIT, "a longer list than an impression may have");
        element = &r->into->elements[r->into->elements_used++];
        element->type = JSON_NULL;
    }
    if (!take(r, kids[0].node, element))
        return false;
    for (uint32_t i = 1; i < node->count; i++)
        if (kids[i].index == index) {
            r->at = start; /* once more, for the paths that lead into it */
            return take_kid(r, &kids[i]);
        }
    return true;
}

static bool take_array(struct reader *r, const struct avro_node *node, struct json_value *into)
{
    size_t first = r->into->elements_used;
    uint64_t index = 0;
    struct block block;

    while (take_block(r, &block)) {
        for (int64_t i = 0; i < block.count; i++, index++)
            if (!take_steps(r, 1) || !take_element(r, node, index))
                return false;
        if (!ends_rightly(r, &block))
            return false;
    }
    if (into != NULL) {
        into->type = JSON_ARRAY;
        into->elements = &r->into->elements[first];
        into->elements_count = r->into->elements_used - first;
    }
    return r->status == OK;
}

static bool take_entry(struct reader *r, const struct avro_node *node)
{
    const struct avro_kid *kids = &r->plan->kids[node->first];
    struct json_value key = {0};

    if (!take_text(r, false, &key))
        return false;
    for (uint32_t i = 1; i < node->count; i++)
        if (text_equal(kids[i].key, key.text)) {
            forget(r, kids[i].below);
            return take_kid(r, &kids[i]);
        }
    return take(r, kids[0].node, NULL);
}

static bool take_map(struct reader *r, const struct avro_node *node)
{
    struct block block;

    while (take_block(r, &block)) {
        for (int64_t i = 0; i < block.count; i++)
            if (!take_steps(r, 1) || !take_entry(r, node))
                return false;
        if (!ends_rightly(r, &block))
            return false;
    }
    return r->status == OK;
}

static bool take_parts(struct reader *r, const struct avro_node *node, struct json_value *into)
{
    bool taken;

    if (r->depth == AVRO_DEPTH_MAX)
        return fail(r, ERR_LIMIT, "it is nested too deep");
    r->depth++;
    if (into != NULL)
        into->type = JSON_OBJECT;
    if (node->op == AVRO_OP_RECORD)
        taken = take_fields(r, node);
    else if (node->op == AVRO_OP_MAP)
        taken = take_map(r, node);
    else
        taken = take_array(r, node, into);
    r->depth--;
    return taken;
}

/* A union's branches are no unions, so this goes down one level at most. */
static bool take_branch(struct reader *r, const struct avro_node *node, struct json_value *into)
{
    int64_t branch = 0;

    if (!take_long(r, &branch))
        return false;
    if (branch < 0 || branch >= (int64_t)node->count)
        return malformed(r, "a branch that its union does not have");
    return take(r, r->plan->kids[node->first + (uint32_t)branch].node, into);
}

/* As deep as AVRO_DEPTH_MAX and a union each. */
static bool take(struct reader *r, uint32_t number, struct json_value *into)
{
    const struct avro_node *node = &r->plan->nodes[number];

    switch ((enum avro_op)node->op) {
    case AVRO_OP_NULL:
        if (into != NULL)
            into->type = JSON_NULL;
        return true;
    case AVRO_OP_BOOL:
        return take_bool(r, into);
    case AVRO_OP_INT:
        return take_whole(r, true, into);
    case AVRO_OP_LONG:
        return take_whole(r, false, into);
    case AVRO_OP_MILLIS:
        return take_time(r, TIME_MS, into);
    case AVRO_OP_MICROS:
        return take_time(r, TIME_US, into);
    case AVRO_OP_FLOAT:
        return take_real(r, sizeof(float), into);
    case AVRO_OP_DOUBLE:
        return take_real(r, sizeof(double), into);
    case AVRO_OP_TEXT:
        return take_text(r, true, into);
    case AVRO_OP_BLOB:
        return take_text(r, false, into);
    case AVRO_OP_FIXED:
        return take_run(r, node->count, true, into);
    case AVRO_OP_FIXED_BLOB:
        return take_run(r, node->count, false, into);
    case AVRO_OP_ENUM:
        return take_symbol(r, node, into);
    case AVRO_OP_UNION:
        return take_branch(r, node, into);
    case AVRO_OP_RECORD:
    case AVRO_OP_ARRAY:
    case AVRO_OP_ROWS:
    case AVRO_OP_MAP:
        return take_parts(r, node, into);
    }
    assert(!"a node of no kind");
    return false;
}

enum status avro_plan_read(const struct avro_plan *plan, struct text datum,
                           struct avro_values *into, struct error *err)
{
    const uint8_t *bytes = (const uint8_t *)(datum.bytes == 0 ? "" : datum.at);
    struct reader r = {.at = bytes,
                       .end = bytes + datum.bytes,
                       .plan = plan,
                       .into = into,
                       .steps = STEPS_FIRST + STEPS_A_BYTE * (int64_t)datum.bytes};

    into->unit = plan->unit;
    into->elements_used = 0;
    for (int p = 0; p < PATH_COUNT; p++)
        into->values[p].type = JSON_ABSENT;
    if (take(&r, plan->root, NULL) && r.at != r.end)
        (void)malformed(&r, "bytes behind its end");
    if (r.status != OK)
        return error_set(err, r.status, "no record of its schema at byte %zu: %s",
                         (size_t)(r.at - bytes), r.what);
    return OK;
}
