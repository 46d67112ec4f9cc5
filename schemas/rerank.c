/* schemas/rerank.c - requests and answers of the ranking endpoints, read and written. */
#include "schemas/rerank.h"

#include "ops/json.h"
#include "ops/json_writer.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 20
#define ARM_BYTES  32

enum member {
    MEMBER_REQUEST_ID,
    MEMBER_USER,
    MEMBER_CANDIDATES,
    MEMBER_K,
    MEMBER_SEEN,
    MEMBER_EXPLAIN,
    MEMBER_DEADLINE,
    MEMBER_COUNT
};

static const char *const pointers[MEMBER_COUNT] = {
    "/request_id", "/user", "/candidates", "/k", "/seen", "/explain", "/deadline_ms",
};

const char *const degraded_names[DEGRADED_COUNT] = {
#define X(id, name, help) [DEGRADED_##id] = name,
    DEGRADED_LIST(X)
#undef X
};

struct rerank_parser {
    struct json_parser *json;
    struct json_paths *paths;
    int contexts_count;
    struct text candidates[RERANK_CANDIDATES_MAX];
    char digits[(RERANK_CANDIDATES_MAX + 2 + BATCH_CONTEXTS) *
                DIGITS_MAX]; /* of ids that are integers */
    size_t digits_used;
    /* Of answers: */
    struct ranked_item items[RERANK_K_MAX];
    char version[MODEL_VERSION_MAX + 32];
    char arm[ARM_BYTES];
};

enum status rerank_parser_create(struct rerank_parser **parser, struct error *err)
{
    struct rerank_parser *made = calloc(1, sizeof *made);
    enum status status;

    *parser = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a parser of requests");
    made->json = json_parser_create(RERANK_BYTES_MAX, RERANK_CANDIDATES_MAX);
    if (made->json == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for a parser of requests");
    else
        status = json_paths_create(&made->paths, pointers, MEMBER_COUNT, err);
    if (status != OK) {
        rerank_parser_destroy(made);
        return status;
    }
    *parser = made;
    return OK;
}

void rerank_parser_destroy(struct rerank_parser *parser)
{
    if (parser == NULL)
        return;
    json_parser_destroy(parser->json);
    json_paths_destroy(parser->paths);
    free(parser);
}

enum status rerank_parser_contexts(struct rerank_parser *parser, const struct context_names *names,
                                   struct error *err)
{
    char members[BATCH_CONTEXTS][CONTEXT_NAME_MAX + 16];
    const char *all[MEMBER_COUNT + BATCH_CONTEXTS];
    struct json_paths *paths;
    enum status status;

    memcpy(all, pointers, sizeof pointers);
    for (int i = 0; i < names->count; i++) {
        (void)snprintf(members[i], sizeof members[i], "/context/%s", names->names[i]);
        all[MEMBER_COUNT + i] = members[i];
    }
    status = json_paths_create(&paths, all, (size_t)(MEMBER_COUNT + names->count), err);
    if (status != OK)
        return status;
    json_paths_destroy(parser->paths);
    parser->paths = paths;
    parser->contexts_count = names->count;
    return OK;
}

/* ---- requests ---- */

static bool is_absent(const struct json_value *value)
{
    return value->type == JSON_ABSENT || value->type == JSON_NULL;
}

static bool get_id(struct rerank_parser *parser, const struct json_value *value, size_t bytes_max,
                   struct text *id)
{
    if (value->type == JSON_INT) {
        uint64_t rest = value->integer < 0 ? 0 - (uint64_t)value->integer
                                           : (uint64_t)value->integer;
        char *end = parser->digits + parser->digits_used + DIGITS_MAX;
        char *at = end;

        do
            *--at = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        if (value->integer < 0)
            *--at = '-';
        parser->digits_used += DIGITS_MAX;
        *id = (struct text){at, (size_t)(end - at)};
        return true;
    }
    *id = value->text;
    return value->type == JSON_TEXT && id->bytes >= 1 && id->bytes <= bytes_max;
}

static enum status get_candidates(struct rerank_parser *parser, const struct json_value *value,
                                  struct rerank_request *request, struct error *err)
{
    if (value->type != JSON_ARRAY)
        return error_set(err, ERR_MALFORMED, "candidates are no list of item ids");
    if (value->elements_count > RERANK_CANDIDATES_MAX)
        return error_set(err, ERR_LIMIT, "%zu candidates, at most %d", value->elements_count,
                         RERANK_CANDIDATES_MAX);
    for (size_t i = 0; i < value->elements_count; i++)
        if (!get_id(parser, &value->elements[i], ITEM_ID_MAX, &parser->candidates[i]))
            return error_set(err, ERR_MALFORMED, "candidate %zu is no item id of 1..%d bytes", i,
                             ITEM_ID_MAX);
    request->candidates = parser->candidates;
    request->candidates_count = (int)value->elements_count;
    return OK;
}

/* The members that have a default. */
static enum status get_options(const struct json_value *values, bool recommend,
                               struct rerank_request *request, struct error *err)
{
    const struct json_value *k = &values[MEMBER_K], *seen = &values[MEMBER_SEEN];
    const struct json_value *explain = &values[MEMBER_EXPLAIN];
    const struct json_value *deadline = &values[MEMBER_DEADLINE];

