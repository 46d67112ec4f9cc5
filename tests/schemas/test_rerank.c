/* Tests schemas/rerank: what a request may say, what it may not (FAULTS.md row 81), and that an
 * answer comes back. */
#include "schemas/rerank.h"

#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct rerank_parser *parser;
static struct rerank_request request;
static struct rerank_answer answer;
static struct error err;
static char body[RERANK_BYTES_MAX + 2];

static void start(void)
{
    CHECK_STATUS(OK, rerank_parser_create(&parser, &err));
}

static enum status parse(const char *json, bool recommend)
{
    return rerank_parse(parser, text_of(json), recommend, &request, &err);
}

TEST(rerank_parse_reads_every_member)
{
    start();
    CHECK_STATUS(OK, parse("{\"request_id\":\"r9\",\"user\":\"u1\",\"candidates\":[\"i7\",3,"
                           "\"i7\"],\"k\":2,\"seen\":\"drop\",\"explain\":true,"
                           "\"deadline_ms\":50,\"context\":{\"a\":[1]}}",
                           false));
    CHECK(text_equal(request.request_id, text_of("r9")) && text_equal(request.user, text_of("u1")));
    CHECK(request.candidates_count == 3 && text_equal(request.candidates[1], text_of("3")));
    CHECK(text_equal(request.candidates[2], text_of("i7"))); /* duplicates are handed on */
    CHECK(request.k == 2 && !request.keep_seen && request.explain && request.deadline_ms == 50);
    rerank_parser_destroy(parser);
}

TEST(rerank_parse_knows_defaults)
{
    start();
    CHECK_STATUS(OK, parse("{\"user\":12,\"candidates\":[]}", false));
    CHECK(text_equal(request.user, text_of("12")) && request.candidates_count == 0);
    CHECK(request.k == RERANK_K_DEFAULT && request.keep_seen && !request.explain);
    CHECK(request.request_id.bytes == 0 && request.deadline_ms == 0);
    CHECK_STATUS(
        OK, parse("{\"user\":\"u\",\"request_id\":null,\"candidates\":null,\"k\":null}", true));
    CHECK(!request.keep_seen && request.k == RERANK_K_DEFAULT);
    CHECK_STATUS(OK, parse("{\"user\":\"u\",\"request_id\":\"\",\"seen\":\"keep\"}", true));
    CHECK(request.keep_seen);
    rerank_parser_destroy(parser);
}

TEST(rerank_parse_refuses_what_is_wrong)
{
    static const char *const cases[] = {
        "",
        "[]",
        "{}",
        "{\"user\":\"u\"}",
        "{\"candidates\":[]}",
        "{\"user\":\"\",\"candidates\":[]}",
        "{\"user\":null,\"candidates\":[]}",
        "{\"user\":1.5,\"candidates\":[]}",
        "{\"user\":\"u\",\"candidates\":\"i\"}",
        "{\"user\":\"u\",\"candidates\":{}}",
        "{\"user\":\"u\",\"candidates\":[null]}",
        "{\"user\":\"u\",\"candidates\":[\"\"]}",
        "{\"user\":\"u\",\"candidates\":[1.5]}",
        "{\"user\":\"u\",\"candidates\":[[\"i\"]]}",
        "{\"user\":\"u\",\"candidates\":[NaN]}",
        "{\"user\":\"u\",\"candidates\":[],\"k\":0}",
        "{\"user\":\"u\",\"candidates\":[],\"k\":-1}",
        "{\"user\":\"u\",\"candidates\":[],\"k\":\"5\"}",
        "{\"user\":\"u\",\"candidates\":[],\"k\":1.5}",
        "{\"user\":\"u\",\"candidates\":[],\"seen\":\"maybe\"}",
        "{\"user\":\"u\",\"candidates\":[],\"seen\":true}",
        "{\"user\":\"u\",\"candidates\":[],\"explain\":1}",
        "{\"user\":\"u\",\"candidates\":[],\"deadline_ms\":-1}",
        "{\"user\":\"u\",\"candidates\":[],\"deadline_ms\":60001}",
        "{\"user\":\"u\",\"candidates\":[],\"request_id\":[]}",
    };

    start();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (parse(cases[i], false) != ERR_MALFORMED)
            test_fail(__FILE__, __LINE__, "taken: %s", cases[i]);
    CHECK_STATUS(ERR_MALFORMED, parse("{\"user\":\"u\",\"candidates\":[]}", true));
    rerank_parser_destroy(parser);
}

