/*
 * ops/json.cpp - simdjson finds the tokens, this file checks and reads them.
 *
 * Flow: bytes -> [simdjson's stage 1: UTF-8, strings, token starts] -> [one walk] -> values
 *
 * Why not simdjson's own second stage: on-demand never looks at what it skips, so `[1,,2]` or
 * 17 levels inside an unwanted field would pass here and fail elsewhere; what it does look at is
 * compiled for the build's baseline CPU, not for the one it runs on; and its DOM costs three
 * times as much. Stage 1 is dispatched at run time and is where the vector work is. The walk
 * judges every token, wanted or not, so json_extract() and json_parse() accept the same text.
 *
 * What the walk relies on: the index holds the start of every token outside strings (a string's
 * opening quote, not its closing one), ends with the document's length, and stage 1 has refused
 * invalid UTF-8, control characters in strings and strings without an end. Between one token's
 * start and the next there is the token and white space, nothing else. All reads are bounded by
 * the next start anyway.
 *
 * Compiled without exceptions; allocation failures are status codes.
 */
#include "ops/json.h"

#include "ops/defence.h"
#include "ops/json_private.h"

#include <assert.h>
#include <charconv>
#include <limits.h>
#include <math.h>
#include <new>
#include <simdjson.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_BYTES_LIMIT ((size_t)1 << 30) /* token starts are 32 bits */
#define CAPACITY_BYTES_FIRST ((size_t)1 << 14)

typedef std::unique_ptr<simdjson::internal::dom_parser_implementation> stage1_pointer;

struct json_parser {
    stage1_pointer stage1;
    char *document; /* our copy: strings are unescaped in place */
    size_t capacity_bytes;
    size_t document_bytes_max;
    struct json_value *elements; /* (elements_max) */
    struct json_node *nodes;     /* (elements_max), made by the first json_parse() */
    size_t elements_max;
    size_t used; /* of elements or nodes, by the present document */
    int tree_depth_max;
};

struct walk {
    const uint32_t *next; /* the token that comes */
    const uint32_t *end;  /* holds the document's length */
    char *document;
    bool escapes; /* is there a backslash at all? */
    struct json_parser *parser;
    const struct json_paths *paths;
    struct json_value *values;
    uint32_t seen; /* paths that have a value */
    struct error *err;
};

static enum status malformed(const struct walk *w, const char *what)
{
    return error_set(w->err, ERR_MALFORMED, "not JSON at byte %u: %s", (unsigned)*w->next, what);
}

/* The first byte of the token that comes. At the end it is the zero behind the document, which
 * no one takes, so that next never passes end. */
static inline char peek(const struct walk *w)
{
    return w->document[*w->next];
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* ---- strings ---------------------------------------------------------------------------- */

/* Takes the string token that comes; the caller has seen its quote. */
static inline enum status take_string(struct walk *w, struct text *string)
{
    uint32_t open = w->next[0];
    uint32_t close = w->next[1];
    char *at = w->document + open + 1;
    size_t bytes;

    do
        close--;
    while (close > open && is_blank(w->document[close]));
    if (close == open || w->document[close] != '"')
        return malformed(w, "a string without an end");
    bytes = close - open - 1;
    if (w->escapes && memchr(at, '\\', bytes) != NULL && !json_unescape(at, bytes, &bytes))
        return malformed(w, "a bad escape, a lone surrogate or a zero in a string");
    w->next++;
    *string = (struct text){at, bytes};
    return OK;
}

/* ---- numbers and words ------------------------------------------------------------------ */

/* Whether a number that from_chars() found out of range is too large (not too small): by the
 * place of its first digit that is not zero, and its exponent. */
static bool is_huge(const char *at, const char *end)
{
    int64_t place = 0; /* of that digit: 0 is the units */
    int64_t exponent = 0;
    bool point = false, found = false, negative = false;

    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.')
            point = true;
        if (*at < '0' || *at > '9')
            continue;
        found = found || *at != '0';
        if (!point && found)
            place++;
        if (point && !found)
            place--;
    }
    if (at < end) {
        at++;
        negative = *at == '-';
        for (at += negative || *at == '+'; at < end; at++)
            exponent = exponent > 100000000 ? exponent : exponent * 10 + (*at - '0');
    }
    return place + (negative ? -exponent : exponent) > 0;
}

