/*
 * schemas/avro_plan.c - an Avro schema and the mapping become a plan.
 *
 * Flow: JSON -> [avro-c: is it a schema, what do its names mean] -> [walk, path by path] -> plan
 *
 * Two trees are walked side by side: avro-c's, which has judged everything and resolved the names
 * of types within their namespaces, and the JSON it came from, since avro-c forgets logical types.
 * A JSON node that is missing means only that there is no logical type.
 *
 * What a walk wants is the rest of each pointer that leads to where it stands. With nothing wanted
 * any more, a named type is made once and for all; with something, it is made anew in each place,
 * and every level takes a part of a pointer, so that this ends.
 */
#include "schemas/avro_plan.h"

#include "schemas/avro_plan_private.h"

#include <assert.h>
#include <avro.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFINED_MAX  1024 /* named types of one schema */
#define JSON_LEVELS  (4 * AVRO_DEPTH_MAX)
#define NAMES_BLOCK  4096
#define NAMES_MAX    (2 * AVRO_SCHEMA_BYTES_MAX)
#define NAMES_LIMIT  (4 * NAMES_MAX) /* of the arena: alignment, and ends of blocks */
#define NODES_FIRST  64
#define NO_NODE      UINT32_MAX
#define INDEX_DIGITS 9
#define MISFIT_BYTES 64

/* The rest of every pointer that leads here: "" ends here, "/..." leads on, NULL leads elsewhere.
 */
struct want {
    const char *rest[PATH_COUNT];
    uint8_t own, below; /* paths that end here; here or deeper */
};

/* A named type, and where its definition stands. */
struct defined {
    avro_schema_t type;
    const struct json_node *json;
    uint32_t passed_over; /* its node where nothing of it is wanted, or NO_NODE */
};

struct build {
    const struct event_schema *schema;
    struct avro_plan *plan;
    struct defined *defined; /* (DEFINED_MAX) */
    int defined_count;
    int depth;
    size_t names_bytes;
    uint8_t found;                          /* paths at which a value of a fitting type can stand */
    char misfits[PATH_COUNT][MISFIT_BYTES]; /* the type that stands there and does not fit */
    struct error *err;
};

/* ---- growing ---- */

static enum status no_memory(const struct build *b)
{
    return error_set(b->err, ERR_NOMEM, "no memory for an Avro schema");
}

/* Makes room for more; *list may move. */
static enum status grow(const struct build *b, void **list, uint32_t *room, uint32_t needed,
                        size_t bytes)
{
    uint32_t more = *room == 0 ? NODES_FIRST : *room;
    void *grown;

    if (needed > AVRO_NODES_MAX)
        return error_set(b->err, ERR_LIMIT, "Avro schema of more than %d nodes", AVRO_NODES_MAX);
    if (needed <= *room)
        return OK;
    while (more < needed)
        more *= 2;
    grown = realloc(*list, more * bytes);
    if (grown == NULL)
        return no_memory(b);
    *list = grown;
    *room = more;
    return OK;
}

static enum status add_node(struct build *b, enum avro_op op, uint32_t first, uint32_t count,
                            uint32_t *node)
{
    struct avro_plan *p = b->plan;
    enum status status = grow(b, (void **)&p->nodes, &p->nodes_room, p->nodes_count + 1,
                              sizeof *p->nodes);

    if (status != OK)
        return status;
    *node = p->nodes_count++;
    p->nodes[*node] = (struct avro_node){(uint8_t)op, first, count};
    return OK;
}

/* Kids of one node lie together, so they are reserved before the first is made. */
static enum status reserve_kids(struct build *b, size_t count, uint32_t *first)
{
    struct avro_plan *p = b->plan;
    enum status status;

    *first = p->kids_count;
    if (count > AVRO_NODES_MAX)
        return error_set(b->err, ERR_LIMIT, "Avro schema of more than %d nodes", AVRO_NODES_MAX);
    status = grow(b, (void **)&p->kids, &p->kids_room, p->kids_count + (uint32_t)count,
                  sizeof *p->kids);
    p->kids_count += status == OK ? (uint32_t)count : 0;
    return status;
}