TEST(rerank_parse_of_bounds)
{
    start();
    for (int count = RERANK_CANDIDATES_MAX; count <= RERANK_CANDIDATES_MAX + 1; count++) {
        size_t at = (size_t)snprintf(body, sizeof body, "{\"user\":\"u\",\"candidates\":[-1");

        for (int i = 1; i < count; i++)
            at += (size_t)snprintf(body + at, sizeof body - at, ",%d", i);
        (void)snprintf(body + at, sizeof body - at, "]}");
        CHECK_STATUS(count > RERANK_CANDIDATES_MAX ? ERR_LIMIT : OK, parse(body, false));
        if (count == RERANK_CANDIDATES_MAX)
            CHECK(text_equal(request.candidates[count - 1], text_of("9999")) &&
                  text_equal(request.candidates[0], text_of("-1")));
    }
    (void)snprintf(body, sizeof body, "{\"user\":\"u\",\"k\":%d}", RERANK_K_MAX);
    CHECK_STATUS(OK, parse(body, true));
    (void)snprintf(body, sizeof body, "{\"user\":\"u\",\"k\":%d}", RERANK_K_MAX + 1);
    CHECK_STATUS(ERR_LIMIT, parse(body, true));
    for (int bytes = ITEM_ID_MAX; bytes <= ITEM_ID_MAX + 1; bytes++) {
        (void)snprintf(body, sizeof body, "{\"user\":\"u\",\"candidates\":[\"%0*d\"]}", bytes, 0);
        CHECK_STATUS(bytes > ITEM_ID_MAX ? ERR_MALFORMED : OK, parse(body, false));
    }
    for (int more = 0; more < 2; more++) {
        memset(body, ' ', sizeof body);
        memcpy(body, "{\"user\":\"u\"", 11);
        body[RERANK_BYTES_MAX + more - 1] = '}';
        body[RERANK_BYTES_MAX + more] = 0;
        CHECK_STATUS(more ? ERR_LIMIT : OK, parse(body, true));
    }
    rerank_parser_destroy(parser);
}

TEST(rerank_parse_survives_every_truncation_and_every_flipped_bit)
{
    static const char json[] = "{\"request_id\":\"r9\",\"user\":\"u1\",\"candidates\":[\"i7\",3],"
                               "\"k\":2,\"seen\":\"drop\",\"explain\":true}";

    start();
    for (size_t cut = 0; cut < sizeof json - 1; cut++) {
        char *part = malloc(cut + 1);

        memcpy(part, json, cut);
        CHECK_STATUS(ERR_MALFORMED,
                     rerank_parse(parser, (struct text){part, cut}, false, &request, &err));
        free(part);
    }
    for (size_t bit = 0; bit < (sizeof json - 1) * 8; bit++) {
        memcpy(body, json, sizeof json);
        body[bit / 8] ^= (char)(1 << bit % 8);
        if (rerank_parse(parser, (struct text){body, sizeof json - 1}, false, &request, &err) == OK)
            CHECK(request.k >= 1 && request.k <= RERANK_K_MAX && request.user.bytes >= 1);
    }
    rerank_parser_destroy(parser);
}