static enum status take_real(struct walk *w, const char *at, const char *end,
                             struct json_value *value)
{
    double real = 0;
    std::from_chars_result result = std::from_chars(at, end, real);

    if (result.ec == std::errc::result_out_of_range || !isfinite(real)) {
        if (DEFENCE(FINITE) && is_huge(at, end))
            return malformed(w, "a number no double can hold");
        real = *at == '-' ? -0.0 : 0.0;
    }
    value->type = JSON_REAL;
    value->real = real;
    w->next++;
    return OK;
}

static inline const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* By RFC 8259's grammar: no plus, no leading zeros, digits on both sides of the point. */
static enum status take_number(struct walk *w, struct json_value *value)
{
    const char *start = w->document + w->next[0];
    const char *end = w->document + w->next[1];
    const char *digits = start + (*start == '-');
    const char *at = skip_digits(digits, end);
    bool whole = true;
    uint64_t magnitude = 0;

    while (end > start && is_blank(end[-1]))
        end--;
    if (at == digits || (*digits == '0' && at - digits > 1))
        return malformed(w, "neither a value nor a number");
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        at = skip_digits(at, end);
        whole = false;
        if (at == fraction)
            return malformed(w, "a number without digits behind its point");
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        const char *exponent = at;
        at = skip_digits(at, end);
        whole = false;
        if (at == exponent)
            return malformed(w, "a number without digits in its exponent");
    }
    if (at != end)
        return malformed(w, "a number followed by something else");
    if (!whole || end - digits > 19)
        return take_real(w, start, end, value);
    for (const char *d = digits; d < end; d++)
        magnitude = magnitude * 10 + (uint64_t)(*d - '0');
    if (magnitude > (uint64_t)INT64_MAX + (*start == '-'))
        return take_real(w, start, end, value);
    value->type = JSON_INT;
    value->integer = (int64_t)(*start == '-' ? 0 - magnitude : magnitude);
    value->real = (double)value->integer;
    w->next++;
    return OK;
}

static bool is_word(const struct walk *w, const char *word, size_t bytes)
{
    const char *at = w->document + w->next[0];
    const char *end = w->document + w->next[1];

    while (end > at && is_blank(end[-1]))
        end--;
    return (size_t)(end - at) == bytes && memcmp(at, word, bytes) == 0;
}

/* Takes the scalar that comes into *value, all of whose fields it sets. */
static inline enum status take_scalar(struct walk *w, struct json_value *value)
{
    *value = (struct json_value){};
    switch (peek(w)) {
    case '"':
        value->type = JSON_TEXT;
        return take_string(w, &value->text);
    case 't':
    case 'f':
        value->type = JSON_BOOL;
        value->boolean = is_word(w, "true", 4);
        if (!value->boolean && !is_word(w, "false", 5))
            return malformed(w, "an unknown word");
        w->next++;
        return OK;
    case 'n':
        value->type = JSON_NULL;
        if (!is_word(w, "null", 4))
            return malformed(w, "an unknown word");
        w->next++;
        return OK;
    case '\0':
        return malformed(w, "it ends too early");
    default:
        return take_number(w, value);
    }
}

static enum status too_deep(const struct walk *w, int levels)
{
    return error_set(w->err, ERR_LIMIT, "JSON is deeper than %d levels", levels);
}

static enum status too_many(const struct walk *w)
{
    return error_set(w->err, ERR_LIMIT, "JSON has more than %zu elements", w->parser->elements_max);
}

/* Takes a key and its colon. */
static inline enum status take_key(struct walk *w, struct text *key)
{
    enum status status;

    if (peek(w) != '"')
        return malformed(w, "a key must come here");
    status = take_string(w, key);
    if (status != OK)
        return status;
    if (peek(w) != ':')
        return malformed(w, "a colon must come here");
    w->next++;
    return OK;
}

