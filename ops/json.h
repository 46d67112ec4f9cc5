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

#define JSON_DEPTH_MAX      16
#define JSON_TREE_DEPTH_MAX 256
#define JSON_PATHS_MAX      32

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
    /* JSON_TEXT: unescaped, valid UTF-8, no zero inside; valid until the next call */
    struct text text;
    /* JSON_ARRAY of json_extract; an object or array among them has a type and no content */
    const struct json_value *elements;
    size_t elements_count;
};

struct json_parser;
/* elements_max: elements of all arrays that one json_extract() hands out, or nodes of one
 * json_parse(). NULL: out of memory. */
struct json_parser *json_parser_create(size_t document_bytes_max, size_t elements_max);
void json_parser_destroy(struct json_parser *parser);
/* How deep json_parse() may go; JSON_DEPTH_MAX unless it is set. At most JSON_TREE_DEPTH_MAX. */
void json_parser_set_depth(struct json_parser *parser, int levels);

/**
 * Compiled paths like "/user", "/actor/id" or "/rows/0/item" (RFC 6901). Read-only once made,
 * so threads may share them. A path may come twice, or lead through another.
 * Errors: ERR_CONFIG (no pointer, or deeper than JSON_DEPTH_MAX), ERR_LIMIT (too many), ERR_NOMEM
 */
struct json_paths;
MUST_CHECK enum status json_paths_create(struct json_paths **paths, const char *const *pointers,
                                         int count, struct error *err);
void json_paths_destroy(struct json_paths *paths);

/**
 * Finds all paths in one document; values[i] belongs to pointers[i], JSON_ABSENT where
 * there is none. JSON_OBJECT, and an array inside an array, carry a type and no content.
 * The whole document is judged, wanted or not. It needs no padding and is copied: the values
 * do not point into it. -0 is the integer 0; a whole number outside int64 is JSON_REAL; 1e999
 * is malformed, 1e-999 is 0.
 * Errors: ERR_MALFORMED (not JSON, or the top is no object), ERR_LIMIT (depth, bytes, elements);
 *         ERR_NOMEM. The values then mean nothing.
 */
MUST_CHECK enum status json_extract(struct json_parser *parser, const struct json_paths *paths,
                                    struct text document, struct json_value *values,
                                    struct error *err);

/* A parsed tree, in the parser's memory until its next call. The top may be any value. */
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