/* A type that is wanted in several places is made in each, its names too: a limit of the schema,
 * not of our memory, or else its records would wait for memory for ever. */
static enum status copy_name(struct build *b, const char *name, size_t bytes, struct text *copy)
{
    char *at;

    b->names_bytes += bytes + 1;
    if (b->names_bytes > NAMES_MAX)
        return error_set(b->err, ERR_LIMIT, "Avro schema of more than %d bytes of names",
                         NAMES_MAX);
    at = arena_alloc(b->plan->names, bytes + 1);
    if (at == NULL)
        return no_memory(b);
    memcpy(at, name, bytes);
    at[bytes] = 0;
    *copy = (struct text){at, bytes};
    return OK;
}

/* ---- pointers ---- */

static const struct want want_nothing;

static bool leads_on(const struct want *want, int path)
{
    return want->rest[path] != NULL && want->rest[path][0] != 0;
}

/* The first token of a rest as a name (RFC 6901: ~1 is a slash, ~0 a tilde). */
static size_t token_name(const char *rest, char name[EVENT_POINTER_MAX + 1])
{
    size_t used = 0;

    for (const char *at = rest + 1; *at != 0 && *at != '/'; at++) {
        bool escape = at[0] == '~' && (at[1] == '0' || at[1] == '1');

        name[used++] = !escape ? at[0] : at[1] == '1' ? '/' : '~';
        at += escape;
    }
    name[used] = 0;
    return used;
}

/* What is wanted of the member with this name; its paths begin with it. */
static struct want member_of(const struct want *want, const char *name)
{
    char token[EVENT_POINTER_MAX + 1];
    struct want inner = {.own = 0};

    for (int p = 0; p < PATH_COUNT; p++) {
        if (!leads_on(want, p))
            continue;
        (void)token_name(want->rest[p], token);
        if (strcmp(token, name) != 0)
            continue;
        inner.rest[p] = want->rest[p] + 1 + strcspn(want->rest[p] + 1, "/");
        inner.below |= (uint8_t)(1u << p);
        if (inner.rest[p][0] == 0)
            inner.own |= (uint8_t)(1u << p);
    }
    return inner;
}

static enum status add_type(struct build *b, avro_schema_t type, const struct json_node *json,
                            const struct want *want, uint32_t *node);

/* A kid of a node that is there already; kids may move while its own are made. */
static enum status set_kid(struct build *b, uint32_t at, avro_schema_t type,
                           const struct json_node *json, const struct want *want)
{
    uint8_t place = want->own == 0 ? AVRO_NOWHERE : (uint8_t)__builtin_ctz(want->own);
    uint32_t node;
    enum status status = add_type(b, type, json, want, &node);

    if (status != OK)
        return status;
    b->plan->kids[at] = (struct avro_kid){.node = node,
                                          .place = place,
                                          .more = (uint8_t)(want->own & (want->own - 1)),
                                          .below = want->below};
    return OK;
}

/* ---- which types fit ---- */

static bool is_text(avro_type_t type)
{
    return type == AVRO_STRING || type == AVRO_BYTES || type == AVRO_FIXED || type == AVRO_ENUM;
}

static bool is_whole(avro_type_t type)
{
    return type == AVRO_INT32 || type == AVRO_INT64;
}

static struct text logical_of(const struct json_node *json)
{
    return json_text_or(json_member(json, "logicalType"), "");
}

/* Bytes or a number that mean something else than they look like. */
static bool is_blob(struct text logical)
{
    return text_equal(logical, text_of("decimal")) || text_equal(logical, text_of("duration"));
}

static bool is_timestamp(avro_type_t type, struct text logical)
{
    return type == AVRO_INT64 && (text_equal(logical, text_of("timestamp-millis")) ||
                                  text_equal(logical, text_of("timestamp-micros")));
}