/* After a member or an element: a comma (*more), or the closing bracket. */
static inline enum status take_separator(struct walk *w, char close, bool *more)
{
    char c = peek(w);

    if (c != ',' && c != close)
        return malformed(w, close == '}' ? "a comma or } must come here"
                                         : "a comma or ] must come here");
    *more = c == ',';
    w->next++;
    return OK;
}

/* ---- extraction ------------------------------------------------------------------------- */

/* Copies one value to the places of all these paths. */
static inline void spread(struct walk *w, uint32_t paths, const struct json_value *value)
{
    for (uint32_t left = paths; left != 0; left &= left - 1)
        w->values[__builtin_ctz(left)] = *value;
}

/* A key that comes again replaces all that its first coming gave. */
static void forget(struct walk *w, uint32_t paths)
{
    for (uint32_t left = paths & w->seen; left != 0; left &= left - 1)
        w->values[__builtin_ctz(left)] = (struct json_value){};
}

static enum status extract_list(struct walk *w, const struct json_trie_node *node, int depth,
                                struct json_value *value);

/* Takes the value that comes; depth is that of what encloses it. An object, or an array no
 * path ends at, leaves nothing but its type in *value. */
static inline enum status extract_value(struct walk *w, const struct json_trie_node *node,
                                        int depth, struct json_value *value)
{
    char c = peek(w);

    if (c == '{' || c == '[')
        return extract_list(w, node, depth, value);
    return take_scalar(w, value);
}

/* A wanted value is read into its place: copying a struct that was just written in pieces
 * costs more than reading it did. */
static enum status extract_object(struct walk *w, const struct json_trie_node *node, int depth)
{
    struct json_value unwanted;
    struct text key = {NULL, 0};
    bool more = true;

    w->next++;
    if (peek(w) == '}') {
        w->next++;
        return OK;
    }
    while (more) {
        enum status status = take_key(w, &key);
        if (status != OK)
            return status;
        const struct json_trie_node *child = node == NULL ? NULL
                                                          : json_find_child(w->paths, node, key);
        struct json_value *into = &unwanted;
        uint32_t own = child == NULL ? 0 : child->own;
        if (child != NULL) {
            if ((child->below & w->seen) != 0)
                forget(w, child->below);
            w->seen |= child->below;
        }
        if (own != 0)
            into = &w->values[__builtin_ctz(own)];
        status = extract_value(w, child, depth, into);
        if (status != OK)
            return status;
        if ((own & (own - 1)) != 0)
            spread(w, own & (own - 1), into);
        status = take_separator(w, '}', &more);
        if (status != OK)
            return status;
    }
    return OK;
}

/* How many elements the array that comes has, by its commas, without judging any: what is not
 * JSON is found when they are taken, before more elements than this were. */
static size_t count_elements(const struct walk *w)
{
    const uint32_t *token = w->next + 1;
    size_t count = 1;
    int depth = 0;

    if (token < w->end && w->document[*token] == ']')
        return 0;
    for (; token < w->end && depth >= 0; token++) {
        char c = w->document[*token];
        if (c == '[' || c == '{')
            depth++;
        else if (c == ']' || c == '}')
            depth--;
        else if (c == ',' && depth == 0)
            count++;
    }
    return count;
}

/* The room for a wanted array is reserved whole before its elements are taken, because paths
 * may also lead into it: "/a" and "/a/0/b". */
static enum status extract_array(struct walk *w, const struct json_trie_node *node, int depth,
                                 struct json_value *array)
{
    struct json_value unwanted;
    struct json_value *into = NULL;
    size_t room = 0;
    bool more = true;

