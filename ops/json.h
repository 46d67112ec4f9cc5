/*
 * ops/json.h - reading JSON through simdjson, behind C.
 *
 * Two ways in. json_extract(): one pass over a record that picks out the values at
 * a fixed set of paths (the hot path: an event). json_parse(): a small tree (manifests,
 * requests, answers of a test).
 * Every input is safe: depth, bytes, members and array elements are bounded, UTF-8
 * is validated, numbers are finite. Duplicate keys: the last one counts.
 * Thread: a parser belongs to one thread at a time.
 */
#ifndef OPS_JSON_H
#define OPS_JSON_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 16
#define JSON_PATHS_MAX 32

#ifdef __cplusplus
extern "C" {
#endif

enum json_type {
    JSON_ABSENT,
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_REAL,
    JSON_TEXT,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_value {
    enum json_type type;
    bool boolean;
    int64_t integer; /* JSON_INT; a number outside int64 is JSON_REAL */
    double real;     /* JSON_INT and JSON_REAL; always finite */
    struct text
        text; /* JSON_TEXT: unescaped, valid UTF-8, no zero inside; valid until the next call */
    const struct json_value *elements; /* JSON_ARRAY of json_extract: scalars only */
    size_t elements_count;
};

struct json_parser;
struct json_parser *json_parser_create(size_t document_bytes_max, size_t elements_max);
void json_parser_destroy(struct json_parser *parser);

/* Compiled paths like "/user" or "/actor/id" (RFC 6901). Read-only once made. */
struct json_paths;
MUST_CHECK enum status json_paths_create(struct json_paths **paths, const char *const *pointers,
                                         int count, struct error *err);
void json_paths_destroy(struct json_paths *paths);

/**
 * Finds all paths in one document; values[i] belongs to pointers[i], JSON_ABSENT where
 * there is none. JSON_OBJECT, and an array inside an array, carry a type and no content.
 * The bytes need no padding (they are copied if they lack it).
 * Errors: ERR_MALFORMED (not JSON, or the top is no object), ERR_LIMIT (depth, bytes, elements)
 */
MUST_CHECK enum status json_extract(struct json_parser *parser, const struct json_paths *paths,
                                    struct text document, struct json_value *values,
                                    struct error *err);

/* A parsed tree, in the parser's memory until its next call. */
struct json_node {
    struct json_value value; /* elements unused */
    struct text key;         /* in an object */
    const struct json_node *child;
    const struct json_node *next;
    size_t children_count;
};
MUST_CHECK enum status json_parse(struct json_parser *parser, struct text document,
                                  const struct json_node **root, struct error *err);
/* NULL when absent or when node is NULL, so that calls can be nested. */
const struct json_node *json_member(const struct json_node *node, const char *key);
int64_t json_int_or(const struct json_node *node, int64_t otherwise);
double json_real_or(const struct json_node *node, double otherwise);
struct text json_text_or(const struct json_node *node, const char *otherwise);

#ifdef __cplusplus
}
#endif
#endif