static bool fits_time(const struct build *b, avro_type_t type, struct text logical)
{
    static const char *const others[] = {"date",
                                         "time-millis",
                                         "time-micros",
                                         "timestamp-nanos",
                                         "local-timestamp-millis",
                                         "local-timestamp-micros",
                                         "local-timestamp-nanos"};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (text_equal(logical, text_of(others[i])))
            return false;
    if (is_timestamp(type, logical))
        return true;
    if (b->schema->unit == TIME_ISO)
        return is_text(type) && type != AVRO_ENUM && !is_blob(logical);
    return is_whole(type) || type == AVRO_FLOAT || type == AVRO_DOUBLE;
}

static const char *const type_names[] = {
    [AVRO_STRING] = "string", [AVRO_BYTES] = "bytes",     [AVRO_INT32] = "int",
    [AVRO_INT64] = "long",    [AVRO_FLOAT] = "float",     [AVRO_DOUBLE] = "double",
    [AVRO_NULL] = "null",     [AVRO_BOOLEAN] = "boolean", [AVRO_RECORD] = "record",
    [AVRO_ENUM] = "enum",     [AVRO_FIXED] = "fixed",     [AVRO_MAP] = "map",
    [AVRO_ARRAY] = "array",   [AVRO_UNION] = "union",     [AVRO_LINK] = "name",
};

/* Notes of each path that ends here whether a value of this type can be what it stands for. */
static void note(struct build *b, const struct want *want, avro_type_t type, struct text logical)
{
    if (type == AVRO_UNION || type == AVRO_LINK || type == AVRO_NULL)
        return; /* what they lead to is noted */
    for (int p = 0; p < PATH_COUNT; p++) {
        bool fits = p == PATH_TIME ? fits_time(b, type, logical)
                                   : (is_text(type) && !is_blob(logical)) || is_whole(type);

        if ((want->own & 1u << p) == 0)
            continue;
        if (fits)
            b->found |= (uint8_t)(1u << p);
        else
            (void)snprintf(b->misfits[p], MISFIT_BYTES, "%s%s%.*s", type_names[type],
                           logical.bytes > 0 ? " of " : "", TEXT_ARGS(logical));
    }
}

/* ---- types ---- */

static enum status define(struct build *b, avro_schema_t type, const struct json_node *json,
                          struct defined **defined)
{
    for (int i = 0; i < b->defined_count; i++)
        if (b->defined[i].type == type) {
            *defined = &b->defined[i];
            return OK;
        }
    if (b->defined_count == DEFINED_MAX)
        return error_set(b->err, ERR_LIMIT, "Avro schema of more than %d named types", DEFINED_MAX);
    *defined = &b->defined[b->defined_count++];
    **defined = (struct defined){type, json, NO_NODE};
    return OK;
}

static enum status add_enum(struct build *b, avro_schema_t type, uint32_t *node)
{
    struct avro_plan *p = b->plan;
    uint32_t count = (uint32_t)avro_schema_enum_number_of_symbols(type);
    uint32_t first = p->symbols_count;
    enum status status = grow(b, (void **)&p->symbols, &p->symbols_room, first + count,
                              sizeof *p->symbols); /* of few, each longer than a byte */

    for (uint32_t i = 0; i < count && status == OK; i++) {
        const char *symbol = avro_schema_enum_get(type, (int)i);

        status = copy_name(b, symbol, strlen(symbol), &p->symbols[first + i]);
    }
    p->symbols_count += status == OK ? count : 0;
    return status == OK ? add_node(b, AVRO_OP_ENUM, first, count, node) : status;
}