    if (node != NULL && node->own != 0) {
        room = count_elements(w);
        if (room > w->parser->elements_max - w->parser->used)
            return too_many(w);
        into = w->parser->elements + w->parser->used;
        w->parser->used += room;
        array->elements = into;
        array->elements_count = room;
    }
    w->next++;
    if (peek(w) == ']') {
        w->next++;
        return OK;
    }
    for (size_t i = 0; more; i++) {
        const struct json_trie_node *child = NULL;
        if (node != NULL && node->below != node->own) {
            char digits[32] = {0};
            std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, i);
            child = json_find_child(w->paths, node,
                                    (struct text){digits, (size_t)(end.ptr - digits)});
            if (child != NULL)
                w->seen |= child->below;
        }
        assert(into == NULL || i < room);
        struct json_value *element = into == NULL ? &unwanted : &into[i];
        enum status status = extract_value(w, child, depth, element);
        if (status != OK)
            return status;
        if (child != NULL)
            spread(w, child->own, element);
        status = take_separator(w, ']', &more);
        if (status != OK)
            return status;
    }
    return OK;
}

static enum status extract_list(struct walk *w, const struct json_trie_node *node, int depth,
                                struct json_value *value)
{
    bool object = peek(w) == '{';

    if (DEFENCE(JSON_DEPTH) && depth == JSON_DEPTH_MAX)
        return too_deep(w, JSON_DEPTH_MAX);
    *value = (struct json_value){};
    value->type = object ? JSON_OBJECT : JSON_ARRAY;
    return object ? extract_object(w, node, depth + 1) : extract_array(w, node, depth + 1, value);
}

/* ---- the tree --------------------------------------------------------------------------- */

static enum status tree_value(struct walk *w, int depth, struct json_node **node);

/* The members or elements of *parent; the bracket that opens it comes. */
static enum status tree_children(struct walk *w, char close, int depth, struct json_node *parent)
{
    const struct json_node **link = &parent->child;
    struct json_node *child = NULL;
    struct text key = {NULL, 0};
    bool more = true;

    w->next++;
    if (peek(w) == close) {
        w->next++;
        return OK;
    }
    while (more) {
        enum status status = close == '}' ? take_key(w, &key) : OK;
        if (status != OK)
            return status;
        status = tree_value(w, depth, &child);
        if (status != OK)
            return status;
        child->key = key;
        *link = child;
        link = &child->next;
        parent->children_count++;
        status = take_separator(w, close, &more);
        if (status != OK)
            return status;
    }
    return OK;
}

static enum status tree_value(struct walk *w, int depth, struct json_node **node)
{
    char c = peek(w);
    struct json_node *made;

    if (w->parser->used == w->parser->elements_max)
        return too_many(w);
    made = &w->parser->nodes[w->parser->used++];
    *made = (struct json_node){};
    *node = made;
    if (c != '{' && c != '[')
        return take_scalar(w, &made->value);
    if (depth == w->parser->tree_depth_max)
        return too_deep(w, depth);
    made->value.type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
    return tree_children(w, c == '{' ? '}' : ']', depth + 1, made);
}

/* ---- documents -------------------------------------------------------------------------- */

/* Makes room for bytes; grows by doubling, so a steady state allocates nothing. */
static enum status reserve(struct json_parser *parser, size_t bytes, struct error *err)
{
    size_t capacity = parser->capacity_bytes;
    simdjson::error_code code;
    char *document;

    if (bytes <= capacity)
        return OK;
    while (capacity < bytes)
        capacity = capacity == 0 ? CAPACITY_BYTES_FIRST : capacity * 2;
    if (capacity > parser->document_bytes_max)
        capacity = parser->document_bytes_max;
    document = (char *)realloc(parser->document, capacity + simdjson::SIMDJSON_PADDING);
    if (document == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %zu bytes of JSON", capacity);
    parser->document = document;
    parser->capacity_bytes = 0; /* should stage 1 get no memory */
    if (parser->stage1 == nullptr)
        code = simdjson::get_active_implementation()->create_dom_parser_implementation(
            capacity, JSON_DEPTH_MAX, parser->stage1);
    else
        code = parser->stage1->allocate(capacity, JSON_DEPTH_MAX);
    if (code != simdjson::SUCCESS)
        return error_set(err, ERR_NOMEM, "no memory for the tokens of %zu bytes of JSON", capacity);
    parser->capacity_bytes = capacity;
    return OK;
}

/* Copies the document, finds its tokens and points *w at the first. */
static enum status start(struct walk *w, struct json_parser *parser, struct text document,
                         struct error *err)
{
    simdjson::error_code code;
    enum status status;

