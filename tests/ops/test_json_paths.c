/* Tests ops/json_paths: what is compiled, that every key is found again among many, and what is no
 * path. What the walk makes of paths is test_json.c's. */
#include "ops/json_private.h"

#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>

static enum status compile(const char *pointer)
{
    struct json_paths *paths;
    struct error err;
    enum status status = json_paths_create(&paths, &pointer, 1, &err);

    CHECK((status == OK) == (paths != NULL));
    json_paths_destroy(paths);
    return status;
}

TEST(json_paths_refuses_what_is_no_path)
{
    char longest[520], deep[64] = "";

    CHECK_STATUS(ERR_CONFIG, compile(""));
    CHECK_STATUS(ERR_CONFIG, compile("user"));
    CHECK_STATUS(ERR_CONFIG, compile("/a~"));
    CHECK_STATUS(ERR_CONFIG, compile("/a~2b"));
    CHECK_STATUS(OK, compile("/a~0~1b"));
    CHECK_STATUS(OK, compile("/"));
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[512] = 0;
    CHECK_STATUS(OK, compile(longest));
    longest[512] = 'x';
    longest[513] = 0;
    CHECK_STATUS(ERR_CONFIG, compile(longest));
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        memcpy(deep + 2L * i, "/a", 3);
    CHECK_STATUS(OK, compile(deep));
    memcpy(deep + 2L * JSON_DEPTH_MAX, "/a", 3);
    CHECK_STATUS(ERR_CONFIG, compile(deep));
}

TEST(json_paths_finds_every_key_and_no_other)
{
    char texts[JSON_PATHS_MAX][24];
    const char *pointers[JSON_PATHS_MAX + 1];
    struct json_paths *paths;
    struct error err;
    char key[32] = {0};

    for (int i = 0; i < JSON_PATHS_MAX; i++) {
        (void)snprintf(texts[i], sizeof texts[i], i % 2 == 0 ? "/k%d" : "/a_long_key_%d", i);
        pointers[i] = texts[i];
    }
    pointers[JSON_PATHS_MAX] = "/one_more";
    CHECK_STATUS(ERR_LIMIT, json_paths_create(&paths, pointers, JSON_PATHS_MAX + 1, &err));
    CHECK_STATUS(OK, json_paths_create(&paths, pointers, JSON_PATHS_MAX, &err));
    for (int i = 0; i < JSON_PATHS_MAX; i++) {
        const struct json_trie_node *found;

        (void)snprintf(key, sizeof key, "%s", texts[i] + 1);
        found = json_find_child(paths, &paths->nodes[0], text_of(key));
        CHECK(found != NULL && found->own == UINT32_C(1) << i && found->below == found->own);
        key[strlen(key) - 1] = '?';
        CHECK(json_find_child(paths, &paths->nodes[0], text_of(key)) == NULL);
    }
    json_paths_destroy(paths);
    json_paths_destroy(NULL);
}

TEST(json_paths_may_come_twice_and_lead_through_another)
{
    const char *const pointers[] = {"/a", "/a/b", "/a", "/a/b/c"};
    const struct json_trie_node *a, *b;
    struct json_paths *paths;
    struct error err;
    char key[16] = "a";

    CHECK_STATUS(OK, json_paths_create(&paths, pointers, 4, &err));
    a = json_find_child(paths, &paths->nodes[0], text_of(key));
    CHECK(a != NULL && a->own == 5 && a->below == 15);
    key[0] = 'b';
    b = json_find_child(paths, a, text_of(key));
    CHECK(b != NULL && b->own == 2 && b->below == 10);
    CHECK(json_find_child(paths, &paths->nodes[0], text_of(key)) == NULL);
    json_paths_destroy(paths);
}