TEST(rerank_answer_comes_back)
{
    struct ranked_item items[RERANK_K_MAX];
    struct rerank_answer want = {.request_id = {"r\"9", 3},
                                 .model_version = "v000012-3f9a+17",
                                 .arm = "model",
                                 .degraded = DEGRADED_CACHED,
                                 .trace = {"AAAA-_", 6},
                                 .items = items,
                                 .items_count = RERANK_K_MAX,
                                 .cold = true};
    size_t bytes;

    start();
    for (int i = 0; i < RERANK_K_MAX; i++)
        items[i] = (struct ranked_item){{"item \xc3\xa9", 7}, 1.0f / (float)(i + 1)};
    items[3].score = NAN;
    items[4].score = -INFINITY;
    bytes = rerank_answer_encode(&want, body, sizeof body);
    CHECK(bytes > 0 && rerank_answer_encode(&want, body, bytes - 1) == 0);
    bytes = rerank_answer_encode(&want, body, sizeof body);
    CHECK_STATUS(OK, rerank_answer_parse(parser, (struct text){body, bytes}, &answer, &err));
    CHECK(text_equal(answer.request_id, want.request_id) && answer.cold);
    CHECK_TEXT(want.model_version, answer.model_version);
    CHECK_TEXT(want.arm, answer.arm);
    CHECK(answer.degraded == DEGRADED_CACHED && text_equal(answer.trace, want.trace));
    CHECK(answer.items_count == RERANK_K_MAX);
    for (int i = 0; i < RERANK_K_MAX; i++) {
        CHECK(text_equal(answer.items[i].item, items[i].item));
        CHECK(i == 3 || i == 4 ? isnan(answer.items[i].score)
                               : answer.items[i].score == items[i].score);
    }
    want.items_count = 0;
    want.trace = (struct text){0};
    bytes = rerank_answer_encode(&want, body, sizeof body);
    CHECK_STATUS(OK, rerank_answer_parse(parser, (struct text){body, bytes}, &answer, &err));
    CHECK(answer.items_count == 0 && answer.trace.bytes == 0);
    for (size_t cut = 0; cut < bytes; cut++)
        CHECK_STATUS(ERR_MALFORMED,
                     rerank_answer_parse(parser, (struct text){body, cut}, &answer, &err));
    CHECK_STATUS(ERR_MALFORMED,
                 rerank_answer_parse(parser, text_of("{\"degraded\":\"odd\"}"), &answer, &err));
    rerank_parser_destroy(parser);
}

TEST(rerank_answer_carries_named_columns_of_each_item)
{
    static const struct ranked_item items[] = {{{"a", 1}, 1}, {{"b", 1}, 2}};
    static const char *const scalars[] = {"x", "y"}, *const parts[] = {"p"};
    static const float values[] = {1, 2, 3, 4}, one[] = {5, 6};
    const struct rerank_answer explained = {.model_version = "v",
                                            .arm = "model",
                                            .items = items,
                                            .items_count = 2,
                                            .scalars = {scalars, 2, values},
                                            .parts = {parts, 1, one}};
    char text[512];
    size_t bytes = rerank_answer_encode(&explained, text, sizeof text - 1);

    CHECK(bytes > 0);
    text[bytes] = 0;
    CHECK(
        strstr(text,
               "{\"item\":\"a\",\"score\":1,\"scalars\":{\"x\":1,\"y\":2},\"parts\":{\"p\":5}},"
               "{\"item\":\"b\",\"score\":2,\"scalars\":{\"x\":3,\"y\":4},\"parts\":{\"p\":6}}") !=
        NULL);
    for (size_t room = 0; room < bytes; room++)
        CHECK(rerank_answer_encode(&explained, text, room) == 0);
}

TEST(rerank_parse_reads_the_members_of_context_that_are_named)
{
    struct context_names names;

    start();
    CHECK_STATUS(OK, context_names_parse(&names, "surface device os", &err));
    CHECK_STATUS(OK, rerank_parser_contexts(parser, &names, &err));
    CHECK_STATUS(OK, parse("{\"user\":\"u\",\"candidates\":[],\"context\":{\"device\":\"phone\","
                           "\"surface\":7,\"other\":\"x\",\"os\":[1]}}",
                           false));
    CHECK_INT(context_code(text_of("7")), request.context[0]);
    CHECK_INT(context_code(text_of("phone")), request.context[1]);
    CHECK(request.context[2] == 0 && request.context[3] == 0);
    CHECK_STATUS(OK, parse("{\"user\":\"u\",\"candidates\":[1]}", false));
    CHECK(request.context[0] == 0 && request.context[1] == 0);
    CHECK_STATUS(OK, parse("{\"user\":\"u\",\"candidates\":[],\"context\":null}", false));
    CHECK_STATUS(OK,
                 parse("{\"user\":\"u\",\"candidates\":[],\"context\":{\"device\":null}}", false));
    CHECK_INT(0, request.context[1]);
    CHECK_STATUS(OK, context_names_parse(&names, "", &err));
    CHECK_STATUS(OK, rerank_parser_contexts(parser, &names, &err));
    CHECK_STATUS(OK,
                 parse("{\"user\":\"u\",\"candidates\":[],\"context\":{\"device\":\"x\"}}", false));
    CHECK_INT(0, request.context[1]);
    rerank_parser_destroy(parser);
}