    if (document.bytes > parser->document_bytes_max)
        return error_set(err, ERR_LIMIT, "JSON of %zu bytes, at most %zu", document.bytes,
                         parser->document_bytes_max);
    status = reserve(parser, document.bytes, err);
    if (status != OK)
        return status;
    if (document.bytes > 0)
        memcpy(parser->document, document.at, document.bytes);
    memset(parser->document + document.bytes, 0, simdjson::SIMDJSON_PADDING);
    code = parser->stage1->stage1((const uint8_t *)parser->document, document.bytes,
                                  simdjson::stage1_mode::regular);
    if (code != simdjson::SUCCESS)
        return error_set(err, ERR_MALFORMED, "not JSON: %s",
                         code == simdjson::EMPTY             ? "nothing there"
                         : code == simdjson::UTF8_ERROR      ? "not UTF-8"
                         : code == simdjson::UNCLOSED_STRING ? "a string without an end"
                         : code == simdjson::UNESCAPED_CHARS ? "a control character in a string"
                                                             : "no tokens in it");
    parser->used = 0;
    w->next = parser->stage1->structural_indexes.get();
    w->end = w->next + parser->stage1->n_structural_indexes;
    w->document = parser->document;
    w->escapes = memchr(parser->document, '\\', document.bytes) != NULL;
    w->parser = parser;
    w->err = err;
    return OK;
}

enum status json_extract(struct json_parser *parser, const struct json_paths *paths,
                         struct text document, struct json_value *values, struct error *err)
{
    struct json_value unused;
    struct walk w = {};
    enum status status;

    assert(parser != NULL && paths != NULL && err != NULL);
    for (int i = 0; i < paths->count; i++)
        values[i] = (struct json_value){};
    status = start(&w, parser, document, err);
    if (status != OK)
        return status;
    w.paths = paths;
    w.values = values;
    if (peek(&w) != '{')
        return malformed(&w, "the top is no object");
    status = extract_value(&w, &paths->nodes[0], 0, &unused);
    if (status == OK && w.next != w.end)
        status = malformed(&w, "more behind the end");
    return status;
}

enum status json_parse(struct json_parser *parser, struct text document,
                       const struct json_node **root, struct error *err)
{
    struct json_node *made = NULL;
    struct walk w = {};
    enum status status;

    assert(parser != NULL && root != NULL && err != NULL);
    *root = NULL;
    if (parser->nodes == NULL)
        parser->nodes = (struct json_node *)malloc(parser->elements_max * sizeof *parser->nodes);
    if (parser->nodes == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %zu JSON nodes", parser->elements_max);
    status = start(&w, parser, document, err);
    if (status != OK)
        return status;
    status = tree_value(&w, 0, &made);
    if (status == OK && w.next != w.end)
        status = malformed(&w, "more behind the end");
    if (status == OK)
        *root = made;
    return status;
}

struct json_parser *json_parser_create(size_t document_bytes_max, size_t elements_max)
{
    struct json_parser *parser = new (std::nothrow) json_parser();
    struct error err;

    assert(document_bytes_max > 0 && document_bytes_max <= DOCUMENT_BYTES_LIMIT);
    assert(elements_max > 0 && elements_max <= DOCUMENT_BYTES_LIMIT / 16);
    if (parser == NULL)
        return NULL;
    parser->document_bytes_max = document_bytes_max;
    parser->elements_max = elements_max;
    parser->tree_depth_max = JSON_DEPTH_MAX;
    parser->elements = (struct json_value *)malloc(elements_max * sizeof *parser->elements);
    if (parser->elements == NULL || reserve(parser, 1, &err) != OK) {
        json_parser_destroy(parser);
        return NULL;
    }
    return parser;
}

void json_parser_set_depth(struct json_parser *parser, int levels)
{
    assert(levels > 0 && levels <= JSON_TREE_DEPTH_MAX);
    parser->tree_depth_max = levels;
}

void json_parser_destroy(struct json_parser *parser)
{
    if (parser == NULL)
        return;
    free(parser->document);
    free(parser->elements);
    free(parser->nodes);
    delete parser;
}