static enum status add_fixed(struct build *b, avro_schema_t type, struct text logical,
                             uint32_t *node)
{
    int64_t bytes = avro_schema_fixed_size(type);

    if (bytes < 0 || bytes > EVENT_BYTES_MAX)
        return error_set(b->err, ERR_LIMIT, "Avro fixed of %lld bytes", (long long)bytes);
    return add_node(b, is_blob(logical) ? AVRO_OP_FIXED_BLOB : AVRO_OP_FIXED, 0, (uint32_t)bytes,
                    node);
}

/* The fields, into the node that is there: a type may contain itself. */
static enum status set_fields(struct build *b, avro_schema_t type, const struct json_node *json,
                              const struct want *want, uint32_t node)
{
    const struct json_node *fields = json_member(json, "fields");
    const struct json_node *field = fields == NULL ? NULL : fields->child;
    size_t count = avro_schema_record_size(type);
    uint32_t first;
    enum status status = reserve_kids(b, count, &first);

    if (status != OK)
        return status;
    b->plan->nodes[node].first = first;
    b->plan->nodes[node].count = (uint32_t)count;
    for (uint32_t i = 0; i < (uint32_t)count && status == OK; i++) {
        struct want inner = want_nothing;

        if (want->below != 0)
            inner = member_of(want, avro_schema_record_field_name(type, (int)i));
        status = set_kid(b, first + i, avro_schema_record_field_get_by_index(type, (int)i),
                         json_member(field, "type"), &inner);
        field = field == NULL ? NULL : field->next;
    }
    return status;
}

/* A type with a name of its own. What nothing is wanted of is made once. */
static enum status add_named(struct build *b, avro_schema_t type, const struct json_node *json,
                             const struct want *want, uint32_t *node)
{
    struct defined *defined;
    enum status status = define(b, type, json, &defined);

    if (status != OK)
        return status;
    if (want->below == 0 && defined->passed_over != NO_NODE) {
        *node = defined->passed_over;
        return OK;
    }
    if (is_avro_enum(type))
        status = add_enum(b, type, node);
    else if (is_avro_fixed(type))
        status = add_fixed(b, type, logical_of(json), node);
    else
        status = add_node(b, AVRO_OP_RECORD, 0, 0, node);
    if (status == OK && want->below == 0)
        defined->passed_over = *node;
    if (status == OK && is_avro_record(type))
        status = set_fields(b, type, json, want, *node);
    return status;
}

static enum status add_union(struct build *b, avro_schema_t type, const struct json_node *json,
                             const struct want *want, uint32_t *node)
{
    const struct json_node *branch = json == NULL ? NULL : json->child;
    size_t count = avro_schema_union_size(type);
    uint32_t first;
    enum status status = reserve_kids(b, count, &first);

    for (uint32_t i = 0; i < (uint32_t)count && status == OK; i++) {
        /* The specification forbids it, avro-c does not look: the depth of data would not be ours.
         */
        if (is_avro_union(avro_schema_union_branch(type, (int)i)))
            return error_set(b->err, ERR_MALFORMED, "a branch of a union is a union");
        status = set_kid(b, first + i, avro_schema_union_branch(type, (int)i), branch, want);
        branch = branch == NULL ? NULL : branch->next;
    }
    return status == OK ? add_node(b, AVRO_OP_UNION, first, (uint32_t)count, node) : status;
}

/* The paths that lead through here, each of the first tokens once: how many, and their names. */
static int tokens_of(const struct want *want, char tokens[PATH_COUNT][EVENT_POINTER_MAX + 1])
{
    int count = 0;

    for (int p = 0; p < PATH_COUNT; p++) {
        bool again = false;

        if (!leads_on(want, p))
            continue;
        (void)token_name(want->rest[p], tokens[count]);
        for (int i = 0; i < count; i++)
            again |= strcmp(tokens[i], tokens[count]) == 0;
        count += !again;
    }
    return count;
}