    request->k = RERANK_K_DEFAULT;
    if (!is_absent(k)) {
        if (k->type != JSON_INT || k->integer < 1)
            return error_set(err, ERR_MALFORMED, "k is no whole number of at least 1");
        if (k->integer > RERANK_K_MAX)
            return error_set(err, ERR_LIMIT, "k is %lld, at most %d", (long long)k->integer,
                             RERANK_K_MAX);
        request->k = (int)k->integer;
    }
    request->keep_seen = !recommend;
    if (!is_absent(seen)) {
        request->keep_seen = seen->type == JSON_TEXT && text_equal(seen->text, text_of("keep"));
        if (!request->keep_seen &&
            (seen->type != JSON_TEXT || !text_equal(seen->text, text_of("drop"))))
            return error_set(err, ERR_MALFORMED, "seen is neither \"keep\" nor \"drop\"");
    }
    if (!is_absent(explain)) {
        if (explain->type != JSON_BOOL)
            return error_set(err, ERR_MALFORMED, "explain is neither true nor false");
        request->explain = explain->boolean;
    }
    if (!is_absent(deadline)) {
        if (deadline->type != JSON_INT || deadline->integer < 0 ||
            deadline->integer > RERANK_DEADLINE_MAX_MS)
            return error_set(err, ERR_MALFORMED, "deadline_ms is no whole number of 0..%d",
                             RERANK_DEADLINE_MAX_MS);
        request->deadline_ms = deadline->integer;
    }
    return OK;
}

/* What is no text or integer says nothing. */
static void get_context(struct rerank_parser *parser, const struct json_value *values,
                        struct rerank_request *request)
{
    for (int i = 0; i < parser->contexts_count; i++) {
        struct text value = {0};

        if (get_id(parser, &values[i], SIZE_MAX, &value))
            request->context[i] = (uint8_t)context_code(value);
    }
}

enum status rerank_parse(struct rerank_parser *parser, struct text body, bool recommend,
                         struct rerank_request *request, struct error *err)
{
    struct json_value values[MEMBER_COUNT + BATCH_CONTEXTS];
    const struct json_value *id = &values[MEMBER_REQUEST_ID];
    enum status status;

