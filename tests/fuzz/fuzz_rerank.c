/* Fuzzes schemas/rerank: requests to both endpoints, and answers. */
#include "schemas/rerank.h"
#include "tests/fuzz/fuzz.h"

static struct rerank_parser *parser;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct ranked_item items[2] = {{{"i7", 2}, 1.5f}, {{"i\"8", 3}, -0.25f}};
    struct rerank_answer answer = {.request_id = {"r9", 2},
                                   .model_version = "v1+2",
                                   .arm = "model",
                                   .trace = {"AAAA", 4},
                                   .items = items,
                                   .items_count = 2};
    char json[1024];
    struct error err;

    (void)argc;
    (void)argv;
    FUZZ_CHECK(rerank_parser_create(&parser, &err) == OK);
    fuzz_seed_text("{\"request_id\":\"r9\",\"user\":\"u1\",\"candidates\":[\"i7\",3],\"k\":2,"
                   "\"seen\":\"drop\",\"explain\":true,\"deadline_ms\":50,\"context\":{\"a\":1}}");
    fuzz_seed_text("{\"user\":-7,\"k\":512}");
    fuzz_seed(json, rerank_answer_encode(&answer, json, sizeof json));
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text body = {(const char *)data, size};
    struct rerank_request request;
    struct rerank_answer answer;
    struct error err;

    for (int recommend = 0; recommend < 2; recommend++) {
        if (rerank_parse(parser, body, recommend, &request, &err) != OK)
            continue;
        FUZZ_CHECK(request.user.bytes >= 1 && request.user.bytes <= USER_ID_MAX);
        FUZZ_CHECK(request.k >= 1 && request.k <= RERANK_K_MAX);
        FUZZ_CHECK(!recommend || request.candidates_count == 0);
        for (int i = 0; i < request.candidates_count; i++)
            FUZZ_CHECK(request.candidates[i].bytes >= 1 &&
                       request.candidates[i].bytes <= ITEM_ID_MAX);
    }
    if (rerank_answer_parse(parser, body, &answer, &err) == OK)
        FUZZ_CHECK(answer.items_count <= RERANK_K_MAX && answer.degraded < DEGRADED_COUNT);
    return 0;
}