/* As RFC 6901 writes an index: no leading zero. UINT32_MAX: it is none that anything has. */
static uint32_t index_of(const char *token)
{
    size_t bytes = strlen(token);
    uint32_t index = 0;

    if (bytes == 0 || bytes > INDEX_DIGITS || strspn(token, "0123456789") != bytes ||
        (token[0] == '0' && bytes > 1))
        return UINT32_MAX;
    for (size_t i = 0; i < bytes; i++)
        index = index * 10 + (uint32_t)(token[i] - '0');
    return index;
}

/* An array or a map: what every element is, and what is wanted of some. */
static enum status add_many(struct build *b, enum avro_op op, avro_schema_t type,
                            const struct json_node *json, const struct want *want, uint32_t *node)
{
    char tokens[PATH_COUNT][EVENT_POINTER_MAX + 1];
    int count = tokens_of(want, tokens);
    uint32_t first;
    enum status status = reserve_kids(b, (size_t)count + 1, &first);

    if (status == OK)
        status = set_kid(b, first, type, json, &want_nothing);
    for (int i = 0; i < count && status == OK; i++) {
        struct want inner = member_of(want, tokens[i]);
        struct text key;

        status = copy_name(b, tokens[i], strlen(tokens[i]), &key);
        if (status == OK)
            status = set_kid(b, first + 1 + (uint32_t)i, type, json, &inner);
        if (status != OK)
            break;
        b->plan->kids[first + 1 + (uint32_t)i].key = key;
        b->plan->kids[first + 1 + (uint32_t)i].index = index_of(tokens[i]);
    }
    return status == OK ? add_node(b, op, first, (uint32_t)count + 1, node) : status;
}

static enum status add_link(struct build *b, avro_schema_t type, const struct want *want,
                            uint32_t *node)
{
    avro_schema_t target = avro_schema_link_target(type);
    struct defined *defined;
    enum status status = define(b, target, NULL, &defined);

    return status == OK ? add_type(b, target, defined->json, want, node) : status;
}

static enum avro_op scalar_op(avro_type_t type, struct text logical)
{
    switch (type) {
    case AVRO_STRING:
        return AVRO_OP_TEXT;
    case AVRO_BYTES:
        return is_blob(logical) ? AVRO_OP_BLOB : AVRO_OP_TEXT;
    case AVRO_INT32:
        return AVRO_OP_INT;
    case AVRO_INT64:
        return !is_timestamp(type, logical)                       ? AVRO_OP_LONG
               : text_equal(logical, text_of("timestamp-millis")) ? AVRO_OP_MILLIS
                                                                  : AVRO_OP_MICROS;
    case AVRO_FLOAT:
        return AVRO_OP_FLOAT;
    case AVRO_DOUBLE:
        return AVRO_OP_DOUBLE;
    case AVRO_BOOLEAN:
        return AVRO_OP_BOOL;
    default:
        return AVRO_OP_NULL;
    }
}

static enum status add_type(struct build *b, avro_schema_t type, const struct json_node *json,
                            const struct want *want, uint32_t *node)
{
    struct text logical = logical_of(json);
    avro_type_t kind = avro_typeof(type);
    enum status status;

    if (b->depth == AVRO_DEPTH_MAX)
        return error_set(b->err, ERR_LIMIT, "Avro schema is deeper than %d levels", AVRO_DEPTH_MAX);
    b->depth++;
    note(b, want, kind, logical);
    switch (kind) {
    case AVRO_RECORD:
    case AVRO_ENUM:
    case AVRO_FIXED:
        status = add_named(b, type, json, want, node);
        break;
    case AVRO_UNION:
        status = add_union(b, type, json, want, node);
        break;
    case AVRO_ARRAY:
        status = add_many(b, want->own & 1u << PATH_ROWS ? AVRO_OP_ROWS : AVRO_OP_ARRAY,
                          avro_schema_array_items(type), json_member(json, "items"), want, node);
        break;
    case AVRO_MAP:
        status = add_many(b, AVRO_OP_MAP, avro_schema_map_values(type), json_member(json, "values"),
                          want, node);
        break;
    case AVRO_LINK:
        status = add_link(b, type, want, node);
        break;
    default:
        status = add_node(b, scalar_op(kind, logical), 0, 0, node);
    }
    b->depth--;
    return status;
}