    *request = (struct rerank_request){0};
    status = json_extract(parser->json, parser->paths, body, values, err);
    if (status != OK)
        return status;
    parser->digits_used = 0;
    if (!get_id(parser, &values[MEMBER_USER], USER_ID_MAX, &request->user))
        return error_set(err, ERR_MALFORMED, "user is missing, or no id of 1..%d bytes",
                         USER_ID_MAX);
    if (!is_absent(id) && !(id->type == JSON_TEXT && id->text.bytes == 0) &&
        !get_id(parser, id, REQUEST_ID_MAX, &request->request_id))
        return error_set(err, ERR_MALFORMED, "request_id is no id of 1..%d bytes", REQUEST_ID_MAX);
    status = get_options(values, recommend, request, err);
    if (status != OK)
        return status;
    get_context(parser, values + MEMBER_COUNT, request);
    if (!recommend)
        return get_candidates(parser, &values[MEMBER_CANDIDATES], request, err);
    if (!is_absent(&values[MEMBER_CANDIDATES]))
        return error_set(err, ERR_MALFORMED, "recommend takes no candidates: use rerank");
    return OK;
}

/* ---- answers ---- */

static void put_columns(struct json_writer *w, const char *key,
                        const struct rerank_columns *columns, int row)
{
    if (columns->count == 0)
        return;
    json_key(w, key);
    json_object_begin(w);
    for (int c = 0; c < columns->count; c++) {
        json_key(w, columns->names[c]);
        json_put_float(w, columns->values[(ptrdiff_t)row * columns->count + c]);
    }
    json_object_end(w);
}

size_t rerank_answer_encode(const struct rerank_answer *answer, char *into, size_t bytes)
{
    struct json_writer w;

    assert(answer->degraded >= 0 && answer->degraded < DEGRADED_COUNT);
    json_writer_init(&w, into, bytes);
    json_object_begin(&w);
    json_text(&w, "request_id", answer->request_id);
    json_text(&w, "model_version", text_of(answer->model_version));
    json_text(&w, "arm", text_of(answer->arm));
    json_text(&w, "degraded", text_of(degraded_names[answer->degraded]));
    json_bool(&w, "cold", answer->cold);
    if (answer->trace.bytes > 0)
        json_text(&w, "trace", answer->trace);
    json_key(&w, "items");
    json_array_begin(&w);
    for (int i = 0; i < answer->items_count; i++) {
        json_object_begin(&w);
        json_text(&w, "item", answer->items[i].item);
        json_key(&w, "score");
        json_put_float(&w, answer->items[i].score);
        put_columns(&w, "scalars", &answer->scalars, i);
        put_columns(&w, "parts", &answer->parts, i);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    return json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}

/* A text member as a zero-ended one in the parser; false when it is longer than that. */
static bool keep_text(const struct json_node *root, const char *name, char *into, size_t bytes)
{
    struct text text = json_text_or(json_member(root, name), "");

    if (text.bytes >= bytes)
        return false;
    if (text.bytes > 0)
        memcpy(into, text.at, text.bytes);
    into[text.bytes] = 0;
    return true;
}

static enum status get_items(struct rerank_parser *parser, const struct json_node *list,
                             struct rerank_answer *answer, struct error *err)
{
    if (list == NULL || list->value.type != JSON_ARRAY)
        return error_set(err, ERR_MALFORMED, "answer has no items");
    if (list->children_count > RERANK_K_MAX)
        return error_set(err, ERR_LIMIT, "answer of %zu items", list->children_count);
    for (const struct json_node *at = list->child; at != NULL; at = at->next) {
        struct ranked_item *item = &parser->items[answer->items_count++];
        const struct json_node *score = json_member(at, "score");

        item->item = json_text_or(json_member(at, "item"), "");
        if (item->item.bytes == 0 || score == NULL)
            return error_set(err, ERR_MALFORMED, "answer's item %d has no name or score",
                             answer->items_count - 1);
        item->score = (float)json_real_or(score, (double)NAN);
    }
    answer->items = parser->items;
    return OK;
}

enum status rerank_answer_parse(struct rerank_parser *parser, struct text body,
                                struct rerank_answer *answer, struct error *err)
{
    const struct json_node *root;
    const struct json_node *cold;
    struct text degraded;
    enum status status;
    int rung = 0;

    *answer = (struct rerank_answer){.model_version = "", .arm = ""};
    status = json_parse(parser->json, body, &root, err);
    if (status != OK)
        return status;
    if (root->value.type != JSON_OBJECT ||
        !keep_text(root, "model_version", parser->version, sizeof parser->version) ||
        !keep_text(root, "arm", parser->arm, sizeof parser->arm))
        return error_set(err, ERR_MALFORMED, "no answer of a ranking");
    answer->model_version = parser->version;
    answer->arm = parser->arm;
    answer->request_id = json_text_or(json_member(root, "request_id"), "");
    answer->trace = json_text_or(json_member(root, "trace"), "");
    cold = json_member(root, "cold");
    answer->cold = cold != NULL && cold->value.type == JSON_BOOL && cold->value.boolean;
    degraded = json_text_or(json_member(root, "degraded"), "");
    while (rung < DEGRADED_COUNT && !text_equal(degraded, text_of(degraded_names[rung])))
        rung++;
    if (rung == DEGRADED_COUNT)
        return error_set(err, ERR_MALFORMED, "answer is degraded in no way we know");
    answer->degraded = (enum degraded)rung;
    return get_items(parser, json_member(root, "items"), answer, err);
}