/* ---- the whole ---- */

/* Can events come out of it? */
static enum status check_needed(const struct build *b)
{
    static const struct {
        enum event_path path;
        const char *what;
    } needed[] = {{PATH_USER, "user"}, {PATH_TIME, "time"}, {PATH_ACTION, "action"}};

    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        int p = needed[i].path;

        if ((b->found & 1u << p) != 0 || (p == PATH_ACTION && b->schema->otherwise.bytes > 0))
            continue;
        if (b->misfits[p][0] != 0)
            return error_set(b->err, ERR_MALFORMED,
                             "its field %.80s is of type %s, which is no %s (events.mapping)",
                             b->schema->pointers[p], b->misfits[p], needed[i].what);
        return error_set(b->err, ERR_MALFORMED, "it has no field %.80s for the %s (events.mapping)",
                         b->schema->pointers[p], needed[i].what);
    }
    return OK;
}

static enum status compile(struct build *b, avro_schema_t type, const struct json_node *json)
{
    struct want all = {.own = 0};
    enum status status;

    for (int p = 0; p < PATH_COUNT; p++) {
        all.rest[p] = b->schema->pointers[p];
        all.below |= (uint8_t)(1u << p);
    }
    status = add_type(b, type, json, &all, &b->plan->root);
    return status == OK ? check_needed(b) : status;
}

static enum status compile_text(struct build *b, struct text avsc)
{
    struct json_parser *parser;
    const struct json_node *json;
    avro_schema_t type = NULL;
    enum status status;

    if (avsc.bytes > AVRO_SCHEMA_BYTES_MAX)
        return error_set(b->err, ERR_LIMIT, "Avro schema of %zu bytes, at most %d", avsc.bytes,
                         AVRO_SCHEMA_BYTES_MAX);
    /* A node and what parts it from the next have two bytes at least. */
    parser = json_parser_create(avsc.bytes + 1, avsc.bytes / 2 + 2);
    if (parser == NULL)
        return no_memory(b);
    json_parser_set_depth(parser, JSON_LEVELS);
    status = json_parse(parser, avsc, &json, b->err);
    /* Behind our own parser, which bounds how deep avro-c's can go. */
    if (status == OK && avro_schema_from_json_length(avsc.at, avsc.bytes, &type) != 0) {
        type = NULL;
        status = error_set(b->err, ERR_MALFORMED, "no Avro schema: %s", avro_strerror());
    }
    if (status == OK)
        status = compile(b, type, json);
    if (type != NULL)
        (void)avro_schema_decref(type);
    json_parser_destroy(parser);
    return status;
}

enum status avro_plan_create(struct avro_plan **plan, const struct event_schema *schema,
                             struct text avsc, struct error *err)
{
    struct build b = {.schema = schema, .err = err};
    enum status status;

    assert(plan != NULL && schema != NULL && err != NULL);
    *plan = NULL;
    b.plan = calloc(1, sizeof *b.plan);
    b.defined = calloc(DEFINED_MAX, sizeof *b.defined);
    if (b.plan == NULL || b.defined == NULL) {
        status = no_memory(&b);
        goto done;
    }
    b.plan->names = arena_create(NAMES_BLOCK, NAMES_LIMIT);
    b.plan->unit = schema->unit;
    status = compile_text(&b, avsc);
    if (status != OK)
        goto done;
    *plan = b.plan;
    b.plan = NULL;
done:
    avro_plan_destroy(b.plan);
    free(b.defined);
    return status;
}

void avro_plan_destroy(struct avro_plan *plan)
{
    if (plan == NULL)
        return;
    arena_destroy(plan->names);
    free(plan->symbols);
    free(plan->kids);
    free(plan->nodes);
    free(plan);
}
